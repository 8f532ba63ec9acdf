"""The oracle: a likelihood-ratio CUSUM that is told everything but the luck of the draw. The physical limit of delay.

For one payer and one change it knows the rates, lags, prices and volumes before and after, the calendar, the habit of
the files and the over-dispersion of weeks; it does not know whether or when the change comes. At a look it sees what
every contestant sees. Its statistic is the largest sum of log-likelihood ratios over the days since any day; lines
still open count by the chance to be open at their age. The lines of a week share its luck: their sum is divided by the
over-dispersion of as many lines as the week has shown since that day. Not here: other contestants.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.drift_arena.almanac import Bools, Calendar, Floats, Ints, calendar
from benchmarks.drift_arena.cases import SIZES, Setup
from benchmarks.drift_arena.simulator import (
    EXTRA_WAIT_SHAPE,
    LONGEST_LAG,
    LOST,
    MODIFIER_PRICES,
    Change,
    Lines,
    Payer,
    expected_lines,
    files_seen,
)

REACH = 200  # days before the first look on which a change may have begun
STRAY = 0.005  # share of decisions the lag curve does not tell of (weekends); bounds a line's evidence
SMALLEST_PEAK = 0.3  # excursions below are not kept: no threshold is that low


@dataclass(frozen=True)
class Sight:
    """One payer's lines as the oracle uses them, and what each look can see.

    `seen_at` and `decided_at` are the number of the first look that knows the line and its decision (`looks`: none
    does). `first` is the first day in reach. `decided_up_to` is, per look, the last day whose decisions are in.
    """

    payer: Payer
    days: Calendar
    looks: Ints
    first: int
    count: int
    submitted: Ints
    decided: Ints
    denied: Bools
    authorization: Bools
    code: Ints
    residual: Floats
    seen_at: Ints
    decided_at: Ints
    decided_up_to: Ints
    files: Ints
    expected: Floats


def scenarios() -> list[Change]:
    """The changes the oracle has a chart for, on a day not told; prices by submission and by decision."""
    changes = [Change(signal, size, 0) for signal, size, _ in SIZES]
    return changes + [replace(each, on="decision") for each in changes if each.signal == "allowed_amount"]


def scenario_name(signal: str, size: float, on: str) -> str:
    """Names a chart; only prices differ by the day on which they change."""
    return f"{signal} {size:g} {on if signal == 'allowed_amount' else 'submission'}"


def run_oracle(setup: Setup, lines: Lines) -> dict[str, Any]:
    """Trials: the statistic at each look after the change. Customers without: the peaks of every chart's excursions."""
    sights = [look_at(setup, lines, payer) for payer in range(len(setup.customer.payers))]
    if setup.trials:
        by_name = {sight.payer.name: sight for sight in sights}
        paths = []
        for trial in setup.trials:
            sight = by_name[trial.payer]
            assert sight.payer.change is not None
            path = statistic(sight, replace(sight.payer.change, ramp=0))
            paths.append([round(float(each), 2) for each in path[sight.looks > trial.day]])
        return {"alarms": [], "signals": [], "paths": paths}
    peaks = {
        scenario_name(change.signal, change.size, change.on): [
            [round(float(peak), 3) for peak in excursion_peaks(statistic(sight, change))] for sight in sights
        ]
        for change in scenarios()
    }
    return {"alarms": [], "signals": [], "peaks": peaks}


