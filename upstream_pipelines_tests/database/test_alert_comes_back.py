"""What is told later than it happened, or again: events past a minimum or back after their end, messages sent again."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from upstream_pipelines.alerts.notices import DriftNotice, drift_facts
from upstream_pipelines.alerts.outbox import grown_events, tell_what_waited
from upstream_pipelines.alerts.overview import outbox_health, overview
from upstream_pipelines.alerts.resending import Resent, resend, resend_all
from upstream_pipelines.alerts.rules import AlertRule, QuietHours
from upstream_pipelines.alerts.store import (
    conservation,
    enable_channel,
    late_openings,
    list_alerts,
    sync_channels,
    sync_rules,
    write_drift_alerts,
    write_run_failure_alert,
)
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.delivery import sending
from upstream_pipelines.delivery.channels import EmailChannel, WebhookChannel
from upstream_pipelines.delivery.outcome import Outcome
from upstream_pipelines.delivery.trial import try_channel
from upstream_pipelines.delivery.worker import deliver_due
from upstream_pipelines.errors import ConflictError, NotFoundError
from upstream_pipelines.settings import Settings

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
SIX_MINUTES = timedelta(minutes=6)
EVENT = uuid.UUID(int=7)
RULES = [
    AlertRule(name="all"),
    AlertRule(name="large", minimum_severity=0.4),
    AlertRule(name="dear", minimum_dollars_per_month=5000, unknown_dollars="skip"),
    AlertRule(name="cigna", minimum_severity=0.4, payers=("Cigna",)),
]


@pytest.fixture
def acme(pipeline: Connection) -> int:
    row = pipeline.execute(
        "INSERT INTO customers (slug, name) VALUES ('acme', 'Acme') RETURNING customer_id"
    ).fetchone()
    assert row is not None
    sync_channels(pipeline, row[0], [WebhookChannel(kind="webhook", name="hook", url="https://example.org/hook")])
    sync_rules(pipeline, row[0], RULES)
    return int(row[0])


def _tell(
    conn: Connection, customer: int, at: datetime, notice: Any, severity: float = 0.3, **changes: Any
) -> list[tuple[str, str, int]]:
    """Write it; returns (rule, notice, step) of what that added and was told."""
    values: dict[str, Any] = {
        "event_id": EVENT, "payer": "Aetna", "cpt_group": "ALL", "signal": "denial_rate", "direction": "worsening",
        "effect": 0.05, "baseline": 0.1, "current": 0.15, "n_baseline": 5000, "n_current": 900, "maturity": 0.9,
        "p_value": 1e-5, "q_value": 1e-4, "as_of": date(2026, 5, 1), "change_date": None, "headline": "Aetna denies more",
        "sentences": ("It denies more.",), "facts": (("Before", "10 %"),),
    }  # fmt: skip
    with conn.transaction():
        write_drift_alerts(
            conn, customer, [DriftNotice(notice=notice, severity=severity, **{**values, **changes})], at
        )
    assert not conservation(conn, customer)["wrong_states"]
    rows = conn.execute(
        """SELECT r.name, a.notice, a.step FROM alerts AS a JOIN alert_rules AS r USING (customer_id, rule_id)
            WHERE a.told_at = %s ORDER BY 1, 2""",
        (at,),
    ).fetchall()
    return [(row[0], row[1], row[2]) for row in rows]


def _wanted(conn: Connection, customer: int, severity: float, dollars: float | None) -> bool:
    facts = drift_facts(
        "payer", payer="Aetna", cpt_group="ALL", signal="denial_rate", direction="worsening", severity=severity,
        effect=0.05, detail={"money": {"per_month": dollars}},
    )  # fmt: skip
    return late_openings(conn, customer, {(EVENT, "payer"): facts}) == {EVENT}


def test_an_event_that_grows_past_a_minimum_is_told_under_the_rules_that_ask_for_it(
    pipeline: Connection, acme: int
) -> None:
    assert _tell(pipeline, acme, NOW, "open") == [("all", "open", 0)]
    assert not _wanted(pipeline, acme, 0.39, 4999.0)
    assert _wanted(pipeline, acme, 0.39, 5000.0)
    assert _wanted(pipeline, acme, 0.4, None)
    assert _tell(pipeline, acme, NOW + DAY, "open", 0.4, late=True) == [("large", "open", 0)]
    assert not _wanted(pipeline, acme, 0.9, None), "they have it now"
    _arrive(pipeline)
    assert _tell(pipeline, acme, NOW + 2 * DAY, "resolved") == [("all", "resolved", 0), ("large", "resolved", 0)]


def test_an_opening_that_was_not_told_on_purpose_is_not_told_late_without_a_minimum(
    pipeline: Connection, acme: int
) -> None:
    """A look back opens events and alarms nobody."""
    assert _tell(pipeline, acme, NOW, "open", 0.4, late=True) == [("large", "open", 0)]


@pytest.mark.parametrize("late", [False, True], ids=["as opened", "as going on"])
def test_an_event_that_comes_back_under_its_id_is_told_again_each_time(
    pipeline: Connection, acme: int, late: bool
) -> None:
    assert _tell(pipeline, acme, NOW, "open") == [("all", "open", 0)]
    for number in (0, 1):
        ended = NOW + (1 + 3 * number) * DAY
        _arrive(pipeline)
        assert _tell(pipeline, acme, ended, "resolved") == [("all", "resolved", number)]
        assert _tell(pipeline, acme, ended + DAY / 2, "resolved") == []
        assert _tell(pipeline, acme, ended + DAY, "open", late=late) == [("all", "open", number + 1)]
        assert _tell(pipeline, acme, ended + DAY * 1.5, "open", late=late) == []
        assert _tell(pipeline, acme, ended + 2 * DAY, "escalated", 0.5) == [("all", "escalated", number + 1)]


def test_what_was_held_back_before_the_end_stays_so_when_the_event_comes_back(
    pipeline: Connection, acme: int
) -> None:
    _tell(pipeline, acme, NOW, "open", event_id=uuid.UUID(int=8))
    hour = DAY / 24
    assert _tell(pipeline, acme, NOW + hour, "open") == []
    assert _tell(pipeline, acme, NOW + 2 * hour, "resolved") == []
    assert _tell(pipeline, acme, NOW + 5 * hour, "open") == [("all", "open", 1)]
    _arrive(pipeline)
    assert _tell(pipeline, acme, NOW + 6 * hour, "resolved") == [("all", "resolved", 1)]
    assert sum(alert["held_by"] is not None for alert in list_alerts(pipeline, acme)) == 2


def test_a_change_that_is_data_payer_and_data_again_reaches_who_watches_data_each_time(
    pipeline: Connection, acme: int
) -> None:
    assert _tell(pipeline, acme, NOW, "open", cause="data") != []
    _tell(pipeline, acme, NOW + DAY, "resolved", cause="data")
    assert _tell(pipeline, acme, NOW + DAY * 1.5, "open", cause="payer") == [("all", "open", 0)]
    assert ("all", "open", 1) in _tell(pipeline, acme, NOW + 2 * DAY, "open", cause="data")
    assert _tell(pipeline, acme, NOW + 3 * DAY, "open", cause="data") == []


def test_a_failed_run_that_was_taken_back_is_not_told_again_by_a_sensor_that_starts_over(
    pipeline: Connection, acme: int
) -> None:
    assert write_run_failure_alert(pipeline, acme, "r1", "ingest", None, "KeyError", None, NOW) > 0
    pipeline.execute("UPDATE alerts SET over_at = %s", (NOW,))
    assert write_run_failure_alert(pipeline, acme, "r1", "ingest", None, "KeyError", None, NOW + DAY) == 0


def test_the_end_of_an_event_goes_only_where_a_message_of_it_was_not_given_up(
    pipeline: Connection, acme: int
) -> None:
    _two_channels(pipeline, acme)
    sync_rules(pipeline, acme, [AlertRule(name="all")])
    _tell(pipeline, acme, NOW, "open")
    _give_up(pipeline, "hook")
    _arrive(pipeline)
    assert _tell(pipeline, acme, NOW + DAY, "resolved") == [("all", "resolved", 0)]
    ended = next(alert for alert in list_alerts(pipeline, acme) if alert["notice"] == "resolved")
    assert [delivery["channel"] for delivery in ended["deliveries"]] == ["spare"]


def test_who_is_sent_the_opening_again_hears_that_it_is_over_since(
    settings: Settings, pipeline: Connection, acme: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync_rules(pipeline, acme, [AlertRule(name="all")])
    _tell(pipeline, acme, NOW, "open")
    delivery = _give_up(pipeline, "hook")
    assert _tell(pipeline, acme, NOW + DAY, "resolved") == []
    ended = next(alert for alert in list_alerts(pipeline, acme) if alert["notice"] == "resolved")
    assert (ended["held_by"], ended["reason"]) == ("opening", "its opening was not told")
    assert tell_what_waited(pipeline, acme, NOW + 2 * DAY) == 0
    resend(pipeline, acme, delivery[:8], NOW + 2 * DAY)
    assert tell_what_waited(pipeline, acme, NOW + 2 * DAY) == 0, "not before it has arrived"
    assert _deliver(settings, acme, NOW + 2 * DAY, monkeypatch) == [("hook", "opened")]
    assert tell_what_waited(pipeline, acme, NOW + 2 * DAY) == 0, (
        "it follows already, as soon as update_minutes allow"
    )
    assert _deliver(settings, acme, NOW + 2 * DAY + SIX_MINUTES, monkeypatch) == [("hook", "resolved")]
    assert not any(conservation(pipeline, acme)[name] for name in ("missing_places", "wrong_states"))


def test_who_is_sent_the_opening_again_hears_the_end_that_others_were_told(
    settings: Settings, pipeline: Connection, acme: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _two_channels(pipeline, acme)
    sync_rules(pipeline, acme, [AlertRule(name="all")])
    _tell(pipeline, acme, NOW, "open")
    delivery = _give_up(pipeline, "hook")
    _deliver(settings, acme, NOW, monkeypatch)
    _tell(pipeline, acme, NOW + DAY, "resolved")
    assert _deliver(settings, acme, NOW + DAY, monkeypatch) == [("spare", "resolved")]
    resend(pipeline, acme, delivery, NOW + 2 * DAY)
    assert _deliver(settings, acme, NOW + 2 * DAY, monkeypatch) == [("hook", "opened")]
    assert _deliver(settings, acme, NOW + 2 * DAY + SIX_MINUTES, monkeypatch) == [("hook", "resolved")]
    assert _deliver(settings, acme, NOW + 3 * DAY, monkeypatch) == []
    counts = conservation(pipeline, acme)
    assert (counts["expected_places"], counts["deliveries"]) == (4, 4)
    assert not any(counts[name] for name in counts if name not in ("alerts", "expected_places", "deliveries"))


def test_ends_of_many_events_follow_in_one_message_and_also_those_that_wait_for_another_channel(
    settings: Settings, pipeline: Connection, acme: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _two_channels(pipeline, acme)
    sync_rules(pipeline, acme, [AlertRule(name="all", cooldown_hours=0)])
    events = [uuid.UUID(int=number) for number in range(3)]
    for event in events:
        _tell(pipeline, acme, NOW, "open", event_id=event)
    delivery = _give_up(pipeline, "hook")
    _deliver(settings, acme, NOW, monkeypatch)
    for event in events[:2]:
        _tell(pipeline, acme, NOW + DAY, "resolved", event_id=event)
    _deliver(settings, acme, NOW + DAY, monkeypatch)
    pipeline.execute("UPDATE alert_channels SET enabled = false WHERE name = 'spare'")
    assert _tell(pipeline, acme, NOW + DAY * 1.5, "resolved", event_id=events[2]) == [], "it waits for spare"
    resend(pipeline, acme, delivery, NOW + 2 * DAY)
    # Three openings as one message, and so their ends.
    assert _deliver(settings, acme, NOW + 2 * DAY, monkeypatch) == [("hook", "grouped")]
    assert _deliver(settings, acme, NOW + 2 * DAY + SIX_MINUTES, monkeypatch) == [("hook", "grouped")]
    enable_channel(pipeline, acme, "spare", NOW + 3 * DAY)
    assert _deliver(settings, acme, NOW + 3 * DAY, monkeypatch) == [("spare", "resolved")], "it waited for its own"
    assert not any(
        conservation(pipeline, acme)[name] for name in ("missing_places", "empty_deliveries", "wrong_states")
    )


AGAIN, REFUSED = Outcome("retry", "it answered 500", 500, receiver_failing=True), Outcome("dead", "refused", 400)


@pytest.mark.parametrize("arrives", [True, False], ids=["arrives", "given up"])
def test_an_end_does_not_overtake_an_opening_that_is_tried_again(
    settings: Settings, pipeline: Connection, acme: int, monkeypatch: pytest.MonkeyPatch, arrives: bool
) -> None:
    """The last word in the mailbox would be an open alert."""
    sync_rules(pipeline, acme, [AlertRule(name="all")])
    _tell(pipeline, acme, NOW, "open")
    for hours in (0, 0.1, 1, 3.1):
        assert _deliver(settings, acme, NOW + hours * DAY / 24, monkeypatch, opened=AGAIN) == []
    assert _tell(pipeline, acme, NOW + DAY / 6, "resolved") == []
    reason = "no message of its event had arrived yet"
    assert list_alerts(pipeline, acme, state="suppressed")[0]["reason"] == reason
    assert _deliver(settings, acme, NOW + DAY / 5.9, monkeypatch) == [], "the next try is in five hours"
    # Tries are made after about 3, 8, 18 and 28 hours.
    rest = [(hours, {} if arrives else {"opened": AGAIN}) for hours in (10, 22, 35, 48)]
    told = [
        one for hours, refused in rest
        for one in _deliver(settings, acme, NOW + hours * DAY / 24, monkeypatch, **refused)
    ]  # fmt: skip
    assert told == ([("hook", "opened"), ("hook", "resolved")] if arrives else [])
    if not arrives:
        assert list_alerts(pipeline, acme, state="suppressed")[0]["reason"] == "its opening was not told"


def test_an_end_that_was_given_up_follows_what_arrives_after_it(
    settings: Settings, pipeline: Connection, acme: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync_rules(pipeline, acme, [AlertRule(name="all", cooldown_hours=0)])
    other = uuid.UUID(int=8)
    for event in (EVENT, other):
        _tell(pipeline, acme, NOW, "open", event_id=event)
    _deliver(settings, acme, NOW, monkeypatch)
    _tell(pipeline, acme, NOW + DAY, "escalated", 0.6)
    _deliver(settings, acme, NOW + DAY, monkeypatch, escalated=REFUSED)
    (worse,) = (one for one in list_alerts(pipeline, acme) if one["notice"] == "escalated")
    for event in (EVENT, other):
        _tell(pipeline, acme, NOW + 2 * DAY, "resolved", event_id=event)
    _deliver(settings, acme, NOW + 2 * DAY, monkeypatch, grouped=REFUSED)
    assert _deliver(settings, acme, NOW + 3 * DAY, monkeypatch) == []
    resend(pipeline, acme, worse["deliveries"][0]["delivery_id"], NOW + 3 * DAY)
    told = [_deliver(settings, acme, NOW + 3 * DAY + n * SIX_MINUTES, monkeypatch) for n in range(2)]
    # The other event's end, which was given up in the same message, nobody asked for.
    assert [*told[0], *told[1]] == [("hook", "escalated"), ("hook", "resolved")]
    counts = conservation(pipeline, acme)
    assert not any(counts[name] for name in counts if name not in ("alerts", "expected_places", "deliveries"))
    # Alone in its message, that message is sent again.
    ended = next(
        one for one in list_alerts(pipeline, acme) if one["state"] == "sent" and one["notice"] == "resolved"
    )
    key = (ended["deliveries"][0]["delivery_id"],)
    pipeline.execute("UPDATE deliveries SET state = 'dead' WHERE delivery_id = %s", key)
    pipeline.execute(
        "UPDATE deliveries SET state = 'dead' WHERE delivery_id = %s", (worse["deliveries"][0]["delivery_id"],)
    )
    resend(pipeline, acme, worse["deliveries"][0]["delivery_id"], NOW + 4 * DAY)
    assert _deliver(settings, acme, NOW + 4 * DAY, monkeypatch) == [("hook", "escalated"), ("hook", "resolved")]
    assert pipeline.execute("SELECT state, attempt FROM deliveries WHERE delivery_id = %s", key).fetchone() == (
        "sent",
        2,
    )


@pytest.mark.parametrize("arrives", [True, False], ids=["arrives", "given up"])
def test_a_channel_that_is_off_is_told_the_end_when_it_is_on_whoever_is_sent_the_opening_again_meanwhile(
    settings: Settings, pipeline: Connection, acme: int, monkeypatch: pytest.MonkeyPatch, arrives: bool
) -> None:
    _two_channels(pipeline, acme)
    sync_rules(pipeline, acme, [AlertRule(name="all")])
    _tell(pipeline, acme, NOW, "open")
    delivery = _give_up(pipeline, "hook")
    _deliver(settings, acme, NOW, monkeypatch)
    pipeline.execute("UPDATE alert_channels SET enabled = false WHERE name = 'spare'")
    assert _tell(pipeline, acme, NOW + DAY, "resolved") == []
    resend(pipeline, acme, delivery, NOW + 2 * DAY)
    assert list_alerts(pipeline, acme, state="suppressed")[0]["owed_to"] == ["spare"]
    told = [
        one for n in range(2)
        for one in _deliver(
            settings, acme, NOW + 2 * DAY + n * SIX_MINUTES, monkeypatch, **({} if arrives else {"opened": REFUSED})
        )
    ]  # fmt: skip
    assert told == ([("hook", "opened"), ("hook", "resolved")] if arrives else [])
    enable_channel(pipeline, acme, "spare", NOW + 3 * DAY)
    assert _deliver(settings, acme, NOW + 3 * DAY, monkeypatch) == [("spare", "resolved")]
    enable_channel(pipeline, acme, "spare", NOW + 4 * DAY)
    assert _deliver(settings, acme, NOW + 4 * DAY, monkeypatch) == []
    assert not any(conservation(pipeline, acme)[name] for name in ("missing_places", "wrong_states"))


def test_the_end_of_an_event_that_is_open_again_is_told_to_nobody_and_the_next_one_to_all_who_wait_for_an_end(
    settings: Settings, pipeline: Connection, acme: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _two_channels(pipeline, acme)
    sync_rules(pipeline, acme, [AlertRule(name="all")])
    _tell(pipeline, acme, NOW, "open")
    delivery = _give_up(pipeline, "hook")
    _deliver(settings, acme, NOW, monkeypatch)
    _tell(pipeline, acme, NOW + DAY, "resolved")
    _deliver(settings, acme, NOW + DAY, monkeypatch)
    pipeline.execute("UPDATE alert_channels SET enabled = false WHERE name = 'hook'")
    _tell(pipeline, acme, NOW + 2 * DAY, "open")
    assert _deliver(settings, acme, NOW + 2 * DAY, monkeypatch) == [("spare", "opened")]
    enable_channel(pipeline, acme, "hook", NOW + 2 * DAY)
    resend(pipeline, acme, delivery, NOW + 3 * DAY)
    told = [_deliver(settings, acme, NOW + 3 * DAY + n * SIX_MINUTES, monkeypatch) for n in range(2)]
    assert told == [[("hook", "opened")], []]
    assert _tell(pipeline, acme, NOW + 4 * DAY, "resolved") == [("all", "resolved", 1)]
    assert sorted(_deliver(settings, acme, NOW + 4 * DAY, monkeypatch)) == [
        ("hook", "resolved"),
        ("spare", "resolved"),
    ]


def test_a_rule_that_is_off_tells_of_no_growth_but_of_the_end(
    settings: Settings, pipeline: Connection, acme: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync_rules(pipeline, acme, [AlertRule(name="old")])
    _tell(pipeline, acme, NOW, "open")
    _deliver(settings, acme, NOW, monkeypatch)
    sync_rules(pipeline, acme, [AlertRule(name="new", payers=("Cigna",))])
    assert grown_events(pipeline, acme, {(EVENT, "payer"): 0.9}, NOW + DAY) == set()
    assert _tell(pipeline, acme, NOW + DAY, "escalated", 0.9) == []
    assert _tell(pipeline, acme, NOW + 2 * DAY, "resolved") == [("old", "resolved", 0)]


def test_the_end_that_follows_a_message_sent_again_keeps_the_quiet_hours(
    settings: Settings, pipeline: Connection, acme: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who sends again asks for the opening, by day or night, and not for what follows it."""
    quiet = QuietHours.model_validate({"from": "11:00", "to": "13:00"})
    sync_rules(pipeline, acme, [AlertRule(name="all", quiet_hours=quiet, time_zone="UTC")])
    _two_channels(pipeline, acme)
    _tell(pipeline, acme, NOW, "open")
    delivery = _give_up(pipeline, "hook")
    assert _deliver(settings, acme, NOW + DAY / 20, monkeypatch) == [("spare", "opened")]
    _tell(pipeline, acme, NOW + DAY, "resolved")
    assert _deliver(settings, acme, NOW + DAY * 1.05, monkeypatch) == [("spare", "resolved")]
    resend(pipeline, acme, delivery, NOW + 2 * DAY)
    told = [_deliver(settings, acme, NOW + 2 * DAY + n * SIX_MINUTES, monkeypatch) for n in (0, 1, 10)]
    assert told == [[("hook", "opened")], [], [("hook", "resolved")]]


