"""The statistic: its scale with nothing changed, its dispersion, its threshold, its p- and q-values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from upstream_pipelines.drift.facts import Floats
from upstream_pipelines.drift.scan import (
    Around,
    Series,
    dispersion,
    evidence,
    false_discovery,
    look_p_value,
    running_sums,
    threshold,
    windows,
)
from upstream_pipelines.drift.settings import SIGNALS


def counts(rng: np.random.Generator, rate: float, payers: int = 400, days: int = 300, clump: int = 1) -> Series:
    """Poisson decisions in clumps against a constant expectation: nothing changes."""
    observed = (rng.poisson(rate / clump, (payers, days)) * clump).astype(np.float64)
    expected = np.full((payers, days), rate)
    return Series("decision", observed, expected, expected, observed, None)


def dispersion_of(series: Series) -> tuple[Floats, Floats]:
    return dispersion(running_sums([series]), [series])[0]


def test_evidence_is_standard_normal_with_nothing_changed() -> None:
    series = counts(np.random.default_rng(1), 2.0)
    ones = np.ones(400)
    z = evidence(
        series, windows(Around.of(running_sums([series]), np.array([10, 60]), 180), [series]), ones, ones * 1e9
    )
    assert abs(z.mean()) < 0.1
    assert z.std(axis=0) == pytest.approx([1.0, 1.0], abs=0.1)


def test_evidence_of_a_short_baseline_is_weakened_by_its_own_error() -> None:
    """A detector that takes a thin baseline for the truth alarms on every small payer."""
    series = counts(np.random.default_rng(2), 2.0, days=70)
    ones = np.ones(400)
    z = evidence(
        series, windows(Around.of(running_sums([series]), np.array([60]), 180), [series]), ones, ones * 1e9
    )
    assert z.std() == pytest.approx(1.0, abs=0.1)


def test_evidence_points_up_for_more_and_down_for_less() -> None:
    series = counts(np.random.default_rng(3), 5.0, payers=2)
    series.observed[0, -30:] *= 2
    series.observed[1, -30:] *= 0.5
    z = evidence(
        series,
        windows(Around.of(running_sums([series]), np.array([30]), 180), [series]),
        np.ones(2),
        np.full(2, 50.0),
    )
    assert z[0, 0] > 5
    assert z[1, 0] < -4


def test_dispersion_finds_clumps_and_is_hardly_moved_by_a_level_shift() -> None:
    rng = np.random.default_rng(4)
    plain, _ = dispersion_of(counts(rng, 6.0))
    clumped, freedom = dispersion_of(counts(rng, 6.0, clump=3))
    shifted = counts(rng, 6.0)
    shifted.observed[:, 200:] *= 1.5
    assert plain.mean() == pytest.approx(1.0, abs=0.1)
    assert clumped.mean() == pytest.approx(3.0, abs=0.3)
    assert dispersion_of(shifted)[0].mean() < 1.6
    assert 20 < freedom[0] < 43


def test_an_empty_history_has_no_evidence() -> None:
    zeros = np.zeros((2, 100))
    series = Series("decision", zeros, zeros, zeros, zeros, zeros)
    assert not evidence(
        series, windows(Around.of(running_sums([series]), np.array([10]), 60), [series]), np.ones(2), np.ones(2)
    ).any()
    assert dispersion_of(series)[0].tolist() == [1.0, 1.0]


def test_more_charts_and_a_smaller_budget_ask_for_more_evidence() -> None:
    def needed(payers: int, budget: float, scans: int) -> float:
        return threshold("denial_rate", dict.fromkeys(SIGNALS, payers), budget, scans, worsening=True)

    assert needed(60, 1.0, 2) > needed(30, 1.0, 2) > needed(30, 10.0, 2)
    assert needed(60, 1.0, 2) > needed(60, 1.0, 1)
    assert 3.5 < needed(10, 1.0, 2) < 4.5


def test_a_change_for_the_better_needs_more_evidence_but_for_the_mix_which_has_no_direction() -> None:
    counts = dict.fromkeys(SIGNALS, 10)
    better, worse = (
        {signal: threshold(signal, counts, 1.0, 1, worsening=worsening) for signal in SIGNALS}
        for worsening in (False, True)
    )
    assert [signal for signal in SIGNALS if better[signal] <= worse[signal]] == ["procedure_mix"]


def test_a_customer_with_few_payers_is_not_alarmed_more_often_by_each() -> None:
    few, more = (threshold("volume", dict.fromkeys(SIGNALS, payers), 1.0, 1, worsening=True) for payers in (1, 25))
    assert few == more


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_q_values_are_benjamini_hochberg(values: list[float]) -> None:
    p = np.array(values)
    assert np.allclose(false_discovery(p), false_discovery_control(p))


@given(st.floats(0, 12), st.floats(0, 12))
def test_p_values_fall_with_the_evidence(first: float, second: float) -> None:
    low, high = sorted((first, second))
    p = look_p_value(np.array([low, high, -high]), 2)
    assert 1 >= p[0] >= p[1] >= 0
    assert p[1] == p[2]


@pytest.mark.parametrize("first", range(7))
def test_dispersion_is_that_of_whole_weeks_whatever_day_they_begin_on(first: int) -> None:
    rng = np.random.default_rng(2)
    week = (np.arange(364) + first) // 7
    level = np.exp(rng.normal(0, 0.25, (50, 54)))[:, week]
    observed = rng.poisson(8.0 * level).astype(float)
    expected = np.full(observed.shape, 8.0)
    series = Series("decision", observed, expected, expected, observed, None)
    found = dispersion(running_sums([series]), [series])[0][0].mean()
    assert found == pytest.approx(1 + 56 * 0.25**2, rel=0.15)
