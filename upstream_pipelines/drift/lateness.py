"""How late facts became known: lines and decisions by their own day and the days by which they missed their file.

Belongs here: up to which day facts are complete at a look. Not here: the facts that count by then (counts.py), what a
single fact's lateness is (facts.py).
"""

from __future__ import annotations

import numpy as np

from upstream_pipelines.drift.arrays import add_at, moved_on
from upstream_pipelines.drift.facts import Facts, Floats, Ints

LONGEST_SETTLING = 30  # days; a source later than that is late by habit and cannot be waited for


class Lateness:
    """`lines` and `decisions`: their numbers by day, from `origin` on, and days late (the last: that and later).

    The `days` before a look are asked for; looks of `slack` days find room before the arrays have to be moved on.
    """

    def __init__(self, as_of: int, days: int, slack: int) -> None:
        self._days, self._slack = days, slack
        self.origin = as_of - days - slack
        self.lines: Floats = np.zeros((days + 2 * slack + 1, LONGEST_SETTLING + 2))
        self.decisions: Floats = np.zeros_like(self.lines)

    def add(self, facts: Facts, lines: slice, decisions: Ints) -> None:
        """Count more of the facts' lines and decisions, each once."""
        for late, day, weight, into in (
            (facts.submission_lateness[lines], facts.submitted[lines], facts.lines[lines], self.lines),
            (
                facts.decision_lateness[decisions],
                facts.submitted[decisions] + facts.age[decisions],
                facts.lines[decisions],
                self.decisions,
            ),
        ):
            at = day - self.origin
            usable = (late >= 0) & (at >= 0) & (at < len(into))
            add_at(into[None], (at[usable], np.minimum(late[usable], LONGEST_SETTLING + 1)), [weight[usable]])

    def make_room(self, as_of: int) -> None:
        """Forget days so old that no look from `as_of` on asks for them, where there is no room for new ones."""
        if as_of + 1 - self.origin > len(self.lines):
            by = as_of - self._days - self._slack - self.origin
            self.lines, self.decisions = moved_on(self.lines, by, 0), moved_on(self.decisions, by, 0)
            self.origin += by

    def complete_to(self, late: Floats, as_of: int, newest: int) -> int:
        """The last day of which 95 % of the facts (`late`, one of the two) are in by now; those after it are not judged yet.

        `newest` is the last day on which anything became known.
        """
        newest = min(newest, as_of - 1)
        by_days = late[as_of - self._days + 1 - self.origin :].sum(axis=0)
        if not by_days[1:].any():
            return newest
        share = np.cumsum(by_days) / by_days.sum()
        return newest - min(int(np.searchsorted(share, 0.95)), LONGEST_SETTLING)
