"""From the results of a run to one summary: the JSON that is printed, plotted and written into the page."""

from __future__ import annotations

from typing import Any

from benchmarks.drift_arena.cases import SIZES
from benchmarks.drift_arena.measures import changes_found, decoy_alarms, false_events

NAMES = {(signal, size): name for signal, size, name in SIZES}


def summarise(results: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Each contestant's measures over its results."""
    return {"contestants": {contestant: _of(own) for contestant, own in results.items()}}


def _of(results: list[dict[str, Any]]) -> dict[str, Any]:
    cases: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        cases.setdefault(result["case"], []).append(result)
    changes = [each for name, own in cases.items() if name.startswith("change") for each in own]
    order = [(signal, size) for signal, size, _ in SIZES]
    cells = [
        {
            "name": NAMES[cell[0], cell[1]],
            "signal": cell[0],
            "size": cell[1],
            "volume": cell[2],
            "ramp": cell[3],
            **found,
        }
        for cell, found in sorted(
            changes_found(changes).items(), key=lambda item: (item[0][3], order.index(item[0][:2]), item[0][2])
        )
    ]
    return {
        "customers": len(results),
        "seconds_a_look": sum(each["seconds"] for each in results)
        / max(1, sum(len(each["looks"]) for each in results)),
        "signals": sorted({signal for each in results for signal in each["signals"]}),
        "false_events": {name: false_events(own) for name, own in cases.items() if name.startswith("null")},
        "changes": cells,
        "decoys": {
            name.removeprefix("decoy_"): decoy_alarms(own)
            for name, own in cases.items()
            if name.startswith("decoy_")
        },
    }
