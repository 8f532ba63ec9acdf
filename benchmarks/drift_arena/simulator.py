"""Claim lines of a simulated customer, day by day. It knows what was injected and nothing of any contestant.

Imports nothing of the product and shares no constant with it: its own are below and in world.py, taken from how
payers and billing offices work. Not here: which customers are simulated (cases.py).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from benchmarks.drift_arena.almanac import Bools, Calendar, Floats, Ints, calendar

Arrival = Literal["same day", "nightly", "weekly", "ragged"]

LONGEST_LAG = 240  # days; a line not decided by then stays open
LOST = 0.01  # of the lines never get a decision
OVERTURNED = 0.15  # of the denials are paid on appeal, 30 to 75 days after them
WEEKEND_DECISIONS = 0.3  # of the decisions that fall on a weekend are made there (auto-adjudication), others wait
EXTRA_WAIT_SHAPE = 4.0  # a payer that grows slower by d days makes each line wait d days more on average, gamma
MODIFIERS = ("", "25", "26", "51")
MODIFIER_SHARES = (0.86, 0.06, 0.04, 0.04)
MODIFIER_PRICES = (1.0, 1.0, 0.4, 0.5)
AUTHORIZATION = "CO-197"
OTHER_REASONS = ("CO-16", "CO-50", "CO-96", "CO-97", "CO-29", "CO-22", "CO-11")


@dataclass(frozen=True)
class Change:
    """What a payer, or a provider's claims to it, does differently from `day` on, at once or rising over `ramp` days.

    `size`: denial_rate: the new rate over the old one; authorization_denials: points added (0.05); decision_lag: days
    added; allowed_amount and volume: relative (-0.05); procedure_mix: share of the lines that move to other codes.
    A change holds for the lines submitted from `day` on; one of the allowed amount with `on="decision"` for those
    decided from then on.
    """

    signal: str
    size: float
    day: int
    ramp: int = 0
    on: Literal["submission", "decision"] = "submission"

    def strength(self, days: Ints) -> Floats:
        """How much of the change holds on each of `days`: 0 before, 1 in full."""
        if self.ramp == 0:
            return (days >= self.day).astype(np.float64)
        return np.clip((days - self.day + 1) / self.ramp, 0.0, 1.0)


@dataclass(frozen=True)
class Payer:
    """How one payer behaves. `lines` a weekday at `reference_day`; `growth` is the factor a year."""

    name: str
    lines: float
    reference_day: int
    growth: float
    weekday: tuple[float, ...]
    edge: float
    denial: float
    code_denial: Floats
    authorization_share: float
    reasons: Floats
    lag_median: float
    lag_sigma: float
    denied_lag_median: float
    denied_lag_sigma: float
    mix: Floats
    mix_after: Floats
    price: Floats
    price_sd: float
    week_volume_sd: float
    week_denial_sd: float
    week_lag_sd: float
    week_price_sd: float
    week_mix_sd: float
    change: Change | None = None
    renamed_on: int | None = None
    renamed_to: str | None = None


@dataclass(frozen=True)
class Customer:
    """One simulated provider: days 0..days-1 from `start`. `groups` is the group of each code.

    `closed`: days on which the office sends nothing. `late`: first day of a week whose files come three weeks late.
    `resent`: the files of the week before that day are sent again two days after it. `corrected`: of the lines
    decided in the 30 days before it, 5 % are revised in the five days after.
    """

    seed: int
    start: date
    days: int
    codes: tuple[str, ...]
    groups: tuple[str, ...]
    payers: tuple[Payer, ...]
    arrival: Arrival
    closed: tuple[int, int] | None = None
    late: int | None = None
    resent: int | None = None
    corrected: int | None = None


@dataclass(frozen=True)
class Lines:
    """All lines of a customer, an array each, with their first decisions. `decided` is -1 for a line that never is.

    `seen` and `decision_seen` are the days on which the line and its decision were in the customer's files; a look
    on a day knows what was seen before that day. `final_...` are the same of the last decision, which differs where
    `revised`: by an appeal or a correction.
    """

    payer: Ints
    code: Ints
    modifier: Ints
    submitted: Ints
    decided: Ints
    denied: Bools
    reason: Ints
    allowed: Floats
    billed: Floats
    seen: Ints
    decision_seen: Ints
    facility: Ints
    renamed: Bools
    revised: Bools
    final_decided: Ints
    final_denied: Bools
    final_allowed: Floats
    final_seen: Ints


def source_hash() -> str:
    """Names the simulated world: any change of its modules gives another, so that no old result is taken for new."""
    here = Path(__file__).parent
    text = b"".join((here / name).read_bytes() for name in ("almanac.py", "simulator.py", "world.py", "cases.py"))
    return hashlib.sha256(text).hexdigest()[:12]


def simulate(customer: Customer) -> Lines:
    """The lines of `customer`, the same for the same seed. The calendar goes on after the last submission day."""
    days = calendar(customer.start, customer.days + LONGEST_LAG + 90)
    seen = files_seen(customer, days)
    parts = [_payer_lines(customer, index, days, seen) for index in range(len(customer.payers))]
    lines = Lines(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    return _corrected(customer, lines) if customer.corrected is not None else lines


def files_seen(customer: Customer, days: Calendar) -> Ints:
    """On which day what happened on each day was in a file: the customer's habit, and the accidents injected."""
    rng = np.random.default_rng([customer.seed, 900])
    day = np.arange(len(days.weekday))
    if customer.arrival == "same day":
        seen = day.copy()
    elif customer.arrival == "weekly":
        seen = day + 7 - days.weekday
    else:
        seen = day + 1
        if customer.arrival == "ragged":
            late = rng.random(len(day)) < 0.04
            seen = np.where(late, seen + rng.integers(1, 6, len(day)), seen)
    if customer.late is not None:
        week = slice(customer.late, customer.late + 7)
        seen[week] = np.maximum(seen[week], customer.late + 7 + 21)
    return seen


