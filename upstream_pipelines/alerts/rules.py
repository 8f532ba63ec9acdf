"""What a customer writes under `alert_rules:`, and whether a rule matches. Not here: storing, writing alerts, when
a message is due (its settings are here, their meaning is not).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, get_args
from zoneinfo import available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

Kind = Literal["drift", "quality", "silence", "run_failure", "delivery_trouble"]
# Spelled out, so that a slip of the pen is refused: a rule on "denial-rate" would never speak. The same as
# drift.settings.SIGNALS, which is not imported because the drift package loads SciPy.
Signal = Literal[
    "denial_rate", "decision_lag", "allowed_amount", "volume", "procedure_mix", "authorization_denials"
]
Direction = Literal["worsening", "improving", "unclear"]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]

_CLOCK = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])|24:00")
_HOURS_A_YEAR = 366 * 24


def _stored(info: ValidationInfo) -> bool:
    """Whether the rule was checked when it was written: what is asked of new ones must not lose alerts over it."""
    return info.context is not None and bool(info.context.get("stored", False))


def _each_once(values: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    if not _stored(info) and len(set(values)) < len(values):
        raise ValueError("write each of them once")
    return values


# The same as in the database (migration 0029). Rules are never deleted, and each is asked at every event.
MOST_RULES, MOST_NAMES = 100, 1000


def _not_too_many(values: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    if not _stored(info) and len(values) > MOST_NAMES:
        raise ValueError(f"write {MOST_NAMES:,} of them at most, or several rules")
    return values


def _some_of(known: Any) -> Any:
    """What makes a tuple one of words that there are, each once."""
    return Field(min_length=1, max_length=len(get_args(known)), json_schema_extra={"uniqueItems": True})


Names = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=200)], ...],
    Field(min_length=1),
    AfterValidator(_not_too_many),
]
Kinds = Annotated[tuple[Kind, ...], _some_of(Kind), AfterValidator(_each_once)]
Signals = Annotated[tuple[Signal, ...], _some_of(Signal), AfterValidator(_each_once)]
Directions = Annotated[tuple[Direction, ...], _some_of(Direction), AfterValidator(_each_once)]
Weekdays = Annotated[tuple[Weekday, ...], _some_of(Weekday), AfterValidator(_each_once)]


class QuietHours(BaseModel):
    """A part of the day in which no message goes out, in the rule's time zone: from 20:00 to 07:00 goes over midnight.

    Times are texts HH:MM. `days` are those on which it begins; without them it is every day.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)

    begin: str = Field(alias="from")
    end: str = Field(alias="to")
    days: Weekdays | None = None

    @field_validator("begin", "end", mode="before")
    @classmethod
    def _time_of_day(cls, value: Any) -> str:
        # YAML reads an unquoted 20:00 as a number of base 60: 1200.
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 24 * 60:
            value = f"{value // 60}:{value % 60:02}"
        if not isinstance(value, str) or not _CLOCK.fullmatch(value):
            raise ValueError('write a time of day as "20:00"')
        return value.zfill(5)

    @model_validator(mode="after")
    def _some_hours(self) -> Self:
        if self.begin == "24:00":
            raise ValueError('from: "24:00" is no time to begin; write "00:00"')
        if self.begin == self.end:
            raise ValueError('from and to are the same; a whole day is from: "00:00", to: "24:00"')
        every_day = self.days is None or len(set(self.days)) == 7
        if every_day and (self.begin, self.end) == ("00:00", "24:00"):
            raise ValueError(
                "quiet hours that never end would tell nothing; name the days, or write enabled: false"
            )
        return self


