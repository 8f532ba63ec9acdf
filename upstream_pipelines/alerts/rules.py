"""What a customer writes under `alert_rules:`, and whether a rule matches. Not here: storing, writing alerts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Kind = Literal["drift", "quality", "run_failure"]
# Spelled out, so that a slip of the pen is refused: a rule on "denial-rate" would never speak. The same as
# drift.settings.SIGNALS, which is not imported because the drift package loads SciPy.
Signal = Literal[
    "denial_rate", "decision_lag", "allowed_amount", "volume", "procedure_mix", "authorization_denials"
]
Names = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=200)], ...], Field(min_length=1)]


class AlertRule(BaseModel):
    """Which events a customer wants to hear of, and where. A list that is left out means all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=100)]
    # Quality too: a change that is told as data is of this kind, and without it would be told to nobody.
    kinds: Annotated[tuple[Kind, ...], Field(min_length=1)] = ("drift", "quality", "run_failure")
    signals: Annotated[tuple[Signal, ...], Field(min_length=1)] | None = None
    payers: Names | None = None
    cpt_groups: Names | None = None
    directions: Annotated[tuple[Literal["worsening", "improving"], ...], Field(min_length=1)] = ("worsening",)
    minimum_severity: Annotated[float, Field(ge=0, le=1)] = 0.0
    minimum_effect: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="Size of the change in the unit of the signal, whatever its sign."
    )
    channels: Names | None = None
    enabled: bool = True


DEFAULT_RULE = AlertRule(name="default")


@dataclass(frozen=True)
class Facts:
    """What rules are matched against. Of quality, payer and signal are known where a change turned out to be data."""

    kind: Kind
    signal: str | None = None
    payer: str | None = None
    cpt_group: str | None = None
    direction: str | None = None
    severity: float | None = None
    effect: float | None = None


def matches(rule: AlertRule, facts: Facts) -> bool:
    """Whether the rule wants this event.

    Signal, payer and CPT group are asked where they are known, direction and size of drift only: data that lack
    something have no good or bad direction, and their size says nothing.
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
        _listed(facts.direction, rule.directions)
        and (facts.severity or 0.0) >= rule.minimum_severity
        and abs(facts.effect or 0.0) >= rule.minimum_effect
    )


def _listed(value: str | None, names: tuple[str, ...] | None) -> bool:
    """Case does not count: a payer is one whether written AETNA or Aetna."""
    return names is None or (value or "").casefold() in {name.casefold() for name in names}
