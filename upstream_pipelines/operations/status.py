"""The state of the platform as an operator asks for it: runs, queues, lags, customers in trouble.

Belongs here: the shape of it, and noting Dagster's runs where the API can read them. Not here: asking Dagster
(defs/run_counts.py), HTTP, tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from upstream_pipelines.db.engine import Connection
from upstream_pipelines.operations.totals import QUERIES, Total, limit_time, read_totals

# So many customers in trouble are named; how many there are is counted.
_MOST_NAMED = 100


@dataclass(frozen=True)
class JobRuns:
    """A job's runs: `queued` and `started` now, `failed` within 24 hours, and how the newest one went."""

    job_name: str
    queued: int
    started: int
    failed: int
    last_run_id: str | None
    last_status: str | None
    last_started_at: datetime | None
    last_ended_at: datetime | None
    last_success_at: datetime | None


@dataclass(frozen=True)
class NotedRuns(JobRuns):
    """The same, as noted at an instant."""

    noted_at: datetime


@dataclass(frozen=True)
class Trouble:
    """A customer in trouble since then: `upload` (its newest was refused), `waiting` (one is not loaded after 15 minutes), `look`
    (none for 26 hours), `channel` (a receiver fails), `silent` (nothing comes), `report` (its newest failed), `report_waiting`
    (one is not made after 15 minutes), `names` (changed aliases or groups are not applied after 15 minutes).
    """

    slug: str
    why: str
    since: datetime


@dataclass(frozen=True)
class Status:
    """The state at `at`. Ages are seconds, 0 where nothing waits and None where nothing is known.

    `runs_noted_seconds`: how long ago the daemon noted Dagster's runs; it does each minute while it lives.
    `sweep_seconds`: since the last sweep that succeeded. `failing`: the first hundred, the longest in trouble first;
    `failing_count`: of all.
    """

    at: datetime
    customers_active: int
    uploads_waiting: int
    oldest_upload_seconds: float
    reports_waiting: int
    oldest_report_seconds: float
    runs: tuple[NotedRuns, ...]
    runs_noted_seconds: float | None
    sweep_seconds: float | None
    deliveries_waiting: int
    deliveries_due: int
    oldest_delivery_seconds: float
    deliveries_dead: int
    failing_count: int
    failing: tuple[Trouble, ...]


def note_runs(conn: Connection, runs: Sequence[JobRuns], now: datetime) -> None:
    """Keep Dagster's runs in numbers (role upstream_pipeline)."""
    rows = [
        {name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(one).items()}
        for one in runs
    ]
    names = [one.job_name for one in runs]
    conn.execute(QUERIES.note_runs, {"runs": Jsonb(rows), "job_names": names, "now": now})


def read_status(conn: Connection) -> Status:
    """The present state; works as upstream_api and as upstream_pipeline.

    Raises:
        psycopg.errors.QueryCanceled: a part of it took more than five seconds.
    """
    totals = read_totals(conn)
    with conn.transaction():
        limit_time(conn)
        with conn.cursor(row_factory=class_row(Trouble)) as cursor:
            failing = cursor.execute(QUERIES.failing_customers, {"limit": _MOST_NAMED}).fetchall()
        with conn.cursor(row_factory=class_row(NotedRuns)) as cursor:
            runs = cursor.execute(QUERIES.run_states).fetchall()
    return Status(
        at=datetime.now(UTC),
        customers_active=int(_sum(totals, "customers", "active")),
        uploads_waiting=int(_sum(totals, "uploads_waiting")),
        oldest_upload_seconds=_sum(totals, "upload_oldest_waiting_seconds"),
        reports_waiting=int(_sum(totals, "reports_waiting")),
        oldest_report_seconds=_sum(totals, "report_oldest_waiting_seconds"),
        runs=tuple(runs),
        runs_noted_seconds=_one(totals, "runs_noted_seconds"),
        sweep_seconds=_one(totals, "run_last_success_seconds", "drift_sweep"),
        deliveries_waiting=int(_sum(totals, "deliveries_waiting")),
        deliveries_due=int(_sum(totals, "deliveries_due")),
        oldest_delivery_seconds=_sum(totals, "delivery_oldest_due_seconds"),
        deliveries_dead=int(_sum(totals, "deliveries_dead")),
        failing_count=int(_sum(totals, "customers_failing")),
        failing=tuple(failing),
    )


def _matching(totals: Sequence[Total], name: str, first: str | None) -> list[float]:
    return [one.value for one in totals if one.name == name and first in {None, one.first}]


def _sum(totals: Sequence[Total], name: str, first: str | None = None) -> float:
    return sum(_matching(totals, name, first))


def _one(totals: Sequence[Total], name: str, first: str | None = None) -> float | None:
    return next(iter(_matching(totals, name, first)), None)
