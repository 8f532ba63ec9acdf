"""Days looked at again: what a look back leaves alone, takes back, or finds again; events computed again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from upstream_pipelines.db.engine import Connection
from upstream_pipelines.drift import store
from upstream_pipelines.drift.explaining import find_event
from upstream_pipelines.drift.recompute import recompute
from upstream_pipelines.drift.store import Subject, look
from upstream_pipelines.drift.verdicts import accept_event, kept_event, list_events
from upstream_pipelines.errors import ConflictError, NotFoundError
from upstream_pipelines.settings import Settings
from upstream_pipelines_tests.database.drift_life import (
    SETTINGS,
    customer_of,
    load,
    on,
    opened_by,
    results,
    told,
)


@pytest.fixture(scope="module")
def template(fill_template: Callable[[Callable[[Connection, Settings], None]], str]) -> str:
    return fill_template(load)


@pytest.fixture
def subject(pipeline: Connection) -> Subject:
    return customer_of(pipeline)


def test_a_day_looked_at_again_with_other_data_takes_back_what_it_had_found(
    pipeline: Connection, subject: Subject
) -> None:
    """Without that the withdrawn event stays live for ever, and the next one breaks the unique index and every look."""
    event_id = opened_by(pipeline, subject, on(10))
    pipeline.execute("UPDATE payer_prices SET decided_day = decided_day - 3000 WHERE payer = 'Aetna'")
    look(pipeline, subject, [on(10)])
    assert results(pipeline, event_id) == [(on(10), "resolved", "withdrawn")]
    assert kept_event(pipeline, subject.customer_id, str(event_id)).state == "resolved"
    assert told(pipeline)[:2] == [("both", "drift", "open"), ("both", "drift", "resolved")]
    pipeline.execute("UPDATE payer_prices SET decided_day = decided_day + 3000 WHERE payer = 'Aetna'")
    look(pipeline, subject, [on(9)])
    second = list_events(pipeline, subject.customer_id)[0]
    assert (second.state, second.event_id != event_id) == ("open", True)
    assert told(pipeline).count(("payers", "drift", "open")) == 2


def test_what_the_same_days_look_finds_takes_back_and_finds_again_is_told_each_time(
    pipeline: Connection, subject: Subject
) -> None:
    event_id = opened_by(pipeline, subject, on(10))
    for days in (-3000, 3000):
        pipeline.execute(
            "UPDATE payer_prices SET decided_day = decided_day + %s::integer WHERE payer = 'Aetna'", (days,)
        )
        look(pipeline, subject, [on(10)])
    assert kept_event(pipeline, subject.customer_id, str(event_id)).state == "open"
    assert [notice for name, _, notice in told(pipeline) if name == "payers"] == ["open", "open", "resolved"]


def _present(conn: Connection) -> list[tuple[Any, ...]]:
    return conn.execute(
        "SELECT event_id, state, opened_on, last_look, resolved_on, memory, before_last_look FROM drift_events ORDER BY 1"
    ).fetchall()


BACK_TO_TODAY = [on(back) for back in range(30, -1, -5)]


@pytest.mark.parametrize(
    "looks",
    [
        [BACK_TO_TODAY],
        [BACK_TO_TODAY[:-1], [on(0)]],
        [[on(1)], [on(0)]],
        [BACK_TO_TODAY[:-1], BACK_TO_TODAY[:3], [on(1)], [on(0)], [on(0)]],
    ],
    ids=["up to the last day", "up to yesterday, then the last day", "yesterday", "many times over"],
)
def test_looks_at_past_days_up_to_the_last_one_leave_the_events_as_they_were(
    pipeline: Connection, subject: Subject, looks: list[list[date]]
) -> None:
    """The look back finds the event under another day of opening, and the last day's look must not go on with that."""
    event_id = opened_by(pipeline, subject, on(1))
    look(pipeline, subject, [on(0)])
    before, alerts = _present(pipeline), told(pipeline)
    for days in looks:
        made = look(pipeline, subject, days)
        assert made.alerts == 0
        assert made.kept <= {str(event_id)}, "what only looks back show cannot be asked for"
        assert made.kept or days[-1] < on(0)
    assert _present(pipeline) == before
    assert told(pipeline) == alerts
    look(pipeline, subject, [on(-1)])
    assert [(event.event_id, event.state) for event in list_events(pipeline, subject.customer_id)] == [
        (event_id, "updated")
    ]
    assert told(pipeline) == alerts


