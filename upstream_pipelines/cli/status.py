"""`upstream status`: the state of the whole platform. Not here: what belongs to it (operations/status.py), what is wrong with
the set-up (doctor.py).
"""

from __future__ import annotations

from dataclasses import asdict

from upstream_pipelines.cli.output import Json, out, print_fields, print_json, print_table, short_command_settings
from upstream_pipelines.customers.flags import customers_without
from upstream_pipelines.customers.store import active_customers
from upstream_pipelines.db.engine import connect
from upstream_pipelines.db.migrate import prepare
from upstream_pipelines.ingest.landing_watch import left_files
from upstream_pipelines.operations.status import Status, read_status

_WHY = {
    "upload": "its newest upload that ended was refused: `upstream uploads SLUG`",
    "waiting": "an upload was not loaded for 15 minutes: the runs of ingest in the Dagster UI, `upstream doctor`",
    "look": "no look was made for 26 hours: `upstream drift SLUG`",
    "channel": "a receiver fails: `upstream alerts list SLUG`",
    "silent": "nothing comes any more: ask the sender",
    "report": "its newest report failed: `upstream reports list SLUG`, then `upstream reports make SLUG`",
    "report_waiting": "a report was not made for 15 minutes: the runs of reports in the Dagster UI, `upstream reports list SLUG`",
    "names": "changed aliases or groups did not reach the claims for 15 minutes: the runs of ingest in the Dagster UI; then "
    "materialise claims and payer_activity of SLUG",
}


def status(*, json: Json = False) -> None:
    """Runs, queues, lags and customers in trouble, of the whole platform, now."""
    settings = short_command_settings()
    prepare(settings)
    with connect(settings, "upstream_pipeline") as conn:
        found = read_status(conn)
        untaken = customers_without(conn, "csv_upload")
        left = left_files(
            settings, [customer.slug for customer in active_customers(conn) if customer.customer_id in untaken]
        )
    if json:
        print_json({**asdict(found), "left_in_landing_zone": [asdict(one) for one in left]})
    else:
        _print(found)
        if left:
            print_table(
                "Files left in the landing zone: csv_upload is off",
                ("customer", "files", "what"),
                ((one.slug, one.files, f"`upstream customers flags {one.slug} --on csv_upload`") for one in left),
            )


def _print(found: Status) -> None:
    print_fields(
        "Platform",
        {
            "active customers": found.customers_active,
            "uploads waiting": _queue(found.uploads_waiting, found.oldest_upload_seconds),
            "reports waiting": _queue(found.reports_waiting, found.oldest_report_seconds),
            "messages due": _queue(found.deliveries_due, found.oldest_delivery_seconds),
            "messages for later": found.deliveries_waiting - found.deliveries_due,
            "messages given up": found.deliveries_dead,
            "last sweep that succeeded": _ago(found.sweep_seconds),
            "runs noted": _ago(found.runs_noted_seconds),
        },
    )
    if found.runs:
        print_table(
            "Runs",
            ("job", "queued", "at work", "failed in a day", "last", "began", "ended"),
            (
                (
                    one.job_name, one.queued, one.started, one.failed, one.last_status, one.last_started_at, one.last_ended_at,
                )
                for one in found.runs
            ),
        )  # fmt: skip
    else:
        out.print("The daemon has noted no runs yet; it does each minute while `upstream up` runs.")
    if found.failing:
        more = found.failing_count - len(found.failing)
        print_table(
            f"Customers in trouble{f', the first of {found.failing_count}' if more > 0 else ''}",
            ("customer", "since", "what"),
            ((one.slug, one.since, _WHY[one.why].replace("SLUG", one.slug)) for one in found.failing),
        )


def _queue(number: int, seconds: float) -> str:
    return f"{number:,}, the oldest for {_span(seconds)}" if number else "0"


def _ago(seconds: float | None) -> str:
    return f"{_span(seconds)} ago" if seconds is not None else "never"


def _span(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