def _payer_lines(customer: Customer, index: int, days: Calendar, seen: Ints) -> tuple[Ints | Floats | Bools, ...]:
    payer = customer.payers[index]
    rng = np.random.default_rng([customer.seed, index])
    weeks = int(days.week[-1]) + 1
    week_volume = _week_factors(rng, payer.week_volume_sd, weeks)
    week_denial = _week_factors(rng, payer.week_denial_sd, weeks)
    week_lag = _week_factors(rng, payer.week_lag_sd, weeks)
    week_price = _week_factors(rng, payer.week_price_sd, weeks)

    expected = expected_lines(payer, days, customer.days, customer.closed)
    submitted = np.repeat(
        np.arange(customer.days), rng.poisson(expected * week_volume[days.week[: customer.days]])
    )
    count = len(submitted)
    week = days.week[submitted]
    code = _codes(rng, customer, payer, submitted, week)

    chance = payer.code_denial[code] * week_denial[week] * denial_factor(payer, submitted)
    authorization = chance * payer.authorization_share + authorization_added(payer, submitted)
    other = chance * (1.0 - payer.authorization_share)
    draw = rng.random(count)
    denied = draw < np.minimum(authorization + other, 0.95)
    reason = np.where(
        draw < authorization,
        0,
        1 + np.searchsorted(np.cumsum(payer.reasons)[:-1], rng.random(count), side="right"),
    )

    spread = np.where(denied, payer.denied_lag_sigma, payer.lag_sigma)
    median = np.where(denied, payer.denied_lag_median, payer.lag_median)
    wait = median * week_lag[week] * np.exp(spread * rng.standard_normal(count))
    extra = days_slower(payer, submitted)
    wait += extra * rng.gamma(EXTRA_WAIT_SHAPE, 1.0 / EXTRA_WAIT_SHAPE, count)
    decided = submitted + np.maximum(np.ceil(wait), 1).astype(np.int64)
    lost = (rng.random(count) < LOST) | (decided > submitted + LONGEST_LAG)
    decided = np.where(lost, 0, decided)
    weekend = (days.weekday[decided] >= 5) & (rng.random(count) < WEEKEND_DECISIONS)
    decided = np.where(weekend, decided, days.next_work[decided])
    overturned = denied & ~lost & (rng.random(count) < OVERTURNED)
    appealed = np.where(overturned, days.next_work[decided + rng.integers(30, 76, count)], decided)

    modifier = rng.choice(len(MODIFIERS), count, p=MODIFIER_SHARES)
    list_price = payer.price[code] * np.array(MODIFIER_PRICES)[modifier]
    noise = np.exp(payer.price_sd * rng.standard_normal(count)) * week_price[days.week[decided]]
    allowed = np.maximum(list_price * noise * price_factor(payer, submitted, decided), 0.01).round(2)
    billed = payer.price[code] * rng.uniform(1.6, 2.4, count)
    facility = rng.choice(3, count, p=(0.6, 0.3, 0.1))

    decision_seen = np.where(lost, -1, np.maximum(seen[decided], seen[submitted]))
    if customer.resent is not None:
        again = ~lost & (decided >= customer.resent - 7) & (decided < customer.resent)
        decision_seen = np.where(again, np.maximum(decision_seen, customer.resent + 2), decision_seen)
    final_seen = np.where(overturned, np.maximum(seen[appealed], decision_seen), decision_seen)
    decided, appealed, denied = np.where(lost, -1, decided), np.where(lost, -1, appealed), denied & ~lost
    renamed = np.zeros(count, np.bool_) if payer.renamed_on is None else submitted >= payer.renamed_on
    return (
        np.full(count, index), code, modifier, submitted, decided, denied, reason, np.where(denied | lost, 0.0, allowed),
        billed.round(2), seen[submitted], decision_seen, facility, renamed, overturned, appealed, denied & ~overturned,
        np.where(denied & ~overturned | lost, 0.0, allowed), final_seen,
    )  # fmt: skip