@pytest.mark.parametrize("accepted", [["a@example.org"], []], ids=["one has it", "nobody has it"])
def test_a_mail_that_one_recipient_never_can_have_was_heard_by_the_others(
    pipeline: Connection, acme: int, accepted: list[str]
) -> None:
    office = EmailChannel(kind="email", name="office", recipients=("a@example.org", "gone@example.org"))
    sync_channels(pipeline, acme, [office])
    sync_rules(pipeline, acme, [AlertRule(name="all")])
    _tell(pipeline, acme, NOW, "open")
    _give_up(pipeline, "office")
    pipeline.execute(
        "UPDATE deliveries SET progress = %s", (Jsonb({"accepted": accepted, "refused": ["gone@example.org"]}),)
    )
    # An hour later the same trouble as another event waits for the cooldown, if anybody heard of the first.
    other = _tell(pipeline, acme, NOW + DAY / 24, "open", event_id=uuid.UUID(int=8))
    assert other == ([] if accepted else [("all", "open", 0)])
    assert _tell(pipeline, acme, NOW + DAY, "resolved") == ([("all", "resolved", 0)] if accepted else [])


def test_trouble_that_a_test_met_is_seen_and_sent_again_and_the_test_is_not(
    settings: Settings, pipeline: Connection, acme: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither has a rule."""
    _two_channels(pipeline, acme)
    gone = Outcome("dead", "gone", 410, disable="the receiver answered 410 Gone")
    _deliver(settings, acme, NOW, monkeypatch)
    monkeypatch.setattr(
        sending, "send_webhook", lambda *_, url, **__: gone if url.endswith("hook") else Outcome("dead", "no", 404)
    )
    assert not try_channel(pipeline, settings, acme, "hook").sent
    now = datetime.now(UTC)
    health = outbox_health(pipeline, now)
    assert (health.dead, list(health.dead_of)) == (1, ["acme"])
    assert {one.name: one.dead for one in overview(pipeline, acme, now).channels} == {"hook": 0, "spare": 1}
    assert resend_all(pipeline, acme, "spare", now - DAY).due == 1


def test_only_a_dead_delivery_of_an_enabled_channel_is_resent(pipeline: Connection, acme: int) -> None:
    sync_rules(pipeline, acme, [AlertRule(name="all")])
    _tell(pipeline, acme, NOW, "open")
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
    _two_channels(pipeline, acme)
    sync_rules(pipeline, acme, [AlertRule(name="all", cooldown_hours=0, group_seconds=0)])
    for number in range(3):
        _tell(pipeline, acme, NOW, "open", event_id=uuid.UUID(int=number))
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


def test_of_all_that_is_sent_again_ends_come_after_what_was_told_of_their_events(
    settings: Settings, pipeline: Connection, acme: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync_rules(pipeline, acme, [AlertRule(name="all", cooldown_hours=0)])
    events = [uuid.UUID(int=number) for number in range(4)]
    for number, event in enumerate(events):
        _tell(pipeline, acme, NOW + number * DAY, "open", event_id=event)
        _deliver(settings, acme, NOW + number * DAY, monkeypatch)
        _tell(pipeline, acme, NOW + (number + 0.5) * DAY, "resolved", event_id=event)
        _deliver(settings, acme, NOW + (number + 0.5) * DAY, monkeypatch)
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
    assert _deliver(settings, acme, NOW + 9 * DAY, monkeypatch) == first + [("hook", "resolved")] * 3
    assert not any(conservation(pipeline, acme)[name] for name in ("missing_places", "wrong_states"))


def _deliver(
    settings: Settings, customer: int, at: datetime, monkeypatch: pytest.MonkeyPatch, **refused: Outcome
) -> list[tuple[str, str]]:
    """Send what is due then to receivers that take it, but what is `refused`, by what it tells; returns (channel, what was
    told) in the order it was taken.
    """
    sent: list[tuple[str, str]] = []

    def receive(*_: Any, url: str, payload: dict[str, Any], **__: Any) -> Outcome:
        channel, told = url.rsplit("/", 1)[1], payload["type"].rsplit(".", 1)[1]
        if told in refused:
            return refused[told]
        sent.append((channel, told))
        return Outcome("sent", "accepted", 200)

    monkeypatch.setattr(sending, "send_webhook", receive)
    deliver_due(settings, customer_id=customer, clock=lambda: at, worker_threads=1)
    return sent


def _arrive(conn: Connection) -> None:
    """What waits has arrived."""
    conn.execute("UPDATE deliveries SET state = 'sent', finished_at = created_at WHERE state = 'pending'")
    conn.execute("UPDATE alerts SET state = 'sent' WHERE state = 'pending'")


def _two_channels(conn: Connection, customer: int) -> None:
    sync_channels(
        conn, customer,
        [WebhookChannel(kind="webhook", name=name, url=f"https://example.org/{name}") for name in ("hook", "spare")],
    )  # fmt: skip


def _give_up(conn: Connection, channel: str) -> str:
    """What waits for a channel is dead; returns the delivery's id."""
    row = conn.execute(
        """UPDATE deliveries AS d SET state = 'dead', finished_at = now() FROM alert_channels AS c
            WHERE c.channel_id = d.channel_id AND c.name = %s RETURNING d.delivery_id::text""",
        (channel,),
    ).fetchone()
    assert row is not None
    conn.execute("UPDATE alerts SET state = 'failed' WHERE state = 'pending'")
    return str(row[0])
