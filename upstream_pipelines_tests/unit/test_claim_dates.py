"""Dates in the ways they are written: read right, refused, or missing; never another day than was meant."""

from __future__ import annotations

from datetime import date

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upstream_pipelines.claims.dates import BAD_FORM, GOOD, UNKNOWN_ORDER, DateForms, parse_dates
from upstream_pipelines.claims.mapping import DateOrder
from upstream_pipelines.errors import FileRefusedError


def _one(text: str, order: DateOrder | None = None) -> tuple[date | None, int]:
    days, verdicts = parse_dates(pa.array([text]), order)
    return days[0].as_py(), int(verdicts[0])


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-04", "2026/3/4", "2026.03.04", "20260304", "20260304.0", "2026-03-04T23:59:59Z",
        "2026-03-04 10:15:20.123456", "2026-03-04T00:00:00+02:00", "04-Mar-2026", "4 March 2026", "04-MAR-2026",
        "Mar 4, 2026", "March 4th, 2026", "4 Mar. 2026", "2026-03-04 10:15 PM",
    ],
)  # fmt: skip
def test_forms_that_tell_their_own_order_are_read(text: str) -> None:
    for order in (None, "MDY", "DMY", "YMD"):
        assert _one(text, order) == (date(2026, 3, 4), GOOD)


def test_the_order_of_day_and_month_decides_between_two_days() -> None:
    assert _one("03/04/2026", "MDY") == (date(2026, 3, 4), GOOD)
    assert _one("03/04/2026", "DMY") == (date(2026, 4, 3), GOOD)
    assert _one("03-04-2026 10:15", "DMY") == (date(2026, 4, 3), GOOD)
    assert _one("03/04/2026") == (None, UNKNOWN_ORDER)
    assert _one("03/04/2026", "YMD") == (None, UNKNOWN_ORDER)


def test_without_an_order_a_date_that_can_be_only_one_day_is_read() -> None:
    assert _one("13/04/2026") == (date(2026, 4, 13), GOOD)
    assert _one("04/13/2026") == (date(2026, 4, 13), GOOD)
    assert _one("12/13/2026") == (date(2026, 12, 13), GOOD)
    assert _one("13/12/2026") == (date(2026, 12, 13), GOOD)
    assert _one("12/11/2026") == (None, UNKNOWN_ORDER)
    assert _one("05/05/2026") == (date(2026, 5, 5), GOOD)


def test_a_date_against_the_order_of_its_file_is_refused_not_turned_round() -> None:
    assert _one("13/04/2026", "MDY") == (None, BAD_FORM)


@pytest.mark.parametrize(
    "text",
    ["2026-02-30", "2025-02-29", "2026-13-01", "2026-00-10", "31/04/2026", "26-03-04", "03/04/26", "4-Mar-26",
     "1890-01-01", "0202-03-04", "tomorrow", "2026", "45292", "2026-03", "04-Foo-2026", "2026-03-04x", "1/2/3/2026",
     "١٢/٠٣/٢٠٢٦"],
)  # fmt: skip
def test_what_is_no_day_of_the_calendar_with_a_full_year_is_refused(text: str) -> None:
    assert _one(text, "MDY") == (None, BAD_FORM)


@pytest.mark.parametrize(
    "text",
    ["9999-12-31", "12/31/9999", "1000-01-01", "0001-01-01", "1900-01-01", "01/01/1900", "31-Dec-9999",
     "0000-00-00", "00000000", "00/00/0000", "1/0/1900", "1753-01-01", "1899-12-30 00:00:00"],
)  # fmt: skip
def test_days_that_systems_write_for_none_are_missing_not_wrong(text: str) -> None:
    assert _one(text) == (None, GOOD)


def test_missing_stays_missing() -> None:
    days, verdicts = parse_dates(pa.array([None, "2026-03-04"]), None)
    assert days.to_pylist() == [None, date(2026, 3, 4)]
    assert verdicts.tolist() == [GOOD, GOOD]


