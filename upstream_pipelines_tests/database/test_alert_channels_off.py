"""What becomes of alerts while no channel of their rule is on."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from upstream_pipelines.alerts.feedback import silence
from upstream_pipelines.alerts.notices import DriftNotice
from upstream_pipelines.alerts.outbox import grown_events, tell_what_waited
from upstream_pipelines.alerts.rules import DEFAULT_RULE, AlertRule, Facts
from upstream_pipelines.alerts.store import (
    conservation,
    due_deliveries,
    enable_channel,
    late_openings,
    list_alerts,
    sync_channels,
    sync_rules,
    write_drift_alerts,
)
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.delivery.channels import WebhookChannel

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOOK = WebhookChannel(kind="webhook", name="hook", url="https://example.org/hook")
BELL = WebhookChannel(kind="webhook", name="bell", url="https://example.org/bell")
OFF = "channel hook is switched off since 2026-05-01 12:00 UTC"


@pytest.fixture
def acme(pipeline: Connection) -> int:
    row = pipeline.execute(
        "INSERT INTO customers (slug, name) VALUES ('acme', 'Acme') RETURNING customer_id"
    ).fetchone()
    assert row is not None
    sync_rules(pipeline, row[0], [DEFAULT_RULE])
    sync_channels(pipeline, row[0], [HOOK])
    return int(row[0])


def _notice(event_id: uuid.UUID, notice: Any = "open", severity: float = 0.5, **changes: Any) -> DriftNotice:
    return DriftNotice(
        event_id=event_id, notice=notice, payer="Aetna", cpt_group="ALL", signal="denial_rate", direction="worsening",
        severity=severity, effect=0.05, baseline=0.1, current=0.15, n_baseline=5000, n_current=900, maturity=0.9,
        p_value=1e-5, q_value=1e-4, as_of=date(2026, 5, 1), change_date=None, headline="Aetna denies more",
        sentences=("It denies more.",), facts=(("Before", "10 %"),), **changes,
    )  # fmt: skip


def _tell(conn: Connection, customer: int, at: datetime, *notices: DriftNotice) -> int:
    with conn.transaction():
        return write_drift_alerts(conn, customer, notices, at)


def _switch_off(conn: Connection, at: datetime = NOW) -> None:
    """As the worker does when a receiver is gone (delivery/queries.sql)."""
    conn.execute(
        "UPDATE alert_channels SET enabled = false, disabled_reason = '410', disabled_at = %s WHERE enabled", (at,)
    )


def _kept(conn: Connection, customer: int) -> list[tuple[str, str, str | None, str | None]]:
    """Notice, state, by what and why it is held back, oldest first."""
    alerts = list_alerts(conn, customer)
    rank = ("open", "escalated", "reminder", "resolved")
    ordered = sorted(alerts, key=lambda alert: (alert["created_at"], rank.index(alert["notice"])))
    return [(alert["notice"], alert["state"], alert["held_by"], alert["reason"]) for alert in ordered]


def test_an_alert_whose_only_channel_is_off_is_held_back_and_told_when_it_is_on_again(
    pipeline: Connection, acme: int
) -> None:
    _switch_off(pipeline)
    assert _tell(pipeline, acme, NOW + HOUR, _notice(uuid.uuid4())) == 1
    assert _kept(pipeline, acme) == [("open", "suppressed", "channel", OFF)]
    assert due_deliveries(pipeline, NOW + 100 * HOUR) == 0
    enable_channel(pipeline, acme, "hook", NOW + 2 * HOUR)
    assert due_deliveries(pipeline, NOW + 2 * HOUR) == 1
    assert tell_what_waited(pipeline, acme, NOW + 2 * HOUR) == 1
    assert _kept(pipeline, acme) == [("open", "pending", None, None)]
    (alert,) = list_alerts(pipeline, acme)
    assert alert["content"]["note"] == f"Held back since 2026-05-01 13:00 UTC: {OFF}."
    assert [delivery["channel"] for delivery in alert["deliveries"]] == ["hook"]
    assert conservation(pipeline, acme)["missing_places"] == 0


def test_what_reached_nobody_starts_no_cooldown(pipeline: Connection, acme: int) -> None:
    """A receiver that answers 410 takes the message with it; what is held back meanwhile is told when it is well again."""
    _tell(pipeline, acme, NOW, _notice(uuid.uuid4()))
    pipeline.execute("UPDATE deliveries SET state = 'dead', finished_at = %s", (NOW,))
    pipeline.execute("UPDATE alerts SET state = 'failed'")
    _switch_off(pipeline)
    _tell(pipeline, acme, NOW + HOUR, _notice(uuid.uuid4()))
    enable_channel(pipeline, acme, "hook", NOW + 2 * HOUR)
    assert tell_what_waited(pipeline, acme, NOW + 2 * HOUR) == 1
    assert [state for _, state, _, _ in _kept(pipeline, acme)] == ["failed", "pending"]


def test_of_what_has_no_end_only_the_last_week_is_told_when_a_channel_is_on_again(
    pipeline: Connection, acme: int
) -> None:
    _switch_off(pipeline)
    for days in (0, 6, 11):
        _tell(pipeline, acme, NOW + days * 24 * HOUR, _notice(uuid.uuid4()))
    pipeline.execute("UPDATE alerts SET ends = false")
    later = NOW + 12 * 24 * HOUR
    enable_channel(pipeline, acme, "hook", later)
    tell_what_waited(pipeline, acme, later)
    held = pipeline.execute("SELECT held_by = 'channel' FROM alerts ORDER BY created_at").fetchall()
    assert held == [(True,), (None,), (None,)]


@pytest.mark.parametrize(
    "mend",
    [
        lambda conn, acme: sync_channels(conn, acme, [HOOK, BELL], now=NOW + 2 * HOUR),
        lambda conn, acme: sync_channels(
            conn, acme, [HOOK.model_copy(update={"url": "https://example.org/new"})], now=NOW + 2 * HOUR
        ),
    ],
    ids=["another channel", "another address"],
)
def test_a_new_channel_or_address_tells_it_too(
    pipeline: Connection, acme: int, mend: Callable[[Connection, int], object]
) -> None:
    _switch_off(pipeline)
    _tell(pipeline, acme, NOW, _notice(uuid.uuid4()))
    mend(pipeline, acme)
    assert tell_what_waited(pipeline, acme, NOW + 2 * HOUR) == 1


def test_a_rule_that_names_another_channel_now_tells_it_there(pipeline: Connection, acme: int) -> None:
    sync_channels(pipeline, acme, [HOOK, BELL])
    sync_rules(pipeline, acme, [AlertRule(name="default", channels=("hook",))])
    pipeline.execute("UPDATE alert_channels SET enabled = false WHERE name = 'hook'")
    _tell(pipeline, acme, NOW, _notice(uuid.uuid4()))
    assert _kept(pipeline, acme) == [("open", "suppressed", "channel", "channel hook is switched off")]
    sync_rules(pipeline, acme, [AlertRule(name="default", channels=("bell",))])
    assert tell_what_waited(pipeline, acme, datetime.now(UTC)) == 1


def test_a_channel_that_a_file_no_longer_lists_is_off_as_well(pipeline: Connection, acme: int) -> None:
    sync_channels(pipeline, acme, [], now=NOW)
    _tell(pipeline, acme, NOW, _notice(uuid.uuid4()))
    assert _kept(pipeline, acme) == [("open", "suppressed", "channel", OFF)]
    sync_channels(pipeline, acme, [HOOK], now=NOW + HOUR)
    assert tell_what_waited(pipeline, acme, NOW + HOUR) == 1


def test_where_another_channel_of_the_rule_is_on_it_is_told_there_and_not_later(
    pipeline: Connection, acme: int
) -> None:
    sync_channels(pipeline, acme, [HOOK, BELL])
    pipeline.execute("UPDATE alert_channels SET enabled = false WHERE name = 'hook'")
    _tell(pipeline, acme, NOW, _notice(uuid.uuid4()))
    enable_channel(pipeline, acme, "hook", NOW + HOUR)
    assert tell_what_waited(pipeline, acme, NOW + HOUR) == 0
    (alert,) = list_alerts(pipeline, acme)
    assert [delivery["channel"] for delivery in alert["deliveries"]] == ["bell"]


def test_what_is_over_by_the_time_a_channel_is_on_is_never_told_nor_is_its_end(
    pipeline: Connection, acme: int
) -> None:
    event = uuid.uuid4()
    _switch_off(pipeline)
    _tell(pipeline, acme, NOW, _notice(event))
    _tell(pipeline, acme, NOW + HOUR, _notice(event, "resolved", 0.0))
    enable_channel(pipeline, acme, "hook", NOW + 2 * HOUR)
    assert due_deliveries(pipeline, NOW + 2 * HOUR) == 0
    assert tell_what_waited(pipeline, acme, NOW + 2 * HOUR) == 0
    assert [(notice, held) for notice, _, held, _ in _kept(pipeline, acme)] == [
        ("open", "channel"),
        ("resolved", "opening"),
    ]


def test_the_end_of_what_was_told_is_told_once_its_channel_is_on_again(pipeline: Connection, acme: int) -> None:
    """Who acts on an alert must learn that it is over; a rule that was switched off meanwhile changes nothing."""
    event = uuid.uuid4()
    _tell(pipeline, acme, NOW - HOUR, _notice(event))
    pipeline.execute("UPDATE deliveries SET state = 'sent', finished_at = %s", (NOW,))
    _switch_off(pipeline)
    _tell(pipeline, acme, NOW + HOUR, _notice(event, "resolved", 0.0))
    assert _kept(pipeline, acme)[1] == ("resolved", "suppressed", "channel", OFF)
    # A channel that heard nothing of the opening hears nothing of the end.
    sync_channels(pipeline, acme, [HOOK, BELL], now=NOW + 2 * HOUR)
    assert tell_what_waited(pipeline, acme, NOW + 2 * HOUR) == 0
    sync_rules(pipeline, acme, [])
    enable_channel(pipeline, acme, "hook", NOW + 3 * HOUR)
    assert tell_what_waited(pipeline, acme, NOW + 3 * HOUR) == 1
    assert _kept(pipeline, acme)[1][1] == "pending"
    assert [one["channel"] for one in list_alerts(pipeline, acme)[0]["deliveries"]] == ["hook"]
    enable_channel(pipeline, acme, "hook", NOW + 4 * HOUR)
    assert tell_what_waited(pipeline, acme, NOW + 4 * HOUR) == 0


def test_what_no_channel_could_be_told_starts_no_cooldown(pipeline: Connection, acme: int) -> None:
    first = uuid.uuid4()
    _switch_off(pipeline)
    _tell(pipeline, acme, NOW, _notice(first))
    _tell(pipeline, acme, NOW, _notice(first, "resolved", 0.0))
    enable_channel(pipeline, acme, "hook", NOW + HOUR)
    _tell(pipeline, acme, NOW + HOUR, _notice(uuid.uuid4()))
    assert _kept(pipeline, acme)[-1] == ("open", "pending", None, None)


def test_a_silence_still_holds_when_the_channel_is_on_again_and_no_severity_breaks_through_a_channel_that_is_off(
    pipeline: Connection, acme: int
) -> None:
    _tell(pipeline, acme, NOW - HOUR, _notice(uuid.uuid4(), severity=0.1))
    _switch_off(pipeline)
    _tell(pipeline, acme, NOW, _notice(uuid.uuid4(), severity=0.9))
    assert _kept(pipeline, acme)[-1][2] == "channel"
    _tell(pipeline, acme, NOW + HOUR, _notice(uuid.uuid4(), severity=0.2))
    silence(pipeline, acme, payer="Aetna", ends_at=NOW + 9 * HOUR, reason="", created_by="me", now=NOW)
    enable_channel(pipeline, acme, "hook", NOW + 2 * HOUR)
    assert tell_what_waited(pipeline, acme, NOW + 2 * HOUR) == 1
    assert [held for _, _, held, _ in _kept(pipeline, acme)] == [None, None, "silence"]


def test_an_event_that_grows_while_its_channel_is_off_is_told_so_by_the_next_look_after(
    pipeline: Connection, acme: int
) -> None:
    """Nothing is written at each of the looks between, and no picture is made for them."""
    event = uuid.uuid4()
    _tell(pipeline, acme, NOW - HOUR, _notice(event))
    _switch_off(pipeline)
    for hours in (24, 48):
        assert grown_events(pipeline, acme, {(event, "payer"): 0.9}, NOW + hours * HOUR) == set()
        assert _tell(pipeline, acme, NOW + hours * HOUR, _notice(event, "escalated", 0.9)) == 0
    enable_channel(pipeline, acme, "hook", NOW + 49 * HOUR)
    assert grown_events(pipeline, acme, {(event, "payer"): 0.9}, NOW + 50 * HOUR) == {event}
    assert _tell(pipeline, acme, NOW + 50 * HOUR, _notice(event, "escalated", 0.9)) == 1


def test_a_reason_does_not_grow_each_time_channels_change(pipeline: Connection, acme: int) -> None:
    _switch_off(pipeline)
    _tell(pipeline, acme, NOW, _notice(uuid.uuid4()))
    sync_rules(pipeline, acme, [])
    for hours in (1, 2):
        enable_channel(pipeline, acme, "hook", NOW + hours * HOUR)
        tell_what_waited(pipeline, acme, datetime.now(UTC))
    assert _kept(pipeline, acme) == [("open", "suppressed", "channel", f"{OFF}; its rule was switched off")]


def test_a_late_opening_is_asked_for_once_while_channels_are_off_and_never_where_there_is_none(
    pipeline: Connection, acme: int
) -> None:
    """Each look would draw its picture, for nobody."""
    sync_rules(pipeline, acme, [AlertRule(name="large", minimum_severity=0.4)])
    event = uuid.uuid4()
    facts = Facts("drift", "denial_rate", "Aetna", "ALL", "worsening", 0.5)
    _switch_off(pipeline)
    assert late_openings(pipeline, acme, {(event, "payer"): facts}) == {event}
    assert _tell(pipeline, acme, NOW, _notice(event, late=True)) == 1
    assert late_openings(pipeline, acme, {(event, "payer"): facts}) == set()
    pipeline.execute("DELETE FROM alerts")
    pipeline.execute("DELETE FROM alert_channels")
    assert late_openings(pipeline, acme, {(event, "payer"): facts}) == set()
