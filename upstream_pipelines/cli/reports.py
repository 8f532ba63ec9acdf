"""`upstream reports`: which there are, making one here and now, saving its files. Not here: what a report says (reports/)."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from upstream_pipelines.cli.new_file import new_file
from upstream_pipelines.cli.operator import acting
from upstream_pipelines.cli.output import (
    Json,
    out,
    print_fields,
    print_json,
    print_table,
    progress,
    short_command_settings,
)
from upstream_pipelines.cli.run_here import run_here
from upstream_pipelines.customers.audit import operator
from upstream_pipelines.customers.store import get_customer
from upstream_pipelines.db.engine import connect
from upstream_pipelines.db.migrate import prepare
from upstream_pipelines.errors import ConfigurationError, ConflictError
from upstream_pipelines.reports.models import FORMATS, Format, checked_period, last_full_month
from upstream_pipelines.reports.store import (
    ReportRun,
    find_report,
    get_report,
    hold_back,
    report_file,
    reports_page,
    request_report,
)

app = typer.Typer(
    no_args_is_help=True, help="Reports of a customer: what changed, what payers did, how good uploads were."
)
Slug = Annotated[str, typer.Argument(help="The customer's slug.")]


@app.command("list")
def list_(
    slug: Slug,
    *,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="So many, the newest.")] = 50,
    json: Json = False,
) -> None:
    """The reports that were asked for, the newest first, and what came of them."""
    settings = short_command_settings()
    prepare(settings)
    with connect(settings, "upstream_pipeline") as conn:
        runs, _ = reports_page(conn, get_customer(conn, slug).customer_id, limit=limit)
    if json:
        print_json([_plain(run) for run in runs])
        return
    if not runs:
        out.print(
            f"No report of {slug} was asked for yet. `upstream reports make {slug}` makes the last full month's."
        )
        return
    print_table(
        f"Reports of {slug}",
        ("id", "from", "to", "state", "why", "asked for", "by", "made", "files"),
        (
            (
                str(run.report_id)[:8], run.period.first, run.period.last, run.state, run.error_code,
                run.requested_at, run.actor_name, run.ended_at, " ".join(file.format for file in run.files) or None,
            )
            for run in runs
        ),
    )  # fmt: skip


@app.command()
def make(
    slug: Slug,
    *,
    first: Annotated[
        str | None, typer.Option("--from", help="First day; without days the last full month.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="The day after the last one.")] = None,
    json: Json = False,
) -> None:
    """Make the report of a period: the same asset as in production, for this customer's partition, here and now."""
    from upstream_pipelines.defs.run_tags import report_tags

    settings = short_command_settings()
    prepare(settings)
    today = datetime.now(UTC).date()
    if (first is None) != (until is None):
        raise ConfigurationError("Give both --from and --until, the day after the last one, or neither.")
    period = (
        checked_period(_day(first, "--from"), _day(until, "--until"), today)
        if first is not None and until is not None
        else last_full_month(today)
    )
    with acting(settings) as conn:
        customer = get_customer(conn, slug)
        if customer.status != "active":
            raise ConflictError(
                f"Customer {slug} is disabled. `upstream customers enable {slug}` takes it up again."
            )
        report_id = request_report(conn, operator(), customer, period)
        hold_back(conn, customer.customer_id, report_id)
    with progress(f"Making the report of {period.first} to {period.last} …", quiet=json):
        run_here(
            settings, "reports", slug, report_tags([report_id], [], 1),
            config={"drift_report": {"config": {"only_waiting": True}}},
        )  # fmt: skip
    with connect(settings, "upstream_pipeline") as conn:
        run = get_report(conn, customer.customer_id, report_id)
    _report(slug, run, json=json)
    if run.state != "success":
        raise typer.Exit(1)


@app.command()
def save(
    slug: Slug,
    report: Annotated[str, typer.Argument(help="Id of a report, or its beginning.")],
    *,
    format_: Annotated[str, typer.Option("--format", help="html, pdf, xlsx or csv.")] = "pdf",
    to: Annotated[Path, typer.Option("--to", help="A new file, for your account only.")],
    json: Json = False,
) -> None:
    """Write a file of a report to a new file. That it was taken stands in the trail."""
    settings = short_command_settings()
    prepare(settings)
    name: Format | None = next((known for known in FORMATS if known == format_), None)
    if name is None:
        raise ConfigurationError(f"--format is one of {', '.join(FORMATS)}.")
    with new_file(to) as file:
        # The trail has the act before anything is written: what was copied cannot be taken back.
        with acting(settings) as conn:
            customer = get_customer(conn, slug)
            run = find_report(conn, customer.customer_id, report)
            kept = report_file(conn, operator(), customer, run.report_id, name)
        file.write(kept.content)
    if json:
        print_json(
            {
                "report_id": run.report_id,
                "format": name,
                "file": str(to),
                "bytes": len(kept.content),
                "sha256": kept.sha256,
            }
        )
        return
    out.print(f"{len(kept.content):,} bytes written to {to}.")


def _day(text: str, option: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"{option} is a day, such as 2026-06-01.") from None


def _plain(run: ReportRun) -> dict[str, Any]:
    return {
        "report_id": run.report_id, "from": run.period_from, "until": run.period_until, "state": run.state,
        "error_code": run.error_code, "attempts": run.attempts, "requested_by": run.actor_name,
        "requested_at": run.requested_at, "started_at": run.started_at, "ended_at": run.ended_at,
        "files": [vars(file) for file in run.files],
    }  # fmt: skip


def _report(slug: str, run: ReportRun, *, json: bool) -> None:
    if json:
        print_json(_plain(run))
        return
    print_fields(
        "Report",
        {
            "id": str(run.report_id), "from": run.period.first, "to": run.period.last, "state": run.state,
            "why": run.error_code, "files": ", ".join(f"{file.format} ({file.byte_count:,} bytes)" for file in run.files) or None,
        },
    )  # fmt: skip
    if run.files:
        out.print(f"Save one: upstream reports save {slug} {str(run.report_id)[:8]} --format pdf --to report.pdf")
