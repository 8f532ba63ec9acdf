"""The whole life of alerts in the database against a simple model of it: whatever events and people do, in any order."""

from __future__ import annotations

import itertools
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from upstream_pipelines.alerts.feedback import Judgement, judge, lift_silence, silence
from upstream_pipelines.alerts.notices import DriftNotice
from upstream_pipelines.alerts.outbox import grown_events
from upstream_pipelines.alerts.resending import resend
from upstream_pipelines.alerts.rules import AlertRule
from upstream_pipelines.alerts.store import (
    conservation,
    enable_channel,
    sync_channels,
    sync_rules,
    write_drift_alerts,
)
from upstream_pipelines.customers.audit import operator
from upstream_pipelines.customers.flag_changes import replace_flags
from upstream_pipelines.customers.models import CustomerKey
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.delivery import sending
from upstream_pipelines.delivery.channels import WebhookChannel
from upstream_pipelines.delivery.outcome import Outcome
from upstream_pipelines.delivery.worker import deliver_due
from upstream_pipelines.drift.events import Cause
from upstream_pipelines.settings import Settings

pytestmark = pytest.mark.hypothesis  # run_state_machine_as_test is no test of its own to `make fuzz`
HOUR, MONTH = timedelta(hours=1), timedelta(days=30)
HOOK = WebhookChannel(kind="webhook", name="hook", url="https://example.org/hook")
# name: hours of cooldown, hours after which it repeats.
RULES: dict[str, tuple[int, int | None]] = {"calm": (4, None), "loud": (1, 24)}
PAYERS, SIGNALS = ("Aetna", "Cigna"), ("denial_rate", "volume")
_slugs = (f"c{number}" for number in itertools.count())

subjects = st.tuples(st.sampled_from(PAYERS), st.sampled_from(SIGNALS))
tenths = st.integers(1, 10)


@dataclass
class Written:
    """An alert as the model has it; severities in tenths."""

    rule: str
    event: Event
    notice: str
    step: int
    severity: int
    written: datetime
    told: datetime | None = None
    held: str | None = None
    until: datetime | None = None
    over: datetime | None = None
    # What became of its message: "waiting", "sent" or "dead", since when it is so, and when it was put there last.
    message: str = "waiting"
    ended: datetime | None = None
    placed: datetime | None = None

    @property
    def given_up(self) -> bool:
        return self.message == "dead"


def _since(one: datetime | None, other: datetime | None) -> bool:
    """Both have happened, and the other not later."""
    return one is not None and other is not None and one >= other


@dataclass(eq=False)
class Event:
    """A drift event; it may end and come back."""

    subject: tuple[str, str]
    event_id: uuid.UUID = field(default_factory=uuid.uuid4)


@dataclass
class Quiet:
    """A silence: what it covers, None for all, and its time."""

    silence_id: uuid.UUID
    payer: str | None
    signal: str | None
    end: datetime

    def covers(self, subject: tuple[str, str], now: datetime) -> bool:
        return self.payer in {None, subject[0]} and self.signal in {None, subject[1]} and now < self.end


