"""A drift event and what is kept of it between looks.

Belongs here: the event, its identity, its life. Not here: its evidence (charts.py), its figures (measures.py).

open (the look that opened it) → updated (each later look) → resolved, for one of the reasons below; a resolved event
never lives again, and a change after it is an event of its own. What is only watched is a row of a look and no event:
it carries nothing from one look to the next.
"""

from __future__ import annotations

from datetime import date
from typing import Any, Literal
from uuid import UUID, uuid5

from pydantic import BaseModel, ConfigDict

from upstream_pipelines.drift.scan import By
from upstream_pipelines.drift.settings import Signal

_NAMESPACE = UUID("6f1d2f0e-6a53-4f0a-9d0c-3c1f6f6f8f11")

Direction = Literal["worsening", "improving", "unclear"]
"""For the provider. Unclear: a changed mix of which the worth of a line may have gone either way."""

State = Literal["open", "updated", "resolved"]
Cause = Literal["payer", "data"]
"""What lies behind a change: the payer's behaviour, or the customer's own files and mappings (data_trouble.py)."""

Ending = Literal[
    "back_at_baseline", "became_the_normal", "accepted_as_normal", "payer_gone", "days_labelled", "withdrawn"
]
NEW_NORMALS: frozenset[Ending] = frozenset({"became_the_normal", "accepted_as_normal"})
"""Endings after which the days before the event belong to no baseline any more, and its own days do."""

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
    """The frozen part of an event, and what its life depends on.

    `shift` is on the log scale of its factor; values are in the signal's unit. `calm_since`: the look from which on
    the recent days have been back at the baseline. `accepted_on`: from which day on people call it the normal.
    `data_reasons`: codes of data_trouble.py, while the cause is "data"; `clear_since`: since when none
    explains it. `change_low` and `change_high` bound the change day at 95 %.
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
    accepted_on: date | None = None
    data_reasons: tuple[str, ...] = ()
    clear_since: date | None = None
    reason: Ending | None = None

    @property
    def opened_with(self) -> dict[str, float]:
        """What the event was opened with, for the words of one that is over: its last figures are those of calm days."""
        return {
            "baseline": self.baseline, "current": self.current_at_opening, "shift": self.shift_at_opening,
        }  # fmt: skip


class DriftEvent(BaseModel):
    """One change of one signal of one payer; its JSON read back gives an equal event."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    event_id: UUID
    payer: str
    cpt_group: str = "ALL"
    signal: Signal
    direction: Direction
    state: State
    cause: Cause = "payer"
    started_on: date
    opened_on: date
    last_look: date
    resolved_on: date | None = None
    memory: EventMemory

    def closed(self, ending: Ending, as_of: date) -> DriftEvent:
        """The event resolved by the look at `as_of`."""
        memory = self.memory.model_copy(update={"reason": ending})
        return self.model_copy(
            update={"state": "resolved", "last_look": as_of, "resolved_on": as_of, "memory": memory}
        )

    def before(self, as_of: date) -> DriftEvent | None:
        """The event as the look at `as_of` was handed it, as far as that shows in rows of others; None where it opened
        later. What is frozen is the same at every look, and an interrupted calm changes nothing but the event itself.
        """
        if self.opened_on >= as_of:
            return None
        if self.resolved_on is not None and self.resolved_on < as_of:
            return self
        calm_since = self.memory.calm_since
        kept = calm_since if calm_since is not None and calm_since < as_of else None
        memory = self.memory.model_copy(update={"calm_since": kept, "reason": None})
        return self.model_copy(update={"state": "updated", "resolved_on": None, "memory": memory})

    @property
    def closing_row(self) -> dict[str, Any]:
        """The row of the look that closed an event for which there is nothing to compare any more."""
        memory = self.memory
        return {
            "as_of": self.last_look,
            "payer": self.payer,
            "cpt_group": self.cpt_group,
            "signal": self.signal,
            "direction": self.direction,
            "state": self.state,
            "baseline": memory.baseline,
            "n_baseline": memory.n_baseline,
            "n_current": 0,
            "cause": self.cause,
            "event_id": self.event_id,
            "detail": {
                "change_date": self.started_on.isoformat(),
                "by": memory.by,
                "reason": memory.reason,
                "opened_with": memory.opened_with,
            },
        }


def event_id_for(payer: str, cpt_group: str, signal: str, started_on: date, opened_on: date) -> UUID:
    """The same event has the same id wherever and whenever it is computed.

    The day it opened is part of it: the days of an event that is over hold no data for later looks, so the next change
    may well be dated back to the same day, and must not bring the old event to life again.
    """
    days = f"{started_on.isoformat()}\x1f{opened_on.isoformat()}"
    return uuid5(_NAMESPACE, f"{payer}\x1f{cpt_group}\x1f{signal}\x1f{days}")


def direction_of(signal: Signal, sign: int) -> Direction:
    """Whether that is worsening or improving, for evidence of that sign; 0: it may be either."""
    if sign == 0:
        return "unclear"
    return "worsening" if sign == WORSENING_SIGN[signal] else "improving"


def sign_of(signal: Signal, direction: Direction) -> int:
    """The sign of the evidence of a direction; 0 where it is not clear."""
    if direction == "unclear":
        return 0
    return WORSENING_SIGN[signal] if direction == "worsening" else -WORSENING_SIGN[signal]
