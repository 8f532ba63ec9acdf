"""`upstream backup` and `upstream restore`. Not here: what a backup is (operations/archive.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from upstream_pipelines.cli.output import Json, out, print_fields, print_json, progress, short_command_settings
from upstream_pipelines.operations.archive import LANDING, Manifest
from upstream_pipelines.operations.backup import back_up
from upstream_pipelines.operations.restore import restore as restore_backup


def backup(
    folder: Annotated[Path, typer.Argument(help="A new folder for the backup.")], *, json: Json = False
) -> None:
    """Back up the product's database, Dagster's, and the landing zone's files that are not read yet."""
    settings = short_command_settings()
    with progress("Backing up …", quiet=json):
        manifest = back_up(settings, folder)
    _report("Backup", folder, manifest, json=json)
    if not json:
        out.print("It holds claims and the secrets of alert channels: keep it as the database itself is kept.")


def restore(
    folder: Annotated[Path, typer.Argument(help="The folder of a backup.")], *, json: Json = False
) -> None:
    """Fill empty databases from a backup, check the count of every table, and migrate."""
    settings = short_command_settings()
    with progress("Restoring …", quiet=json):
        manifest = restore_backup(settings, folder)
    _report("Restored", folder, manifest, json=json)
    if not json:
        out.print("Next: `upstream doctor`, then `upstream up`.")


def _report(title: str, folder: Path, manifest: Manifest, *, json: bool) -> None:
    said: dict[str, Any] = {
        "folder": str(folder.expanduser().resolve()),
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
        out.print("The landing zone is an object store: its files are not in the backup; its own versions keep them.")
