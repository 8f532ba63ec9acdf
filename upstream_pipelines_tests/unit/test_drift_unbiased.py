"""Nothing changed: the measured denial rate is the true one, however lags and volumes are, and no more events open.

The methods in common use compare the decided lines of the last 14 days of submissions with those before. Their rate is
biased wherever denials take longer or less long than payments; the same tests show that they fail here.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from upstream_pipelines.drift import replay
from upstream_pipelines.drift.activity import activity_from_claims
from upstream_pipelines.drift.charts import Charts
from upstream_pipelines.drift.detector import Detector
from upstream_pipelines.drift.factors import BY_SUBMISSION
from upstream_pipelines.drift.figures import figures_of
from upstream_pipelines.drift.measures import Change, compare
from upstream_pipelines.drift.scan import BUDGET_WEIGHTS, PAYER_BUDGET
from upstream_pipelines.drift.settings import DriftSettings

START = date(2024, 1, 1)  # a Monday
DAYS = 340
LOOKS = (270, 305, 340)  # so far apart that no line is in two blocks
BLOCK = 28
SETTINGS = DriftSettings(block_days=(BLOCK,))
SEEDS = (1, 2)
RATES = (0.06, 0.08, 0.10, 0.12, 0.15)
LINES = 40.0  # a weekday, on average over the history
LAG, SHAPE = 14.0, 4.0  # days to a payment on average; gamma


class World(NamedTuple):
    """Denials take `slower` times as long as payments; the volume grows `growth`-fold from the first day to the last."""

    slower: float
    growth: float


WORLDS = {
    "plain": World(1.0, 1.0),
    "denials slower": World(2.0, 1.0),
    "denials faster": World(0.5, 1.0),
    "volume doubles": World(1.0, 2.0),
    "volume doubles, denials slower": World(2.0, 2.0),
}


def volume(world: World) -> np.ndarray:
    """Lines expected on each day."""
    day = np.arange(DAYS)
    growing = world.growth ** (day / DAYS)
    return np.asarray(LINES * growing / growing.mean() * (day % 7 < 5))


def claims(world: World, seed: int) -> pd.DataFrame:
    """Two payers of each rate: weekday submissions, gamma lags in whole days, each line denied by its own chance."""
    rng = np.random.default_rng(seed)
    frames = []
    for number, rate in enumerate(RATES * 2):
        submitted = np.repeat(np.arange(DAYS), rng.poisson(volume(world)))
        denied = rng.random(len(submitted)) < rate
        mean = LAG * np.where(denied, world.slower, 1.0)
        decided = submitted + np.ceil(rng.gamma(SHAPE, mean / SHAPE)).astype(int)
        frames.append(
            pd.DataFrame(
                {
                    "payer": f"{number} {rate}",
                    "cpt": np.array(["99213", "99214"])[rng.integers(0, 2, len(submitted))],
                    "submitted_date": np.datetime64(START) + submitted,
                    "decided_date": np.datetime64(START) + decided,
                    "outcome": np.where(denied, "DENIED", "PAID"),
                    "allowed_amount": np.where(denied, 0.0, 100.0 * np.exp(rng.normal(0, 0.1, len(submitted)))),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def rate_of(payer: str) -> float:
    return float(payer.split()[1])


def true_rate(world: World, rate: float, first: int, last: int) -> float:
    """Expected share denied among the lines submitted from `first` to `last` and decided by the end of `last`."""
    day = np.arange(first, last + 1)
    weight = volume(world)[first : last + 1]
    paid, denied = (
        float(weight @ stats.gamma.cdf(last - day, SHAPE, scale=LAG * times / SHAPE))
        for times in (1.0, world.slower)
    )
    return rate * denied / (rate * denied + (1 - rate) * paid)


class Measured(NamedTuple):
    """A measured rate with its interval and the lines it rests on, beside the true one."""

    true: float
    rate: float
    low: float
    high: float
    lines: int


def _figures(world: World, detector: Detector, charts: Charts) -> list[Measured]:
    """The current rate people see, at its maturity."""
    figures = figures_of(detector, charts)
    own = figures[figures["signal"] == "denial_rate"]
    result = []
    for payer, end, figure in zip(own["payer"], charts.view.ends, own.to_dict("records"), strict=True):
        last = int(end) - (np.datetime64(START) - np.datetime64("1970-01-01")).astype(int)
        true = true_rate(world, rate_of(payer), last - BLOCK + 1, last)
        rate, low, high = (float(figure[column]) for column in ("current", "current_low", "current_high"))
        result.append(Measured(true, rate, low, high, int(figure["n_current"])))
    return result


def _rows(world: World, detector: Detector, charts: Charts) -> list[Measured]:
    """The current rate of an event's row: what the lines of the block will come to when all are decided."""
    result = []
    for number, payer in enumerate(detector.facts.payers):
        split = int(charts.view.ends[number]) - BLOCK + 1
        found = compare(charts, Change("denial_rate", number, BY_SUBMISSION, split, 1), SETTINGS)
        result.append(Measured(rate_of(payer), found.current, *found.current_interval, found.n_current))
    return result


def _naive(world: World, detector: Detector, charts: Charts) -> list[Measured]:
    """The decided lines of the last 14 days of submissions, taken for what the payer denies."""
    result = []
    for number, payer in enumerate(detector.facts.payers):
        rows = charts.view.rows(number)
        recent = (rows.submitted > charts.view.ends[number] - 14) & (rows.age >= 0)
        denied, lines = float(rows.denied[recent].sum()), float(rows.lines[recent].sum())
        low, high = stats.binomtest(round(denied), round(lines)).proportion_ci(method="wilson")
        result.append(Measured(rate_of(payer), denied / lines, low, high, round(lines)))
    return result