def expected_lines(payer: Payer, days: Calendar, count: int, closed: tuple[int, int] | None = None) -> Floats:
    """Lines a day the payer is sent on average, before the luck of the week."""
    day = np.arange(count)
    rate: Floats = payer.lines * payer.growth ** ((day - payer.reference_day) / 365.0)
    rate = rate * np.array(payer.weekday)[days.weekday[:count]] * days.volume[:count]
    rate *= 1.0 + payer.edge * days.edge[:count]
    if closed is not None:
        rate[closed[0] : closed[1]] = 0.0
    if payer.change is not None and payer.change.signal == "volume":
        rate *= 1.0 + payer.change.size * payer.change.strength(day)
    return rate


def denial_factor(payer: Payer, submitted: Ints) -> Floats:
    """By how much the chance of a denial is multiplied for lines submitted on those days."""
    if payer.change is None or payer.change.signal != "denial_rate":
        return np.ones(len(submitted))
    return 1.0 + (payer.change.size - 1.0) * payer.change.strength(submitted)


def authorization_added(payer: Payer, submitted: Ints) -> Floats:
    """Points added to the chance of a denial for authorisation."""
    if payer.change is None or payer.change.signal != "authorization_denials":
        return np.zeros(len(submitted))
    return payer.change.size * payer.change.strength(submitted)


def days_slower(payer: Payer, submitted: Ints) -> Floats:
    """Days a decision takes longer on average."""
    if payer.change is None or payer.change.signal != "decision_lag":
        return np.zeros(len(submitted))
    return payer.change.size * payer.change.strength(submitted)


def price_factor(payer: Payer, submitted: Ints, decided: Ints) -> Floats:
    """By how much allowed amounts are multiplied."""
    if payer.change is None or payer.change.signal != "allowed_amount":
        return np.ones(len(submitted))
    day = decided if payer.change.on == "decision" else submitted
    return 1.0 + payer.change.size * payer.change.strength(day)


def _week_factors(rng: np.random.Generator, sd: float, weeks: int) -> Floats:
    """A factor a week around 1, the over-dispersion that every real series has."""
    factors: Floats = np.exp(rng.normal(-sd * sd / 2.0, sd, weeks))
    return factors


def _codes(rng: np.random.Generator, customer: Customer, payer: Payer, submitted: Ints, week: Ints) -> Ints:
    """A code a line: the payer's mix, its groups wobbling by week, moved to the other mix by a change of it."""
    names, group = np.unique(np.array(customer.groups), return_inverse=True)
    wobble = np.exp(rng.normal(0.0, payer.week_mix_sd, (int(week.max(initial=0)) + 1, len(names))))[:, group]
    first, second = (np.cumsum(_shares(mix * wobble), axis=1) for mix in (payer.mix, payer.mix_after))
    draw = rng.random(len(submitted))[:, None]
    code = (draw > first[week]).sum(axis=1)
    if payer.change is not None and payer.change.signal == "procedure_mix":
        moved = rng.random(len(submitted)) < payer.change.strength(submitted)
        code = np.where(moved, (draw > second[week]).sum(axis=1), code)
    codes: Ints = np.minimum(code, len(customer.codes) - 1)
    return codes


