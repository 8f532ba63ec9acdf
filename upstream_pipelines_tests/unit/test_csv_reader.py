"""Reading CSV: any bytes end as loaded or refused, no row is lost, and a refusal says what to do."""

from __future__ import annotations

import io
import json
from datetime import date
from typing import Any

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from upstream_pipelines.claims.judge import Judge
from upstream_pipelines.claims.mapping import ClaimMapping
from upstream_pipelines.errors import FileRefusedError
from upstream_pipelines.ingest import text_stream
from upstream_pipelines.ingest.csv_reader import CsvFile, open_csv

TODAY = date(2026, 11, 24)
HEADER = "claim_id,payer,cpt,submitted_date,decided_date,outcome,allowed_amount"
ROW = "C1,Aetna,99213,2026-01-05,2026-02-01,Paid,100.50"


class Trickle(io.RawIOBase):
    """A stream that cannot seek and gives a few bytes at a time, as a socket does."""

    def __init__(self, content: bytes, step: int) -> None:
        super().__init__()
        self._content, self._step = io.BytesIO(content), step

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._content.read(self._step if size < 0 else min(size, self._step))


def _open(text: str | bytes, **mapping: Any) -> CsvFile:
    content = text.encode() if isinstance(text, str) else text
    return open_csv(io.BytesIO(content), ClaimMapping(**mapping))


def _load(csv: CsvFile, mapping: ClaimMapping | None = None, rows: int = 50_000) -> tuple[Judge, Any, Any, int]:
    judge = Judge(mapping or ClaimMapping(), TODAY)
    judged = [judge.judge(block) for block in csv.blocks(rows)]
    assert sum(block.rows for block in judged) == sum(len(b.accepted) + b.rejected_rows for b in judged)
    for block in judged:
        assert block.rejected["source_row_number"].nunique() == block.rejected_rows
    accepted = pd.concat([block.accepted for block in judged], ignore_index=True) if judged else pd.DataFrame()
    rejected = pd.concat([block.rejected for block in judged], ignore_index=True) if judged else pd.DataFrame()
    return judge, accepted, rejected, sum(block.rows for block in judged)


def _refusal(content: str | bytes, **mapping: Any) -> str:
    with pytest.raises(FileRefusedError) as refused:
        list(_open(content, **mapping).blocks())
    return str(refused.value)


# --- anything at all -----------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@example(b"")
@example(b"\x00" * 100)
@example((HEADER + "\n" + ROW + '\n"open,').encode())
@example((HEADER + "\n" + '"' * 3 + "\n" + ROW).encode())
@example((HEADER + "\r" + ROW + "\r").encode())
@example((HEADER + "\n,,,,,,\n\n \n,\n").encode())
@given(st.binary(max_size=300))
def test_any_bytes_below_a_header_end_as_loaded_or_refused(tail: bytes) -> None:
    """Most likely wrong: an exception of arrow, or rows that are neither accepted nor rejected."""
    for content in (tail, HEADER.encode() + b"\n" + ROW.encode() + b"\n" + tail):
        try:
            csv = open_csv(io.BytesIO(content), ClaimMapping())
            _load(csv)
        except FileRefusedError:
            continue
        json.dumps(csv.detected)


_CELLS = st.sampled_from(
    ["", "Aetna", "99213", "2026-01-05", "13/02/2026", "02/03/2026", "paid", "Denied", "pending", "100.50", "($5)",
     'say ""hi""', "a,b", "x\ny", "é", "~", "9999-12-31", "-1", "SMITH, JOHN", "odd"]
)  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(_CELLS, min_size=5, max_size=9), min_size=1, max_size=40), st.integers(1, 7))
def test_every_row_is_counted_once_and_the_size_of_blocks_changes_nothing(
    rows: list[list[str]], size: int
) -> None:
    dated = ["C1", "Aetna", "99213", "13/02/2026", "", "pending", ""]
    text = HEADER + "\n" + "\n".join(",".join(f'"{cell}"' for cell in row) for row in [dated, *rows])
    whole_judge, accepted, rejected, count = _load(_open(text))
    assert count == 1 + sum(any(row) for row in rows)
    part_judge, part_accepted, part_rejected, part_count = _load(_open(text), rows=size)
    assert part_count == count
    pd.testing.assert_frame_equal(accepted, part_accepted)
    by = ["source_row_number", "field", "rule"]
    pd.testing.assert_frame_equal(
        rejected.sort_values(by, ignore_index=True), part_rejected.sort_values(by, ignore_index=True)
    )
    pd.testing.assert_frame_equal(whole_judge.findings(), part_judge.findings())
    assert whole_judge.counters() == part_judge.counters()


