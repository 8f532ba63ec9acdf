"""Dates in the ways they are written: read right, refused, or missing; never another day than was meant."""

from __future__ import annotations

from datetime import date

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upstream_pipelines.claims.dates import BAD_FORM, GOOD, UNKNOWN_ORDER, parse_dates, tell_date_order
from upstream_pipelines.claims.mapping import DateOrder


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
     "0000-00-00", "00000000", "1899-12-30 00:00:00"],
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


def test_the_order_of_a_file_is_told_by_its_days_above_twelve() -> None:
    early = ["01/02/2026", "03/04/2026"]
    assert tell_date_order([pa.array(early)]) is None
    assert tell_date_order([pa.array([*early, "13/02/2026"])]) == "DMY"
    assert tell_date_order([pa.array(early), pa.array(["02/13/2026"])]) == "MDY"
    assert tell_date_order([pa.array(["2026-01-13", None, ""])]) is None


def test_one_slip_among_many_does_not_hide_the_order_but_a_mixture_does() -> None:
    many = [f"{month:02}/{day}/2026" for month in (1, 2) for day in range(13, 28)]
    assert tell_date_order([pa.array([*many, "13/02/2026"])]) == "MDY"
    assert tell_date_order([pa.array([*many, "13/02/2026", "14/02/2026", "15/02/2026"])]) is None
