"""Whose turn it is to be measured by the placebo, and the interval of its rate."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from upstream_pipelines.customers.store import create_customer, set_status
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.drift.placebo_store import due_customers, poisson_interval

TODAY = date(2026, 6, 1)


def test_the_exact_interval_is_that_of_the_tables() -> None:
    assert poisson_interval(0) == pytest.approx((0.0, 3.6889), abs=1e-4)
    assert poisson_interval(10) == pytest.approx((4.7954, 18.3904), abs=1e-4)


def test_every_customer_is_measured_once_in_seven_nights_and_the_longest_unmeasured_first(
    pipeline: Connection,
) -> None:
    names = [f"c{number}" for number in range(12)]
    for slug in names:
        create_customer(pipeline, slug, slug)
    set_status(pipeline, "c3", "disabled")

    def night(number: int, budget: int = 100_000) -> list[str]:
        day = TODAY + timedelta(days=number)
        due = due_customers(pipeline, day, budget)
        pipeline.cursor().executemany(
            "INSERT INTO drift_placebo VALUES (%s, %s, 1, '1', 91, 300, 0)",
            [(customer_id, day) for customer_id, _ in due],
        )
        assert due_customers(pipeline, day, budget) == [] or budget < 100_000
        return [slug for _, slug in due]

    assert sorted(night(0)) == sorted(set(names) - {"c3"}), "new ones are not made to wait"
    week = [slug for number in range(1, 8) for slug in night(number)]
    assert set(week) == set(names) - {"c3"}
    third = [slug for number in range(8, 15) for slug in night(number)]
    assert sorted(third) == sorted(set(names) - {"c3"}), "from then on each on its own night"
    assert len(night(40, budget=4 * 91)) == 4
    assert len(night(41, budget=1)) == 1
