"""A change taken apart adds up to itself: for any table of lines, empty cells and one-sided classes included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upstream_pipelines.drift.decomposition import (
    split_by_reason,
    split_rate,
    split_shortfall,
    split_within,
)

EXACT = 1e-12


@st.composite
def tables(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Denied and decided lines of 2 periods, up to 4 ages and 5 classes; many cells empty, no more denied than lines."""
    ages, classes = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    size = 2 * ages * classes
    counts = st.one_of(st.just(0), st.integers(0, 5000))
    lines = np.array(draw(st.lists(counts, min_size=size, max_size=size)), dtype=float)
    denied = np.array([draw(st.integers(0, int(cell))) for cell in lines], dtype=float)
    shape = (2, ages, classes)
    return denied.reshape(shape), lines.reshape(shape)


@given(tables())
def test_rate_mix_and_maturity_add_up_to_the_change(table: tuple[np.ndarray, np.ndarray]) -> None:
    """The likeliest mistake: a class or age that is in one period only has no rate in the other."""
    denied, lines = table
    split = split_rate(denied, lines)
    totals = lines.sum(axis=(1, 2))
    if split is None:
        assert (totals == 0).any()
        return
    before, since = denied.sum(axis=(1, 2)) / totals
    assert [split.before, split.since] == pytest.approx([before, since], abs=EXACT)
    assert abs(split.rate.sum() + split.mix.sum() + split.maturity - (since - before)) < EXACT
    absent = (lines.sum(axis=1) == 0).any(axis=0)
    assert np.abs(split.rate[absent]).max(initial=0.0) < EXACT


@given(tables(), st.integers(1, 6), st.randoms(use_true_random=False))
def test_reasons_add_up_to_what_is_left_at_equal_maturity(
    table: tuple[np.ndarray, np.ndarray], reasons: int, random: Any
) -> None:
    denied, lines = table
    split = split_rate(denied, lines)
    if split is None:
        return
    of_age = denied.sum(axis=2)
    by_reason = np.zeros((2, denied.shape[1], reasons))
    for at in np.ndindex(of_age.shape):
        by_reason[(*at, random.randrange(reasons))] += of_age[at]
    parts = split_by_reason(by_reason, lines.sum(axis=2))
    assert abs(parts.sum() + split.maturity - (split.since - split.before)) < EXACT


def test_a_pure_change_of_rate_is_all_rate_and_a_pure_change_of_mix_is_all_mix() -> None:
    lines = np.array([[[100.0, 300.0]], [[200.0, 600.0]]])
    rate = split_rate(lines * np.array([[[0.1, 0.2]], [[0.3, 0.2]]]), lines)
    assert rate is not None
    assert rate.rate == pytest.approx([0.05, 0.0])
    assert (rate.mix.sum(), rate.maturity) == (pytest.approx(0.0), 0.0)
    moved = np.array([[[100.0, 300.0]], [[300.0, 100.0]]])
    mix = split_rate(moved * np.array([0.1, 0.2]), moved)
    assert mix is not None
    assert (mix.rate.sum(), mix.mix.sum()) == (pytest.approx(0.0), pytest.approx(-0.05))


def test_a_change_of_ages_alone_is_maturity() -> None:
    """Denials that come late: a young period shows fewer of them, and neither rate nor mix has changed."""
    lines = np.array([[[100.0], [100.0]], [[150.0], [50.0]]])
    split = split_rate(lines * np.array([[[0.05], [0.25]]]), lines)
    assert split is not None
    assert split.maturity == pytest.approx(split.since - split.before)
    assert split.since < split.before


@given(st.lists(st.tuples(*(st.floats(0, 1e4, allow_nan=False) for _ in range(4))), min_size=1, max_size=8))
def test_a_shortfall_by_class_adds_up_to_the_whole(cells: list[tuple[float, ...]]) -> None:
    table = np.array(cells).T
    observed, expected = table[:2], table[2:]
    split = split_shortfall(observed, expected)
    whole = observed[1].sum() - expected[1].sum()
    scale = 1 + np.abs(table).sum() + np.abs(split.pace).sum()
    assert abs(split.pace.sum() + split.mix.sum() - whole) < EXACT * scale


@given(
    st.integers(1, 4),
    st.integers(1, 4),
    st.randoms(use_true_random=False),
)
def test_facilities_add_up_to_the_change_of_each_code(codes: int, facilities: int, random: Any) -> None:
    counts = np.array(
        [random.choice([0, random.randrange(1, 90)]) for _ in range(2 * codes * facilities)], dtype=float
    ).reshape(2, codes, facilities)
    level = np.array([random.uniform(2, 7) for _ in range(counts.size)]).reshape(counts.shape)
    whole = counts.sum(axis=2, keepdims=True)
    share = np.divide(counts, whole, out=np.zeros_like(counts), where=whole > 0)
    mean = (share * level).sum(axis=2)
    total = np.where((whole[:, :, 0] > 0).all(axis=0), mean[1] - mean[0], 0.0)
    parts = split_within(total, share, level)
    both = (whole[:, :, 0] > 0).all(axis=0)
    assert np.abs(parts.sum(axis=1) - total)[both].max(initial=0.0) < EXACT