MEASURES = {"figure": _figures, "row": _rows, "naive": _naive}


@cache
def measured(name: str) -> dict[str, list[Measured]]:
    """Every payer of two customers at three looks, by each way of measuring."""
    result: dict[str, list[Measured]] = {way: [] for way in MEASURES}
    for seed in SEEDS:
        detector = Detector(*activity_from_claims(claims(WORLDS[name], seed)), SETTINGS)
        for look in LOOKS:
            charts = detector.charts(START + timedelta(days=look))
            for way, measure in MEASURES.items():
                result[way] += measure(WORLDS[name], detector, charts)
    return result


def bias(values: list[Measured]) -> float:
    """Mean deviation from the truth, in standard errors of the binomial draw."""
    true, rate, lines = (np.array([getattr(each, name) for each in values]) for name in ("true", "rate", "lines"))
    return float((rate - true).mean() / (np.sqrt((true * (1 - true) / lines).sum()) / len(values)))


def covered(values: list[Measured]) -> int:
    return sum(each.low <= each.true <= each.high for each in values)


def fewest_covered(count: int) -> int:
    """What 95 % intervals cover at least, but for one time in ten thousand."""
    return int(stats.binom.ppf(1e-4, count, 0.95))


@pytest.mark.parametrize("name", list(WORLDS))
def test_the_denial_rate_of_a_figure_is_the_true_one_on_average_and_within_its_interval(name: str) -> None:
    values = measured(name)["figure"]
    assert len(values) == len(SEEDS) * len(LOOKS) * 2 * len(RATES)
    assert np.mean([each.lines for each in values]) > 300
    assert abs(bias(values)) < 3.0
    assert covered(values) >= fewest_covered(len(values))


@pytest.mark.parametrize("name", list(WORLDS))
def test_the_denial_rate_of_an_event_is_the_true_one_on_average_and_within_its_interval(name: str) -> None:
    """Its baseline is of the lines decided by now, of which denials that are twice as slow lack a thirtieth. That is
    within chance here, except where the volume doubles as well: there half of the least change that counts is allowed.
    """
    values = measured(name)["row"]
    if name == "volume doubles, denials slower":
        assert abs(np.mean([each.rate - each.true for each in values])) < 0.5 * SETTINGS.minimum_rate_points
    else:
        assert abs(bias(values)) < 3.0
    assert covered(values) >= fewest_covered(len(values))


@pytest.mark.parametrize("name", ["denials slower", "denials faster", "volume doubles, denials slower"])
def test_the_same_measures_find_the_usual_method_biased(name: str) -> None:
    values = measured(name)["naive"]
    assert abs(bias(values)) > 10.0
    assert covered(values) < fewest_covered(len(values))


@pytest.mark.parametrize("name", ["plain", "denials slower", "denials faster", "volume doubles"])
def test_no_more_events_open_than_the_budget_lets_expect(name: str) -> None:
    looks = [START + timedelta(days=day) for day in range(200, DAYS, 3)]
    opened = []
    for seed in SEEDS:
        rows = replay(claims(WORLDS[name], seed), looks)
        opened += rows.loc[rows["state"] == "open", "signal"].tolist()
    years = len(SEEDS) * (looks[-1] - looks[0]).days / 365.25
    # The first look finds what months have gathered; as much again is allowed for it.
    expected = SETTINGS.false_events_per_year * (years + len(SEEDS) * SETTINGS.change_days / 365.25)
    assert len(opened) <= stats.poisson.ppf(0.99, expected), opened
    assert opened.count("denial_rate") <= stats.poisson.ppf(0.99, expected / 2), opened


def test_events_open_at_their_nominal_rate_and_not_below_half_of_it() -> None:
    """With nothing changed, ten times the budget and any effect material: a detector that never fires is no good one.

    24 customers opened 33 events where 32.6 are nominal, the twelve here 12 of 16.3, looked at every sixth day (13 on
    every third). Half allows for what chance does to so few, and for what persistence and confirmation hold back, which
    no setting turns off.
    """
    budget = 10 * SETTINGS.false_events_per_year
    eager = DriftSettings(
        false_events_per_year=budget, minimum_rate_points=0, minimum_rate_relative=0, minimum_price_change=0,
        minimum_lag_days=0, minimum_authorization_points=0, minimum_volume_change=0, minimum_mix_change=0,
    )  # fmt: skip
    seeds = range(1, 13)
    looks = [START + timedelta(days=day) for day in range(200, DAYS, 6)]
    opened = 0
    for seed in seeds:
        opened += int((replay(claims(WORLDS["plain"], seed), looks, eager)["state"] == "open").sum())
    # Ten payers get ten times what one may have; the part of denials for authorisation, which are none here, is unused.
    used = 1 - BUDGET_WEIGHTS["authorization_denials"] / sum(BUDGET_WEIGHTS.values())
    a_year = budget * PAYER_BUDGET * 2 * len(RATES) * used
    nominal = a_year * len(seeds) * (looks[-1] - looks[0]).days / 365.25
    assert 0.5 * nominal <= opened <= stats.poisson.ppf(0.99, nominal)
