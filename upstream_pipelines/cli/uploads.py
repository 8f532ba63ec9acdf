"""`upstream upload`: runs the ingest job for one file and waits. `upstream uploads`: what became of those that came."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

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
from upstream_pipelines.customers.flags import require
from upstream_pipelines.customers.store import get_customer
from upstream_pipelines.db.engine import Connection, connect
from upstream_pipelines.db.migrate import prepare
from upstream_pipelines.errors import ConfigurationError, ConflictError
from upstream_pipelines.ingest.uploads import (
    file_of,
    find_upload_id,
    get_upload,
    newest_uploads,
    rejections,
    send_file,
)
from upstream_pipelines.quality.measured import figure, measures_of_upload, seen
from upstream_pipelines.settings import Settings
from upstream_pipelines.visible import visible

_COUNTS = (
    "source",
    "received_at",
    "status",
    "rows",
    "accepted",
    "rejected",
    "duplicates",
    "updated",
    "warnings",
    "seconds",
)
_VERDICTS = {
    "first": "first day: its history", "learning": "too little history", "off": "switched off",
    "usual": "as usual", "low": "UNUSUAL: low", "high": "UNUSUAL: high",
}  # fmt: skip
# Another run may be at work on the same customer and take this file; then its end is waited for.
_WAIT_SECONDS = 3600


def upload(
    slug: Annotated[str, typer.Argument(help="The customer's slug.")],
    file: Annotated[Path, typer.Argument(help="A CSV file, or an X12 835 remittance.")],
    *,
    json: Json = False,
) -> None:
    """Send a file: the same assets as in production, for this customer's partition, here and now."""
    settings = short_command_settings(
        "ERROR"
    )  # a refusal is a warning in the log; here it is shown once, in words
    prepare(settings)
    if not file.is_file():
        raise ConfigurationError(f"{file} is not a file. Give the path of a CSV file or a remittance.")
    with connect(settings, "upstream_pipeline") as conn:
        customer = get_customer(conn, slug)
        if customer.status != "active":
            raise ConflictError(
                f"Customer {slug} is disabled. `upstream customers enable {slug}` takes it up again."
            )
        require(conn, customer, "csv_upload")
        upload_id = send_file(conn, settings, customer, file, operator())
        with progress(f"Reading {file.name} …", quiet=json):
            source = get_upload(conn, customer.customer_id, upload_id)["source"]
            run_ingest(settings, slug, source, upload_id)
            result = _finished(conn, customer.customer_id, upload_id)
        rejected = rejections(conn, customer.customer_id, upload_id)
        measures = measures_of_upload(conn, customer.customer_id, upload_id)
    _report(result, rejected, measures, json=json)
    if result["status"] == "failed":
        raise typer.Exit(1)


def uploads(
    slug: Annotated[str, typer.Argument(help="The customer's slug.")],
    upload: Annotated[
        str | None, typer.Argument(help="Id of an upload, or its beginning: that one in full.")
    ] = None,
    *,
    json: Json = False,
) -> None:
    """The newest uploads, however they came; with an id what became of one, and which rows were rejected and why."""
    settings = short_command_settings()
    prepare(settings)
    with connect(settings, "upstream_pipeline") as conn:
        customer_id = get_customer(conn, slug).customer_id
        if upload is not None:
            upload_id = find_upload_id(conn, customer_id, upload)
            _report(
                get_upload(conn, customer_id, upload_id), rejections(conn, customer_id, upload_id),
                measures_of_upload(conn, customer_id, upload_id), json=json,
            )  # fmt: skip
            file = file_of(conn, customer_id, upload_id)
            if file is not None and not json:
                out.print(f"The file: {visible(file)}", soft_wrap=True)  # in one piece, to be copied
            return
        newest = newest_uploads(conn, customer_id)
    if json:
        print_json(newest)
        return
    if not newest:
        out.print(f"Nothing has come for {slug} yet. `upstream upload {slug} FILE` sends a file.")
        return
    print_table(
        f"Uploads of {slug}",
        ("id", "received", "source", "status", "rows", "accepted", "rejected", "duplicates", "why"),
        (
            (
                str(row["upload_id"])[:8], row["received_at"], row["source"], row["status"], row["rows"],
                row["accepted"], row["rejected"], row["duplicates"],
                "same bytes as an earlier one" if row["duplicate_of"] else row["error_code"],
            )
            for row in newest
        ),
    )  # fmt: skip