def _shares(weights: Floats) -> Floats:
    shares: Floats = weights / weights.sum(axis=1, keepdims=True)
    return shares


def _corrected(customer: Customer, lines: Lines) -> Lines:
    """Of a month's decided lines 5 % revised: half of the denials paid, payments repriced, all seen again."""
    assert customer.corrected is not None
    rng = np.random.default_rng([customer.seed, 901])
    recent = (lines.decided >= customer.corrected - 30) & (lines.decided < customer.corrected)
    revised = recent & (rng.random(len(lines.payer)) < 0.05)
    price = np.array([payer.price for payer in customer.payers])[lines.payer, lines.code]
    repriced = price * np.array(MODIFIER_PRICES)[lines.modifier] * np.exp(rng.normal(0.0, 0.15, len(price)))
    denied = lines.denied & (rng.random(len(price)) >= 0.5)
    again = customer.corrected + rng.integers(0, 5, len(price))
    return Lines(
        **{
            **vars(lines),
            "revised": lines.revised | revised,
            "final_decided": np.where(revised, lines.decided, lines.final_decided),
            "final_denied": np.where(revised, denied, lines.final_denied),
            "final_allowed": np.where(revised, np.where(denied, 0.0, repriced.round(2)), lines.final_allowed),
            "final_seen": np.where(revised, np.maximum(lines.decision_seen, again), lines.final_seen),
        }
    )


def claims_frame(customer: Customer, lines: Lines, *, versions: bool = True) -> pd.DataFrame:
    """The lines as a product's claims table would hold them in the end, a row a line, sorted by submission.

    The decision is the last one; the columns `first_...` hold the first where another replaced it, and are empty
    elsewhere. Without `versions` the decision is the first and those columns are left out.
    """
    names = [payer.name for payer in customer.payers]
    names += [payer.renamed_to or payer.name for payer in customer.payers]
    first = _decision(customer, lines)
    decision = first
    if versions:
        last = replace(
            lines, decided=lines.final_decided, denied=lines.final_denied, allowed=lines.final_allowed,
            decision_seen=lines.final_seen,
        )  # fmt: skip
        decision = _decision(customer, last) | {
            f"first_{name}": values.where(lines.revised) for name, values in first.items()
        }
    frame = pd.DataFrame(
        {
            "payer": _words(lines.payer + len(customer.payers) * lines.renamed, names),
            "cpt": _words(lines.code, customer.codes),
            "cpt_group": _words(lines.code, [customer.groups[code] for code in range(len(customer.codes))]),
            "modifiers": _words(lines.modifier, MODIFIERS),
            "facility": _words(lines.facility, ("North", "South", "Clinic")),
            "submitted_date": _dates(customer, lines.submitted),
            "billed_amount": lines.billed,
            **decision,
        }
    )
    if customer.arrival != "same day" or customer.late is not None:
        frame["first_seen_at"] = _dates(customer, lines.seen)
    return frame.iloc[np.argsort(lines.submitted, kind="stable")].reset_index(drop=True)


def _decision(customer: Customer, lines: Lines) -> dict[str, pd.Series]:
    """The columns of the lines' decisions."""
    reasons = (AUTHORIZATION, *OTHER_REASONS)
    outcome = np.where(lines.decided < 0, 2, lines.denied.astype(np.int64))
    columns = {
        "decided_date": _dates(customer, lines.decided),
        "outcome": _words(outcome, ("PAID", "DENIED", "PENDING")),
        "allowed_amount": pd.Series(lines.allowed),
        "paid_amount": pd.Series((lines.allowed * 0.82).round(2)),
        "denial_reason_code": _words(np.where(lines.denied, lines.reason, len(reasons)), (*reasons, None)),
    }
    if customer.arrival != "same day" or any((customer.late, customer.resent, customer.corrected)):
        columns["decision_seen_at"] = _dates(customer, lines.decision_seen)
    return columns


def _words(index: Ints, words: tuple[str | None, ...] | list[str]) -> pd.Series:
    return pd.Series(pd.array(words, dtype="str").take(index))


def _dates(customer: Customer, day: Ints) -> pd.Series:
    start = np.datetime64(customer.start, "D")
    return pd.Series(np.where(day < 0, np.datetime64("NaT"), start + day).astype("datetime64[s]"))
