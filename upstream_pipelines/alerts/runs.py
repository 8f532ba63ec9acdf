"""Failed runs that were told, and taking them back once a later run of the same work succeeded.

Belongs here: which failures are open, their resolved notice, whom a dead sweep did not come to. Not here: whether a run
did the same work, how it ended (defs/), the opening alert (store.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from psycopg.rows import class_row

from upstream_pipelines.alerts.apart import write_apart
from upstream_pipelines.alerts.occurrences import run_recovered_entry
from upstream_pipelines.alerts.outbox import QUERIES
from upstream_pipelines.alerts.store import write_entries, write_run_failure_alert
from upstream_pipelines.db.engine import Connection


@dataclass(frozen=True)
class RunEnd:
    """How a failed run ended: the step and the class of its error, None where not known; `process_died`: it had no time
    to say; `never_began`: it was not even started.
    """

    step: str | None
    error_class: str | None
    process_died: bool = False
    never_began: bool = False


@dataclass(frozen=True)
class Sweep:
    """A sweep's run, to start at `since`: it was given bucket `bucket`, from 0, of `buckets` of all customers."""

    run_id: str
    job_name: str
    since: datetime
    bucket: int
    buckets: int


@dataclass(frozen=True)
class SweepTold:
    """Of a failed sweep: alerts written, customers asked about, after which customer to go on (None when that was all), and for whom
    it could not be written.
    """

    written: int
    asked: int
    stopped: int | None
    untold: tuple[int, ...]


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


def write_sweep_failure(
    conn: Connection,
    customers: Sequence[int],
    sweep: Sweep,
    end: RunEnd,
    *,
    link: str | None,
    most: int,
    now: datetime | None = None,
) -> SweepTold:
    """Tell those of a failed sweep's customers that it did not come to: not looked at, by whatever run, since it was to
    start; at most so many, in the order of their ids. Whom it wrote a failure itself is told once.
    """

    def tell(customer_id: int) -> int:
        # A retry may be at it: its look is either seen here, or comes after and takes this back.
        slug, _ = conn.execute(QUERIES.customer_name, {"customer_id": customer_id}).fetchone() or ("", "")
        if not _not_looked_at(conn, [customer_id], sweep.since):
            return 0
        return write_run_failure_alert(
            conn, customer_id, f"{sweep.run_id}/{slug}", sweep.job_name, end.step, end.error_class, link, now,
            process_died=end.process_died, never_began=end.never_began, bucket=(sweep.bucket, sweep.buckets),
        )  # fmt: skip

    missed = _not_looked_at(conn, customers, sweep.since)
    asked = missed[:most]
    written = {customer_id: write_apart(conn, customer_id, partial(tell, customer_id)) for customer_id in asked}
    return SweepTold(
        written=sum(number or 0 for number in written.values()),
        asked=len(asked),
        stopped=asked[-1] if len(missed) > most else None,
        untold=tuple(customer_id for customer_id, number in written.items() if number is None),
    )


def _not_looked_at(conn: Connection, customers: Sequence[int], since: datetime) -> list[int]:
    key = {"customer_ids": list(customers), "since": since}
    return [row[0] for row in conn.execute(QUERIES.not_looked_at, key).fetchall()]


def take_back_failures(
    conn: Connection, customer_id: int, job_name: str, recovered_by: str, link: str | None
) -> int:
    """The same for all open failures of one job for a customer, which has just succeeded. Returns: alerts written."""
    return sum(
        write_recovery(conn, failure, recovered_by, link)
        for failure in open_run_failures(conn, customer_id, job_name)
    )