def test_ragged_rows_keep_their_numbers_and_do_not_shift_the_others() -> None:
    rows = [ROW] * 9
    rows[2] = "too,few"
    rows[5] = ROW + ",too,many"
    _, accepted, rejected, count = _load(_open(HEADER + "\n" + "\n".join(rows)), rows=2)
    assert count == 9
    assert accepted["source_row_number"].tolist() == [1, 2, 4, 5, 7, 8, 9]
    assert rejected["source_row_number"].tolist() == [3, 6]
    assert set(rejected["rule"]) == {"row_shape"}


def test_a_file_of_ragged_rows_only_is_all_rejected() -> None:
    _, accepted, rejected, count = _load(_open(HEADER + "\na,b\n" * 1 + "c,d\ne\n"))
    assert (len(accepted), len(rejected), count) == (0, 3, 3)


def test_ragged_rows_are_numbered_across_blocks_of_the_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("upstream_pipelines.ingest.csv_reader._BLOCK_BYTES", 2000)
    rows = [ROW if number % 37 else "ragged" for number in range(1, 1001)]
    _, accepted, rejected, count = _load(_open(HEADER + "\n" + "\n".join(rows)), rows=13)
    assert count == 1000
    assert accepted["source_row_number"].tolist() == [number for number in range(1, 1001) if number % 37]
    assert rejected["source_row_number"].tolist() == [number for number in range(1, 1001) if not number % 37]


@pytest.mark.parametrize("header", [HEADER + ",denial_reason_text", HEADER + ",comment"])
def test_a_stray_quote_that_takes_claims_into_one_cell_rejects_the_row(header: str) -> None:
    """The row has the right number of cells, so nothing else would tell that the claims in it are lost."""
    stray = ROW + ',"5 inch'
    _, accepted, rejected, count = _load(
        _open("\n".join([header, ROW + ",", stray, ROW + ",x", stray, ROW + ","]))
    )
    assert count == 5
    assert accepted["source_row_number"].tolist() == [1, 5]
    assert rejected[["source_row_number", "rule"]].to_dict("list") == {
        "source_row_number": [2, 3, 4],
        "rule": ["row_shape"] * 3,
    }


def test_blank_lines_are_no_rows_and_a_quoted_line_break_is_one() -> None:
    text = f'{HEADER},denial_reason_text\n\n{ROW},"two\nlines"\n\n\n{ROW},x\n'
    _, accepted, _, count = _load(_open(text))
    assert count == 2
    assert accepted["source_row_number"].tolist() == [1, 2]
    assert accepted["denial_reason_text"].tolist() == ["two\nlines", "x"]


def test_a_stream_that_gives_seven_bytes_at_a_time_reads_the_same() -> None:
    content = (HEADER + "\n" + "\n".join([ROW, "C2,Kränk,99214,2026-01-06,,pending,"] * 50)).encode("windows-1252")
    _, expected, _, _ = _load(open_csv(io.BytesIO(content), ClaimMapping()))
    _, accepted, _, _ = _load(open_csv(Trickle(content, 7), ClaimMapping()))  # type: ignore[arg-type]
    pd.testing.assert_frame_equal(accepted, expected)
    assert accepted["payer"][1] == "Kränk"


