"""Lines still open, by age and submission day, and sums by kind of decision day: carried forward from look to look.

Belongs here: what follows from the counts of lines and decisions without any judgement, in whole numbers. Not here: which
facts count at a look (counts.py), hazards and what is left out of them (factors.py).

A day changes few cells: those of the lines that came, of the lines decided, and of the age that each line reached. Counted
anew at every look the cells of 400 days were a twelfth of its time.
"""

from __future__ import annotations

import numpy as np

from upstream_pipelines.drift.arrays import moved_on
from upstream_pipelines.drift.calendar import decision_days
from upstream_pipelines.drift.facts import Floats, Floats32, Ints

KINDS = 9  # of decision days: seven weekdays without the special days, public holidays, working days after them


def kinds_of_days(first: int, days: int, country: str) -> Ints:
    """The kind of each of the `days` days from `first` on."""
    special = decision_days(first, days, country)
    return np.where(special > 0, 6 + special, (first + np.arange(days)) % 7)


def sums_by_kind(cells: Floats32, kind: Ints) -> Floats32:
    """Cells by age, submission day and payer, summed over the days: ages by kinds of the day of decision by payers.

    `kind` is that of each day from the first submission day on, at least as many as days and ages.
    """
    ages, days, _ = cells.shape
    of_cell = kind[np.arange(ages)[:, None] + np.arange(days)[None, :]]
    # A product for each age: few enough numbers that BLAS starts no threads, which cost three times what they save.
    ones = (of_cell[:, None, :] == np.arange(KINDS)[None, :, None]).astype(np.float32)
    result: Floats32 = np.matmul(ones, cells)
    return result


class OpenLines:
    """`still`: lines open at the start of the day of each age, by age, submission day and payer; 0 where that day is
    not over at the horizon. `by_kind`: lines decided and lines open (2) by age, kind of decision day and payer, summed
    over the submission days from `start` on.

    Days are columns, numbered from 0, which is the day `origin`.
    """

    def __init__(self, shape: tuple[int, int, int], origin: int, country: str) -> None:
        planes, columns, payers = shape
        self.still: Floats32 = np.zeros(shape, dtype=np.float32)
        self.by_kind: Floats = np.zeros((2, planes, KINDS, payers))
        self._origin, self._country = origin, country
        self._kind = kinds_of_days(origin, columns + planes, country)
        self._start = 0
        self._horizon = -1
        self._late = np.zeros(columns, dtype=np.bool_)

    def add_lines(self, columns: Ints) -> None:
        """Lines of these submission days were added to those counted."""
        self._late[columns[columns <= self._horizon]] = True

    def add_decisions(self, age: Ints, payer: Ints, column: Ints, lines: Floats) -> None:
        """Decisions of lines of these submission days were added to those counted."""
        # The last age stands for all above it too, and opens no lines.
        self._late[column[(column + age <= self._horizon) & (age < len(self.still) - 1)]] = True
        shown = column >= self._start
        at = np.ravel_multi_index(
            (age[shown], self._kind[column[shown] + age[shown]], payer[shown]), self.by_kind.shape[1:]
        )
        np.add.at(self.by_kind[0].reshape(-1), at, lines[shown])

    def bring_to(self, horizon: int, start: int, total: Floats, decided: Floats32) -> None:
        """Count the open lines up to the column `horizon`, and the sums from `start` on.

        `total`: lines by payer and day; `decided`: those decided by age, day and payer, the last age that and above.
        """
        if self._horizon < 0:
            self._horizon, self._start = horizon, start
            self.still[:, : horizon + 1] = self._still_open(np.arange(horizon + 1), total, decided)
            for sums, cells in zip(self.by_kind, (decided, self.still), strict=True):
                sums[:] = sums_by_kind(cells[:, start : horizon + 1], self._kind[start:])
            return
        late = np.flatnonzero(self._late[: self._horizon + 1])
        if len(late):
            self._count_again(late, total, decided)
            self._late[late] = False
        for day in range(self._horizon + 1, horizon + 1):
            self._day_over(day, total, decided)
        self._horizon = horizon
        self._move_start(start, decided)

    def move_on(self, by: int) -> None:
        """Forget the first `by` days, which belong to no sum, and make room for as many."""
        self.still, self._late = moved_on(self.still, by, 1), moved_on(self._late, by, 0)
        self._origin += by
        self._kind = kinds_of_days(self._origin, len(self._kind), self._country)
        self._start, self._horizon = self._start - by, self._horizon - by

    def _day_over(self, day: int, total: Floats, decided: Floats32) -> None:
        """Lines of that day have reached age 0 and those of each day before it one age more: of one kind all of them."""
        self.still[0, day] = total[:, day]
        age = np.arange(1, min(len(self.still), day + 1))
        self.still[age, day - age] = self.still[age - 1, day - age] - decided[age - 1, day - age]
        reached = np.arange(len(age) + 1)
        # Days before the start belong to no sum.
        reached = reached[day - reached >= self._start]
        self.by_kind[1, reached, self._kind[day]] += self.still[reached, day - reached]

    def _count_again(self, columns: Ints, total: Floats, decided: Floats32) -> None:
        """Count the days of which lines or decisions came late from their first age on."""
        now = self._still_open(columns, total, decided)
        age, day, payer = np.nonzero(now - self.still[:, columns])
        changed = now[age, day, payer] - self.still[age, columns[day], payer]
        self.still[:, columns] = now
        shown = columns[day] >= self._start
        age, payer, column = age[shown], payer[shown], columns[day[shown]]
        at = np.ravel_multi_index((age, self._kind[column + age], payer), self.by_kind.shape[1:])
        np.add.at(self.by_kind[1].reshape(-1), at, changed[shown].astype(np.float64))

    def _still_open(self, columns: Ints, total: Floats, decided: Floats32) -> Floats32:
        """Lines of these days open at each age up to the horizon."""
        planes = len(self.still)
        now = np.empty((planes, len(columns), len(total)), dtype=np.float32)
        now[0] = total[:, columns].T
        for age in range(1, planes):
            np.subtract(now[age - 1], decided[age - 1, columns], out=now[age])
        now *= (columns[None, :] + np.arange(planes)[:, None] <= self._horizon)[:, :, None]
        return now

    def _move_start(self, start: int, decided: Floats32) -> None:
        """Take the days that leave the sums out of them, and those in again that come back with longer ages: few."""
        age = np.arange(len(self.still))
        for column in range(min(start, self._start), max(start, self._start)):
            kind = self._kind[column : column + len(age)]
            for sums, cells in zip(self.by_kind, (decided, self.still), strict=True):
                of_day = cells[:, column]
                sums[age, kind] += of_day if start < self._start else -of_day
        self._start = start
