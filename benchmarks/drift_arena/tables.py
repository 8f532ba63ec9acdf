"""The measures as text tables for a terminal. Not here: computing them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns padded to their widest cell, the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = []
    for row in [head, *rows]:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def percent(share: float | None) -> str:
    """A share as whole percent."""
    return "-" if share is None else f"{100 * share:.0f} %"


def days(value: float | None) -> str:
    """A number of days; a dash for never."""
    return "-" if value is None else f"{value:.0f}"


def times(value: float | None) -> str:
    """A ratio; a dash where there is none."""
    return "-" if value is None else f"{value:.1f}"


def false_event_rows(summary: dict[str, Any]) -> list[list[str]]:
    """A row per contestant and case of unchanged customers."""
    rows = []
    for contestant, parts in summary["contestants"].items():
        for case, figures in parts["false_events"].items():
            low, high = figures["a_year_interval"]
            by_signal = ", ".join(f"{name} {rate:.2f}" for name, rate in figures["by_signal_a_year"].items())
            rows.append([
                f"{contestant}: {case}", f"{figures['customer_years']:.0f}", f"{figures['events']}",
                f"{figures['a_year']:.2f}", f"{low:.2f} to {high:.2f}", f"{figures['worsening_a_year']:.2f}",
                f"{figures['data_a_year']:.2f}", by_signal or "-",
            ])  # fmt: skip
    return rows


FALSE_HEAD = (
    "nothing changed",
    "years",
    "events",
    "a year",
    "95 %",
    "worsening",
    "cause data",
    "by signal, a year",
)
CHANGE_HEAD = (
    "injected",
    "a day",
    "trials",
    "found",
    "95 %",
    "by chance",
    "median",
    "95 %",
    "p90",
    "leaks",
    "oracle",
    "ratio",
    "95 %",
)
DECOY_HEAD = ("decoy", "payers", "wrong", "share", "95 %", "unchanged payers", "signals")


def change_rows(cells: Sequence[dict[str, Any]]) -> list[list[str]]:
    """A row per cell of one contestant."""
    rows = []
    for cell in cells:
        low, high = cell["share_interval"]
        first, last = cell["median_interval"]
        rows.append([
            cell["name"] + (" (ramp)" if cell["ramp"] else ""), f"{cell['volume']:.0f}", f"{cell['trials']}",
            percent(cell["share"]), f"{100 * low:.0f} to {100 * high:.0f}", percent(cell["by_chance"]),
            days(cell["median"]), f"{days(first)} to {days(last)}", days(cell["p90"]), percent(cell["leak_share"]),
            days(cell.get("oracle_median")), times(cell.get("ratio")),
            " to ".join(times(end) for end in cell.get("ratio_interval", (None, None))),
        ])  # fmt: skip
    return rows


def decoy_rows(decoys: dict[str, dict[str, Any]]) -> list[list[str]]:
    """A row per decoy of one contestant."""
    return [
        [
            name.replace("_", " "), f"{each['payers']}", f"{each['wrong']}", percent(each["share"]),
            f"{100 * each['share_interval'][0]:.0f} to {100 * each['share_interval'][1]:.0f}",
            percent(each["control_share"]),
            ", ".join(f"{signal} {count}" for signal, count in each["signals"].items()) or "-",
        ]
        for name, each in decoys.items()
    ]  # fmt: skip


def text(summary: dict[str, Any]) -> str:
    """All tables."""
    parts = (
        [table(FALSE_HEAD, false_event_rows(summary))]
        if any(each["false_events"] for each in summary["contestants"].values())
        else []
    )
    for contestant, each in summary["contestants"].items():
        if each["changes"]:
            parts.append(contestant.upper() + "\n" + table(CHANGE_HEAD, change_rows(each["changes"])))
        if each["decoys"]:
            parts.append(contestant.upper() + "\n" + table(DECOY_HEAD, decoy_rows(each["decoys"])))
    return "\n\n".join(parts)