class Life(RuleBasedStateMachine):
    """Events of four subjects under two rules; every decision is made twice, here and in the database."""

    conn: Connection
    settings: Settings
    received: Callable[[], list[dict[str, Any]]]
    refuse: Callable[[bool], None]

    def __init__(self) -> None:
        super().__init__()
        self.now = datetime(2026, 5, 1, 12, tzinfo=UTC)
        self.live: dict[tuple[str, str], Event] = {}
        self.gone: list[Event] = []
        self.alerts: list[Written] = []
        self.quiet: list[Quiet] = []
        # Why nobody can be told, as what is held back for it says.
        self.off: Literal["channel", "product"] | None = None
        self.noise: dict[tuple[uuid.UUID, str, int], tuple[str, datetime]] = {}
        self.got: Counter[tuple[str, str, str]] = Counter()
        self.slug = next(_slugs)
        row = self.conn.execute(
            "INSERT INTO customers (slug, name) VALUES (%s, 'C') RETURNING customer_id", (self.slug,)
        ).fetchone()
        assert row is not None
        self.customer = int(row[0])
        sync_channels(self.conn, self.customer, [HOOK])
        sync_rules(self.conn, self.customer, [AlertRule(name=name) for name in RULES])
        for name, (cooldown, repeat) in RULES.items():
            self.conn.execute(
                "UPDATE alert_rules SET cooldown_hours = %s, repeat_hours = %s WHERE customer_id = %s AND name = %s",
                (cooldown, repeat, self.customer, name),
            )

    # What the model knows.

    def _of(self, name: str, subject: tuple[str, str], *, since: datetime) -> list[Written]:
        """What a rule told of a subject lately and was not given up, endings left out."""
        return [
            alert for alert in self.alerts
            if alert.rule == name and alert.event.subject == subject and alert.notice != "resolved"
            and alert.told is not None and alert.told > since and not alert.given_up
        ]  # fmt: skip

    def _told_of(self, name: str, event: Event) -> list[Written]:
        return [
            alert for alert in self.alerts
            if alert.rule == name and alert.event is event and alert.notice != "resolved" and alert.told
            and not alert.over
        ]  # fmt: skip

    def _is_owed(self, name: str, event: Event, end: Written | None = None) -> bool:
        """Whether the last word of an event that arrived is that it is open, and no more of it is under way; `end`: the end
        that is asked about.
        """
        told = [
            alert for alert in self.alerts
            if alert.rule == name and alert.event is event and alert.told and alert is not end
        ]  # fmt: skip
        words = [
            word for word in told
            if word.notice != "resolved" and not any(
                other.notice == "resolved" and _since(other.over, word.over)
                and (not other.given_up or _since(other.ended, word.ended))
                for other in told
            )
        ]  # fmt: skip
        return any(word.message == "sent" for word in words) and all(word.message != "waiting" for word in words)

    def _came_back(self, end: Written) -> bool:
        return any(
            alert.rule == end.rule and alert.event is end.event and alert.notice == "open"
            and not _since(end.over, alert.over) for alert in self.alerts
        )  # fmt: skip

    def _why_not(self, name: str, subject: tuple[str, str], severity: int) -> tuple[str, datetime | None] | None:
        if self.off:
            return self.off, None
        lately = self._of(name, subject, since=self.now - MONTH)
        if lately and severity >= max(alert.severity for alert in lately) + 2:
            return None
        ends = [quiet.end for quiet in self.quiet if quiet.covers(subject, self.now)]
        if ends:
            return "silence", max(ends)
        noise = [
            at for (event_id, _, _), (judgement, at) in self.noise.items()
            if judgement == "noise" and at > self.now - MONTH
            and any(alert.event.event_id == event_id and alert.event.subject == subject for alert in self.alerts)
        ]  # fmt: skip
        if len(noise) >= 2:
            return "noise", None
        if lately:
            end = max(alert.told for alert in lately if alert.told) + RULES[name][0] * HOUR
            if self.now < end:
                return "cooldown", end
        return None

    def _write(self, name: str, event: Event, notice: str, severity: int) -> None:
        step = sum((a.rule, a.event, a.notice) == (name, event, notice) for a in self.alerts)
        if notice == "escalated":
            step += 1
        alert = Written(name, event, notice, step, severity, self.now)
        why = None if notice == "escalated" else self._why_not(name, event.subject, severity)
        if notice == "resolved":
            why = ((self.off, None) if self.off else None) if self._is_owed(name, event) else ("opening", None)
        if why is None:
            alert.told = self.now
        else:
            alert.held, alert.until = why
        self.alerts.append(alert)

    def _notice(self, event: Event, notice: Any, severity: int, *, late: bool) -> DriftNotice:
        return DriftNotice(
            event_id=event.event_id, notice=notice, payer=event.subject[0], cpt_group="ALL", signal=event.subject[1],
            direction="worsening", severity=severity / 10, effect=0.05, baseline=0.1, current=0.15, n_baseline=5000,
            n_current=900, maturity=0.9, p_value=1e-5, q_value=1e-4, as_of=date(2026, 5, 1), change_date=None,
            headline="It changed", sentences=("It changed.",), facts=(("Before", "10 %"),), late=late,
        )  # fmt: skip

    def _tell(self, event: Event, notice: str, severity: int, *, late: bool = False) -> None:
        with self.conn.transaction():
            write_drift_alerts(
                self.conn, self.customer, [self._notice(event, notice, severity, late=late)], self.now
            )

    # What happens.

    @rule(subject=subjects, severity=tenths)
    def opens(self, subject: tuple[str, str], severity: int) -> None:
        if subject in self.live:
            return
        event = self.live[subject] = Event(subject)
        for name in RULES:
            self._write(name, event, "open", severity)
        self._tell(event, "open", severity)

    @precondition(lambda self: self.live)
    @rule(data=st.data(), severity=tenths)
    def goes_on(self, data: st.DataObject, severity: int) -> None:
        """A look finds it again, more or less severe; then its notice is written where it grew."""
        event = data.draw(st.sampled_from(list(self.live.values())))
        grew = False
        for name in RULES:
            told = self._told_of(name, event) or self._of(name, event.subject, since=self.now - MONTH)
            if told and not self.off and severity >= max(alert.severity for alert in told) + 2:
                self._write(name, event, "escalated", severity)
                grew = True
        key: dict[tuple[uuid.UUID, Cause], float] = {(event.event_id, "payer"): severity / 10}
        assert grown_events(self.conn, self.customer, key, self.now) == ({event.event_id} if grew else set())
        self._tell(event, "escalated", severity)  # told where it grew, and by no other rule

    @precondition(lambda self: any(event.subject not in self.live for event in self.gone))
    @rule(data=st.data(), severity=tenths, late=st.booleans())
    def comes_back(self, data: st.DataObject, severity: int, late: bool) -> None:
        """The day's look made again finds what it had ended, as opened or as going on."""
        event = data.draw(st.sampled_from([event for event in self.gone if event.subject not in self.live]))
        self.gone.remove(event)
        self.live[event.subject] = event
        for name in RULES:
            self._write(name, event, "open", severity)
        self._tell(event, "open", severity, late=late)
        self._tell(event, "open", severity, late=not late)  # known by now

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def ends(self, data: st.DataObject) -> None:
        self._end(data.draw(st.sampled_from(list(self.live.values()))))

    def _end(self, event: Event) -> None:
        for name in RULES:
            self._write(name, event, "resolved", 0)
        for alert in self.alerts:
            if alert.event is event and alert.over is None:
                alert.over = self.now
        self.gone.append(self.live.pop(event.subject))
        self._tell(event, "resolved", 0)
        self._tell(event, "resolved", 0)  # known by now

    @rule(
        payer=st.none() | st.sampled_from(PAYERS),
        signal=st.none() | st.sampled_from(SIGNALS),
        hours=st.integers(1, 30),
    )
    def is_silenced(self, payer: str | None, signal: str | None, hours: int) -> None:
        if payer is None and signal is None:
            return
        end = self.now + hours * HOUR
        kept = silence(
            self.conn,
            self.customer,
            payer=payer,
            signal=signal,
            ends_at=end,
            reason="",
            created_by="me",
            now=self.now,
        )
        self.quiet.append(Quiet(kept.silence_id, payer, signal, end))

    @precondition(lambda self: any(quiet.end > self.now for quiet in self.quiet))
    @rule(data=st.data())
    def is_silenced_no_longer(self, data: st.DataObject) -> None:
        quiet = data.draw(st.sampled_from([quiet for quiet in self.quiet if quiet.end > self.now]))
        quiet.end = self.now
        for alert in self.alerts:
            if alert.held == "silence" and alert.until is not None:
                alert.until = min(alert.until, self.now)
        lift_silence(self.conn, self.customer, str(quiet.silence_id), self.now)

    @precondition(lambda self: self.alerts)
    @rule(data=st.data(), judgement=st.sampled_from(["noise", "noise", "real", "needs_follow_up"]))
    def is_judged(self, data: st.DataObject, judgement: Judgement) -> None:
        self._judge(data.draw(st.sampled_from(self.alerts)), judgement)

    @rule(subject=subjects, severity=tenths)
    def was_a_false_alarm(self, subject: tuple[str, str], severity: int) -> None:
        """Opens, is judged noise, ends, and the cooldown passes: twice, and the next one is held back."""
        self.opens(subject, severity)
        event = self.live[subject]
        self._judge(next(a for a in self.alerts if a.event is event and a.notice == "open"), "noise")
        self._end(event)
        self.now += 5 * HOUR

    def _judge(self, alert: Written, judgement: Judgement) -> None:
        self.noise[alert.event.event_id, alert.notice, alert.step] = judgement, self.now
        row = self.conn.execute(
            """SELECT alert_id::text FROM alerts JOIN alert_rules AS r USING (customer_id, rule_id)
                WHERE customer_id = %s AND r.name = %s AND subject_id = %s AND notice = %s AND step = %s""",
            (self.customer, alert.rule, alert.event.event_id, alert.notice, alert.step),
        ).fetchone()
        assert row is not None
        judge(self.conn, self.customer, row[0], judgement, judged_by="me", now=self.now)

    @precondition(lambda self: not self.off)
    @rule()
    def its_channel_goes_off(self) -> None:
        """Where nothing waits: what waits for a channel that goes off is dead, and resent by hand."""
        if self._nothing_waits():
            self.off = "channel"
            self.conn.execute(
                "UPDATE alert_channels SET enabled = false, disabled_at = %s WHERE customer_id = %s",
                (self.now, self.customer),
            )

    @precondition(lambda self: not self.off)
    @rule()
    def its_alerts_are_switched_off(self) -> None:
        """Where nothing waits: what waits would go out all the same."""
        if self._nothing_waits():
            self.off = "product"
            self._switch_alerts(on=False)

    @precondition(lambda self: self.off)
    @rule()
    def what_is_off_is_on_again(self) -> None:
        # Whichever of the two it was: what is not decided over yet since the other one was on again is due once more.
        for alert in self.alerts:
            if alert.held in {"channel", "product"} and (not alert.over or alert.notice == "resolved"):
                alert.until = self.now
        if self.off == "channel":
            enable_channel(self.conn, self.customer, "hook", self.now)
        else:
            self._switch_alerts(on=True)
        self.off = None

    def _switch_alerts(self, *, on: bool) -> None:
        key = CustomerKey(self.customer, self.slug)
        replace_flags(self.conn, operator(), key, {"alerts": on}, now=self.now)

    def _nothing_waits(self) -> bool:
        waiting = self.conn.execute(
            "SELECT 1 FROM deliveries WHERE customer_id = %s AND state NOT IN ('sent', 'dead') LIMIT 1",
            (self.customer,),
        )
        return waiting.fetchone() is None

    @rule(passes=st.sampled_from([timedelta(minutes=1), HOUR, 4 * HOUR, 24 * HOUR, timedelta(days=31)]))
    def time_passes(self, passes: timedelta) -> None:
        self.now += passes

    @rule()
    def its_messages_are_given_up(self) -> None:
        """Whatever is due now is refused for good."""
        self.refuse(True)
        self.is_delivered()
        self.refuse(False)

    @precondition(lambda self: not self.off and any(alert.given_up for alert in self.alerts))
    @rule(data=st.data())
    def a_message_is_sent_again(self, data: st.DataObject) -> None:
        dead = self._given_up()
        chosen = data.draw(st.sampled_from(sorted({message for message, _ in dead})))
        alerts = [alert for alert in self.alerts if (chosen, self._key(alert)) in dead]
        assert alerts
        for alert in alerts:
            alert.message, alert.ended, alert.placed = "waiting", None, self.now
        resend(self.conn, self.customer, chosen[:13], self.now)

    def _given_up(self) -> set[tuple[str, tuple[str, uuid.UUID, str, int]]]:
        """(message, alert in it) of the dead ones; which alerts share a message is none of the model's business."""
        rows = self.conn.execute(
            """SELECT l.delivery_id::text, r.name, a.subject_id, a.notice, a.step FROM deliveries AS d
                 JOIN delivery_alerts AS l USING (customer_id, delivery_id)
                 JOIN alerts AS a USING (customer_id, alert_id)
                 JOIN alert_rules AS r ON r.customer_id = a.customer_id AND r.rule_id = a.rule_id
                WHERE d.customer_id = %s AND d.state = 'dead'""",
            (self.customer,),
        ).fetchall()
        return {(row[0], (row[1], row[2], row[3], row[4])) for row in rows}

    @staticmethod
    def _key(alert: Written) -> tuple[str, uuid.UUID, str, int]:
        return alert.rule, alert.event.event_id, alert.notice, alert.step

    @rule()
    def is_delivered(self) -> None:
        self._release()
        self._remind()
        deliver_due(self.settings, customer_id=self.customer, clock=lambda: self.now, worker_threads=1)
        for payload in self.received():
            parts = payload["data"]["alerts"] if payload["type"] == "alerts.grouped" else [payload]
            self.got.update((part["type"], part["data"]["event_id"], part["timestamp"]) for part in parts)
        self._follow()
        left = self.conn.execute(
            """SELECT (SELECT count(*) FROM alerts WHERE customer_id = %(c)s AND held_until <= %(now)s),
                      (SELECT count(*) FROM deliveries WHERE customer_id = %(c)s AND state NOT IN ('sent', 'dead') AND due_at <= %(now)s)""",
            {"c": self.customer, "now": self.now},
        ).fetchone()
        assert left == (0, 0), "a run would be asked for again and again"
        late = [
            a for a in self.alerts
            if a.told is not None and (a.placed or a.told) + timedelta(minutes=5) <= self.now and not a.given_up
        ]  # fmt: skip
        assert self._as_received(late) <= self.got, "told more than five minutes ago, and not received"
        assert self.got <= self._as_received(self.alerts), "received twice, or what was held back"

    def _follow(self) -> None:
        """When a message goes out is none of the model's business, but what it brings after it is: what came of a message of an
        event that is over decides over its end.
        """
        rows = self.conn.execute(
            """SELECT r.name, a.subject_id, a.notice, a.step, d.state, d.finished_at FROM deliveries AS d
                 JOIN delivery_alerts AS l USING (customer_id, delivery_id)
                 JOIN alerts AS a USING (customer_id, alert_id)
                 JOIN alert_rules AS r ON r.customer_id = a.customer_id AND r.rule_id = a.rule_id
                WHERE d.customer_id = %s""",
            (self.customer,),
        ).fetchall()
        now = {(row[0], row[1], row[2], row[3]): (row[4], row[5]) for row in rows}
        ended = []
        for alert in self.alerts:
            state, at = now.get(self._key(alert), ("waiting", None))
            state = state if state in {"sent", "dead"} else "waiting"
            if alert.told and alert.message == "waiting" != state and alert.notice != "resolved":
                ended.append(alert)
            if alert.given_up and (state, at) != ("dead", alert.ended):
                assert alert.notice == "resolved", "an end alone is told again by itself"
                alert.placed = self.now
            alert.message, alert.ended = state, at if state != "waiting" else None
        for alert in ended:
            for end in self.alerts:
                if (
                    end.notice == "resolved" and end.held is not None and _since(end.over, alert.over)
                    and (end.rule, end.event) == (alert.rule, alert.event) and not self._came_back(end)
                ):  # fmt: skip
                    assert not self.off
                    owed = self._is_owed(end.rule, end.event, end)
                    end.held, end.told = (None, self.now) if owed else ("opening", None)

    def _release(self) -> None:
        due = [a for a in self.alerts if a.until is not None and a.until <= self.now]
        dead = [
            self._came_back(a) if a.notice == "resolved"
            else a.over is not None or bool(self._told_of(a.rule, a.event))
            for a in due
        ]  # fmt: skip
        verdicts = [
            ("opening", None) if a.notice == "resolved" and not self._is_owed(a.rule, a.event, a)
            else (self.off, None) if self.off
            else None if a.notice == "resolved"
            else self._why_not(a.rule, a.event.subject, a.severity)
            for a in due
        ]  # fmt: skip
        for alert, for_good, why in zip(due, dead, verdicts, strict=True):
            if for_good:
                alert.until = None
            elif why is None:
                alert.told, alert.held, alert.until = self.now, None, None
            else:
                alert.held, alert.until = why

    def _remind(self) -> None:
        if self.off:
            return
        for event in self.live.values():
            told = self._told_of("loud", event)
            known = {judged for (event_id, _, _), (judged, _) in self.noise.items() if event_id == event.event_id}
            if not told or known & {"noise", "real"} or any(q.covers(event.subject, self.now) for q in self.quiet):
                continue
            last = max(told, key=lambda alert: alert.told or alert.written)
            if last.told is not None and last.told + 24 * HOUR <= self.now:
                step = sum(a.notice == "reminder" and a.event is event for a in self.alerts) + 1
                self.alerts.append(Written("loud", event, "reminder", step, last.severity, self.now, self.now))

    @staticmethod
    def _as_received(alerts: list[Written]) -> Counter[tuple[str, str, str]]:
        types = {"open": "opened"}
        return Counter(
            (f"drift.event.{types.get(a.notice, a.notice)}", str(a.event.event_id), a.written.isoformat())
            for a in alerts if a.told is not None
        )  # fmt: skip

    # What holds after each of these.

    @invariant()
    def the_database_says_what_the_model_says(self) -> None:
        rows = self.conn.execute(
            """SELECT r.name, a.subject_id, a.notice, a.step, a.told_at, a.held_by, a.held_until,
                      (a.state = 'suppressed') = (a.reason IS NOT NULL)
                 FROM alerts AS a JOIN alert_rules AS r USING (customer_id, rule_id) WHERE a.customer_id = %s""",
            (self.customer,),
        ).fetchall()
        modelled = [
            (a.rule, a.event.event_id, a.notice, a.step, a.told, a.held, a.until, True) for a in self.alerts
        ]
        assert Counter(rows) == Counter(modelled)

    @invariant()
    def nothing_is_lost_or_invented(self) -> None:
        counts = conservation(self.conn, self.customer)
        assert not any(
            counts[name] for name in counts if name not in ("alerts", "expected_places", "deliveries")
        ), counts
        self.now += timedelta(seconds=1)


def test_whatever_happens_an_alert_is_told_or_held_back_as_the_model_says(
    settings: Settings, pipeline: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox: list[dict[str, Any]] = []
    refusing = [False]

    def receive(*_: Any, payload: dict[str, Any], **__: Any) -> Outcome:
        if refusing[0]:
            return Outcome("dead", "refused for good", 400)
        inbox.append(payload)
        return Outcome("sent", "accepted", 200)

    def taken() -> list[dict[str, Any]]:
        payloads = inbox[:]
        inbox.clear()
        return payloads

    monkeypatch.setattr(sending, "send_webhook", receive)

    def refuse(on: bool) -> None:
        refusing[0] = on

    there = type(
        "Machine", (Life,),
        {
            "conn": pipeline, "settings": settings, "received": staticmethod(taken), "refuse": staticmethod(refuse),
        },
    )  # fmt: skip
    run_state_machine_as_test(
        there,
        settings=hypothesis_settings(
            max_examples=20, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
