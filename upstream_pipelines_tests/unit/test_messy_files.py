"""Files as customers send them: loaded with the right values, a row rejected with a reason, or refused with what to do.

Most likely wrong: a row that is in neither count, or a value that was guessed.
"""

from __future__ import annotations

import io
from datetime import date
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest

from upstream_pipelines.claims.judge import Judge
from upstream_pipelines.claims.mapping import ClaimMapping
from upstream_pipelines.ingest import csv_reader
from upstream_pipelines.ingest.csv_reader import open_csv
from upstream_pipelines_tests.unit.claim_files import (
    CELLS,
    HEADER,
    ROW,
    TODAY,
    line,
    read_file,
    refused,
)


def _value(field: str, cell: str) -> tuple[Any, str | None]:
    """What one cell of one file becomes, and the rule its row was rejected by."""
    accepted, rejected, _, _ = read_file(f"{HEADER}\n{line(**{field: cell})}\n")
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
        accepted, rejected, _, _ = read_file("\n".join([HEADER, line(**{field: cell}), *[ROW] * 40]))
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
    accepted, _, _, _ = read_file(f"{HEADER}\n{line(cpt=cpt, modifiers=sent)}\n")
    assert accepted["cpt"].tolist() == [code]
    assert (accepted["modifiers"].dropna().tolist() or [None]) == [modifiers]


def test_claim_numbers_that_a_spreadsheet_made_equal_do_not_become_one_claim() -> None:
    accepted, rejected, rows, _ = read_file("\n".join([HEADER, *[line(claim_id="1.23457E+11")] * 3, ROW]))
    assert (len(accepted), rows) == (1, 4)
    assert rejected == dict.fromkeys((1, 2, 3), "id_written_in_full")


# --- dates of a file -------------------------------------------------------------------------------


def _dates(*cells: str, **mapping: Any) -> list[date | None]:
    lines = [line(submitted_date=cell, decided_date="", outcome="pending") for cell in cells]
    accepted, _rejected, rows, _ = read_file("\n".join([HEADER, *lines]), **mapping)
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
    message = refused("\n".join([HEADER, *[line(submitted_date=cell) for cell in sent]]))
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
        ROW, HEADER, line(claim_id="C2"), ",,,,,,,,", "   ", "", "Total,,,,,,201.00,,", ",,,,,Grand Total:,201.00,,",
        "Total: 2 claims", "Page 1 of 1", ",,",
    ]  # fmt: skip
    accepted, rejected, rows, file = read_file("\n".join([HEADER, *lines]))
    assert accepted["source_row_number"].tolist() == [1, 3]
    assert rejected == dict.fromkeys((2, 6, 7, 8, 9), "claim_line")
    assert rows == 7
    assert file.detected["empty_rows"] == 3


def test_a_line_that_lacks_its_date_is_no_total_whatever_its_payer_is_called() -> None:
    lines = [line(claim_id="", payer="Total Health Care", submitted_date=""), line(payer="Total Health Care")]
    accepted, rejected, _, _ = read_file("\n".join([HEADER, *lines]))
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
    accepted, rejected, rows, _ = read_file("\n".join([HEADER, ROW, ROW.replace("Aetna", '"Aetna'), ROW, ROW]))
    assert (len(accepted), rejected, rows) == (1, dict.fromkeys((2, 3, 4), "row_shape"), 4)
    later = ROW.replace("Aetna", '"Aetna')
    accepted, rejected, rows, _ = read_file(f"{HEADER}\n{ROW}\n{later}\n{ROW}\n{later}\n{ROW}\nragged\n{ROW}")
    assert rows == 7
    assert set(accepted["source_row_number"]) | set(rejected) == set(range(1, 8))
    assert {1, 5, 7} <= set(accepted["source_row_number"])


def test_a_quote_that_takes_a_part_of_the_file_with_it_is_refused_with_its_row() -> None:
    message = refused("\n".join([HEADER, ROW, ROW.replace("Aetna", '"CANARY'), *[ROW] * 150]))
    assert "data row 2" in message
    assert "CANARY" not in message


def test_a_ragged_row_is_rejected_and_does_not_shift_the_others() -> None:
    accepted, rejected, _, _ = read_file("\n".join([HEADER, ROW, "a,b", ROW + ",x", ROW]))
    assert accepted["source_row_number"].tolist() == [1, 4]
    assert rejected == {2: "row_shape", 3: "row_shape"}


