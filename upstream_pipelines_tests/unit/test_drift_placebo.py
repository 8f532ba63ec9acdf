"""The placebo: what shuffling keeps, what it takes away, and that nothing of a real change comes through it."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upstream_pipelines.drift.activity import Activity, activity_from_claims
from upstream_pipelines.drift.detector import Detector
from upstream_pipelines.drift.events import DriftEvent, EventMemory, event_id_for
from upstream_pipelines.drift.placebo import Placebo, placebo, shuffled
from upstream_pipelines.drift.settings import DriftSettings, LabelledDays

START = date(2024, 1, 1)  # a Monday
DAYS = 420
UNTIL = START + timedelta(days=DAYS)
SETTINGS = DriftSettings()


def history(
    seed: int = 1, lines: float = 20.0, *, cheaper_from: int = DAYS, begins: int = 0, slow: int = 10
) -> pd.DataFrame:
    """Two payers on weekdays; Alpha pays a fifth less for what is submitted from `cheaper_from` on."""
    rng = np.random.default_rng(seed)
    frames = []
    for name in ("Alpha", "Beta"):
        day = np.arange(begins if name == "Beta" else 0, DAYS)
        week = np.exp(rng.normal(0, 0.1, DAYS // 7 + 1))[day // 7]
        submitted = np.repeat(day, rng.poisson(lines * week * (day % 7 < 5)))
        decided = submitted + rng.integers(1, 2 * slow, len(submitted))
        price = np.where((submitted >= cheaper_from) & (name == "Alpha"), 80.0, 100.0)
        frames.append(
            pd.DataFrame(
                {
                    "payer": name,
                    "cpt": np.array(["99213", "99214"])[rng.integers(0, 2, len(submitted))],
                    "submitted_date": np.datetime64(START) + submitted,
                    "decided_date": np.datetime64(START) + decided,
                    "outcome": np.where(rng.random(len(submitted)) < 0.1, "DENIED", "PAID"),
                    "allowed_amount": price * np.exp(rng.normal(0, 0.1, len(submitted))),
                }
            )
        )
    claims = pd.concat(frames, ignore_index=True)
    young = claims["decided_date"] >= pd.Timestamp(UNTIL)
    return claims.assign(
        decided_date=claims["decided_date"].where(~young), outcome=claims["outcome"].where(~young, "PENDING")
    )


def mixed(claims: pd.DataFrame, seed: int = 7, **more: Any) -> Activity:
    result = shuffled(activity_from_claims(claims), SETTINGS, seed, until=UNTIL, **more)
    assert result is not None
    return result


def by_week(frame: pd.DataFrame, payer: str, column: str = "submitted_day") -> pd.Series:
    rows = frame[frame["payer"] == payer]
    return rows.groupby((rows[column] - pd.Timestamp(START)).dt.days // 7)["lines"].sum()


def event(payer: str, first: int, last: int | None, **memory: Any) -> DriftEvent:
    started = START + timedelta(days=first)
    resolved = None if last is None else START + timedelta(days=last)
    return DriftEvent(
        event_id=event_id_for(payer, "ALL", "allowed_amount", started, started), payer=payer,
        signal="allowed_amount", direction="worsening", state="updated" if last is None else "resolved",
        started_on=started, opened_on=started, last_look=resolved or UNTIL, resolved_on=resolved,
        memory=EventMemory(
            by="decision", baseline=1.0, current_at_opening=0.8, shift_at_opening=-0.2, evidence_at_opening=9.0,
            n_baseline=100, change_low=started, change_high=started, **memory,
        ),
    )  # fmt: skip


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_weeks_change_places_whole_and_for_all_payers_alike(seed: int) -> None:
    claims = history()
    before, after = activity_from_claims(claims).activity, mixed(claims, seed).activity
    moved = []
    for payer in ("Alpha", "Beta"):
        old, new = by_week(before, payer), by_week(after, payer)
        # Each place holds one whole week of before. Payers' weeks differ in size, so their sizes tell which.
        assert sorted(new) == sorted(old[: len(new)])
        moved.append([list(old[: len(new)]).index(lines) for lines in new] if old.is_unique else None)
    assert len(new) >= 52
    if moved[0] is not None and moved[1] is not None:
        assert moved[0] == moved[1]
    assert set(after["submitted_day"].dt.day_of_week) == set(range(5))


def test_ages_outcomes_and_prices_move_with_their_week_and_all_is_known_on_its_own_day() -> None:
    claims = history()
    before, after = activity_from_claims(claims), mixed(claims)
    weeks = len(by_week(after.activity, "Alpha"))
    used = before.activity[before.activity["submitted_day"] < pd.Timestamp(START + timedelta(days=7 * weeks))]
    for column in ("decision_age", "denied"):
        old, new = (
            frame.groupby(["payer", column], dropna=False)["lines"].sum() for frame in (used, after.activity)
        )
        pd.testing.assert_series_equal(old, new, check_index_type=False)
    assert after.activity["decision_age"].notna().all(), "a young week would look undecided for ever"
    assert (after.activity["submitted_known_day"] == after.activity["submitted_day"]).all()
    decided = after.activity["submitted_day"] + pd.to_timedelta(after.activity["decision_age"], unit="D")
    assert (after.activity["decision_known_day"] == decided).all()
    assert (after.prices["decision_known_day"] == after.prices["decided_day"]).all()
    priced = before.prices[before.prices["decided_day"] < pd.Timestamp(START + timedelta(days=7 * weeks))]
    assert after.prices["sum_log_allowed"].sum() == pytest.approx(priced["sum_log_allowed"].sum())
    assert after.codes["lines"].sum() == after.activity["lines"].sum()


def test_weeks_with_holidays_stay_where_they_are() -> None:
    """Elsewhere a week of Thanksgiving would be a fall of volume that no calendar knows."""
    claims = history()
    old, new = by_week(activity_from_claims(claims).activity, "Alpha"), by_week(mixed(claims).activity, "Alpha")
    thanksgiving, christmas = 47, 51
    assert new[thanksgiving] == old[thanksgiving]
    assert new[christmas] == old[christmas]
    assert (new != old[: len(new)]).sum() > 30


def test_days_of_events_and_labelled_days_are_not_among_those_shuffled() -> None:
    claims = history()
    days = (claims["submitted_date"] - pd.Timestamp(START)).dt.days
    claims["cpt_group"] = np.select([days.between(100, 150), days.between(210, 220)], ["EVENT", "LABEL"], "OTHER")
    label = LabelledDays(
        label="x", first_day=START + timedelta(days=210), last_day=START + timedelta(days=220), payers=("BETA",)
    )
    frames = shuffled(
        activity_from_claims(claims), SETTINGS.model_copy(update={"calendar": (label,)}), 3, until=UNTIL,
        events=[event("Alpha", 100, 150)],
    )  # fmt: skip
    assert frames is not None
    groups = frames.activity.groupby("payer")["cpt_group"].agg(set)
    assert groups["Alpha"] == {"OTHER", "LABEL"}
    assert groups["Beta"] == {"OTHER", "EVENT"}
    # Their places are taken by other weeks: a gap would be a fall of volume.
    assert by_week(frames.activity, "Alpha").min() > 0.5 * by_week(frames.activity, "Alpha").mean()


def test_before_a_new_normal_nothing_is_of_today() -> None:
    claims = history()
    days = (claims["submitted_date"] - pd.Timestamp(START)).dt.days
    claims["cpt_group"] = np.where(days < 150, "BEFORE", "OTHER")
    normal = event("Alpha", 150, 200, reason="accepted_as_normal")
    groups = mixed(claims, events=[normal]).activity.groupby("payer")["cpt_group"].agg(set)
    assert groups["Alpha"] == {"OTHER"}
    assert groups["Beta"] == {"OTHER", "BEFORE"}


def test_a_payer_that_began_midway_does_so_in_the_shuffled_history() -> None:
    weeks = by_week(mixed(history(begins=140)).activity, "Beta")
    assert weeks.index.min() == 20
    assert weeks.index.is_unique
    assert len(weeks) == weeks.index.max() - 19


def test_a_real_change_that_nobody_noticed_is_found_in_the_history_and_not_in_its_placebo() -> None:
    claims = history(cheaper_from=DAYS - 60)
    frames = activity_from_claims(claims)
    rows = Detector(*frames, SETTINGS).look(UNTIL).rows
    assert set(rows.loc[rows["state"] == "open", "payer"]) == {"Alpha"}
    results = [placebo(frames, SETTINGS, seed, 60, until=UNTIL) for seed in range(4)]
    assert {result.looks for result in results} == {60}
    assert sum(result.events for result in results) == 0


def test_nothing_changed_opens_next_to_nothing() -> None:
    results = [placebo(activity_from_claims(history(seed)), SETTINGS, seed, 91, until=UNTIL) for seed in range(4)]
    assert sum(result.looks for result in results) == 364
    assert sum(result.events for result in results) <= 2


def test_events_that_open_in_the_shuffled_history_are_counted() -> None:
    """With a budget of 200 a year, and whatever the prices changed by, chance alone opens some."""
    eager = SETTINGS.model_copy(update={"false_events_per_year": 200.0, "minimum_price_change": 0.001})
    result = placebo(activity_from_claims(history(0)), eager, 0, 91, until=UNTIL)
    assert result.looks == 91
    assert result.events >= 5
    assert result.false_events_per_year == pytest.approx(365.25 / 91 * result.events)


def test_the_same_seed_gives_the_same_and_another_another() -> None:
    claims = history()
    pd.testing.assert_frame_equal(mixed(claims, 1).activity, mixed(claims, 1).activity)
    assert not by_week(mixed(claims, 1).activity, "Alpha").equals(by_week(mixed(claims, 2).activity, "Alpha"))


def test_what_came_after_the_night_is_not_looked_at() -> None:
    """Lines, prices and codes seen later, and decisions made or seen later, of days long before too."""
    claims, early = history(), START + timedelta(days=300)
    rng, night = np.random.default_rng(8), pd.Timestamp(early)
    wait = pd.to_timedelta(np.where(rng.random(len(claims)) < 0.2, rng.integers(1, 90, len(claims)), 0), unit="D")
    claims["first_seen_at"] = claims["submitted_date"] + wait
    claims["decision_seen_at"] = np.maximum(claims["decided_date"] + wait[::-1], claims["first_seen_at"])
    late = claims.sample(200, random_state=1).assign(payer="Alpha", cpt="NEW", first_seen_at=night)
    late["decision_seen_at"] = late["decided_date"].where(late["decided_date"] > night, night)
    claims = pd.concat([claims, late], ignore_index=True)
    known = claims[claims["first_seen_at"] < night].copy()
    undecided = ~(known["decision_seen_at"] < night)
    assert (undecided & (known["decided_date"] < night)).sum() > 50
    known.loc[undecided, ["decided_date", "decision_seen_at"]] = pd.NaT
    known.loc[undecided, "outcome"] = "PENDING"
    known.loc[undecided, "allowed_amount"] = np.nan
    then, later = (activity_from_claims(frame) for frame in (known, claims))
    one, other = (shuffled(frames, SETTINGS, 5, until=early) for frames in (then, later))
    assert one is not None
    assert other is not None
    for was, now in zip(one, other, strict=True):
        keys = [str(name) for name in was if was[name].dtype.kind not in "fi"] + ["lines"]
        was_sorted, now_sorted = (frame.sort_values(keys, ignore_index=True) for frame in (was, now))
        pd.testing.assert_frame_equal(was_sorted, now_sorted, rtol=1e-9)
    assert placebo(then, SETTINGS, 5, 20, until=early) == placebo(later, SETTINGS, 5, 20, until=early)


@pytest.mark.parametrize("days", [0, 1, 60, 200])
def test_too_short_a_history_is_said_to_be_that(days: int) -> None:
    claims = history()
    claims = claims[claims["submitted_date"] < pd.Timestamp(START + timedelta(days=days))]
    result = placebo(activity_from_claims(claims), SETTINGS, 1, 91, until=START + timedelta(days=days))
    assert (result.looks, result.events, result.false_events_per_year) == (0, 0, None)


def test_the_rate_is_per_year_of_looks() -> None:
    assert Placebo(91, 300, 1).false_events_per_year == pytest.approx(365.25 / 91)
