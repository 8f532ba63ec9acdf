"""Files as customers send them: loaded with the right values, a row rejected with a reason, or refused with what to do.

Most likely wrong: a row that is in neither count, or a value that was guessed.
"""

from __future__ import annotations

import codecs
import gzip
import io
import zipfile
from datetime import date
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest

from upstream_pipelines.claims.judge import Judge
from upstream_pipelines.claims.mapping import ClaimMapping
from upstream_pipelines.errors import FileRefusedError
from upstream_pipelines.ingest import csv_reader, unpack
from upstream_pipelines.ingest.csv_reader import CsvFile, open_csv
from upstream_pipelines.ingest.recognise import source_of
from upstream_pipelines.ingest.remittance_reader import open_remittance

TODAY = date(2026, 11, 24)
HEADER = "claim_id,payer,cpt,submitted_date,decided_date,outcome,allowed_amount,modifiers,provider_npi"
CELLS = HEADER.split(",")
GOOD = dict(
    zip(CELLS, ["C1", "Aetna", "99213", "2026-01-05", "2026-02-01", "Paid", "100.50", "", ""], strict=True)
)
ROW = ",".join(GOOD.values())


def _read(content: str | bytes, **mapping: Any) -> tuple[pd.DataFrame, dict[int, str], int, CsvFile]:
    """Accepted lines, rule by rejected row, rows, the file."""
    chosen = ClaimMapping(**mapping)
    file = open_csv(io.BytesIO(content.encode() if isinstance(content, str) else content), chosen)
    judge = Judge(chosen, TODAY)
    judged = [judge.judge(block) for block in file.blocks()]
    accepted = pd.concat([block.accepted for block in judged], ignore_index=True)
    rejected = pd.concat([block.rejected for block in judged], ignore_index=True)
    rows = sum(block.rows for block in judged)
    assert rows == len(accepted) + rejected["source_row_number"].nunique() == judge.counters().rows
    assert rejected.empty or rejected["reason"].str.len().min() > 20
    return accepted, dict(zip(rejected["source_row_number"], rejected["rule"], strict=True)), rows, file


def _refused(content: str | bytes, **mapping: Any) -> str:
    with pytest.raises(FileRefusedError) as refused:
        _read(content, **mapping)
    return str(refused.value)


def _line(**cells: str) -> str:
    return ",".join(f'"{cell}"' if "," in cell else cell for cell in (GOOD | cells).values())


def _value(field: str, cell: str) -> tuple[Any, str | None]:
    """What one cell of one file becomes, and the rule its row was rejected by."""
    accepted, rejected, _, _ = _read(f"{HEADER}\n{_line(**{field: cell})}\n")
    value = None if accepted.empty or pd.isna(accepted[field][0]) else accepted[field][0]
    return value, rejected.get(1)


# --- cells -----------------------------------------------------------------------------------------

CELL_TABLE = [
    ("provider_npi", "1234567890.0", "1234567890", None),
    ("provider_npi", "1.234567893E+09", "1234567893", None),
    ("provider_npi", "1.23456789E9", "1234567890", None),
    ("provider_npi", "1.23456789E+09", None, None),
    ("claim_id", "1001.0", "1001", None),
    ("claim_id", "1.23457E+11", None, "id_written_in_full"),
    ("claim_id", "1.234567890123E+12", "1234567890123", None),
    ("claim_id", "12E5", "12E5", None),
    ("cpt", "00100", "00100", None),
    ("cpt", '="00100"', "00100", None),
    ("cpt", "'00100", "00100", None),
    ("cpt", "j1100", "J1100", None),
    ("cpt", "0075t", "0075T", None),
    ("cpt", "9.9213E+04", "99213", None),
    ("cpt", "9.9E+04", None, "id_written_in_full"),
    ("allowed_amount", "$1,234.50", Decimal("1234.50"), None),
    ("allowed_amount", "US$ 1,234.50", Decimal("1234.50"), None),
    ("allowed_amount", "1\u202f234.50", Decimal("1234.50"), None),
    ("allowed_amount", "($5.00)", None, "amount_not_negative"),
    ("allowed_amount", "\u22125.00", None, "amount_not_negative"),
    ("allowed_amount", "5%", None, "amount_form"),
    ("allowed_amount", "\u20ac5", None, "amount_form"),
    *((field, nothing, None, None) for field in ("allowed_amount", "provider_npi", "claim_id")
      for nothing in ("~", "N/A", "NULL", "-", "\u2014")),
    *(("payer", nothing, None, "payer_present") for nothing in ("~", "N/A", "NULL", "-")),
    *(("submitted_date", nothing, None, "submitted_date_present")
      for nothing in ("0000-00-00", "1900-01-01", "9999-12-31", "12/31/9999", "1/0/1900", "00/00/0000")),
    ("payer", "x" * 65536, None, "text_form"),
    ("payer", "Aet\x00na", None, "text_form"),
    ("submitted_date", "2026-01\x00-05", None, "date_form"),
    ("submitted_date", "3/4/26", None, "date_form"),
    ("submitted_date", "Jan 5, 2026", date(2026, 1, 5), None),
]  # fmt: skip