def test_a_backfill_with_other_settings_ends_with_the_events_of_the_present(
    pipeline: Connection, subject: Subject
) -> None:
    """With a threshold no change passes, the days before find nothing; the event of the present is judged and kept."""
    event_id = opened_by(pipeline, subject, on(3))
    look(pipeline, subject, [on(0)])
    deaf = SETTINGS.model_copy(update={"minimum_price_change": 0.9})
    made = look(pipeline, Subject(subject.customer_id, "Acme", deaf), BACK_TO_TODAY)
    assert made.alerts == 0
    assert [(event.event_id, event.state) for event in list_events(pipeline, subject.customer_id)] == [
        (event_id, "updated")
    ]


def test_an_event_computed_again_after_a_look_back_is_the_same_or_said_to_be_replaced(
    pipeline: Connection, subject: Subject
) -> None:
    event_id = opened_by(pipeline, subject, on(3))
    look(pipeline, subject, [on(0)])
    look(pipeline, subject, [on(back) for back in range(30, 3, -5)])
    assert (
        recompute(
            pipeline, subject.customer_id, find_event(pipeline, subject.customer_id, str(event_id))
        ).differences
        == {}
    )
    look(pipeline, subject, [on(3)])
    with pytest.raises(NotFoundError, match="look back"):
        recompute(pipeline, subject.customer_id, find_event(pipeline, subject.customer_id, str(event_id)))


def test_an_event_keeps_what_it_was_opened_with_whatever_later_looks_are_made_with(
    pipeline: Connection, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look back at the day it opened, by the new version and settings, takes nothing from that either."""
    patient = SETTINGS.model_copy(update={"calm_days": 20})
    monkeypatch.setattr(store, "METHOD_VERSION", "of old")
    event_id = opened_by(pipeline, Subject(subject.customer_id, "Acme", patient), on(3))
    monkeypatch.undo()
    look(pipeline, subject, [on(2)])
    look(pipeline, subject, [on(3)])
    stored = find_event(pipeline, subject.customer_id, str(event_id))
    assert (stored.opened_with.method_version, stored.opened_with.settings["calm_days"]) == ("of old", 20)
    with pytest.raises(ConflictError, match="version of old of the method"):
        recompute(pipeline, subject.customer_id, stored)
    accept_event(pipeline, subject.customer_id, str(event_id), accepted_on=on(1), accepted_by="ann")
    look(pipeline, subject, [on(1)])
    told_with = pipeline.execute(
        """SELECT DISTINCT notice, content -> 'data' ->> 'opened_method_version',
                  content -> 'data' -> 'opened_settings' ->> 'calm_days' FROM alerts ORDER BY 1"""
    ).fetchall()
    assert told_with == [("open", "of old", "20"), ("resolved", "of old", "20")]


def test_an_event_opened_with_other_settings_is_computed_again_with_those(
    pipeline: Connection, subject: Subject
) -> None:
    """The look of its day made again with others is the look that opens it."""
    look(pipeline, subject, [on(3)])
    others = SETTINGS.model_copy(update={"baseline_days": 120, "false_events_per_year": 2.0})
    event_id = opened_by(pipeline, Subject(subject.customer_id, "Acme", others), on(3))
    look(pipeline, subject, [on(0)])
    stored = find_event(pipeline, subject.customer_id, str(event_id))
    assert stored.opened_with.settings["baseline_days"] == 120
    assert recompute(pipeline, subject.customer_id, stored).differences == {}
    # With those of today it is another event.
    stored.opened_with.settings.update(baseline_days=SETTINGS.baseline_days, false_events_per_year=1.0)
    pipeline.execute("UPDATE drift_looks SET settings = %s", (Jsonb(stored.opened_with.settings),))
    assert recompute(pipeline, subject.customer_id, stored).differences


def test_a_look_back_that_finds_an_event_earlier_leaves_one_live_event_and_looks_go_on(
    pipeline: Connection, subject: Subject
) -> None:
    event_id = opened_by(pipeline, subject, on(2))
    look(pipeline, subject, [on(back) for back in range(30, 2, -4)])
    earlier = pipeline.execute(
        "SELECT DISTINCT event_id FROM drift_results WHERE event_id <> %s", (event_id,)
    ).fetchall()
    assert earlier, "the look back was to find it under another day of opening"
    for day in (on(2), on(1), on(0)):
        look(pipeline, subject, [day])
    assert [(event.event_id, event.state) for event in list_events(pipeline, subject.customer_id)] == [
        (event_id, "updated")
    ]
    assert told(pipeline) == [("both", "drift", "open"), ("payers", "drift", "open")]
