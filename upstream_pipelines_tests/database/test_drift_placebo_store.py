"""The placebo in the database: measured, kept once a day, published with its interval."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from upstream_pipelines.db.engine import Connection
from upstream_pipelines.drift import placebo_store
from upstream_pipelines.drift.placebo import Placebo
from upstream_pipelines.drift.placebo_store import measure, published_rate
from upstream_pipelines.drift.settings import METHOD_VERSION
from upstream_pipelines.drift.store import Subject, look
from upstream_pipelines.settings import Settings
from upstream_pipelines_tests.database.drift_life import (
    SETTINGS,
    TODAY,
    customer_of,
    load,
    on,
)


@pytest.fixture(scope="module")
def template(fill_template: Callable[[Callable[[Connection, Settings], None]], str]) -> str:
    return fill_template(load)


@pytest.fixture
def subject(pipeline: Connection) -> Subject:
    return customer_of(pipeline)


def test_a_measurement_is_kept_once_a_day_and_published_with_its_interval(
    pipeline: Connection, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "not measured yet" in published_rate(pipeline, subject.customer_id, TODAY).text
    outcomes = iter([Placebo(91, 250, 5), Placebo(91, 250, 1), Placebo(91, 250, 0), Placebo(0, 90, 0)])
    monkeypatch.setattr(placebo_store, "placebo", lambda *_a, **_k: next(outcomes))
    for day in (on(0), on(0), on(7), on(100)):
        measure(pipeline, subject.customer_id, SETTINGS, day)
    rate = published_rate(pipeline, subject.customer_id, on(0))
    assert (rate.events, rate.looks, rate.measurements) == (1, 182, 2)
    assert rate.per_year == pytest.approx(365.25 / 182)
    assert rate.low == pytest.approx(0.0253 * 365.25 / 182, abs=0.001)
    assert rate.high == pytest.approx(5.5716 * 365.25 / 182, abs=0.001)
    assert "182 daily looks at reshuffles of one history of 257 days" in rate.text
    old = published_rate(pipeline, subject.customer_id, on(100))
    assert (old.per_year, old.measurements) == (None, 1)
    assert "less than a year" in old.text
    pipeline.execute("UPDATE drift_placebo SET method_version = 'another'")
    assert published_rate(pipeline, subject.customer_id, on(0)).looks == 0


def test_nights_on_one_history_do_not_narrow_the_interval_beyond_its_days(
    pipeline: Connection, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thirteen nights of 91 looks are three years of looks, and reshuffles of 384 days."""
    monkeypatch.setattr(placebo_store, "placebo", lambda *_a, **_k: Placebo(91, 300, 1))
    for week in range(13):
        measure(pipeline, subject.customer_id, SETTINGS, on(7 * week))
    rate = published_rate(pipeline, subject.customer_id, on(0))
    assert (rate.events, rate.looks, rate.days) == (13, 1183, 384)
    assert rate.per_year == pytest.approx(13 * 365.25 / 1183)
    # Of 4.2 events in 384 days; three years of them would be taken for 2.1 to 6.9 a year.
    assert rate.low == pytest.approx(1.144, abs=0.001)
    assert rate.high == pytest.approx(10.043, abs=0.001)


def test_a_history_is_measured_as_it_was_known_without_its_events(pipeline: Connection, subject: Subject) -> None:
    look(pipeline, subject, [on(10)])
    first = measure(pipeline, subject.customer_id, SETTINGS, TODAY, 15)
    again = measure(pipeline, subject.customer_id, SETTINGS, TODAY, 15)
    assert first == again
    assert (first.looks, first.events) == (15, 0)
    row = pipeline.execute("SELECT looks, events, method_version FROM drift_placebo").fetchall()
    assert row == [(15, 0, METHOD_VERSION)]
