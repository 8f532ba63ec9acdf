"""Ends of events: an end goes where it is owed, after what was told of its event. Not here: all of a channel sent again."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from upstream_pipelines.alerts.outbox import tell_what_waited
from upstream_pipelines.alerts.resending import resend
from upstream_pipelines.alerts.rules import AlertRule, QuietHours
from upstream_pipelines.alerts.store import (
    conservation,
    enable_channel,
    list_alerts,
    sync_channels,
    sync_rules,
)
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.delivery import sending
from upstream_pipelines.delivery.channels import EmailChannel
from upstream_pipelines.delivery.outcome import Outcome
from upstream_pipelines.delivery.worker import deliver_due
from upstream_pipelines.settings import Settings
from upstream_pipelines_tests.database.alerts_told import (
    AGAIN,
    DAY,
    EVENT,
    NOW,
    REFUSED,
    SIX_MINUTES,
    acme_with_rules,
    arrive,
    deliver,
    give_up,
    tell,
    two_channels,
)


@pytest.fixture
def acme(pipeline: Connection) -> int:
    return acme_with_rules(pipeline)


def test_the_end_of_an_event_goes_only_where_a_message_of_it_was_not_given_up(
    pipeline: Connection, acme: int
) -> None:
    two_channels(pipeline, acme)
    sync_rules(pipeline, acme, [AlertRule(name="all")])
    tell(pipeline, acme, NOW, "open")
    give_up(pipeline, "hook")
    arrive(pipeline)
    assert tell(pipeline, acme, NOW + DAY, "resolved") == [("all", "resolved", 0)]
    ended = next(alert for alert in list_alerts(pipeline, acme) if alert["notice"] == "resolved")
    assert [delivery["channel"] for delivery in ended["deliveries"]] == ["spare"]


def test_who_is_sent_the_opening_again_hears_that_it_is_over_since(
    settings: Settings, pipeline: Connection, acme: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync_rules(pipeline, acme, [AlertRule(name="all")])
    tell(pipeline, acme, NOW, "open")
    delivery = give_up(pipeline, "hook")
    assert tell(pipeline, acme, NOW + DAY, "resolved") == []
    ended = next(alert for alert in list_alerts(pipeline, acme) if alert["notice"] == "resolved")
    assert (ended["held_by"], ended["reason"]) == ("opening", "its opening was not told")
    assert tell_what_waited(pipeline, acme, NOW + 2 * DAY) == 0
    resend(pipeline, acme, delivery[:8], NOW + 2 * DAY)
    assert tell_what_waited(pipeline, acme, NOW + 2 * DAY) == 0, "not before it has arrived"
    assert deliver(settings, acme, NOW + 2 * DAY, monkeypatch) == [("hook", "opened")]
    assert tell_what_waited(pipeline, acme, NOW + 2 * DAY) == 0, (
        "it follows already, as soon as update_minutes allow"
    )
    assert deliver(settings, acme, NOW + 2 * DAY + SIX_MINUTES, monkeypatch) == [("hook", "resolved")]
    assert not any(conservation(pipeline, acme)[name] for name in ("missing_places", "wrong_states"))


def test_who_is_sent_the_opening_again_hears_the_end_that_others_were_told(
    settings: Settings, pipeline: Connection, acme: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_channels(pipeline, acme)
    sync_rules(pipeline, acme, [AlertRule(name="all")])
    tell(pipeline, acme, NOW, "open")
    delivery = give_up(pipeline, "hook")
    deliver(settings, acme, NOW, monkeypatch)
    tell(pipeline, acme, NOW + DAY, "resolved")
    assert deliver(settings, acme, NOW + DAY, monkeypatch) == [("spare", "resolved")]
    resend(pipeline, acme, delivery, NOW + 2 * DAY)
    assert deliver(settings, acme, NOW + 2 * DAY, monkeypatch) == [("hook", "opened")]
    assert deliver(settings, acme, NOW + 2 * DAY + SIX_MINUTES, monkeypatch) == [("hook", "resolved")]
    assert deliver(settings, acme, NOW + 3 * DAY, monkeypatch) == []
    counts = conservation(pipeline, acme)
    assert (counts["expected_places"], counts["deliveries"]) == (4, 4)
    assert not any(counts[name] for name in counts if name not in ("alerts", "expected_places", "deliveries"))


def test_ends_of_many_events_follow_in_one_message_and_also_those_that_wait_for_another_channel(
    settings: Settings, pipeline: Connection, acme: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_channels(pipeline, acme)
    sync_rules(pipeline, acme, [AlertRule(name="all", cooldown_hours=0)])
    events = [uuid.UUID(int=number) for number in range(3)]
    for event in events:
        tell(pipeline, acme, NOW, "open", event_id=event)
    delivery = give_up(pipeline, "hook")
    deliver(settings, acme, NOW, monkeypatch)
    for event in events[:2]:
        tell(pipeline, acme, NOW + DAY, "resolved", event_id=event)
    deliver(settings, acme, NOW + DAY, monkeypatch)
    pipeline.execute("UPDATE alert_channels SET enabled = false WHERE name = 'spare'")
    assert tell(pipeline, acme, NOW + DAY * 1.5, "resolved", event_id=events[2]) == [], "it waits for spare"
    resend(pipeline, acme, delivery, NOW + 2 * DAY)
    # Three openings as one message, and so their ends.
    assert deliver(settings, acme, NOW + 2 * DAY, monkeypatch) == [("hook", "grouped")]
    assert deliver(settings, acme, NOW + 2 * DAY + SIX_MINUTES, monkeypatch) == [("hook", "grouped")]
    enable_channel(pipeline, acme, "spare", NOW + 3 * DAY)
    assert deliver(settings, acme, NOW + 3 * DAY, monkeypatch) == [("spare", "resolved")], "it waited for its own"
    assert not any(
        conservation(pipeline, acme)[name] for name in ("missing_places", "empty_deliveries", "wrong_states")
    )


def test_the_end_follows_a_mail_that_some_had_before_its_workers_died(
    settings: Settings, pipeline: Connection, acme: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = EmailChannel(kind="email", name="office", recipients=("a@example.org", "b@example.org"))
    sync_channels(pipeline, acme, [office])
    sync_rules(pipeline, acme, [AlertRule(name="all")])
    tell(pipeline, acme, NOW, "open")
    pipeline.execute(
        "UPDATE deliveries SET state = 'sending', attempt = 8, first_tried_at = %s, due_at = %s, progress = %s",
        (NOW, NOW + 2 * DAY, Jsonb({"accepted": ["a@example.org"]})),
    )
    assert tell(pipeline, acme, NOW + DAY, "resolved") == []
    mails: list[str] = []

    def send(*_: Any, message: Any, **__: Any) -> Outcome:
        mails.append(message.subject)
        return Outcome("sent", "accepted")

    monkeypatch.setattr(sending, "send_email", send)
    report = deliver_due(settings, customer_id=acme, clock=lambda: NOW + 3 * DAY)
    assert (report.buried, report.sent, len(mails)) == (1, 1, 1)


@pytest.mark.parametrize("arrives", [True, False], ids=["arrives", "given up"])
def test_an_end_does_not_overtake_an_opening_that_is_tried_again(
    settings: Settings, pipeline: Connection, acme: int, monkeypatch: pytest.MonkeyPatch, arrives: bool
) -> None:
    """The last word in the mailbox would be an open alert."""
    sync_rules(pipeline, acme, [AlertRule(name="all")])
    tell(pipeline, acme, NOW, "open")
    for hours in (0, 0.1, 1, 3.1):
        assert deliver(settings, acme, NOW + hours * DAY / 24, monkeypatch, opened=AGAIN) == []
    assert tell(pipeline, acme, NOW + DAY / 6, "resolved") == []
    reason = "no message of its event had arrived yet"
    assert list_alerts(pipeline, acme, state="suppressed")[0]["reason"] == reason
    assert deliver(settings, acme, NOW + DAY / 5.9, monkeypatch) == [], "the next try is in five hours"
    # Tries are made after about 3, 8, 18 and 28 hours.
    rest = [(hours, {} if arrives else {"opened": AGAIN}) for hours in (10, 22, 35, 48)]
    told = [
        one for hours, refused in rest
        for one in deliver(settings, acme, NOW + hours * DAY / 24, monkeypatch, **refused)
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
        tell(pipeline, acme, NOW, "open", event_id=event)
    deliver(settings, acme, NOW, monkeypatch)
    tell(pipeline, acme, NOW + DAY, "escalated", 0.6)
    deliver(settings, acme, NOW + DAY, monkeypatch, escalated=REFUSED)
    (worse,) = (one for one in list_alerts(pipeline, acme) if one["notice"] == "escalated")
    for event in (EVENT, other):
        tell(pipeline, acme, NOW + 2 * DAY, "resolved", event_id=event)
    deliver(settings, acme, NOW + 2 * DAY, monkeypatch, grouped=REFUSED)
    assert deliver(settings, acme, NOW + 3 * DAY, monkeypatch) == []
    resend(pipeline, acme, worse["deliveries"][0]["delivery_id"], NOW + 3 * DAY)
    told = [deliver(settings, acme, NOW + 3 * DAY + n * SIX_MINUTES, monkeypatch) for n in range(2)]
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
    assert deliver(settings, acme, NOW + 4 * DAY, monkeypatch) == [("hook", "escalated"), ("hook", "resolved")]
    assert pipeline.execute("SELECT state, attempt FROM deliveries WHERE delivery_id = %s", key).fetchone() == (
        "sent",
        2,
    )


@pytest.mark.parametrize("arrives", [True, False], ids=["arrives", "given up"])
def test_a_channel_that_is_off_is_told_the_end_when_it_is_on_whoever_is_sent_the_opening_again_meanwhile(
    settings: Settings, pipeline: Connection, acme: int, monkeypatch: pytest.MonkeyPatch, arrives: bool
) -> None:
    two_channels(pipeline, acme)
    sync_rules(pipeline, acme, [AlertRule(name="all")])
    tell(pipeline, acme, NOW, "open")
    delivery = give_up(pipeline, "hook")
    deliver(settings, acme, NOW, monkeypatch)
    pipeline.execute("UPDATE alert_channels SET enabled = false WHERE name = 'spare'")
    assert tell(pipeline, acme, NOW + DAY, "resolved") == []
    resend(pipeline, acme, delivery, NOW + 2 * DAY)
    assert list_alerts(pipeline, acme, state="suppressed")[0]["owed_to"] == ["spare"]
    told = [
        one for n in range(2)
        for one in deliver(
            settings, acme, NOW + 2 * DAY + n * SIX_MINUTES, monkeypatch, **({} if arrives else {"opened": REFUSED})
        )
    ]  # fmt: skip
    assert told == ([("hook", "opened"), ("hook", "resolved")] if arrives else [])
    enable_channel(pipeline, acme, "spare", NOW + 3 * DAY)
    assert deliver(settings, acme, NOW + 3 * DAY, monkeypatch) == [("spare", "resolved")]
    enable_channel(pipeline, acme, "spare", NOW + 4 * DAY)
    assert deliver(settings, acme, NOW + 4 * DAY, monkeypatch) == []
    assert not any(conservation(pipeline, acme)[name] for name in ("missing_places", "wrong_states"))


def test_the_end_of_an_event_that_is_open_again_is_told_to_nobody_and_the_next_one_to_all_who_wait_for_an_end(
    settings: Settings, pipeline: Connection, acme: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_channels(pipeline, acme)
    sync_rules(pipeline, acme, [AlertRule(name="all")])
    tell(pipeline, acme, NOW, "open")
    delivery = give_up(pipeline, "hook")
    deliver(settings, acme, NOW, monkeypatch)
    tell(pipeline, acme, NOW + DAY, "resolved")
    deliver(settings, acme, NOW + DAY, monkeypatch)
    pipeline.execute("UPDATE alert_channels SET enabled = false WHERE name = 'hook'")
    tell(pipeline, acme, NOW + 2 * DAY, "open")
    assert deliver(settings, acme, NOW + 2 * DAY, monkeypatch) == [("spare", "opened")]
    enable_channel(pipeline, acme, "hook", NOW + 2 * DAY)
    resend(pipeline, acme, delivery, NOW + 3 * DAY)
    told = [deliver(settings, acme, NOW + 3 * DAY + n * SIX_MINUTES, monkeypatch) for n in range(2)]
    assert told == [[("hook", "opened")], []]
    assert tell(pipeline, acme, NOW + 4 * DAY, "resolved") == [("all", "resolved", 1)]
    assert sorted(deliver(settings, acme, NOW + 4 * DAY, monkeypatch)) == [
        ("hook", "resolved"),
        ("spare", "resolved"),
    ]


def test_the_end_that_follows_a_message_sent_again_keeps_the_quiet_hours(
    settings: Settings, pipeline: Connection, acme: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who sends again asks for the opening, by day or night, and not for what follows it."""
    quiet = QuietHours.model_validate({"from": "11:00", "to": "13:00"})
    sync_rules(pipeline, acme, [AlertRule(name="all", quiet_hours=quiet, time_zone="UTC")])
    two_channels(pipeline, acme)
    tell(pipeline, acme, NOW, "open")
    delivery = give_up(pipeline, "hook")
    assert deliver(settings, acme, NOW + DAY / 20, monkeypatch) == [("spare", "opened")]
    tell(pipeline, acme, NOW + DAY, "resolved")
    assert deliver(settings, acme, NOW + DAY * 1.05, monkeypatch) == [("spare", "resolved")]
    resend(pipeline, acme, delivery, NOW + 2 * DAY)
    told = [deliver(settings, acme, NOW + 2 * DAY + n * SIX_MINUTES, monkeypatch) for n in (0, 1, 10)]
    assert told == [[("hook", "opened")], [], [("hook", "resolved")]]


@pytest.mark.parametrize("accepted", [["a@example.org"], []], ids=["one has it", "nobody has it"])
def test_a_mail_that_one_recipient_never_can_have_was_heard_by_the_others(
    pipeline: Connection, acme: int, accepted: list[str]
) -> None:
    office = EmailChannel(kind="email", name="office", recipients=("a@example.org", "gone@example.org"))
    sync_channels(pipeline, acme, [office])
    sync_rules(pipeline, acme, [AlertRule(name="all")])
    tell(pipeline, acme, NOW, "open")
    give_up(pipeline, "office")
    pipeline.execute(
        "UPDATE deliveries SET progress = %s", (Jsonb({"accepted": accepted, "refused": ["gone@example.org"]}),)
    )
    # An hour later the same trouble as another event waits for the cooldown, if anybody heard of the first.
    other = tell(pipeline, acme, NOW + DAY / 24, "open", event_id=uuid.UUID(int=8))
    assert other == ([] if accepted else [("all", "open", 0)])
    assert tell(pipeline, acme, NOW + DAY, "resolved") == ([("all", "resolved", 0)] if accepted else [])
