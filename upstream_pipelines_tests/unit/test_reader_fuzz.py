"""Whatever comes is loaded or refused with a reason, no row is lost, and well-formed files read as a plain reader reads them.

Most likely wrong: an exception of a library, a row counted twice or not at all, a refusal that quotes the file.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import zipfile
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from upstream_pipelines.claims.judge import Judge
from upstream_pipelines.claims.mapping import ClaimMapping
from upstream_pipelines.errors import FileRefusedError
from upstream_pipelines.ingest import csv_reader, text_stream
from upstream_pipelines.ingest.preview import preview

TODAY = date(2026, 11, 24)
FIELDS = ["claim_id", "payer", "cpt", "submitted_date", "decided_date", "outcome", "allowed_amount"]
HEADER = ",".join(FIELDS)
ROW = "C1,Aetna,99213,2026-01-05,2026-02-01,Paid,100.50"
# Without shrinking, which takes minutes over files: what failed is printed as it was found.
_FAST = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)


def _read(content: bytes, **mapping: Any) -> tuple[pd.DataFrame, dict[int, str], int]:
    """Accepted lines, rule by rejected row, rows; the counts of every block and of the whole add up."""
    chosen = ClaimMapping(**mapping)
    judge = Judge(chosen, TODAY)
    file = csv_reader.open_csv(io.BytesIO(content), chosen)
    judged = [judge.judge(block) for block in file.blocks(7)]
    json.dumps(file.detected)
    accepted = pd.concat([block.accepted for block in judged], ignore_index=True)
    rejected = pd.concat([block.rejected for block in judged], ignore_index=True)
    numbers = [*accepted["source_row_number"], *rejected["source_row_number"].unique()]
    counters = judge.counters()
    assert len(numbers) == len(set(numbers)) == counters.rows == counters.accepted + counters.rejected
    assert all(number >= 1 for number in numbers)
    return accepted, dict(zip(rejected["source_row_number"], rejected["rule"], strict=True)), counters.rows


def _end(content: bytes, **mapping: Any) -> str | None:
    """The refusal, None where the file was loaded."""
    try:
        _read(content, **mapping)
    except FileRefusedError as refusal:
        message = str(refusal)
    else:
        return None
    assert len(message) > 30
    assert message.endswith(".")
    return message


# --- bytes -----------------------------------------------------------------------------------------

_PIECES = st.sampled_from(
    [b",", b'"', b"\n", b"\r", b"\r\n", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b";", b"\t", b"|", b"PK\x03\x04", b"\x1f\x8b\x08",
     b"ISA*00*", HEADER.encode(), ROW.encode(), b"Total", b'"a\nb"', b'="0"', b"1.2E+11", b"46027", b"03/04/2026", b"\xe9", b" ",
     "\u2028".encode(), b"\x1a", b"9" * 400]
)  # fmt: skip


@settings(_FAST, max_examples=20)
@example([HEADER.encode(), b"\n", b'"'])
@example([b"\xff\xfe", HEADER.encode(), b"\n", ROW.encode()])
@example([HEADER.encode(), b"\n", b'"a\nb"', b",", b'"'])
@given(st.lists(st.one_of(_PIECES, st.binary(max_size=6)), max_size=25))
def test_any_bytes_end_as_loaded_or_refused(pieces: list[bytes]) -> None:
    content = b"".join(pieces)
    for start in (b"", HEADER.encode() + b"\n" + ROW.encode() + b"\n"):
        _end(start + content)
    _end(content, no_header=True, columns={"payer": 1, "submitted_date": 2, "outcome": 3}, no_cpt=True)


@settings(_FAST, max_examples=30)
@given(st.integers(0, 400), st.binary(min_size=1, max_size=3), st.sampled_from(["gzip", "zip"]), st.booleans())
def test_a_damaged_archive_is_refused_or_was_not_damaged_where_it_matters(
    place: int, damage: bytes, packing: str, cut: bool
) -> None:
    text = (HEADER + "\n" + (ROW + "\n") * 20).encode()
    held = io.BytesIO()
    if packing == "zip":
        with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.csv", text)
    else:
        held.write(gzip.compress(text))
    whole = held.getvalue()
    at = place % len(whole)
    broken = whole[:at] if cut else whole[:at] + damage + whole[at + len(damage) :]
    _end(broken)


# --- structured ------------------------------------------------------------------------------------

_MESSY = st.one_of(
    st.sampled_from(
        ["", " ", "Aetna", "99213", "9921325", "2026-01-05", "13/02/2026", "paid", "Denied", "pending", "100.50", "($5)",
         'say "hi"', "a,b", "x\ny", "a\r\nb,c,d,e,f,g,h", "é", "~", "9999-12-31", "-1", "SMITH, JOHN", "Total", "claim_id",
         "1.23457E+11", '="00100"', "46027", "\ufeff", "\u202e", "1e400", "'", "0" * 500, "submitted_date", "\x0b"]
    ),
    # A file with many zeros is refused as binary, and so is one cell with a single zero in a small file; other control
    # characters under a clean header cost their rows.
    st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8),
)  # fmt: skip


def _written(rows: list[list[str]], delimiter: str, end: str) -> str:
    """By the standard library's writer: an independent one. Where rows end with CR it leaves a cell with LF unquoted."""
    target = io.StringIO(newline="")
    quoting: Any = csv.QUOTE_ALL if end == "\r" else csv.QUOTE_MINIMAL
    csv.writer(target, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows(rows)
    return target.getvalue()


@settings(_FAST, max_examples=30)
@example([["\x01\x02\x03\x04\x05\x06\x07\x08"] * 9] * 12, ",", "\n", "utf-8")
@given(
    st.lists(st.lists(_MESSY, min_size=1, max_size=9), min_size=1, max_size=12),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_every_row_of_a_messy_file_is_in_one_count(
    rows: list[list[str]], delimiter: str, end: str, encoding: str
) -> None:
    """As many rows as Python's own reader finds with something in them; those in quotes are one row here as well."""
    dated = ["C1", "Aetna", "99213", "13/02/2026", "", "pending", "1"]
    text = _written([FIELDS, dated, *rows], delimiter, end)
    content = text.encode(encoding, "replace")
    expected = [
        cells
        for cells in csv.reader(io.StringIO(content.decode(encoding).removeprefix("\ufeff"), newline=""), delimiter=delimiter)
        if any(cell.strip() for cell in cells)
    ]  # fmt: skip
    inside = any(
        cell.count(delimiter) >= 6 and ("\n" in cell or "\r" in cell) for cells in expected for cell in cells
    )
    _, _, count = _read(content)
    assert inside or count == len(expected) - 1


_DAYS = st.dates(date(1990, 1, 1), date(2026, 3, 1))
_FORMS: dict[str, Callable[[date], str]] = {
    "iso": lambda day: day.isoformat(),
    "us": lambda day: day.strftime("%m/%d/%Y"),
    "eu": lambda day: day.strftime("%d.%m.%Y"),
    "name": lambda day: day.strftime("%d-%b-%Y"),
    "excel": lambda day: str((day - date(1899, 12, 30)).days),
}
_ORDERS = {"us": "MDY", "eu": "DMY"}


@settings(_FAST, max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[A-Z]{2}[0-9]{1,9}", fullmatch=True),
            st.sampled_from(["Aetna", "Santé", "Blue Cross, Blue Shield", 'The "Plan"', "x\ny"]),
            st.sampled_from(["99213", "00100", "J1100", "0075T"]),
            _DAYS,
            st.integers(0, 200),
            st.sampled_from([("paid", "PAID"), ("DENIED", "DENIED"), ("Pending", "PENDING")]),
            st.decimals(0, 999_999, places=2),
        ),
        min_size=1,
        max_size=10,
    ),
    st.sampled_from(sorted(_FORMS)),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "windows-1252"]),
    st.sampled_from([None, "gzip", "zip"]),
    st.sampled_from(["{}", "${}", "{:,}"]),
)
def test_a_well_formed_file_reads_as_it_was_written(
    lines: list[tuple[Any, ...]],
    form: str,
    delimiter: str,
    end: str,
    encoding: str,
    packing: str | None,
    money: str,
) -> None:
    rows = [
        [claim, payer, cpt, _FORMS[form](day), _FORMS[form](day + timedelta(later)), sent, money.format(amount)]
        for claim, payer, cpt, day, later, (sent, _), amount in lines
    ]
    content = _written([FIELDS, *rows], delimiter, end).encode(encoding)
    if packing == "gzip":
        content = gzip.compress(content)
    elif packing == "zip":
        held = io.BytesIO()
        with zipfile.ZipFile(held, "w") as archive:
            archive.writestr("a.csv", content)
        content = held.getvalue()
    accepted, rejected, count = _read(content, **({"date_order": _ORDERS[form]} if form in _ORDERS else {}))
    assert (rejected, count) == ({}, len(lines))
    read = accepted[["claim_id", "payer", "cpt", "submitted_date", "decided_date", "outcome", "allowed_amount"]]
    expected = [
        (claim, payer, cpt, day, day + timedelta(later), outcome, Decimal(amount))
        for claim, payer, cpt, day, later, (_, outcome), amount in lines
    ]
    assert list(read.itertuples(index=False, name=None)) == expected


