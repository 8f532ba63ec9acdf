"""The bars the product is held to, each with the figure measured and whether it is met. Not here: measuring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.drift_arena.cases import BAR_CELLS
from benchmarks.drift_arena.tables import days, percent

MOST_FALSE_EVENTS = 1.0  # a customer-year at 10 payers, all signals, daily looks
MOST_DECOYS = 0.02
LEAST_FOUND = 0.95
MOST_RATIO = 1.5


@dataclass(frozen=True)
class Bar:
    """One bar: what is asked, what was measured, whether that meets it."""

    asked: str
    measured: str
    met: bool


def bars(product: dict[str, Any]) -> list[Bar]:
    """All bars for which the run has figures."""
    return [*_false_events(product), *_decoys(product), *_changes(product)]


def _false_events(product: dict[str, Any]) -> list[Bar]:
    quiet = product["false_events"].get("null")
    if quiet is None:
        return []
    low, high = quiet["a_year_interval"]
    measured = f"{quiet['a_year']:.2f} ({low:.2f} to {high:.2f}); {quiet['events']} in {quiet['customer_years']:.0f} years"
    return [
        Bar("at most 1 false event a customer-year", measured, quiet["a_year"] <= MOST_FALSE_EVENTS),
    ]


def _decoys(product: dict[str, Any]) -> list[Bar]:
    decoys = product["decoys"]
    if not decoys:
        return []
    wrong, payers = (sum(each[name] for each in decoys.values()) for name in ("wrong", "payers"))
    return [
        _decoy("all decoys together", wrong, payers),
        *(
            _decoy(f"decoy {name.replace('_', ' ')}", each["wrong"], each["payers"])
            for name, each in decoys.items()
        ),
    ]


def _decoy(name: str, wrong: int, payers: int) -> Bar:
    # With a decimal: 1 of 40 is over 2 %, and would read as 2 % without.
    return Bar(
        f"{name}: at most 2 %",
        f"{100 * wrong / payers:.1f} % ({wrong} of {payers})",
        wrong / payers <= MOST_DECOYS,
    )


def in_bar(cell: dict[str, Any]) -> bool:
    """Whether a cell is one of those that must be found."""
    key = (cell["signal"], cell["size"], cell["volume"], cell["ramp"], cell["on"])
    return key in {(each.signal, each.size, each.volume, each.ramp, each.on) for each in BAR_CELLS}


def _changes(product: dict[str, Any]) -> list[Bar]:
    rows = []
    for cell in filter(in_bar, product["changes"]):
        measured = f"{percent(cell['share'])} ({cell['found']} of {cell['trials']})"
        rows.append(Bar(f"{cell['name']}: found at 95 % or more", measured, cell["share"] >= LEAST_FOUND))
        if "ratio" in cell:
            ratio = cell["ratio"]
            told = "-" if ratio is None else f"{ratio:.2f}"
            measured = f"{told} ({days(cell['median'])} days, oracle {days(cell['oracle_median'])})"
            met = ratio is not None and ratio <= MOST_RATIO
            rows.append(Bar(f"{cell['name']}: at most 1.5 times the oracle's median delay", measured, met))
    return rows