@settings(deadline=None)
@given(
    st.dates(date(1970, 1, 1), date(9998, 12, 31)),
    st.sampled_from(["%Y-%m-%d", "%Y/%m/%d", "%Y%m%d", "%d-%b-%Y", "%B %d, %Y"]),
)
def test_every_day_since_1970_comes_back_from_every_form(day: date, form: str) -> None:
    assert _one(day.strftime(form)) == (day, GOOD)


@settings(deadline=None)
@given(st.dates(date(1970, 1, 1), date(9998, 12, 31)))
def test_every_day_comes_back_in_the_order_that_is_given(day: date) -> None:
    assert _one(day.strftime("%m/%d/%Y"), "MDY") == (day, GOOD)
    assert _one(day.strftime("%d.%m.%Y"), "DMY") == (day, GOOD)


@settings(deadline=None)
@given(st.lists(st.text(max_size=25), max_size=5), st.sampled_from([None, "MDY", "DMY"]))
def test_no_text_breaks_the_parser(texts: list[str], order: DateOrder | None) -> None:
    days, verdicts = parse_dates(pa.array(texts, pa.string()), order)
    assert len(days) == len(verdicts) == len(texts)


def _forms(*columns: list[str | None]) -> DateForms:
    forms = DateForms()
    for number, column in enumerate(columns):
        forms.look({f"date {number}": pa.array(column, pa.string())})
    return forms


def test_the_order_of_a_file_is_told_by_its_days_above_twelve() -> None:
    early: list[str | None] = ["01/02/2026", "03/04/2026"]
    assert _forms(early).order is None
    assert _forms([*early, "13/02/2026"]).order == "DMY"
    assert _forms(early, ["02/13/2026"]).order == "MDY"
    assert _forms(["2026-01-13", None, ""]).order is None


def test_one_slip_among_many_does_not_hide_the_order_but_a_mixture_does() -> None:
    many: list[str | None] = [f"{month:02}/{day}/2026" for month in (1, 2) for day in range(13, 28)]
    assert _forms([*many, "13/02/2026"]).order == "MDY"
    assert _forms([*many, "13/02/2026", "14/02/2026", "15/02/2026"]).order is None


def test_a_day_that_stands_for_none_tells_nothing_of_the_order() -> None:
    """Programs write a fixed 12/31/9999 among dates of either order."""
    assert _forms(["12/31/9999", "03/04/2026"]).order is None


def test_dates_that_nothing_tells_apart_are_asked_about_with_both_answers() -> None:
    with pytest.raises(FileRefusedError) as asked:
        _forms(["03/04/2026", "2026-01-05", "05/06/2026"]).require_order()
    for words in (
        "4 March or 3 April here?",
        "2 of 3 rows",
        "date_order: MDY",
        "date_order: DMY",
        "`upstream customers configure SLUG",
    ):
        assert words in str(asked.value)
    with pytest.raises(FileRefusedError, match="some dates have the day first"):
        _forms(["13/04/2026", "04/13/2026", "05/06/2026", "05/07/2026", "05/08/2026"]).require_order()


def test_a_few_such_dates_among_others_cost_only_their_rows() -> None:
    _forms(["03/04/2026", "2026-01-05", "2026-01-06", None, "~"]).require_order()
    _forms(["13/04/2026", "03/04/2026"]).require_order()


def test_numbers_of_days_are_read_where_a_column_is_of_them() -> None:
    assert _forms(["46027", "46028.5", "", "2026-01-05"]).serial_fields == {"date 0"}
    assert _forms(["46027", "46028", "1/0/1900"]).serial_fields == {"date 0"}
    days, verdicts = parse_dates(pa.array(["46027", "46028.75", "25569", "00012"]), None, serial=True)
    assert days.to_pylist() == [date(2026, 1, 5), date(2026, 1, 6), date(1970, 1, 1), None]
    assert verdicts.tolist() == [GOOD, GOOD, GOOD, BAD_FORM]


def test_numbers_of_days_beside_dates_that_could_be_turned_stay_unread() -> None:
    """A spreadsheet that read 03/04/2026 as a number and left 13/04/2026 has exchanged day and month in the first."""
    assert _forms(["46027", "46028", "13/04/2026"]).serial_fields == frozenset()
    assert _forms(["45378", "2026-01-05", "2026-01-06"]).serial_fields == frozenset()
