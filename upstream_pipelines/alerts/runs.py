"""Failed runs that were told, and taking them back once a later run of the same work succeeded.

Belongs here: which failures are open, their resolved notice, whom a dead sweep did not come to. Not here: whether a run
did the same work, how it ended (defs/), the opening alert (store.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import class_row

from upstream_pipelines.alerts.occurrences import run_recovered_entry
from upstream_pipelines.alerts.outbox import QUERIES
from upstream_pipelines.alerts.store import write_entries
from upstream_pipelines.db.engine import Connection


@dataclass(frozen=True)
class RunEnd:
    """How a failed run ended: the step and the class of its error, None where not known; `process_died`: it had no time
    to say.
    """

    step: str | None
    error_class: str | None
    process_died: bool = False


@dataclass(frozen=True)
class SweepPart:
    """The customers of a sweep's run: bucket `bucket`, from 0, of `buckets`."""

    bucket: int
    buckets: int


@dataclass(frozen=True)
class RunFailure:
    """A failed run that some rule told of and that is not over. `data`: of its alert."""

    customer_id: int
    slug: str
    run_id: str
    job_name: str
    data: Mapping[str, Any]


def open_run_failures(
    conn: Connection, customer_id: int | None = None, job_name: str | None = None
) -> list[RunFailure]:
    """Failures of the last 30 days, of all customers or one; older ones nobody waits for."""
    with conn.cursor(row_factory=class_row(RunFailure)) as cursor:
        return cursor.execute(
            QUERIES.open_run_failures, {"customer_id": customer_id, "job_name": job_name}
        ).fetchall()


def write_recovery(
    conn: Connection, failure: RunFailure, recovered_by: str, link: str | None, now: datetime | None = None
) -> int:
    """Tell those who were told of the failure that `recovered_by` (a run's id) made up for it. Returns: alerts written."""
    return write_entries(conn, failure.customer_id, [run_recovered_entry(failure.data, recovered_by, link)], now)


def take_back_failures(
    conn: Connection, customer_id: int, job_name: str, recovered_by: str, link: str | None
) -> int:
    """The same for all open failures of one job for a customer, which has just succeeded. Returns: alerts written."""
    return sum(
        write_recovery(conn, failure, recovered_by, link)
        for failure in open_run_failures(conn, customer_id, job_name)
    )
