"""Draws payers: how many lines, how fast, how often denied, at what prices. The ranges here are the world's constants.

They were chosen from how offices and payers work, before any contestant was run on them, and are no one's tuning.
"""

from __future__ import annotations

import string

import numpy as np

from benchmarks.drift_arena.almanac import Floats
from benchmarks.drift_arena.simulator import OTHER_REASONS, Payer

GROUPS = ("Visits", "Imaging", "Laboratory", "Procedures")
CODES = (
    "99202", "99203", "99204", "99212", "99213", "99214", "99215",
    "70450", "71046", "72148", "73030", "76700",
    "80053", "83036", "85025", "36415",
    "20610", "11102", "17000", "45380",
)  # fmt: skip
CODE_GROUPS = ("Visits",) * 7 + ("Imaging",) * 5 + ("Laboratory",) * 4 + ("Procedures",) * 4
LIST_PRICES = np.array([
    74, 114, 169, 57, 92, 130, 183, 118, 34, 212, 35, 121, 11, 10, 8, 9, 68, 102, 66, 480,
], dtype=np.float64)  # fmt: skip
POPULARITY = np.array([3, 6, 4, 5, 22, 16, 4, 2, 4, 2, 3, 2, 6, 5, 6, 8, 4, 2, 3, 2], dtype=np.float64)
GROUP_DENIALS = {"Visits": 0.8, "Imaging": 1.5, "Laboratory": 0.9, "Procedures": 1.4}


def draw_payer(
    rng: np.random.Generator,
    index: int,
    lines: float,
    reference_day: int,
    *,
    denial: float | None = None,
    denied_lag: float | None = None,
    growth: float | None = None,
    moved: float = 0.2,
) -> Payer:
    """A payer with `lines` a weekday at `reference_day`; what is not given is drawn.

    `denial`: its rate over all lines. `denied_lag`: median days to a denial over median days to a payment.
    `moved`: share of the lines that a change of the mix moves to other codes.
    """
    weights = POPULARITY * np.exp(rng.normal(0.0, 0.5, len(CODES)))
    mix = weights / weights.sum()
    rate = float(rng.uniform(0.05, 0.15)) if denial is None else denial
    by_code = np.array([GROUP_DENIALS[group] for group in CODE_GROUPS])
    by_code = by_code * np.repeat(np.exp(rng.normal(0.0, 0.25, 4)), (7, 5, 4, 4)) * np.exp(rng.normal(0, 0.1, 20))
    lag_median = float(np.exp(rng.uniform(np.log(7.0), np.log(24.0))))
    ratio = float(np.exp(rng.uniform(np.log(0.6), np.log(1.9)))) if denied_lag is None else denied_lag
    weekday = np.array([1.12, 1.06, 1.02, 0.98, 0.82]) * np.exp(rng.normal(0, 0.05, 5))
    return Payer(
        name=f"Payer {string.ascii_uppercase[index]}",
        lines=lines,
        reference_day=reference_day,
        growth=float(np.exp(rng.normal(0.03, 0.07))) if growth is None else growth,
        weekday=(*(weekday / weekday.mean()), 1.0, 1.0),
        edge=float(rng.uniform(0.0, 0.25)),
        denial=rate,
        code_denial=by_code * rate / float(mix @ by_code),
        authorization_share=float(rng.uniform(0.12, 0.3)),
        reasons=rng.dirichlet(np.full(len(OTHER_REASONS), 4.0)),
        lag_median=lag_median,
        lag_sigma=float(rng.uniform(0.3, 0.6)),
        denied_lag_median=lag_median * ratio,
        denied_lag_sigma=float(rng.uniform(0.35, 0.65)),
        mix=mix,
        mix_after=_moved(rng, mix, moved),
        price=LIST_PRICES * float(rng.uniform(0.85, 1.6)) * np.exp(rng.normal(0.0, 0.08, len(CODES))),
        price_sd=float(rng.uniform(0.06, 0.16)),
        week_volume_sd=float(rng.uniform(0.05, 0.11)),
        week_denial_sd=float(rng.uniform(0.05, 0.15)),
        week_lag_sd=float(rng.uniform(0.01, 0.05)),
        week_price_sd=float(rng.uniform(0.001, 0.005)),
        week_mix_sd=float(rng.uniform(0.03, 0.08)),
    )


def _moved(rng: np.random.Generator, mix: Floats, moved: float) -> Floats:
    """The mix after `moved` of all lines went from the visits to one other group; the total variation is `moved`."""
    group = np.array(CODE_GROUPS)
    target = group == rng.choice(GROUPS[1:])
    visits = group == "Visits"
    amount = min(moved, 0.8 * float(mix[visits].sum()))
    after = mix.copy()
    after[visits] *= 1.0 - amount / mix[visits].sum()
    after[target] *= 1.0 + amount / mix[target].sum()
    return after
