"""The three aggregate frames drift is computed from, made out of claim lines.

Belongs here: which lines count, and as what. Not here: the same aggregation in SQL (store.py), any statistics.

A line is *decided* when it has a decided date and an outcome of PAID, DENIED or OTHER. A decided line is *denied*
when its outcome is DENIED and its code is none of CO-45, PR-1, PR-2, PR-3: contractual adjustments and patient
responsibility are no denials. It is denied *for authorisation* when it is denied with CARC 15, 197 or 198. Prices
come from PAID lines with an allowed amount above 0, per unit where units are given. A decision dated before the
submission counts as one at age 0. The day a fact became known is its own day, or the day it was first seen where
that is later.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from upstream_pipelines.claims.sections import section_of
from upstream_pipelines.errors import UpstreamError

ACTIVITY_KEYS = [
    "payer",
    "cpt_group",
    "submitted_day",
    "decision_age",
    "submitted_known_day",
    "decision_known_day",
]
ACTIVITY_SUMS = ["lines", "denied", "denied_authorization", "billed", "allowed", "paid"]
PRICE_KEYS = ["payer", "cpt", "modifiers", "cpt_group", "decided_day", "decision_known_day"]
PRICE_SUMS = ["lines", "sum_log_allowed", "sum_log_allowed_sq", "allowed"]
CODE_KEYS = ["payer", "cpt", "cpt_group", "submitted_day", "submitted_known_day"]

FIRST_DECISION = (
    "first_decided_date", "first_outcome", "first_denial_reason_code", "first_allowed_amount", "first_paid_amount",
    "first_units", "first_decision_seen_at",
)  # fmt: skip
DECIDED_OUTCOMES = ("PAID", "DENIED", "OTHER")
NOT_DENIALS = ("CO45", "PR1", "PR2", "PR3")
AUTHORIZATION_CODES = r"(?:CO|PR|OA|PI)?(?:15|197|198)"
_ISO_DAY = r"\d{4}-\d{2}-\d{2}(?:[T ]|$)"


class ClaimsFrameError(UpstreamError):
    """The claims given to drift lack a column, or a column cannot be read as what it must be."""

    code = "claims_frame"


class Activity(NamedTuple):
    """What drift is computed from: the rows of one customer in payer_activity, payer_prices and payer_codes."""

    activity: pd.DataFrame
    prices: pd.DataFrame
    codes: pd.DataFrame


def activity_from_claims(claims: pd.DataFrame, cpt_groups: Mapping[str, str] | None = None) -> Activity:
    """Aggregate one customer's claim lines into the columns of payer_activity, payer_prices and payer_codes.

    `claims` has a row per line: payer (or payer_name), submitted_date, decided_date, outcome, and optionally cpt,
    modifiers, cpt_group, billed_amount, allowed_amount, paid_amount, units, denial_reason_code, first_seen_at,
    decision_seen_at, and the columns of `FIRST_DECISION` for lines whose first decision another has replaced: the first
    counts. `cpt_groups` maps a code to its group, default OTHER; without it the column cpt_group counts, and without
    that the section of the code (claims/sections.py).
    Days come back as datetime64[s] without a time, decision_age as Int64 (<NA>: undecided).

    Raises:
        ClaimsFrameError: a needed column is missing, or one holds something else than dates, than outcomes, or than
            finite numbers.
    """
    lines = _typed(claims, cpt_groups)
    activity = lines.groupby(ACTIVITY_KEYS, dropna=False, sort=True, as_index=False)[ACTIVITY_SUMS].sum()
    priced = lines.loc[lines["priced"]]
    prices = (
        priced.assign(
            lines=1,
            sum_log_allowed=priced["log_allowed"],
            sum_log_allowed_sq=priced["log_allowed"] ** 2,
        )
        .groupby(PRICE_KEYS, sort=True, as_index=False)[PRICE_SUMS]
        .sum()
    )
    codes = lines.groupby(CODE_KEYS, sort=True, as_index=False)[["lines"]].sum()
    return Activity(activity, prices, codes)


def _typed(claims: pd.DataFrame, cpt_groups: Mapping[str, str] | None) -> pd.DataFrame:
    payer = "payer_name" if "payer_name" in claims.columns else "payer"
    missing = [name for name in (payer, "submitted_date", "decided_date", "outcome") if name not in claims.columns]
    if missing:
        raise ClaimsFrameError(
            f"Claims lack the column(s) {', '.join(missing)}. Give one row per line with payer (or payer_name), "
            "submitted_date, decided_date and outcome."
        )
    submitted = _days(claims, "submitted_date")
    counts = submitted.notna() & claims[payer].notna()
    rows, submitted = _first_decided(claims.loc[counts]), submitted.loc[counts]
    decided = _days(rows, "decided_date")
    outcome = rows["outcome"].astype("string").str.upper()
    unknown = sorted(set(outcome.dropna()) - {*DECIDED_OUTCOMES, "PENDING"})
    if unknown:
        raise ClaimsFrameError(
            f"Column outcome holds {len(unknown)} words that are no outcome. Give PAID, DENIED, PENDING or OTHER."
        )
    is_decided = decided.notna() & outcome.isin(DECIDED_OUTCOMES).fillna(value=False).astype(bool)
    first_seen, decision_seen = _days(rows, "first_seen_at"), _days(rows, "decision_seen_at")
    code = _text(rows, "denial_reason_code").str.upper().str.replace(r"[^A-Z0-9]", "", regex=True).fillna("")
    denied = is_decided & (outcome == "DENIED").fillna(value=False).astype(bool) & ~code.isin(NOT_DENIALS)
    age = (decided - submitted).dt.days.clip(lower=0).where(is_decided).astype("Int64")
    allowed, units = _amount(rows, "allowed_amount"), _amount(rows, "units")
    cpt = _text(rows, "cpt").fillna("UNSPECIFIED")
    if cpt_groups is not None:
        group = cpt.map(dict(cpt_groups)).astype("string").fillna("OTHER")
    elif "cpt_group" in rows.columns:
        group = _text(rows, "cpt_group").fillna("OTHER")
    else:
        group = cpt.map({code: section_of(code) for code in cpt.unique()}).astype("string")
    per_unit = np.where(units > 0, allowed / units.where(units > 0, 1.0), allowed)
    priced = is_decided & (outcome == "PAID").fillna(value=False).astype(bool) & (allowed > 0)
    return pd.DataFrame(
        {
            "payer": rows[payer].astype(str),
            "cpt": cpt.astype(str),
            "modifiers": _text(rows, "modifiers").fillna("").astype(str),
            "cpt_group": group.astype(str),
            "submitted_day": submitted,
            "decision_age": age,
            "decided_day": decided,
            "submitted_known_day": submitted.where(~(first_seen > submitted), first_seen),
            "decision_known_day": _known(decided, decision_seen.fillna(first_seen)).where(is_decided),
            "lines": 1,
            "denied": denied.astype(int),
            "denied_authorization": (denied & code.str.fullmatch(AUTHORIZATION_CODES)).astype(int),
            "billed": _amount(rows, "billed_amount").fillna(0.0),
            "allowed": allowed.fillna(0.0),
            "paid": _amount(rows, "paid_amount").fillna(0.0),
            "priced": priced,
            "log_allowed": np.log(np.where(priced, per_unit, 1.0)),
        }
    )


def _first_decided(rows: pd.DataFrame) -> pd.DataFrame:
    """The lines with their first decision, where another has replaced it and the frame tells."""
    if "first_outcome" not in rows.columns:
        return rows
    replaced = rows["first_outcome"].notna()
    first = {name: name.removeprefix("first_") for name in FIRST_DECISION if name in rows.columns}
    return rows.assign(
        **{
            name: rows[first_name].where(replaced, rows[name] if name in rows.columns else None)
            for first_name, name in first.items()
        }
    )


def _known(day: pd.Series, seen: pd.Series) -> pd.Series:
    return day.where(~(seen > day), seen)


def _days(rows: pd.DataFrame, column: str) -> pd.Series:
    """The column as days without time or zone; all missing where there is no such column."""
    if column not in rows.columns:
        return pd.Series(pd.NaT, index=rows.index, dtype="datetime64[s]")
    values = rows[column]
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        values = values.dt.tz_convert("UTC").dt.tz_localize(None)
    elif not pd.api.types.is_datetime64_dtype(values.dtype):
        values = _read_days(values.astype("object"), column)
    days: pd.Series = values.dt.floor("D").astype("datetime64[s]")
    return days


def _read_days(values: pd.Series, column: str) -> pd.Series:
    """Text, date objects and zoned stamps alike, of which each prints as ISO text; blank text is missing.

    Text of another form has two readings, and both make dates: 05/02/2026 read the wrong way round is no error
    anywhere, but a change of every payer.
    """
    text = values.astype("string").str.strip()
    text = text.where(text != "")
    if not text.str.match(_ISO_DAY).fillna(value=True).all():
        raise _no_dates(column)
    try:
        # Mixed zones need utc=True to be read at all.
        days: pd.Series = pd.to_datetime(text, utc=True, format="ISO8601").dt.tz_localize(None)
    except ValueError:
        raise _no_dates(column) from None
    return days


def _no_dates(column: str) -> ClaimsFrameError:
    return ClaimsFrameError(
        f"Column {column} holds something else than dates. Give dates, timestamps or ISO text (YYYY-MM-DD)."
    )


def _text(rows: pd.DataFrame, column: str) -> pd.Series:
    if column not in rows.columns:
        return pd.Series(pd.NA, index=rows.index, dtype="string")
    return rows[column].astype("string")


def _amount(rows: pd.DataFrame, column: str) -> pd.Series:
    if column not in rows.columns:
        return pd.Series(np.nan, index=rows.index, dtype="float64")
    try:
        amounts = pd.to_numeric(rows[column].astype("object"), errors="raise").astype("float64")
    except (ValueError, TypeError):
        raise ClaimsFrameError(f"Column {column} does not hold numbers. Give decimals or floats.") from None
    # No amount is infinite: it is what a division by zero left behind, and one alone makes every mean infinite.
    if np.isinf(amounts).any():
        raise ClaimsFrameError(f"Column {column} holds infinite numbers. Leave out what is not known.")
    return amounts