def run_ingest(settings: Settings, slug: str, source: str, upload_id: UUID) -> None:
    """The job `ingest` for one customer and source, here and now."""
    from upstream_pipelines.defs.jobs import ingest_assets
    from upstream_pipelines.defs.run_tags import upload_tags

    run_here(settings, "ingest", slug, upload_tags([upload_id], [], 1), assets=ingest_assets([source]))


def _finished(conn: Connection, customer_id: int, upload_id: UUID) -> dict[str, Any]:
    end = time.monotonic() + _WAIT_SECONDS
    while True:
        row = get_upload(conn, customer_id, upload_id)
        if row["status"] in {"success", "partial", "failed"}:
            return row
        if time.monotonic() > end or not _worked_on(conn, customer_id):
            raise ConflictError(
                f"Upload {upload_id} is still {row['status']}: its run ended without it. Nothing is lost; a running "
                "`upstream up` tries again, or send the file again."
            )
        time.sleep(0.5)


def _worked_on(conn: Connection, customer_id: int) -> bool:
    from upstream_pipelines.ingest.uploads import is_locked

    return is_locked(conn, customer_id)


def _report(
    result: dict[str, Any], rejected: list[dict[str, Any]], measures: list[dict[str, Any]], *, json: bool
) -> None:
    said = {"upload_id": str(result["upload_id"])} | {name: result[name] for name in _COUNTS}
    said["duplicate_of"] = str(result["duplicate_of"]) if result["duplicate_of"] else None
    said["error"] = result["error_message"]
    said["unused_columns"] = result["detected"].get("unused_columns", [])
    if json:
        print_json(said | {"rejections": rejected, "measures": measures})
        return
    print_fields("Upload", {**said, "unused_columns": ", ".join(said["unused_columns"]) or None})
    if rejected:
        print_table(
            "Rejected rows",
            ("rule", "field", "rows", "first row numbers", "reason"),
            (
                (item["rule"], item["field"], item["rows"], item["row_numbers"], item["reason"])
                for item in rejected
            ),
        )
    if measures:
        day = f" of the batches of {measures[0]['day']}" if measures[0]["whole_day"] else ""
        print_table(
            f"Beside what is usual for this customer{day}",
            ("rule", "field", "verdict", "seen", "usual", "expected", "compared with"),
            (_measure_row(item) for item in _worth_showing(measures)),
        )


def _worth_showing(measures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is unusual and, of each rule without that, the measure of which the largest part was counted."""
    shown: dict[str, list[dict[str, Any]]] = {}
    for item in sorted(measures, key=lambda one: -one["amount"]):
        rows = shown.setdefault(item["rule"], [])
        if item["state"] in {"low", "high"}:
            rows[:] = [*(one for one in rows if one["state"] in {"low", "high"}), item]
        elif not rows:
            rows.append(item)
    return [item for rule in sorted(shown) for item in shown[rule]]


def _measure_row(item: dict[str, Any]) -> tuple[Any, ...]:
    rule, compared = item["rule"], item["usual"] is not None
    return (
        rule, item["field"] or None, _VERDICTS[item["state"]], figure(rule, seen(item)),
        figure(rule, item["usual"]) if compared else None,
        f"{figure(rule, item['low'])} to {figure(rule, item['high'])}" if compared else None, item["history"],
    )  # fmt: skip
