"""A drift event and what is kept of it between looks.

Belongs here: the event, its identity, its life. Not here: its evidence (charts.py), its figures (measures.py).

open (the look that opened it) → updated (each later look) → resolved. What is only watched is a row of a look and
no event: it carries nothing from one look to the next.
"""

from __future__ import annotations

from datetime import date
from typing import Literal
from uuid import UUID, uuid5

from pydantic import BaseModel, ConfigDict

from upstream_pipelines.drift.scan import By
from upstream_pipelines.drift.settings import Signal

_NAMESPACE = UUID("6f1d2f0e-6a53-4f0a-9d0c-3c1f6f6f8f11")

Direction = Literal["worsening", "improving"]
State = Literal["open", "updated", "resolved"]

WORSENING_SIGN: dict[Signal, int] = {
    "denial_rate": 1,
    "decision_lag": -1,
    "allowed_amount": -1,
    "volume": -1,
    "procedure_mix": -1,
    "authorization_denials": 1,
}
"""The sign of the evidence that is bad for the provider: more denials, fewer decisions a day, less paid, fewer lines."""


class EventMemory(BaseModel):
    """The frozen part of an event. `shift` is on the log scale of its factor; values are in the signal's unit.

    `change_low` and `change_high` bound the change day at 95 %.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: By
    baseline: float
    current_at_opening: float
    shift_at_opening: float
    evidence_at_opening: float
    n_baseline: int
    change_low: date
    change_high: date
    calm_since: date | None = None
    reason: Literal["back_at_baseline", "became_the_normal"] | None = None


class DriftEvent(BaseModel):
    """One change of one signal of one payer; its JSON read back gives an equal event."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    event_id: UUID
    payer: str
    cpt_group: str = "ALL"
    signal: Signal
    direction: Direction
    state: State
    started_on: date
    opened_on: date
    last_look: date
    resolved_on: date | None = None
    memory: EventMemory


def event_id_for(payer: str, cpt_group: str, signal: str, started_on: date) -> UUID:
    """The same event has the same id wherever and whenever it is computed."""
    return uuid5(_NAMESPACE, f"{payer}\x1f{cpt_group}\x1f{signal}\x1f{started_on.isoformat()}")


def direction_of(signal: Signal, sign: int) -> Direction:
    """Whether that is worsening or improving, for evidence of that sign."""
    return "worsening" if sign == WORSENING_SIGN[signal] else "improving"


def sign_of(signal: Signal, direction: Direction) -> int:
    """The sign of the evidence of a direction."""
    return WORSENING_SIGN[signal] if direction == "worsening" else -WORSENING_SIGN[signal]
