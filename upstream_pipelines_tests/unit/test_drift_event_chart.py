"""The picture of an event: points at equal maturity, on either side of the change, for each of the six signals."""

from __future__ import annotations

import struct
from datetime import date, timedelta
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest

from upstream_pipelines.demo.generator import as_known_on, synthetic_claims
from upstream_pipelines.drift.activity import activity_from_claims
from upstream_pipelines.drift.detector import Detector
from upstream_pipelines.drift.event_chart import LABELS, event_chart
from upstream_pipelines.drift.event_series import EventPoints, event_points
from upstream_pipelines.drift.facts import day_number
from upstream_pipelines.drift.flow import DAYS_PER_MONTH, dollars_per_month
from upstream_pipelines.drift.settings import DriftSettings, Signal

TODAY = date(2026, 6, 1)
CHANGE = TODAY - timedelta(days=45)
BASELINES = {
    "denial_rate": 0.1, "decision_lag": 19.7, "allowed_amount": 1.0, "volume": 225.0, "procedure_mix": 0.0,
    "authorization_denials": 0.02,
}  # fmt: skip


def _claims() -> pd.DataFrame:
    """Aetna pays 8 % less and submits half as many visits since `CHANGE`; Cigna stays as it was."""
    claims = synthetic_claims(8, TODAY, 330)
    claims = claims[claims["payer"].isin(["Aetna", "Cigna"])].reset_index(drop=True)
    aetna = claims["payer"] == "Aetna"
    claims.loc[aetna & (claims["decided_date"] >= pd.Timestamp(CHANGE)), "allowed_amount"] *= 0.92
    gone = aetna & (claims["submitted_date"] >= pd.Timestamp(CHANGE)) & claims["cpt"].isin(["99213", "99214"])
    gone &= np.random.default_rng(1).random(len(claims)) < 0.6
    return as_known_on(claims[~gone], TODAY)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(*activity_from_claims(_claims()))


def points(detector: Detector, signal: str, by: str = "decision", payer: str = "Aetna") -> EventPoints:
    baseline = BASELINES[signal]
    detail = {
        "change_date": CHANGE.isoformat(), "change_date_low": (CHANGE - timedelta(days=4)).isoformat(),
        "change_date_high": (CHANGE + timedelta(days=6)).isoformat(), "by": by, "baseline_low": baseline * 0.95,
        "baseline_high": baseline * 1.05,
    }  # fmt: skip
    row: dict[str, Any] = {"payer": payer, "signal": signal, "baseline": baseline, "detail": detail}
    return event_points(detector, detector.charts(TODAY), row)


@pytest.mark.parametrize("signal", get_args(Signal))
def test_every_signal_has_points_before_and_since_with_intervals_and_a_picture(
    detector: Detector, signal: str
) -> None:
    drawn = points(detector, signal, "submission" if signal in {"volume", "procedure_mix"} else "decision")
    rows = drawn.points
    assert (rows["first"] < CHANGE).sum() >= 15
    assert (rows["first"] >= CHANGE).sum() >= 5
    ends = [first + timedelta(days=int(days)) for first, days in zip(rows["first"], rows["days"], strict=True)]
    assert all(end <= CHANGE or first >= CHANGE for first, end in zip(rows["first"], ends, strict=True))
    assert ((rows["low"] <= rows["value"]) & (rows["value"] <= rows["high"])).all()
    picture = event_chart(drawn, "Aetna $5 & <more>: something with a very long title " * 4)
    assert picture.startswith(b"\x89PNG")
    assert struct.unpack(">II", picture[16:24]) == (900, 400)
    assert set(LABELS) == set(get_args(Signal))


def test_points_show_the_change_that_was_put_in(detector: Detector) -> None:
    price = points(detector, "allowed_amount").points
    since = price["first"] >= CHANGE
    assert price.loc[~since, "value"].mean() == pytest.approx(1.0, abs=0.01)
    assert price.loc[since, "value"].mean() == pytest.approx(0.92, abs=0.01)
    volume = points(detector, "volume", "submission").points
    since = volume["first"] >= CHANGE
    assert volume.loc[since, "value"].mean() < 0.85 * volume.loc[~since, "value"].mean()
    assert volume["expected"].std() < 0.05 * volume["expected"].mean()
    mix = points(detector, "procedure_mix", "submission").points
    assert {"99213", "99214"} <= set(mix["line"])


