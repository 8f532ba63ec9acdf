"""The arena's simulated world: what is configured comes out, nothing is seen too early, nothing of the product is in it."""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from benchmarks.drift_arena import cases, simulator
from benchmarks.drift_arena.almanac import calendar, federal_holidays
from benchmarks.drift_arena.cases import CASES, Setup
from benchmarks.drift_arena.simulator import Arrival, Change, Customer, Lines, Payer, claims_frame, simulate
from benchmarks.drift_arena.world import CODE_GROUPS, CODES, draw_payer

ARENA = Path(simulator.__file__).parent
START = date(2023, 1, 2)
DAYS, DAY = 500, 250  # of the history, and of the change in it


def customer(
    change: Change | None = None, arrival: Arrival = "same day", seed: int = 5, **more: object
) -> Customer:
    """One payer of 200 lines a weekday that denies a tenth, without growth."""
    payer = draw_payer(np.random.default_rng(seed), 0, 200.0, DAY, denial=0.1, denied_lag=1.5, growth=1.0)
    return Customer(
        seed, START, DAYS, CODES, CODE_GROUPS, (replace(payer, change=change),), arrival, **more  # type: ignore[arg-type]
    )  # fmt: skip


def split(lines: Lines) -> tuple[np.ndarray, np.ndarray]:
    """Lines submitted before the change, and from it on."""
    return lines.submitted < DAY, lines.submitted >= DAY


def ages(lines: Lines) -> np.ndarray:
    return np.where(lines.decided < 0, np.nan, lines.decided - lines.submitted)


@pytest.mark.parametrize("name", ["almanac.py", "simulator.py", "world.py", "cases.py"])
def test_the_world_imports_nothing_of_the_product_or_of_a_contestant(name: str) -> None:
    allowed = {f"benchmarks.drift_arena.{each}" for each in ("almanac", "simulator", "world", "cases")}
    for node in ast.walk(ast.parse((ARENA / name).read_text())):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            modules = [node.module or "."]
        for module in modules:
            assert not module.startswith("upstream_pipelines")
            assert not module.startswith("benchmarks") or module in allowed


def test_the_arena_knows_of_the_product_only_the_public_function_and_its_names() -> None:
    used = set()
    for path in ARENA.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("upstream_pipelines"):
                used |= {f"{node.module}.{alias.name}" for alias in node.names}
    assert used == {
        "upstream_pipelines.drift.replay",
        "upstream_pipelines.drift.settings.DriftSettings",
        "upstream_pipelines.drift.settings.METHOD_VERSION",
    }


def test_the_same_seed_gives_the_same_lines_and_another_seed_others() -> None:
    first, again, other = simulate(customer()), simulate(customer()), simulate(customer(seed=6))
    assert all(np.array_equal(getattr(first, name), getattr(again, name)) for name in vars(first))
    assert len(first.submitted) != len(other.submitted)


def test_volume_denials_and_lags_come_out_as_configured() -> None:
    subject = customer()
    payer, lines = subject.payers[0], simulate(subject)
    ordinary = np.unique(lines.submitted[calendar(START, DAYS).volume[lines.submitted] == 1.0])
    assert np.isin(lines.submitted, ordinary).sum() / len(ordinary) == pytest.approx(200.0, rel=0.05)
    assert lines.denied.mean() == pytest.approx(0.1, abs=0.006)
    assert (lines.reason[lines.denied] == 0).mean() == pytest.approx(payer.authorization_share, abs=0.02)
    paid, denied = ages(lines)[~lines.denied], ages(lines)[lines.denied]
    # Waiting for a working day adds about half a day, rounding up another half.
    assert np.nanmedian(paid) == pytest.approx(payer.lag_median + 1, abs=1.5)
    assert np.nanmedian(denied) == pytest.approx(payer.denied_lag_median + 1, abs=2.0)
    assert (lines.decided < 0).mean() == pytest.approx(simulator.LOST, abs=0.004)


@pytest.mark.parametrize(("size", "rate"), [(1.2, 0.12), (1.5, 0.15), (2.0, 0.20)])
def test_a_denial_rate_rises_by_what_was_injected(size: float, rate: float) -> None:
    lines = simulate(customer(Change("denial_rate", size, DAY)))
    before, after = split(lines)
    assert lines.denied[before].mean() == pytest.approx(0.1, abs=0.007)
    assert lines.denied[after].mean() == pytest.approx(rate, abs=0.01)


def test_authorisation_denials_rise_alone() -> None:
    lines = simulate(customer(Change("authorization_denials", 0.05, DAY)))
    before, after = split(lines)
    authorization = lines.denied & (lines.reason == 0)
    assert authorization[after].mean() - authorization[before].mean() == pytest.approx(0.05, abs=0.006)
    other = lines.denied & (lines.reason > 0)
    assert other[after].mean() == pytest.approx(other[before].mean(), abs=0.008)


