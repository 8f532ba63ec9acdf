"""`upstream trace`: from one id to the last delivery. Not here: what belongs to the chain (operations/trace.py)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from upstream_pipelines.cli.output import Json, out, print_json, print_table, short_command_settings
from upstream_pipelines.db.engine import connect
from upstream_pipelines.db.migrate import prepare
from upstream_pipelines.operations.trace import MOST_UPLOADS, Trace
from upstream_pipelines.operations.trace import trace as trace_id

_SHORT = 8  # characters of an id, as every list shows them


def trace(
    asked: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="Id of a request (X-Request-Id), an upload, a report, a run, an alert or a delivery; but for a request or a run, its "
            "first eight digits are enough.",
        ),
    ],
    *,
    json: Json = False,
) -> None:
    """From one request to the last delivery: what came, what became of it, which looks, alerts and messages followed."""
    settings = short_command_settings()
    prepare(settings)
    with connect(settings, "upstream_pipeline") as conn:
        found = trace_id(conn, asked)
    if found.run_ids:
        from upstream_pipelines.defs.home import dagster_instance
        from upstream_pipelines.defs.run_states import run_states

        with dagster_instance(settings) as instance:
            found = found.with_runs(run_states(instance, found.run_ids))
    if json:
        print_json(asdict(found))
    else:
        _print(found)


def _print(found: Trace) -> None:
    if found.uploads:
        print_table(
            f"What {found.kind} {found.asked} brought",
            ("upload", "customer", "source", "status", "rows", "accepted", "rejected", "duplicates", "updated"),
            (
                (
                    str(one["upload_id"]), one["slug"], one["source"], one["status"], one["rows"], one["accepted"],
                    one["rejected"], one["duplicates"], one["updated"],
                )
                for one in found.uploads
            ),
        )  # fmt: skip
    if found.more_uploads:
        out.print(f"The first {MOST_UPLOADS} uploads; `upstream trace UPLOAD` follows another.")
    if found.reports:
        print_table(
            f"Reports of {found.kind} {found.asked}",
            ("report", "customer", "from", "until", "state", "why", "attempts", "files", "bytes"),
            (
                (
                    str(one["report_id"]), one["slug"], one["period_from"], one["period_until"], one["state"], one["error_code"],
                    one["attempts"], one["files"], one["byte_count"],
                )
                for one in found.reports
            ),
        )  # fmt: skip
    if found.more_reports:
        out.print(f"The first {MOST_UPLOADS} reports; `upstream trace REPORT` follows another.")
    print_table(
        "What happened (UTC)",
        ("at", "what", "id", "state", "about"),
        (
            (f"{entry.at:%Y-%m-%d %H:%M:%S}", entry.what, _shown(entry.id), entry.state, entry.about)
            for entry in found.entries
        ),
    )


def _shown(id_: str) -> str:
    """A look has its day for an id."""
    return id_ if len(id_) <= len("2026-01-01") else id_[:_SHORT]
