"""On what a row's figures rest, in words: as of which day they are, of which lines, and how complete those are.

Not here: what changed (explanation.py), what the dollars rest on and how sure it is (grounds.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from upstream_pipelines.drift.grounds import BY_SUBMISSION_ONLY
from upstream_pipelines.drift.settings import RATE_SIGNALS
from upstream_pipelines.drift.units import complete_text, day_text, number_of, percent, short_day


def is_compared(row: Mapping[str, Any]) -> bool:
    """Whether the row's day compared two periods. An event that was closed for want of data has only the figures that it
    opened with, and nothing was counted on the day of its end.
    """
    return "complete_to" in (row.get("detail") or {})


def as_of_text(row: Mapping[str, Any]) -> str:
    """As of which day the figures are, for the end of a line: an alert may be read, or written, long after."""
    return f", as of {short_day(row['as_of'])}"


def as_of_sentence(row: Mapping[str, Any], *, in_alert: bool) -> str:
    """The same as a sentence. An alert stays as it was written, and its event's page has other figures a day later."""
    day = f"Figures as of {day_text(row['as_of'])}"
    if not in_alert or row["state"] == "resolved":
        return f"{day}."
    return f"{day}; the event goes on being counted, and its page has the newest."


def sent_or_decided(row: Mapping[str, Any]) -> str:
    """Which day of a claim the days of a row are."""
    by_submission = row["signal"] in BY_SUBMISSION_ONLY or (row.get("detail") or {}).get("by") != "decision"
    return "sent" if by_submission else "decided"


def lines_now(row: Mapping[str, Any]) -> str:
    """How many lines the present figure is of, and of which days. The share decided that stands beside a rate is of the lines
    sent since then: those decided since then are others.
    """
    first, unit = _first_day(row), "submitted" if row["signal"] in BY_SUBMISSION_ONLY else "decided"
    count = int(row["n_current"])
    if first is None:
        return f"{count:,} {unit} lines"
    if unit == "decided" and sent_or_decided(row) == "sent":
        return f"{count:,} decided lines of claims sent since {day_text(first)}"
    whenever = ", whenever they were sent" if row["signal"] in RATE_SIGNALS else ""
    return f"{count:,} lines {unit} since {day_text(first)}{whenever}"


def complete(row: Mapping[str, Any]) -> str | None:
    """The share decided and what it is the share of, for a rate, which waits for decisions; nothing of the other signals
    is still to come.
    """
    maturity = number_of(row.get("maturity"))
    if maturity is None or row["signal"] not in RATE_SIGNALS:
        return None
    first, up_to = _first_day(row), (row.get("detail") or {}).get("complete_to")
    since = f" sent since {day_text(first)}" if first else ""
    counted = f", counted up to {day_text(up_to)}" if up_to else ""
    return f"{percent(maturity, 0)} of the lines{since} are decided{counted}"


def brief_complete(row: Mapping[str, Any]) -> str | None:
    """The same for a narrow table."""
    first, share = _first_day(row), complete_text(row["signal"], row["maturity"])
    if row["signal"] not in RATE_SIGNALS:
        return f"counted {share}" if share else None
    return f"{share} of those sent since {short_day(first)}" if share and first else share


def basis(row: Mapping[str, Any]) -> str:
    """The lines behind the figures and how complete they are, as a sentence."""
    counted, up_to = complete(row), (row.get("detail") or {}).get("complete_to")
    text = f"Based on {lines_now(row)}, against {int(row['n_baseline']):,} before"
    if counted:
        return f"{text}; {counted}."
    return (
        f"{text}, counted up to {day_text(up_to)}." if up_to and row["signal"] not in RATE_SIGNALS else f"{text}."
    )


def _first_day(row: Mapping[str, Any]) -> Any:
    detail = row.get("detail") or {}
    return detail.get("current_from") or (detail.get("change_date") if is_compared(row) else None)
