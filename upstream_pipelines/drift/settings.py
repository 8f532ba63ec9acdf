"""What a customer can set about drift, and the version of the method.

Not here: any computation. The numbers below are the method's; each says why it is what it is.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

METHOD_VERSION = "5"
"""Changes whenever the same data could give another result; stored with every event."""

Signal = Literal[
    "denial_rate", "decision_lag", "allowed_amount", "volume", "procedure_mix", "authorization_denials"
]
SIGNALS: tuple[Signal, ...] = (
    "denial_rate", "decision_lag", "allowed_amount", "volume", "procedure_mix", "authorization_denials",
)  # fmt: skip
RATE_SIGNALS: frozenset[Signal] = frozenset({"denial_rate", "authorization_denials"})


Names = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=200)], ...], Field(min_length=1)]


class LabelledDays(BaseModel):
    """Days that people know to be unlike others: an incident, or a date of the calendar such as a code-set release.

    They belong to no baseline and to no current period. `payers` and `signals` left out mean all; both days count.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: Annotated[str, Field(min_length=1, max_length=100)]
    kind: Literal["incident", "calendar"] = "calendar"
    first_day: date
    last_day: date
    payers: Names | None = None
    signals: Annotated[tuple[Signal, ...], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _in_order(self) -> LabelledDays:
        if self.first_day > self.last_day:
            raise ValueError(f"first_day {self.first_day} is after last_day {self.last_day}: turn them round")
        return self

    def holds_for(self, payer: str) -> bool:
        """Whether the payer is meant; letter case does not count."""
        return self.payers is None or payer.casefold() in {name.casefold() for name in self.payers}


class DriftSettings(BaseModel):
    """Drift settings of one customer; days unless the name says otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    false_events_per_year: float = Field(
        default=1.0, gt=0, le=50, description="Budget of false events a year over all payers and signals."
    )
    minimum_rate_points: float = Field(
        default=0.02, ge=0, le=1, description="A rate changed materially from this difference on (0.02: 2 points)."
    )
    minimum_rate_relative: float = Field(
        default=0.20, ge=0, description="... or from this share of its baseline on (0.20: a fifth)."
    )
    minimum_price_change: float = Field(default=0.03, ge=0, description="Material change of prices (0.03: 3 %).")
    minimum_lag_days: float = Field(default=3.0, ge=0, description="Material change of the median decision time.")
    minimum_authorization_points: float = Field(
        default=0.01, ge=0, le=1, description="Material change of the denials for authorisation (0.01: 1 point)."
    )
    minimum_volume_change: float = Field(
        default=0.10, ge=0, description="Material change of the lines submitted (0.10: a tenth)."
    )
    minimum_mix_change: float = Field(
        default=0.05, ge=0, le=1, description="Material share of lines that moved to other codes (0.05: 5 %)."
    )
    minimum_dollars_per_month: float = Field(
        default=0.0,
        ge=0,
        description="Changes that come to less a month are only watched, where the source sends amounts (0: off).",
    )
    holiday_country: str = Field(
        default="US",
        pattern=r"^[A-Z]{2}$",
        description="Whose public holidays (ISO 3166) are no ordinary days for the volume.",
    )
    baseline_days: int = Field(
        default=240, ge=56, le=365, description="Days before a change it is compared with, at most."
    )
    change_days: int = Field(
        default=120, ge=28, le=180, description="How long ago a change may have begun, at most."
    )
    shortest_change_days: int = Field(default=3, ge=2, le=28, description="Shortest change looked for.")
    minimum_baseline_lines: int = Field(default=60, ge=10, description="Decided lines a baseline needs.")
    minimum_current_lines: int = Field(default=20, ge=5, description="Decided lines a comparison needs since.")
    minimum_counted: float = Field(
        default=8.0, ge=1, description="Denials (or decisions) expected in both periods together, at least."
    )
    block_days: tuple[int, ...] = Field(
        default=(14, 28, 56, 84), description="Blocks for figures; the first with enough lines is used."
    )
    maturity_floor: float = Field(
        default=0.3, ge=0, le=1, description="Below this completeness no figure of a block is shown."
    )
    watch_share: float = Field(
        default=0.8, gt=0, lt=1, description="A chart is watched from this share of the threshold on."
    )
    calm_days: int = Field(default=14, ge=1, description="An event resolves after this long back at its baseline.")
    recent_days: int = Field(default=28, ge=7, description="The stretch that says whether an event still holds.")
    renewal_days: int = Field(
        default=180, ge=60, le=365, description="An event open this long has become the normal, and resolves."
    )

    calendar: tuple[LabelledDays, ...] = Field(
        default=(), description="Labelled days, which belong to no baseline and to no current period."
    )

    def all_labelled(self, payer: str, signal: Signal, first: date, last: date) -> bool:
        """Whether each day from `first` to `last` is labelled for this payer and signal."""
        day = first
        for label in sorted(self.calendar, key=lambda one: one.first_day):
            holds = label.holds_for(payer) and (label.signals is None or signal in label.signals)
            if holds and label.first_day <= day <= label.last_day:
                if label.last_day >= last:
                    return True  # also where it is the last day that there is
                day = label.last_day + timedelta(days=1)
        return day > last

    @property
    def days_in_view(self) -> int:
        """Days a look counts: the whole baseline of the longest change, and three quarters of it for the oldest event.

        A quarter of 240 days more would be a seventh of what every look costs, for events of four months and more.
        """
        return self.baseline_days + max(self.change_days, self.renewal_days - self.baseline_days // 4)

    @property
    def memory_days(self) -> int:
        """How long a resolved event is still handed to a look: as long as its days may lie in a baseline."""
        return self.baseline_days + self.renewal_days + self.change_days