def look_at(setup: Setup, lines: Lines, which: int) -> Sight:
    """What the oracle is told of one payer of a customer."""
    customer, payer = setup.customer, setup.customer.payers[which]
    days = calendar(customer.start, customer.days + LONGEST_LAG + 90)
    files = files_seen(customer, days)
    looks = np.array(setup.looks)
    first = max(0, setup.looks[0] - REACH)
    mine = np.flatnonzero((lines.payer == which) & (lines.submitted >= first))
    lost = lines.decided[mine] < 0
    list_price = payer.price[lines.code[mine]] * np.array(MODIFIER_PRICES)[lines.modifier[mine]]
    priced = lines.allowed[mine] > 0
    residual = np.full(len(mine), np.nan)
    residual[priced] = np.log(lines.allowed[mine][priced] / list_price[priced])
    # The last day up to which every file has come, and of it the last on which payers work.
    latest = np.maximum.accumulate(files)
    last_in = np.searchsorted(latest, looks, side="left") - 1
    worked = np.maximum.accumulate(np.where(days.work, np.arange(len(days.work)), 0))
    return Sight(
        payer=payer,
        days=days,
        looks=looks,
        first=first,
        count=int(looks[-1]) - first,
        submitted=lines.submitted[mine],
        decided=lines.decided[mine],
        denied=lines.denied[mine],
        authorization=lines.denied[mine] & (lines.reason[mine] == 0),
        code=lines.code[mine],
        residual=residual,
        seen_at=_first_look(looks, lines.seen[mine]),
        decided_at=np.where(lost, len(looks), _first_look(looks, lines.decision_seen[mine])),
        decided_up_to=worked[np.maximum(last_in, 0)],
        files=files,
        expected=expected_lines(replace(payer, change=None), days, customer.days, customer.closed),
    )


def _first_look(looks: Ints, seen: Ints) -> Ints:
    """The number of the first look later than `seen`; len(looks) where there is none."""
    number: Ints = np.searchsorted(looks, seen, side="right")
    return number


def statistic(sight: Sight, change: Change) -> Floats:
    """The CUSUM at each look: the largest sum of evidence since any day, at least 0."""
    of_week = {
        "denial_rate": _denial,
        "authorization_denials": _denial,
        "decision_lag": _lag,
        "allowed_amount": _price,
        "volume": _volume,
        "procedure_mix": _mix,
    }[change.signal](sight, change)
    starts, week = _weeks(sight)
    whole = of_week[starts]
    later = np.cumsum(whole[::-1], axis=0)[::-1] - whole
    peak: Floats = np.maximum((of_week + later[week]).max(axis=0), 0.0)
    return peak


def _weeks(sight: Sight) -> tuple[Ints, Ints]:
    """The first day of each week in reach, and the number of the week of each day."""
    weeks = sight.days.week[sight.first : sight.first + sight.count]
    _, starts, number = np.unique(weeks, return_index=True, return_inverse=True)
    return starts, number


def _rest_of_week(sight: Sight, cells: Floats) -> Floats:
    """Sums over the rest of its week from each day on, by look."""
    starts, week = _weeks(sight)
    since = np.cumsum(cells[::-1], axis=0)[::-1]
    after = np.concatenate([since[starts[1:]], np.zeros((1, cells.shape[1]))])
    rest: Floats = since - after[week]
    return rest


def _shared_luck(sight: Sight, evidence: Floats, lines: Floats, a_line: float) -> Floats:
    """Evidence of the rest of each week, its lines' variance inflated by `a_line` for every line beside them."""
    return _rest_of_week(sight, evidence) / (1.0 + a_line * _rest_of_week(sight, lines))


def excursion_peaks(path: Floats) -> Floats:
    """The peak of each stretch above 0 that is kept; an excursion that began before the first look counts too."""
    up = path > 0
    number = np.cumsum(np.diff(up.astype(np.int64), prepend=0) == 1)
    peaks = np.zeros(int(number.max(initial=0)) + 1)
    np.maximum.at(peaks, number[up], path[up])
    kept: Floats = peaks[peaks >= SMALLEST_PEAK]
    return kept


