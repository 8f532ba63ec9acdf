"""What was known on a day, counted: dense arrays per payer, day and age, carried forward from look to look.

Belongs here: time. Which facts count at a look, and up to which day they are complete. Not here: statistics.

A look a day later adds the rows that became known since, and moves the arrays on where their end is reached; a look at an
earlier day counts from the beginning. All give the same arrays: the counts are whole numbers, whose sums do not depend on their order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from upstream_pipelines.drift.arrays import add_at, moved_on
from upstream_pipelines.drift.facts import NEVER, UNDECIDED, Bools, Facts, Floats, Floats32, Ints
from upstream_pipelines.drift.lateness import LONGEST_SETTLING, Lateness
from upstream_pipelines.drift.open_lines import OpenLines

LONGEST_AGE = 120  # days; older open lines say nothing about this month, and cost a plane of the cube each
SHORTEST_AGES = 14  # days of age looked at even where all is decided at once
SLACK = 64  # days counted forward before the arrays are moved on; with 400 each look is a fifth slower
RECENT_DAYS = 90  # days whose billed amounts say how much of the money is a payer's
SILENT_DAYS = 14
EMPTY_DAYS = 28  # days before a customer's first line that stay in view: a step is told by the days before it
SILENT_FACTS = 20.0


_BY_COLUMN = {
    "_total": 1,
    "_cubes": 2,
    "_aged_on": 1,
    "_on": 2,
    "_of": 2,
    "_group_on": 3,
    "_group_of": 2,
    "_age_on": 0,
}
"""Where the days stand in each array that `Counts` carries forward."""


@dataclass(frozen=True)
class PayerRows:
    """The rows of one payer as known at a look, of the submission days in view; undecided ones have age -1."""

    group: Ints
    submitted: Ints
    age: Ints
    lines: Floats
    denied: Floats
    denied_authorization: Floats
    billed: Floats
    allowed: Floats


@dataclass(frozen=True)
class View:
    """The facts known before `as_of`.

    `horizon` is the last day up to which the source's decisions are complete; later ones do not count yet.
    `submitted_to` is the same for submissions. `ends` is `horizon` per payer, earlier where a payer fell silent.
    `days` are those since the customer's first known line, with `EMPTY_DAYS` before it; not fewer than the longest change and
    block of figures, nor more than the settings' days in view, of which they are whole weeks fewer.
    Arrays by submission day start at `start` and end at `horizon` (`days + ages` columns); arrays by decision day, and
    decisions by submission day (`_of`), hold the last `days` columns of them. Cubes are ages by submission days
    (`aged_on`: decision days) by payers, so that what is done to the days of one age runs through memory in its order;
    all ages from some age above `ages` on stand together in the last plane. They hold whole numbers, exact in 32 bits.
    Ages by payers (`_by_age`) are their sums over the days. `open` and `by_kind` are those of `OpenLines`.

    `late_lines` and `late_decisions` count by the day of the submission or decision, from `late_from` on, and the days by
    which it was late (`facts._lateness`; those of the first load in neither). `first_lines` is the day of each payer's
    first line, `facts.NEVER` for none.
    `code_allowed` and `code_lines` are the dollars allowed and the lines paid by code, over all payers and days known.

    `present` says which payers have a line in view, `sees_open` whether the source shows open lines at all.
    """

    as_of: int
    horizon: int
    submitted_to: int
    ends: Ints
    start: int
    days: int
    ages: int
    present: Bools
    sees_open: bool
    facts: Facts
    total: Floats
    decided: Floats32
    aged_on: Floats32
    open: Floats32
    by_kind: Floats
    decided_by_age: Floats
    denied_by_age: Floats
    denied_authorization_by_age: Floats
    decided_on: Floats
    denied_on: Floats
    denied_authorization_on: Floats
    decided_of: Floats
    denied_of: Floats
    denied_authorization_of: Floats
    group_decided_on: Floats
    group_decided_of: Floats
    group_denied_on: Floats
    group_denied_authorization_on: Floats
    submissions: Floats
    late_lines: Floats
    late_decisions: Floats
    late_from: int
    first_lines: Ints
    code_allowed: Floats
    code_lines: Floats

    @property
    def first_decision_day(self) -> int:
        """The day of the first column of arrays by decision day."""
        return self.horizon - self.days + 1

    @cached_property
    def billed_lately(self) -> Floats:
        """Dollars billed to each payer on the last `RECENT_DAYS` days."""
        facts = self.facts
        # A line is never known before its day.
        known = slice(*np.searchsorted(facts.submitted_known, (self.horizon - RECENT_DAYS + 1, self.as_of)))
        day = facts.submitted[known]
        recent = (day > self.horizon - RECENT_DAYS) & (day <= self.horizon)
        return np.bincount(
            facts.payer[known][recent], facts.billed[known][recent], minlength=len(facts.payers)
        ).astype(np.float64, copy=False)

    def rows(self, payer: int) -> PayerRows:
        """One payer's rows, for what is asked of a single payer only."""
        facts = self.facts
        at = np.flatnonzero(facts.payer == payer)
        at = at[
            (facts.submitted_known[at] < self.as_of)
            & (facts.submitted[at] >= self.start)
            & (facts.submitted[at] <= self.horizon)
        ]
        age = facts.age[at]
        counts = (facts.decision_known[at] < self.as_of) & (facts.submitted[at] + age <= self.horizon)
        counts &= age != UNDECIDED
        return PayerRows(
            group=facts.group[at],
            submitted=facts.submitted[at],
            age=np.where(counts, age, UNDECIDED),
            lines=facts.lines[at],
            denied=np.where(counts, facts.denied[at], 0.0),
            denied_authorization=np.where(counts, facts.denied_authorization[at], 0.0),
            billed=facts.billed[at],
            allowed=np.where(counts, facts.allowed[at], 0.0),
        )


