"""Messages sent again by hand: one, or all that died of a channel, and the ends of events among them."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from upstream_pipelines.alerts.overview import outbox_health, overview
from upstream_pipelines.alerts.resending import Resent, resend, resend_all
from upstream_pipelines.alerts.rules import AlertRule
from upstream_pipelines.alerts.store import (
    conservation,
    enable_channel,
    list_alerts,
    sync_rules,
)
from upstream_pipelines.customers.audit import operator
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.delivery import sending
from upstream_pipelines.delivery.outcome import Outcome
from upstream_pipelines.delivery.trial import try_channel
from upstream_pipelines.errors import ConflictError, NotFoundError
from upstream_pipelines.settings import Settings
from upstream_pipelines_tests.database.alerts_told import (
    DAY,
    NOW,
    REFUSED,
    SIX_MINUTES,
    acme_with_rules,
    deliver,
    tell,
    two_channels,
)


@pytest.fixture
def acme(pipeline: Connection) -> int:
    return acme_with_rules(pipeline)


def test_trouble_that_a_test_met_is_seen_and_sent_again_and_the_test_is_not(
    settings: Settings, pipeline: Connection, acme: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither has a rule."""
    two_channels(pipeline, acme)
    gone = Outcome("dead", "gone", 410, disable="the receiver answered 410 Gone")
    deliver(settings, acme, NOW, monkeypatch)
    monkeypatch.setattr(
        sending, "send_webhook", lambda *_, url, **__: gone if url.endswith("hook") else Outcome("dead", "no", 404)
    )
    assert not try_channel(pipeline, settings, acme, "hook", actor=operator()).sent
    now = datetime.now(UTC)
    health = outbox_health(pipeline, now)
    assert (health.dead, list(health.dead_of)) == (1, ["acme"])
    assert {one.name: one.dead for one in overview(pipeline, acme, now).channels} == {"hook": 0, "spare": 1}
    assert resend_all(pipeline, acme, "spare", now - DAY).due == 1


def test_what_waits_for_its_next_try_is_tried_now_and_goes_on_in_its_schedule(
    pipeline: Connection, acme: int
) -> None:
    """A receiver that is back is told within seconds, not with the tries that are 10 hours apart."""
    sync_rules(pipeline, acme, [AlertRule(name="all", cooldown_hours=0, group_seconds=0)])
    for number in range(3):
        pipeline.execute("UPDATE deliveries SET state = 'retrying', attempt = 6, due_at = %s", [NOW + DAY])
        tell(pipeline, acme, NOW + timedelta(hours=number), "open", event_id=uuid.UUID(int=number))
    rows = pipeline.execute("SELECT delivery_id FROM deliveries ORDER BY state DESC, delivery_id").fetchall()
    (one,), (other,), (untried,) = rows
    later = NOW + timedelta(hours=4)

    def due() -> dict[Any, Any]:
        return dict(pipeline.execute("SELECT delivery_id, due_at FROM deliveries").fetchall())

    untouched = due()[untried]
    resend(pipeline, acme, str(one), later)
    assert due() == {one: later, other: NOW + DAY, untried: untouched}
    assert resend_all(pipeline, acme, "hook", None, later) == Resent(0, 0, 0, hurried=1)
    assert due() == {one: later, other: later, untried: untouched}
    states = pipeline.execute(
        "SELECT DISTINCT state, attempt, progress FROM deliveries ORDER BY attempt"
    ).fetchall()
    assert states == [("pending", 0, {}), ("retrying", 6, {})]


def test_only_a_dead_delivery_of_an_enabled_channel_is_resent(pipeline: Connection, acme: int) -> None:
    sync_rules(pipeline, acme, [AlertRule(name="all")])
    tell(pipeline, acme, NOW, "open")
    (alert,) = list_alerts(pipeline, acme)
    delivery = uuid.UUID(alert["deliveries"][0]["delivery_id"])
    with pytest.raises(ConflictError, match="is pending"):
        resend(pipeline, acme, str(delivery))
    with pytest.raises(NotFoundError):
        resend(pipeline, acme, str(uuid.uuid4()))
    pipeline.execute("UPDATE deliveries SET state = 'dead', attempt = 8, finished_at = now()")
    pipeline.execute("UPDATE alerts SET state = 'failed'")
    pipeline.execute("UPDATE alert_channels SET enabled = false")
    with pytest.raises(ConflictError, match="disabled"):
        resend(pipeline, acme, str(delivery))
    enable_channel(pipeline, acme, "hook")
    resend(pipeline, acme, str(delivery))
    assert pipeline.execute("SELECT state, progress FROM deliveries").fetchone() == ("retrying", {"tries_from": 8})
    assert pipeline.execute("SELECT state FROM alerts").fetchone() == ("pending",)


