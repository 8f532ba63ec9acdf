"""`upstream customers delete` and `upstream export`: all that is one customer's. Not here: what that is (operations/)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from upstream_pipelines.cli.operator import audited
from upstream_pipelines.cli.output import Json, out, print_json, print_table, progress, short_command_settings
from upstream_pipelines.customers.audit import operator
from upstream_pipelines.customers.store import get_customer
from upstream_pipelines.db.engine import connect
from upstream_pipelines.db.migrate import prepare
from upstream_pipelines.errors import ConfigurationError
from upstream_pipelines.operations.deletion import delete_customer, empty_customer
from upstream_pipelines.operations.export import export_customer


def delete(
    slug: Annotated[str, typer.Argument(help="The customer's slug; it must be disabled.")],
    yes: Annotated[str, typer.Option(help="The slug once more: there is no way back but a backup.")] = "",
    *,
    json: Json = False,
) -> None:
    """Delete a disabled customer for good: its rows in every table, its files, its runs in Dagster. Killed: say it again."""
    from upstream_pipelines.defs.forgetting import forget_partition, require_no_run
    from upstream_pipelines.defs.home import dagster_instance

    settings = short_command_settings()
    prepare(settings)
    with connect(settings, "upstream_pipeline") as conn:
        customer = get_customer(conn, slug)
        if yes != slug:
            raise ConfigurationError(
                f"All of {customer.name} would be deleted for good. `upstream customers delete {slug} --yes {slug}` does it."
            )
        with dagster_instance(settings) as instance, progress(f"Deleting {slug} …", quiet=json):
            require_no_run(instance, slug)
            deleted = empty_customer(conn, operator(), settings, customer)
            deleted |= forget_partition(instance, settings, slug)
            # Last: while it is there, a deletion that was killed can be gone on with.
            with conn.transaction():
                delete_customer(conn, customer)
                audited(conn, customer, "customer.deleted", ("customer", slug))
    if json:
        print_json({"slug": slug, "deleted": deleted})
        return
    print_table(
        f"Deleted of {slug}", ("what", "how many"), ((name, count) for name, count in deleted.items() if count)
    )
    out.print(
        "What stays: the audit trail, with e-mails of those who acted; until the nightly cleanup takes them people who had left "
        "before, and the name in log lines of runs of all customers; what was sent; and backups and exports made before."
    )


def export(
    slug: Annotated[str, typer.Argument(help="The customer's slug.")],
    folder: Annotated[Path, typer.Argument(help="A new folder for the files.")],
    *,
    json: Json = False,
) -> None:
    """Write all that a customer owns as CSV, a file a table, with row counts and SHA-256; for programs, not for spreadsheets."""
    settings = short_command_settings()
    prepare(settings)
    with connect(settings, "upstream_pipeline") as conn:
        customer = get_customer(conn, slug)
        with progress(f"Exporting {slug} …", quiet=json):
            tables = export_customer(conn, operator(), customer, folder)
    if json:
        print_json([vars(one) for one in tables])
        return
    print_table(
        f"Exported of {slug}",
        ("file", "rows", "bytes"),
        ((f"{one.table}.csv", one.rows, one.bytes) for one in tables),
    )
    out.print(
        f"In {folder}, with manifest.json. Text is as it was stored: what a spreadsheet takes for a formula is not guarded. "
        "No secret is among it; files that wait in the landing zone are not either."
    )
