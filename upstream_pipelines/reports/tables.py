"""A report's figures as typed tables, for spreadsheets and programs. Not here: how a file of them is written.

Cells are texts, whole numbers, numbers, Decimals (dollars), days, instants (UTC), yes and no, or None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from upstream_pipelines.reports.models import ReportContent, Sums
from upstream_pipelines.visible import guarded, visible

Cell = Any
# No XML may hold them, so a workbook with one does not open; PostgreSQL keeps them.
_NO_LETTERS = {0xFFFE: None, 0xFFFF: None}


@dataclass(frozen=True)
class Sheet:
    """A table: its name, the names of its columns, and rows of as many cells."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


_EVENT = (
    "event_id", "payer", "signal", "direction", "state", "cause", "started_on", "opened_on", "resolved_on", "as_of",
    "before", "now", "change", "confidence", "severity", "dollars", "dollars_low", "dollars_high", "outstanding", "gain",
    "headline",
)  # fmt: skip
_SUMS = ("lines", "decided", "waiting", "denied", "denied_share", "billed", "allowed", "paid")
_SOURCE = ("source", "uploads", "failed", "waiting", "rows", "accepted", "rejected", "duplicates", "score")
_UPLOAD = (
    "upload_id", "received_at", "source", "status", "rows", "accepted", "rejected", "duplicates", "score", "error_code",
)  # fmt: skip
_RULE = ("rule", "description", "severity", "uploads", "checked_rows", "failing_rows", "score")
# Of a rule the severity is a word, of an event a number.
_RENAMED: Mapping[tuple[str, str], str] = {
    ("rules", "severity"): "grade", ("sources", "waiting"): "waiting_uploads", ("sources", "failed"): "failed_uploads",
}  # fmt: skip


def sheets_of(content: ReportContent) -> tuple[Sheet, ...]:
    """The tables of a report, what it is of as the first."""
    period = content.period
    about = (
        "customer",
        "customer_name",
        "first_day",
        "last_day",
        "made_at",
        "last_look",
        "comparisons_without_data",
    )
    thin = content.too_little
    looked = (None, None) if thin is None else (thin.as_of, thin.pairs)
    return (
        Sheet(
            "report", about,
            ((content.customer_slug, content.customer_name, period.first, period.last, content.made_at, *looked),),
        ),
        _sheet("events", _EVENT, content.events),
        Sheet("payers", ("payer", *_SUMS), tuple((part.payer, *_sums(part.sums)) for part in content.payers)),
        Sheet("months", ("month", *_SUMS), tuple((part.month, *_sums(part.sums)) for part in content.months)),
        _sheet("sources", _SOURCE, content.sources),
        _sheet("uploads", _UPLOAD, content.uploads),
        _sheet("rules", _RULE, content.rules),
    )  # fmt: skip


def cell_text(text: str) -> str:
    """A text as a cell of a file that a spreadsheet may open: as it looks, on one line, and no formula.

    Blanks at its ends go first, and what nobody sees: a spreadsheet would pass over them and find the formula behind.
    """
    return guarded(" ".join(visible(text).translate(_NO_LETTERS).split()))


def _sheet(name: str, columns: Sequence[str], parts: Sequence[object]) -> Sheet:
    return Sheet(
        name,
        tuple(_RENAMED.get((name, column), column) for column in columns),
        tuple(tuple(getattr(part, column) for column in columns) for part in parts),
    )


def _sums(sums: Sums) -> tuple[Cell, ...]:
    return tuple(getattr(sums, name) for name in _SUMS)
