"""How alarms are judged: false events, changes found and how soon, leaks, decoys; and the intervals of each figure.

Pure functions over results (dicts as runner.py stores them). Not here: running anything, tables, plots.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.drift_arena.cases import FOUND_WITHIN

Result = dict[str, Any]

# What an injected change may rightly be found as, and what else it truly touches and therefore does not leak into.
FOUND_AS = {"authorization_denials": ("authorization_denials", "denial_rate")}
TOUCHES = {
    "denial_rate": ("denial_rate", "authorization_denials"),
    "authorization_denials": ("denial_rate", "authorization_denials"),
}


def wilson(hits: int, trials: int) -> tuple[float, float]:
    """The 95 % Wilson interval of a share."""
    if trials == 0:
        return 0.0, 1.0
    z = 1.959963984540054
    centre = (hits + z * z / 2) / (trials + z * z)
    half = z * math.sqrt(hits * (trials - hits) / trials + z * z / 4) / (trials + z * z)
    return max(0.0, centre - half), min(1.0, centre + half)


def poisson_interval(events: int, years: float) -> tuple[float, float]:
    """The exact 95 % interval of a rate."""
    low = stats.chi2.ppf(0.025, 2 * events) / 2 if events else 0.0
    return float(low / years), float(stats.chi2.ppf(0.975, 2 * events + 2) / 2 / years)


def quantile(delays: Sequence[float], share: float) -> float | None:
    """The delay by which `share` of all trials were found; a missed one counts as infinite. None: never."""
    if not delays:
        return None
    value = float(np.quantile(np.asarray(delays), share, method="inverted_cdf"))
    return value if math.isfinite(value) else None


def median_interval(delays: Sequence[float]) -> tuple[float | None, float | None]:
    """The 95 % order-statistic interval of the median."""
    count, ordered = len(delays), sorted(delays)
    low = int(stats.binom.ppf(0.025, count, 0.5)) if count else 0
    if count == 0:
        return None, None
    ends = ordered[max(low - 1, 0)], ordered[min(count - low, count - 1)]
    first, last = (end if math.isfinite(end) else None for end in ends)
    return first, last


def customer_years(result: Result) -> float:
    """How long a customer was watched; libraries look less often."""
    return float(len(result["looks"]) * result.get("days_a_look", 1) / 365.0)


def own_payer(result: Result, name: str) -> str:
    """The payer's first name, for one that goes by another later."""
    return str(result["renamed"].get(name, name))


def false_events(results: Iterable[Result]) -> dict[str, Any]:
    """Events per customer-year where nothing changed: all, those that may be worsening, by signal; those of cause data apart."""
    events = worsening = data = 0
    years = 0.0
    by_signal: dict[str, int] = {}
    for result in results:
        years += customer_years(result)
        for alarm in result["alarms"]:
            if alarm["cause"] == "data":
                data += 1
                continue
            events += 1
            worsening += alarm["direction"] != "improving"
            by_signal[alarm["signal"]] = by_signal.get(alarm["signal"], 0) + 1
    if years == 0.0:
        return {}
    return {
        "customer_years": years,
        "events": events,
        "a_year": events / years,
        "a_year_interval": poisson_interval(events, years),
        "worsening_a_year": worsening / years,
        "data_a_year": data / years,
        "by_signal_a_year": {signal: count / years for signal, count in sorted(by_signal.items())},
    }


Cell = tuple[str, float, float, int, str]


def cell_of(trial: dict[str, Any]) -> Cell:
    """The cell of the design a trial belongs to: signal, size, volume, ramp, and the day prices go by."""
    return trial["signal"], trial["size"], trial["volume"], trial["ramp"], trial["on"]


def changes_found(results: Iterable[Result]) -> dict[Cell, dict[str, Any]]:
    """By cell: share found within FOUND_WITHIN days, delays, leaks, and what chance alone would have found.

    Chance: the share of the unchanged payers of the same customers that raise the same alarm in the same days.
    `trials_run` names each trial, in the order of `delays`.
    """
    cells: dict[Cell, dict[str, list[Any]]] = {}
    for result in results:
        changed = {trial["payer"] for trial in result["trials"]}
        for trial in result["trials"]:
            kept = cells.setdefault(cell_of(trial), {"delays": [], "leaks": [], "chance": [], "run": []})
            kept["delays"].append(_delay(result, trial, trial["payer"]))
            touched = TOUCHES.get(trial["signal"], (trial["signal"],))
            others = [alarm for alarm in _after(result, trial, trial["payer"]) if alarm["signal"] not in touched]
            kept["leaks"].append(bool(others))
            kept["run"].append((result["case"], result["index"], trial["payer"]))
            kept["chance"] += [
                math.isfinite(_delay(result, trial, payer)) for payer in result["payers"] if payer not in changed
            ]
    return {cell: _summary(kept) for cell, kept in cells.items()}


def _summary(kept: dict[str, list[Any]]) -> dict[str, Any]:
    delays = kept["delays"]
    found, leaks = sum(map(math.isfinite, delays)), sum(kept["leaks"])
    return {
        "trials": len(delays),
        "found": found,
        "share": found / len(delays),
        "share_interval": wilson(found, len(delays)),
        "median": quantile(delays, 0.5),
        "median_interval": median_interval(delays),
        "p90": quantile(delays, 0.9),
        "leaks": leaks,
        "leak_share": leaks / len(delays),
        "by_chance": sum(kept["chance"]) / len(kept["chance"]) if kept["chance"] else None,
        "delays": delays,
        "trials_run": kept["run"],
    }


def _after(result: Result, trial: dict[str, Any], payer: str) -> list[dict[str, Any]]:
    """A payer's alarms about payers in the days after a trial's change."""
    return [
        alarm
        for alarm in result["alarms"]
        if own_payer(result, alarm["payer"]) == payer
        and alarm["cause"] == "payer"
        and trial["day"] < alarm["day"] <= trial["day"] + FOUND_WITHIN
    ]


def _delay(result: Result, trial: dict[str, Any], payer: str) -> float:
    """Days from the change to the look that opened the right event; infinite when none did."""
    right = FOUND_AS.get(trial["signal"], (trial["signal"],))
    days = [
        alarm["day"]
        for alarm in _after(result, trial, payer)
        # A mix has no better or worse.
        if alarm["signal"] in right and (trial["signal"] == "procedure_mix" or alarm["direction"] == "worsening")
    ]
    return float(min(days) - trial["day"]) if days else math.inf


def decoy_alarms(results: Iterable[Result]) -> dict[str, Any]:
    """Share of the payers struck by a decoy with an alarm of a signal that did not change; and which signals."""
    struck = wrong = controls = control_wrong = 0
    signals: dict[str, int] = {}
    for result in results:
        hit = {trial["payer"] for trial in result["trials"]}
        for trial in result["trials"]:
            seen = {alarm["signal"] for alarm in _after(result, trial, trial["payer"])} - {trial["signal"]}
            struck += 1
            wrong += bool(seen)
            for signal in seen:
                signals[signal] = signals.get(signal, 0) + 1
        for payer in result["payers"]:
            if payer not in hit:
                controls += 1
                control_wrong += bool(_after(result, result["trials"][0], payer))
    return {
        "payers": struck,
        "wrong": wrong,
        "share": wrong / struck if struck else None,
        "share_interval": wilson(wrong, struck),
        "signals": dict(sorted(signals.items())),
        "control_payers": controls,
        "control_share": control_wrong / controls if controls else None,
    }
