"""Reads a backup back into empty databases, and checks that all of it is there. Not here: what a backup looks like (archive.py)."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from sqlalchemy.engine import URL
from upath import UPath

from upstream_pipelines.db.engine import connect, database_url
from upstream_pipelines.db.migrate import (
    connect_as_login,
    dagster_url,
    ensure_roles_and_databases,
    known_revisions,
    migrate,
)
from upstream_pipelines.errors import ConflictError, UpstreamError
from upstream_pipelines.operations.archive import (
    DAGSTER_DUMP,
    LANDING,
    PRODUCT_DUMP,
    Manifest,
    read_manifest,
)
from upstream_pipelines.operations.backup import QUERIES, count_rows
from upstream_pipelines.operations.programs import find_program, list_archive, run_program
from upstream_pipelines.settings import Settings


class RestoredOtherwiseError(UpstreamError):
    """What was restored is not what was backed up."""

    code = "restored_otherwise"


def restore(settings: Settings, folder: Path, sha256: str | None = None) -> Manifest:
    """Fill the empty databases and the landing zone of these settings, then migrate to the revision of this program.

    Each database is one transaction: what fails leaves it empty. A dump is a program that PostgreSQL runs: restore only what
    you trust, or what is still the backup of that `sha256` (`archive.manifest_sha256`). Returns: the backup's manifest.

    Raises:
        ConfigurationError: no whole backup, another one than `sha256`, or no fitting pg_restore.
        ConflictError: a database is not empty, a file is in the way, or the backup is of a newer release.
        ProgramFailedError: pg_restore failed.
        RestoredOtherwiseError: a table has another number of rows than when it was backed up.
    """
    folder = folder.expanduser().resolve()
    manifest = read_manifest(folder, sha256)
    if manifest.revision not in known_revisions():
        raise ConflictError(
            f"The backup is at revision {manifest.revision}, which this release does not know. Use release "
            f"{manifest.program} or newer."
        )
    url = database_url(settings)
    ensure_roles_and_databases(settings)
    server = max(_empty(url), _empty(dagster_url(settings)))
    files = _files(settings, folder, manifest)
    program = find_program("pg_restore", server, manifest.pg_dump)
    with connect_as_login(url) as login, tempfile.NamedTemporaryFile("w", suffix=".list") as entries:
        # Rights on PostgreSQL's own functions are those of the server that is restored to: a login that is no superuser may not
        # take there what is taken already. `migrate` takes them where it can.
        kept = (line for line in list_archive(program, folder / PRODUCT_DUMP) if " ACL pg_catalog " not in line)
        entries.write("\n".join(kept))
        entries.flush()
        # A function of the dump belongs to the pipeline's role, and an owner-to-be must be able to make it. Row-level
        # security is switched on by the dump after the rows are in, so that they can be copied.
        login.execute("GRANT CREATE ON SCHEMA public TO upstream_pipeline")
        try:
            run_program(
                program, url, "--single-transaction", "--no-comments", "--use-list", entries.name, str(folder / PRODUCT_DUMP)
            )  # fmt: skip
        finally:
            login.execute("REVOKE CREATE ON SCHEMA public FROM upstream_pipeline")
        login.execute("ANALYZE")
    _check(settings, manifest)
    # Its tables belong to whichever login Dagster has here.
    run_program(
        program,
        dagster_url(settings),
        "--single-transaction",
        "--no-comments",
        "--no-owner",
        "--no-privileges",
        str(folder / DAGSTER_DUMP),
    )
    for source, target in files:
        target.parent.mkdir(parents=True, exist_ok=True)
        with source.open("rb") as stored, target.open("wb") as waiting:
            shutil.copyfileobj(stored, waiting, 1024 * 1024)
    migrate(settings)
    return manifest


def _empty(url: URL) -> int:
    """The server's major version; an error where the database is not empty."""
    with connect_as_login(url) as conn:
        if conn.execute(QUERIES.count_relations).fetchone() != (0,):
            raise ConflictError(
                f"The database {url.database} is not empty, and a restore mixes nothing. Name an empty one by "
                "UPSTREAM_DATABASE_URL and UPSTREAM_DAGSTER_DATABASE_NAME, or set UPSTREAM_HOME to a new folder."
            )
        return conn.info.server_version // 10_000


def _check(settings: Settings, manifest: Manifest) -> None:
    with connect(settings, "upstream_pipeline") as conn:
        found = count_rows(conn)
        otherwise = sorted(name for name, _ in set(found.items()) ^ set(manifest.tables.items()))
        if otherwise:
            raise RestoredOtherwiseError(
                f"Other numbers of rows than in the backup: {', '.join(dict.fromkeys(otherwise))}. Do not use this database; "
                "restore again into an empty one."
            )
        if manifest.landing_root != settings.landing_root:
            conn.execute(QUERIES.move_locations, {"old": manifest.landing_root, "new": settings.landing_root})


def _files(settings: Settings, folder: Path, manifest: Manifest) -> list[tuple[Path, UPath]]:
    """The files that wait in the backup, and where they go."""
    root, landing = UPath(settings.landing_root), f"{LANDING}/"
    files = [
        (folder / name, root / name.removeprefix(landing))
        for name in sorted(manifest.files)
        if name.startswith(landing)
    ]
    for _, target in files:
        if target.exists():
            raise ConflictError(f"{target} is there already. Take it away, or name another UPSTREAM_LANDING_ZONE.")
    return files