def test_the_stream_is_read_as_it_is_needed_not_all_at_once() -> None:
    """Most likely wrong: something that reads the whole stream, which a file of 2 GB would not survive."""
    content = io.BytesIO((HEADER + "\n" + (ROW + "\n") * 1_500_000).encode())
    next(open_csv(content, ClaimMapping()).blocks())
    assert content.getbuffer().nbytes > 70 * 2**20
    assert content.tell() < 40 * 2**20  # arrow reads 32 blocks of 1 MiB ahead


# --- encodings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codec", "name"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8 with BOM"),
        ("windows-1252", "windows-1252"),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
    ],
)
def test_each_encoding_is_told_and_read(codec: str, name: str) -> None:
    text = HEADER + "\nC1,Santé “Québec”,99213,2026-01-05,2026-02-01,paid,1\n"
    csv = _open(text.encode(codec))
    _, accepted, _, _ = _load(csv)
    assert accepted["payer"].tolist() == ["Santé “Québec”"]
    assert csv.detected["encoding"] == name


def test_a_byte_of_windows_1252_far_behind_the_head_does_not_end_the_file() -> None:
    plain = (ROW + "\n").encode() * 20_000
    csv = _open(HEADER.encode() + b"\n" + plain + b"C9,Sant\xe9,99213,2026-01-05,2026-02-01,paid,1\n")
    assert len(plain) > text_stream.HEAD_BYTES
    _, accepted, _, count = _load(csv)
    assert count == 20_001
    assert accepted["payer"].iloc[-1] == "Santé"
    assert csv.detected["encoding"] == "windows-1252"


CONTROLS = "".join(map(chr, [*range(9), *range(14, 32)]))  # one of them in a head of three bytes, and it is binary


@settings(deadline=None)
@given(
    st.characters(codec="utf-8", exclude_characters=CONTROLS),
    st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=200),
    st.integers(1, 9),
)
def test_utf_8_passes_unchanged_wherever_a_chunk_ends(first: str, text: str, step: int) -> None:
    content = ("xy" + first + text + "\n") * 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_stream, "HEAD_BYTES", 3)
        stream, head = text_stream.open_text(Trickle(content.encode(), step), None)
        stream.skip(0)
        assert content.startswith(head)
        assert stream.read().decode() == content
        assert not stream.encoding.startswith("windows")


def test_an_encoding_that_is_given_and_wrong_is_refused_with_its_name() -> None:
    message = _refusal(HEADER.encode() + b"\nC1,Sant\xe9,99213,2026-01-05,2026-02-01,paid,1\n", encoding="utf-8")
    assert "not utf-8" in message
    assert "`upstream customers configure SLUG --file FILE`" in message
    assert "encoding" in message


# --- delimiters and headers ----------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_each_delimiter_is_told_from_the_header(delimiter: str) -> None:
    text = (
        HEADER.replace(",", delimiter)
        + "\n"
        + 'C1,"Aetna",99213,2026-01-05,2026-02-01,paid,5'.replace(",", delimiter)
    )
    csv = _open(text)
    assert csv.detected["delimiter"] == delimiter
    assert _load(csv)[1]["payer"].tolist() == ["Aetna"]


def test_title_lines_and_a_separator_line_above_the_header_are_skipped() -> None:
    csv = _open(f"sep=,\nClaims of March\n\n{HEADER}\n{ROW}\n")
    assert csv.detected["skipped_rows_above_header"] == 2
    assert _load(csv)[1]["source_row_number"].tolist() == [1]


def test_headers_are_known_by_synonym_whatever_their_case_and_punctuation() -> None:
    text = "Claim #,Insurance Carrier,HCPCS Code,Date-Submitted,ADJUDICATION DATE,Claim Status\n1,Aetna,J1100,2026-01-05,2026-02-01,Paid"
    detected = _open(text).detected
    assert detected["columns"] == {
        "Claim #": "claim_id",
        "Insurance Carrier": "payer",
        "HCPCS Code": "cpt",
        "Date-Submitted": "submitted_date",
        "ADJUDICATION DATE": "decided_date",
        "Claim Status": "outcome",
    }