def test_a_code_is_named_in_a_chart_only_where_it_has_the_form_of_one_or_is_listed() -> None:
    """A source may write anything into its column of codes: a patient's name, a number of hers, a code of its own."""
    claims = synthetic_claims(8, TODAY, 330)
    odd = (claims["payer"] == "Aetna") & (claims["submitted_date"] >= pd.Timestamp(CHANGE))
    odd &= claims["cpt"].isin(["97110", "97140"])
    names = np.array(["CANARY JANE", "SSN 123-45-6789", "CLINIC7", "CLINIC7"], dtype=object)
    claims.loc[odd, "cpt"] = names[np.arange(odd.sum()) % 4]
    found = Detector(*activity_from_claims(claims))
    assert {"CANARY JANE", "SSN 123-45-6789", "CLINIC7"} <= set(found.facts.code_names)
    row: dict[str, Any] = {"payer": "Aetna", "signal": "procedure_mix", "baseline": 0.0}
    detail = {"change_date": CHANGE.isoformat(), "by": "submission", "baseline_low": 0.0, "baseline_high": 0.0}
    row["detail"] = detail | {"change_date_low": CHANGE.isoformat(), "change_date_high": CHANGE.isoformat()}
    drawn = event_points(found, found.charts(TODAY), row, frozenset({"CLINIC7"})).points
    named = set(drawn["line"])
    assert {"other codes", "CLINIC7"} <= named
    assert not any("CANARY" in name or "SSN" in name for name in named)
    since = drawn[drawn["first"] >= CHANGE].groupby("line")["value"].mean()
    assert since["other codes"] == pytest.approx(since["CLINIC7"], rel=0.1)


def test_a_payer_that_stays_the_same_shows_no_step_however_young_its_last_weeks_are(detector: Detector) -> None:
    """By submission day the last weeks are hardly decided: their points are hollow, and not low."""
    for signal in ("denial_rate", "decision_lag"):
        rows = points(detector, signal, "submission", "Cigna").points
        since = rows["first"] >= CHANGE
        assert not rows["complete"].iloc[-1]
        assert rows["complete"].iloc[0]
        ripe = rows[since & (rows["value"] > 0)]
        assert ripe["value"].mean() == pytest.approx(rows.loc[~since, "value"].mean(), rel=0.3), signal


def test_the_completeness_curves_rise_to_all_and_stop_where_nothing_is_known(detector: Detector) -> None:
    curves = points(detector, "denial_rate").curves
    assert (np.diff(curves["before"]) >= 0).all()
    assert curves["before"][-1] > 0.97
    assert len(curves["since"]) <= (TODAY - CHANGE).days
    assert np.abs(curves["since"][10:30] - curves["before"][10:30]).max() < 0.1


def test_a_change_under_the_dollar_floor_is_only_watched(detector: Detector) -> None:
    """The floor is asked only where amounts are known: nothing unknown is called small."""
    found = detector.look(TODAY).rows
    dear = found[(found["signal"] == "allowed_amount") & (found["state"] == "open")].iloc[0]
    changed = day_number(dear["detail"]["change_date"])
    cost = dollars_per_month(detector.view(TODAY), 0, "allowed_amount", float(dear["effect"]), changed)
    assert cost is not None
    for floor, state in ((0.9 * cost, "open"), (1.1 * cost, "watch")):
        lifted = DriftSettings(minimum_dollars_per_month=floor)
        rows = Detector(*activity_from_claims(_claims()), lifted).look(TODAY).rows
        row = rows[(rows["signal"] == "allowed_amount") & (rows["payer"] == "Aetna")].iloc[0]
        assert row["state"] == state
        assert row["detail"].get("waits_for") == ("dollars" if state == "watch" else None)
    bare = Detector(*activity_from_claims(_claims().drop(columns="allowed_amount")))
    assert dollars_per_month(bare.view(TODAY), 0, "volume", -0.5, changed) is None


@pytest.mark.parametrize(
    ("signal", "effect", "dollars"),
    [
        ("volume", -0.9, 0.9 * 1000 * DAYS_PER_MONTH), ("volume", 0.5, 0.5 * 1000 * DAYS_PER_MONTH),
        ("allowed_amount", -0.05, 0.05 * 1000 * DAYS_PER_MONTH), ("decision_lag", 7.0, 7000.0),
        ("denial_rate", 0.1, 10 * DAYS_PER_MONTH * 0.1 * 1000 / 8),
    ],
)  # fmt: skip
def test_the_dollars_of_a_change_are_those_of_the_days_before_it(
    signal: Signal, effect: float, dollars: float
) -> None:
    """Ten lines a day, eight of them paid 125 dollars; from the change on nine tenths stay away."""
    day = np.repeat(np.arange(200), 10)
    day = day[(day < 170) | (np.arange(len(day)) % 10 == 0)]
    place = np.arange(len(day)) % 10
    denied = (place >= 8) & (day < 170)
    claims = pd.DataFrame(
        {
            "payer": "Aetna", "submitted_date": pd.Timestamp(2025, 1, 1) + pd.to_timedelta(day, unit="D"),
            "decided_date": pd.Timestamp(2025, 1, 11) + pd.to_timedelta(day, unit="D"),
            "outcome": np.where(denied, "DENIED", "PAID"), "allowed_amount": np.where(denied, 0.0, 125.0),
        }
    )  # fmt: skip
    view = Detector(*activity_from_claims(claims)).view(date(2025, 8, 1))
    changed = day_number(date(2025, 1, 11) + timedelta(days=170))
    assert dollars_per_month(view, 0, signal, effect, changed) == pytest.approx(dollars)
    # A payer that is known for 30 days has the flow of those.
    assert dollars_per_month(view, 0, signal, effect, day_number("2025-02-10")) == pytest.approx(dollars)
