"""What people see of a look in the Dagster UI: events, their explanation and charts, figures, what lacks data.

Not here: the look itself (drift_assets.py), the general form of tables (tables.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import dagster as dg
import pandas as pd

from upstream_pipelines.claims.payer_names import FEWEST_LINES_OF_A_NAME, unnamed_payers
from upstream_pipelines.customers.models import Customer
from upstream_pipelines.defs.tables import chart, markdown_table
from upstream_pipelines.drift.basis import brief_complete
from upstream_pipelines.drift.chart import drift_chart
from upstream_pipelines.drift.explaining import EXPLAINED_STATES, is_explained, short_id
from upstream_pipelines.drift.explanation import (
    NAMES,
    WAITS_FOR,
    change_told,
    describe,
    is_over,
    lack_text,
    size_text,
    title_of,
)
from upstream_pipelines.drift.grounds import DIMENSIONS, PARTS, money_word, sure
from upstream_pipelines.drift.shortage import unwatched_text
from upstream_pipelines.drift.store import LooksMade
from upstream_pipelines.drift.units import brief_figure, money_text, part_text, short_day, since_text

_SHOWN_PAYERS = 12
_ENTRIES = 5


def drift_metadata(customer: Customer, made: LooksMade) -> dict[str, Any]:
    """Counts, tables and charts of a customer's looks."""
    last = made.rows[made.rows["as_of"].astype(str).str[:10] == str(made.last)].to_dict("records")
    shown = _newest_first([row for row in last if row["state"] in {"watch", *EXPLAINED_STATES}])
    explained = [row for row in shown if is_explained(row)]
    metadata: dict[str, Any] = {
        "as of": str(made.last),
        "looks": (made.last - made.first).days + 1,
        "events opened": made.count("open"),
        "events resolved": made.count("resolved"),
        "alerts written": made.alerts,
    }
    if made.unwatched:
        metadata["payers not looked at"] = dg.MetadataValue.text(unwatched_text(made.unwatched))
    metadata["events now"] = _events(shown, made.last)
    if explained:
        # As plain text: a table's cell would cut it short, and a payer's name could become markdown.
        newest = explained[0]
        metadata["newest event"] = dg.MetadataValue.text(f"{short_id(newest['event_id'])}: {describe(newest)}")
        metadata["explanation"] = _explanations(customer.slug, explained)
        metadata["where it comes from"] = _sources(explained)
    for row in explained:
        picture = made.pictures.get(str(row["event_id"]))
        if picture is not None:
            # In the alternative text a payer's name could end the image and begin a link.
            alternative = f"{NAMES[row['signal']]} over time, event {short_id(row['event_id'])}"
            metadata[f"event {short_id(row['event_id'])}"] = chart(picture, alternative)
    figures, unnamed = _named(made.figures)
    largest = figures.groupby("payer")["n_current"].sum().sort_values(ascending=False).index[:_SHOWN_PAYERS]
    of_largest = figures[figures["payer"].isin(largest)]
    metadata |= {
        "figures at equal maturity (of the last days only, not the events' figures)": _figures(of_largest),
        "not enough data": _thin([row for row in last if row["state"] == "not_enough_data"], unnamed),
    }
    if made.shown == "charts" and of_largest["current"].notna().any():
        picture = drift_chart(of_largest, f"{customer.name}: before against last days, as of {made.last}")
        metadata["chart"] = chart(picture, f"Before against last days, as of {made.last}")
    return metadata


def _named(figures: pd.DataFrame) -> tuple[pd.DataFrame, frozenset[str]]:
    """The figures of payers that are shown by name, and the names of the others."""
    lines = (figures["n_baseline"] + figures["n_current"]).groupby(figures["payer"]).max()
    few = frozenset(lines.index[lines < FEWEST_LINES_OF_A_NAME])
    return figures[~figures["payer"].isin(few)], few


def _newest_first(rows: list[dict[Any, Any]]) -> list[dict[Any, Any]]:
    """What this look opened before what was open, then by the day of the change."""
    return sorted(
        rows, key=lambda row: (row["state"] == "open", str(row["detail"].get("change_date") or "")), reverse=True
    )


