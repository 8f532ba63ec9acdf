"""Who and what a change comes from: rate and mix, and contributions that add up to it.

Belongs here: the explanation of an event as JSON, from its breakdown. Not here: reading the claims (breakdown.py),
the arithmetic (decomposition.py), wording (explanation.py).

Every explanation has the same form: `before`, `since` and `change` in `unit`; `parts` of the change; and `by`, for
each dimension a list of {name, total, ...} with the largest first. In each list the totals, together with the part
`maturity` where there is one, add up to the change. `share` is the part of the lines (of codes of denials: of the
denials before; of prices: of the dollars) that bears the name: so much of the change it would have, were all alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from upstream_pipelines.claims.codes import code_name
from upstream_pipelines.drift.breakdown import AGE_EDGES, Breakdown, period_numbers
from upstream_pipelines.drift.decomposition import (
    RateSplit,
    split_by_reason,
    split_rate,
    split_shortfall,
)
from upstream_pipelines.drift.facts import Floats, Ints
from upstream_pipelines.drift.price_moves import Code, by_code, codes_of, moves_by_facility, price_moves
from upstream_pipelines.drift.units import number_of

SHOWN = 12
"""Names kept of each dimension; the others are one entry, so that the list still adds up."""
OTHERS = "all others"


def explain(breakdown: Breakdown, row: Mapping[str, Any]) -> dict[str, Any] | None:
    """The explanation of a row of a look, or None where a period holds nothing that could be compared."""
    signal = str(row["signal"])
    found = _EXPLAINED[signal](breakdown, row)
    if found is None:
        return None
    periods = breakdown.periods
    return {
        **found,
        "periods": {
            "before": [periods.before_first.isoformat(), periods.before_last.isoformat()],
            "since": [periods.since_first.isoformat(), periods.since_last.isoformat()],
        },
    }


def _denials(column: str) -> Callable[[Breakdown, Mapping[str, Any]], dict[str, Any] | None]:
    def explained(breakdown: Breakdown, _row: Mapping[str, Any]) -> dict[str, Any] | None:
        splits: dict[str, tuple[list[str], RateSplit, Floats]] = {}
        for dimension in ("cpt_group", "facility"):
            names, counted, lines = _cube(breakdown.of(dimension), column)
            split = split_rate(counted, lines)
            if split is None:
                return None
            splits[dimension] = (names, split, _share(lines.sum(axis=1)).mean(axis=0))
        reasons, denied, decided = _cube(breakdown.of("denial_code"), column)
        by_reason = split_by_reason(denied, decided.sum(axis=2))
        main = splits["cpt_group"][1]
        return {
            "unit": "share of decided lines",
            "before": main.before,
            "since": main.since,
            "change": main.since - main.before,
            "parts": {
                "rate": float(main.rate.sum()),
                "mix": float(main.mix.sum()),
                "maturity": main.maturity,
            },
            "by": {
                **{
                    dimension: _entries(names, share=share, rate=split.rate, mix=split.mix)
                    for dimension, (names, split, share) in splits.items()
                },
                # Reasons that moved nothing, and "", the lines that are not denied, are left out.
                "denial_code": [
                    entry
                    for entry in _entries(
                        [_reason_name(reason) for reason in reasons],
                        total=by_reason,
                        share=_share(denied.sum(axis=1))[0],
                    )
                    if entry["total"]
                ],
            },
        }

    return explained


def _lag(breakdown: Breakdown, _row: Mapping[str, Any]) -> dict[str, Any] | None:
    assert breakdown.exposure is not None
    by: dict[str, list[dict[str, Any]]] = {}
    totals = parts = None
    for dimension in ("cpt_group", "facility"):
        rows = breakdown.exposure[breakdown.exposure["dimension"] == dimension]
        names, decided, line_days = _cube(rows, "decided", "line_days")
        before = decided[0].sum(axis=1), line_days[0].sum(axis=1)
        pace = np.divide(before[0], before[1], out=np.zeros_like(before[0]), where=before[1] > 0)
        expected = (line_days * pace[None, :, None]).sum(axis=1)
        observed = decided.sum(axis=1)
        if not expected[1].sum() > 0:
            return None
        split = split_shortfall(observed, expected)
        by[dimension] = _entries(names, share=_share(expected)[1], rate=split.pace, mix=split.mix)
        if totals is None:
            totals = float(expected[1].sum()), float(observed[1].sum())
            parts = {"rate": float(split.pace.sum()), "mix": float(split.mix.sum())}
    assert totals is not None
    return {
        "unit": "decisions since the change",
        "before": totals[0],
        "since": totals[1],
        "change": totals[1] - totals[0],
        "parts": parts,
        "by": by,
    }


def _volume(breakdown: Breakdown, row: Mapping[str, Any]) -> dict[str, Any] | None:
    """The row's lines a week and those it expected, each shared out as the lines of its period were.

    The row knows weekdays, holidays and growth. Lines counted here over days of the calendar do not: of an office
    that is open on weekdays, a period from Friday to Monday would show half of what it should.
    """
    before, since = number_of(row["baseline"]), number_of(row["current"])
    if before is None or since is None or breakdown.total("before", "lines") <= 0:
        return None
    by = {}
    for dimension in ("cpt_group", "facility"):
        names, lines, _ = _cube(breakdown.of(dimension), "lines")
        counts = lines.sum(axis=1)
        share0, share1 = _share(counts)
        if not share1.any():
            share1 = share0  # without a line since the change each is missed as it was expected
        by[dimension] = _entries(names, total=since * share1 - before * share0, share=share0)
    return {
        "unit": "lines a week", "before": before, "since": since, "change": since - before, "parts": {}, "by": by,
    }  # fmt: skip


def _prices(breakdown: Breakdown, _row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Allowed dollars at the prices since the change against the same lines at the prices before."""
    moves = price_moves(breakdown)
    if moves is None:
        return None
    whole = float(moves.old_dollars.sum())
    part = moves.dollars / whole
    facilities, by_facility = moves_by_facility(breakdown, moves)
    rows = breakdown.of("procedure_facility")
    allowed = rows[rows["period"] == "since"].groupby("name")["allowed"].sum().reindex(facilities, fill_value=0.0)
    dollars, groups = moves.old_dollars / whole, _groups(breakdown, moves.codes)
    return {
        "unit": "share of allowed dollars",
        "before": 1.0,
        "since": 1.0 + moves.change,
        "change": moves.change,
        "parts": {"rate": moves.change},
        "by": {
            "procedure": _entries([code_name(*code) for code in moves.codes], total=part, share=dollars),
            "cpt_group": _entries(*_summed(groups, part), share=_summed(groups, dollars)[1]),
            "facility": _entries(
                facilities,
                total=by_facility / whole,
                share=_share(np.asarray(allowed, dtype=np.float64)),
            ),
        },
    }