@pytest.mark.parametrize(("field", "cell", "value", "rule"), CELL_TABLE)
def test_a_cell_becomes_its_value_or_its_row_is_rejected_by_a_rule(
    field: str, cell: str, value: Any, rule: str | None
) -> None:
    if "\x00" in cell:
        accepted, rejected, _, _ = _read("\n".join([HEADER, _line(**{field: cell}), *[ROW] * 40]))
        assert (len(accepted), rejected) == (40, {1: rule})
    else:
        assert _value(field, cell) == (value, rule)


@pytest.mark.parametrize(
    ("cpt", "sent", "code", "modifiers"),
    [
        ("99213-25", "", "99213", "25"), ("9921325", "", "99213", "25"), ("99213 25 59", "", "99213", "25 59"),
        ("992132559", "", "99213", "25 59"), ("j1100lt", "", "J1100", "LT"), ("99213", "2559", "99213", "25 59"),
        ("99213", "25.0", "99213", "25"), ("9921325", "25", "99213", "25"), ("9921300", "", "9921300", None),
        ("1234567", "", "1234567", None), ("99213;99214", "", "99213;99214", None),
    ],
)  # fmt: skip
def test_modifiers_glued_to_codes_are_split_off_only_where_they_are_modifiers(
    cpt: str, sent: str, code: str, modifiers: str | None
) -> None:
    accepted, _, _, _ = _read(f"{HEADER}\n{_line(cpt=cpt, modifiers=sent)}\n")
    assert accepted["cpt"].tolist() == [code]
    assert (accepted["modifiers"].dropna().tolist() or [None]) == [modifiers]


def test_claim_numbers_that_a_spreadsheet_made_equal_do_not_become_one_claim() -> None:
    accepted, rejected, rows, _ = _read("\n".join([HEADER, *[_line(claim_id="1.23457E+11")] * 3, ROW]))
    assert (len(accepted), rows) == (1, 4)
    assert rejected == dict.fromkeys((1, 2, 3), "id_written_in_full")


# --- dates of a file -------------------------------------------------------------------------------


def _dates(*cells: str, **mapping: Any) -> list[date | None]:
    lines = [_line(submitted_date=cell, decided_date="", outcome="pending") for cell in cells]
    accepted, _rejected, rows, _ = _read("\n".join([HEADER, *lines]), **mapping)
    assert rows == len(cells)
    days = dict(zip(accepted["source_row_number"], accepted["submitted_date"], strict=True))
    return [days.get(number) for number in range(1, rows + 1)]


def test_forms_may_be_mixed_in_one_column_and_one_day_above_twelve_decides_for_the_file() -> None:
    sent = ["2026-01-05", "03/04/2026", "20260105", "5 Jan 2026", "03/13/2026"]
    jan, mar = date(2026, 1, 5), date(2026, 3, 4)
    assert _dates(*sent) == [jan, mar, jan, jan, date(2026, 3, 13)]
    assert _dates(*sent[:4], "13/03/2026") == [jan, date(2026, 4, 3), jan, jan, date(2026, 3, 13)]


def test_dates_of_either_order_are_asked_about_and_the_answer_is_taken() -> None:
    sent = ["03/04/2026", "05/06/2026"]
    message = _refused("\n".join([HEADER, *[_line(submitted_date=cell) for cell in sent]]))
    assert "4 March or 3 April" in message
    assert "date_order: DMY" in message
    assert _dates(*sent, date_order="DMY") == [date(2026, 4, 3), date(2026, 6, 5)]
    assert _dates(*sent, date_order="MDY") == [date(2026, 3, 4), date(2026, 5, 6)]


