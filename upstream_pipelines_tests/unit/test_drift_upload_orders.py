"""A look at a past day gives the same whenever it is made, in whatever files and order the lines came.

The likeliest leak is a pool, a calendar of files or a scale that learns from rows the day could not know yet.
"""

from __future__ import annotations

import math
from datetime import date, timedelta
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import event as note
from hypothesis import given, settings
from hypothesis import strategies as st

from upstream_pipelines.drift.activity import activity_from_claims
from upstream_pipelines.drift.detector import Detector
from upstream_pipelines.drift.events import DriftEvent
from upstream_pipelines.drift.figures import figures_of

START = date(2024, 1, 1)  # a Monday
DAYS = 210
CHANGED = 120
LOOKS = st.lists(st.integers(90, DAYS + 30), min_size=2, max_size=3, unique=True).map(sorted)


@cache
def history() -> pd.DataFrame:
    """Alpha slows down by ten days and pays a fifth less; Beta denies more; Omega and a code appear late."""
    rng = np.random.default_rng(4)
    frames = []
    for name, first, lines in (("Alpha", 0, 14.0), ("Beta", 0, 8.0), ("Omega", 140, 10.0)):
        day = np.arange(first, DAYS)
        submitted = np.repeat(day, rng.poisson(lines * (day % 7 < 5)))
        count, after = len(submitted), (submitted >= CHANGED) & (name == "Alpha")
        denied = rng.random(count) < np.where((submitted >= CHANGED) & (name == "Beta"), 0.35, 0.15)
        code = np.where((submitted > 160) & (rng.random(count) < 0.3), 2, rng.integers(0, 2, count))
        frames.append(
            pd.DataFrame(
                {
                    "payer": name,
                    "cpt": np.array(["99213", "70553", "NEW"])[code],
                    "submitted": submitted,
                    "decided": submitted + np.ceil(rng.gamma(4.0, 3.0, count) + 10 * after).astype(int),
                    "outcome": np.where(denied, "DENIED", "PAID"),
                    "denial_reason_code": np.where(
                        denied, np.where(rng.random(count) < 0.3, "CO-197", "CO-16"), ""
                    ),
                    "billed_amount": 200.0,
                    "allowed_amount": np.where(
                        denied, 0.0, np.where(after, 80, 100) * rng.uniform(0.9, 1.1, count)
                    ),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


@st.composite
def uploads(draw: st.DrawFn) -> pd.DataFrame:
    """The history in files of random days. A line, or its decision, may miss files, or never come at all."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    widest = draw(st.sampled_from([1, 2, 4, 8, 25]))
    files = np.cumsum(rng.integers(1, widest + 1, DAYS + 30))
    files = files[files <= draw(st.integers(150, DAYS + 30))]
    missed = draw(st.sampled_from([0.0, 0.05, 0.5]))
    longest = draw(st.integers(1, 6))
    claims = history()

    def seen(day: np.ndarray) -> np.ndarray:
        late = np.where(rng.random(len(day)) < missed, rng.integers(0, longest + 1, len(day)), 0)
        number = np.searchsorted(files, day) + late
        return np.where(number < len(files), files[np.minimum(number, len(files) - 1)], 10_000)

    first = seen(claims["submitted"].to_numpy())
    return claims.assign(first_seen=first, decision_seen=seen(np.maximum(claims["decided"], first)))


def frame(claims: pd.DataFrame, before: int, order: int | None = None) -> pd.DataFrame:
    """What the claims table holds on the morning of day `before`: later lines are not there, later decisions pending."""
    known = claims[claims["first_seen"] < before]
    if order is not None:
        known = known.sample(frac=1, random_state=order)
    undecided = known["decision_seen"] >= before

    def day(name: str) -> pd.Series:
        return pd.Timestamp(START) + pd.to_timedelta(known[name], unit="D")

    return known.drop(columns=["submitted", "decided", "first_seen", "decision_seen"]).assign(
        submitted_date=day("submitted"),
        first_seen_at=day("first_seen"),
        decided_date=day("decided").mask(undecided),
        decision_seen_at=day("decision_seen").mask(undecided),
        outcome=known["outcome"].mask(undecided, "PENDING"),
        denial_reason_code=known["denial_reason_code"].mask(undecided),
        allowed_amount=known["allowed_amount"].mask(undecided),
    )


Looked = tuple[list[dict[str, Any]], list[dict[str, Any]]]


def look(detector: Detector, day: int, live: list[DriftEvent]) -> tuple[Looked, list[DriftEvent]]:
    result = detector.look(START + timedelta(days=day), live)
    renewed = {event.event_id: event for event in [*live, *result.events]}
    return (result.records, [event.model_dump() for event in result.events]), list(renewed.values())


def figures_on(detector: Detector, day: int) -> pd.DataFrame:
    figures = figures_of(detector, detector.charts(START + timedelta(days=day)))
    return figures[figures["payer"].isin(["Alpha", "Beta"])].reset_index(drop=True)


def same(one: Any, other: Any) -> bool:
    """Equal, numbers to the last few bits: sums of amounts depend on the order of their lines."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9) or (math.isnan(one) and math.isnan(other))
    return bool(one == other)


@settings(max_examples=14, deadline=None)
@given(uploads(), LOOKS, st.integers(0, 2**32 - 1))
def test_a_past_look_is_the_same_in_any_order_of_uploads_and_whatever_came_later(
    claims: pd.DataFrame, looks: list[int], order: int
) -> None:
    whole = [Detector(*activity_from_claims(frame(claims, 9_999, shuffling))) for shuffling in (None, order)]
    live: list[DriftEvent] = []
    for day in looks:
        known = Detector(*activity_from_claims(frame(claims, day)))
        (then, renewed), figures = look(known, day, live), figures_on(known, day)
        for detector in whole:
            later, _ = look(detector, day, live)
            assert same(then, later), (day, then, later)
            pd.testing.assert_frame_equal(figures, figures_on(detector, day), rtol=1e-9)
        live = renewed
        for row in then[0]:
            note(str(row["state"]))


def test_the_history_opens_events_so_that_there_is_something_to_compare() -> None:
    claims = history().assign(first_seen=history()["submitted"], decision_seen=history()["decided"])
    records = Detector(*activity_from_claims(frame(claims, 9_999))).look(START + timedelta(days=190)).records
    assert {row["signal"] for row in records if row["state"] == "open"} >= {"decision_lag", "allowed_amount"}