def _mix(breakdown: Breakdown, row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Dollars a line at the codes' own prices, and how each code's share of the lines moved.

    The relative change is the row's, so that there is one figure of it; what the sums here differ by (labelled days,
    prices of codes hardly paid) is shared out as the lines are.
    """
    rows = breakdown.of("procedure")
    codes = codes_of(rows)
    lines = by_code(rows, codes, "lines")
    total = lines.sum(axis=1)
    if not (total > 0).all():
        return None
    share = lines / total[:, None]
    price = code_prices(breakdown, codes, share[0])
    moved = share[1] - share[0]
    middle = float((share.mean(axis=0) * price).sum())
    before = float((share[0] * price).sum())
    change = before * (number_of(row["effect"]) or 0.0)
    part = moved * (price - middle)
    part = part + share.mean(axis=0) * (change - part.sum())
    groups = _groups(breakdown, codes)
    # The shares add up to 1 in both periods, so the constant `middle` changes nothing but who is credited.
    return {
        "unit": "dollars a line, at the prices before" if price.any() else "share of lines",
        "before": before,
        "since": before + change,
        "change": change,
        "parts": {"mix": change},
        "by": {
            "procedure": _entries(
                [code_name(*code) for code in codes],
                order=moved,
                total=part,
                share_before=share[0],
                share_since=share[1],
            ),
            "cpt_group": _entries(*_summed(groups, part), share=_summed(groups, share.mean(axis=0))[1]),
        },
    }


def code_prices(breakdown: Breakdown, codes: Sequence[Code], share: Floats) -> Floats:
    """Mean allowed amount of each code before the change, or since where it was not paid before. What was never paid is
    taken to be worth a mean line of those before, of which `share` is of each code: 0 would be a loss that nobody had.
    """
    rows = breakdown.of("procedure")
    count, allowed = (by_code(rows, codes, name) for name in ("priced", "allowed"))
    mean = np.divide(allowed, count, out=np.zeros_like(allowed), where=count > 0)
    price = np.asarray(np.where(count[0] > 0, mean[0], mean[1]), dtype=np.float64)
    known = float(share[price > 0].sum())
    usual = float((share * price).sum()) / known if known > 0 else 0.0
    return np.asarray(np.where(price > 0, price, usual), dtype=np.float64)


_EXPLAINED: dict[str, Callable[[Breakdown, Mapping[str, Any]], dict[str, Any] | None]] = {
    "denial_rate": _denials("denied"),
    "authorization_denials": _denials("denied_authorization"),
    "decision_lag": _lag,
    "allowed_amount": _prices,
    "volume": _volume,
    "procedure_mix": _mix,
}


def _cube(rows: pd.DataFrame, counted: str, lines: str = "decided") -> tuple[list[str], Floats, Floats]:
    """Names, and the two columns as arrays of shape (2 periods, age bins, names)."""
    names = sorted(set(rows["name"]))
    where = (
        period_numbers(rows),
        rows["age_bin"].to_numpy(),
        pd.Index(names).get_indexer(rows["name"]),
    )
    arrays = []
    for column in (counted, lines):
        values = np.zeros((2, len(AGE_EDGES) + 1, len(names)))
        np.add.at(values, where, rows[column].to_numpy(dtype="float64"))
        arrays.append(values)
    return names, arrays[0], arrays[1]


def _groups(breakdown: Breakdown, codes: Sequence[Code]) -> list[str]:
    """The CPT group of each code."""
    rows = breakdown.of("procedure").drop_duplicates(["cpt", "modifiers"]).set_index(["cpt", "modifiers"])["name"]
    return [str(rows.loc[code]) for code in codes]


def _reason_name(reason: str) -> str:
    """CO197 as CO-197, the way remittances print it."""
    return re.sub(r"^(CO|PR|OA|PI|CR)(?=.)", r"\1-", reason)


def _summed(names: Sequence[str], values: Floats) -> tuple[list[str], Floats]:
    sums = pd.Series(values).groupby(np.array(names, dtype=object)).sum()
    return [str(name) for name in sums.index], np.asarray(sums, dtype=np.float64)


def _share(counts: Floats) -> Floats:
    """Each name's part of the last axis's sum; 0 where that is 0."""
    whole = counts.sum(axis=-1, keepdims=True)
    return np.asarray(np.divide(counts, whole, out=np.zeros_like(counts), where=whole > 0), dtype=np.float64)


def _added(place: Ints, values: Floats) -> Floats:
    return np.asarray(np.bincount(place, values), dtype=np.float64)


def _entries(
    names: Sequence[str],
    total: Floats | None = None,
    order: Floats | None = None,
    share: Floats | None = None,
    **parts: Floats,
) -> list[dict[str, Any]]:
    """The largest by size of `order` (default: the total), the others in one entry. What bears one name is one."""
    if total is None:
        total = np.sum(list(parts.values()), axis=0)
    values = {"total": total, **parts} | ({} if share is None else {"share": share})
    order = total if order is None else order
    place, distinct = pd.factorize(np.array(names, dtype=object))
    if len(distinct) < len(names):
        names, order = [str(name) for name in distinct], _added(place, order)
        values = {name: _added(place, value) for name, value in values.items()}
    ranked = np.argsort(-np.abs(order), kind="stable")
    kept = [
        {"name": names[at], **{name: float(value[at]) for name, value in values.items()}} for at in ranked[:SHOWN]
    ]
    rest = ranked[SHOWN:]
    if len(rest):
        kept.append({"name": OTHERS, **{name: float(value[rest].sum()) for name, value in values.items()}})
    return kept
