"""An event over time: its signal in blocks of days at equal maturity, with intervals, and how complete they are.

Belongs here: the figures an event's chart shows. Not here: drawing (event_chart.py), evidence (charts.py).

The blocks lie on either side of the change, so that no block mixes the two. A rate is shown as the payer's baseline
times observed over expected at the same decision ages; a decision time as a Kaplan-Meier median with open lines
censored; a price against the code's own. Nothing here depends on how old the lines of a block are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from upstream_pipelines.claims.codes import shown_code
from upstream_pipelines.drift.charts import Chart, Charts
from upstream_pipelines.drift.counts import PayerRows, View
from upstream_pipelines.drift.facts import UNDECIDED, Floats, day_number, day_of
from upstream_pipelines.drift.figures import wilson
from upstream_pipelines.drift.life_table import hazard_of, median_of
from upstream_pipelines.drift.measures import WIDTH
from upstream_pipelines.drift.scan import By, Series
from upstream_pipelines.drift.submissions import fit_growth

if TYPE_CHECKING:
    from upstream_pipelines.drift.detector import Detector

BLOCK_DAYS = (7, 14, 28)
FEWEST_LINES = 25  # a block: fewer give intervals as wide as the chart
SHOWN_BEFORE = 182  # days: half a year says what usual is
COMPLETE = 0.9  # share of a block's lines decided; below, its point is hollow
SMALLEST_PART = 0.25  # of a block: the week between two holidays says nothing of a whole one
MOVERS = 4  # codes shown of a changed mix: more lines cannot be told apart
COLUMNS = ["line", "first", "days", "value", "low", "high", "expected", "complete"]


@dataclass(frozen=True)
class EventPoints:
    """What an event's chart shows; values in the unit of the signal, rates 0..1.

    `points` has a row per line (one, but for the mix: one per code) and block: first day, days, value, low, high
    (95 %), expected (volume only), complete. `curves` has the share decided by age of the lines submitted before
    the change and since it. `baseline` is (value, low, high) as in the row, `change` the day and its interval,
    `complete_to` the last day that counts.
    """

    signal: str
    by: By
    points: pd.DataFrame
    baseline: tuple[float, float, float]
    change: tuple[date, date, date]
    complete_to: date
    curves: Mapping[str, Floats]


@dataclass(frozen=True)
class _Asked:
    """One event's place in a look: whose, which days count, where the change lies, the baseline's value."""

    charts: Charts
    signal: str
    payer: int
    by: By
    split: int
    baseline: float
    listed: Collection[str]

    @property
    def view(self) -> View:
        return self.charts.view

    @cached_property
    def rows(self) -> PayerRows:
        return self.view.rows(self.payer)

    @property
    def end(self) -> int:
        """The last day that is shown: complete, and before the payer fell silent."""
        silent = int(self.view.ends[self.payer])
        return min(self.chart.last, silent) if silent < self.view.horizon else self.chart.last

    @property
    def chart(self) -> Chart:
        return self.charts.by_signal[self.signal]  # type: ignore[index]  # a signal's name

    @property
    def series(self) -> Series:
        return next((item for item in self.chart.series if item.by == self.by), self.chart.series[0])

    @property
    def dispersion(self) -> float:
        return max(float(self.chart.dispersion[self.payer]), 1.0)

    def sums(self, first: int, last: int) -> tuple[float, float, float]:
        """Observed, expected and lines of those days."""
        series, part = self.series, self.columns(first, last)
        observed, expected, lines = (
            float(values[self.payer, part].sum()) for values in (series.observed, series.expected, series.lines)
        )
        return observed, expected, lines

    def columns(self, first: int, last: int) -> slice:
        """The columns of those days in the series."""
        origin = self.chart.last - self.series.observed.shape[1] + 1
        return slice(max(first - origin, 0), max(last - origin + 1, 0))

    def before(self) -> tuple[float, float, float]:
        """The same of the days before the change."""
        return self.sums(self.view.start, self.split - 1)


Spans = list[tuple[int, int]]
Block = tuple[float, ...]
"""Value, low, high, expected."""
NAN = float("nan")
NOTHING: Block = (NAN,) * 4
BY_SUBMISSION_ONLY = frozenset({"volume", "procedure_mix"})


def event_points(
    detector: Detector, charts: Charts, row: Mapping[str, Any], listed: Collection[str] = ()
) -> EventPoints:
    """The chart of one row of a look (state open, updated or resolved); `charts` are those of that look, `listed` the
    codes that may be named whatever their form.
    """
    detail, signal = row["detail"], str(row["signal"])
    baseline = _number(row["baseline"]), _number(detail["baseline_low"]), _number(detail["baseline_high"])
    asked = _Asked(
        charts=charts,
        signal=signal,
        payer=detector.facts.payers.index(str(row["payer"])),
        by=detail["by"],
        split=day_number(detail["change_date"]),
        baseline=baseline[0],
        listed=listed,
    )
    rows, split, days = asked.rows, asked.split, detector.settings.baseline_days
    spans = _blocks(asked, days)
    lines = _MEASURED[signal](asked, spans)
    complete = [_is_complete(asked, span) for span in spans]
    records = [
        [name, day_of(first), last - first + 1, *values, done]
        for name, series in lines.items()
        for (first, last), values, done in zip(spans, series, complete, strict=True)
    ]
    return EventPoints(
        signal=signal,
        by=asked.by,
        points=pd.DataFrame(records, columns=COLUMNS).dropna(subset=["value"]),
        baseline=baseline,
        change=(
            day_of(split),
            day_of(day_number(detail["change_date_low"])),
            day_of(day_number(detail["change_date_high"])),
        ),
        complete_to=day_of(asked.chart.last),
        curves={
            "before": decided_by_age(rows, (split - days, split - 1), charts.view),
            "since": decided_by_age(rows, (split, asked.end), charts.view),
        },
    )


def _blocks(asked: _Asked, baseline_days: int) -> Spans:
    """Blocks of days that end the day before the change, and blocks that begin with it."""
    rows, split, end = asked.rows, asked.split, asked.end
    if not len(rows.submitted):
        return []
    start = max(split - min(SHOWN_BEFORE, baseline_days), asked.view.first_decision_day, int(rows.submitted.min()))
    by_submission = asked.by == "submission" or asked.signal in BY_SUBMISSION_ONLY
    counted = np.full(len(rows.age), by_submission) | (rows.age != UNDECIDED)
    day, lines = (rows.submitted + (0 if by_submission else rows.age))[counted], rows.lines[counted]
    before: Spans = []
    since: Spans = []
    for days in BLOCK_DAYS:
        before = [(first, first + days - 1) for first in range(split - days, start - 1, -days)][::-1]
        since = [(first, min(first + days - 1, end)) for first in range(split, end + 1, days)]
        if len(since) > 1 and since[-1][1] - since[-1][0] + 1 < days / 2:
            # The first days of a week have an interval that flattens the rest.
            since = [*since[:-2], (since[-2][0], since[-1][1])]
        if lines[(day >= start) & (day < split)].sum() >= FEWEST_LINES * max(len(before), 1):
            break
    return before + since


def waits_for_decisions(signal: str, by: By) -> bool:
    """Whether more of a day's lines may come to count: by day of decision, and of volume and mix, all count at once."""
    return by == "submission" and signal not in BY_SUBMISSION_ONLY


