from __future__ import annotations

import tracemalloc
from dataclasses import fields
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from upstream_pipelines.drift.activity import activity_from_claims
from upstream_pipelines.drift.counts import Counts, View
from upstream_pipelines.drift.detector import Detector
from upstream_pipelines.drift.events import DriftEvent
from upstream_pipelines.drift.factors import _of_groups
from upstream_pipelines.drift.facts import day_number, facts_from_frames
from upstream_pipelines.drift.figures import figures_of
from upstream_pipelines.drift.settings import DriftSettings

START = date(2024, 1, 1)


def test_sums_by_age_carried_from_look_to_look_are_those_counted_anew() -> None:
    """Few lines, so that one late decision moves the longest age by days, up and down."""
    back = 0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        sent = np.sort(rng.integers(0, 400, 250))
        lag = np.where(rng.random(250) < 0.03, rng.integers(15, 60, 250), rng.integers(0, 18, 250))
        day = np.datetime64(START) + sent
        claims = pd.DataFrame(
            {
                "payer": "A",
                "cpt": "1",
                "submitted_date": day,
                "decided_date": day + lag,
                "outcome": np.where(rng.random(250) < 0.2, "DENIED", "PAID"),
                "allowed_amount": 1.0,
            }
        )
        facts = facts_from_frames(*activity_from_claims(claims))
        carried, starts = Counts(facts, 120, 60, "US"), []
        for look in range(150, 400):
            as_of = day_number(START + timedelta(days=look))
            view, anew = carried.at(as_of), Counts(facts, 120, 60, "US").at(as_of)
            assert (view.start, view.ages) == (anew.start, anew.ages)
            for name in ("decided_by_age", "denied_by_age", "denied_authorization_by_age"):
                one, other = (
                    np.concatenate([part[: view.ages], part[view.ages :].sum(axis=0, keepdims=True)])
                    for part in (getattr(view, name), getattr(anew, name))
                )
                assert np.array_equal(one, other), (seed, look, name)
            starts.append(view.start)
        back += int((np.diff(starts) < 0).sum())
    assert back > 0


def test_open_lines_carried_from_look_to_look_are_those_counted_anew() -> None:
    """The likeliest slip is a day that is not counted again though its line or its decision came late."""
    rng = np.random.default_rng(3)
    sent, lag = np.sort(rng.integers(0, 300, 900)), rng.integers(0, 25, 900)
    day = np.datetime64(START) + sent
    claims = pd.DataFrame(
        {
            "payer": rng.choice(["A", "B"], 900),
            "cpt": "1",
            "submitted_date": day,
            "decided_date": day + lag,
            "first_seen_at": day + np.where(rng.random(900) < 0.02, rng.integers(1, 20, 900), 0),
            "decision_seen_at": day + lag + np.where(rng.random(900) < 0.02, rng.integers(1, 20, 900), 0),
            "outcome": "PAID",
            "allowed_amount": 1.0,
        }
    )
    facts = facts_from_frames(*activity_from_claims(claims))
    carried = Counts(facts, 120, 60, "US")
    for look in range(200, 300):
        as_of = day_number(START + timedelta(days=look))
        view, anew = carried.at(as_of), Counts(facts, 120, 60, "US").at(as_of)
        ages = slice(0, view.ages)
        assert (view.start, view.ages) == (anew.start, anew.ages)
        assert np.array_equal(view.open[ages], anew.open[ages]), look
        assert np.array_equal(view.by_kind[:, ages], anew.by_kind[:, ages]), look
        decided = view.decided[ages]
        before = np.concatenate([np.zeros_like(decided[:1]), np.cumsum(decided[:-1], axis=0)])
        there = view.start + np.arange(decided.shape[1])[None, :] + np.arange(view.ages)[:, None] <= view.horizon
        assert np.array_equal(view.open[ages], (view.total.T[None] - before) * there[:, :, None]), look