def test_a_slower_payer_takes_so_many_days_longer_and_denies_as_before() -> None:
    lines = simulate(customer(Change("decision_lag", 7.0, DAY)))
    before, after = split(lines)
    assert np.nanmean(ages(lines)[after]) - np.nanmean(ages(lines)[before]) == pytest.approx(7.0, abs=0.7)
    assert lines.denied[after].mean() == pytest.approx(lines.denied[before].mean(), abs=0.008)


@pytest.mark.parametrize("on", ["submission", "decision"])
def test_prices_fall_by_the_day_of_submission_or_of_decision(on: str) -> None:
    subject = customer(Change("allowed_amount", -0.05, DAY, on=on))  # type: ignore[arg-type]
    lines, payer = simulate(subject), subject.payers[0]
    paid = lines.allowed > 0
    listed = payer.price[lines.code] * np.array(simulator.MODIFIER_PRICES)[lines.modifier]
    index = np.log(np.where(paid, lines.allowed, 1.0) / listed)
    day = lines.decided if on == "decision" else lines.submitted
    straddling = paid & (lines.submitted < DAY) & (lines.decided >= DAY)
    fall = index[paid & (day >= DAY)].mean() - index[paid & (day < DAY)].mean()
    assert fall == pytest.approx(np.log(0.95), abs=0.004)
    changed = index[straddling].mean() - index[paid & (day < DAY)].mean()
    assert changed == pytest.approx(np.log(0.95) if on == "decision" else 0.0, abs=0.01)


def test_volume_falls_and_a_ramp_falls_slowly() -> None:
    step, ramp = (simulate(customer(Change("volume", -0.5, DAY, ramp))) for ramp in (0, 60))

    def lines_in(lines: Lines, first: int, days: int) -> int:
        return int(((lines.submitted >= first) & (lines.submitted < first + days)).sum())

    before = lines_in(step, DAY - 56, 56)
    assert lines_in(step, DAY, 56) / before == pytest.approx(0.5, abs=0.06)
    assert 0.6 < lines_in(ramp, DAY, 56) / before < 0.9
    assert lines_in(ramp, DAY + 60, 56) / before == pytest.approx(0.5, abs=0.08)


def test_a_mix_change_moves_a_fifth_of_the_lines_and_leaves_each_codes_rates() -> None:
    lines = simulate(customer(Change("procedure_mix", 0.2, DAY)))
    before, after = split(lines)
    shares = [np.bincount(lines.code[part], minlength=len(CODES)) / part.sum() for part in (before, after)]
    assert np.abs(shares[1] - shares[0]).sum() / 2 == pytest.approx(0.2, abs=0.03)
    for code in np.flatnonzero(np.minimum(*shares) > 0.1):
        rates = [lines.denied[part & (lines.code == code)].mean() for part in (before, after)]
        assert rates[1] == pytest.approx(rates[0], abs=0.025)


def test_no_decisions_on_holidays_and_few_lines() -> None:
    lines, days = simulate(customer()), calendar(START, 900)
    holidays = [(day - START).days for day in federal_holidays(2023) if day >= START and day.weekday() < 5]
    assert not np.isin(lines.decided, holidays).any()
    assert np.isin(lines.submitted, holidays).sum() < 0.1 * 200 * len(holidays)
    decided = lines.decided[lines.decided >= 0]
    assert 0.0 < (days.weekday[decided] >= 5).mean() < 0.15


def test_the_federal_holidays_of_2024_and_an_observed_one() -> None:
    assert sorted(federal_holidays(2024)) == [
        date(2024, month, day)
        for month, day in [
            (1, 1), (1, 15), (2, 19), (5, 27), (6, 19), (7, 4), (9, 2), (10, 14), (11, 11), (11, 28), (12, 25),
        ]
    ]  # fmt: skip
    assert date(2021, 7, 5) in federal_holidays(2021)


@pytest.mark.parametrize("arrival", ["same day", "nightly", "ragged", "weekly"])
def test_nothing_is_seen_before_it_happened(arrival: Arrival) -> None:
    subject = customer(arrival=arrival)
    lines = simulate(subject)
    known = lines.decided >= 0
    assert (lines.seen >= lines.submitted).all()
    assert (lines.decision_seen[known] >= lines.decided[known]).all()
    assert (lines.decision_seen[known] >= lines.seen[known]).all()
    if arrival == "weekly":
        assert set((lines.seen + START.weekday()) % 7) == {0}
    frame = claims_frame(subject, lines)
    assert ("first_seen_at" in frame) == (arrival != "same day")
    assert frame.loc[frame["outcome"] == "PENDING", "decided_date"].isna().all()
    assert frame.loc[frame["outcome"] == "DENIED", "denial_reason_code"].notna().all()
    assert (frame.loc[frame["outcome"] == "PAID", "allowed_amount"] > 0).all()
    assert frame["submitted_date"].is_monotonic_increasing


