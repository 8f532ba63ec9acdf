"""What was known on a day: the two aggregate frames as arrays, and their cut for one look.

Belongs here: time. Which facts count at a look, and up to which day they are complete. Not here: statistics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

UNDECIDED = -1
EPOCH = 719163  # date(1970, 1, 1).toordinal()
LONGEST_AGE = 120  # days; older open lines say nothing about this month, and cost a plane of the cube each
LONGEST_SETTLING = 30  # days; a source later than that is late by habit and cannot be waited for


@dataclass(frozen=True)
class Facts:
    """One customer's whole history as arrays, a value per row of the frames; days count from 1970-01-01."""

    payers: list[str]
    groups: list[str]
    codes: int
    payer: Ints
    group: Ints
    submitted: Ints
    age: Ints
    submitted_known: Ints
    decision_known: Ints
    lateness: Ints
    lines: Floats
    denied: Floats
    billed: Floats
    price_payer: Ints
    price_code: Ints
    price_day: Ints
    price_known: Ints
    price_lines: Floats
    price_sum: Floats
    price_sum_sq: Floats
    code_names: list[str]
    code_payer: Ints
    code_code: Ints
    code_day: Ints
    code_known: Ints
    code_lines: Floats


@dataclass(frozen=True)
class View:
    """The facts known before `as_of`, of the last `days + ages` submission days; undecided rows have age -1.

    `horizon` is the last day up to which the source is complete; later decisions do not count yet. `ends` is the
    same per payer, earlier where a payer fell silent. `start` is the first submission day in the cube.
    `present` says which payers have a line in view, `sees_open` whether the source shows open lines at all.
    """

    as_of: int
    horizon: int
    ends: Ints
    start: int
    days: int
    ages: int
    present: Bools
    sees_open: bool
    payer: Ints
    group: Ints
    submitted: Ints
    age: Ints
    lines: Floats
    denied: Floats
    billed: Floats
    price_payer: Ints
    price_code: Ints
    price_day: Ints
    price_lines: Floats
    price_sum: Floats
    price_sum_sq: Floats


def facts_from_frames(activity: pd.DataFrame, prices: pd.DataFrame, submitted_codes: pd.DataFrame) -> Facts:
    """The frames of `activity_from_claims` (or the same three read from the database) as arrays."""
    payers = sorted({*activity["payer"].astype(str), *prices["payer"].astype(str)})
    payer_index = pd.Index(payers, dtype="object")
    groups, group_names = pd.factorize(activity["cpt_group"].astype("object"), sort=True)
    # A code is priced by its modifiers: the technical component of an image costs another sum than the whole.
    stratum = prices["cpt"].astype("object") + " " + prices["modifiers"].astype("object")
    codes, strata = pd.factorize(stratum, sort=True)
    by_code, code_names = pd.factorize(submitted_codes["cpt"].astype("object"), sort=True)
    aged = _numbers(activity["decision_age"])
    age = np.where(np.isnan(aged), UNDECIDED, aged).astype(np.int64)
    submitted = _day_numbers(activity["submitted_day"])
    submitted_known = _day_numbers(activity["submitted_known_day"])
    decision_known = _day_numbers(activity["decision_known_day"], missing=np.iinfo(np.int64).max)
    return Facts(
        payers=payers,
        groups=[str(name) for name in group_names],
        codes=len(strata),
        payer=payer_index.get_indexer(activity["payer"].astype("object")).astype(np.int64),
        group=groups.astype(np.int64),
        submitted=submitted,
        age=age,
        submitted_known=submitted_known,
        decision_known=decision_known,
        lateness=_lateness(submitted, age, submitted_known, decision_known),
        lines=_numbers(activity["lines"]),
        denied=_numbers(activity["denied"]),
        billed=_numbers(activity["billed"]),
        price_payer=payer_index.get_indexer(prices["payer"].astype("object")).astype(np.int64),
        price_code=codes.astype(np.int64),
        price_day=_day_numbers(prices["decided_day"]),
        price_known=_day_numbers(prices["decision_known_day"]),
        price_lines=_numbers(prices["lines"]),
        price_sum=_numbers(prices["sum_log_allowed"]),
        price_sum_sq=_numbers(prices["sum_log_allowed_sq"]),
        code_names=[str(name) for name in code_names],
        code_payer=payer_index.get_indexer(submitted_codes["payer"].astype("object")).astype(np.int64),
        code_code=by_code.astype(np.int64),
        code_day=_day_numbers(submitted_codes["submitted_day"]),
        code_known=_day_numbers(submitted_codes["submitted_known_day"]),
        code_lines=_numbers(submitted_codes["lines"]),
    )


def _lateness(submitted: Ints, age: Ints, submitted_known: Ints, decision_known: Ints) -> Ints:
    """Days by which a decision missed the file it should have been in; 0 for one in time, -1 where unknowable.

    A weekly file is not late: its decisions simply become known together. A decision is late when something became
    known on its day or after it, and it did not: by 1 for a nightly file, which leaves its own day out. Decisions older than the source's first day came
    with the first load and say nothing about its habits.
    """
    decided = age != UNDECIDED
    late = np.full(len(age), -1, dtype=np.int64)
    known_days = np.unique(np.concatenate([submitted_known, decision_known[decided]]))
    if len(known_days) > 1:
        before = np.searchsorted(known_days, decision_known) - 1
        day = submitted + age
        usable = decided & (before >= 0) & (day > known_days[0])
        late[usable] = np.maximum(known_days[before[usable]] - day[usable] + 1, 0)
    return late