def test_a_better_header_wins_over_a_weaker_one_and_the_mapping_over_both() -> None:
    text = "plan,payer,network,cpt,submitted_date,outcome\nGold,Aetna,Wide,99213,2026-01-05,pending\n"
    csv = _open(text)
    assert csv.detected["columns"]["payer"] == "payer"
    assert csv.detected["unused_columns"] == ["plan", "network"]
    mapping = ClaimMapping(columns={"payer": "Network"})
    assert _load(_open(text, columns={"payer": "Network"}), mapping)[1]["payer"].tolist() == ["Wide"]


def test_a_mapped_header_that_is_not_there_is_told() -> None:
    csv = _open(f"{HEADER}\n{ROW}", columns={"payer": "insurer_x"})
    assert csv.detected["mapped_headers_not_found"] == {"payer": "insurer_x"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", ["empty"]),
        (b"\xef\xbb\xbf \r\n", ["empty"]),
        ((HEADER + "\n\n").encode(), ["no claims"]),
        (b"PK\x03\x04" + b"\x00\x01" * 500, ["Excel", "export the sheet as CSV"]),
        (b"%PDF-1.7 \x00", ["PDF", "CSV"]),
        (b"\x1f\x8b\x08\x00", ["damaged", "again"]),
        (b"7z\xbc\xaf\x27\x1c", ["7z", "gzip or zip"]),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(1, 200)), ["picture", "CSV"]),
        (bytes(range(7, 256)) * 3, ["binary", "CSV"]),
        (b"ISA*00*          *00*", ["X12"]),
        (b'{"claims": []}', ["JSON", "webhook"]),
        (b"<html><table>", ["HTML", "CSV"]),
        (b"claim_id,payer\x00\x01\x02,outcome\n", ["binary", "CSV"]),
        (
            b"payer,cpt,outcome\nAetna,99213,paid\n",
            [
                "submitted_date",
                "'payer', 'cpt', 'outcome'",
                "operator sets the mapping",
                "`upstream ingest preview FILE --write-mapping mapping.yaml`",
                "`upstream customers configure SLUG --file mapping.yaml`",
            ],
        ),
        (
            b"payer,cpt,submitted_date,claim status,Claim_Status\na,b,c,d,e",
            ["outcome", "'claim status'", "rename one of those that are the same"],
        ),
        (
            b"payer,cpt,submitted_date,claim status,status\na,b,c,d,e",
            [
                "outcome",
                "'claim status'",
                "under columns",
                "`upstream customers configure SLUG --file mapping.yaml`",
            ],
        ),
        (b"payer,submitted_date,outcome\na,2026-01-05,paid\n", ["cpt", "no_cpt"]),
        (
            b"day,room,doctor\n2026-01-05,2,CANARY\n",
            ["No column found for payer", "the headers read are 'day', 'room', 'doctor'. Export"],
        ),
    ],
)
def test_what_cannot_be_read_is_refused_and_told_what_to_do(content: bytes, says: list[str]) -> None:
    message = _refusal(content)
    for words in says:
        assert words in message


def test_a_file_without_header_is_refused_without_showing_its_first_claim() -> None:
    """The first row is then a patient's data, and a refusal is stored, logged and shown."""
    for row in ("CANARY JOHN,123-45-6789,Aetna,99213,2026-01-05,paid,100.5", "CANARY JOHN,Aetna,paid,Closed"):
        message = _refusal(row + "\n" + row + "\n")
        assert "CANARY" not in message
        assert "header row" in message


def test_an_unclosed_quote_larger_than_a_block_is_refused_without_quoting_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("upstream_pipelines.ingest.csv_reader._BLOCK_BYTES", 4000)
    message = _refusal(HEADER + "\n" + (ROW + "\n") * 200 + '"CANARY' + (ROW + "\n") * 400)
    assert "CANARY" not in message
    assert "quote" in message
