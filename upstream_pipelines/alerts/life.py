"""Whether an alert is told or held back, and until when: the life of a fingerprint under one rule, without a database.

Told, or held back because alerts are off for the customer, because no channel of its rule is on, by a silence, by two
judgements "noise", by the cooldown, or because its opening was not told. What was held back counts for nothing when the next
is decided: only what was told starts a cooldown, only people silence and judge.
Not here: reading the past, writing (outbox.py), when a message is due (timing.py), matching rules (rules.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

Notice = Literal["open", "escalated", "reminder", "resolved"]
HeldBy = Literal["product", "channel", "silence", "noise", "cooldown", "opening"]

# Four times the material size is a severity of a half (drift/severity.py); a fifth more is about twice that size.
STEP = 0.2
# Severities are floating point numbers: 0.3 is a step above 0.1, though less than 0.1 + 0.2.
_ROUNDING = 1e-9
JUDGEMENTS_TO_HOLD = 2
NOISE_LASTS = timedelta(days=30)
NOT_OPENED = "its opening was not told"
PRODUCT_OFF = "alerts are switched off for this customer by the platform's operator"
UNDER_WAY = "no message of its event had arrived yet"


@dataclass(frozen=True)
class Past:
    """What is known of a fingerprint, and of the event the notice is about, under one rule.

    Only of what was told, resolved notices left out: `last_told` and `highest` (severity 0..1) of the fingerprint, the
    latter of the last 30 days or the cooldown where that is longer; `event_told` and `event_highest` of the event.
    Of an end, `event_told`: there is a channel where it is owed and can go now, or could if it were on; `event_under_way`: a
    message of the event may arrive yet.
    `noise_until`: end of the time for which two judgements hold; `silenced_until` and `silence_reason`: of the silence
    that ends last of those that cover it. `channels_off`: why nobody can be told now, in words: no channel that it would
    go to is on. Each None where there is none. `product_off`: alerts are switched off for the customer.
    """

    last_told: datetime | None = None
    highest: float | None = None
    event_told: bool = False
    event_under_way: bool = False
    event_highest: float | None = None
    noise_until: datetime | None = None
    silenced_until: datetime | None = None
    silence_reason: str = ""
    channels_off: str | None = None
    product_off: bool = False


@dataclass(frozen=True)
class Verdict:
    """`held_by` None: told. Else why not, in words for people, and when to decide again (None: not again; but of what is
    held back by "channel" or "product" when a channel, a rule or a product flag changes).
    """

    held_by: HeldBy | None = None
    until: datetime | None = None
    reason: str | None = None


TOLD = Verdict()


def rises(severity: float | None, highest: float | None) -> bool:
    """Whether a severity is a step above the highest that was told; where none was told, nothing is above it."""
    return severity is not None and highest is not None and severity >= highest + STEP - _ROUNDING


def escalates(severity: float | None, past: Past) -> bool:
    """Whether an event that goes on is to be told again because it grew worse, and somebody can be told. Where nobody
    can, nothing is held back: the next look asks again.

    It is compared with what was told of it. One that was held back is compared with what was told of its fingerprint:
    a higher severity breaks through.
    """
    nobody = past.product_off or past.channels_off is not None
    return not nobody and rises(severity, past.event_highest if past.event_told else past.highest)


def decide(notice: Notice, severity: float | None, past: Past, now: datetime, cooldown: timedelta) -> Verdict:
    """Tell it, or hold it back with a reason; the first that applies of product, channel, silence, noise, cooldown.

    A higher severity breaks through the last three. The end of an event is told to those who were told of it, silenced or
    not: who acts on an alert must learn that it is over. Where it goes, and when, is one rule: pasts_of (queries.sql) has it.
    """
    if notice == "resolved" and not past.event_told:
        return Verdict("opening", None, UNDER_WAY if past.event_under_way else NOT_OPENED)
    if past.product_off:
        return Verdict("product", None, PRODUCT_OFF)
    if past.channels_off is not None:
        return Verdict("channel", None, past.channels_off)
    if notice == "resolved":
        return TOLD
    if escalates(severity, past) if notice == "escalated" else rises(severity, past.highest):
        return TOLD
    if past.silenced_until is not None and now < past.silenced_until:
        why = f": {past.silence_reason}" if past.silence_reason else ""
        return Verdict("silence", past.silenced_until, f"silenced until {minute(past.silenced_until)}{why}")
    if past.noise_until is not None and now < past.noise_until:
        return Verdict(
            "noise", None, f"judged noise twice within {NOISE_LASTS.days} days; not told before {minute(past.noise_until)}"
        )  # fmt: skip
    if past.last_told is not None and now < past.last_told + cooldown:
        until = past.last_told + cooldown
        return Verdict(
            "cooldown", until, f"the same was told at {minute(past.last_told)}; waits until {minute(until)}"
        )
    return TOLD


def channels_off(names: Sequence[str], since: datetime | None) -> str:
    """Why nobody can be told: these channels, all that an alert would go to, are off (`since` when, None: not known)."""
    which = f"channel {names[0]} is" if len(names) == 1 else f"channels {', '.join(names)} are"
    return f"{which} switched off" + (f" since {minute(since)}" if since is not None else "")


def minute(instant: datetime) -> str:
    """An instant for people."""
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
