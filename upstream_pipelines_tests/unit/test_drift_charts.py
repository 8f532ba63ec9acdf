"""Candidate changes: few of them, and the day sharpened where it matters."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from upstream_pipelines.drift.activity import activity_from_claims
from upstream_pipelines.drift.charts import Chart
from upstream_pipelines.drift.detector import Detector
from upstream_pipelines.drift.facts import Floats
from upstream_pipelines.drift.scan import evidence, running_sums, windows
from upstream_pipelines.drift.settings import DriftSettings, Signal
from upstream_pipelines.drift.submissions import mix_evidence, mix_windows
from upstream_pipelines_tests.unit.test_drift_replay import CHANGED, START, Payer, simulate

SETTINGS = DriftSettings()


@pytest.fixture(scope="module")
def charts() -> dict[Signal, Chart]:
    claims = simulate(3, [Payer("Alpha", then_denial=0.2), Payer("Beta")], days=CHANGED + 75)
    return dict(Detector(*activity_from_claims(claims)).charts(START + timedelta(days=CHANGED + 70)).by_signal)


def every_day(chart: Chart, at: int, payer: int, sign: int) -> Floats:
    """The evidence of each of the days that may be found, day by day."""
    lengths = np.arange(SETTINGS.shortest_change_days, SETTINGS.change_days + 1)
    if chart.mix is not None:
        before, since = mix_windows(chart.mix, lengths, SETTINGS.baseline_days)
        found: Floats = mix_evidence(before, since, chart.dispersion, chart.freedom)[payer]
    else:
        series = chart.series[at]
        sums = windows(running_sums([series]), [series], lengths, SETTINGS.baseline_days)
        found = sign * evidence(series, sums, chart.dispersion, chart.freedom)[payer]
    return found


def test_candidates_are_daily_for_four_weeks_and_then_a_fourteenth_apart(charts: dict[Signal, Chart]) -> None:
    lengths = charts["denial_rate"].lengths
    assert lengths[0] == SETTINGS.shortest_change_days
    assert lengths[-1] == SETTINGS.change_days
    apart = np.diff(lengths)
    assert set(apart[lengths[:-1] < 28]) == {1}
    assert (apart <= np.maximum(1, lengths[:-1] / 14)).all()
    assert len(lengths) <= 52


@pytest.mark.parametrize("signal", ["denial_rate", "decision_lag", "allowed_amount", "volume", "procedure_mix"])
def test_a_candidate_is_sharpened_to_the_best_day_around_it(charts: dict[Signal, Chart], signal: Signal) -> None:
    chart, gaps = charts[signal], 0
    for payer in range(2):
        for sign in (1, -1):
            for at in range(len(chart.z)):
                daily = every_day(chart, at, payer, sign)
                for column in range(len(chart.lengths)):
                    found = float(daily[chart.lengths[column] - SETTINGS.shortest_change_days]), at, column
                    z, length = chart.sharpened(payer, sign, found, SETTINGS.baseline_days)
                    low, high = (
                        chart.lengths[max(column - 1, 0)],
                        chart.lengths[min(column + 1, len(chart.lengths) - 1)],
                    )
                    inside = np.arange(low + (column > 0), high + (column + 1 == len(chart.lengths)))
                    best = daily[inside - SETTINGS.shortest_change_days].max()
                    assert z == pytest.approx(best, abs=1e-9)
                    assert daily[length - SETTINGS.shortest_change_days] == pytest.approx(z, abs=1e-9)
                    gaps += len(inside) > 1
    assert gaps > 20


def test_the_change_of_the_denial_rate_is_dated_near_the_day_it_was_put_in(charts: dict[Signal, Chart]) -> None:
    chart = charts["denial_rate"]
    z, at, column = (part[0] for part in chart.strongest(1))
    _, length = chart.sharpened(0, 1, (float(z), int(at), int(column)), SETTINGS.baseline_days)
    assert abs(length - 70) <= 10
