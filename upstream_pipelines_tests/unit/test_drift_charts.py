"""Candidate changes: few of them, and the day sharpened where it matters."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from upstream_pipelines.drift.activity import activity_from_claims
from upstream_pipelines.drift.charts import Chart
from upstream_pipelines.drift.detector import Detector
from upstream_pipelines.drift.settings import SIGNALS, DriftSettings, Signal
from upstream_pipelines_tests.unit.test_drift_replay import CHANGED, START, Payer, simulate

SETTINGS = DriftSettings()


def charts_of_a_look(lines: float) -> dict[Signal, Chart]:
    payers = [Payer("Alpha", lines=lines, then_denial=0.2), Payer("Beta", lines=lines)]
    claims = simulate(3, payers, days=CHANGED + 75)
    return dict(Detector(*activity_from_claims(claims)).charts(START + timedelta(days=CHANGED + 70)).by_signal)


@pytest.fixture(scope="module", params=[50.0, 2.0], ids=["many lines", "few lines"])
def both(request: pytest.FixtureRequest) -> tuple[dict[Signal, Chart], dict[Signal, Chart]]:
    """The charts of a look, and the same with every day a candidate."""
    coarse = charts_of_a_look(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("upstream_pipelines.drift.charts.CANDIDATES_APART", 10**6)
        return coarse, charts_of_a_look(request.param)


@pytest.fixture(scope="module")
def charts() -> dict[Signal, Chart]:
    return charts_of_a_look(50.0)


def test_candidates_are_daily_for_four_weeks_and_then_a_fourteenth_apart(charts: dict[Signal, Chart]) -> None:
    lengths = charts["denial_rate"].lengths
    assert lengths[0] == SETTINGS.shortest_change_days
    assert lengths[-1] == SETTINGS.change_days
    apart = np.diff(lengths)
    assert set(apart[lengths[:-1] < 28]) == {1}
    assert (apart <= np.maximum(1, lengths[:-1] / 14)).all()
    assert len(lengths) <= 52


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_candidate_is_sharpened_to_the_best_day_around_it_that_may_be_compared(
    both: tuple[dict[Signal, Chart], dict[Signal, Chart]], signal: Signal
) -> None:
    chart, daily = (charts[signal] for charts in both)
    first, last = SETTINGS.shortest_change_days, SETTINGS.change_days
    assert daily.lengths.tolist() == list(range(first, last + 1))
    for payer in range(2):
        for sign in (1, -1):
            for at in range(len(chart.z)):
                every = np.where(daily.valid[at][payer], sign * daily.z[at][payer], -np.inf)
                for column, length in enumerate(chart.lengths):
                    found = float(every[length - first]), at, column
                    low, high = (
                        chart.lengths[max(column - 1, 0)],
                        chart.lengths[min(column + 1, len(chart.lengths) - 1)],
                    )
                    around = every[low + (column > 0) - first : high + (length == last) - first]
                    z, day = chart.sharpened(payer, sign, found, SETTINGS)
                    assert z == pytest.approx(around.max(), abs=1e-9)
                    assert every[day - first] == pytest.approx(z, abs=1e-9)


def test_the_change_of_the_denial_rate_is_dated_near_the_day_it_was_put_in(charts: dict[Signal, Chart]) -> None:
    chart = charts["denial_rate"]
    z, at, column = (part[0] for part in chart.strongest(1))
    _, length = chart.sharpened(0, 1, (float(z), int(at), int(column)), SETTINGS)
    assert abs(length - 70) <= 10
