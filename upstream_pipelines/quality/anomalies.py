"""The figures of an upload that are compared with the customer's earlier ones, and the verdict on each. Pure.

A unit is what is judged as one: an uploaded file, or all batches that a source posted on one day (UTC). Not here: what is
usual (usual.py), reading and keeping (anomaly_store.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal
from uuid import UUID

import numpy as np

from upstream_pipelines.claims.fields import FIELDS, OUTCOMES
from upstream_pipelines.quality.rules import EMPTY, KNOWN, OUTCOME_MIX, VOLUME, Grade
from upstream_pipelines.quality.usual import Past, Usual, usual_rows, usual_share

State = Literal["first", "learning", "off", "usual", "low", "high"]

# Nearer to its usual share nothing is told: it moves no figure by much, and what payers decide is drift's to tell.
_LEAST_JUMPS = {EMPTY: 0.10, OUTCOME_MIX: 0.15, KNOWN: 0.25}
_SIDES = {"low": -1, "high": 1}


@dataclass(frozen=True)
class Unit:
    """What came: rows, of them `lines` that were not rejected, of these `known` already (duplicates and updates).

    upload_id: of a day its last batch. again: the same bytes as an earlier upload, of which only `known` says anything.
    read: rows that were laid under columns; filled: field → cells that are not empty; outcomes: outcome → lines.
    """

    upload_id: UUID
    source: str
    day: date
    rows: int
    lines: int
    known: int
    again: bool
    read: int
    filled: Mapping[str, int]
    outcomes: Mapping[str, int]


@dataclass(frozen=True)
class Measure:
    """One figure: `amount` of `of_rows` rows; of the volume both are the rows. `field`: a field, an outcome, or ''."""

    rule: str
    field: str
    amount: int
    of_rows: int

    @property
    def value(self) -> float:
        """As usual.Usual has it: rows, or a share 0..1."""
        return float(self.amount) if self.rule == VOLUME else self.amount / self.of_rows


@dataclass(frozen=True)
class Verdict:
    """A measure and what is said of it; `usual` is known where it was compared. `severity`: None where it was not asked."""

    measure: Measure
    state: State
    severity: str | None
    usual: Usual | None


def measures_of(unit: Unit, fields_before: Sequence[str]) -> list[Measure]:
    """The figures of a unit. A field that neither this nor an earlier one (`fields_before`) fills is none."""
    known = [Measure(KNOWN, "", unit.known, unit.lines)] if unit.lines else []
    if unit.again:
        return known
    fields = [name for name in FIELDS if name in unit.filled or name in fields_before] if unit.read else []
    decided = sum(unit.outcomes.values())
    return [
        Measure(VOLUME, "", unit.rows, unit.rows),
        *known,
        *(Measure(EMPTY, name, unit.read - unit.filled.get(name, 0), unit.read) for name in fields),
        *(
            Measure(OUTCOME_MIX, outcome, unit.outcomes.get(outcome, 0), decided)
            for outcome in OUTCOMES
            if decided
        ),
    ]


def judge_measures(
    measures: Sequence[Measure],
    history: Sequence[Mapping[str, Any]],
    day: date,
    grades: Mapping[str, Grade],
    *,
    first_day: bool,
) -> list[Verdict]:
    """Compare each measure with its own past.

    Args:
        measures: of one unit.
        history: rows of `upload_measures`, oldest first: rule, field, day, amount, of_rows, state.
        day: on which the unit came.
        grades: of each rule; "off" keeps the measure, so that it can be switched on at any time, and says nothing.
        first_day: the unit is of the first day on which the source sent: that is its history, and follows no habit.
    """
    pasts: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in history:
        pasts.setdefault((row["rule"], row["field"]), []).append(row)
    verdicts = []
    for measure in measures:
        grade = grades[measure.rule]
        if first_day or grade == "off":
            verdicts.append(Verdict(measure, "first" if first_day else "off", None, None))
            continue
        usual = _usual(measure, _past(pasts.get((measure.rule, measure.field), [])), day)
        state: State = "learning" if usual is None else usual.side_of(measure.value) or "usual"
        verdicts.append(Verdict(measure, state, grade, usual))
    return verdicts


def _past(rows: Sequence[Mapping[str, Any]]) -> Past:
    return Past(
        np.array([row["day"].toordinal() for row in rows], dtype=np.int64),
        np.array([row["amount"] for row in rows], dtype=np.float64),
        np.array([row["of_rows"] for row in rows], dtype=np.float64),
        np.array([_SIDES.get(row["state"], 0) for row in rows], dtype=np.int64),
    )


def _usual(measure: Measure, past: Past, day: date) -> Usual | None:
    if measure.rule == VOLUME:
        return usual_rows(past, day)
    jump = _LEAST_JUMPS[measure.rule]
    return usual_share(past, measure.of_rows, jump, both_sides=measure.rule == OUTCOME_MIX)