def _events(rows: list[dict[Any, Any]], as_of: date) -> Any:
    """Narrow enough for a screen, what changed, since when, how sure and what it costs on the left; the rest is in the
    explanation. Twelve columns of single figures were wider than the page, and the dollars were the last.

    Of a change that is over neither how sure nor what it costs, as in its sentences: its last days deny it, and "not sure,
    0.0 %" is said of these.
    """
    return markdown_table(
        (f"what changed, as of {short_day(as_of)}", "since", "how sure", "what it costs", "lines decided so far", "state",
         "event"),
        (
            (
                change_told(row), since_text(row["detail"], short=True), None if is_over(row) else sure(row, brief=True), _money(row),
                brief_complete(row), _state(row), short_id(row["event_id"]) if row["event_id"] else None,
            )
            for row in rows
        ),
        "No payer's behaviour has changed.",
    )  # fmt: skip


def _state(row: Mapping[str, Any]) -> str:
    waits_for = WAITS_FOR.get(row["detail"].get("waits_for") or "") if row["state"] == "watch" else None
    state = f"{row['state']}, for {waits_for}" if waits_for else row["state"]
    return f"{state}, data not payer" if row["cause"] == "data" else state


def _money(row: Mapping[str, Any]) -> str | None:
    money = row["detail"].get("money")
    if row["cause"] == "data" or is_over(row):
        return None  # a change of the data costs nobody anything
    if not money:
        return "not known" if row["state"] in EXPLAINED_STATES else None
    gains = "gains " if money_word(row["signal"], money) == "Gains" else ""
    return f"{gains}{money_text(money)}"


def _explanations(slug: str, rows: list[dict[Any, Any]]) -> Any:
    return markdown_table(
        ("event", "in words", "claim lines behind it"),
        (
            (
                short_id(row["event_id"]),
                describe(row),
                f"upstream drift lines {slug} {short_id(row['event_id'])}",
            )
            for row in rows
        ),
        "No event.",
    )


def _sources(rows: list[dict[Any, Any]]) -> Any:
    """Parts of each event's change, and the largest contributions of each dimension; each block adds up to the change."""
    lines = []
    for row in rows:
        told = row["detail"]["explanation"]
        if told is None:
            continue
        event, unit = short_id(row["event_id"]), told["unit"]
        lines.append((event, "whole change", title_of(row), part_text(unit, told["change"])))
        lines += [(event, "part", PARTS[name], part_text(unit, value)) for name, value in told["parts"].items()]
        for dimension, kind in DIMENSIONS.items():
            entries = told["by"].get(dimension, [])
            lines += [
                (event, kind, entry["name"], part_text(unit, entry["total"])) for entry in entries[:_ENTRIES]
            ]
            rest = sum(entry["total"] for entry in entries[_ENTRIES:])
            if len(entries) > _ENTRIES:
                lines.append((event, kind, "all others", part_text(unit, rest)))
    return markdown_table(("event", "by", "what", "contributes"), lines, "Too few lines to take a change apart.")


def _figures(figures: pd.DataFrame) -> Any:
    return markdown_table(
        ("payer", "signal", "before (95 % interval)", "last days (95 % interval)", "lines", "which last days"),
        (
            (
                row["payer"], NAMES[row["signal"]], _interval(row, "baseline"), _interval(row, "current"),
                f"{row['n_baseline']:,} before, {row['n_current']:,} in them", row["status"],
            )
            for row in figures.to_dict("records")
        ),
        "No activity yet.",
    )  # fmt: skip


def _interval(row: Mapping[Any, Any], side: str) -> str | None:
    value, low, high = (brief_figure(row["signal"], row[f"{side}{end}"]) for end in ("", "_low", "_high"))
    return f"{value} ({low} to {high})" if low and high else value


def _thin(rows: list[dict[Any, Any]], unnamed: frozenset[str]) -> Any:
    few = len({row["payer"] for row in rows} & unnamed)
    return markdown_table(
        ("payer", "signal", "why", "lines needed", "by about", "smallest change that would show"),
        [
            *(
                (
                    row["payer"], NAMES[row["signal"]], lack_text(row["signal"], row["detail"].get("reason")),
                    row["detail"].get("lines_needed"), row["detail"].get("about_date"),
                    size_text(row["signal"], row["detail"].get("smallest_detectable")),
                )
                for row in rows if row["payer"] not in unnamed
            ),
            *([(unnamed_payers(few), "all", None, None, None, None)] if few else []),
        ],
        "Every payer has enough data for every signal.",
    )  # fmt: skip
