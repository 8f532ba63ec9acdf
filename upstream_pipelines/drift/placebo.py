"""The placebo: how often the detector alarms on a customer's own history when nothing in it can have changed.

Belongs here: shuffling a history by whole weeks, looking at it day by day, counting the events. Not here: storing
and publishing what came out (placebo_store.py), whose turn it is (defs/).

Whole weeks of submissions change places, with all their decisions at the ages they had, the same places for every
payer: what payers and weeks have in common stays, and so does a week's own mix. Only what the order of weeks told is
gone. Days of events and labelled days are left out first, each such week of a payer taken by another of its own; and
since the platform has not watched all of the history, it is looked over once in the order it had, every four weeks,
and what is found there is left out too (a fifth off the prices of 9 weeks in 55, not left out, opened 4 events in 240
looks). A real change too small to be found becomes scatter between weeks, which the detector takes for
over-dispersion: the measured rate is then one of a duller detector. A trend, a season and the month's edges become
scatter as well. Days of false events are left out like those of true ones, which makes the rate a little too good.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd

from upstream_pipelines.drift.activity import ACTIVITY_KEYS, ACTIVITY_SUMS, Activity
from upstream_pipelines.drift.calendar import working_calendar
from upstream_pipelines.drift.counts import LONGEST_AGE
from upstream_pipelines.drift.detector import Detector
from upstream_pipelines.drift.events import NEW_NORMALS, DriftEvent
from upstream_pipelines.drift.facts import Bools, Ints, day_number
from upstream_pipelines.drift.settings import DriftSettings

FEWEST_WEEKS_BEFORE = 26  # before the first look: the baseline at its default length
FEWEST_LOOKS = 14
LOOKED_OVER_DAYS = 28
FEWEST_OWN_WEEKS = 8  # of a payer; fewer would repeat one another
SETTLED_SHARE = 0.99  # of decisions are made by the age at which a cohort counts as whole
_MONDAY = 4  # 1970-01-05 was the first Monday; weeks count from there


@dataclass(frozen=True)
class Placebo:
    """`events` opened in `looks` daily looks over a shuffled history of `days` days; all 0 where it is too short."""

    looks: int
    days: int
    events: int

    @property
    def false_events_per_year(self) -> float | None:
        """The rate; None where no look could be made."""
        return 365.25 * self.events / self.looks if self.looks else None


def placebo(
    history: Activity,
    settings: DriftSettings,
    seed: int,
    looks: int,
    *,
    until: date,
    events: Sequence[DriftEvent] = (),
) -> Placebo:
    """Shuffle what was known before `until` and make up to `looks` daily looks at its end.

    `events` are the customer's, whose days are left out with those labelled in `settings`. One look more is made
    before the others and not counted: it finds what months have gathered, which is no daily rate.
    """
    found = _looked_over(Detector(*history, settings), history, until)
    frames = shuffled(history, settings, seed, until=until, events=[*events, *found])
    if frames is None:
        return Placebo(0, 0, 0)
    submitted = frames.activity["submitted_day"]
    first, last = submitted.min().date(), submitted.max().date()
    days = (last - first).days + 1
    looks = min(looks, days - 7 * FEWEST_WEEKS_BEFORE)
    if looks < FEWEST_LOOKS:
        return Placebo(0, days, 0)
    # A look of the day after the last counts that day too.
    opened = _opened(
        Detector(*frames, settings.model_copy(update={"calendar": ()})), last + timedelta(days=1), looks
    )
    return Placebo(looks, days, opened)


def _looked_over(detector: Detector, history: Activity, until: date) -> list[DriftEvent]:
    """The events of looks every four weeks over the whole history, each as it stands at the end."""
    rows = history.activity
    known = rows.loc[_day(rows["submitted_known_day"]) < day_number(until), "submitted_day"]
    if known.empty:
        return []
    days = (until - known.min().date()).days
    memory: dict[Any, DriftEvent] = {}
    for back in range(days // LOOKED_OVER_DAYS * LOOKED_OVER_DAYS, -1, -LOOKED_OVER_DAYS):
        result = detector.look(until - timedelta(days=back), list(memory.values()))
        memory |= {event.event_id: event for event in result.events}
    return list(memory.values())


def _opened(detector: Detector, last: date, looks: int) -> int:
    """Events of cause "payer" that opened in the last `looks` daily looks, after one that carries none in."""
    memory: dict[Any, DriftEvent] = {}
    opened = 0
    for back in range(looks, -1, -1):
        as_of = last - timedelta(days=back)
        result = detector.look(as_of, list(memory.values()))
        memory |= {event.event_id: event for event in result.events}
        if back < looks:
            opened += sum(event.state == "open" and event.cause == "payer" for event in result.events)
    return opened


def shuffled(
    history: Activity, settings: DriftSettings, seed: int, *, until: date, events: Sequence[DriftEvent] = ()
) -> Activity | None:
    """The history with its weeks in another order, every fact known on its own day; None where it is too short.

    Only submissions old enough to be decided are used: a young week would look undecided for ever.
    """
    rows, prices, codes = _known(history, day_number(until))
    if rows.empty:
        return None
    submitted = _day(rows["submitted_day"])
    first = int(submitted.min()) + (_MONDAY - int(submitted.min())) % 7
    whole = min(day_number(until), int(submitted.max()) + 1) - _settled_age(rows)
    weeks = (whole - first) // 7
    if weeks < FEWEST_WEEKS_BEFORE:
        return None
    payers = sorted({str(name) for name in rows["payer"]})
    own = _own_weeks(rows, payers, first, weeks)
    usable = np.asarray(own & ~_left_out(payers, first, weeks, settings, events), dtype=np.bool_)
    usable[usable.sum(axis=1) < FEWEST_OWN_WEEKS] = False
    own = np.asarray(own & (usable.sum(axis=1) > 0)[:, None], dtype=np.bool_)
    if not own.any():
        return None
    ordinary, _ = working_calendar(first, 7 * weeks, settings.holiday_country)
    whole_weeks = np.asarray(ordinary.reshape(weeks, 7).all(axis=1), dtype=np.bool_)
    source = _sources(own, usable, whole_weeks, np.random.default_rng(seed))
    places = _places(source, payers)
    # A decision or a price counts for the look at the day after; so it is with a file every night.
    activity = _moved(rows, places, first, {"submitted_day": ["submitted_known_day"]})
    decided = activity["submitted_day"] + pd.to_timedelta(activity["decision_age"], unit="D")
    activity["decision_known_day"] = decided.astype("datetime64[s]")
    return Activity(
        activity,
        _moved(prices, places, first, {"decided_day": ["decision_known_day"]}),
        _moved(codes, places, first, {"submitted_day": ["submitted_known_day"]}),
    )


def _known(history: Activity, until: int) -> Activity:
    """What was known before `until`: a line decided since then is an undecided one, and has no outcome or payment."""
    rows = history.activity.loc[_day(history.activity["submitted_known_day"]) < until].copy()
    later = rows["decision_age"].notna().to_numpy() & (_day(rows["decision_known_day"]) >= until)
    rows.loc[later, "decision_age"] = pd.NA
    rows.loc[later, "decision_known_day"] = pd.NaT
    rows.loc[later, ["denied", "denied_authorization", "allowed", "paid"]] = 0
    # Lines that differed only in their decisions are one row again.
    rows = rows.groupby(ACTIVITY_KEYS, dropna=False, sort=True, as_index=False)[ACTIVITY_SUMS].sum()
    return Activity(
        rows,
        history.prices.loc[_day(history.prices["decision_known_day"]) < until],
        history.codes.loc[_day(history.codes["submitted_known_day"]) < until],
    )


def _day(values: pd.Series) -> Ints:
    return values.to_numpy(dtype="datetime64[D]").astype(np.int64)


def _settled_age(rows: pd.DataFrame) -> int:
    """The age by which nearly all decisions are made."""
    decided = rows["decision_age"].notna().to_numpy()
    age = rows["decision_age"].to_numpy(dtype="float64", na_value=np.nan)[decided]
    lines = rows["lines"].to_numpy(dtype="float64")[decided]
    if not len(age):
        return LONGEST_AGE
    order = np.argsort(age, kind="stable")
    share = np.cumsum(lines[order]) / lines.sum()
    return min(int(age[order][np.searchsorted(share, SETTLED_SHARE)]) + 1, LONGEST_AGE)


def _own_weeks(rows: pd.DataFrame, payers: Sequence[str], first: int, weeks: int) -> Bools:
    """Weeks from each payer's first line to its last: a payer that came or went does so in the shuffled history."""
    payer = np.searchsorted(np.asarray(payers, dtype="object"), rows["payer"].to_numpy(dtype="object"))
    week = (_day(rows["submitted_day"]) - first) // 7
    begins, ends = np.full(len(payers), weeks), np.full(len(payers), -1)
    np.minimum.at(begins, payer, week)
    np.maximum.at(ends, payer, week)
    at = np.arange(weeks)[None, :]
    return np.asarray((at >= begins[:, None]) & (at <= ends[:, None]), dtype=np.bool_)


