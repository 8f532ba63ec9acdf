"""The pictures of a report, as PNGs: payers beside each other, the months, the scores of uploads, when changes began.

Belongs here: drawing what a content holds. Not here: tables and words (document.py). As in drift/chart.py, without pyplot.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from upstream_pipelines.drift.chart import BASELINE_COLOUR, CURRENT_COLOUR, NOTE_COLOUR, plain_text
from upstream_pipelines.drift.explanation import NAMES
from upstream_pipelines.reports.models import EventPart, MonthPart, PayerPart, Period, UploadPart
from upstream_pipelines.visible import visible

# More bars than these are read in the table.
SHOWN = 12
_WORSE, _BETTER = "#c0392b", "#2f7d4f"
_COLOURS = {"worsening": _WORSE, "improving": _BETTER}
_SOURCES = {"csv": CURRENT_COLOUR, "webhook": "#c2571a", "x12_835": "#7a4fa3"}


def payers_chart(payers: Sequence[PayerPart]) -> bytes:
    """Of the largest payers the share of decided lines denied, and dollars allowed and paid. 900 pixels wide."""
    shown = list(payers[:SHOWN])
    figure, (left, right) = _figure(1.0 + 0.36 * max(len(shown), 3), 2)
    at = [-float(number) for number in range(len(shown))]
    shares = [100 * (part.sums.denied_share or 0.0) for part in shown]
    left.barh(at, shares, height=0.55, color=_WORSE, alpha=0.75)
    for place, part, share in zip(at, shown, shares, strict=True):
        told = "no decision yet" if part.sums.denied_share is None else f"{share:.1f} %"
        left.annotate(told, (share, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)
    left.set_yticks(at, [_label(part.payer) for part in shown], fontsize=9)
    left.set_xlim(0, max([*shares, 1.0]) * 1.25)
    left.set_title("Denied, % of the lines decided", fontsize=10, loc="left")
    right.barh([place + 0.17 for place in at], [float(part.sums.allowed) for part in shown], height=0.3,
               color=BASELINE_COLOUR, label="allowed")  # fmt: skip
    right.barh([place - 0.17 for place in at], [float(part.sums.paid) for part in shown], height=0.3,
               color=CURRENT_COLOUR, label="paid")  # fmt: skip
    right.set_yticks(at, ["" for _ in shown])
    right.set_title("Dollars allowed and paid", fontsize=10, loc="left")
    right.xaxis.set_major_formatter(_dollars)
    # Beside the bars: in between, their colours are one.
    figure.legend(fontsize=8, frameon=False, loc="outside lower right", ncols=2)
    for axes in (left, right):
        axes.grid(axis="x", color="#e3e6eb", linewidth=0.8)
    return _png(figure)


def months_chart(months: Sequence[MonthPart]) -> bytes:
    """Lines by month of submission, those not decided yet in grey, and the share denied of those decided."""
    figure, (left, right) = _figure(2.6, 2)
    names = [f"{part.month:%b} {part.month.year % 100:02d}" for part in months]
    at = [float(number) for number in range(len(months))]
    decided = [part.sums.decided for part in months]
    left.bar(at, decided, width=0.6, color=CURRENT_COLOUR, label="decided")
    left.bar(
        at, [part.sums.waiting for part in months], bottom=decided, width=0.6, color="#cfd6e1", label="not yet"
    )
    left.set_title("Claim lines by month of submission", fontsize=10, loc="left")
    figure.legend(fontsize=8, frameon=False, loc="outside lower right", ncols=2)
    left.margins(y=0.25)
    known = [(place, 100 * part.sums.denied_share) for place, part in zip(at, months, strict=True)
             if part.sums.denied_share is not None]  # fmt: skip
    right.plot(
        [place for place, _ in known], [share for _, share in known], color=_WORSE, marker="o", linewidth=1.6
    )
    right.set_ylim(0, 1.2 * max([share for _, share in known] or [0.0]) or 1.0)
    right.set_title("Denied, % of the lines decided by now", fontsize=10, loc="left")
    for axes in (left, right):
        axes.set_xticks(at, names, fontsize=8, rotation=45 if len(names) > 8 else 0)
        axes.set_xlim(-0.6, len(months) - 0.4)
        axes.grid(axis="y", color="#e3e6eb", linewidth=0.8)
    return _png(figure)


def events_chart(events: Sequence[EventPart], period: Period) -> bytes:
    """When each change began and ended, a bar an event; the days of the report in grey."""
    shown = list(events[:SHOWN])
    figure, (axes,) = _figure(0.9 + 0.34 * max(len(shown), 2), 1)
    axes.axvspan(_day(period.first), _day(period.until), color="#eef1f5", linewidth=0)
    for place, event in enumerate(shown):
        end = _day(event.resolved_on) if event.resolved_on is not None else _day(period.until)
        begin = _day(event.started_on)
        colour = _COLOURS.get(event.direction, BASELINE_COLOUR) if event.cause == "payer" else BASELINE_COLOUR
        axes.barh(-place, max(end - begin, 1.0), left=begin, height=0.45, color=colour, alpha=0.8)
        if event.resolved_on is None:
            axes.annotate("goes on", (end, -place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8,
                          color=NOTE_COLOUR)  # fmt: skip
    axes.set_yticks([-place for place in range(len(shown))],
                    [f"{_short(event.payer)}: {NAMES[event.signal]}" for event in shown], fontsize=9)  # fmt: skip
    axes.set_ylim(-max(len(shown), 2) + 0.4, 0.6)
    _dates(axes)
    # Of the whole picture: over the axes alone it is cut where names are long.
    title = "From when to when: red worse, green better for the provider, grey the data or not clear"
    figure.suptitle(title, x=0.01, ha="left", fontsize=9, color="#3b4350")
    axes.margins(x=0.08)
    return _png(figure)


def uploads_chart(uploads: Sequence[UploadPart], period: Period) -> bytes:
    """The score of each listed upload by the day it came."""
    figure, (axes,) = _figure(2.4, 1)
    for source, colour in _SOURCES.items():
        own = [one for one in uploads if one.source == source and one.score is not None]
        if own:
            axes.scatter([_day(one.received_at) for one in own], [one.score for one in own], s=22, color=colour,
                         alpha=0.8, label=SOURCE_NAMES[source])  # fmt: skip
    lowest = min(one.score for one in uploads if one.score is not None)
    axes.set_ylim(max(0.0, min(lowest - 5, 90.0)), 101.5)
    axes.set_xlim(_day(period.first), _day(period.last + timedelta(days=1)))
    axes.grid(axis="y", color="#e3e6eb", linewidth=0.8)
    _dates(axes)
    axes.set_title("Quality score of the uploads, 0 to 100", fontsize=10, loc="left")
    figure.legend(fontsize=8, frameon=False, loc="outside lower right", ncols=3)
    return _png(figure)


SOURCE_NAMES = {"csv": "files", "webhook": "batches (webhook)", "x12_835": "remittances (X12 835)"}


def _figure(height: float, panels: int) -> tuple[Any, tuple[Any, ...]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, height), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    for one in axes:
        one.set_axisbelow(b=True)
        one.tick_params(labelsize=8, colors="#3b4350", length=0)
        for side in ("top", "right", "left"):
            one.spines[side].set_visible(False)
        one.spines["bottom"].set_color("#b9c0cb")
    return figure, tuple(axes)


def _day(day: Any) -> float:
    from matplotlib.dates import date2num

    return float(date2num(day))  # type: ignore[no-untyped-call]


def _dates(axes: Any) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    axes.xaxis.set_major_locator(AutoDateLocator(minticks=4, maxticks=8))  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(ConciseDateFormatter(axes.xaxis.get_major_locator()))  # type: ignore[no-untyped-call]
    axes.xaxis.get_offset_text().set_size(8)


def _dollars(amount: float, _place: Any = None) -> str:
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if abs(amount) >= size:
            return f"\\${amount / size:,.3g}{unit}"
    return f"\\${amount:,.0f}"


def _label(name: str) -> str:
    """On two lines where it is long: the row of payers without a name says of how many lines they are."""
    return "\n".join(map(plain_text, textwrap.wrap(visible(name), 24, max_lines=2, placeholder="…")))


def _short(name: str) -> str:
    seen = visible(name)
    return plain_text(seen if len(seen) <= 24 else f"{seen[:23]}…")


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
