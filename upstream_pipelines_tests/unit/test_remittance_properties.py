"""Generated remittances: packaging changes nothing, no line is lost, any damage ends as refused, rejected or told."""

from __future__ import annotations

import io
from datetime import date
from typing import Any, BinaryIO, cast

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from upstream_pipelines.claims.judge import Judge
from upstream_pipelines.claims.mapping import ClaimMapping
from upstream_pipelines.errors import FileRefusedError
from upstream_pipelines.ingest.remittance_reader import open_remittance
from upstream_pipelines.ingest.x12_segments import read_segments

TODAY = date(2026, 11, 26)
Segments = list[str]

_reasons = st.sampled_from(["45", "1", "2", "16", "29", "197", "23", "B7", "253", "A2"])
_cents = st.integers(0, 99_999).map(lambda cents: f"{cents / 100:.2f}".rstrip("0").rstrip(".") or "0")
# Each group and reason once, as the standard has it.
_adjustments = st.lists(
    st.tuples(st.sampled_from(["CO", "PR", "OA", "PI"]), _reasons, _cents),
    max_size=4,
    unique_by=lambda item: item[:2],
).map(lambda found: [f"CAS*{group}*{reason}*{amount}" for group, reason, amount in found])
_days = st.sampled_from(["20260105", "20260106", "20251231", "20261399", ""])
_codes = st.sampled_from(
    ["HC:99213", "HC:99213:25", "HC:J1100::", "NU:0450", "HC", "", "AD:D0120", "HC:99213:25:59:RT:LT"]
)


@st.composite
def _services(draw: st.DrawFn) -> Segments:
    return [
        f"SVC*{draw(_codes)}*{draw(_cents)}*{draw(_cents)}**{draw(st.sampled_from(['1', '2', '', '0']))}",
        f"DTM*472*{draw(_days)}",
        *draw(_adjustments),
        *draw(st.sampled_from([[], ["REF*6R*1"], ["REF*6R*ABC"], ["AMT*B6*12.5"], ["LQ*HE*N14"]])),
    ]


@st.composite
def _claims(draw: st.DrawFn) -> Segments:
    status = draw(st.sampled_from(["1", "2", "3", "4", "19", "22", "23", "10", "99"]))
    return [
        f"CLP*A{draw(st.integers(1, 5))}*{status}*{draw(_cents)}*{draw(_cents)}**12*ICN{draw(st.integers(1, 3))}",
        "NM1*QC*1*DOE*JANE****MI*123456789",
        *draw(st.sampled_from([[], ["DTM*050*20260110"], ["DTM*232*20260101"]])),
        *draw(_adjustments),
        *(segment for service in draw(st.lists(_services(), max_size=3)) for segment in service),
    ]


_files = st.lists(_claims(), min_size=1, max_size=6)
# Element, component and terminator; letters, digits, blanks and what the generated values hold are none.
_separators = st.sampled_from(["*:~", "|>!", "^&\n", "\x1d\x1f\x1e", "+:'", "*>\r", "~:*", ",;#"])
_breaks = st.sampled_from(["", "\n", "\r\n", " \n"])


def _transaction(claims: list[Segments]) -> Segments:
    body = ["ST*835*0001", "BPR*I*1*C*ACH************20260205", "DTM*405*20260203", "N1*PR*AETNA", "LX*1",
            *(segment for claim in claims for segment in claim)]  # fmt: skip
    return [*body, f"SE*{len(body) + 1}*0001"]


def _packed(interchanges: list[list[list[list[Segments]]]], separators: str = "*:~", between: str = "") -> bytes:
    """interchanges: of groups, of transactions, of claims."""
    element, component, terminator = tuple(separators)
    swap = str.maketrans("*:", element + component)
    parts: Segments = []
    for number, groups in enumerate(interchanges):
        parts.append(f"ISA*00*{'':10}*00*{'':10}*ZZ*{'S':15}*ZZ*{'R':15}*260203*0330*-*00501*{number:09}*0*P*:")
        for transactions in groups:
            parts.append("GS*HP*S*R*20260203*0330*1*X*005010X221A1")
            parts.extend(segment for claims in transactions for segment in _transaction(claims))
            parts.append(f"GE*{len(transactions)}*1")
        parts.append(f"IEA*{len(groups)}*{number:09}")
    return "".join(part.translate(swap) + terminator + between for part in parts).encode()


class Trickle(io.RawIOBase):
    """Gives a few bytes at a time, as a socket does."""

    def __init__(self, content: bytes, step: int) -> None:
        super().__init__()
        self._content, self._step = io.BytesIO(content), step

    def read(self, size: int = -1) -> bytes:
        return self._content.read(min(size, self._step))