def test_the_order_is_looked_for_beyond_the_first_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in order of its dates begins with thousands of lines of the first days of a month."""
    monkeypatch.setattr(csv_reader, "_BLOCK_BYTES", 4000)
    sent = ["01/02/2026"] * 200 + ["01/13/2026"]
    assert _dates(*sent) == [date(2026, 1, 2)] * 200 + [date(2026, 1, 13)]


def test_days_of_a_spreadsheet_are_read_where_the_column_is_of_them() -> None:
    assert _dates("46027", "46028", "2026-01-09") == [date(2026, 1, 5), date(2026, 1, 6), date(2026, 1, 9)]
    assert _dates("46027", "13/01/2026") == [None, date(2026, 1, 13)]


# --- rows ------------------------------------------------------------------------------------------


def test_headers_again_and_totals_are_set_apart_as_such_and_empty_rows_are_no_rows() -> None:
    lines = [
        ROW, HEADER, _line(claim_id="C2"), ",,,,,,,,", "   ", "", "Total,,,,,,201.00,,", ",,,,,Grand Total:,201.00,,",
        "Total: 2 claims", "Page 1 of 1", ",,",
    ]  # fmt: skip
    accepted, rejected, rows, file = _read("\n".join([HEADER, *lines]))
    assert accepted["source_row_number"].tolist() == [1, 3]
    assert rejected == dict.fromkeys((2, 6, 7, 8, 9), "claim_line")
    assert rows == 7
    assert file.detected["empty_rows"] == 3


def test_a_line_that_lacks_its_date_is_no_total_whatever_its_payer_is_called() -> None:
    lines = [_line(claim_id="", payer="Total Health Care", submitted_date=""), _line(payer="Total Health Care")]
    accepted, rejected, _, _ = _read("\n".join([HEADER, *lines]))
    assert rejected == {1: "submitted_date_present"}
    assert accepted["payer"].tolist() == ["Total Health Care"]


def test_headers_again_and_totals_are_no_fault_of_the_file() -> None:
    file = open_csv(io.BytesIO(f"{HEADER}\n{ROW}\n{HEADER}\nTotal: 1\n".encode()), ClaimMapping())
    judge = Judge(ClaimMapping(), TODAY)
    for block in file.blocks():
        judge.judge(block)
    found = judge.findings().set_index("rule")
    assert found.loc[found["failing_rows"] > 0, "severity"].to_dict() == {"claim_line": "info"}
    assert found.loc["claim_line", "sample_row_numbers"] == [2, 3]
    assert judge.counters().missing.get("payer") == 0


def test_rows_inside_a_quote_that_is_never_closed_are_counted_as_rows() -> None:
    accepted, rejected, rows, _ = _read("\n".join([HEADER, ROW, ROW.replace("Aetna", '"Aetna'), ROW, ROW]))
    assert (len(accepted), rejected, rows) == (1, dict.fromkeys((2, 3, 4), "row_shape"), 4)
    later = ROW.replace("Aetna", '"Aetna')
    accepted, rejected, rows, _ = _read(f"{HEADER}\n{ROW}\n{later}\n{ROW}\n{later}\n{ROW}\nragged\n{ROW}")
    assert rows == 7
    assert set(accepted["source_row_number"]) | set(rejected) == set(range(1, 8))
    assert {1, 5, 7} <= set(accepted["source_row_number"])


def test_a_quote_that_takes_a_part_of_the_file_with_it_is_refused_with_its_row() -> None:
    message = _refused("\n".join([HEADER, ROW, ROW.replace("Aetna", '"CANARY'), *[ROW] * 150]))
    assert "data row 2" in message
    assert "CANARY" not in message


def test_a_ragged_row_is_rejected_and_does_not_shift_the_others() -> None:
    accepted, rejected, _, _ = _read("\n".join([HEADER, ROW, "a,b", ROW + ",x", ROW]))
    assert accepted["source_row_number"].tolist() == [1, 4]
    assert rejected == {2: "row_shape", 3: "row_shape"}


@pytest.mark.parametrize(("header", "row"), [(HEADER, ROW + ","), (HEADER + ",", ROW)])
def test_a_delimiter_at_the_end_of_each_row_or_of_the_header_only_costs_no_row(header: str, row: str) -> None:
    accepted, rejected, _, _ = _read(f"{header}\n{row}\n{row}")
    assert (len(accepted), rejected) == (2, {})


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_each_line_end_parts_rows(end: str) -> None:
    accepted, _, rows, _ = _read(end.join([HEADER, ROW, _line(claim_id="C2"), ""]))
    assert (accepted["claim_id"].tolist(), rows) == (["C1", "C2"], 2)


# --- headers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        '" Claim\nNumber ", PAYER NAME ,"CPT(R) Code","Submitted\r\nDate",Decision-Date,"Claim ""Status""",Allowed $,Mod,NPI #',
        "\ufeff\ufeffClaim ID,Payor,HCPCS,Date of Submission,Adjudication Date,STATUS,Allowed Amt.,Modifier(s),Rendering NPI",
        "CLAIM_NBR,Ins Name,Proc Cd,Submit Dt,Adjud Date,Clm Status,Allowed Amt,Mod 1,Provider NPI",
        "ClaimNumber,InsuranceCompany,ProcedureCode,SubmissionDate,DecisionDate,ClaimStatus,AllowedAmount,Modifiers,NPI",
        "Claim No.,Primary Payer,CPT/HCPCS,Date Submitted,Date Processed,Status,Allowed,Mods,Billing NPI",
    ],
)  # fmt: skip
def test_headers_are_known_however_they_are_written(header: str) -> None:
    accepted, rejected, _, file = _read(f"{header}\n{ROW}\n")
    assert rejected == {}
    assert sorted(file.detected["columns"].values()) == sorted(CELLS)
    assert accepted[["claim_id", "payer", "cpt"]].to_dict("records") == [
        {"claim_id": "C1", "payer": "Aetna", "cpt": "99213"}
    ]


