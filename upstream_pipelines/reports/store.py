"""The reports that were asked for, and their files. Not here: what a report says (content.py), making one (making.py)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID, uuid4

from psycopg.rows import class_row, dict_row

from upstream_pipelines.customers.audit import Actor, Detail, record
from upstream_pipelines.customers.flags import require
from upstream_pipelines.customers.models import CustomerKey
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.ids import id_pattern, the_one
from upstream_pipelines.db.marks import page_of, read_mark
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.errors import ConflictError, NotFoundError
from upstream_pipelines.reports.models import Format, Period

QUERIES = load_queries(__package__)

# Class of the advisory locks on customers' reports, beside those on their claims (7306, ingest/uploads.py): a report only reads
# claims, and must not wait for a file of an hour.
LOCK_CLASS = 7307
# Reports that a run is tagged with.
_NAMED = 5

ReportState = Literal["waiting", "running", "success", "failed"]


@dataclass(frozen=True)
class ReportFile:
    """A file of a report that is kept: bytes, and SHA-256 in hexadecimal."""

    format: Format
    byte_count: int
    sha256: str


@dataclass(frozen=True)
class ReportRun:
    """A report that was asked for: of the days from `period_from` to the day before `period_until`; instants in UTC.

    `files` is empty until it is made, and again once they are kept no longer.
    """

    report_id: UUID
    period_from: date
    period_until: date
    state: ReportState
    error_code: str | None
    attempts: int
    actor_kind: str
    actor_name: str
    request_id: str | None
    requested_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    files: tuple[ReportFile, ...]

    @property
    def period(self) -> Period:
        """Its days."""
        return Period(self.period_from, self.period_until)


@dataclass(frozen=True)
class WaitingReports:
    """A customer for whose reports a run has to be asked for, and the first few of them."""

    slug: str
    run_key: str
    report_ids: tuple[UUID, ...]
    count: int
    request_ids: tuple[str, ...]


@dataclass(frozen=True)
class BegunReport:
    """A report that a run has begun to make, for the `attempts`-th time."""

    report_id: UUID
    period_from: date
    period_until: date
    attempts: int
    started_at: datetime


@dataclass(frozen=True)
class KeptFile:
    """A file of a report with the period it is of."""

    content: bytes
    sha256: str
    period: Period


def request_report(conn: Connection, actor: Actor, customer: CustomerKey, period: Period) -> UUID:
    """Ask for the report of a period; where one of it is not made yet, that is the one. Call it inside a transaction: each time
    it is an act in the trail, by whose request `upstream trace` finds the report.

    Raises:
        ProductOffError: reports are off for the customer; those that wait are made all the same.
        ConflictError: reports of this period end as fast as they are asked for.
    """
    require(conn, customer, "reports")
    values = {
        "customer_id": customer.customer_id, "first": period.first, "until": period.until, "actor_kind": actor.kind,
        "actor_id": actor.id, "actor_name": actor.name, "request_id": actor.request_id,
    }  # fmt: skip
    details = {"from": period.first.isoformat(), "until": period.until.isoformat()}
    for _ in range(3):
        row = conn.execute(QUERIES.insert_report, {**values, "report_id": uuid4()}).fetchone()
        again: dict[str, Detail] = {}
        if row is None:
            row, again = conn.execute(QUERIES.select_open_report, values).fetchone(), {"again": True}
        if row is not None:  # else it was made between the two
            report_id = UUID(str(row[0]))
            record(
                conn, actor, "report.requested", ("report", report_id), customer_id=customer.customer_id,
                details={**details, **again},
            )  # fmt: skip
            return report_id
    raise ConflictError("A report of this period was made at this moment. Ask for the list of reports.")


def hold_back(conn: Connection, customer_id: int, report_id: UUID) -> None:
    """Note that a run for a report is about to start, so that the sensor does not ask for one of its own at once."""
    conn.execute(QUERIES.hold_back_report, {"customer_id": customer_id, "report_id": report_id})


def reports_page(
    conn: Connection, customer_id: int, *, state: ReportState | None = None, after: str | None = None, limit: int
) -> tuple[list[ReportRun], str | None]:
    """A customer's reports, the newest first, at most `limit`, and the mark from which the next page goes on, None at the end.

    Raises:
        InvalidInputError: `after` is no mark of an earlier page.
    """
    at, report_id = read_mark(after, datetime.fromisoformat, UUID) if after is not None else (None, None)
    rows = _select(conn, customer_id, state=state, after_at=at, after_id=report_id, limit=limit + 1)
    return page_of(rows, limit, lambda row: (row.requested_at, row.report_id))


def get_report(conn: Connection, customer_id: int, report_id: UUID) -> ReportRun:
    """One report.

    Raises:
        NotFoundError: this customer has no such report.
    """
    found = _select(conn, customer_id, report_id=report_id, limit=1)
    if not found:
        raise NotFoundError(
            f"There is no report {report_id}. `upstream reports list SLUG` shows a customer's reports."
        )
    return found[0]


def find_report(conn: Connection, customer_id: int, begins: str) -> ReportRun:
    """The report whose id begins so.

    Raises:
        NotFoundError: this customer has no such report.
        ConflictError: more than one begins so.
    """
    found = conn.execute(
        QUERIES.find_report_ids, {"customer_id": customer_id, "begins": id_pattern(begins)}
    ).fetchall()
    return get_report(conn, customer_id, the_one(found, "report", begins, "upstream reports list SLUG")[0])


def report_file(
    conn: Connection,
    actor: Actor,
    customer: CustomerKey,
    report_id: UUID,
    format: Format,  # noqa: A002  as people call it
) -> KeptFile:
    """A file of a report, for somebody who takes it away: that stands in the trail. Call it inside a transaction.

    Raises:
        NotFoundError: this customer has no such report, or its files are not kept any more.
        ConflictError: the report is not made yet, or failed.
    """
    values = {"customer_id": customer.customer_id, "report_id": report_id, "format": format}
    row = conn.execute(QUERIES.select_report_file, values).fetchone()
    if row is None:
        run = get_report(conn, customer.customer_id, report_id)
        if run.state == "success":
            raise NotFoundError(f"The files of report {report_id} are not kept any more. Ask for the report anew.")
        raise ConflictError(
            f"This report failed ({run.error_code}). Ask for it anew." if run.state == "failed"
            else f"This report is not made yet ({run.state}). Ask again in a few seconds."
        )  # fmt: skip
    content, sha256, first, until = row
    record(
        conn, actor, "report.exported", ("report", report_id), customer_id=customer.customer_id,
        details={"format": format, "sha256": sha256},
    )  # fmt: skip
    return KeptFile(bytes(content), sha256, Period(first, until))


def request_customers_with_reports(
    conn: Connection, limit: int, in_line: Collection[str] = ()
) -> list[WaitingReports]:
    """Customers for whose reports a run has to be asked for now, at most `limit` and none that is `in_line` (slugs); marks
    the reports as asked for.

    The run key carries the oldest report and the number of the request: a key is spent even when its run failed.
    """
    values = {"limit": limit, "lock_class": LOCK_CLASS, "named": _NAMED, "in_line": list(in_line)}
    with conn.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(QUERIES.request_customers_with_reports, values).fetchall()
    return [
        WaitingReports(
            row["slug"], f"{row['report_ids'][0]}:{row['asks']}", tuple(row["report_ids"]), row["count"],
            tuple(row["request_ids"]),
        )
        for row in rows
    ]  # fmt: skip


@contextmanager
def reports_lock(conn: Connection, customer_id: int) -> Iterator[None]:
    """One run at a time makes a customer's reports. A session lock: it ends with the connection, so that a killed run frees
    it at once.
    """
    conn.execute("SELECT pg_advisory_lock(%s, %s::int)", (LOCK_CLASS, customer_id))
    try:
        yield
    finally:
        if not conn.closed and not conn.broken:
            conn.execute("SELECT pg_advisory_unlock(%s, %s::int)", (LOCK_CLASS, customer_id))


def take_report(conn: Connection, customer_id: int, run_id: str) -> BegunReport | None:
    """Begin the customer's oldest report that is not made yet, also one that a killed run had begun; None where there is
    none. Call it under `reports_lock`.
    """
    with conn.cursor(row_factory=class_row(BegunReport)) as cursor:
        return cursor.execute(QUERIES.take_report, {"customer_id": customer_id, "run_id": run_id}).fetchone()


def keep_report(
    conn: Connection, customer_id: int, report_id: UUID, run_id: str, files: Mapping[Format, bytes]
) -> None:
    """Store the files of a report, which is made with that: both or neither.

    Raises:
        ConflictError: another run has taken it over, or it was deleted.
    """
    with conn.transaction():
        _end(conn, customer_id, report_id, run_id, None)
        for name, content in files.items():
            conn.execute(
                QUERIES.insert_report_file,
                {"customer_id": customer_id, "report_id": report_id, "format": name, "content": content},
            )


def fail_report(conn: Connection, customer_id: int, report_id: UUID, run_id: str, error_code: str) -> None:
    """Note that a report failed.

    Raises:
        ConflictError: another run has taken it over, or it was deleted.
    """
    _end(conn, customer_id, report_id, run_id, error_code)


def _end(conn: Connection, customer_id: int, report_id: UUID, run_id: str, error_code: str | None) -> None:
    values = {
        "customer_id": customer_id, "report_id": report_id, "run_id": run_id, "error_code": error_code,
        "state": "success" if error_code is None else "failed",
    }  # fmt: skip
    if conn.execute(QUERIES.end_report, values).rowcount != 1:
        raise ConflictError(f"Report {report_id} is not this run's any more.")


def _select(
    conn: Connection,
    customer_id: int,
    *,
    report_id: UUID | None = None,
    state: ReportState | None = None,
    after_at: datetime | None = None,
    after_id: UUID | None = None,
    limit: int,
) -> list[ReportRun]:
    values = {
        "customer_id": customer_id, "report_id": report_id, "state": state, "after_at": after_at, "after_id": after_id,
        "limit": limit,
    }  # fmt: skip
    with conn.cursor(row_factory=dict_row) as cursor:
        found: list[dict[str, Any]] = cursor.execute(QUERIES.select_reports, values).fetchall()
    return [ReportRun(**{**row, "files": tuple(ReportFile(**file) for file in row["files"])}) for row in found]
