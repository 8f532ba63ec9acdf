"""What the counts themselves show of the source: renamed payers, holes, late files, all payers moving at once.

Belongs here: patterns in lines and decisions a day, pure, known before the look. Not here: which row they explain
(data_trouble.py), troubles known from uploads (upload_troubles.py).
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from upstream_pipelines.drift.charts import Charts
from upstream_pipelines.drift.counts import View
from upstream_pipelines.drift.data_trouble import JUDGED_STATES, Trouble, explanations
from upstream_pipelines.drift.facts import Facts, Floats, Ints, day_number, day_of
from upstream_pipelines.drift.scan import By

SEEN_DAYS = 240  # looked over: the longest change (120 days) and a fair stretch before it
STEP_DAYS = 28  # compared on either side of a step
SHORTEST_STEP = 7  # days after it: a week has all its weekdays
STEP_EVIDENCE = 4.0  # standard errors (of twice Poisson's scatter): a stop or a start, not a bad week
GONE = 0.35  # of a payer's lines at most go on when it was renamed or most of it was
NEW = 0.1  # of a payer's lines at most were there before when its name is new
FEWEST_LINES = 20  # moved: fewer are no pattern
SAME_DAYS = 7  # between one payer's fall and the other's rise
SAME_AMOUNT = 0.3  # by which fall and rise may differ, beside three standard errors
MOST_STEPS = 12  # steps considered, the largest; pairs and triples of them are tried
OVER = 2.0  # variance of weekly counts over Poisson's

BUSY_SHARE = 0.3  # of an average day makes a day of the week a busy one
BUSY_LINES = 3.0
HOLE_DAYS = 3  # busy days without a line: two are a long weekend
LATE_DAYS = 5  # beyond what is usual for the source
LATE_SHARE = 0.5  # of a day's lines
ALIKE = 0.8  # difflib's ratio from which two names are spellings of one
ALIAS_SHARE = 0.1  # of the old payer's lines that the new spelling must bear
TOGETHER_SIGNALS = frozenset({"volume", "decision_lag"})
TOGETHER_PAYERS = 3
TOGETHER_SHARE = 0.6  # of the other payers' lines
TOGETHER_SIZE = 0.5  # of the payer's own move, on the log scale
TOGETHER_EVIDENCE = 3.0  # standard errors of the others taken together
# Words that tell no two payers apart.
_FILLER = frozenset(
    {
        "a", "co", "company", "corp", "corporation", "group", "health", "healthcare", "inc", "incorporated", "ins",
        "insurance", "llc", "ltd", "of", "plan", "plans", "the",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Step:
    """A payer's largest step: its first day (column), lines a day before and since, and the evidence (signed)."""

    payer: int
    at: int
    before: float
    after: float
    z: float


def data_behind(
    rows: Sequence[dict[str, Any]],
    facts: Facts,
    charts: Charts,
    troubles: Sequence[Trouble],
    recent_days: int,
) -> list[dict[str, dict[str, Any]]]:
    """For each row what explains it, by code: `troubles` known of uploads, and what the counts show themselves."""
    if not any(row["state"] in JUDGED_STATES for row in rows):
        return [{} for _ in rows]
    known = [*troubles, *patterns_in(charts.view)]
    found = [explanations(row, known, recent_days) for row in rows]
    for row, codes in zip(rows, found, strict=True):
        if row["state"] in JUDGED_STATES and moved_together(charts, facts, row):
            codes["all_payers_at_once"] = {}
    return found


def patterns_in(view: View) -> list[Trouble]:
    """Troubles that show in what was known before the look, on the last `SEEN_DAYS` complete days."""
    names = view.facts.payers
    submissions, decisions = (_last_seen(values) for values in (view.submissions, view.decided_on))
    starts = view.submitted_to - submissions.shape[1] + 1, view.horizon - decisions.shape[1] + 1
    found = [*_renamed(names, submissions, starts[0]), *_aliases(names, view.first_lines, submissions, starts[0])]
    kinds: tuple[tuple[By, Floats, int, Floats], ...] = (
        ("submission", submissions, starts[0], view.late_lines),
        ("decision", decisions, starts[1], view.late_decisions),
    )
    for by, counts, start, lateness in kinds:
        found += _holes(counts.sum(axis=0), start, by)
        found += _late(lateness[max(start - view.late_from, 0) :][: counts.shape[1]], start, by)
    return found


def _last_seen(counts: Floats) -> Floats:
    """The last `SEEN_DAYS` columns; of a shorter history with empty days before it."""
    lately = counts[:, -SEEN_DAYS:]
    return np.pad(lately, ((0, 0), (SEEN_DAYS - lately.shape[1], 0)))


