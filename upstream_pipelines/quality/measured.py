"""Reads how uploads compared with what was usual, for people. Not here: measuring and keeping it (anomaly_store.py).

Loads nothing heavy: a command that lists uploads starts in a moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row

from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.quality.rules import VOLUME

_PACKAGE = "upstream_pipelines.quality"
#: The source whose uploads are judged by the day: see docs/decisions.md.
BY_DAY = "webhook"


def measures_of_upload(conn: Connection, customer_id: int, upload_id: UUID) -> list[dict[str, Any]]:
    """The measures of one upload or, of a batch, of its day once that is over; columns as `latest_measures` gives them."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            load_queries(_PACKAGE).measures_of_upload,
            {"customer_id": customer_id, "upload_id": upload_id, "by_day": BY_DAY},
        ).fetchall()


def latest_measures(conn: Connection, customer_id: int) -> list[dict[str, Any]]:
    """The measures that the latest run of each source made: upload_id, source, whole_day, day, rule, field, amount, of_rows,
    state, severity, usual, low, high, history, sample_row_numbers. `usual` is None where nothing was compared.
    """
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(load_queries(_PACKAGE).latest_measures, {"customer_id": customer_id}).fetchall()


def seen(measure: Mapping[str, Any]) -> float:
    """What a measure comes to, in the unit of its `usual`, `low` and `high`: rows, or a share 0..1."""
    amount: int = measure["amount"]
    return float(amount) if measure["rule"] == VOLUME else amount / int(measure["of_rows"])


def figure(rule: str, value: float) -> str:
    """A measure's value in words: 1,204 or 3.5%."""
    return f"{value:,.0f}" if rule == VOLUME else f"{value:.1%}"
