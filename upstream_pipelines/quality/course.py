"""How the quality of a customer's uploads goes: the newest score of each rule, and all scores upload by upload, in pages.

Reads only, and loads nothing heavy. Not here: one upload's report and findings (store.py), how they compare with what is
usual (measured.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from psycopg.rows import dict_row

from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.marks import page_of, read_mark
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.quality.scores import score_of

_PACKAGE = "upstream_pipelines.quality"
# So many judged uploads are looked back on for the newest score of a rule: a day of batches, or a year of weekly files.
LOOKED_BACK = 200

Source = Literal["csv", "webhook", "x12_835"]
Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True)
class RuleScore:
    """What a rule found in one upload. `score`: 0..100, the share of the rows it looked at that hold, 100 only where all do;
    None where it looked at none.
    """

    rule: str
    field: str
    severity: Severity
    checked_rows: int
    failing_rows: int
    score: float | None


@dataclass(frozen=True)
class NewestRuleScore(RuleScore):
    """The same with the upload, the newest in which the rule had rows to look at."""

    upload_id: UUID
    source: Source
    received_at: datetime


@dataclass(frozen=True)
class UploadScores:
    """An upload's score and those of its dimensions and rules, 0..100; rows as they were counted."""

    upload_id: UUID
    source: Source
    received_at: datetime
    rows: int
    accepted: int
    rejected: int
    duplicates: int
    score: float
    dimensions: dict[str, float]
    rules: list[RuleScore]


@dataclass(frozen=True)
class CourseFilter:
    """Which uploads, and which rule of them; what is None does not narrow. Received at `since` or later."""

    rule: str | None = None
    source: Source | None = None
    since: datetime | None = None


def newest_scores(conn: Connection, customer_id: int) -> list[NewestRuleScore]:
    """The newest score of each rule within the last `LOOKED_BACK` judged uploads, by rule."""
    with conn.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(
            load_queries(_PACKAGE).newest_scores, {"customer_id": customer_id, "uploads": LOOKED_BACK}
        ).fetchall()
    return [NewestRuleScore(**_scored(row)) for row in found]


def course_page(
    conn: Connection, customer_id: int, wanted: CourseFilter, *, after: str | None = None, limit: int
) -> tuple[list[UploadScores], str | None]:
    """Judged uploads, the newest first, at most `limit`, and the mark from which the next page goes on, None at the end.

    Raises:
        InvalidInputError: `after` is no mark of an earlier page.
    """
    at, upload_id = read_mark(after, datetime.fromisoformat, UUID) if after is not None else (None, None)
    values = {
        "customer_id": customer_id, **vars(wanted), "after_at": at, "after_id": upload_id, "limit": limit + 1,
    }  # fmt: skip
    with conn.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(load_queries(_PACKAGE).select_course, values).fetchall()
    rows = [
        UploadScores(**{**row, "rules": [RuleScore(**_scored(rule)) for rule in row["rules"]]}) for row in found
    ]
    return page_of(rows, limit, lambda row: (row.received_at, row.upload_id))


def _scored(finding: Mapping[str, Any]) -> dict[str, Any]:
    return {**finding, "score": score_of(finding["checked_rows"], finding["failing_rows"])}