def test_arrays_moved_on_with_the_looks_are_those_counted_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A year of daily looks moves them three times; a decision long after its line must not come back into what was cut off."""
    rng = np.random.default_rng(7)
    sent, lag = np.sort(rng.integers(0, 520, 3000)), np.minimum(rng.geometric(0.1, 3000), 90)
    day = np.datetime64(START) + sent
    claims = pd.DataFrame(
        {
            "payer": rng.choice(["A", "B", "C"], 3000),
            "cpt": rng.choice(["1", "2"], 3000),
            "submitted_date": day,
            "decided_date": day + lag,
            "first_seen_at": day + np.where(rng.random(3000) < 0.02, rng.integers(1, 20, 3000), 0),
            "decision_seen_at": day + lag + np.where(rng.random(3000) < 0.02, rng.integers(1, 20, 3000), 0),
            "outcome": np.where(rng.random(3000) < 0.2, "DENIED", "PAID"),
            "denial_code": "197",
            "allowed_amount": 1.0,
        }
    )
    facts = facts_from_frames(*activity_from_claims(claims))
    carried, origins, laid_out = Counts(facts, 120, 60, "US"), set(), []
    lay_out = carried._lay_out

    def counted(as_of: int) -> None:
        laid_out.append(as_of)
        lay_out(as_of)

    monkeypatch.setattr(carried, "_lay_out", counted)
    for look in range(150, 515):
        as_of = day_number(START + timedelta(days=look))
        view, anew = carried.at(as_of), Counts(facts, 120, 60, "US").at(as_of)
        origins.add(carried._origin)
        for field in fields(View):
            one, other = getattr(view, field.name), getattr(anew, field.name)
            if field.name in ("decided", "aged_on", "open"):
                one, other = one[: view.ages], other[: view.ages]
            elif field.name == "by_kind":
                one, other = one[:, : view.ages], other[:, : view.ages]
            elif field.name.endswith("_by_age"):
                one, other = one[: view.ages - 1], other[: view.ages - 1]
            elif field.name in ("late_lines", "late_decisions"):
                one, other = one[as_of - 120 - view.late_from :][:120], other[as_of - 120 - anew.late_from :][:120]
            if field.name not in ("facts", "late_from"):
                assert np.array_equal(one, other), (look, field.name)
    assert len(origins) - len(laid_out) >= 3, (origins, laid_out)


def test_days_before_the_first_line_change_no_figure_of_a_look() -> None:
    """One payer stops after 40 days: its growth is cut off where the fit ends, which leaves a level that rests on when time
    begins.
    """
    rng = np.random.default_rng(5)
    sent, lag = np.sort(rng.integers(0, 260, 6000)), rng.integers(5, 30, 6000)
    claims = pd.DataFrame(
        {
            "payer": rng.choice(["A", "B", "C", "D"], 6000),
            "cpt": rng.choice(["1", "2", "3"], 6000),
            "submitted_date": np.datetime64(START) + sent,
            "decided_date": np.datetime64(START) + sent + lag,
            "outcome": np.where(rng.random(6000) < np.where(sent + lag > 200, 0.3, 0.1), "DENIED", "PAID"),
            "allowed_amount": 100.0,
        }
    )
    claims = claims[(claims["payer"] != "D") | (sent < 40)]
    short, whole = (Detector(*activity_from_claims(claims)) for _ in range(2))
    most = whole.settings.days_in_view
    whole._counts = Counts(whole.facts, most, most, "US")
    live: dict[Detector, list[DriftEvent]] = {short: [], whole: []}
    days, opened = [], 0
    for look in range(60, 280, 4):
        as_of = START + timedelta(days=look)
        days.append(short.view(as_of).days)
        assert whole.view(as_of).days == most
        words, figures, shown = {}, {}, {}
        for detector in (short, whole):
            found = detector.look(as_of, live[detector])
            live[detector] = found.events
            words[detector], figures[detector] = _words_and_figures(found.records)
            shown[detector] = figures_of(detector, detector.charts(as_of))
        pd.testing.assert_frame_equal(shown[short], shown[whole])
        assert words[short] == words[whole]
        assert figures[short] == pytest.approx(figures[whole], rel=1e-9, nan_ok=True)
        opened += sum(row["state"] == "open" for row in found.records)
    assert opened > 0
    assert (min(days), max(days)) == (122, 304), "whole weeks fewer than the 360 of a long history"


def test_figures_of_blocks_longer_than_the_history_are_those_of_its_days() -> None:
    rng = np.random.default_rng(6)
    sent = np.sort(rng.integers(0, 30, 1200))
    claims = pd.DataFrame(
        {
            "payer": "A",
            "cpt": "1",
            "submitted_date": np.datetime64(START) + sent,
            "decided_date": np.datetime64(START) + sent + rng.integers(0, 4, 1200),
            "outcome": "PAID",
            "allowed_amount": rng.uniform(90.0, 110.0, 1200),
        }
    )
    detector = Detector(*activity_from_claims(claims), DriftSettings(change_days=28, block_days=(14, 84, 500)))
    for look in (18, 24, 29):
        figures = figures_of(detector, detector.charts(START + timedelta(days=look)))
        prices = figures.set_index("signal").loc["allowed_amount"]
        of_both = prices["n_baseline"] + prices["n_current"]
        assert of_both <= (sent < look).sum(), "no line stands in both periods"


def _words_and_figures(rows: list[dict[str, Any]]) -> tuple[list[Any], list[float]]:
    """All that rows hold, in order: what is not a number of floating point, and those numbers."""
    values = [value for row in rows for value in (*row.values(), *row["detail"].values())]
    words = [value for value in values if not isinstance(value, (float, dict))]
    return words, [value for value in values if isinstance(value, float)]


def test_expected_denials_of_groups_are_those_of_shares_of_at_most_one() -> None:
    rng = np.random.default_rng(1)
    lines = rng.poisson(3.0, (4, 3, 50)).astype(float)
    plain, by_group = rng.uniform(0, 0.6, (4, 50)), rng.uniform(0.5, 1.5, (4, 3))
    by_group[2] = (0.3, 1.0, 3.0)
    share = np.minimum(plain[:, None] * by_group[:, :, None], 1.0)
    assert (share == 1.0).any(axis=(1, 2)).tolist() == [False, False, True, False]
    expected, variance = _of_groups(plain, by_group, lines)
    assert expected == pytest.approx((share * lines).sum(axis=1))
    assert variance == pytest.approx((share * (1 - share) * lines).sum(axis=1))


def test_one_line_decided_in_1970_costs_a_look_no_memory_and_changes_none_of_its_prices() -> None:
    rng = np.random.default_rng(11)
    sent = np.sort(rng.integers(0, 300, 8000))
    claims = pd.DataFrame(
        {
            "payer": rng.choice([f"P{number:02}" for number in range(40)], 8000),
            "cpt": rng.choice([f"9{number:04}" for number in range(200)], 8000),
            "submitted_date": np.datetime64(START) + sent,
            "decided_date": np.datetime64(START) + sent + rng.integers(5, 30, 8000),
            "outcome": "PAID",
            "allowed_amount": rng.lognormal(4.5, 0.1, 8000).round(2),
        }
    )
    old = claims.iloc[:1].assign(
        submitted_date=np.datetime64("1970-01-01", "s"), decided_date=np.datetime64("1970-01-02", "s")
    )
    series, peaks = [], []
    for known in (claims, pd.concat([old, claims], ignore_index=True)):
        detector = Detector(*activity_from_claims(known))
        tracemalloc.start()
        series.append(detector.charts(START + timedelta(days=310)).by_signal["allowed_amount"].series[0])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0], peaks
    days = series[0].observed.shape[1]
    for name in ("observed", "expected", "lines"):
        assert np.array_equal(getattr(series[0], name), getattr(series[1], name)[:, -days:]), name
