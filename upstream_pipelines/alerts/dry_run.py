"""What rules would have told of past events, and how many messages that makes. Pure: nothing is written or sent.

Simulated: matching, cooldown with a higher severity breaking through it, what a cooldown held back and tells when it
ends, escalation, repeats, ends told only where the opening was, grouping, the distance between messages, quiet hours. Not
simulated: silences and judgements of people (whose noise would be less), channels that were off, escalation breaking the
distance between messages, deliveries that fail.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from upstream_pipelines.alerts.history import PastEvent
from upstream_pipelines.alerts.rules import AlertRule, matches

NOT_SIMULATED = (
    "silences and judgements by people, channels that were switched off, deliveries that fail"
)
_STEP = 0.2  # of severity: what breaks through, as in alerts/life.py


@dataclass(frozen=True)
class Telling:
    """One alert that a rule would have told of, with what it is about."""

    at: datetime
    kind: str
    notice: str
    about: str


@dataclass
class RuleOutcome:
    """What one rule would have done. `fired`: alerts by kind and notice; `held`: those a cooldown kept back, of which
    some were told when it ended; `messages`: instants at which a message would have gone to each of `channels`.
    """

    rule: AlertRule
    channels: tuple[str, ...]
    fired: Counter[tuple[str, str]] = field(default_factory=Counter)
    held: int = 0
    told: list[Telling] = field(default_factory=list)
    messages: list[datetime] = field(default_factory=list)

    def a_week(self, days: int) -> float:
        """Messages a week to each channel."""
        return 7 * len(self.messages) / days


def dry_run(
    events: Sequence[PastEvent], rules: Sequence[AlertRule], channels: Sequence[str], until: datetime
) -> list[RuleOutcome]:
    """Ask every rule about every event, oldest first.

    Args:
        events: as `alerts.history.past_events` gives them.
        channels: names of the customer's enabled channels; a rule without channels goes to all of them.
        until: now; repeats end there.
    """
    return [_ask(rule, events, channels, until) for rule in rules]


def _ask(rule: AlertRule, events: Sequence[PastEvent], channels: Sequence[str], until: datetime) -> RuleOutcome:
    addressed = tuple(name for name in channels if rule.channels is None or name in rule.channels)
    life = _Life(rule, RuleOutcome(rule, addressed))
    for event in events:
        life.pass_time(event.at)
        life.hear(event)
    life.pass_time(until)
    life.outcome.messages = _messages(rule, life.tellings)
    return life.outcome


@dataclass
class _Open:
    """An event that was told (or is held back until `held_until`) and is not over."""

    event: PastEvent
    last_told: datetime
    highest: float
    held_until: datetime | None = None


class _Life:
    """One rule's memory of what it told."""

    def __init__(self, rule: AlertRule, outcome: RuleOutcome) -> None:
        self.outcome = outcome
        self.tellings: list[tuple[datetime, bool]] = []
        self._rule = rule
        self._cooldown = timedelta(hours=rule.cooldown_hours)
        self._open: dict[str, _Open] = {}
        # By fingerprint: when it was last told, and the highest severity told.
        self._told: dict[str, tuple[datetime, float]] = {}

    def hear(self, event: PastEvent) -> None:
        """News of an event."""
        if event.notice == "resolved":
            over = self._open.pop(event.subject, None)
            if over is not None and over.held_until is None:
                self._tell(event, event.at, "resolved")
            return
        severity = event.facts.severity or 0.0
        if event.notice == "update":
            known = self._open.get(event.subject)
            if known is not None and severity >= known.highest + _STEP:
                self._tell_open(known, event, event.at, "escalated")
            return
        if not matches(self._rule, event.facts):
            return
        last, highest = self._told.get(event.fingerprint, (None, 0.0))
        known = _Open(event, event.at, severity)
        self._open[event.subject] = known
        if last is not None and event.at - last < self._cooldown and severity < highest + _STEP:
            self.outcome.held += 1
            known.held_until = last + self._cooldown
            return
        self._tell_open(known, event, event.at, "open")

    def pass_time(self, now: datetime) -> None:
        """What a cooldown held back is told when it ends, and what is still open is repeated."""
        while True:
            due = [(at, subject) for subject, one in self._open.items() if (at := self._next(one)) is not None]
            if not due or (first := min(due))[0] > now:
                return
            at, subject = first
            one = self._open[subject]
            self._tell_open(one, one.event, at, "open" if one.held_until is not None else "reminder")

    def _next(self, one: _Open) -> datetime | None:
        if one.held_until is not None:
            return one.held_until
        # Uploads that failed have no end, so there is nothing to remind of.
        if self._rule.repeat_hours is None or one.event.subject.startswith("upload/"):
            return None
        return one.last_told + timedelta(hours=self._rule.repeat_hours)

    def _tell_open(self, one: _Open, event: PastEvent, at: datetime, notice: str) -> None:
        one.last_told, one.held_until = at, None
        one.highest = max(one.highest, event.facts.severity or 0.0)
        _, highest = self._told.get(event.fingerprint, (at, 0.0))
        self._told[event.fingerprint] = (at, max(highest, one.highest))
        self._tell(event, at, notice)

    def _tell(self, event: PastEvent, at: datetime, notice: str) -> None:
        self.outcome.fired[event.facts.kind, notice] += 1
        self.outcome.told.append(Telling(at, event.facts.kind, notice, event.about))
        self.tellings.append((at, event.facts.kind == "drift"))


def _messages(rule: AlertRule, tellings: Sequence[tuple[datetime, bool]]) -> list[datetime]:
    """When messages go out: each telling joins the one that still waits, or makes one."""
    sent: list[datetime] = []
    waiting: datetime | None = None
    for at, at_once in tellings:
        if waiting is not None and waiting < at:
            sent.append(waiting)
            waiting = None
        ready = at if at_once else at + timedelta(seconds=rule.group_seconds)
        if sent:
            ready = max(ready, sent[-1] + timedelta(minutes=rule.update_minutes))
        ready = end_of_quiet(rule, ready)
        waiting = ready if waiting is None else min(waiting, ready)
    return [*sent, waiting] if waiting is not None else sent