def _cells(content: bytes, step: int = 1_000_000, rows: int = 50_000) -> list[Any]:
    """Every line as the reader gives it, but for its number and what concerns separators and counts."""
    lines: list[Any] = []
    for block in open_remittance(cast(BinaryIO, Trickle(content, step)), TODAY).blocks(rows):
        assert len(block.frame) <= rows
        frame = block.frame.assign(**{name: pd.array(column) for name, column in block.beside.items()})
        notes = [
            tuple(rule for rule, (_, mask) in block.noted.items() if mask[place] and rule != "remittance_counts")
            for place in range(len(frame))
        ]
        lines.extend(zip(map(tuple, frame.astype(object).fillna("-").to_numpy()), notes, strict=True))
    return lines


@settings(max_examples=60, deadline=None)
@given(claims=_files, separators=_separators, between=_breaks, step=st.integers(1, 200), rows=st.integers(1, 9))
def test_neither_separators_nor_line_breaks_nor_the_size_of_pieces_change_a_line(
    claims: list[Segments], separators: str, between: str, step: int, rows: int
) -> None:
    assert _cells(_packed([[[claims]]], separators, between), step, rows) == _cells(_packed([[[claims]]]))


@settings(max_examples=60, deadline=None)
@given(claims=_files, cuts=st.lists(st.sampled_from(["same", "ST", "GS", "ISA"]), min_size=6, max_size=6))
def test_the_same_claims_in_several_transactions_groups_and_interchanges_are_the_same_lines(
    claims: list[Segments], cuts: list[str]
) -> None:
    packed: list[list[list[list[Segments]]]] = [[[[]]]]
    for claim, cut in zip(claims, cuts, strict=False):
        if cut == "ISA":
            packed.append([[[]]])
        elif cut == "GS":
            packed[-1].append([[]])
        elif cut == "ST":
            packed[-1][-1].append([])
        packed[-1][-1][-1].append(claim)
    assert _cells(_packed(packed)) == _cells(_packed([[[claims]]]))


@settings(max_examples=60, deadline=None)
@given(claims=_files, data=st.data())
def test_the_order_of_adjustments_changes_nothing(claims: list[Segments], data: st.DataObject) -> None:
    shuffled = []
    for claim in claims:
        mixed: Segments = []
        run: Segments = []
        for segment in [*claim, "END"]:
            if segment.startswith("CAS"):
                run.append(segment)
                continue
            mixed.extend(data.draw(st.permutations(run)) if run else [])
            run = []
            mixed.append(segment)
        shuffled.append(mixed[:-1])
    assert _cells(_packed([[[shuffled]]])) == _cells(_packed([[[claims]]]))


@settings(max_examples=60, deadline=None)
@given(claims=_files)
def test_every_service_and_every_claim_without_one_is_accepted_or_rejected_once(claims: list[Segments]) -> None:
    expected = sum(max(1, sum(segment.startswith("SVC") for segment in claim)) for claim in claims)
    judge = Judge(ClaimMapping(), TODAY)
    accepted = rejected = 0
    numbers: list[int] = []
    for block in open_remittance(io.BytesIO(_packed([[[claims]]])), TODAY).blocks():
        judged = judge.judge(block)
        accepted, rejected = accepted + len(judged.accepted), rejected + judged.rejected_rows
        numbers += block.row_numbers.tolist()
    assert accepted + rejected == expected == len(set(numbers))
    assert (judge.counters().accepted, judge.counters().rejected) == (accepted, rejected)
    # A row's number is its segment's: it can be found in the file.
    segments = [segment.name for segment in read_segments(io.BytesIO(_packed([[[claims]]])))]
    assert {segments[number - 1] for number in numbers} <= {"SVC", "CLP"}


@settings(max_examples=100, deadline=None)
@given(claims=_files, data=st.data())
def test_a_file_that_was_cut_short_is_refused_as_a_whole(claims: list[Segments], data: st.DataObject) -> None:
    content = _packed([[[claims]], [[claims]]])
    end = content.index(b"IEA*")
    whole = end + len("IEA*1*000000000~")
    cut = data.draw(st.integers(0, len(content) - 20).filter(lambda place: not end <= place <= whole))
    try:
        _cells(content[:cut])
    except FileRefusedError:
        return
    raise AssertionError(cut)


@settings(max_examples=150, deadline=None)
@given(claims=_files, data=st.data())
def test_damaged_bytes_end_as_lines_or_as_refused(claims: list[Segments], data: st.DataObject) -> None:
    content = bytearray(_packed([[[claims]]]))
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    judge = Judge(ClaimMapping(), TODAY)
    try:
        for block in open_remittance(io.BytesIO(bytes(content)), TODAY).blocks():
            judged = judge.judge(block)
            assert judged.rows == len(judged.accepted) + judged.rejected_rows
    except FileRefusedError as refused:
        told = str(refused)
    else:
        told = judge.findings().to_csv()
    assert "DOE" not in told
