"""What rules would have told of past events, and how many messages that makes. Pure: nothing is written or sent.

The decisions are production's own: matching (rules.py), cooldown, escalation and what breaks through (life.py), grouping,
pauses and quiet hours (timing.py). `NOT_SIMULATED` says what is left out. Not here: reading the past (history.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from upstream_pipelines.alerts.history import PastEvent
from upstream_pipelines.alerts.life import Notice, Past, decide, escalates
from upstream_pipelines.alerts.rules import AlertRule, matches, wants_late
from upstream_pipelines.alerts.timing import Lately, QuietHours, Rhythm, due_at

NOT_SIMULATED = (
    "silences and judgements by people; channels that were off; deliveries that fail; failed runs and channel trouble "
    "that no rule told of at the time, which are kept nowhere; where a day was looked at several times, drift counts as "
    "told by its last look"
)
# For how long the highest severity told of a fingerprint is remembered, as alerts/life.py has it.
_REMEMBERED = timedelta(days=30)


@dataclass(frozen=True)
class Telling:
    """One alert that a rule would have told, and what it is about."""

    at: datetime
    kind: str
    notice: Notice
    severity: float | None
    at_once: bool
    about: str


@dataclass
class RuleOutcome:
    """What one rule would have done: the alerts it `told`, how often the cooldown `held` one back (some were told when it
    ended), and the instants of the `messages` to each of its `channels`.
    """

    rule: AlertRule
    channels: tuple[str, ...]
    told: list[Telling] = field(default_factory=list)
    held: int = 0
    messages: list[datetime] = field(default_factory=list)

    def counted(self) -> Counter[str]:
        """Told alerts by kind."""
        return Counter(telling.kind for telling in self.told)

    def a_week(self, days: int) -> float:
        """Messages a week to each channel, over a span of `days`."""
        return 7 * len(self.messages) / days


def dry_run(
    events: Sequence[PastEvent], rules: Sequence[AlertRule], channels: Sequence[str], until: datetime
) -> list[RuleOutcome]:
    """Ask every rule about every event.

    Args:
        rules: those that are off are left out.
        events: as `alerts.history.past_events` gives them, oldest first.
        channels: names of the customer's enabled channels; a rule without channels goes to all of them.
        until: now; what waits or repeats after it is not counted.
    """
    outcomes = []
    for rule in rules:
        if not rule.enabled:
            continue
        addressed = tuple(name for name in channels if rule.channels is None or name in rule.channels)
        life = _Life(rule)
        for event in events:
            life.pass_time(event.at)
            life.hear(event)
        life.pass_time(until)
        outcomes.append(RuleOutcome(rule, addressed, life.told, life.held, _messages(rule, life.told)))
    return outcomes


@dataclass
class _Open:
    """An event the rule wants to hear of and that is not over; held back until `held_until`, or told."""

    event: PastEvent
    last_told: datetime | None = None
    highest: float | None = None
    held_until: datetime | None = None


class _Life:
    """One rule's memory of what it told."""

    def __init__(self, rule: AlertRule) -> None:
        self.told: list[Telling] = []
        self.held = 0
        self._rule = rule
        self._cooldown = timedelta(hours=rule.cooldown_hours)
        self._open: dict[str, _Open] = {}
        self._met: dict[str, bool] = {}  # events that opened, and whether the rule's alert of one is over
        self._told_of: dict[str, list[tuple[datetime, float | None]]] = {}

    def hear(self, event: PastEvent) -> None:
        """News of an event."""
        if event.notice == "resolved":
            over = self._open.pop(event.subject, None)
            self._met[event.subject] = self._met.get(event.subject, False) or over is not None
            if over is not None and over.last_told is not None:
                self._add(event, event.at, "resolved")
        elif event.notice == "update":
            one = self._open.get(event.subject)
            if one is not None and escalates(event.facts.severity, self._past(one, event.at)):
                self._decide(one, event, event.at, "escalated")
            met = self._met.get(event.subject)  # None: it opened before the days that are asked about
            if one is None and met is not None and wants_late(self._rule, event.facts, was_over=met):
                self._opens(event)
        else:
            self._met.setdefault(event.subject, False)
            if matches(self._rule, event.facts):
                self._opens(event)

    def _opens(self, event: PastEvent) -> None:
        self._open[event.subject] = one = _Open(event)
        self._decide(one, event, event.at, "open")

    def pass_time(self, now: datetime) -> None:
        """What the cooldown held back is decided again when it ends, and what is still open is repeated."""
        while True:
            due = [(at, subject) for subject, one in self._open.items() if (at := self._next(one)) is not None]
            if not due or min(due)[0] > now:
                return
            at, subject = min(due)
            one = self._open[subject]
            self._decide(one, one.event, at, "open" if one.held_until is not None else "reminder")

    def _next(self, one: _Open) -> datetime | None:
        if one.held_until is not None:
            return one.held_until
        if self._rule.repeat_hours is None or one.last_told is None or not one.event.ends:
            return None
        return one.last_told + timedelta(hours=self._rule.repeat_hours)

    def _decide(self, one: _Open, event: PastEvent, at: datetime, notice: Notice) -> None:
        severity = event.facts.severity
        verdict = decide(notice, severity, self._past(one, at), at, self._cooldown)
        if verdict.held_by is not None:
            self.held += 1
            one.held_until = verdict.until
            return
        one.last_told, one.held_until = at, None
        one.highest = max((known for known in (one.highest, severity) if known is not None), default=None)
        self._told_of.setdefault(event.fingerprint, []).append((at, severity))
        self._add(event, at, notice)

    def _past(self, one: _Open, now: datetime) -> Past:
        # What one look tells together does not hold back each other.
        before = [(at, severity) for at, severity in self._told_of.get(one.event.fingerprint, []) if at < now]
        remembered = now - max(_REMEMBERED, self._cooldown)
        return Past(
            last_told=max((at for at, _ in before), default=None),
            highest=max((known for at, known in before if known is not None and at > remembered), default=None),
            event_told=one.last_told is not None,
            event_highest=one.highest,
        )

    def _add(self, event: PastEvent, at: datetime, notice: Notice) -> None:
        self.told.append(Telling(at, event.facts.kind, notice, event.facts.severity, event.at_once, event.about))


def _messages(rule: AlertRule, told: Sequence[Telling]) -> list[datetime]:
    """When messages go out: each telling joins the one that still waits, or makes one."""
    quiet = None
    if rule.quiet_hours is not None and rule.time_zone is not None:
        quiet = QuietHours.read(rule.quiet_hours.model_dump(), rule.time_zone)
    update = timedelta(minutes=rule.update_minutes)
    rhythm = Rhythm(timedelta(seconds=rule.group_seconds), update, quiet)
    sent: list[datetime] = []
    lately: list[tuple[datetime, float | None]] = []  # of each message sent its instant and highest severity
    waiting: tuple[datetime, float | None] | None = None
    for one in told:
        if waiting is not None and waiting[0] < one.at:
            lately.append(waiting)
            sent.append(waiting[0])
            waiting = None
        recent = [(at, severity) for at, severity in lately if at > one.at - update]
        known = Lately(
            max((at for at, _ in recent), default=None),
            max((severity for _, severity in recent if severity is not None), default=None),
        )
        due = due_at(one.at, rhythm, known, at_once=one.at_once, severity=one.severity)
        if waiting is None:
            waiting = (due, one.severity)
        else:
            severities = [severity for severity in (waiting[1], one.severity) if severity is not None]
            waiting = (min(waiting[0], due), max(severities, default=None))
    return [*sent, waiting[0]] if waiting is not None else sent
