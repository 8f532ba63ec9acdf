"""What people see of drift: figures at equal maturity, the chart, the sentences."""

from __future__ import annotations

import struct
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from upstream_pipelines.drift.activity import activity_from_claims
from upstream_pipelines.drift.chart import drift_chart
from upstream_pipelines.drift.detector import Detector
from upstream_pipelines.drift.explanation import describe
from upstream_pipelines.drift.figures import payer_figures, wilson

START = date(2025, 1, 6)


def customer(seed: int = 1) -> pd.DataFrame:
    """Alpha denies 10 %, three times slower than it pays; Tiny has a line a week. Nothing changes."""
    rng = np.random.default_rng(seed)
    submitted = np.repeat(np.arange(300), 40)
    denied = rng.random(len(submitted)) < 0.1
    decided = submitted + rng.gamma(4, np.where(denied, 30, 10) / 4).round().astype(int)
    alpha = pd.DataFrame({"payer": "Alpha", "submitted": submitted, "decided": decided, "denied": denied})
    week = np.arange(0, 300, 7)
    tiny = pd.DataFrame({"payer": "Tiny $1", "submitted": week, "decided": week + 9, "denied": False})
    both = pd.concat([alpha, tiny], ignore_index=True)
    return pd.DataFrame(
        {
            "payer": both["payer"],
            "cpt": "99213",
            "submitted_date": pd.Timestamp(START) + pd.to_timedelta(both["submitted"], unit="D"),
            "decided_date": pd.Timestamp(START) + pd.to_timedelta(both["decided"], unit="D"),
            "outcome": np.where(both["denied"], "DENIED", "PAID"),
            "billed_amount": 200.0,
            "allowed_amount": np.where(both["denied"], 0.0, 100 * np.exp(rng.normal(0, 0.1, len(both)))),
        }
    )


@pytest.fixture(scope="module")
def figures() -> pd.DataFrame:
    return payer_figures(Detector(*activity_from_claims(customer())), START + timedelta(days=300))


def test_figures_compare_both_sides_at_the_same_maturity(figures: pd.DataFrame) -> None:
    """A current block of which slow denials are not in yet must not look better than a baseline that has them all."""
    row = figures[(figures["payer"] == "Alpha") & (figures["signal"] == "denial_rate")].iloc[0]
    assert row["baseline"] < 0.07
    assert row["current_low"] <= row["baseline"] <= row["current_high"]
    assert row["baseline_low"] < row["baseline"] < row["baseline_high"]
    assert 0.3 <= row["maturity"] < 1
    assert f"{row['maturity']:.0%} complete" in row["status"]


def test_figures_of_time_and_price_are_those_put_in(figures: pd.DataFrame) -> None:
    alpha = figures[figures["payer"] == "Alpha"].set_index("signal")
    lag, price = alpha.loc["decision_lag"], alpha.loc["allowed_amount"]
    assert lag["baseline"] == pytest.approx(10.2, abs=0.8)
    assert lag["current_low"] < lag["baseline"] < lag["current_high"]
    assert (price["baseline"], price["current"]) == (1.0, pytest.approx(1.0, abs=0.02))
    assert price["current_low"] < 1 < price["current_high"]


def test_a_payer_with_too_little_has_a_status_and_no_figures(figures: pd.DataFrame) -> None:
    tiny = figures[figures["payer"] == "Tiny $1"]
    assert len(tiny) == 3
    assert tiny["current"].isna().all()
    assert tiny["status"].str.startswith("not enough data").all()


def test_the_interval_of_a_rate_widens_with_over_dispersion_and_stays_within_bounds() -> None:
    _, low, high = wilson(0, 50, 1.0)
    assert low == 0.0
    assert high == pytest.approx(0.071, abs=0.001)
    _, low_wide, high_wide = wilson(10, 100, 4.0)
    assert low_wide < wilson(10, 100, 1.0)[1]
    assert high_wide > wilson(10, 100, 1.0)[2]


def test_the_chart_is_a_png_of_900_pixels(figures: pd.DataFrame) -> None:
    for rows in (figures, figures[figures["payer"] == "Tiny $1"], figures.iloc[:0]):
        picture = drift_chart(rows, "Acme $5 & more: drift")
        assert picture.startswith(b"\x89PNG")
        assert struct.unpack(">I", picture[16:20])[0] == 900


ROW: dict[str, Any] = {
    "payer": "Alpha", "signal": "denial_rate", "direction": "worsening", "state": "open", "baseline": 0.1,
    "current": 0.153, "effect": 0.053, "q_value": 0.0004, "n_baseline": 4200, "n_current": 910, "maturity": 0.72,
    "detail": {"change_date": "2026-03-05", "waits_for": "persistence"},
}  # fmt: skip


def test_an_event_is_told_with_size_date_certainty_completeness_and_lines() -> None:
    told = describe(ROW)
    for part in ("Alpha: denial rate rose from 10.0% to 15.3%", "March 5, 2026", "worsening", "under 0.1 %",
                 "72% complete", "910 decided lines", "4,200"):  # fmt: skip
        assert part in told
    slower = describe({**ROW, "signal": "decision_lag", "baseline": 14.0, "current": 21.0, "effect": 7.0})
    assert "median decision time rose from 14 to 21 days" in slower
    price = describe({**ROW, "signal": "allowed_amount", "effect": -0.048, "q_value": 0.02, "maturity": None})
    assert "fell by 4.8%" in price
    assert "about 2.0%" in price
    assert "complete" not in price


def test_every_state_is_told_as_what_it_is() -> None:
    assert "Only watched: a single week" in describe({**ROW, "state": "watch"})
    assert "back at the baseline" in describe({**ROW, "state": "resolved"})
    renewed = describe({**ROW, "state": "resolved", "detail": {"reason": "became_the_normal"}})
    assert "new normal" in renewed
    lacking = {
        "lines_needed": 42, "about_date": "2026-05-01", "smallest_detectable": 0.19, "reason": "too_few_lines",
    }  # fmt: skip
    told = describe({**ROW, "state": "not_enough_data", "baseline": None, "detail": lacking})
    assert "42 more decided lines" in told
    assert "May 1, 2026" in told
    assert "19 points" in told
    stopped = describe({**ROW, "state": "not_enough_data", "detail": {**lacking, "about_date": None}})
    assert "none come at present" in stopped
