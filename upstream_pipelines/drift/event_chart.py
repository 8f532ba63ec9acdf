"""The picture of one event: the signal over time with its change, and how complete the figures are.

Belongs here: drawing. Not here: the figures drawn (event_series.py). As in chart.py, without pyplot.
"""

from __future__ import annotations

import io
import textwrap
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from upstream_pipelines.drift.chart import BASELINE_COLOUR, CURRENT_COLOUR, NOTE_COLOUR, SCALE, plain_text
from upstream_pipelines.drift.event_series import COMPLETE, EventPoints, waits_for_decisions

LABELS = {
    "denial_rate": "Share of decided lines denied, %",
    "decision_lag": "Median days to a decision",
    "allowed_amount": "Allowed amount, same procedures (before = 100)",
    "volume": "Claim lines a week",
    "procedure_mix": "Share of claim lines, %",
    "authorization_denials": "Share denied for authorization, %",
}
_SHARE = {"procedure_mix"}
_LINES = ("#1f5fbf", "#c2571a", "#2f7d4f", "#7a4fa3")
_CHANGE_COLOUR = "#c0392b"


def event_chart(points: EventPoints, title: str) -> bytes:
    """Draw an event as a PNG of 900 by 400 pixels.

    Points with 95 % intervals, hollow where their days or their lines are not all in; the baseline and its interval in grey; the
    change as a red line in the band of days it may have been; at the right the share of lines decided by their age,
    before the change and since.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 4.0), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(
        "\n".join(textwrap.wrap(plain_text(title), 88)[:3]), fontsize=11, fontweight="bold", x=0.01, ha="left"
    )
    main, side = figure.subplots(1, 2, width_ratios=(3.4, 1.0))
    for axes in (main, side):
        axes.grid(axis="y", color="#e3e6eb", linewidth=0.8)
        axes.set_axisbelow(b=True)
        axes.tick_params(labelsize=8, colors="#3b4350")
        for name in ("top", "right"):
            axes.spines[name].set_visible(False)
        for name in ("left", "bottom"):
            axes.spines[name].set_color("#b9c0cb")
    _draw_signal(main, points)
    _draw_completeness(side, points)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _draw_signal(axes: Any, points: EventPoints) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.ticker import MaxNLocator

    scale = 100.0 if points.signal in _SHARE else SCALE[points.signal]
    change, low, high = points.change
    axes.axvspan(low, high + timedelta(days=1), color=_CHANGE_COLOUR, alpha=0.10, linewidth=0)
    axes.axvline(change, color=_CHANGE_COLOUR, linewidth=1.4, linestyle=(0, (4, 2)))
    value, bottom, top = (part * scale for part in points.baseline)
    # An expected volume moves with the calendar, and a mix has a line a code: neither has one baseline.
    if points.signal not in {"volume", "procedure_mix"} and np.isfinite(value):
        if np.isfinite(bottom) and np.isfinite(top):
            axes.axhspan(bottom, top, color=BASELINE_COLOUR, alpha=0.18, linewidth=0)
        axes.axhline(value, color=BASELINE_COLOUR, linewidth=1.2, label="before the change")
    for number, (name, rows) in enumerate(points.points.groupby("line", sort=False)):
        colour = _LINES[number % len(_LINES)] if name else CURRENT_COLOUR
        middle = [
            first + timedelta(days=(days - 1) / 2) for first, days in zip(rows["first"], rows["days"], strict=True)
        ]
        values = rows["value"].to_numpy() * scale
        axes.plot(middle, values, color=colour, linewidth=1.0, alpha=0.55, zorder=2)
        axes.vlines(
            middle, rows["low"] * scale, rows["high"] * scale, color=colour, linewidth=1.3, alpha=0.55, zorder=2
        )
        full = rows["complete"].to_numpy(dtype=bool)
        axes.scatter(
            middle, values, s=26, zorder=3, edgecolors=colour, linewidths=1.3,
            facecolors=[colour if done else "white" for done in full],
            label=plain_text(str(name)) if name else None,
        )  # fmt: skip
        expected = rows["expected"].to_numpy(dtype=float) * scale
        if np.isfinite(expected).any():
            axes.plot(
                middle, expected, color=BASELINE_COLOUR, linewidth=1.4, drawstyle="steps-mid", label="expected"
            )
    _limit(axes, points.points, scale)
    axes.annotate(
        f"changed about {change:%b} {change.day}",
        (change, 1.0), xycoords=("data", "axes fraction"), xytext=(-5, -4), textcoords="offset points",
        ha="right", va="top", fontsize=8, color=_CHANGE_COLOUR,
    )  # fmt: skip
    axes.set_title(LABELS[points.signal], fontsize=9, loc="left", color="#3b4350")
    axes.xaxis.set_major_locator(AutoDateLocator(minticks=4, maxticks=8))  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(ConciseDateFormatter(axes.xaxis.get_major_locator()))  # type: ignore[no-untyped-call]
    axes.yaxis.set_major_locator(MaxNLocator(6))
    blocks = int(points.points["days"].mode().iloc[0]) if len(points.points) else 7
    waits = f" or {COMPLETE:.0%} decided" if waits_for_decisions(points.signal, points.by) else ""
    text = f"a point: {blocks} days by day of {points.by}, 95 % interval; hollow: under a week{waits}"
    axes.set_xlabel(text, fontsize=7.5, color=NOTE_COLOUR)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7.5, frameon=False, loc="upper left", ncols=4, borderaxespad=0.2)


def _limit(axes: Any, points: pd.DataFrame, scale: float) -> None:
    """Room for values and most of the intervals: one thin block's interval must not flatten the rest."""
    if not len(points):
        return
    low = np.nanquantile(points["low"].fillna(points["value"]), 0.1) * scale
    high = np.nanquantile(points["high"].fillna(points["value"]), 0.9) * scale
    low, high = min(low, points["value"].min() * scale), max(high, points["value"].max() * scale)
    room = 0.12 * (high - low or abs(high) or 1.0)
    # A quarter more above, for the legend and the date.
    axes.set_ylim(max(low - room, 0.0), high + 2.5 * room)


def _draw_completeness(axes: Any, points: EventPoints) -> None:
    from matplotlib.ticker import MaxNLocator

    for name, colour, label in (
        ("before", BASELINE_COLOUR, "sent before"), ("since", CURRENT_COLOUR, "sent since")
    ):  # fmt: skip
        curve = points.curves[name]
        if len(curve):
            axes.plot(np.arange(len(curve)), 100 * curve, color=colour, linewidth=1.8, label=label)
    axes.set_ylim(0, 104)
    axes.set_xlim(left=0)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_title("Lines decided by age, %", fontsize=9, loc="left", color="#3b4350")
    axes.set_xlabel(
        f"age in days, up to {points.complete_to:%b} {points.complete_to.day}", fontsize=7.5, color=NOTE_COLOUR
    )
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7.5, frameon=False, loc="lower right")
