"""Measures uploads beside what was usual, and keeps the verdicts. Not here: the verdict itself (anomalies.py), reading
them for people (measured.py), alerts (ingest/unusual.py).

A file is measured in the transaction that merges it. Batches of the webhook are measured by the day, once it is over: see
docs/decisions.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from upstream_pipelines.claims.judge import SAMPLE_ROWS
from upstream_pipelines.customers.models import Customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.quality.anomalies import Unit, Verdict, judge_measures, measures_of
from upstream_pipelines.quality.measured import BY_DAY
from upstream_pipelines.quality.rules import EMPTY, OUTCOME_MIX, STREAM_RULES
from upstream_pipelines.quality.usual import WINDOW

_PACKAGE = "upstream_pipelines.quality"


@dataclass(frozen=True)
class Unusual:
    """What is unusual about a unit by one rule; `verdicts` of the state low or high. `day`: of batches judged by the day."""

    upload_id: UUID
    source: str
    day: date | None
    rule: str
    severity: str
    verdicts: tuple[Verdict, ...]


def measure_upload(conn: Connection, customer: Customer, upload_id: UUID, run_id: str) -> list[Unusual]:
    """Measure an uploaded file that is merged, or holds the same bytes as an earlier one; call it in that transaction.

    Returns: what is unusual, by rule. Nothing is measured of a file of which no row was loaded: it is told as refused.
    """
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(
            load_queries(_PACKAGE).measure_upload, {"customer_id": customer.customer_id, "upload_id": upload_id}
        ).fetchone()
    return [] if row is None else _measure(conn, customer, row, run_id, day=None)


def measure_days(conn: Connection, customer: Customer, today: date, run_id: str) -> list[Unusual]:
    """Measure the days before today (UTC) whose batches are all dealt with and that were not measured yet, at most as many as
    are looked back on. Each is a transaction's work of its own; call it in one with the alerts.

    Returns: what is unusual, by day and rule.
    """
    queries = load_queries(_PACKAGE)
    key: dict[str, Any] = {"customer_id": customer.customer_id, "source": BY_DAY}
    since = _midnight(today - timedelta(days=2 * WINDOW))
    span = {"since": since, "until": _midnight(today)}
    days = [row[0] for row in conn.execute(queries.days_to_measure, {**key, **span}).fetchall()]
    found = []
    for day in days:
        of_day = {"since": _midnight(day), "until": _midnight(day + timedelta(days=1))}
        with conn.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute(queries.measure_day, {**key, **of_day}).fetchone()
        if row is not None:
            found += _measure(conn, customer, row, run_id, day=day)
    return found


def _measure(
    conn: Connection, customer: Customer, row: dict[str, Any], run_id: str, day: date | None
) -> list[Unusual]:
    """Judge one unit and keep the verdicts. `row`: of measure_upload or measure_day; `day`: where it is a whole day."""
    queries = load_queries(_PACKAGE)
    received_at: datetime = row.pop("received_at")
    unit = Unit(**row, day=received_at.astimezone(UTC).date())
    stream = {"customer_id": customer.customer_id, "source": unit.source}
    first = conn.execute(queries.first_of_stream, stream).fetchone()
    with conn.cursor(row_factory=dict_row) as cursor:
        history = cursor.execute(
            queries.stream_history, {**stream, "before": received_at, "limit": WINDOW}
        ).fetchall()
    measures = measures_of(unit, [item["field"] for item in history if item["rule"] == EMPTY])
    grades = {
        rule.name: customer.configuration.mapping.quality.get(rule.name, rule.severity) for rule in STREAM_RULES
    }
    verdicts = judge_measures(
        measures, history, unit.day, grades,
        first_day=first is None or unit.day <= first[0].astimezone(UTC).date(),
    )  # fmt: skip
    samples = {} if day is not None else _samples(conn, customer.customer_id, unit.upload_id, verdicts)
    conn.execute(
        queries.insert_measures,
        {
            **stream, "upload_id": unit.upload_id, "whole_day": day is not None, "received_at": received_at,
            "run_id": run_id, "measures": Jsonb([_stored(verdict, samples) for verdict in verdicts]),
        },
    )  # fmt: skip
    return [
        Unusual(unit.upload_id, unit.source, day, rule.name, grades[rule.name], told)
        for rule in STREAM_RULES
        if (told := tuple(one for one in verdicts if one.measure.rule == rule.name and _is_unusual(one)))
    ]


def _is_unusual(verdict: Verdict) -> bool:
    return verdict.state in {"low", "high"}


def _stored(verdict: Verdict, samples: dict[tuple[str, str], list[int]]) -> dict[str, Any]:
    measure, usual = verdict.measure, verdict.usual
    return {
        "rule": measure.rule, "field": measure.field, "amount": measure.amount, "of_rows": measure.of_rows,
        "state": verdict.state, "severity": verdict.severity,
        **({} if usual is None else {"usual": usual.usual, "low": usual.low, "high": usual.high, "history": usual.history}),
        "sample_row_numbers": samples.get((measure.rule, measure.field), []),
    }  # fmt: skip


def _samples(
    conn: Connection, customer_id: int, upload_id: UUID, verdicts: Sequence[Verdict]
) -> dict[tuple[str, str], list[int]]:
    """The first row numbers where a field is empty, or of an outcome, that is there too often."""
    queries = load_queries(_PACKAGE)
    found = {}
    for verdict in verdicts:
        rule, field = verdict.measure.rule, verdict.measure.field
        key = {"customer_id": customer_id, "upload_id": upload_id, "field": field, "limit": SAMPLE_ROWS}
        if verdict.state == "high" and rule == EMPTY:
            found[rule, field] = [row[0] for row in conn.execute(queries.first_empty_rows, key)]
        elif verdict.state == "high" and rule == OUTCOME_MIX:
            found[rule, field] = [row[0] for row in conn.execute(queries.first_rows_of_outcome, key)]
    return found


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
