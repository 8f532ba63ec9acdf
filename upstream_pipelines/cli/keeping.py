"""`upstream backup`, `restore`, `cleanup`. Not here: what a backup is (operations/archive.py), what goes when (cleanup.py)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from upstream_pipelines.cli.operator import acting
from upstream_pipelines.cli.output import (
    Json,
    err,
    out,
    print_fields,
    print_json,
    print_table,
    progress,
    short_command_settings,
)
from upstream_pipelines.customers.audit import Detail, operator, record
from upstream_pipelines.db.engine import connect
from upstream_pipelines.db.migrate import require_current
from upstream_pipelines.operations.archive import LANDING, Manifest, manifest_sha256
from upstream_pipelines.operations.backup import back_up
from upstream_pipelines.operations.cleanup import clean_up
from upstream_pipelines.operations.restore import restore as restore_backup
from upstream_pipelines.settings import Settings


def backup(
    folder: Annotated[Path, typer.Argument(help="A new folder for the backup.")], *, json: Json = False
) -> None:
    """Back up the product's database, Dagster's, and the landing zone's files that are not read yet."""
    settings = short_command_settings()
    require_current(settings)
    _audited(settings, "platform.backup_begun", folder)
    with progress("Backing up …", quiet=json):
        manifest = back_up(settings, folder)
    _audited(settings, "platform.backed_up", folder, manifest_sha256=manifest_sha256(folder.expanduser()))
    _report("Backup", folder, manifest, json=json)
    if not json:
        out.print(
            "It holds claims and the secrets of alert channels: keep it as the database itself is kept, and the manifest's "
            "SHA-256 elsewhere: `upstream restore --sha256` wants it to be the same."
        )


def restore(
    folder: Annotated[Path, typer.Argument(help="The folder of a backup.")],
    sha256: Annotated[
        str | None,
        typer.Option(help="What `upstream backup` printed as manifest sha256; any other backup is refused."),
    ] = None,
    *,
    json: Json = False,
) -> None:
    """Fill empty databases from a backup, check the count of every table, and migrate. A dump is a program: trust it first."""
    settings = short_command_settings()
    with progress("Restoring …", quiet=json):
        manifest = restore_backup(settings, folder, sha256)
    _audited(settings, "platform.restored", folder, manifest_sha256=manifest_sha256(folder.expanduser()))
    _report("Restored", folder, manifest, json=json)
    if not json:
        out.print("Next: `upstream doctor`, then `upstream up`.")


def cleanup(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Delete nothing; say how many there are.")] = False,
    json: Json = False,
) -> None:
    """Take away what is older than the settings keep it, as the nightly job does; safe beside a running platform."""
    from upstream_pipelines.defs.cleaning import clean_dagster
    from upstream_pipelines.defs.home import dagster_instance

    settings = short_command_settings()
    require_current(settings)
    now = datetime.now(UTC)
    with progress("Cleaning up …", quiet=json):
        with dagster_instance(settings) as instance:
            of_dagster = clean_dagster(instance, settings, now, dry_run=dry_run)
        with connect(settings, "upstream_pipeline") as conn:
            of_product, left = clean_up(conn, settings, now, dry_run=dry_run)
            cleaned = [*of_dagster, *of_product]
            if not dry_run:
                # Before anything is said of what could not be done: the rows are gone.
                record(
                    conn, operator(), "platform.cleaned_up", ("platform", ""),
                    details={one.kind: one.older for one in cleaned if one.older} | left.counts,
                )  # fmt: skip
    if json:
        print_json([{**vars(one), "deleted": not dry_run} for one in cleaned])
    else:
        print_table(
            "Older than they are kept" if dry_run else "Cleaned up",
            ("what", "kept for days", "older" if dry_run else "deleted"),
            ((one.kind, one.days or "for ever", one.older) for one in cleaned),
        )
    if not dry_run:
        left.require_none()
    elif left.text:
        err.print(left.text, markup=False)


def _audited(settings: Settings, action: str, folder: Path, **details: Detail) -> None:
    """An act on all customers, and so in the trail of none."""
    with acting(settings) as conn:
        record(conn, operator(), action, ("folder", folder.expanduser().resolve()), details=details)


def _report(title: str, folder: Path, manifest: Manifest, *, json: bool) -> None:
    said: dict[str, Any] = {
        "folder": str(folder.expanduser().resolve()),
        "manifest_sha256": manifest_sha256(folder.expanduser()),
        "made_at": manifest.made_at,
        "revision": manifest.revision,
        "rows": sum(manifest.tables.values()),
        "claims": manifest.tables["claims"],
        "waiting_files": sum(name.startswith(f"{LANDING}/") for name in manifest.files),
        "landing_zone_included": manifest.landing_local,
    }
    if json:
        print_json(said)
        return
    print_fields(title, {name.replace("_", " "): value for name, value in said.items()})
    if not manifest.landing_local:
        out.print(
            "The landing zone is an object store: its files are not in the backup; its own versions keep them."
        )