def threshold(peaks: list[float], years: float, rate: float) -> float:
    """The height that excursions exceed `rate` times a year, from their peaks in `years` of an unchanged payer.

    Where fewer than 30 would exceed it, from an exponential tail above the height that 30 to 200 exceed: the peaks of
    a CUSUM of likelihood ratios fall off exponentially.
    """
    ordered = np.sort(np.asarray(peaks))[::-1]
    wanted = rate * years
    if wanted >= 30:
        # A rate above that of all excursions has no threshold that gives it; the lowest comes nearest.
        return float(ordered[min(int(wanted), len(ordered) - 1)])
    count = min(max(30, len(ordered) // 20), 200, len(ordered) - 1)
    base = ordered[count]
    scale = float((ordered[:count] - base).mean())
    return float(base + scale * np.log(count / wanted))


def _spread(sight: Sight, day: Ints, look: Ints, weight: Floats) -> Floats:
    """Weights summed by day in reach (rows) and look (columns), each from the first look that knows it."""
    number = len(sight.looks)
    rows = day - sight.first
    used = (look < number) & (rows >= 0) & (rows < sight.count) & np.isfinite(weight)
    flat = np.zeros(sight.count * number)
    np.add.at(flat, rows[used] * number + look[used], weight[used])
    cells: Floats = np.cumsum(flat.reshape(sight.count, number), axis=1)
    return cells


def _open(sight: Sight) -> Floats:
    """Lines known and not decided as far as known, by submission day and look."""
    ones = np.ones(len(sight.submitted))
    known = np.maximum(sight.seen_at, 0)
    return _spread(sight, sight.submitted, known, ones) - _spread(
        sight, sight.submitted, np.maximum(sight.decided_at, known), ones
    )


def _ages(sight: Sight) -> Ints:
    """Days from submission to the last day whose decisions a look knows, by submission day and look."""
    day = sight.first + np.arange(sight.count)
    age: Ints = np.clip(sight.decided_up_to[None, :] - day[:, None], 0, LONGEST_LAG)
    return age


def _denial(sight: Sight, change: Change) -> Floats:
    payer = sight.payer
    before = np.minimum(payer.code_denial[sight.code], 0.9)
    share = float(payer.mix @ np.minimum(payer.code_denial, 0.9))
    if change.signal == "denial_rate":
        after, share_after = np.minimum(before * change.size, 0.95), min(share * change.size, 0.95)
        denied = np.log(after / before)
    else:
        after, share_after = before + change.size, share + change.size
        authorization = before * payer.authorization_share
        denied = np.where(sight.authorization, np.log((authorization + change.size) / authorization), 0.0)
    paid = np.log((1.0 - after) / (1.0 - before))
    evidence = _spread(sight, sight.submitted, sight.decided_at, np.where(sight.denied, denied, paid))
    open_paid, open_denied = _still_open(payer, 0.0)
    ratio = np.log(_mixed(share_after, open_paid, open_denied) / _mixed(share, open_paid, open_denied))
    evidence += _open(sight) * ratio[_ages(sight)]
    level = share if change.signal == "denial_rate" else share * payer.authorization_share
    # Open lines speak too, and of the same week's luck.
    seen = _spread(sight, sight.submitted, sight.seen_at, np.ones(len(sight.code)))
    return _shared_luck(sight, evidence, seen, payer.week_denial_sd**2 * level / (1.0 - level))


def _lag(sight: Sight, change: Change) -> Floats:
    payer = sight.payer
    curves = [_decided_by(payer, extra) for extra in (0.0, change.size)]
    last = sight.decided - sight.submitted
    worked = sight.days.work[sight.decided]
    # A decision day stands for the days since the working day before it; one on a weekend for itself.
    previous = np.concatenate(
        [[0], np.maximum.accumulate(np.where(sight.days.work, np.arange(len(sight.days.work)), 0))[:-1]]
    )
    width = np.where(worked, sight.decided - previous[sight.decided], 1)
    stray = STRAY * width / LONGEST_LAG
    chances = []
    for curve in curves:
        last_age = np.clip(last, 0, LONGEST_LAG)
        first_age = np.clip(last - width, 0, LONGEST_LAG)
        outcome = sight.denied.astype(np.int64)
        chances.append((1.0 - STRAY) * (curve[outcome, last_age] - curve[outcome, first_age]) + stray)
    evidence = _spread(sight, sight.submitted, sight.decided_at, np.log(chances[1] / chances[0]))
    share = float(payer.mix @ payer.code_denial)
    still = [_mixed(share, *_still_open(payer, extra)) for extra in (0.0, change.size)]
    evidence += _open(sight) * np.log(still[1] / still[0])[_ages(sight)]
    decided = _spread(sight, sight.submitted, sight.decided_at, np.ones(len(sight.code)))
    return _shared_luck(sight, evidence, decided, (payer.week_lag_sd / payer.lag_sigma) ** 2)


def _decided_by(payer: Payer, extra: float) -> Floats:
    """Share decided by each age in whole days (columns), paid and denied (rows), `extra` days slower on average."""
    age = np.arange(LONGEST_LAG + 1, dtype=np.float64)
    waits = np.zeros(1)
    if extra:
        waits = stats.gamma.ppf((np.arange(60) + 0.5) / 60, EXTRA_WAIT_SHAPE, scale=extra / EXTRA_WAIT_SHAPE)
    left = np.maximum(age[None, :] - waits[:, None], 1e-9)
    return np.array(
        [
            stats.norm.cdf(np.log(left / median) / sigma).mean(axis=0) * (age >= 1)
            for median, sigma in (
                (payer.lag_median, payer.lag_sigma),
                (payer.denied_lag_median, payer.denied_lag_sigma),
            )
        ]
    )


def _still_open(payer: Payer, extra: float) -> tuple[Floats, Floats]:
    """Share of the paid and of the denied lines still open at each age, the lost included."""
    paid, denied = 1.0 - _decided_by(payer, extra)
    return LOST + (1 - LOST) * paid, LOST + (1 - LOST) * denied


def _mixed(denial: float, paid: Floats, denied: Floats) -> Floats:
    return (1.0 - denial) * paid + denial * denied


def _price(sight: Sight, change: Change) -> Floats:
    payer, shift = sight.payer, float(np.log1p(change.size))
    ratio = (shift * sight.residual - shift * shift / 2) / payer.price_sd**2
    day = sight.decided if change.on == "decision" else sight.submitted
    evidence = _spread(sight, day, sight.decided_at, ratio)
    paid = _spread(sight, day, sight.decided_at, np.where(np.isfinite(ratio), 1.0, np.nan))
    return _shared_luck(sight, evidence, paid, (payer.week_price_sd / payer.price_sd) ** 2)


def _volume(sight: Sight, change: Change) -> Floats:
    """The weekly factor is integrated out: as a gamma variable of its variance it gives a closed form."""
    day = sight.first + np.arange(sight.count)
    known = sight.files[day][:, None] < sight.looks[None, :]
    counted = np.bincount(sight.submitted - sight.first, minlength=sight.count)[: sight.count]
    sent = counted.astype(np.float64)[:, None] * known
    expected = sight.expected[day][:, None] * known
    starts, week = _weeks(sight)
    rest, rest_expected = _rest_of_week(sight, sent), _rest_of_week(sight, expected)
    whole, whole_expected = rest[starts][week], rest_expected[starts][week]
    shape = sight.payer.week_volume_sd**-2
    ratio: Floats = rest * np.log1p(change.size) - (whole + shape) * np.log1p(
        change.size * rest_expected / (shape + whole_expected)
    )
    return ratio


def _mix(sight: Sight, change: Change) -> Floats:
    """The size of the change is in the payer's other mix already; the over-dispersion is the groups' weekly wobble."""
    assert change.signal == "procedure_mix"
    payer = sight.payer
    ratio = np.log(payer.mix_after / payer.mix)
    evidence = _spread(sight, sight.submitted, sight.seen_at, ratio[sight.code])
    centred = ratio - payer.mix @ ratio
    within = float(payer.mix @ centred**2)
    # All codes of a group share their ratio, so its groups are the distinct values.
    values = np.unique(centred.round(9))
    shares = np.array([float(payer.mix[np.isclose(centred, value)].sum()) for value in values])
    wobble = float(np.sum((shares * values) ** 2)) * payer.week_mix_sd**2
    seen = _spread(sight, sight.submitted, sight.seen_at, np.ones(len(sight.code)))
    return _shared_luck(sight, evidence, seen, wobble / within)