def _is_complete(asked: _Asked, span: tuple[int, int]) -> bool:
    """Whether nearly all of the block's lines count. By day of decision they always do, but for a part of a block."""
    rows = asked.rows
    if span[1] - span[0] + 1 < BLOCK_DAYS[0]:
        return False
    if not waits_for_decisions(asked.signal, asked.by):
        return True
    inside = (rows.submitted >= span[0]) & (rows.submitted <= span[1])
    total = rows.lines[inside].sum()
    return bool(total > 0 and rows.lines[inside & (rows.age != UNDECIDED)].sum() >= COMPLETE * total)


def _rates(asked: _Asked, spans: Spans) -> dict[str, list[Block]]:
    observed, expected, _ = asked.before()
    usual = observed / expected if expected > 0 and observed > 0 else 1.0
    found: list[Block] = []
    for span in spans:
        o, e, n = asked.sums(*span)
        if n <= 0 or e <= 0:
            found.append(NOTHING)
            continue
        rate = min(asked.baseline * o / e / usual, 1.0)
        found.append((*wilson(rate * n, n, asked.dispersion), NAN))
    return {"": found}


def _prices(asked: _Asked, spans: Spans) -> dict[str, list[Block]]:
    score, information, _ = asked.before()
    usual = score / information if information > 0 else 0.0
    found: list[Block] = []
    for span in spans:
        score, information, _ = asked.sums(*span)
        if information <= 0:
            found.append(NOTHING)
            continue
        error = WIDTH * float(np.sqrt(asked.dispersion / information))
        level = score / information - usual
        found.append((*(float(np.exp(level + part)) for part in (0.0, -error, error)), NAN))
    return {"": found}


def _lags(asked: _Asked, spans: Spans) -> dict[str, list[Block]]:
    found: list[Block] = []
    for span in spans:
        table = life_table_of(asked.rows, asked.by, span, asked.view)
        decided = float(table[0].sum())
        hazard = hazard_of(table)
        if decided < 5 or np.prod(1 - np.minimum(hazard, 1.0)) > 0.5:
            found.append(NOTHING)  # fewer than half are decided at any age: there is no median yet
            continue
        error = WIDTH * float(np.sqrt(asked.dispersion / decided))
        medians = (median_of(np.minimum(hazard * np.exp(part), 1.0)) for part in (0.0, error, -error))
        found.append((*medians, NAN))
    return {"": found}