def _left_out(
    payers: Sequence[str], first: int, weeks: int, settings: DriftSettings, events: Sequence[DriftEvent]
) -> Bools:
    """Weeks of a payer with a day of an event, a day before a new normal, or a labelled day."""
    out = np.zeros((len(payers), weeks), dtype=np.bool_)
    index = {name: position for position, name in enumerate(payers)}

    def leave_out(payer: int, begins: int, ends: int) -> None:
        out[payer, max((begins - first) // 7, 0) : max((ends - first) // 7 + 1, 0)] = True

    for event in events:
        if event.payer not in index or event.memory.reason == "withdrawn":
            continue
        started = day_number(event.started_on)
        if event.memory.reason in NEW_NORMALS:
            leave_out(index[event.payer], first, started - 1)
        else:
            leave_out(index[event.payer], started, day_number(event.resolved_on or event.last_look))
    for label in settings.calendar:
        for name, payer in index.items():
            if label.holds_for(name):
                leave_out(payer, day_number(label.first_day), day_number(label.last_day))
    return out


def _sources(own: Bools, usable: Bools, ordinary: Bools, rng: np.random.Generator) -> Ints:
    """For each payer and week the week that takes its place, -1 for none.

    Weeks with holidays stay where they are: elsewhere they would be holidays that no calendar knows.
    """
    weeks = own.shape[1]
    order = np.arange(weeks)
    order[ordinary] = rng.permutation(order[ordinary])
    source = np.broadcast_to(order, own.shape).copy()
    for payer in range(len(own)):
        lacking = np.flatnonzero(own[payer] & ~usable[payer, source[payer]])
        choice = np.flatnonzero(usable[payer] & ordinary)
        choice = choice if len(choice) else np.flatnonzero(usable[payer])
        if len(choice):
            source[payer, lacking] = rng.choice(choice, len(lacking))
    source[~own] = -1
    return source


def _places(source: Ints, payers: Sequence[str]) -> pd.DataFrame:
    """Payer, week, and the week it moves to; a week may move to several places, or to none."""
    payer, target = np.nonzero(source >= 0)
    return pd.DataFrame(
        {"payer": np.asarray(payers, dtype="object")[payer], "week": source[payer, target], "to": target}
    )


def _moved(frame: pd.DataFrame, places: pd.DataFrame, first: int, days: dict[str, list[str]]) -> pd.DataFrame:
    """The rows at their new places. `days`: the day that says in which week a row is, and those that follow it."""
    ((day, following),) = days.items()
    placed = frame.assign(payer=frame["payer"].astype("object"), week=(_day(frame[day]) - first) // 7)
    placed = placed.merge(places, on=["payer", "week"], how="inner")
    shift = pd.to_timedelta((placed["to"] - placed["week"]) * 7, unit="D")
    placed[day] = (placed[day] + shift).astype("datetime64[s]")
    for name in following:
        placed[name] = placed[day]
    return placed.drop(columns=["week", "to"])
