"""From the results of a run to one summary: the JSON that is printed, plotted and written into the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.drift_arena.cases import FOUND_WITHIN, PAYERS, SIZES
from benchmarks.drift_arena.measures import (
    FOUND_AS,
    Result,
    changes_found,
    customer_years,
    decoy_alarms,
    false_events,
    quantile,
)
from benchmarks.drift_arena.oracle import scenario_name, threshold

NAMES = {(signal, size): name for signal, size, name in SIZES}
DIRECTIONS = 2


def summarise(results: dict[str, list[Result]]) -> dict[str, Any]:
    """Each contestant's measures over its results, beside the oracle's at the same rate of false events."""
    oracle = Oracle(results.get("oracle", []))
    return {
        "contestants": {
            contestant: _of(own, oracle) for contestant, own in results.items() if contestant != "oracle"
        }
    }


class Oracle:
    """The oracle's statistics of a run, from which its delays follow at any rate of false events."""

    def __init__(self, results: Sequence[Result]) -> None:
        quiet = [each for each in results if each["case"] == "null"]
        self.payer_years = sum(customer_years(each) * len(each["payers"]) for each in quiet)
        self.peaks: dict[str, list[float]] = {}
        for each in quiet:
            for name, by_payer in each["peaks"].items():
                self.peaks.setdefault(name, []).extend(peak for peaks in by_payer for peak in peaks)
        self.paths = {
            (each["case"], each["index"], trial["payer"]): (trial, path)
            for each in results
            if each["case"].startswith("change")
            for trial, path in zip(each["trials"], each["paths"], strict=True)
        }

    def height(self, trial: dict[str, Any], a_chart: float) -> float:
        """The threshold of a trial's chart at that many false events a year and chart."""
        name = scenario_name(trial["signal"], trial["size"], trial["on"])
        return threshold(self.peaks[name], self.payer_years, a_chart)

    def delays(self, trials: Sequence[tuple[str, int, str]], a_chart: dict[str, float]) -> list[float] | None:
        """Days from each change to the oracle's alarm at a rate by signal; None where it was not run on all of them."""
        if not self.peaks or any(each not in self.paths for each in trials):
            return None
        delays = []
        for each in trials:
            trial, path = self.paths[each]
            over = np.flatnonzero(np.asarray(path)[:FOUND_WITHIN] >= self.height(trial, a_chart[trial["signal"]]))
            delays.append(float(over[0] + 1) if len(over) else math.inf)
        return delays


def _of(results: list[Result], oracle: Oracle) -> dict[str, Any]:
    cases: dict[str, list[Result]] = {}
    for result in results:
        cases.setdefault(result["case"], []).append(result)
    signals = sorted({signal for each in results for signal in each["signals"]})
    quiet = {name: false_events(own) for name, own in cases.items() if name.startswith("null")}
    a_chart = chart_rates(quiet["null"]) if "null" in quiet else None
    looks = sum(len(each["looks"]) for each in results)
    return {
        "customers": len(results),
        "looks": looks,
        "seconds_a_look": sum(each["seconds"] for each in results) / max(1, looks),
        "signals": signals,
        "false_events_a_chart_year": a_chart,
        "false_events": quiet,
        "changes": _changes(cases, oracle, a_chart),
        "decoys": {
            name.removeprefix("decoy_"): decoy_alarms(own)
            for name, own in cases.items()
            if name.startswith("decoy_")
        },
    }


def chart_rates(quiet: dict[str, Any]) -> dict[str, float]:
    """By signal the false events a year and payer that would pass for a change of it being found.

    A contestant spends its false events on the signals as it likes, and the oracle gets as many on each: those of the
    signals a change may rightly be found as, of one direction where only one is right. With none in the run the
    rate is taken as half an event.
    """
    rates = {}
    for signal in dict.fromkeys(signal for signal, _, _ in SIZES):
        right = FOUND_AS.get(signal, (signal,))
        own = sum(quiet["by_signal_a_year"].get(each, 0.0) for each in right)
        directions = 1 if signal == "procedure_mix" else DIRECTIONS
        rates[signal] = max(own, 0.5 / quiet["customer_years"]) / (PAYERS * directions)
    return rates


def _changes(
    cases: dict[str, list[Result]], oracle: Oracle, a_chart: dict[str, float] | None
) -> list[dict[str, Any]]:
    found = changes_found(each for name, own in cases.items() if name.startswith("change") for each in own)
    order = [(signal, size) for signal, size, _ in SIZES]
    cells = []
    for cell, figures in sorted(
        found.items(), key=lambda item: (item[0][3], order.index(item[0][:2]), item[0][2], item[0][4])
    ):
        signal, size, volume, ramp, on = cell
        name = NAMES[signal, size] + (f", by {on} day" if signal == "allowed_amount" else "")
        delays = figures.pop("delays")
        trials = figures.pop("trials_run")
        told = {"name": name, "signal": signal, "size": size, "volume": volume, "ramp": ramp, "on": on, **figures}
        told["delays"] = [None if math.isinf(delay) else delay for delay in delays]
        limit = oracle.delays(trials, a_chart) if a_chart is not None else None
        if limit is not None:
            told["oracle_share"] = sum(map(math.isfinite, limit)) / len(limit)
            told["oracle_median"] = quantile(limit, 0.5)
            told["ratio"], told["ratio_interval"] = _ratio(delays, limit)
        cells.append(told)
    return cells


def _ratio(delays: list[float], limit: list[float]) -> tuple[float | None, tuple[float | None, float | None]]:
    """Median delay over the oracle's, with a paired bootstrap interval; None is infinite."""
    rng = np.random.default_rng(1)
    pairs = np.array([delays, limit])
    drawn = pairs[:, rng.integers(0, len(delays), (2000, len(delays)))]
    medians = np.quantile(drawn, 0.5, axis=2, method="inverted_cdf")
    own, best = quantile(delays, 0.5), quantile(limit, 0.5)
    with np.errstate(invalid="ignore"):
        ratios = np.where(np.isinf(medians[0]), np.inf, medians[0] / medians[1])
    low, high = np.quantile(ratios, (0.025, 0.975), method="inverted_cdf")
    ratio = own / best if own is not None and best is not None else None
    return ratio, (_finite(low), _finite(high))


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