def test_a_file_without_header_is_refused_with_the_mapping_it_needs_and_loaded_under_it() -> None:
    content = f"{ROW}\n{_line(claim_id='C2')}\n"
    message = _refused(content)
    assert "no_header: true" in message
    assert "Aetna" not in message
    columns = {field: place for place, field in enumerate(CELLS, 1)}
    accepted, rejected, rows, file = _read(content, no_header=True, columns=columns)
    assert (accepted["claim_id"].tolist(), rejected, rows) == (["C1", "C2"], {}, 2)
    assert file.detected["columns"]["2"] == "payer"
    assert "the file has 9 columns" in _refused(content, no_header=True, columns=columns | {"payer": 12})
    for delimiter in ";\t|":
        swapped = content.replace(",", delimiter)
        assert _read(swapped, no_header=True, columns=columns)[3].detected["delimiter"] == delimiter


# --- encodings and packings ------------------------------------------------------------------------

TEXT = f"{HEADER}\n{ROW.replace('Aetna', 'Santé “Québec”')}\n"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    "encoded",
    [
        lambda text: text.encode(),
        lambda text: codecs.BOM_UTF8 + text.encode(),
        lambda text: text.encode("utf-16"),
        lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
        lambda text: text.encode("utf-16-le"),
        lambda text: text.encode("windows-1252"),
    ],
    ids=["utf-8", "utf-8 BOM", "utf-16", "utf-16 BE", "utf-16 without BOM", "windows-1252"],
)
def test_every_encoding_goes_with_every_delimiter_and_with_a_packing(encoded: Any, delimiter: str) -> None:
    content = encoded(TEXT.replace(",", delimiter))
    sent: list[tuple[bytes, str | None]] = [(content, None)]
    if delimiter == ",":
        sent = [(gzip.compress(content), "gzip"), (_zip({"a.csv": content}), "zip")]
    for packed, name in sent:
        accepted, rejected, _, file = _read(packed)
        assert (accepted["payer"].tolist(), rejected) == (["Santé “Québec”"], {})
        assert file.detected.get("compression") == name


