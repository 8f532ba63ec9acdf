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
from upstream_pipelines.drift.explanation import NAMES, describe, facts_of, headline
from upstream_pipelines.drift.figures import figures_of, wilson
from upstream_pipelines.drift.units import rounded_dollars

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
    assert f"{row['maturity']:.0%} complete" in row["status"]


def test_what_waits_for_no_decision_shows_the_decided_share_and_calls_nothing_complete(
    figures: pd.DataFrame,
) -> None:
    alpha = figures[figures["payer"] == "Alpha"].set_index("signal")
    others = alpha.loc[["decision_lag", "allowed_amount", "volume", "procedure_mix"]]
    assert others["status"].str.endswith("counted as they come").all()
    assert others["maturity"].tolist() == [alpha["maturity"]["denial_rate"]] * 4


def test_figures_of_time_and_price_are_those_put_in(figures: pd.DataFrame) -> None:
    alpha = figures[figures["payer"] == "Alpha"].set_index("signal")
    lag, price = alpha.loc["decision_lag"], alpha.loc["allowed_amount"]
    assert lag["baseline"] == pytest.approx(10.2, abs=0.8)
    assert lag["current_low"] < lag["baseline"] < lag["current_high"]
    assert (price["baseline"], price["current"]) == (1.0, pytest.approx(1.0, abs=0.02))
    assert price["current_low"] < 1 < price["current_high"]


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


ROW: dict[str, Any] = {
    "payer": "Alpha", "signal": "denial_rate", "direction": "worsening", "state": "open", "baseline": 0.1,
    "current": 0.153, "effect": 0.053, "q_value": 0.0004, "n_baseline": 4200, "n_current": 910, "maturity": 0.72,
    "severity": 0.5, "cause": "payer",
    "detail": {
        "change_date": "2026-03-05", "change_date_low": "2026-02-26", "change_date_high": "2026-03-11",
        "complete_to": "2026-04-30", "confidence": 0.9996, "waits_for": "persistence",
        "money": {"per_month": 12034.0, "low": 8112.0, "high": 15999.0, "delayed": None, "gain": False},
        "explanation": {
            "unit": "share of decided lines", "change": 0.055,
            "parts": {"rate": 0.05, "mix": 0.002, "maturity": 0.003},
            "by": {
                "cpt_group": [
                    {"name": "Imaging", "total": 0.04, "share": 0.3}, {"name": "Visits", "total": 0.012, "share": 0.7},
                ],
                "facility": [
                    {"name": "North", "total": 0.01, "share": 0.1}, {"name": "South", "total": 0.009, "share": 0.1},
                ],
                "denial_code": [
                    {"name": "CO-197", "total": 0.05, "share": 0.9}, {"name": "CO-16", "total": 0.002, "share": 0.1},
                ],
            },
        },
    },
}  # fmt: skip


def told(**changes: Any) -> str:
    return describe({**ROW, **changes}).replace("\N{NO-BREAK SPACE}", " ")


def test_an_event_says_what_changed_since_when_how_sure_how_complete_and_what_it_costs() -> None:
    text = told()
    for part in (
        "Alpha denies more: 15.3 % of decided lines, up from 10.0 %, since about March 5, 2026 (Feb 26 to Mar 11).",
        "This costs about $12,000 a month ($8,100 to $16,000).",
        "+5.0 points on lines of the same kind, +0.2 points from another mix of procedures",
        "The largest part comes from CPT group Imaging (+4.0 points), denial code CO-197 (+5.0 points).",
        "How sure: very sure, of the charts that show at least as much today under 0.1 % would do so by chance.",
        "Based on 910 decided lines against 4,200 before; complete: 72 % of the lines sent since then are decided,",
        "counted up to April 30, 2026.",
    ):
        assert part in text
    assert "facility" not in text  # no facility carries a quarter of it


@pytest.mark.parametrize(
    ("first", "second", "named"),
    [
        ({"total": -47.0, "share": 0.5}, {"total": -47.0, "share": 0.5}, False),  # everywhere
        (
            {"total": -60.0, "share": 0.5},
            {"total": -34.0, "share": 0.5},
            False,
        ),  # 64 % of the change, half the lines
        ({"total": -60.0, "share": 0.4}, {"total": -34.0, "share": 0.6}, True),
        ({"total": -80.0, "share": 0.7}, {"total": -14.0, "share": 0.3}, True),  # nearly all of it
        ({"total": -80.0}, {"total": -14.0}, True),
        ({"total": -60.0}, {"total": -34.0}, False),  # told before shares were kept
        ({"total": 60.0, "share": 0.1}, {"total": -154.0, "share": 0.9}, False),  # the other way
    ],
)
def test_the_largest_part_is_named_only_where_it_stands_out(
    first: dict[str, Any], second: dict[str, Any], named: bool
) -> None:
    explanation = {
        "unit": "lines a week", "change": -94.0, "parts": {},
        "by": {"facility": [{"name": "South Clinic", **first}, {"name": "North Clinic", **second}]},
    }  # fmt: skip
    row = {**ROW, "signal": "volume", "detail": {**ROW["detail"], "explanation": explanation}}
    assert ("South Clinic" in describe(row)) is named
    assert ("Comes from" in dict(facts_of(row))) is named


def test_what_was_never_priced_is_not_said_to_lack_amounts() -> None:
    """Events of an earlier release have no money with them, whatever the source sends."""
    detail = {name: value for name, value in ROW["detail"].items() if name != "money"}
    assert "Costs" not in dict(facts_of({**ROW, "detail": detail}))
    assert "amounts" not in describe({**ROW, "detail": detail})