@pytest.mark.parametrize(("header", "row"), [(HEADER, ROW + ","), (HEADER + ",", ROW)])
def test_a_delimiter_at_the_end_of_each_row_or_of_the_header_only_costs_no_row(header: str, row: str) -> None:
    accepted, rejected, _, _ = read_file(f"{header}\n{row}\n{row}")
    assert (len(accepted), rejected) == (2, {})


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_each_line_end_parts_rows(end: str) -> None:
    accepted, _, rows, _ = read_file(end.join([HEADER, ROW, line(claim_id="C2"), ""]))
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
    accepted, rejected, _, file = read_file(f"{header}\n{ROW}\n")
    assert rejected == {}
    assert sorted(file.detected["columns"].values()) == sorted(CELLS)
    assert accepted[["claim_id", "payer", "cpt"]].to_dict("records") == [
        {"claim_id": "C1", "payer": "Aetna", "cpt": "99213"}
    ]


def test_a_file_without_header_is_refused_with_the_mapping_it_needs_and_loaded_under_it() -> None:
    content = f"{ROW}\n{line(claim_id='C2')}\n"
    message = refused(content)
    assert "no_header: true" in message
    assert "Aetna" not in message
    columns = {field: place for place, field in enumerate(CELLS, 1)}
    accepted, rejected, rows, file = read_file(content, no_header=True, columns=columns)
    assert (accepted["claim_id"].tolist(), rejected, rows) == (["C1", "C2"], {}, 2)
    assert file.detected["columns"]["2"] == "payer"
    assert "the file has 9 columns" in refused(content, no_header=True, columns=columns | {"payer": 12})
    for delimiter in ";\t|":
        swapped = content.replace(",", delimiter)
        assert read_file(swapped, no_header=True, columns=columns)[3].detected["delimiter"] == delimiter


# --- encodings and packings ------------------------------------------------------------------------


def test_dots_are_thousands_where_the_column_writes_its_decimals_after_a_comma() -> None:
    rows = [
        line(claim_id=f"C{n}", allowed_amount=cell)
        for n, cell in enumerate(("1.234,56", "1.000", "1,500", "12,5"))
    ]
    accepted, _, _, _ = read_file("\n".join([HEADER, *rows]))
    assert list(accepted["allowed_amount"]) == [
        Decimal("1234.56"),
        Decimal("1000.00"),
        Decimal("1.50"),
        Decimal("12.50"),
    ]
    rows = [line(claim_id=f"C{n}", allowed_amount=cell) for n, cell in enumerate(("1,234.56", "12.500", "1,500"))]
    accepted, _, _, _ = read_file("\n".join([HEADER, *rows]))
    assert list(accepted["allowed_amount"]) == [Decimal("1234.56"), Decimal("12.50"), Decimal("1500.00")]


def test_marks_that_nobody_sees_make_no_other_claim() -> None:
    rows = [line(claim_id=claim_id) for claim_id in ("A2", "\ufeffA2", "A\u200b2")]
    accepted, _, _, _ = read_file("\n".join([HEADER, *rows]))
    assert set(accepted["claim_id"]) == {"A2"}
    assert len(set(accepted["line_key"])) == 1


def test_the_header_again_in_capitals_or_after_a_byte_order_mark_is_no_claim() -> None:
    accepted, rejected, rows, _ = read_file("\n".join([HEADER, ROW, HEADER.upper(), "\ufeff" + HEADER, ROW]))
    assert (len(accepted), rows, set(rejected.values())) == (2, 4, {"claim_line"})


def test_rows_of_another_width_are_refused_before_they_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_reader, "_MOST_LEFT_OUT", 1000)
    said = refused("\n".join([HEADER, *["x,1"] * 1500, ROW]))
    assert "More than 1,000 rows one after the other" in said
    assert "9" in said
    assert read_file("\n".join([HEADER, *["x,1"] * 900, ROW]))[2] == 901


def test_one_slip_among_the_first_dates_does_not_turn_the_file_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_reader, "_BLOCK_BYTES", 2000)
    days = [f"02/{day:02}/2026" for day in range(1, 13) for _ in range(3)] + [
        f"02/{day}/2026" for day in range(13, 29)
    ]
    days.insert(3, "13/02/2026")
    content = "\n".join(
        [
            HEADER,
            *(line(claim_id=f"C{n}", submitted_date=day, decided_date="2026-03-15") for n, day in enumerate(days)),
        ]
    )
    assert "Does 03/04/2026 mean 4 March or 3 April here?" in refused(content)
    accepted, rejected, _, _ = read_file(content, date_order="MDY")
    assert (len(accepted), rejected) == (len(days) - 1, {4: "date_form"})
