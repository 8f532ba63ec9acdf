"""Puts the figures of all benchmarks into one table and one picture: benchmarks/summary.json and benchmarks/summary.png.

The last step of `make bench`. It measures nothing: what it says is in the JSON that each benchmark has written beside itself, and
a benchmark that was not run is named. Each figure stands beside the most (or the least) that it is to be.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

FOLDER = Path(__file__).parent
GOOD, BAD, PLAIN = "#2a7d4f", "#b3402e", "#4a6fa5"


@dataclass(frozen=True)
class Row:
    """A figure of a benchmark, and its bound if it has one: `most` or `least`."""

    benchmark: str
    what: str
    value: float
    unit: str
    most: float | None = None
    least: float | None = None

    @property
    def verdict(self) -> str:
        """Whether the bound holds."""
        if self.most is None and self.least is None:
            return ""
        held = (self.most is None or self.value <= self.most) and (self.least is None or self.value >= self.least)
        return "met" if held else "not met"

    @property
    def bound(self) -> str:
        """The bound in words."""
        if self.most is not None:
            return f"at most {self.most:g}"
        return "" if self.least is None else f"at least {self.least:g}"


def of_path(found: Mapping[str, Any]) -> list[Row]:
    """Ingest beside a bare COPY of the same lines."""
    ratio = found["ratio_to_bare_copy"]
    slow = [name for name in ratio if name.startswith(("to_sql", "ORM"))]
    return [
        Row("path", "whole ingest", ratio["whole ingest"], "x bare COPY", most=1.5),
        Row("path", "the same file again", ratio["the same file again"], "x bare COPY", most=0.5),
        Row("path", "the same lines in other bytes", ratio["the same lines in other bytes"], "x bare COPY"),
        *(Row("path", name, ratio[name], "x bare COPY") for name in slow),
    ]


def of_memory(found: Mapping[str, int]) -> list[Row]:
    """Peak memory by the size of a file."""
    counts = sorted(found, key=int)
    small, large = found[counts[0]], found[counts[-1]]
    what = f"{int(counts[-1]):,} lines beside {int(counts[0]):,}"
    return [Row("path_memory", f"peak memory, {what}", large / small, "x", most=1.3)]


def of_look(found: Mapping[str, Any]) -> list[Row]:
    """A look, and a year of daily ones."""
    seconds = found["seconds"]
    return [
        Row("look", "one look", 1000 * seconds["one look"], "ms", most=20),
        Row("look", "a year of daily looks", seconds["a year of daily looks"], "s", most=5),
        Row("look", "the SQL pass it rests on", seconds["the SQL aggregate pass"], "s"),
    ]


def of_deliveries(found: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Deliveries to one receiver, by how many wait."""
    alone = [part for part in found if part["endpoints"] == 1 and not part["paused"]]
    return [
        Row("deliveries", f"one delivery, {part['waiting']:,} waiting", part["ms each"]["median"], "ms")
        for part in alone
    ]


def of_receipt(found: Mapping[str, Sequence[float]]) -> list[Row]:
    """From an event to its receipt."""
    parts = {"runs": "runs one after another", "sweep": "in a sweep", "full": "with a full queue"}
    return [
        Row("receipt", f"event to receipt, {parts[name]}", max(taken), "s", most=30)
        for name, taken in found.items()
    ]


def of_api(found: Mapping[str, Any]) -> list[Row]:
    """Webhook batches."""
    steady, flat, killed = found["steady"], found["as fast as it goes"], found["killed"]
    return [
        Row("api_load", f"p99 at {found['rate']} batches a second", steady["p99_ms"], "ms", most=25),
        Row("api_load", "batches, as fast as it goes", flat["batches_a_second"], "a second", least=found["rate"]),
        Row("api_load", "p99 of these", flat["p99_ms"], "ms"),
        Row("api_load", "acknowledged and lost, killed", killed["acknowledged_and_lost"], "batches", most=0),
    ]


def of_scale(found: Mapping[str, Any]) -> list[Row]:
    """Many customers."""
    rows = []
    for customers, seconds in found["seconds"].items():
        many = f"{int(customers):,} customers"
        full = int(customers) == 10_000
        rows += [
            Row("scale", f"upload sensor's tick, {many}", 1000 * seconds["tick of waiting_uploads"], "ms", most=200 if full else None),
            Row("scale", f"sweep, {many}", seconds["sweep"], "s", most=600 if full else None),
            Row("scale", f"sweep a customer, {many}", 1000 * seconds["sweep, a customer"], "ms"),
        ]  # fmt: skip
    return rows


PARTS: dict[str, Callable[[Any], list[Row]]] = {
    "path": of_path,
    "path_memory": of_memory,
    "look": of_look,
    "deliveries": of_deliveries,
    "receipt": of_receipt,
    "api_load": of_api,
    "scale": of_scale,
}


def _part(row: Row) -> float:
    """How much of its bound a figure takes; within the picture where that is nothing, or beyond all measure."""
    above, below = (row.least, row.value) if row.most is None else (row.value, row.most)
    if not above:
        return 2.0**-7
    return above / below if below else 2.0**5


def picture(rows: Sequence[Row]) -> Figure:
    """The figures with a bound as parts of it, on a scale where both twice and half are a step."""
    mpl.use("Agg")
    bound = [row for row in rows if row.verdict]
    parts = [_part(row) for row in bound]
    figure = Figure(figsize=(9, 0.36 * len(bound) + 1.2), layout="constrained")
    axes = figure.subplots()
    colours = [GOOD if row.verdict == "met" else BAD for row in bound]
    axes.barh(range(len(bound)), parts, color=colours, height=0.6, left=0)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log", base=2)
    axes.set_yticks(range(len(bound)), [f"{row.what} ({row.bound} {row.unit})" for row in bound])
    axes.invert_yaxis()
    ticks = [2.0**power for power in range(-8, 6, 2)]
    axes.set_xticks(ticks, [f"{tick:g}" if tick >= 1 else f"1/{1 / tick:g}" for tick in ticks])
    axes.set_xlabel("part of what it may take (1: the bound; shorter is better)")
    for place, (row, part) in enumerate(zip(bound, parts, strict=True)):
        axes.annotate(f" {row.value:,.3g} {row.unit}", (part, place), va="center", fontsize=8)
    axes.margins(x=0.18)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def main() -> None:
    rows: list[Row] = []
    for name, read in PARTS.items():
        file = FOLDER / f"{name}.json"
        if file.exists():
            rows += read(json.loads(file.read_text()))
        else:
            print(f"not measured: {file.name}")
    print(f"{'benchmark':12} {'what':52} {'value':>10} {'unit':12} {'bound':14} verdict")
    for row in rows:
        print(f"{row.benchmark:12} {row.what:52} {row.value:10,.3g} {row.unit:12} {row.bound:14} {row.verdict}")
    told = [{**asdict(row), "verdict": row.verdict} for row in sorted(rows, key=operator.attrgetter("benchmark"))]
    (FOLDER / "summary.json").write_text(json.dumps(told, indent=2) + "\n")
    picture(rows).savefig(FOLDER / "summary.png", dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