class AlertRule(BaseModel):
    """Which events a customer wants to hear of, where, and when. A list that is left out means all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=100)]
    # Quality too: a change that is told as data is of this kind, and without it would be told to nobody. Not
    # delivery_trouble: it goes to all channels that still work unless a rule asks for it by name, so that a rule which
    # is about payers does not take it away from them.
    kinds: Kinds = ("drift", "quality", "silence", "run_failure")
    signals: Signals | None = None
    payers: Names | None = None
    cpt_groups: Names | None = None
    directions: Directions = Field(
        default=("worsening",),
        description="What is worsening may be a loss, and so may what is not clear yet: who asks for the one hears of "
        "the other too.",
    )
    minimum_severity: Annotated[float, Field(ge=0, le=1)] = 0.0
    minimum_confidence: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0,
        description="How sure it is that something changed, 0..1; where that is not known it counts as 0.",
    )
    minimum_effect: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=0.0, description="Size of the change in the unit of the signal, whatever its sign."
    )
    minimum_dollars_per_month: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=0.0,
        description="Dollars a month that the change is about, the estimate itself; of a decision lag the dollars "
        "outstanding more than before.",
    )
    unknown_dollars: Literal["tell", "skip"] = Field(
        default="tell",
        description="What to do with a change whose dollars are not known (the source sends no amounts, or too few "
        "lines are left to compare) where minimum_dollars_per_month is set.",
    )
    channels: Names | None = None
    quiet_hours: QuietHours | None = None
    time_zone: str | None = None
    cooldown_hours: Annotated[float, Field(ge=0, le=_HOURS_A_YEAR)] = 4.0
    group_seconds: Annotated[int, Field(ge=0, le=3600)] = 30
    update_minutes: Annotated[float, Field(ge=0, le=24 * 60)] = 5.0
    repeat_hours: Annotated[float, Field(ge=0.25, le=_HOURS_A_YEAR)] | None = None
    enabled: bool = True

    @field_validator("payers", "cpt_groups", "channels")
    @classmethod
    def _names_once(cls, value: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        return None if value is None else _each_once(value, info)

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str | None, info: ValidationInfo) -> str | None:
        # Compared with the list and not opened: a name with ../ in it would be a path. A stored rule was checked when it
        # was written; a machine that knows fewer zones must not lose alerts over it.
        if value is not None and not _stored(info) and value not in available_timezones():
            raise ValueError("there is no such time zone; write one of the IANA names, such as America/New_York")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.quiet_hours is not None and self.time_zone is None:
            raise ValueError("quiet_hours need a time_zone; write one of the IANA names, such as America/New_York")
        if self.repeat_hours is not None and self.repeat_hours < self.cooldown_hours:
            raise ValueError(
                f"repeat_hours ({self.repeat_hours:g}) is shorter than cooldown_hours ({self.cooldown_hours:g}), within "
                "which nothing is told twice; make it longer, or cooldown_hours shorter"
            )
        return self


DEFAULT_RULE = AlertRule(name="default")
# In the place of a stored rule that cannot be read: who is told too much says so, who is told nothing does not know. Not of channels in
# trouble: the database asks the rule itself about those.
HEARS_OF_ALL = AlertRule(
    name="unreadable", kinds=("drift", "quality", "silence", "run_failure"), directions=get_args(Direction)
)


def read_stored(row: Mapping[str, Any]) -> AlertRule | None:
    """A rule from its columns, None where it cannot be read: written by hand, or by a program that knows more."""
    try:
        return AlertRule.model_validate(row, context={"stored": True})
    except ValidationError:
        return None


@dataclass(frozen=True)
class Facts:
    """What rules are matched against. Of quality, payer and signal are known where a change turned out to be data.

    `dollars`: a month, None where not known.
    """

    kind: Kind
    signal: str | None = None
    payer: str | None = None
    cpt_group: str | None = None
    direction: str | None = None
    severity: float | None = None
    confidence: float | None = None
    effect: float | None = None
    dollars: float | None = None


def dollars_of(money: Mapping[str, Any] | None) -> float | None:
    """The dollars a month of an event's `money` (see drift/money.py) without their sign, or None where not known."""
    amount = (money or {}).get("per_month")
    return abs(float(amount)) if amount is not None and math.isfinite(amount) else None


def matches(rule: AlertRule, facts: Facts) -> bool:
    """Whether the rule wants this event.

    Signal, payer and CPT group are asked where they are known, direction and size of drift only: data that lack
    something have no good or bad direction, and their size says nothing. A severity, confidence or effect that is not
    known counts as 0; of dollars that are not known the rule says what to do.
    """
    if not rule.enabled or facts.kind not in rule.kinds:
        return False
    if facts.signal is not None and not (
        _listed(facts.signal, rule.signals)
        and _listed(facts.payer, rule.payers)
        and _listed(facts.cpt_group, rule.cpt_groups)
    ):
        return False
    return facts.kind != "drift" or (
        _points(facts.direction, rule.directions)
        and (facts.severity or 0.0) >= rule.minimum_severity
        and (facts.confidence or 0.0) >= rule.minimum_confidence
        and abs(facts.effect or 0.0) >= rule.minimum_effect
        and _worth(rule, facts.dollars)
    )


def wants_late(rule: AlertRule, facts: Facts, *, was_over: bool) -> bool:
    """Whether the rule wants an event that goes on, of which it has no open alert: one that grew past a minimum of the
    rule, or (`was_over`) that ended for it and came back. Without a minimum it was wanted when it opened, or not told.
    """
    asks = (
        rule.minimum_severity, rule.minimum_confidence, rule.minimum_effect, rule.minimum_dollars_per_month,
    )  # fmt: skip
    return (was_over or (facts.kind == "drift" and any(asks))) and matches(rule, facts)


def _points(direction: str | None, asked: tuple[str, ...]) -> bool:
    """What may be a loss is for those who ask for losses."""
    return direction in asked or (direction == "unclear" and "worsening" in asked)


def _worth(rule: AlertRule, dollars: float | None) -> bool:
    if rule.minimum_dollars_per_month == 0:
        return True
    if dollars is None:
        return rule.unknown_dollars == "tell"
    return dollars >= rule.minimum_dollars_per_month


def _listed(value: str | None, names: tuple[str, ...] | None) -> bool:
    """Case does not count: a payer is one whether written AETNA or Aetna."""
    return names is None or (value or "").casefold() in {name.casefold() for name in names}
