"""The drift chart: baseline against current, a panel per signal, as a PNG.

Belongs here: drawing. Not here: the figures drawn (figures.py), an event over time (event_chart.py). Uses
matplotlib's objects without pyplot, which keeps state and a display of its own.
"""

from __future__ import annotations

import io
from typing import Any

import pandas as pd

from upstream_pipelines.drift.settings import RATE_SIGNALS, SIGNALS

TITLES = {
    "denial_rate": "Denial rate, %",
    "decision_lag": "Median decision time, days",
    "allowed_amount": "Allowed amount, before = 100",
    "volume": "Claim lines a week",
    "procedure_mix": "Procedure mix, % moved",
    "authorization_denials": "Denied for authorization, %",
}
SCALE = {
    "denial_rate": 100.0,
    "decision_lag": 1.0,
    "allowed_amount": 100.0,
    "volume": 1.0,
    "procedure_mix": 100.0,
    "authorization_denials": 100.0,
}
PANELS_A_ROW = 3
BASELINE_COLOUR, CURRENT_COLOUR, NOTE_COLOUR = "#8a94a6", "#1f5fbf", "#5b6472"


def drift_chart(figures: pd.DataFrame, title: str) -> bytes:
    """Draw the rows of `figures_of`: per payer the baseline (grey) and current (blue) value with 95 % intervals.

    900 pixels wide, three signals a row; the height grows with the payers. Of a rate, which waits for decisions, how
    much of the current block is decided stands at the right of its panel; nothing of the others is still to come.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    payers = list(dict.fromkeys(figures["payer"]))
    rows = -(-len(SIGNALS) // PANELS_A_ROW)
    height = 0.9 + rows * (0.75 + 0.38 * max(len(payers), 2))
    figure = Figure(figsize=(9.0, height), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(plain_text(title), fontsize=12, fontweight="bold")
    panels = figure.subplots(rows, PANELS_A_ROW, sharey=True, squeeze=False)
    for axes, signal in zip(panels.ravel(), SIGNALS, strict=True):
        _panel(axes, figures[figures["signal"] == signal], signal, payers)
    figure.legend(
        handles=[
            Line2D([], [], color=BASELINE_COLOUR, marker="o", linewidth=2, label="before"),
            Line2D(
                [],
                [],
                color=CURRENT_COLOUR,
                marker="o",
                linewidth=2,
                # An event's figures are carried forward to the end: without a word the two seem to contradict each other.
                label="last days (right, of rates: how many of the lines sent in these days are decided; before: of lines as old)",
            ),
        ],
        loc="outside lower center",
        ncols=2,
        fontsize=8,
        frameon=False,
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _panel(axes: Any, rows: pd.DataFrame, signal: str, payers: list[str]) -> None:
    from matplotlib.ticker import MaxNLocator

    place = {payer: -position for position, payer in enumerate(payers)}
    axes.set_title(TITLES[signal], fontsize=10)
    axes.set_ylim(-max(len(payers), 1) + 0.4, 0.6)
    axes.set_yticks(list(place.values()), [_short(payer) for payer in payers], fontsize=9)
    axes.tick_params(axis="x", labelsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(4))  # more labels run into each other at a third of the width
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#e3e6eb", linewidth=0.8)
    axes.set_axisbelow(b=True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    known = rows[rows["current"].notna() & rows["baseline"].notna()]
    at = known["payer"].map(place).to_numpy(dtype=float)
    for name, offset, colour in (("baseline", 0.14, BASELINE_COLOUR), ("current", -0.14, CURRENT_COLOUR)):
        value, low, high = (known[key].to_numpy() * SCALE[signal] for key in (name, f"{name}_low", f"{name}_high"))
        # All payers in one object: an object each took an eighth of the drawing.
        axes.hlines(at + offset, low, high, color=colour, linewidth=2, capstyle="round")
        axes.plot(value, at + offset, marker="o", markersize=5, linestyle="none", color=colour)
    for row in rows.to_dict("records"):
        drawn = pd.notna(row["current"]) and pd.notna(row["baseline"])
        decided = f"{row['maturity']:.0%}" if signal in RATE_SIGNALS and pd.notna(row["maturity"]) else ""
        axes.annotate(
            decided if drawn else "not enough data",
            (1.0, place[row["payer"]]),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="center",
            fontsize=7,
            color=NOTE_COLOUR,
        )
    axes.margins(x=0.25)


def plain_text(text: str) -> str:
    """Names come from outside: a dollar sign would begin a formula, a control character has no glyph."""
    return "".join(letter if letter.isprintable() else " " for letter in text).replace("$", r"\$")


def _short(payer: str) -> str:
    # 22 characters of 9-point text take a fifth of the width; longer names would press the panels.
    return plain_text(payer if len(payer) <= 22 else f"{payer[:21]}…")
