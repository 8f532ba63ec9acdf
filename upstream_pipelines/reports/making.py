"""Makes the reports of a customer that wait. Not here: who asks for them, what one says, runs of Dagster."""

from __future__ import annotations

from dataclasses import dataclass

from upstream_pipelines.customers.models import Customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.errors import UpstreamError
from upstream_pipelines.observability.tracebacks import format_error
from upstream_pipelines.reports.content import read_content
from upstream_pipelines.reports.models import Period
from upstream_pipelines.reports.rendering import render
from upstream_pipelines.reports.store import (
    BegunReport,
    ReportRun,
    fail_report,
    get_report,
    keep_report,
    reports_lock,
    take_report,
)

# A report whose run was killed as often, with no end of its own, kills it again: memory, mostly.
MOST_ATTEMPTS = 3
# Of one run; the next takes more. Who goes on asking would keep one of three places for work for hours.
MOST_A_RUN = 20
KILLED = "run_killed"


@dataclass(frozen=True)
class MadeReport:
    """A report as a run left it; `trouble` tells why it failed, without data."""

    run: ReportRun
    trouble: str | None


def make_waiting(conn: Connection, customer: Customer, run_id: str) -> list[MadeReport]:
    """Make the reports of a customer that wait, or that a killed run had begun, the oldest first, at most 20.

    One that fails is stored as such with a code, and the next is made. Where the database is lost the report stays begun,
    and the next attempt takes it up.
    """
    made: list[MadeReport] = []
    with reports_lock(conn, customer.customer_id):
        while len(made) < MOST_A_RUN and (begun := take_report(conn, customer.customer_id, run_id)) is not None:
            trouble = _make(conn, customer, begun, run_id)
            made.append(MadeReport(get_report(conn, customer.customer_id, begun.report_id), trouble))
    return made


def _make(conn: Connection, customer: Customer, begun: BegunReport, run_id: str) -> str | None:
    key = (customer.customer_id, begun.report_id, run_id)
    if begun.attempts > MOST_ATTEMPTS:
        fail_report(conn, *key, KILLED)
        return f"its run was killed {MOST_ATTEMPTS} times"
    try:
        content = read_content(conn, customer, Period(begun.period_from, begun.period_until), begun.started_at)
        keep_report(conn, *key, render(content))
    except Exception as error:  # noqa: BLE001  one report's trouble is not the others'; the run fails by it at its end
        fail_report(conn, *key, error.code if isinstance(error, UpstreamError) else "unexpected")
        return str(error) if isinstance(error, UpstreamError) else format_error(error)
    return None