def steps_of(counts: Floats) -> list[Step]:
    """The largest fall and the largest rise of each payer that are beyond doubt, the largest first."""
    total, exposure = _running(counts), _running(_weekday_weights(counts)[None, :])[0]
    at = np.arange(STEP_DAYS, counts.shape[1] - SHORTEST_STEP + 1)
    until = np.minimum(at + STEP_DAYS, counts.shape[1])
    # Days are weighed as the customer's weekdays are: eleven days may have nine working days or seven.
    length0, length1 = exposure[at] - exposure[at - STEP_DAYS], exposure[until] - exposure[at]
    before, after = total[:, at] - total[:, at - STEP_DAYS], total[:, until] - total[:, at]
    shift = after / length1 - before / length0
    z = shift / np.sqrt(OVER * ((before + 1) / length0**2 + (after + 1) / length1**2))
    steps = []
    for payer in range(counts.shape[0]):
        for column in (int(z[payer].argmin()), int(z[payer].argmax())):
            moved = abs(shift[payer, column]) * length1[column]
            if abs(z[payer, column]) >= STEP_EVIDENCE and moved >= FEWEST_LINES:
                rates = (
                    float(before[payer, column] / length0[column]),
                    float(after[payer, column] / length1[column]),
                )
                steps.append(Step(payer, int(at[column]), *rates, float(z[payer, column])))
    return sorted(steps, key=lambda step: -abs(step.z))


def _running(values: Floats) -> Floats:
    total = np.zeros((values.shape[0], values.shape[1] + 1))
    np.cumsum(values, axis=1, out=total[:, 1:])
    return total


def _weekday_weights(counts: Floats) -> Floats:
    """What share of an average day each day is, by its weekday; none counts for nothing."""
    every = np.arange(counts.shape[1]) % 7
    by_weekday = np.bincount(every, counts.sum(axis=0), minlength=7) / np.bincount(every, minlength=7)
    weight: Floats = np.maximum(by_weekday / max(by_weekday.mean(), 1e-9), 0.05)
    return weight[every]


def _renamed(names: Sequence[str], counts: Floats, start: int) -> list[Trouble]:
    """Payers whose lines stop on the days on which others begin with about as many: renamed, split or merged."""
    steps = steps_of(counts)
    falls = [step for step in steps if step.z < 0 and step.after <= GONE * step.before][:MOST_STEPS]
    rises = [step for step in steps if step.z > 0][:MOST_STEPS]
    found = []
    for fell, rose in ((1, 1), (2, 1), (1, 2)):
        for gone in itertools.combinations(falls, fell):
            for come in itertools.combinations(rises, rose):
                if _one_renaming(gone, come):
                    first = start + min(step.at for step in (*gone, *come))
                    payers = tuple(names[step.payer] for step in (*gone, *come))
                    found.append(Trouble("renamed_payer", day_of(first), None, payers))
    return found


def _one_renaming(gone: Sequence[Step], come: Sequence[Step]) -> bool:
    days = [step.at for step in (*gone, *come)]
    if max(days) - min(days) > SAME_DAYS:
        return False
    new = all(step.before <= NEW * step.after for step in come)
    # Into a payer that was there already: only where the old name ends altogether.
    if not new and (len(come) > 1 or any(step.after > NEW * step.before for step in gone)):
        return False
    lost, gained = sum(step.before - step.after for step in gone), sum(step.after - step.before for step in come)
    error = np.sqrt(OVER * sum(step.before + step.after for step in (*gone, *come)) / STEP_DAYS)
    return bool(abs(gained - lost) <= max(SAME_AMOUNT * lost, 3 * error) and 0.5 <= gained / lost <= 2.0)


def _aliases(names: Sequence[str], first: Ints, counts: Floats, start: int) -> list[Trouble]:
    """New names that look like an old one's and take some of its lines; `first` is the day of each one's first line."""
    found = []
    for new in map(int, np.flatnonzero((first >= start + STEP_DAYS) & (first < start + counts.shape[1]))):
        begins = int(first[new]) - start
        since = slice(begins, min(begins + STEP_DAYS, counts.shape[1]))
        length = since.stop - since.start
        taken = counts[new, since].sum() / length
        if length < SHORTEST_STEP or counts[new, since].sum() < FEWEST_LINES / 2:
            continue
        for old in map(int, np.flatnonzero(first <= first[new] - STEP_DAYS)):
            before = counts[old, begins - STEP_DAYS : begins].sum() / STEP_DAYS
            after = counts[old, since].sum() / length
            error = np.sqrt(OVER * (before / STEP_DAYS + (after + taken) / length))
            takes = taken >= ALIAS_SHARE * before and before - after >= 0.5 * taken - 2 * error
            if takes and alike(names[old], names[new]):
                found.append(Trouble("unmapped_alias", day_of(int(first[new])), None, (names[old], names[new])))
    return found


