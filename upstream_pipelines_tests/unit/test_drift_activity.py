"""Which claim lines count as what, in the two frames drift is computed from."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upstream_pipelines.drift import replay
from upstream_pipelines.drift.activity import (
    ACTIVITY_KEYS,
    ACTIVITY_SUMS,
    PRICE_KEYS,
    PRICE_SUMS,
    ClaimsFrameError,
    activity_from_claims,
)
from upstream_pipelines.drift.facts import DayError, day_number, day_of


def lines(**columns: Any) -> pd.DataFrame:
    """One line of Aetna, paid after ten days, with the given columns changed or added."""
    base = {
        "payer": "Aetna",
        "cpt": "99213",
        "submitted_date": "2026-01-05",
        "decided_date": "2026-01-15",
        "outcome": "PAID",
        "billed_amount": 200.0,
        "allowed_amount": 100.0,
    }
    return pd.DataFrame([{**base, **columns}])


def test_the_frames_have_the_columns_of_the_tables() -> None:
    activity, prices, _ = activity_from_claims(lines())
    assert list(activity.columns) == ACTIVITY_KEYS + ACTIVITY_SUMS
    assert list(prices.columns) == PRICE_KEYS + PRICE_SUMS
    assert activity["decision_age"].tolist() == [10]
    assert prices["sum_log_allowed"].item() == pytest.approx(np.log(100))


@pytest.mark.parametrize(
    ("code", "denied", "authorization"),
    [
        ("CO-45", 0, 0),
        ("PR-1", 0, 0),
        ("pr 2", 0, 0),
        ("PR3", 0, 0),
        ("CO-197", 1, 1),
        ("198", 1, 1),
        ("PI15", 1, 1),
        ("CO-16", 1, 0),
        ("45", 1, 0),
        (None, 1, 0),
    ],
)
def test_contractual_and_patient_adjustments_are_no_denials_and_authorisation_is_told_apart(
    code: str | None, denied: int, authorization: int
) -> None:
    """The likeliest mistake is to read CARC 45 without its group, or CO-145 as 45."""
    activity, _, _ = activity_from_claims(lines(outcome="DENIED", denial_reason_code=code))
    assert activity["denied"].tolist() == [denied]
    assert activity["denied_authorization"].tolist() == [authorization]
    assert activity["decision_age"].tolist() == [10]


def test_a_pending_line_with_a_decided_date_is_undecided() -> None:
    activity, prices, _ = activity_from_claims(lines(outcome="PENDING"))
    assert activity["decision_age"].isna().all()
    assert activity["decision_known_day"].isna().all()
    assert activity["denied"].tolist() == [0]
    assert prices.empty


def test_a_line_decided_before_it_was_submitted_has_age_zero() -> None:
    activity, _, _ = activity_from_claims(lines(decided_date="2026-01-01"))
    assert activity["decision_age"].tolist() == [0]


def test_a_fact_is_known_from_its_own_day_or_from_when_it_was_first_seen() -> None:
    activity, prices, _ = activity_from_claims(
        lines(first_seen_at="2026-01-12T23:30:00Z", decision_seen_at="2026-01-20T01:00:00Z")
    )
    assert activity["submitted_known_day"].tolist() == [pd.Timestamp("2026-01-12")]
    assert activity["decision_known_day"].tolist() == [pd.Timestamp("2026-01-20")]
    assert prices["decision_known_day"].tolist() == [pd.Timestamp("2026-01-20")]
    only_first, _, _ = activity_from_claims(lines(first_seen_at="2026-01-18"))
    assert only_first["decision_known_day"].tolist() == [pd.Timestamp("2026-01-18")]
    early, _, _ = activity_from_claims(lines(first_seen_at="2025-12-01"))
    assert early["submitted_known_day"].tolist() == [pd.Timestamp("2026-01-05")]


def test_prices_are_per_unit_and_leave_out_what_has_none() -> None:
    claims = pd.concat(
        [
            lines(units=4, allowed_amount=Decimal("400.00")),
            lines(units=0, allowed_amount=Decimal("100.00")),
            lines(units=None, allowed_amount=None),
            lines(units=1, allowed_amount=Decimal("0.00")),
        ]
    )
    _, prices, _ = activity_from_claims(claims)
    assert prices["lines"].tolist() == [2]
    assert prices["sum_log_allowed"].item() == pytest.approx(2 * np.log(100))
    assert prices["sum_log_allowed_sq"].item() == pytest.approx(2 * np.log(100) ** 2)


@pytest.mark.parametrize(
    "day",
    [
        "2026-01-05",
        date(2026, 1, 5),
        datetime(2026, 1, 5, 13, 0),
        pd.Timestamp("2026-01-05"),
        np.datetime64("2026-01-05"),
    ],
)
def test_days_may_be_text_dates_or_timestamps(day: Any) -> None:
    activity, _, _ = activity_from_claims(lines(submitted_date=day))
    assert activity["submitted_day"].tolist() == [pd.Timestamp("2026-01-05")]


@pytest.mark.parametrize(
    "day",
    ["05/02/2026", "5.2.2026", "Jan 5 2026", "2026-1-5", "2026-02-30", "2026", "20260105", 20260105, 1.5, True],
)
def test_what_is_no_iso_day_is_refused_and_not_guessed(day: Any) -> None:
    """Half of all days read the other way round are days as well: they would move and open events."""
    for column in ("submitted_date", "decided_date", "first_seen_at"):
        with pytest.raises(ClaimsFrameError, match=column) as error:
            activity_from_claims(pd.concat([lines(), lines(**{column: day})]))
        assert str(day) not in str(error.value)


def test_blank_text_is_a_missing_day() -> None:
    assert activity_from_claims(lines(submitted_date=" "))[0].empty
    assert activity_from_claims(lines(decided_date=""))[0]["decision_age"].isna().all()


@pytest.mark.parametrize("column", ["allowed_amount", "billed_amount", "units"])
def test_infinite_amounts_are_refused(column: str) -> None:
    with pytest.raises(ClaimsFrameError, match=f"{column} holds infinite"):
        activity_from_claims(lines(**{column: float("inf")}))


@pytest.mark.parametrize(
    "day", [None, pd.NaT, np.datetime64("NaT"), float("nan"), "05/02/2026", "", 20260501, True]
)
def test_a_look_at_no_day_says_so(day: Any) -> None:
    with pytest.raises(DayError, match="ISO text"):
        replay(lines(), [day])


@given(st.dates(date(1900, 1, 1), date(2200, 1, 1)))
def test_a_day_and_its_number_are_turned_into_each_other(day: date) -> None:
    assert day_of(day_number(day)) == day
    assert day_number(day.isoformat()) == day_number(pd.Timestamp(day)) == day_number(np.datetime64(day))
    assert day_number(day) == (day - date(1970, 1, 1)).days


def test_groups_come_from_the_mapping_or_from_the_column() -> None:
    mapped, prices, _ = activity_from_claims(lines(), {"99213": "visits"})
    assert mapped["cpt_group"].tolist() == prices["cpt_group"].tolist() == ["visits"]
    assert activity_from_claims(lines(), {"1": "x"})[0]["cpt_group"].tolist() == ["OTHER"]
    assert activity_from_claims(lines(cpt_group="labs"))[0]["cpt_group"].tolist() == ["labs"]
    assert activity_from_claims(lines(payer_name="Aetna Inc"))[0]["payer"].tolist() == ["Aetna Inc"]


def test_a_missing_column_or_unreadable_one_is_named_without_its_value() -> None:
    with pytest.raises(ClaimsFrameError, match="outcome"):
        activity_from_claims(lines().drop(columns="outcome"))
    with pytest.raises(ClaimsFrameError, match="decided_date") as error:
        activity_from_claims(lines(decided_date="123-45-6789"))
    assert "6789" not in str(error.value)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["A", "B"]),
            st.dates(date(2025, 1, 1), date(2025, 3, 1)),
            st.one_of(st.none(), st.dates(date(2024, 12, 1), date(2025, 5, 1))),
            st.sampled_from(["PAID", "DENIED", "PENDING", "OTHER"]),
            st.one_of(st.none(), st.floats(0, 1e5)),
        ),
        max_size=30,
    )
)
def test_no_line_is_lost_or_counted_twice(rows: list[tuple[Any, ...]]) -> None:
    claims = pd.DataFrame(
        rows, columns=["payer", "submitted_date", "decided_date", "outcome", "allowed_amount"]
    ).assign(cpt="1")
    activity, prices, _ = activity_from_claims(claims)
    assert activity["lines"].sum() == len(rows)
    decided = [row for row in rows if row[2] is not None and row[3] != "PENDING"]
    assert activity.loc[activity["decision_age"].notna(), "lines"].sum() == len(decided)
    assert activity["denied"].sum() == sum(row[3] == "DENIED" for row in decided)
    assert prices["lines"].sum() == sum(row[3] == "PAID" and bool(row[4]) for row in decided)
    shuffled, _, _ = activity_from_claims(claims.sample(frac=1, random_state=1))
    pd.testing.assert_frame_equal(activity, shuffled)


def test_a_line_counts_with_its_first_decision_where_another_replaced_it() -> None:
    first = {"first_decided_date": "2026-01-12", "first_outcome": "DENIED", "first_denial_reason_code": "CO-197"}
    activity, prices, _ = activity_from_claims(pd.concat([lines(), lines(**first)]))
    counted = activity[["decision_age", "lines", "denied", "denied_authorization"]]
    assert sorted(counted.to_numpy().tolist()) == [[7, 1, 1, 1], [10, 1, 0, 0]]
    assert prices["lines"].sum() == 1