def _zip(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def test_gzip_of_several_members_and_with_padding_is_read_to_its_end() -> None:
    halves = [gzip.compress(part.encode()) for part in (f"{HEADER}\n{ROW}\n", f"{_line(claim_id='C2')}\n")]
    assert _read(b"".join(halves) + bytes(600))[0]["claim_id"].tolist() == ["C1", "C2"]


def test_what_systems_add_to_an_archive_is_passed_over() -> None:
    members = {
        "claims/": b"",
        "__MACOSX/._a.csv": b"\x00\x05",
        "claims/a.csv": TEXT.encode(),
        "claims/.DS_Store": b"x",
    }
    assert len(_read(_zip(members))[0]) == 1


def test_what_cannot_be_unpacked_is_refused_and_told_what_to_do() -> None:
    good, text = gzip.compress(TEXT.encode()), TEXT.encode()
    encrypted = bytearray(_zip({"a.csv": text}))
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        encrypted[encrypted.index(signature) + place] |= 1
    for content, says in (
        (_zip({"CANARY.csv": text, "b.csv": text}), "holds 2 files. Send each"),
        (_zip({}) + b"", "empty" if _zip({})[:4] != b"PK\x03\x04" else "holds no file"),
        (_zip({"__MACOSX/._a.csv": b"x"}), "holds no file"),
        (_zip({"[Content_Types].xml": b"<x/>", "xl/workbook.xml": b""}), "Excel workbook"),
        (bytes(encrypted), "encrypted"),
        (good[:-20], "damaged"),
        (good[:-8] + b"\x00" * 8, "damaged"),
        (_zip({"a.csv": text})[:-10], "damaged"),
        (gzip.compress(good), "packed twice"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(40), "7z"),
    ):
        message = _refused(content) if says != "empty" else "empty"
        assert says in message
        assert "CANARY" not in message


@pytest.mark.parametrize("pack", [gzip.compress, lambda content: _zip({"a.csv": content})])
def test_a_bomb_is_refused_by_its_ratio_and_by_its_bytes_before_it_is_unpacked(
    pack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = pack((HEADER + "\n" + ROW + "\n" + " " * 8_000_000).encode())
    monkeypatch.setattr(unpack, "FREE_BYTES", 1_000_000)
    assert "unpacks to more than" in _refused(bomb)
    monkeypatch.setattr(unpack, "MOST_RATIO", 10**9)
    monkeypatch.setattr(unpack, "MOST_BYTES", 2_000_000)
    assert "unpacks to more than" in _refused(bomb)


def test_a_packed_remittance_is_recognised_and_read(remittance: Any) -> None:
    sent = remittance("CLP*A1*1*100*80**12*N1~SVC*HC:99213*100*80~DTM*472*20260105~CAS*CO*45*20")
    for packed in (gzip.compress(sent), _zip({"era.835": sent}), _zip({"era.835": sent}, zipfile.ZIP_STORED)):
        assert source_of(packed[:4096]) == "x12_835"
        lines = [
            line for block in open_remittance(io.BytesIO(packed), TODAY).blocks() for line in block.row_numbers
        ]
        assert len(lines) == 1
    assert source_of(gzip.compress(TEXT.encode())[:4096]) == "csv"
    assert source_of(b"\x1f\x8b damaged") == "csv"


def test_dots_are_thousands_where_the_column_writes_its_decimals_after_a_comma() -> None:
    rows = [
        _line(claim_id=f"C{n}", allowed_amount=cell)
        for n, cell in enumerate(("1.234,56", "1.000", "1,500", "12,5"))
    ]
    accepted, _, _, _ = _read("\n".join([HEADER, *rows]))
    assert list(accepted["allowed_amount"]) == [
        Decimal("1234.56"),
        Decimal("1000.00"),
        Decimal("1.50"),
        Decimal("12.50"),
    ]
    rows = [_line(claim_id=f"C{n}", allowed_amount=cell) for n, cell in enumerate(("1,234.56", "12.500", "1,500"))]
    accepted, _, _, _ = _read("\n".join([HEADER, *rows]))
    assert list(accepted["allowed_amount"]) == [Decimal("1234.56"), Decimal("12.50"), Decimal("1500.00")]


def test_marks_that_nobody_sees_make_no_other_claim() -> None:
    rows = [_line(claim_id=claim_id) for claim_id in ("A2", "\ufeffA2", "A\u200b2")]
    accepted, _, _, _ = _read("\n".join([HEADER, *rows]))
    assert set(accepted["claim_id"]) == {"A2"}
    assert len(set(accepted["line_key"])) == 1


def test_the_header_again_in_capitals_or_after_a_byte_order_mark_is_no_claim() -> None:
    accepted, rejected, rows, _ = _read("\n".join([HEADER, ROW, HEADER.upper(), "\ufeff" + HEADER, ROW]))
    assert (len(accepted), rows, set(rejected.values())) == (2, 4, {"claim_line"})


def test_rows_of_another_width_are_refused_before_they_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_reader, "_MOST_LEFT_OUT", 1000)
    said = _refused("\n".join([HEADER, *["x,1"] * 1500, ROW]))
    assert "More than 1,000 rows one after the other" in said
    assert "9" in said
    assert _read("\n".join([HEADER, *["x,1"] * 900, ROW]))[2] == 901


def test_one_slip_among_the_first_dates_does_not_turn_the_file_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_reader, "_BLOCK_BYTES", 2000)
    days = [f"02/{day:02}/2026" for day in range(1, 13) for _ in range(3)] + [
        f"02/{day}/2026" for day in range(13, 29)
    ]
    days.insert(3, "13/02/2026")
    content = "\n".join(
        [
            HEADER,
            *(
                _line(claim_id=f"C{n}", submitted_date=day, decided_date="2026-03-15")
                for n, day in enumerate(days)
            ),
        ]
    )
    assert "Does 03/04/2026 mean 4 March or 3 April here?" in _refused(content)
    accepted, rejected, _, _ = _read(content, date_order="MDY")
    assert (len(accepted), rejected) == (len(days) - 1, {4: "date_form"})