def view_at(facts: Facts, as_of: int, days: int) -> View:
    """Cut `facts` to what was known before the day `as_of`; only the last `days` days of decisions are compared."""
    visible = facts.submitted_known < as_of
    decided = visible & (facts.decision_known < as_of)
    known = np.concatenate([facts.submitted_known[visible], facts.decision_known[decided]])
    price_visible = facts.price_known < as_of
    horizon = int(min(as_of - 1, known.max())) if len(known) else as_of - 1
    horizon -= _settling(facts, decided & (facts.submitted + facts.age > as_of - days))
    counts = decided & (facts.submitted + facts.age <= horizon)
    recent = counts & (facts.submitted + facts.age > horizon - days)
    ages = _longest_age(facts.age[recent], facts.lines[recent]) + 1
    start = horizon - days - ages + 1
    keep = visible & (facts.submitted >= start) & (facts.submitted <= horizon)
    age = np.where(counts, facts.age, UNDECIDED)[keep]
    payer, submitted, lines = facts.payer[keep], facts.submitted[keep], facts.lines[keep]
    present = np.bincount(facts.payer[visible], minlength=len(facts.payers)) > 0
    window = keep & (facts.submitted > horizon - 60)
    slow = recent.any() and np.average(facts.age[recent], weights=facts.lines[recent]) >= 2
    priced = price_visible & (facts.price_day > horizon - days) & (facts.price_day <= horizon)
    return View(
        as_of=as_of,
        horizon=horizon,
        ends=_payer_ends(payer, submitted, age, lines, payers=len(facts.payers), horizon=horizon),
        start=start,
        days=days,
        ages=ages,
        present=present,
        sees_open=bool(not slow or (window & ~counts).any()),
        payer=payer,
        group=facts.group[keep],
        submitted=submitted,
        age=age,
        lines=lines,
        denied=np.where(age == UNDECIDED, 0.0, facts.denied[keep]),
        billed=facts.billed[keep],
        price_payer=facts.price_payer[priced],
        price_code=facts.price_code[priced],
        price_day=facts.price_day[priced],
        price_lines=facts.price_lines[priced],
        price_sum=facts.price_sum[priced],
        price_sum_sq=facts.price_sum_sq[priced],
    )


def _settling(facts: Facts, decided: Bools) -> int:
    """Days the source takes until 95 % of a day's decisions are in; the days before that are not judged yet."""
    late, lines = facts.lateness[decided], facts.lines[decided]
    usable = late >= 0
    if not (late[usable] > 0).any():
        return 0
    order = np.argsort(late[usable], kind="stable")
    share = np.cumsum(lines[usable][order]) / lines[usable].sum()
    return int(min(late[usable][order][np.searchsorted(share, 0.95)], LONGEST_SETTLING))


def _longest_age(age: Ints, lines: Floats) -> int:
    """The age by which 99 % of the recent decisions were made: the rest is exposure without information."""
    if not len(age):
        return 14
    by_age = np.bincount(np.minimum(age, LONGEST_AGE), weights=lines)
    share = np.cumsum(by_age) / by_age.sum()
    return max(int(np.searchsorted(share, 0.99)), 14)


def _payer_ends(payer: Ints, submitted: Ints, age: Ints, lines: Floats, *, payers: int, horizon: int) -> Ints:
    """The last day that says something about each payer.

    A payer with neither submissions nor decisions for two weeks where 20 facts were to be expected is no slow
    payer: it was renamed, or the provider left it. Its days after its last fact are not held against it.
    """
    decided = age != UNDECIDED
    who = np.concatenate([payer, payer[decided]])
    day = np.concatenate([submitted, submitted[decided] + age[decided]])
    weight = np.concatenate([lines, lines[decided]])
    last = np.full(payers, horizon, dtype=np.int64)
    if len(who):
        first = np.full(payers, horizon, dtype=np.int64)
        np.minimum.at(first, who, day)
        newest = np.full(payers, np.iinfo(np.int64).min)
        np.maximum.at(newest, who, day)
        seen = newest > np.iinfo(np.int64).min
        pace = np.bincount(who, weights=weight, minlength=payers) / np.maximum(newest - first + 1, 1)
        gap = np.where(seen, horizon - newest, 0)
        silent = seen & (gap >= 14) & (gap * pace >= 20)
        last[silent] = newest[silent]
    return last


def _day_numbers(values: pd.Series, missing: int = 0) -> Ints:
    stamps = pd.to_datetime(values).to_numpy(dtype="datetime64[D]")
    return np.where(np.isnat(stamps), missing, stamps.astype(np.int64))


def _numbers(values: pd.Series) -> Floats:
    return np.asarray(values.astype("Float64").to_numpy(dtype="float64", na_value=np.nan), dtype=np.float64)


def day_number(value: Any) -> int:
    """A date, timestamp or ISO text as days since 1970-01-01."""
    stamp = pd.Timestamp(value)
    if stamp.tzinfo is not None:
        stamp = stamp.tz_convert("UTC").tz_localize(None)
    return stamp.toordinal() - EPOCH
