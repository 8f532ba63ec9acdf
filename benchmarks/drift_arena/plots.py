"""The figures of a summary as PNG files. Not here: the numbers. Matplotlib's objects without pyplot's state."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.drift_arena.bars import LEAST_FOUND, MOST_DECOYS, MOST_FALSE_EVENTS, in_bar
from benchmarks.drift_arena.cases import FOUND_WITHIN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"product": "#1f5fbf", "fixed rule": "#c2571a", "evidently": "#6b8e23", "nannyml": "#8a5fa8"}
ORACLE, LINE, TEXT = "#30363f", "#b8bfca", "#5b6472"


def draw(summary: dict[str, Any], folder: Path) -> list[Path]:
    """Write the figures for which the summary has numbers; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    contestants = summary["contestants"]
    if any(each["false_events"] for each in contestants.values()):
        written.append(_save(_false_events(contestants), folder / "arena_false_events.png"))
    if any(each["changes"] for each in contestants.values()):
        written.append(_save(_delays(contestants), folder / "arena_delays.png"))
    if any(each["decoys"] for each in contestants.values()):
        written.append(_save(_decoys(contestants), folder / "arena_decoys.png"))
    return written


def _figure(height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: Path) -> Path:
    # Without the version of the library in the file, the same figures give the same bytes.
    figure.savefig(path, metadata={"Software": None})
    return path


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=LINE, alpha=0.4, linewidth=0.6)
    axes.set_axisbelow(True)


def _false_events(contestants: dict[str, Any]) -> Figure:
    rows = [
        (
            f"{name}: {case.replace('null_', '').replace('_', ' ').replace('null', 'nothing special')}",
            name,
            figures,
        )
        for name, each in contestants.items()
        for case, figures in each["false_events"].items()
    ][::-1]
    figure = _figure(1.1 + 0.32 * len(rows))
    axes = figure.subplots()
    for place, (_, name, figures) in enumerate(rows):
        low, high = figures["a_year_interval"]
        # A logarithmic axis has no zero: no event at all is drawn at the left edge.
        value = max(figures["a_year"], 0.05)
        axes.plot([max(low, 0.05), high], [place, place], color=COLOURS[name], linewidth=2, alpha=0.5)
        axes.plot(value, place, "o", color=COLOURS[name], markersize=7)
        axes.annotate(f"{figures['a_year']:.2f}", (high, place), xytext=(6, 0), textcoords="offset points",
                      va="center", fontsize=9, color=TEXT)  # fmt: skip
    axes.axvline(MOST_FALSE_EVENTS, color=ORACLE, linestyle="--", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlim(0.05, 1000)
    axes.set_yticks(range(len(rows)), [label for label, _, _ in rows])
    axes.set_xlabel("false events a customer-year, 95 % interval (log scale; dashed: the bar)")
    _plain(axes)
    return figure


def _delays(contestants: dict[str, Any]) -> Figure:
    cells = [cell for cell in contestants.get("product", {"changes": []})["changes"] if in_bar(cell)]
    cells = cells or next(each["changes"] for each in contestants.values() if each["changes"])
    labels = [cell["name"] for cell in cells][::-1]
    figure = _figure(1.6 + 0.42 * len(labels))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    names = [name for name, each in contestants.items() if each["changes"]]
    for which, name in enumerate(names):
        shift = (which - (len(names) - 1) / 2) * -0.17
        by_name = {_key(cell): cell for cell in contestants[name]["changes"]}
        for place, cell in enumerate(cells[::-1]):
            own = by_name.get(_key(cell))
            if own is None:
                continue
            _delay_mark(left, own, place + shift, COLOURS[name])
            right.plot(100 * own["share"], place + shift, "o", color=COLOURS[name], markersize=5.5)
    for place, cell in enumerate(cells[::-1]):
        if cell.get("oracle_median") is not None:
            left.plot(cell["oracle_median"], place, "|", color=ORACLE, markersize=17, markeredgewidth=2)
    left.set_yticks(range(len(labels)), labels)
    left.set_xlim(0, FOUND_WITHIN + 12)
    left.set_xlabel(
        "median delay in days, 95 % interval\n(upright bar: the oracle's at the product's rate; cross: half not found)",
        fontsize=8,
    )
    right.set_xlim(-3, 103)
    right.axvline(100 * LEAST_FOUND, color=ORACLE, linestyle="--", linewidth=1)
    right.set_xlabel("% found within 120 days\n(dashed: the bar)", fontsize=8)
    for axes in (left, right):
        _plain(axes)
    _legend(figure, names)
    return figure


def _key(cell: dict[str, Any]) -> tuple[Any, ...]:
    return cell["signal"], cell["size"], cell["volume"], cell["ramp"], cell["on"]


def _delay_mark(axes: Axes, cell: dict[str, Any], place: float, colour: str) -> None:
    never = FOUND_WITHIN + 6
    low, high = (never if end is None else end for end in cell["median_interval"])
    axes.plot([low, high], [place, place], color=colour, linewidth=2, alpha=0.5)
    if cell["median"] is None:
        axes.plot(never, place, "x", color=colour, markersize=6)
    else:
        axes.plot(cell["median"], place, "o", color=colour, markersize=5.5)


def _decoys(contestants: dict[str, Any]) -> Figure:
    names = [name for name, each in contestants.items() if each["decoys"]]
    decoys = list(dict.fromkeys(decoy for name in names for decoy in contestants[name]["decoys"]))[::-1]
    figure = _figure(1.5 + 0.34 * len(decoys))
    axes = figure.subplots()
    for which, name in enumerate(names):
        shift = (which - (len(names) - 1) / 2) * -0.17
        for place, decoy in enumerate(decoys):
            each = contestants[name]["decoys"].get(decoy)
            if each is not None:
                low, high = each["share_interval"]
                axes.plot(
                    [100 * low, 100 * high], [place + shift] * 2, color=COLOURS[name], linewidth=2, alpha=0.4
                )
                axes.plot(100 * each["share"], place + shift, "o", color=COLOURS[name], markersize=5.5)
    axes.axvline(100 * MOST_DECOYS, color=ORACLE, linestyle="--", linewidth=1)
    axes.set_yticks(range(len(decoys)), [decoy.replace("_", " ") for decoy in decoys])
    axes.set_xlim(-2, 102)
    axes.set_xlabel("% of payers with a wrong alarm within 120 days, 95 % interval (dashed: the bar)")
    _plain(axes)
    _legend(figure, names)
    return figure


def _legend(figure: Figure, names: list[str]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=COLOURS[name], marker="o", linestyle="") for name in names]
    figure.legend(handles, names, loc="outside upper center", ncols=len(names), frameon=False)
