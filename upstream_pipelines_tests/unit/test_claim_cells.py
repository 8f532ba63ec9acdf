"""Cells as typed columns: amounts to the cent, codes in one form, words to outcomes; nothing guessed."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upstream_pipelines.claims.fields import FIELDS
from upstream_pipelines.claims.mapping import ClaimMapping
from upstream_pipelines.claims.normalise import ARROW_TYPES, parse_amounts, type_block


def _typed(field: str, *cells: str | None, **mapping: Any) -> tuple[list[Any], dict[str, list[bool]]]:
    frame = pd.DataFrame({field: list(cells)}, dtype=pd.ArrowDtype(pa.string()))
    typed = type_block(frame, ClaimMapping(**mapping), "MDY")
    return typed.columns[field].to_pylist(), {rule: mask.tolist() for rule, _, mask in typed.failures}


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("100.50", "100.50"), ("$1,234.56", "1234.56"), ("1234", "1234.00"), (".5", "0.50"), ("5.", "5.00"),
        ("USD 1,234,567.8", "1234567.80"), ("1.234,56", "1234.56"), ("1234,5", "1234.50"), ("+7", "7.00"),
        ("177.10000000000002", "177.10"), ("0.005", "0.00"), ("0.015", "0.02"), ("1.5E3", "1500.00"), ("$ 12 ", "12.00"),
        ("999999999999.99", "999999999999.99"), ("(1.23)", "-1.23"), ("1.23-", "-1.23"), ("-1.23", "-1.23"),
        ("$(1,234.56)", "-1234.56"), ("-$5", "-5.00"), ("($5)", "-5.00"),
    ],
)  # fmt: skip
def test_amounts_are_read_in_their_many_forms(text: str, amount: str) -> None:
    values, bad = parse_amounts(pa.array([text.strip(), "1"]), digits=14, scale=2)
    assert values[0].as_py() == Decimal(amount)
    assert not bad.any()


@pytest.mark.parametrize(
    "text", ["abc", "1.2.3", "12,34,56", "1,2345", "--5", "1e99", "1000000000000", "nan.", "inf", "5%", "$"]
)
def test_what_is_no_amount_is_refused_not_guessed(text: str) -> None:
    values, bad = parse_amounts(pa.array([text]), digits=14, scale=2)
    assert values[0].as_py() is None
    assert bad.tolist() == [True]


@settings(deadline=None)
@given(st.decimals(Decimal(0), Decimal("999999999999.99"), places=2), st.booleans())
def test_every_amount_of_fourteen_digits_comes_back_to_the_cent(amount: Decimal, grouped: bool) -> None:
    text = f"${amount:,}" if grouped else str(amount)
    assert parse_amounts(pa.array([text]), digits=14, scale=2)[0][0].as_py() == amount


@settings(deadline=None)
@given(st.lists(st.text(max_size=15), max_size=5))
def test_no_text_breaks_the_amounts(texts: list[str]) -> None:
    values, bad = parse_amounts(pa.array(texts, pa.string()), digits=14, scale=2)
    assert [value is None for value in values.to_pylist()] == bad.tolist()


def test_negative_amounts_are_set_apart_from_unreadable_ones() -> None:
    values, failures = _typed("paid_amount", "(1.23)", "x", "2", None)
    assert values == [None, None, Decimal("2.00"), None]
    assert failures == {
        "amount_form": [False, True, False, False],
        "amount_not_negative": [True, False, False, False],
    }


@pytest.mark.parametrize("text", ["", " ", "~", "N/A", "NULL", "None", "-", "nan", "\u00a0"])
def test_the_ways_of_writing_nothing_are_missing_in_every_field(text: str) -> None:
    for field in FIELDS:
        assert _typed(field, text, None) == ([None, None], {})


@pytest.mark.parametrize(
    ("sent", "outcome"),
    [
        ("Paid", "PAID"), ("APPROVED", "PAID"), ("Partially-Paid", "PAID"), ("denied", "DENIED"), ("Declined", "DENIED"),
        ("Rejected", "DENIED"), ("In Process", "PENDING"), ("open", "PENDING"), ("in_progress", "PENDING"),
        ("voided", "OTHER"),
    ],
)  # fmt: skip
def test_words_for_outcomes_are_known(sent: str, outcome: str) -> None:
    assert _typed("outcome", sent)[0] == [outcome]


def test_an_unknown_word_is_other_and_told_and_the_mapping_teaches_it() -> None:
    frame = pd.DataFrame({"outcome": ["Zahlung", "paid", None]}, dtype=pd.ArrowDtype(pa.string()))
    typed = type_block(frame, ClaimMapping(), None)
    assert typed.columns["outcome"].to_pylist() == ["OTHER", "PAID", None]
    assert typed.outcome_known.to_pylist() == [False, True, True]
    assert _typed("outcome", "zahlung!", outcomes={"Zahlung": "PAID"})[0] == ["PAID"]
    assert _typed("outcome", "open", outcomes={"Open": "DENIED"})[0] == ["DENIED"]


def test_a_modifier_glued_to_its_code_is_split_off_and_kept_once() -> None:
    frame = pd.DataFrame(
        {
            "cpt": ["99213-25", "j1100 59,lt", "99213", "99214-25", "99214-25", "99213.0", "TOOLONG-25"],
            "modifiers": [None, None, "26", "25", "59", None, None],
        },
        dtype=pd.ArrowDtype(pa.string()),
    )
    typed = type_block(frame, ClaimMapping(), None)
    assert typed.columns["cpt"].to_pylist() == ["99213", "J1100", "99213", "99214", "99214", "99213", "TOOLONG-25"]
    assert typed.columns["modifiers"].to_pylist() == ["25", "59 LT", "26", "25", "25 59", None, None]


def test_codes_lose_what_spreadsheets_add() -> None:
    assert _typed("provider_npi", "1437702123.0", "1437702123")[0] == ["1437702123", "1437702123"]
    assert _typed("denial_reason_code", "co45", "CO 45", "CO-45", "16.0", "197", "b7", "pr_1")[0] == [
        "CO-45", "CO-45", "CO-45", "16", "197", "B7", "PR-1",
    ]  # fmt: skip
    assert _typed("diagnosis_codes", "e11.9; i10", "M54.5|R07.9")[0] == ["E11.9 I10", "M54.5 R07.9"]


def test_units_and_flags_that_cannot_be_read_are_emptied_and_told() -> None:
    assert _typed("units", "2", "1.5", "two", "-1") == (
        [Decimal("2.000"), Decimal("1.500"), None, None],
        {"units_form": [False, False, True, True]},
    )
    assert _typed("authorization_required", "Yes", "n", "TRUE", "0", "maybe") == (
        [True, False, True, False, None],
        {"flag_form": [False, False, False, False, True]},
    )


def test_line_numbers_are_whole_numbers() -> None:
    assert _typed("line_number", "1", "2.0", "007", "1.5", "x", "9999999999") == (
        [1, 2, 7, None, None, None],
        {"line_number_form": [False, False, False, True, True, True]},
    )


def test_overlong_cells_and_control_characters_are_told_not_stored() -> None:
    values, failures = _typed("payer", "x" * 201, "a\x00b", "a\tb", "x" * 200)
    assert values == [None, None, "a b", "x" * 200]
    assert failures == {"text_form": [True, True, False, False]}


def test_a_source_without_procedure_codes_gets_the_placeholder() -> None:
    frame = pd.DataFrame({"payer": ["A"]}, dtype=pd.ArrowDtype(pa.string()))
    assert type_block(frame, ClaimMapping(no_cpt=True), None).columns["cpt"].to_pylist() == ["UNSPECIFIED"]
    assert type_block(frame, ClaimMapping(), None).columns["cpt"].to_pylist() == [None]


_WORDS = st.sampled_from(
    ["1", "2026-03-04", "03/04/2026", "paid", "99213-25", "yes", "co 45", "(5)", "~", "x" * 300, "\x01"]
)


@settings(deadline=None)
@given(
    st.lists(st.lists(st.one_of(_WORDS, st.text(max_size=12)), min_size=22, max_size=22), min_size=1, max_size=4)
)
def test_every_column_has_its_type_whatever_is_in_it(rows: list[list[str]]) -> None:
    frame = pd.DataFrame(rows, columns=list(FIELDS), dtype=pd.ArrowDtype(pa.string()))
    typed = type_block(frame, ClaimMapping(), "MDY")
    for name, array in typed.columns.items():
        assert array.type == ARROW_TYPES[FIELDS[name].kind]
        assert len(array) == len(rows)
        array.validate(full=True)


def test_a_day_is_stored_as_the_day_that_was_written() -> None:
    assert _typed("service_date", "03/04/2026 23:59")[0] == [date(2026, 3, 4)]
