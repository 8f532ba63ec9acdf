"""Makes a backup: both databases by pg_dump, and the files of the landing zone that are not read yet.

Not here: what a backup looks like (archive.py), reading it back (restore.py), files that were read (their rows are in the
database), an object store's files.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

from psycopg import sql
from sqlalchemy.engine import URL

from upstream_pipelines import __version__
from upstream_pipelines.db.engine import Connection, connect, database_url, standing_still
from upstream_pipelines.db.migrate import connect_as_login, dagster_url, head_revision, require_current
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.errors import ConfigurationError, ConflictError
from upstream_pipelines.ingest.landing import safe_name
from upstream_pipelines.operations.archive import (
    DAGSTER_DUMP,
    LANDING,
    PRODUCT_DUMP,
    Manifest,
    create_file,
    sha256_of,
    write_manifest,
)
from upstream_pipelines.operations.programs import Program, find_program, run_program
from upstream_pipelines.settings import Settings

QUERIES = load_queries(__package__)

# Not there, a link, something else on the way to it, a pipe that nobody reads or a socket.
_NO_FILE = frozenset({errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENXIO})


@dataclass(frozen=True)
class _Moment:
    """What the product's database held at the moment of the backup."""

    tables: dict[str, int]
    waiting: list[UUID]
    began: datetime


def back_up(settings: Settings, folder: Path) -> Manifest:
    """Write a backup of what is now into a new folder, beside a running platform; one account alone can read it.

    Raises:
        ConfigurationError: no fitting pg_dump; a login that does not see all rows.
        ConflictError: the folder holds something.
        DatabaseUnavailableError: the database cannot be reached, or is of another release.
        ProgramFailedError: pg_dump failed.
    """
    require_current(settings)
    url = database_url(settings)
    program = find_program("pg_dump", _server_version(url))
    folder = folder.expanduser().resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConflictError(f"{folder} is there already and not empty. Name a new folder for the backup.")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    # Dagster's first: what its runs did meanwhile is then in the product's, which knows each thing once.
    _dump(program, dagster_url(settings), folder / DAGSTER_DUMP)
    moment = _dump_product(settings, program, url, folder / PRODUCT_DUMP)
    local = "://" not in settings.landing_root
    if local:
        _copy_waiting(settings, moment, folder / LANDING)
    files = {
        str(path.relative_to(folder)): sha256_of(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }
    manifest = Manifest(
        made_at=moment.began.isoformat(timespec="seconds"),
        program=__version__,
        revision=head_revision(),
        pg_dump=program.major,
        tables=moment.tables,
        files=files,
        landing_root=settings.landing_root,
        landing_local=local,
    )
    write_manifest(folder, manifest)
    return manifest


def _server_version(url: URL) -> int:
    """Major version of the server, which shows this login all rows."""
    with connect_as_login(url) as conn:
        if conn.execute(QUERIES.sees_all_rows).fetchone() != (True,):
            raise ConfigurationError(
                "Row-level security hides rows from the login of UPSTREAM_DATABASE_URL, and a backup would lack them. It must "
                "be a member of upstream_pipeline that inherits (`upstream migrate` grants that)."
            )
        return conn.info.server_version // 10_000


def _dump_product(settings: Settings, program: Program, url: URL, target: Path) -> _Moment:
    with connect(settings, "upstream_pipeline") as conn, standing_still(conn):
        (snapshot,) = _row(conn, QUERIES.export_snapshot)
        (began,) = _row(conn, "SELECT now()")
        # row_security stays on: pg_dump switches it off, and is then refused where it is forced. This login is a member of
        # the pipeline's role, whose policies show every row; the counts, taken as that role, are checked after a restore.
        _dump(program, url, target, "--enable-row-security", f"--snapshot={snapshot}")
        waiting = [row[0] for row in conn.execute(QUERIES.waiting_file_uploads).fetchall()]
        return _Moment(count_rows(conn), waiting, began.astimezone(UTC))


def _dump(program: Program, url: URL, target: Path, *arguments: str) -> None:
    target.touch(mode=0o600)
    run_program(program, url, "--format=custom", f"--file={target}", *arguments)


def count_rows(conn: Connection) -> dict[str, int]:
    """Rows of each table that the pipeline's role reads."""
    tables = [row[0] for row in conn.execute(QUERIES.tables_to_count).fetchall()]
    counted = sql.SQL("SELECT count(*) FROM {}")
    return {table: int(_row(conn, counted.format(sql.Identifier(table)))[0]) for table in tables}


def _row(conn: Connection, statement: Any) -> Sequence[Any]:
    row = conn.execute(statement).fetchone()
    assert row is not None
    return tuple(row)


def _copy_waiting(settings: Settings, moment: _Moment, target: Path) -> None:
    """Files that the dumped database has not read: those that lie there, then those that a run has moved since."""
    root = Path(settings.landing_root)
    for path in sorted(root.glob("*/*")):
        if not path.name.startswith("."):
            _copy(path.parent, (path.name,), target / path.relative_to(root))
    with connect(settings, "upstream_pipeline") as conn:
        rows = conn.execute(
            QUERIES.uploads_not_yet_read_at, {"waiting": moment.waiting, "since": moment.began}
        ).fetchall()
    for slug, upload_id, location, known in rows:
        folder, name = root / slug, Path(location).name
        # What is noted may be any path: a run takes in what lies in the customer's own folder, and so does a backup.
        dropped = Path(location).parent == folder
        if dropped and (target / slug / name).exists():
            continue
        # In the order in which a run moves it, so that it cannot slip by.
        places = [(place, str(upload_id), name) for place in (".uploads", ".done", ".failed")]
        # One that the dumped database does not know is dropped again; the others are where their run looks.
        there = places[0] if known else (f"{str(upload_id)[:8]}-{safe_name(name)}",)
        copy = target.joinpath(slug, *there)
        any(_copy(folder, place, copy) for place in (*([(name,)] if dropped else ()), *places))


def _copy(folder: Path, below: Sequence[str], target: Path) -> bool:
    """False when there is no such file (any more)."""
    source = _open_file(folder, below)
    if source is None:
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    with source, create_file(target) as copy:
        shutil.copyfileobj(source, copy, 1024 * 1024)
    return True


def _open_file(folder: Path, below: Sequence[str]) -> BinaryIO | None:
    """A file below a customer's folder, None where there is none. No link in that folder is followed, at whatever moment it
    was put there: it would bring in any file that this account can read.
    """
    try:
        found = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        for part in below:
            outer = found
            try:
                # Without waiting: a pipe would hold the backup up for ever.
                found = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=outer)
            finally:
                os.close(outer)
    except OSError as error:
        if error.errno in _NO_FILE:
            return None
        raise
    if not stat.S_ISREG(os.fstat(found).st_mode):
        os.close(found)
        return None
    return os.fdopen(found, "rb")
