"""drift_report: the reports of a customer that were asked for, made and kept.

Not here: what a report says (reports/), the sensor that asks for the run (sensors.py).
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg

from upstream_pipelines.customers.audit import operator
from upstream_pipelines.customers.models import Customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.defs.claims_assets import upload_quality
from upstream_pipelines.defs.drift_assets import payer_drift
from upstream_pipelines.defs.partitions import customer_partitions
from upstream_pipelines.defs.resources import Platform
from upstream_pipelines.defs.tables import OWNERS, column_schema, markdown_table
from upstream_pipelines.errors import ConfigurationError
from upstream_pipelines.reports.making import MadeReport, make_waiting
from upstream_pipelines.reports.models import FORMATS, Period, checked_period, last_full_month
from upstream_pipelines.reports.store import ReportRun, reports_page, request_report
from upstream_pipelines.settings import Settings

# Of more the oldest are found over the API.
_SHOWN = 20


class ReportConfig(dg.Config):
    """Which report is made beside those that were asked for; the last full month's where none was."""

    from_day: str | None = None
    """First day of the report, YYYY-MM-DD; with `until_day`."""
    until_day: str | None = None
    """The day after its last one, YYYY-MM-DD."""
    only_waiting: bool = False
    """Make nothing but what was asked for; so the sensor has it."""


def report_period(config: ReportConfig, today: date) -> Period | None:
    """The period that a run's configuration names; None where it names none.

    Raises:
        ConfigurationError: one of the two days, no day, or a period that cannot be.
    """
    if config.from_day is None and config.until_day is None:
        return None
    if config.from_day is None or config.until_day is None:
        raise ConfigurationError("Give both from_day and until_day, the day after the last one, or neither.")
    try:
        first, until = date.fromisoformat(config.from_day), date.fromisoformat(config.until_day)
    except ValueError:
        raise ConfigurationError(
            "from_day and until_day are days of the calendar. Write them as YYYY-MM-DD, such as 2026-03-31."
        ) from None
    return checked_period(first, until, today)


@dg.asset(
    deps=[payer_drift, upload_quality],
    partitions_def=customer_partitions,
    group_name="reports",
    owners=OWNERS,
    kinds={"postgres"},
    description="Reports for people: what changed in a period, what payers did, and how good the uploads were, as HTML, PDF, "
    "Excel and CSV. A run makes all that were asked for over the API or by `upstream reports make` and are not made yet. "
    "Materialised by hand without any it makes the last full month's; `from_day` and `until_day` in the run's config name "
    "other days. The files are downloaded over the API.",
    metadata=column_schema(
        [
            ("report_id", "uuid", "Which report"),
            ("period_from", "date", "Its first day"),
            ("period_until", "date", "The day after its last one"),
            ("state", "text", "waiting, running, success or failed"),
            ("error_code", "text", "Why it failed"),
            ("format", "text", "Of a file: html, pdf, xlsx or csv"),
            ("content", "bytea", "Of a file: its bytes, as long as they are kept"),
        ]
    ),
)
def drift_report(
    context: dg.AssetExecutionContext, config: ReportConfig, platform: Platform
) -> dg.MaterializeResult[None]:
    today = datetime.now(UTC).date()
    wanted = report_period(config, today)
    with platform.for_customer(context.partition_key) as (settings, conn, customer):
        if wanted is None and not config.only_waiting and not _is_waiting(conn, customer):
            wanted = last_full_month(today)
        if wanted is not None:
            with conn.transaction():
                request_report(conn, operator(), customer, wanted)
        made = make_waiting(conn, customer, context.run.run_id)
        newest, _ = reports_page(conn, customer.customer_id, limit=_SHOWN)
    failed = [one for one in made if one.trouble is not None]
    for one in failed:
        context.log.error("report %s: %s", one.run.report_id, one.trouble)
    metadata = report_metadata(settings, customer.slug, made, newest)
    if failed:
        raise dg.Failure(
            description=f"{len(failed)} of {len(made)} reports failed: "
            + ", ".join(f"{one.run.report_id} ({one.run.error_code})" for one in failed)
            + ". The others are made. The log names each error; ask for these reports anew.",
            metadata=metadata,
            allow_retries=False,
        )
    return dg.MaterializeResult(metadata=metadata)


def _is_waiting(conn: Connection, customer: Customer) -> bool:
    """Whether a report is not made yet: one that waits, or that a killed run had begun."""
    return any(
        reports_page(conn, customer.customer_id, state=state, limit=1)[0] for state in ("waiting", "running")
    )


def report_metadata(
    settings: Settings, slug: str, made: Sequence[MadeReport], newest: Sequence[ReportRun]
) -> dict[str, Any]:
    """How many reports a run made; the customer's newest, and how the last that succeeded is fetched.

    All and not those of the run: one that finds nothing left to make must not hide what the run before it made.
    """
    address = f"{settings.api_url}/api/v1/customers/{slug}/reports"
    own = {one.run.report_id for one in made}
    metadata: dict[str, Any] = {
        "reports made": sum(one.run.state == "success" for one in made),
        "newest reports": markdown_table(
            ("report", "from", "to", "state", "why", "by this run", "attempts", "bytes in all", "asked for by"),
            (
                (
                    str(run.report_id)[:8], run.period.first, run.period.last, run.state, run.error_code,
                    run.report_id in own, run.attempts, sum(file.byte_count for file in run.files), run.actor_kind,
                )
                for run in newest
            ),
            "No report was asked for yet.",
        ),
    }  # fmt: skip
    last = next((run for run in newest if run.files), None)
    if last is not None:
        # A browser that follows a link brings no token: the API would answer 401.
        metadata |= {
            "to save it": f"upstream reports save {slug} {str(last.report_id)[:8]} --format pdf --to report.pdf",
            "over the API, with an access token": f"{address}/{last.report_id}/files/pdf",
            "formats": ", ".join(FORMATS),
        }
    return metadata