def _volumes(asked: _Asked, spans: Spans) -> dict[str, list[Block]]:
    """Lines a week without holidays, and those that calendar and growth of the days before the change let expect.

    Holidays do not count: a block's lines stand for a whole week by what its other days let expect.
    """
    trend = asked.series.trend
    assert trend is not None
    lines, plain, time = asked.series.observed[asked.payer], trend.plain[asked.payer], trend.time
    before = slice(0, asked.columns(asked.split, asked.split).start)
    level, growth = fit_growth(lines[None, before], plain[None, before], time[before])
    trend_of = np.exp(level[0] + growth[0] * time)
    weekday = np.arange(len(plain)) % 7
    ordinary = sum(float(plain[(weekday == day) & (plain > 0)].mean()) for day in set(weekday[plain > 0]))
    found: list[Block] = []
    for span in spans:
        part = asked.columns(*span)
        seen, expected = float(lines[part].sum()), float((plain * trend_of)[part].sum())
        weeks = (span[1] - span[0] + 1) / 7.0
        usual = ordinary * float(trend_of[part].mean())
        if expected < SMALLEST_PART * usual * weeks:
            found.append(NOTHING)
            continue
        error = WIDTH * float(np.sqrt(asked.dispersion * max(seen, 1.0)))
        scale = usual / expected
        found.append((seen * scale, max(seen - error, 0.0) * scale, (seen + error) * scale, usual))
    return {"": found}


def _mix(asked: _Asked, spans: Spans) -> dict[str, list[Block]]:
    """The shares of the codes that moved most; all that may not be named are one line."""
    facts, split = asked.view.facts, asked.split
    rows = (
        (facts.code_payer == asked.payer) & (facts.code_known < asked.view.as_of) & (facts.code_day <= asked.end)
    )
    place, names = pd.factorize(
        np.array([shown_code(name, asked.listed) for name in facts.code_names], dtype=object)
    )
    code, day, lines = place[facts.code_code[rows]], facts.code_day[rows], facts.code_lines[rows]

    def shares(first: int, last: int) -> tuple[Floats, float]:
        inside = (day >= first) & (day <= last)
        counts = np.bincount(code[inside], lines[inside], minlength=len(names)).astype(np.float64)
        total = float(counts.sum())
        return counts / max(total, 1.0), total

    before, _ = shares(spans[0][0] if spans else split, split - 1)
    since, _ = shares(split, asked.end)
    movers = np.argsort(-np.abs(since - before), kind="stable")[:MOVERS]
    found: dict[str, list[Block]] = {names[at]: [] for at in movers}
    for span in spans:
        share, total = shares(*span)
        for at in movers:
            values = (*wilson(share[at] * total, total, asked.dispersion), NAN) if total > 0 else NOTHING
            found[names[at]].append(values)
    return found


_MEASURED: dict[str, Callable[[_Asked, Spans], dict[str, list[Block]]]] = {
    "denial_rate": _rates,
    "authorization_denials": _rates,
    "decision_lag": _lags,
    "allowed_amount": _prices,
    "volume": _volumes,
    "procedure_mix": _mix,
}


def life_table_of(rows: PayerRows, by: By, span: tuple[int, int], view: View) -> tuple[Floats, Floats]:
    """Decisions, and lines open, by age, of one payer on the decision (or submission) days of `span`.

    A line is open at each age from 0 to its decision, or to the last day of `span` (of the view, by submission).
    `life_table.life_table` is the comparison's and leaves out the days that belong to no baseline; a picture shows them.
    """
    submitted, age, lines = rows.submitted, rows.age, rows.lines
    end = span[1] if by == "decision" else view.horizon
    oldest = np.where(age == UNDECIDED, end - submitted, np.minimum(age, end - submitted))
    youngest = np.maximum(span[0] - submitted, 0) if by == "decision" else np.zeros_like(submitted)
    inside = (oldest >= youngest) & (submitted <= span[1]) & (youngest < view.ages)
    if by == "submission":
        inside &= submitted >= span[0]
    oldest, youngest, age, lines = oldest[inside], youngest[inside], age[inside], lines[inside]
    size = view.ages + 1
    steps = np.bincount(youngest, lines, minlength=size) - np.bincount(
        np.minimum(oldest + 1, view.ages), lines, minlength=size
    )
    decided = (age != UNDECIDED) & (age <= oldest) & (age < view.ages)
    counted = np.bincount(age[decided], lines[decided], minlength=size)
    return counted[:-1].astype(np.float64), np.cumsum(steps)[:-1].astype(np.float64)


def decided_by_age(rows: PayerRows, span: tuple[int, int], view: View) -> Floats:
    """Share of the lines submitted on the days of `span` that is decided by each age, as far as any have come."""
    decided, still = life_table_of(rows, "submission", span, view)
    reached = int(np.flatnonzero(still > 0)[-1]) + 1 if (still > 0).any() else 0
    hazard = hazard_of((decided, still))[:reached]
    return np.asarray(1.0 - np.cumprod(1.0 - np.minimum(hazard, 1.0)), dtype=np.float64)


def _number(value: Any) -> float:
    return NAN if value is None else float(value)
