"""Lines still open, by age and submission day, and sums by kind of decision day: carried forward from look to look.

Belongs here: what follows from the counts of lines and decisions without any judgement, in whole numbers. Not here: which
facts count at a look (counts.py), hazards and what is left out of them (factors.py).

A day changes few cells: those of the lines that came, of the lines decided, and of the age that each line reached. Counted
anew at every look the cells of 400 days were a twelfth of its time.
"""

from __future__ import annotations

import numpy as np

from upstream_pipelines.drift.calendar import decision_days
from upstream_pipelines.drift.facts import Floats, Floats32, Ints

KINDS = 9  # of decision days: seven weekdays without the special days, public holidays, working days after them


def kinds_of_days(first: int, days: int, country: str) -> Ints:
    """The kind of each of the `days` days from `first` on."""
    special = decision_days(first, days, country)
    return np.where(special > 0, 6 + special, (first + np.arange(days)) % 7)


def sums_by_kind(cells: Floats32, kind: Ints) -> Floats32:
    """Cells by age, payer and submission day, summed over the days: ages by kinds of the day of decision by payers.

    `kind` is that of each day from the first submission day on, at least as many as days and ages.
    """
    ages, _, days = cells.shape
    of_cell = kind[np.arange(ages)[:, None] + np.arange(days)[None, :]]
    # A product for each age: few enough numbers that BLAS starts no threads, which cost three times what they save.
    ones = (of_cell[:, None, :] == np.arange(KINDS)[None, :, None]).astype(np.float32)
    result: Floats32 = np.matmul(ones, cells.transpose(0, 2, 1))
    return result


class OpenLines:
    """`still`: lines open at the start of the day of each age, by age, payer and submission day; 0 where that day is
    not over at the horizon. `by_kind`: lines decided and lines open (2) by age, kind of decision day and payer, summed
    over the submission days from `start` on.

    Days are columns, numbered from 0, which is the day `origin`.
    """

    def __init__(self, shape: tuple[int, int, int], origin: int, country: str) -> None:
        planes, payers, columns = shape
        self.still: Floats32 = np.zeros(shape, dtype=np.float32)
        self.by_kind: Floats = np.zeros((2, planes, KINDS, payers))
        self._kind = kinds_of_days(origin, columns + planes, country)
        self._start = 0
        self._horizon = -1
        self._changed = 0

    def add_lines(self, columns: Ints) -> None:
        """Lines of these submission days were added to those counted."""
        self._changed = min(self._changed, int(columns.min(initial=self._changed)))

    def add_decisions(self, age: Ints, payer: Ints, column: Ints, lines: Floats) -> None:
        """Decisions of lines of these submission days were added to those counted."""
        self.add_lines(column)
        self._add(0, age, payer, column, lines)

    def _add(self, which: int, age: Ints, payer: Ints, column: Ints, lines: Floats | Floats32) -> None:
        if self._start > 0:
            shown = column >= self._start
            age, payer, column, lines = age[shown], payer[shown], column[shown], lines[shown]
        at = (age * KINDS + self._kind[column + age]) * self.still.shape[1] + payer
        np.add.at(self.by_kind[which].reshape(-1), at, lines.astype(np.float64, copy=False))

    def bring_to(self, horizon: int, start: int, total: Floats, decided: Floats32) -> None:
        """Count the open lines up to the column `horizon`, and the sums from `start` on.

        `total`: lines by payer and day; `decided`: those decided by age, payer and day, the last age that and above.
        """
        planes, payers, _ = self.still.shape
        # Each line of the last days reaches another age with every day.
        first = max(min(self._changed, self._horizon + 2 - planes), 0)
        part = slice(first, horizon + 1)
        days = horizon + 1 - first
        now = np.empty((planes, payers, days), dtype=np.float32)
        now[0] = total[:, part]
        for age in range(1, planes):
            np.subtract(now[age - 1], decided[age - 1, :, part], out=now[age])
        young = min(planes, days)
        over = np.arange(days - young, days)[None, :] + np.arange(planes)[:, None] < days
        now[:, :, days - young :] *= over[:, None, :]
        old = self.still[:, :, part]
        # Where no file is late, one age of each day differs.
        age, payer, day = np.nonzero(now != old)
        column = first + day
        self._add(1, age, payer, column, now[age, payer, day] - old[age, payer, day])
        old[:] = now
        self._move_start(start, decided)
        self._horizon, self._changed = horizon, horizon + 1

    def _move_start(self, start: int, decided: Floats32) -> None:
        """Take the days that leave the sums out of them, and those in again that come back with longer ages: few."""
        age = np.arange(len(self.still))
        for column in range(min(start, self._start), max(start, self._start)):
            kind = self._kind[column : column + len(age)]
            for sums, cells in zip(self.by_kind, (decided, self.still), strict=True):
                of_day = cells[:, :, column]
                sums[age, kind] += of_day if start < self._start else -of_day
        self._start = start
