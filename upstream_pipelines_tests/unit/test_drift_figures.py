"""Figures of each payer at equal maturity, and the chart of them."""

from __future__ import annotations

import re
import struct
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from upstream_pipelines.drift.activity import activity_from_claims
from upstream_pipelines.drift.chart import drift_chart
from upstream_pipelines.drift.detector import Detector
from upstream_pipelines.drift.figures import figures_of, wilson
from upstream_pipelines.drift.life_table import days_until, median_of

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
    detector = Detector(*activity_from_claims(customer()))
    return figures_of(detector, detector.charts(START + timedelta(days=300)))


def test_figures_compare_both_sides_at_the_same_maturity(figures: pd.DataFrame) -> None:
    """A current block of which slow denials are not in yet must not look better than a baseline that has them all."""
    row = figures[(figures["payer"] == "Alpha") & (figures["signal"] == "denial_rate")].iloc[0]
    assert row["baseline"] < 0.07
    assert row["current_low"] <= row["baseline"] <= row["current_high"]
    assert row["baseline_low"] < row["baseline"] < row["baseline_high"]
    assert 0.3 <= row["maturity"] < 1
    said = f"days, {100 * row['maturity']:.0f} % of the lines sent in them are decided"
    assert row["status"].replace("\N{NO-BREAK SPACE}", " ").endswith(said)


def test_what_waits_for_no_decision_shows_the_decided_share_and_calls_nothing_complete(
    figures: pd.DataFrame,
) -> None:
    alpha = figures[figures["payer"] == "Alpha"].set_index("signal")
    others = alpha.loc[["decision_lag", "allowed_amount", "volume", "procedure_mix"]]
    assert others["status"].str.contains("counted as they come").all()
    assert others["maturity"].tolist() == [alpha["maturity"]["denial_rate"]] * 4


def test_figures_of_time_and_price_are_those_put_in(figures: pd.DataFrame) -> None:
    alpha = figures[figures["payer"] == "Alpha"].set_index("signal")
    lag, price = alpha.loc["decision_lag"], alpha.loc["allowed_amount"]
    assert lag["baseline"] == pytest.approx(10.2, abs=0.8)
    assert lag["current_low"] < lag["baseline"] < lag["current_high"]
    assert (price["baseline"], price["current"]) == (1.0, pytest.approx(1.0, abs=0.02))
    assert price["current_low"] < 1 < price["current_high"]


def test_of_decision_times_the_late_ones_are_said_beside_the_median(figures: pd.DataFrame) -> None:
    rows = customer()
    took = (rows["decided_date"] - rows["submitted_date"]).dt.days[rows["payer"] == "Alpha"]
    lag = figures[(figures["payer"] == "Alpha") & (figures["signal"] == "decision_lag")].iloc[0]
    said = re.search(
        r"90 % are decided within (\d+) days, (\d+) before$", lag["status"].replace("\N{NO-BREAK SPACE}", " ")
    )
    assert said is not None
    now, before = map(int, said.groups())
    assert before == pytest.approx(took.quantile(0.9), abs=1.5)
    assert now == pytest.approx(before, abs=3)


def test_what_is_never_decided_has_no_day_by_which_it_is() -> None:
    hazard = np.array([0.0, 0.3, 0.3])  # half are open still
    assert days_until(hazard, 0.5) == pytest.approx(2.46, abs=0.01)
    assert days_until(hazard, 0.9) is None
    nine_in_ten = np.array([0.3, 30 / 70, 30 / 40, 0.0, 0.0, 1.0])  # and the tenth three days later
    assert days_until(nine_in_ten, 0.9) == pytest.approx(2.5)
    assert median_of(np.array([0.1, 0.1])) == 2.0, "the longest age that is looked at"
    assert median_of(np.array([1.0])) == 0.0


def test_a_payer_with_too_little_has_a_status_and_no_figures(figures: pd.DataFrame) -> None:
    tiny = figures[figures["payer"] == "Tiny $1"]
    assert len(tiny) == 6
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