def test_accidents_befall_only_the_lines_they_should() -> None:
    plain, late = simulate(customer(arrival="nightly")), simulate(customer(arrival="nightly", late=DAY))
    week = (late.submitted >= DAY) & (late.submitted < DAY + 7)
    assert (late.seen[week] == DAY + 28).all()
    assert np.array_equal(late.seen[~week], plain.seen[~week])
    resent = simulate(customer(resent=DAY))
    again = (resent.decided >= DAY - 7) & (resent.decided < DAY)
    assert (resent.decision_seen[again] == DAY + 2).all()
    corrected = simulate(customer(corrected=DAY))
    month = (corrected.decided >= DAY - 30) & (corrected.decided < DAY)
    revised = corrected.revised & (corrected.final_decided == corrected.decided)
    assert revised[month].mean() == pytest.approx(0.05, abs=0.015)
    assert not revised[~month].any()
    assert (corrected.final_seen[revised] >= DAY).all()
    closed = simulate(customer(closed=(DAY, DAY + 7)))
    assert not ((closed.submitted >= DAY) & (closed.submitted < DAY + 7)).any()


def test_a_seventh_of_the_denials_is_paid_on_appeal_and_the_frame_keeps_their_first_decision() -> None:
    subject = customer(arrival="nightly")
    lines = simulate(subject)
    assert lines.revised[lines.denied].mean() == pytest.approx(0.15, abs=0.02)
    assert not lines.revised[~lines.denied].any()
    frame, first = claims_frame(subject, lines), claims_frame(subject, lines, versions=False)
    appealed = frame["first_outcome"].notna()
    assert appealed.sum() == lines.revised.sum()
    assert set(frame.loc[appealed, "outcome"]) == {"PAID"}
    assert frame.loc[appealed, "denial_reason_code"].isna().all()
    assert (frame.loc[appealed, "allowed_amount"] > 0).all()
    assert set(frame.loc[appealed, "first_outcome"]) == {"DENIED"}
    assert frame.loc[appealed, "first_denial_reason_code"].notna().all()
    assert (frame.loc[appealed, "first_allowed_amount"] == 0).all()
    wait = (frame["decided_date"] - frame["first_decided_date"]).dt.days[appealed]
    assert wait.between(30, 80).all()
    assert (frame["decision_seen_at"] >= frame["first_decision_seen_at"])[appealed].all()
    assert not any(str(name).startswith("first_") and name != "first_seen_at" for name in first)
    for name in ("decided_date", "outcome", "denial_reason_code", "decision_seen_at"):
        assert (first[name][appealed] == frame[f"first_{name}"][appealed]).all()
        assert first[name][~appealed].equals(frame[name][~appealed])


def test_what_is_drawn_for_a_customer_is_none_of_its_lines_streams() -> None:
    """With the stream of a payer, its parameters would foretell its luck."""
    drawn = cases._rng(5).random()
    assert drawn not in [np.random.default_rng([5, tag]).random() for tag in (*range(cases.PAYERS), 900, 901)]


def setups(name: str, count: int) -> list[Setup]:
    case = next(each for each in CASES if each.name == name)
    return [case.setup(1, index) for index in range(count)]


@pytest.mark.parametrize(("name", "least"), [("change", 25), ("change_other", 5), ("change_ramp", 5)])
def test_the_design_is_balanced_and_every_trial_is_watched_long_enough(name: str, least: int) -> None:
    case = next(each for each in CASES if each.name == name)
    cells: Counter[tuple[object, ...]] = Counter()
    for setup in setups(name, case.long):
        for trial in setup.trials:
            cells[trial.signal, trial.size, trial.volume, trial.ramp, trial.on] += 1
            assert setup.looks[0] <= trial.day - cases.BEFORE
            assert setup.looks[-1] >= trial.day + cases.FOUND_WITHIN
            assert setup.customer.days >= setup.looks[-1]
    assert min(cells.values()) >= least
    assert max(cells.values()) - min(cells.values()) <= 1


def test_every_seed_belongs_to_one_customer() -> None:
    seeds = [case.offset + index for case in CASES for index in range(case.long)]
    assert len(set(seeds)) == len(seeds)
    assert max(case.long for case in CASES) <= cases.SEEDS_PER_CASE


def test_a_holiday_decoy_looks_over_thanksgiving_and_a_closed_week() -> None:
    for setup in setups("decoy_holiday_week", 4):
        start, closed = setup.customer.start, setup.customer.closed
        assert closed is not None
        first = date.fromordinal(start.toordinal() + closed[0])
        assert (first.month, first.day) == (12, 24)
        watched = [date.fromordinal(start.toordinal() + look) for look in setup.looks]
        assert {(11, 28), (12, 31)} <= {(day.month, day.day) for day in watched}
        assert isinstance(setup.customer.payers[0], Payer)