@settings(_FAST, max_examples=8)
@given(
    st.lists(
        st.sampled_from([ROW, "", "ragged", ROW + ",x", " ", ",,,,,,", HEADER, "Total,,,,,,5", '"x,y"']),
        min_size=1,
        max_size=80,
    ),
    st.integers(200, 2000),
)
def test_the_size_of_the_parsers_blocks_changes_nothing(lines: list[str], size: int) -> None:
    content = "\n".join([HEADER, ROW, *lines]).encode()
    whole, rejected, count = _read(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_reader, "_BLOCK_BYTES", size)
        patch.setattr(text_stream, "_CHUNK_BYTES", size // 3)
        part, part_rejected, part_count = _read(content)
    assert (part_rejected, part_count) == (rejected, count)
    pd.testing.assert_frame_equal(whole, part)


# --- real files ------------------------------------------------------------------------------------

REAL = os.environ.get("UPSTREAM_REAL_DATA")


@pytest.mark.skipif(REAL is None, reason="UPSTREAM_REAL_DATA names no folder of real files")
def test_every_real_file_is_loaded_or_refused_also_packed_cut_and_through_the_preview() -> None:
    loaded = set()
    for path in sorted(Path(str(REAL)).rglob("*.*")):
        content = path.read_bytes()
        for sent in (content, gzip.compress(content, 1), content[: len(content) // 2], content[1:]):
            told = preview(io.BytesIO(sent), ClaimMapping(), TODAY, most_rows=2000)
            assert told.rows == told.accepted + told.rejected
            assert told.refusal is None or len(told.refusal) > 30
            if told.refusal is None and sent is content:
                loaded.add(path.name)
    assert "claims_flat.csv" in loaded
    assert sum(name.endswith((".835", ".edi", ".txt")) for name in loaded) >= 5
