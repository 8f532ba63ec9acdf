"""Data, not payer: which change a trouble explains, how much of it, and who is told of what."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upstream_pipelines.drift.data_trouble import (
    CODES,
    Trouble,
    announcements,
    data_reason_text,
    data_sentences,
    explains,
    known_before,
    largest_effect,
)
from upstream_pipelines.drift.events import Ending
from upstream_pipelines.drift.explanation import ENDINGS

DAY = date(2026, 3, 2)
ROW: dict[str, Any] = {
    "payer": "Alpha", "state": "updated", "cause": "data", "as_of": date(2026, 3, 30), "signal": "denial_rate",
    "baseline": 0.1, "current": 0.2, "effect": 0.1,
    "detail": {"change_date": "2026-03-02", "by": "decision", "complete_to": "2026-03-29"},
}  # fmt: skip


def _row(**detail: Any) -> dict[str, Any]:
    return {**ROW, "detail": {**ROW["detail"], **detail}}


WEEK = Trouble("failed_upload", DAY, DAY + timedelta(days=6))


@pytest.mark.parametrize(
    ("trouble", "row", "expected"),
    [
        (WEEK, ROW, True),
        (replace(WEEK, last_day=DAY + timedelta(days=5)), ROW, False),
        (replace(WEEK, first_day=DAY - timedelta(days=11)), ROW, False),
        (replace(WEEK, first_day=DAY - timedelta(days=10)), ROW, True),
        (WEEK, _row(change_date="2026-02-10", change_date_low="2026-02-01", change_date_high="2026-02-25"), True),
        (WEEK, _row(change_date="2026-02-10"), False),
        (replace(WEEK, payers=("Beta",)), ROW, False),
        (replace(WEEK, payers=("Alpha", "Beta")), ROW, True),
        (replace(WEEK, by="submission"), ROW, False),
        (replace(WEEK, by="decision"), ROW, True),
        (WEEK, _row(complete_to="2026-06-30"), False),
        (Trouble("renamed_payer", DAY - timedelta(days=40), None), ROW, True),
        (Trouble("renamed_payer", DAY - timedelta(days=40), None), _row(by="submission"), False),
        (Trouble("renamed_payer", DAY - timedelta(days=70), None), ROW, False),
    ],
)  # fmt: skip
def test_a_trouble_explains_what_began_with_it_as_long_as_it_covers_a_quarter(
    trouble: Trouble, row: dict[str, Any], expected: bool
) -> None:
    assert explains(trouble, row, 28) is expected


MONTH = Trouble("partial_upload", DAY, DAY + timedelta(days=27), share=0.1)  # all days compared


@pytest.mark.parametrize(
    ("signal", "baseline", "effect", "share", "expected"),
    [
        ("denial_rate", 0.1, 0.10, 0.1, False),  # at most 1.1 points
        ("denial_rate", 0.1, 0.02, 0.1, True),
        ("denial_rate", 0.1, -0.09, 0.1, True),  # the denied lines were those lost
        ("denial_rate", 0.1, 0.10, 0.4, True),
        ("authorization_denials", 0.02, 0.01, 0.1, False),
        ("volume", 400.0, -0.20, 0.1, True),
        ("volume", 400.0, -0.25, 0.1, False),
        ("volume", 400.0, 0.12, 0.1, False),
        ("allowed_amount", 1.0, -0.2, 0.1, True),
        ("allowed_amount", 1.0, -0.3, 0.1, False),
        ("decision_lag", 14.0, 3.0, 0.1, True),
        ("decision_lag", 14.0, 9.0, 0.1, False),
        ("decision_lag", 14.0, 9.0, 0.5, True),
        ("decision_lag", 14.0, -3.0, 0.5, False),
    ],
)
def test_a_trouble_explains_no_more_than_twice_what_the_lines_it_cost_can_do(
    signal: str, baseline: float, effect: float, share: float, *, expected: bool
) -> None:
    row = {**ROW, "signal": signal, "baseline": baseline, "current": baseline + effect, "effect": effect}
    assert explains(replace(MONTH, share=share), row, 28) is expected
    assert explains(replace(MONTH, share=None), row, 28), "one whose size nobody knows is believed"


def test_a_mix_is_measured_by_the_share_that_moved_and_a_lag_is_explained_by_what_is_missing_only() -> None:
    mix = {**ROW, "signal": "procedure_mix", "baseline": 0.0, "effect": 0.01}
    assert explains(MONTH, {**mix, "current": 0.2}, 28)
    assert not explains(MONTH, {**mix, "current": 0.21}, 28)
    lag = {**ROW, "signal": "decision_lag", "baseline": 14.0, "current": 16.0, "effect": 2.0}
    assert explains(MONTH, lag, 28)
    assert not explains(replace(MONTH, code="failing_quality"), lag, 28)


def test_what_a_trouble_cost_counts_on_the_days_it_covers_only() -> None:
    """A lost week is a quarter of four: it explains half of the volume, and not all of it."""
    row = {**ROW, "signal": "volume", "baseline": 400.0, "current": 200.0, "effect": -0.5}
    assert explains(replace(WEEK, share=1.0), row, 28)
    assert not explains(replace(WEEK, share=1.0), {**row, "effect": -0.6}, 28)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.02, 0.6))
def test_no_loss_of_lines_moves_a_signal_further_than_its_largest_effect(seed: int, share: float) -> None:
    """Denied, worth and kind of 200 lines, of which the most denied, the dearest, or any are lost."""
    rng = np.random.default_rng(seed)
    denied, worth, kind = rng.random(200) < rng.random(), rng.uniform(0, 2, 200), rng.integers(0, 4, 200)
    orders = (np.argsort(denied, kind="stable"), np.argsort(~denied, kind="stable"), np.argsort(kind))
    for order in (*orders, rng.permutation(200)):
        left = order[round(200 * share) :]
        lost = 1 - len(left) / 200
        p, moved = denied.mean(), denied[left].mean() - denied.mean()
        assert abs(moved) <= largest_effect("denial_rate", lost, p, rises=moved > 0) + 1e-9
        shares, rest = (np.bincount(part, minlength=4) / len(part) for part in (kind, kind[left]))
        assert 0.5 * np.abs(shares - rest).sum() <= largest_effect("procedure_mix", lost, 0.0, rises=True) + 1e-9
        # The lines left are worth 1 on average, those lost between nothing and twice that.
        price = worth / worth[left].mean()
        price[order[: 200 - len(left)]] = np.minimum(price[order[: 200 - len(left)]], 2.0)
        change = price[left].mean() / price.mean() - 1
        assert abs(change) <= largest_effect("allowed_amount", lost, 1.0, rises=change > 0) + 1e-9


def test_a_trouble_of_an_upload_is_over_after_45_days_and_one_in_the_counts_is_not() -> None:
    late = _row(complete_to="2026-05-10")
    long = replace(WEEK, last_day=DAY + timedelta(days=27))
    assert explains(long, {**late, "as_of": date(2026, 5, 13)}, 28)
    assert not explains(long, {**late, "as_of": date(2026, 5, 14)}, 28)
    assert explains(replace(long, code="late_file"), {**late, "as_of": date(2026, 5, 14)}, 28)


def test_neighbouring_troubles_cost_the_mean_of_their_days_and_of_a_day_missed_twice_the_larger() -> None:
    week = replace(WEEK, code="partial_upload", share=0.1)
    second = replace(week, first_day=DAY + timedelta(days=7), last_day=DAY + timedelta(days=13), share=0.5)
    (joined,) = known_before([second, week], DAY + timedelta(days=30))
    assert joined.share == pytest.approx(0.3)
    (twice,) = known_before([week, replace(week, share=0.4)], DAY + timedelta(days=30))
    assert twice.share == pytest.approx(0.4)
    (unknown,) = known_before([second, replace(week, share=None)], DAY + timedelta(days=30))
    assert unknown.share is None


def test_the_recent_days_are_those_of_the_settings() -> None:
    """A hole of a week, soon after the change: a quarter of the last four weeks, and less of all the days since."""
    hole = Trouble("days_without_claims", DAY, DAY + timedelta(days=6))
    row = {**ROW, "detail": {**ROW["detail"], "complete_to": (DAY + timedelta(days=27)).isoformat()}}
    early = {**row, "detail": {**row["detail"], "change_date": (DAY - timedelta(days=9)).isoformat()}}
    assert explains(hole, early, 28)
    assert not explains(hole, early, 56)


def test_troubles_of_neighbouring_uploads_are_one_and_none_is_known_before_its_day_or_after_it_was_put_right() -> (
    None
):
    def week(number: int, **values: Any) -> Trouble:
        first = DAY + timedelta(days=7 * number)
        return Trouble(
            "partial_upload", first, first + timedelta(days=6), known_on=first + timedelta(days=6), **values
        )

    troubles = [week(2), week(0), week(1), replace(week(5), cleared_on=DAY + timedelta(days=60))]
    assert known_before(troubles, DAY) == []
    assert known_before(troubles, DAY + timedelta(days=7)) == [
        Trouble("partial_upload", DAY, DAY + timedelta(days=6))
    ]
    joined = Trouble("partial_upload", DAY, DAY + timedelta(days=20))
    later = Trouble("partial_upload", DAY + timedelta(days=35), DAY + timedelta(days=41))
    assert known_before(troubles, DAY + timedelta(days=60)) == [joined, later]
    assert known_before(troubles, DAY + timedelta(days=61)) == [joined]


@pytest.mark.parametrize(
    ("state", "cause", "before", "expected"),
    [
        ("open", "payer", None, [("open", "payer")]),
        ("open", "data", None, [("open", "data")]),
        ("updated", "payer", "payer", []),
        ("updated", "data", "data", []),
        ("updated", "payer", "data", [("open", "payer"), ("resolved", "data")]),
        ("updated", "data", "payer", [("open", "data")]),
        ("resolved", "payer", "payer", [("resolved", "payer"), ("resolved", "data")]),
        ("resolved", "data", "data", [("resolved", "payer"), ("resolved", "data")]),
        ("watch", "payer", None, []),
        ("not_enough_data", "payer", None, []),
    ],
)
def test_who_is_told_of_what(state: str, cause: str, before: Any, expected: list[tuple[str, str]]) -> None:
    assert announcements({"state": state, "cause": cause}, before) == expected


@pytest.mark.parametrize("code", CODES)
def test_every_reason_has_a_sentence_with_and_without_what_is_known_of_it(code: str) -> None:
    bare = data_reason_text(code)
    full = data_reason_text(
        code, {"first_day": "2026-03-02", "last_day": "2026-03-08", "payers": ["Alpha", "Beta"]}
    )
    for text in (bare, full):
        assert text.endswith(".")
        assert "None" not in text
        assert "  " not in text
    told = data_sentences({"data_reasons": [code], "data_about": {code: {}}})
    assert told == f"Data, not payer: {bare}"
    assert data_sentences({}) == ""


def test_every_ending_of_an_event_has_words() -> None:
    assert set(ENDINGS) == set(get_args(Ending))