def test_all_that_died_of_a_channel_lately_is_resent_at_once(pipeline: Connection, acme: int) -> None:
    two_channels(pipeline, acme)
    sync_rules(pipeline, acme, [AlertRule(name="all", cooldown_hours=0, group_seconds=0)])
    for number in range(3):
        tell(pipeline, acme, NOW, "open", event_id=uuid.UUID(int=number))
        pipeline.execute("UPDATE deliveries SET first_tried_at = now(), attempt = 1 WHERE first_tried_at IS NULL")
    pipeline.execute("UPDATE deliveries SET state = 'dead', finished_at = now()")
    pipeline.execute("UPDATE alerts SET state = 'failed'")
    last_week = datetime.now(UTC) - timedelta(days=7)
    pipeline.execute(
        """UPDATE deliveries SET finished_at = %s WHERE delivery_id = (
                  SELECT min(d.delivery_id::text)::uuid FROM deliveries AS d JOIN alert_channels AS c USING (channel_id)
                   WHERE c.name = 'spare')""",
        (last_week - timedelta(minutes=1),),
    )
    assert resend_all(pipeline, acme, "spare", last_week) == Resent(2, 0, 1)
    assert resend_all(pipeline, acme, "spare", last_week) == Resent(0, 0, 1)
    states = pipeline.execute(
        "SELECT c.name, d.state, count(*) FROM deliveries AS d JOIN alert_channels AS c USING (channel_id) GROUP BY 1, 2 ORDER BY 1, 2"
    ).fetchall()
    assert states == [("hook", "dead", 3), ("spare", "dead", 1), ("spare", "retrying", 2)]
    assert resend_all(pipeline, acme, "spare", None) == Resent(1, 0, 0)
    with pytest.raises(NotFoundError):
        resend_all(pipeline, acme, "nobody", last_week)
    pipeline.execute("UPDATE alert_channels SET enabled = false")
    with pytest.raises(ConflictError, match="disabled"):
        resend_all(pipeline, acme, "hook", last_week)
    assert len(list_alerts(pipeline, acme, limit=2, state="failed")) == 2
    assert list_alerts(pipeline, acme, state="sent") == []


def test_an_end_sent_again_with_what_is_given_up_once_more_goes_where_the_opening_arrived(
    settings: Settings, pipeline: Connection, acme: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync_rules(pipeline, acme, [AlertRule(name="all", cooldown_hours=0)])
    tell(pipeline, acme, NOW, "open")
    deliver(settings, acme, NOW, monkeypatch)
    for number, (notice, severity) in enumerate((("escalated", 0.6), ("resolved", None)), 1):
        tell(pipeline, acme, NOW + number * DAY, notice, *([severity] if severity else []))
        deliver(settings, acme, NOW + number * DAY, monkeypatch, **{notice: REFUSED})
    assert resend_all(pipeline, acme, "hook", None, NOW + 3 * DAY) == Resent(1, 1, 0)
    told = [
        deliver(settings, acme, NOW + 3 * DAY + n * SIX_MINUTES, monkeypatch, escalated=REFUSED) for n in range(2)
    ]
    assert [*told[0], *told[1]] == [("hook", "resolved")]
    assert not any(conservation(pipeline, acme)[name] for name in ("missing_places", "wrong_states"))


def test_of_all_that_is_sent_again_ends_come_after_what_was_told_of_their_events(
    settings: Settings, pipeline: Connection, acme: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync_rules(pipeline, acme, [AlertRule(name="all", cooldown_hours=0)])
    events = [uuid.UUID(int=number) for number in range(4)]
    for number, event in enumerate(events):
        tell(pipeline, acme, NOW + number * DAY, "open", event_id=event)
        deliver(settings, acme, NOW + number * DAY, monkeypatch)
        tell(pipeline, acme, NOW + (number + 0.5) * DAY, "resolved", event_id=event)
        deliver(settings, acme, NOW + (number + 0.5) * DAY, monkeypatch)
    # Of the last event the opening was received, of the others nothing.
    pipeline.execute(
        """UPDATE deliveries SET state = 'dead' WHERE delivery_id NOT IN (
                  SELECT delivery_id FROM delivery_alerts JOIN alerts USING (alert_id) WHERE subject_id = %s AND notice = 'open')""",
        (events[3],),
    )
    pipeline.execute(
        "UPDATE alerts SET state = 'failed' WHERE NOT (subject_id = %s AND notice = 'open')", (events[3],)
    )
    assert resend_all(pipeline, acme, "hook", None, NOW + 9 * DAY) == Resent(4, 3, 0)
    first = [("hook", "opened")] * 3 + [("hook", "resolved")]
    assert deliver(settings, acme, NOW + 9 * DAY, monkeypatch) == first + [("hook", "resolved")] * 3
    assert not any(conservation(pipeline, acme)[name] for name in ("missing_places", "wrong_states"))
