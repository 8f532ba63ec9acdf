"""What becomes of alerts while they are switched off for a customer: kept with the reason, and told when they are on again."""

from __future__ import annotations

import uuid
from datetime import datetime

import pytest

from upstream_pipelines.alerts.life import PRODUCT_OFF
from upstream_pipelines.alerts.outbox import tell_what_waited
from upstream_pipelines.alerts.resending import resend
from upstream_pipelines.alerts.rules import AlertRule
from upstream_pipelines.alerts.store import conservation, due_deliveries, enable_channel, list_alerts, sync_rules
from upstream_pipelines.customers.audit import operator
from upstream_pipelines.customers.flag_changes import replace_flags
from upstream_pipelines.customers.flags import ProductOffError
from upstream_pipelines.customers.store import get_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.delivery.outcome import Outcome
from upstream_pipelines.delivery.trial_message import ask_for_test
from upstream_pipelines.settings import Settings
from upstream_pipelines_tests.database.alerts_told import (
    DAY,
    NOW,
    SIX_MINUTES,
    acme_with_rules,
    deliver,
    give_up,
    tell,
    two_channels,
)

RULE = [AlertRule(name="all", cooldown_hours=0)]
REPEATING = [AlertRule(name="all", cooldown_hours=0, repeat_hours=48)]
OTHER = uuid.UUID(int=8)


@pytest.fixture
def acme(pipeline: Connection) -> int:
    customer = acme_with_rules(pipeline)
    sync_rules(pipeline, customer, RULE)
    return customer


def _switch(conn: Connection, *, on: bool, now: datetime = NOW) -> None:
    replace_flags(conn, operator(), get_customer(conn, "acme"), {"alerts": on}, now=now)


def _held(conn: Connection, customer: int) -> list[tuple[str, str | None, str | None]]:
    alerts = sorted(list_alerts(conn, customer, state="suppressed"), key=lambda alert: alert["created_at"])
    return [(alert["notice"], alert["held_by"], alert["reason"]) for alert in alerts]


def _messages(conn: Connection) -> int:
    row = conn.execute("SELECT count(*) FROM deliveries").fetchone()
    assert row is not None
    return int(row[0])


def _whole(conn: Connection, customer: int) -> bool:
    counts = conservation(conn, customer)
    return not any(
        counts[name]
        for name in counts
        if name not in {"alerts", "expected_places", "deliveries", "unknown_events"}
    )


def test_what_is_found_while_alerts_are_off_is_kept_and_told_when_they_are_on_again(
    settings: Settings, pipeline: Connection, acme: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _switch(pipeline, on=False)
    assert tell(pipeline, acme, NOW, "open") == []
    assert tell(pipeline, acme, NOW, "open", event_id=OTHER) == []
    assert tell(pipeline, acme, NOW + DAY, "escalated", 0.9) == [], "of what was not told"
    assert _held(pipeline, acme) == [("open", "product", PRODUCT_OFF)] * 2
    assert (_messages(pipeline), due_deliveries(pipeline, NOW + 9 * DAY)) == (0, 0)
    enable_channel(pipeline, acme, "hook", NOW + DAY)
    assert tell_what_waited(pipeline, acme, NOW + DAY) == 0, "a channel changes nothing"
    tell(pipeline, acme, NOW + 2 * DAY, "resolved", event_id=OTHER)
    assert _whole(pipeline, acme)
    now = NOW + 3 * DAY
    _switch(pipeline, on=True, now=now)
    assert due_deliveries(pipeline, now) > 0
    assert deliver(settings, acme, now, monkeypatch) == [("hook", "opened")], "the other is over"
    (told,) = list_alerts(pipeline, acme, state="sent")
    assert told["content"]["note"].endswith(f": {PRODUCT_OFF}.")
    assert _whole(pipeline, acme)


def test_what_waits_when_they_are_switched_off_goes_out_and_the_end_follows_when_they_are_on_again(
    settings: Settings, pipeline: Connection, acme: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most likely wrong: an end that some had, which is owed to others, goes out all the same or is forgotten."""
    two_channels(pipeline, acme)
    sync_rules(pipeline, acme, REPEATING)
    tell(pipeline, acme, NOW, "open")
    tell(pipeline, acme, NOW, "open", event_id=OTHER)
    dead = give_up(pipeline, "hook")
    _switch(pipeline, on=False)
    assert deliver(settings, acme, NOW, monkeypatch) == [("spare", "grouped")], "it was written before"
    assert deliver(settings, acme, NOW + 3 * DAY, monkeypatch) == [], "no reminder"
    sync_rules(pipeline, acme, RULE)
    _switch(pipeline, on=True)
    tell(pipeline, acme, NOW + 3 * DAY, "resolved", event_id=OTHER)
    assert ("spare", "resolved") in deliver(settings, acme, NOW + 3 * DAY, monkeypatch)
    _switch(pipeline, on=False)
    # A message that was given up is sent again by hand, and has arrived: the end of the one event is owed to hook now.
    resend(pipeline, acme, dead, NOW + 4 * DAY)
    assert [
        told for channel, told in deliver(settings, acme, NOW + 4 * DAY, monkeypatch) if channel == "hook"
    ] == ["grouped"]
    tell(pipeline, acme, NOW + 5 * DAY, "resolved")
    assert deliver(settings, acme, NOW + 5 * DAY, monkeypatch) == []
    assert [held for held in _held(pipeline, acme) if held[0] == "resolved"] == [
        ("resolved", "product", PRODUCT_OFF)
    ]
    assert _whole(pipeline, acme)
    now = NOW + 6 * DAY
    _switch(pipeline, on=True, now=now)
    sent = deliver(settings, acme, now, monkeypatch) + deliver(settings, acme, now + SIX_MINUTES, monkeypatch)
    assert sorted(sent) == [("hook", "grouped"), ("spare", "resolved")], (
        "hook hears of both ends, spare of the second"
    )
    assert _whole(pipeline, acme)


def test_a_channel_that_is_switched_off_meanwhile_is_told_of_later_and_no_test_is_sent(
    settings: Settings, pipeline: Connection, acme: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_channels(pipeline, acme)
    sync_rules(
        pipeline,
        acme,
        [
            AlertRule(name="all", channels=("hook",)),
            AlertRule(name="spare", channels=("spare",), kinds=("delivery_trouble",)),
        ],
    )
    tell(pipeline, acme, NOW, "open")
    _switch(pipeline, on=False)
    before = _messages(pipeline)
    gone = Outcome("dead", "the receiver is gone", 410, disable="410")
    deliver(settings, acme, NOW, monkeypatch, opened=gone)
    assert _held(pipeline, acme) == [("open", "product", PRODUCT_OFF)]
    assert _messages(pipeline) == before
    with pytest.raises(ProductOffError, match="--on alerts"):
        ask_for_test(pipeline, acme, "spare")
    assert _whole(pipeline, acme)
    _switch(pipeline, on=True, now=NOW + DAY)
    assert [channel for channel, _ in deliver(settings, acme, NOW + DAY, monkeypatch)] == ["spare"]
    assert _whole(pipeline, acme)
