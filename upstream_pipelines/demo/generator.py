"""Seeded synthetic claims of the demonstration: three providers, one with more denials, one with lower prices.

No person is in them, real or made up: a line has ids, codes, dates and amounts. Not here: files, the story.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

_PAYERS = ("Aetna", "Blue Cross Blue Shield", "Cigna", "UnitedHealthcare")
_CODES = (
    "99203",
    "99213",
    "99214",
    "99215",
    "93000",
    "71046",
    "80053",
    "85025",
    "36415",
    "97110",
    "20610",
    "J1100",
)
_PRICES = np.array([110.0, 92.0, 131.0, 184.0, 17.0, 34.0, 14.0, 10.5, 8.6, 31.0, 66.0, 12.0])
_WEIGHTS = np.array([8, 22, 18, 6, 7, 6, 9, 9, 6, 12, 4, 3]) / 110
_DENIALS = ("CO-16", "CO-50", "CO-97", "CO-197", "CO-29")


@dataclass(frozen=True)
class Change:
    """What one payer starts to do on a day (of decision): deny a share, pay a part of its prices."""

    payer: str
    day: date
    denial_rate: float | None = None
    price_factor: float = 1.0


def synthetic_claims(seed: int, last_day: date, days: int, change: Change | None = None) -> pd.DataFrame:
    """Claim lines submitted in the `days` days before `last_day`, as they will be known in the end.

    About 45 lines a payer and weekday; 10 % denied; decisions after 10 to 40 days, later for denials.
    Returns columns claim_id, line_number, payer, cpt, service_date, submitted_date, decided_date, outcome,
    billed_amount, allowed_amount, paid_amount, denial_reason_code, provider_npi; all lines are decided.
    """
    random = np.random.default_rng(seed)
    calendar = pd.date_range(end=pd.Timestamp(last_day) - pd.Timedelta(days=1), periods=days, unit="s")
    weekdays = calendar[calendar.day_of_week < 5]
    # A wobble from week to week, as real volumes have: 5 %.
    weeks = (weekdays - weekdays[0]).days // 7
    wobble = random.lognormal(0.0, 0.05, size=(len(_PAYERS), int(weeks.max()) + 1))
    volume = random.poisson(45 * wobble[:, weeks])
    payer = np.repeat(np.repeat(np.arange(len(_PAYERS)), len(weekdays)), volume.ravel())
    submitted = np.repeat(np.tile(weekdays.to_numpy(), len(_PAYERS)), volume.ravel())
    count = len(payer)
    lag_if_paid = np.rint(random.gamma(9.0, 2.0, count)).astype(int) + 2
    lag_if_denied = np.rint(random.gamma(9.0, 2.4, count)).astype(int) + 2
    changed_payer = np.zeros(count, dtype=bool)
    if change is not None:
        changed_payer = payer == _PAYERS.index(change.payer)
    rate = np.full(count, 0.10)
    decided_if_denied = submitted + lag_if_denied * np.timedelta64(1, "D")
    if change is not None and change.denial_rate is not None:
        rate[changed_payer & (decided_if_denied >= np.datetime64(change.day))] = change.denial_rate
    denied = random.random(count) < rate
    decided = submitted + np.where(denied, lag_if_denied, lag_if_paid) * np.timedelta64(1, "D")
    code = random.choice(len(_CODES), count, p=_WEIGHTS)
    factor = np.ones(count)
    if change is not None:
        factor[changed_payer & (decided >= np.datetime64(change.day))] = change.price_factor
    allowed = np.round(_PRICES[code] * (0.94 + 0.04 * payer) * factor * random.lognormal(0.0, 0.04, count), 2)
    frame = pd.DataFrame(
        {
            "payer": np.array(_PAYERS, dtype=object)[payer],
            "cpt": np.array(_CODES, dtype=object)[code],
            "service_date": submitted - random.integers(1, 5, count) * np.timedelta64(1, "D"),
            "submitted_date": submitted,
            "decided_date": decided,
            "outcome": np.where(denied, "DENIED", "PAID"),
            "billed_amount": np.round(_PRICES[code] * 1.9, 2),
            "allowed_amount": np.where(denied, np.nan, allowed),
            "paid_amount": np.where(denied, 0.0, np.round(allowed * 0.8, 2)),
            "denial_reason_code": pd.Series(random.choice(_DENIALS, count)).where(denied),
            "provider_npi": random.choice(["1234567893", "1245319599", "1982736453"], count),
        }
    ).sort_values(["submitted_date", "payer"], kind="stable", ignore_index=True)
    number = np.arange(count)
    frame.insert(0, "claim_id", pd.Series("D" + pd.Series(number // 2 + 1).astype(str).str.zfill(8)))
    frame.insert(1, "line_number", number % 2 + 1)
    return frame


def as_known_on(claims: pd.DataFrame, day: date) -> pd.DataFrame:
    """The lines as the provider's system showed them at the start of a day: later decisions are pending."""
    known = claims[claims["submitted_date"] < pd.Timestamp(day)].copy()
    open_lines = known["decided_date"] >= pd.Timestamp(day)
    known.loc[open_lines, "outcome"] = "PENDING"
    known.loc[open_lines, ["decided_date", "denial_reason_code"]] = None
    known.loc[open_lines, ["allowed_amount", "paid_amount"]] = np.nan
    return known


def changed_since(earlier: pd.DataFrame, later: pd.DataFrame) -> pd.DataFrame:
    """Lines of `later` that `earlier` lacks or shows with another outcome: what a daily export holds."""
    before = earlier[["claim_id", "line_number", "outcome"]].rename(columns={"outcome": "before"})
    joined = later.merge(before, on=["claim_id", "line_number"], how="left")
    return joined[joined["before"].fillna("") != joined["outcome"]].drop(columns="before")