@pytest.mark.parametrize(
    ("signal", "said"),
    [("authorization_denials", "no denials for authorization so far"), ("denial_rate", "no denials so far")],
)
def test_a_payer_that_denied_nothing_so_far_needs_no_more_lines(signal: str, said: str) -> None:
    lacking = {"lines_needed": 0, "about_date": None, "smallest_detectable": None, "reason": "no_such_denials"}
    text = told(signal=signal, state="not_enough_data", baseline=None, detail=lacking)
    assert text.endswith(f"cannot be judged: {said}.")


def test_what_is_not_known_of_how_sure_is_not_said() -> None:
    assert "How sure: very sure. " in told(q_value=None)
    assert "How sure" not in told(q_value=float("nan"), detail={"change_date": "2026-03-05"})
    assert "about 12.0 % would do so by chance" in told(q_value=0.12)


@pytest.mark.parametrize("signal", ["decision_lag", "allowed_amount", "volume", "procedure_mix"])
def test_what_waits_for_no_decision_is_not_called_complete(signal: str) -> None:
    text = told(signal=signal, maturity=1.0)
    assert "before; counted as they come, up to April 30, 2026." in text
    assert "100 %" not in text
    assert dict(facts_of({**ROW, "signal": signal, "maturity": 1.0}))["Complete"].startswith(
        "counted as they come"
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"signal": "decision_lag", "baseline": 14.0, "current": 21.0, "effect": 7.0},
         "Alpha decides later: half of the lines are decided after 21 days, up from 14"),
        ({"signal": "allowed_amount", "baseline": 1.0, "current": 0.95, "effect": -0.05},
         "Alpha allows less for the same procedures: 5.0 % less than before"),
        ({"signal": "volume", "baseline": 260.0, "current": 180.0, "effect": -0.308},
         "Fewer claim lines go to Alpha: 180 a week where 260 were to be expected (-30.8 %)"),
        ({"signal": "procedure_mix", "baseline": 0.0, "current": 0.12, "effect": -0.06},
         "Lower-valued procedures are billed to Alpha: 12 % of the lines are others than before, 6.0 % fewer dollars"),
        ({"signal": "authorization_denials", "baseline": 0.02, "current": 0.05, "effect": 0.03},
         "Alpha denies more for missing authorization: 5.0 % of decided lines, up from 2.0 %"),
        ({"direction": "improving", "current": 0.05, "effect": -0.05},
         "Alpha denies less: 5.0 % of decided lines, down from 10.0 %"),
    ],
)  # fmt: skip
def test_each_signal_has_its_own_words(changes: dict[str, Any], said: str) -> None:
    assert told(**changes).startswith(said)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "Alpha denies more: 10.0 % → 15.3 %, about $12,000 a month"),
        ({"signal": "decision_lag", "baseline": 14.0, "current": 21.0, "effect": 7.0},
         "Alpha decides later: 14.0 → 21.0 days, about $12,000 a month"),
        ({"signal": "volume", "baseline": 260.0, "current": 180.0, "effect": -0.308},
         "Fewer claim lines go to Alpha: 260 → 180 lines a week, about $12,000 a month"),
    ],
)  # fmt: skip
def test_the_headline_has_payer_signal_size_and_money(changes: dict[str, Any], said: str) -> None:
    assert headline({**ROW, **changes}).replace("\N{NO-BREAK SPACE}", " ") == said
    ended = headline({**ROW, **changes, "state": "resolved"}, "resolved")
    assert ended.startswith(f"Resolved: Alpha: {NAMES[changes.get('signal', 'denial_rate')]} is ")


def test_a_change_of_the_data_says_so_first_and_costs_nothing() -> None:
    row = {**ROW, "cause": "data", "detail": {**ROW["detail"], "data_reasons": ["late_file"]}}
    assert headline(row, "open", "data").startswith("Data, not payer: Alpha denies more")
    assert "$" not in headline(row, "open", "data")
    assert "Data, not payer: Many of the claims" in describe(row)
    assert "$" not in describe(row)


def test_facts_are_at_most_what_a_slack_section_holds_and_name_the_money() -> None:
    facts = facts_of(ROW)
    assert len(facts) <= 10
    assert dict(facts)["Costs"] == "about $12,000 a month ($8,100 to $16,000)"
    unpriced = {**ROW, "detail": {**ROW["detail"], "money": None}}
    assert "no amounts" in dict(facts_of(unpriced))["Costs"]


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0.3, "$0"), (7.4, "$7"), (12.6, "$13"), (1249, "$1,200"), (99_600, "$100,000"), (-5130, "-$5,100")],
)
def test_dollars_for_people_have_two_digits(amount: float, text: str) -> None:
    assert rounded_dollars(amount) == text


def test_every_state_is_told_as_what_it_is() -> None:
    assert "Only watched, no alarm: a single week" in told(state="watch")
    assert "back at the baseline" in told(state="resolved")
    renewed = told(state="resolved", detail={"reason": "became_the_normal"})
    assert "new normal" in renewed
    closed = {"payer": "Alpha", "signal": "volume", "state": "resolved", "detail": {"reason": "payer_gone"}}
    assert "no claims bear this payer's name" in describe(closed)
    assert headline(closed, "resolved") == "Resolved: Alpha: claim volume is no longer compared"
    lacking = {
        "lines_needed": 42, "about_date": "2026-05-01", "smallest_detectable": 0.19, "reason": "too_few_lines",
    }  # fmt: skip
    text = told(state="not_enough_data", baseline=None, detail=lacking)
    assert "42 more decided lines" in text
    assert "May 1, 2026" in text
    assert "19 points" in text
    stopped = told(state="not_enough_data", detail={**lacking, "about_date": None})
    assert "none come at present" in stopped