def alike(one: str, other: str) -> bool:
    """Whether two names look like spellings of one: words that say little aside, the same or contained, or initials."""
    words = [re.findall(r"[a-z0-9]+", name.casefold()) for name in (one, other)]
    told = [[word for word in part if word not in _FILLER] or part for part in words]
    if not all(told):
        return False
    sets = [set(part) for part in told]
    if sets[0] <= sets[1] or sets[1] <= sets[0] or "".join(words[0]) == "".join(words[1]):
        return True
    joined = ["".join(part) for part in told]
    for short, long in ((joined[0], words[1]), (joined[1], words[0])):
        if len(short) >= 3 and short == "".join(word[0] for word in long):
            return True
    return difflib.SequenceMatcher(None, joined[0], joined[1]).ratio() >= ALIKE


def _holes(total: Floats, start: int, by: By) -> list[Trouble]:
    """Runs of days without a line of any payer that are busy otherwise."""
    known, lines = np.minimum(np.arange(len(total)) // 7, 8), np.zeros(len(total))
    for back in range(1, 9):
        lines[7 * back :] += total[: -7 * back]
    usual = np.where(known >= 4, lines / np.maximum(known, 1), 0.0)
    busy = (usual >= BUSY_LINES) & (usual >= BUSY_SHARE * total.mean())
    found, run = [], []
    for day in np.flatnonzero(busy):
        if total[day] == 0:
            run.append(int(day))
            continue
        found += _hole(run, usual, start, by)
        run = []
    return found + _hole(run, usual, start, by)


def _hole(run: Sequence[int], usual: Floats, start: int, by: By) -> list[Trouble]:
    if len(run) < HOLE_DAYS or usual[list(run)].sum() < FEWEST_LINES:
        return []
    return [Trouble("days_without_claims", day_of(start + run[0]), day_of(start + run[-1]), by=by)]


def _late(lateness: Floats, start: int, by: By) -> list[Trouble]:
    """Days most of whose lines (or decisions) came long after the file they should have been in, against the habit.

    `lateness` counts them by their day, from `start` on, and the days by which they were late.
    """
    by_days = lateness.sum(axis=0)
    if not by_days[1:].any():
        return []
    share = np.cumsum(by_days)
    habit = int(np.searchsorted(share, 0.9 * share[-1]))
    late_lines = lateness[:, habit + LATE_DAYS + 1 :].sum(axis=1)
    days = np.flatnonzero((late_lines > 0) & (late_lines >= LATE_SHARE * lateness.sum(axis=1)))
    runs = np.split(days, np.flatnonzero(np.diff(days) > 3) + 1)  # a weekend does not end a run
    return [
        Trouble("late_file", day_of(start + int(run[0])), day_of(start + int(run[-1])), by=by)
        for run in runs
        if len(run) and late_lines[run].sum() >= FEWEST_LINES
    ]


def moved_together(charts: Charts, facts: Facts, row: Mapping[str, Any]) -> bool:
    """Whether most other payers moved as this row's did, in the same days: then no payer is behind it."""
    signal, detail = row["signal"], row["detail"]
    if signal not in TOGETHER_SIGNALS:
        return False
    chart = charts.by_signal[signal]
    series = next(item for item in chart.series if item.by == detail["by"])
    days = series.observed.shape[1]
    split = day_number(detail["change_date"]) - (chart.last - days + 1)
    if not STEP_DAYS <= split < days:
        return False
    before, since = slice(max(split - 3 * STEP_DAYS, 0), split), slice(split, days)
    (o0, e0), (o1, e1) = (
        (series.observed[:, part].sum(axis=1), series.expected[:, part].sum(axis=1)) for part in (before, since)
    )
    usable = (e0 > 0) & (e1 > 0) & (o0 >= FEWEST_LINES)
    shift = np.zeros(len(o0))
    shift[usable] = np.log((o1 + 0.5) / (e1 + 0.5))[usable] - np.log((o0 + 0.5) / (e0 + 0.5))[usable]
    own = facts.payers.index(row["payer"])
    others = usable.copy()
    others[own] = False
    if not usable[own] or others.sum() < TOGETHER_PAYERS - 1:
        return False
    sign = np.sign(shift[own])
    along = others & (sign * shift >= TOGETHER_SIZE * abs(shift[own]))
    if along.sum() < TOGETHER_PAYERS - 1 or o0[along].sum() < TOGETHER_SHARE * o0[others].sum():
        return False
    pooled = np.log((o1[others].sum() + 0.5) / e1[others].sum()) - np.log(o0[others].sum() / e0[others].sum())
    error = np.sqrt(OVER * (1 / o0[others].sum() + 1 / max(o1[others].sum(), 1.0)))
    return bool(sign * pooled >= TOGETHER_EVIDENCE * error)
