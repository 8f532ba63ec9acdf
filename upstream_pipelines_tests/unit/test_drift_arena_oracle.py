"""The arena's oracle: it fires on the change it was told, at the rate it was calibrated to where nothing changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from benchmarks.drift_arena.cases import Setup, Trial
from benchmarks.drift_arena.oracle import (
    Sight,
    _denial,
    _lag,
    _mix,
    _price,
    _weeks,
    excursion_peaks,
    look_at,
    run_oracle,
    scenarios,
    statistic,
    threshold,
)
from benchmarks.drift_arena.simulator import Change, Customer, simulate
from benchmarks.drift_arena.world import CODE_GROUPS, CODES, draw_payer

LOOKS = tuple(range(210, 420))
DAY = 250


def setup_of(seed: int, changes: list[Change | None], lines: float = 40.0) -> Setup:
    """A customer with a payer for each of `changes`, files by night."""
    rng = np.random.default_rng(seed)
    payers = [
        replace(draw_payer(rng, which, lines, DAY, denial=0.1), change=change)
        for which, change in enumerate(changes)
    ]
    customer = Customer(seed, date(2023, 1, 2), 420, CODES, CODE_GROUPS, tuple(payers), "nightly")
    trials = tuple(
        Trial(payer.name, DAY, lines, payer.change.signal, payer.change.size, 0, payer.change.on)
        for payer in payers
        if payer.change is not None
    )
    return Setup("test", 0, customer, LOOKS, trials)


def test_a_threshold_is_exceeded_as_often_as_asked() -> None:
    peaks = list(np.random.default_rng(1).exponential(1.0, 20_000))
    # 20 excursions a year over 1000 years: one in ten years lies where 200 remain in a thousand.
    assert threshold(peaks, 1000.0, 0.1) == pytest.approx(np.log(200.0), abs=0.3)
    # Beyond what was seen, the exponential tail goes on.
    assert threshold(peaks, 1000.0, 0.001) == pytest.approx(np.log(20_000.0), abs=0.6)
    # No threshold gives more than all excursions.
    assert threshold(peaks, 1000.0, 50.0) == pytest.approx(0.0, abs=0.01)


def test_an_excursion_has_one_peak() -> None:
    path = np.array([0.0, 1.0, 3.0, 1.0, 0.0, 0.0, 2.0, 0.0, 0.1])
    assert excursion_peaks(path).tolist() == [3.0, 2.0]


STRONG = [
    Change("denial_rate", 2.0, DAY),
    Change("authorization_denials", 0.05, DAY),
    Change("decision_lag", 7.0, DAY),
    Change("allowed_amount", -0.05, DAY),
    Change("allowed_amount", -0.05, DAY, on="decision"),
    Change("volume", -0.5, DAY),
    Change("procedure_mix", 0.2, DAY),
]


def test_it_fires_on_every_change_it_was_told_and_not_before() -> None:
    setup = setup_of(11, list(STRONG))
    lines = simulate(setup.customer)
    paths = run_oracle(setup, lines)["paths"]
    for change, path in zip(STRONG, paths, strict=True):
        assert len(path) == LOOKS[-1] - DAY, change
        assert max(path) > 20.0, change
    for which, change in enumerate(STRONG):
        whole = statistic(look_at(setup, lines, which), change)
        assert whole[np.array(LOOKS) <= DAY].max() < 8.0, change


def test_its_rate_of_false_events_holds_on_other_customers() -> None:
    """Thresholds for 2 events a year and chart, found on some unchanged payers, must give about 2 on others."""
    years = 10 * len(LOOKS) / 365.0

    def peaks(seed: int) -> dict[str, list[float]]:
        setup = setup_of(seed, [None] * 10, lines=30.0)
        found = run_oracle(setup, simulate(setup.customer))["peaks"]
        return {name: [peak for payer in by_payer for peak in payer] for name, by_payer in found.items()}

    first, second = peaks(21), peaks(22)
    assert len(first) == len(scenarios())
    events = sum(sum(peak > threshold(first[name], years, 2.0) for peak in second[name]) for name in first)
    assert events / len(first) / years == pytest.approx(2.0, rel=0.5)


def test_the_likelihood_ratio_of_a_line_is_one_on_average_where_nothing_changes() -> None:
    """True of any likelihood ratio under the old rates, and of nothing that has them wrong."""
    setup = setup_of(31, [None], lines=400.0)
    steady = replace(
        setup.customer.payers[0], week_denial_sd=0.0, week_lag_sd=0.0, week_price_sd=0.0, week_mix_sd=0.0
    )
    customer = replace(setup.customer, payers=(steady,))
    setup = replace(setup, customer=customer)
    sight = look_at(replace(setup, looks=(419,)), simulate(customer), 0)
    drawn = np.random.default_rng(1).choice(len(sight.code), 300, replace=False)
    one_each = [_alone(sight, int(which)) for which in drawn]
    for change in STRONG:
        if change.signal == "volume":  # has no evidence by line
            continue
        evidence = EVIDENCE.get(change.signal, _denial)
        ratios = [np.exp(evidence(one, change)[_weeks(one)[0], -1].sum()) for one in one_each]
        error = np.std(ratios) / np.sqrt(len(ratios))
        assert np.mean(ratios) == pytest.approx(1.0, abs=4 * error + 0.01), change


EVIDENCE = {"decision_lag": _lag, "allowed_amount": _price, "procedure_mix": _mix}
BY_LINE = ("submitted", "decided", "denied", "authorization", "code", "residual", "seen_at", "decided_at")


def _alone(sight: Sight, which: int) -> Sight:
    """What is told of a payer, with one of its lines alone."""
    return replace(sight, **{name: getattr(sight, name)[which : which + 1] for name in BY_LINE})