class Counts:
    """The counts of one customer as of the latest look, carried forward by `at`."""

    def __init__(self, facts: Facts, days: int, fewest_days: int, country: str) -> None:
        """A look counts `days`, of a shorter history fewer (see `View`); `country` is that whose holidays put off decisions."""
        self._facts = facts
        self._days = days
        self._fewest_days = fewest_days
        self._country = country
        decided = np.flatnonzero(facts.age != UNDECIDED)
        visible_from = np.maximum(facts.submitted_known[decided], facts.decision_known[decided])
        order = np.argsort(visible_from, kind="stable")
        self._decisions: Ints = decided[order]
        self._decision_visible: Ints = visible_from[order]
        self._as_of = 0
        self._whole = False  # what was left half counted, as where memory ran out, is counted from the beginning

    def at(self, as_of: int) -> View:
        """What was known before the day `as_of`."""
        whole, self._whole = self._whole, False
        if not whole or as_of < self._as_of or not self._advance(as_of):
            self._lay_out(as_of)
        view, self._whole = self._view(), True
        return view

    def _lay_out(self, as_of: int) -> None:
        """Count from the beginning everything that was known before `as_of`."""
        facts = self._facts
        self._as_of = as_of
        self._seen_lines = int(np.searchsorted(facts.submitted_known, as_of))
        self._seen_decisions = int(np.searchsorted(self._decision_visible, as_of))
        lines, decisions = slice(0, self._seen_lines), self._decisions[: self._seen_decisions]
        self._lateness = Lateness(as_of, self._days, SLACK)
        self._seen_prices = 0
        self._of_code = np.zeros((2, len(facts.code_names)))
        self._add_prices(as_of)
        self._lateness.add(facts, lines, decisions)
        self._first_lines = np.full(len(facts.payers), NEVER)
        np.minimum.at(self._first_lines, facts.payer[lines], facts.submitted[lines])
        horizon = self._complete_to(self._lateness.decisions)
        day = facts.submitted[decisions] + facts.age[decisions]
        counted = decisions[day <= horizon]
        recent = counted[facts.submitted[counted] + facts.age[counted] > horizon - self._days]
        by_age = np.bincount(np.minimum(facts.age[recent], LONGEST_AGE), facts.lines[recent], LONGEST_AGE + 1)
        ages = _longest_age(by_age.astype(np.float64)) + 1
        self._planes = min(ages + 4, LONGEST_AGE + 1) + 1
        # Submissions may be complete up to another day than decisions, on either side of it.
        self._origin = horizon - self._days - ages + 1 - LONGEST_SETTLING
        self._width = self._days + ages + 2 * LONGEST_SETTLING + SLACK
        payers, groups, size = len(facts.payers), max(len(facts.groups), 1), self._width
        self._total = np.zeros((payers, size))
        self._cubes = np.zeros((3, self._planes, size, payers), dtype=np.float32)
        self._open = OpenLines((self._planes, size, payers), self._origin, self._country)
        self._by_age = np.zeros((3, self._planes, payers))
        self._by_age_from = 0  # sums from this column on
        self._aged_on = np.zeros((self._planes, size, payers), dtype=np.float32)
        self._on = np.zeros((3, payers, size))
        self._of = np.zeros((3, payers, size))
        self._group_on = np.zeros((3, payers, groups, size))
        self._group_of = np.zeros((payers, groups, size))
        self._age_on = np.zeros((size, LONGEST_AGE + 1))
        self._horizon = horizon
        self._waiting: Ints = decisions[day > horizon]
        self._add_lines(np.arange(self._seen_lines))
        self._add_decisions(counted)
        self._recent_by_age = self._decided_lately()

    def _advance(self, as_of: int) -> bool:
        """Add what became known since the last look; False where the arrays have to be laid out anew."""
        facts = self._facts
        lines_to = int(np.searchsorted(facts.submitted_known, as_of))
        decisions_to = int(np.searchsorted(self._decision_visible, as_of))
        new_lines = slice(self._seen_lines, lines_to)
        new_decisions = self._decisions[self._seen_decisions : decisions_to]
        self._lateness.make_room(as_of)
        self._lateness.add(facts, new_lines, new_decisions)
        self._as_of, self._seen_lines, self._seen_decisions = as_of, lines_to, decisions_to
        horizon = self._complete_to(self._lateness.decisions)
        if horizon < self._horizon:
            return False
        self._make_room(as_of)
        if as_of - self._origin > self._width:
            return False
        self._horizon = horizon
        self._add_prices(as_of)
        np.minimum.at(self._first_lines, facts.payer[new_lines], facts.submitted[new_lines])
        self._add_lines(np.arange(new_lines.start, new_lines.stop))
        pending = np.concatenate([self._waiting, new_decisions])
        ripe = facts.submitted[pending] + facts.age[pending] <= horizon
        self._waiting = pending[~ripe]
        self._add_decisions(pending[ripe])
        self._recent_by_age = self._decided_lately()
        ages = _longest_age(self._recent_by_age) + 1
        return ages <= self._planes - 1 and horizon - self._days - ages + 1 >= self._origin

    def _make_room(self, as_of: int) -> None:
        """Forget days so old that no look from here on counts them, where there is no room for new ones.

        What remains is what a count from the beginning would give, at a fifteenth of its time.
        """
        by = self._horizon - self._days - self._planes - LONGEST_SETTLING + 2 - self._origin
        if as_of - self._origin <= self._width or not 0 < by < self._width:
            return
        for name, axis in _BY_COLUMN.items():
            setattr(self, name, moved_on(getattr(self, name), by, axis))
        self._open.move_on(by)
        self._by_age_from -= by
        self._origin += by

    def _add_prices(self, as_of: int) -> None:
        """Sum dollars and lines by code over all prices known before `as_of`, in the order in which they became known."""
        facts = self._facts
        new = slice(self._seen_prices, int(np.searchsorted(facts.price_known, as_of)))
        for into, values in zip(self._of_code, (facts.price_allowed, facts.price_lines), strict=True):
            np.add.at(into, facts.price_code[new], values[new])
        self._seen_prices = new.stop

    def _complete_to(self, late: Floats) -> int:
        """The last day that is judged of lines or decisions, told by how late they come (see `Lateness`)."""
        newest = self._as_of - 1
        if self._seen_lines:
            newest = int(self._facts.submitted_known[self._seen_lines - 1])
        if self._seen_decisions:
            newest = max(newest, int(self._decision_visible[self._seen_decisions - 1]))
        return self._lateness.complete_to(late, self._as_of, newest)

    def _add_lines(self, rows: Ints) -> None:
        facts = self._facts
        column = facts.submitted[rows] - self._origin
        inside = (column >= 0) & (column < self._width)
        where, weight = (facts.payer[rows][inside], column[inside]), facts.lines[rows][inside]
        add_at(self._total[None], where, [weight])
        self._open.add_lines(where[1])

    def _add_decisions(self, rows: Ints) -> None:
        facts = self._facts
        payer, group, age = facts.payer[rows], facts.group[rows], facts.age[rows]
        of = facts.submitted[rows] - self._origin
        on = of + age
        values = (facts.lines[rows], facts.denied[rows], facts.denied_authorization[rows])
        shown, inside = (on >= 0) & (on < self._width), (of >= 0) & (of < self._width)
        plane = np.minimum(age, self._planes - 1)
        on_day, of_day = (payer[shown], on[shown]), (payer[inside], of[inside])
        summed = inside & (of >= self._by_age_from)
        add_at(self._age_on[None], (on[shown], np.minimum(age[shown], LONGEST_AGE)), [values[0][shown]])
        for which, into, where in (
            (shown, self._on, on_day),
            (shown, self._group_on, (payer[shown], group[shown], on[shown])),
            (inside, self._of, of_day),
            (summed, self._by_age, (plane[summed], payer[summed])),
            (inside, self._cubes, (plane[inside], of[inside], payer[inside])),
        ):
            add_at(into, where, [value[which] for value in values])
        add_at(self._aged_on[None], (plane[shown], on[shown], payer[shown]), [values[0][shown]])
        self._open.add_decisions(plane[inside], payer[inside], of[inside], values[0][inside])
        add_at(self._group_of[None], (payer[inside], group[inside], of[inside]), [values[0][inside]])

    def _decided_lately(self) -> Floats:
        """Lines decided by age, over the days in view."""
        last = self._horizon - self._origin + 1
        return np.asarray(self._age_on[max(last - self._days, 0) : last].sum(axis=0))

    def _days_since_first_line(self, last: int) -> int:
        """The days up to `last` that a view needs: on those before a customer's first line there is nothing to be counted."""
        needed = max(last - int(self._first_lines.min(initial=NEVER)) + 1 + EMPTY_DAYS, self._fewest_days)
        return self._days - max(self._days - needed, 0) // 7 * 7

    def _view(self) -> View:
        facts, horizon, recent_by_age = self._facts, self._horizon, self._recent_by_age
        ages = _longest_age(recent_by_age) + 1
        submitted_to = self._complete_to(self._lateness.lines)
        days = self._days_since_first_line(max(horizon, submitted_to))
        start = horizon - days - ages + 1
        first, last = start - self._origin, horizon - self._origin + 1
        of, on = slice(first, last), slice(last - days, last)
        total = self._total[:, of]
        open_lines = total[:, -60:].sum() - self._cubes[0][:, of][:, -60:].sum()
        decided, days_waited = recent_by_age.sum(), (recent_by_age * np.arange(len(recent_by_age))).sum()
        # Days that leave the view, or come back into it with longer ages: few, where those in view are many.
        self._by_age -= self._cubes[:, :, self._by_age_from : first].sum(axis=2, dtype=np.float64)
        self._by_age += self._cubes[:, :, first : self._by_age_from].sum(axis=2, dtype=np.float64)
        self._by_age_from = first
        self._open.bring_to(last - 1, first, self._total, self._cubes[0])
        upto = submitted_to - self._origin + 1
        return View(
            as_of=self._as_of,
            horizon=horizon,
            submitted_to=submitted_to,
            ends=_payer_ends(total + self._on[0][:, of], horizon),
            start=start,
            days=days,
            ages=ages,
            present=self._first_lines < NEVER,
            sees_open=bool(days_waited < 2 * decided or decided == 0 or open_lines > 0),
            facts=facts,
            total=total,
            decided=self._cubes[0][:, of],
            aged_on=self._aged_on[:, on],
            open=self._open.still[:, of],
            by_kind=self._open.by_kind,
            decided_by_age=self._by_age[0],
            denied_by_age=self._by_age[1],
            denied_authorization_by_age=self._by_age[2],
            decided_on=self._on[0][:, on],
            denied_on=self._on[1][:, on],
            denied_authorization_on=self._on[2][:, on],
            decided_of=self._of[0][:, on],
            denied_of=self._of[1][:, on],
            denied_authorization_of=self._of[2][:, on],
            group_decided_on=self._group_on[0][:, :, on],
            group_decided_of=self._group_of[:, :, of],
            group_denied_on=self._group_on[1][:, :, on],
            group_denied_authorization_on=self._group_on[2][:, :, on],
            submissions=self._total[:, upto - days : upto],
            late_lines=self._lateness.lines,
            late_decisions=self._lateness.decisions,
            late_from=self._lateness.origin,
            first_lines=self._first_lines,
            code_allowed=self._of_code[0],
            code_lines=self._of_code[1],
        )


def _longest_age(by_age: Floats) -> int:
    """The age by which 99 % of the recent decisions were made: the rest is exposure without information."""
    total = by_age.sum()
    if total <= 0:
        return SHORTEST_AGES
    return max(int(np.searchsorted(np.cumsum(by_age) / total, 0.99)), SHORTEST_AGES)


def _payer_ends(facts_by_day: Floats, horizon: int) -> Ints:
    """The last day that says something about each payer.

    A payer with neither submissions nor decisions for two weeks where 20 facts were to be expected is no slow
    payer: it was renamed, or the provider left it. Its days after its last fact are not held against it.
    """
    there = facts_by_day > 0
    seen = there.any(axis=1)
    width = there.shape[1]
    first, newest = there.argmax(axis=1), width - 1 - there[:, ::-1].argmax(axis=1)
    pace = facts_by_day.sum(axis=1) / np.maximum(newest - first + 1, 1)
    gap = width - 1 - newest
    silent = seen & (gap >= SILENT_DAYS) & (gap * pace >= SILENT_FACTS)
    return np.where(silent, horizon - gap, horizon).astype(np.int64)
