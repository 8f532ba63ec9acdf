"""The uploads: registering what landed, which customers have work, what became of each.

Not here: reading an upload's rows (staging.py), merging them into claims (claims/merge.py).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from uuid import UUID, uuid4

from psycopg.rows import dict_row
from upath import UPath

from upstream_pipelines.customers.audit import Actor, record
from upstream_pipelines.customers.models import Customer, CustomerKey
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.ids import id_pattern, the_one
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.errors import NotFoundError
from upstream_pipelines.ingest.landing import put_away, settled_files, upload_path
from upstream_pipelines.ingest.recognise import HEAD_BYTES, FileSource, source_of
from upstream_pipelines.settings import Settings

QUERIES = load_queries(__package__)

# Class of the advisory locks on customers; the second number of a lock is the customer's id.
LOCK_CLASS = 7306
# Uploads that a run is tagged with. It may take thousands, and a tag is indexed: PostgreSQL refuses 2.7 kB and more.
_NAMED = 5


@contextmanager
def customer_lock(conn: Connection, customer_id: int) -> Iterator[None]:
    """One run at a time works on a customer's claims, whoever started it.

    A session lock: it ends with the connection, so a killed run frees it at once, and the sensor can
    tell an upload that is being read from one whose run is dead.
    """
    conn.execute("SELECT pg_advisory_lock(%s, %s::int)", (LOCK_CLASS, customer_id))
    try:
        yield
    finally:
        if not conn.closed and not conn.broken:
            conn.execute("SELECT pg_advisory_unlock(%s, %s::int)", (LOCK_CLASS, customer_id))


def is_locked(conn: Connection, customer_id: int) -> bool:
    """Whether a run is at work on the customer's claims."""
    row = conn.execute(QUERIES.is_locked, {"lock_class": LOCK_CLASS, "customer_id": customer_id}).fetchone()
    assert row is not None
    return bool(row[0])


def register_landed_files(conn: Connection, settings: Settings, customer: CustomerKey) -> list[UUID]:
    """Make an upload of every settled file in the customer's folder that is not one yet.

    Returns: the new uploads' ids.
    """
    files = list(settled_files(settings, customer.slug))
    if not files:
        return []
    waiting = {
        row[0]
        for row in conn.execute(QUERIES.select_waiting_locations, {"customer_id": customer.customer_id}).fetchall()
    }
    registered = []
    for file in files:
        if str(file.path) not in waiting:
            upload_id = uuid4()
            try:
                new = _register(conn, customer.customer_id, upload_id, file.path, file.size, requested=False)
            except FileNotFoundError:
                continue  # taken away between the listing and here
            if new:
                registered.append(upload_id)
    return registered


def send_file(
    conn: Connection, settings: Settings, customer: Customer, file: Path, actor: Actor | None = None
) -> UUID:
    """Copy a local file into the landing zone and make it an upload whose run is about to start.

    The sensor asks for a run of its own only when that one has not taken it after half a minute. `actor`: who sends it, for the
    trail; a program that sends files by itself has none.
    """
    upload_id = uuid4()
    target = upload_path(settings, customer.slug, upload_id, file.name)
    with file.open("rb") as source, target.open("wb") as copy:
        shutil.copyfileobj(source, copy, 1024 * 1024)
    with conn.transaction():
        _register(conn, customer.customer_id, upload_id, target, file.stat().st_size, requested=True)
        if actor is not None:
            record(conn, actor, "upload.accepted", ("upload", upload_id), customer_id=customer.customer_id,
                   details={"source": _source(target)})  # fmt: skip
    return upload_id


def _source(path: UPath) -> FileSource:
    """What the file holds. One that may not be read counts as CSV: the run that tries to read it fails and is told of,
    while an error here would keep the customer's other files waiting.
    """
    try:
        with path.open("rb") as stream:
            return source_of(stream.read(HEAD_BYTES))
    except PermissionError:
        return "csv"


def _register(
    conn: Connection, customer_id: int, upload_id: UUID, path: UPath, byte_count: int, *, requested: bool
) -> bool:
    """False when the same place waits already."""
    row = conn.execute(
        QUERIES.register_file,
        {
            "customer_id": customer_id,
            "upload_id": upload_id,
            "source": _source(path),
            "file_name": path.name,
            "location": str(path),
            "byte_count": byte_count,
            "requested_at": datetime.now(UTC) if requested else None,
        },
    ).fetchone()
    return row is not None


@dataclass(frozen=True)
class Work:
    """A customer for whom a run has to be asked for: the run's key, and where its `count` waiting uploads came from. The
    oldest few of them are named, with the ids of the requests that brought them. `again`: each was asked for before. `unread`: of
    each of the sources one that was has not been begun to be read, and nobody reads the customer's.
    """

    slug: str
    run_key: str
    sources: tuple[str, ...]
    count: int
    upload_ids: tuple[UUID, ...]
    request_ids: tuple[str, ...]
    again: bool = False
    unread: bool = False


def request_customers_with_work(conn: Connection, limit: int) -> list[Work]:
    """Customers for whom a run has to be asked for now, at most `limit`; marks their uploads as asked for.

    The run key carries the oldest upload and the number of the request: a key is spent even when its run failed.
    """
    rows = conn.execute(
        QUERIES.request_customers_with_work, {"limit": limit, "lock_class": LOCK_CLASS, "named": _NAMED}
    ).fetchall()
    return [
        Work(slug, f"{uploads[0]}:{requests}", tuple(sources), count, tuple(uploads), tuple(request_ids), *known)
        for slug, uploads, requests, sources, count, request_ids, *known in rows
    ]


def leave_to_run(conn: Connection, slugs: Sequence[str]) -> None:
    """Take back in the transaction that asked for them that these customers' uploads were asked for: there is a run that
    takes them. Counted as requests, each look at a long run would put the next one off, up to 16 min.
    """
    conn.execute(QUERIES.leave_to_run, {"slugs": list(slugs)})


def finish_file(
    conn: Connection, settings: Settings, customer: Customer, upload_id: UUID, outcome: Literal["done", "failed"]
) -> None:
    """Put an upload's file away and note where it is now; a webhook batch has none."""
    moved = put_away(settings, customer.slug, upload_id, outcome)
    if moved is not None:
        key = {"customer_id": customer.customer_id, "upload_id": upload_id}
        conn.execute(QUERIES.set_location, {**key, "location": str(moved)})


def upload_link(settings: Settings, slug: str, asset: str) -> str:
    """Where a person sees what became of this customer's latest uploads: an asset of the Dagster UI."""
    return f"{settings.ui_url}/assets/{asset}?view=partitions&partition={slug}"


def get_upload(conn: Connection, customer_id: int, upload_id: UUID) -> dict[str, Any]:
    """One upload with its counts, by column name.

    Raises:
        NotFoundError: the customer has no such upload.
    """
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(
            QUERIES.select_upload, {"customer_id": customer_id, "upload_id": upload_id}
        ).fetchone()
    if row is None:
        raise NotFoundError(f"There is no upload {upload_id}.")
    return row


def file_of(conn: Connection, customer_id: int, upload_id: UUID) -> str | None:
    """Where an upload's file lies; None for a batch, and where it is kept no longer. For the terminal of who may open the file:
    its name may be a patient's.
    """
    row = conn.execute(QUERIES.select_location, {"customer_id": customer_id, "upload_id": upload_id}).fetchone()
    return row[0] if row is not None else None


def uploads_of_run(
    conn: Connection, customer_id: int, run_id: str, sources: Sequence[str]
) -> list[dict[str, Any]]:
    """What a run dealt with, oldest first."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            QUERIES.select_uploads_of_run,
            {"customer_id": customer_id, "run_id": run_id, "sources": list(sources)},
        ).fetchall()


def rejections(conn: Connection, customer_id: int, upload_id: UUID) -> list[dict[str, Any]]:
    """Rejected rows of an upload by rule: rule, field, reason, rows, first row numbers; no value of a row."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            QUERIES.count_rejections, {"customer_id": customer_id, "upload_id": upload_id}
        ).fetchall()


def newest_uploads(conn: Connection, customer_id: int, limit: int = 50) -> list[dict[str, Any]]:
    """A customer's newest uploads: upload_id, source, status, rows, accepted, rejected, duplicates, duplicate_of, error_code,
    received_at.
    """
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            QUERIES.select_newest_uploads, {"customer_id": customer_id, "limit": limit}
        ).fetchall()


def find_upload_id(conn: Connection, customer_id: int, begins: str) -> UUID:
    """The upload whose id is this or begins so.

    Raises:
        NotFoundError, ConflictError: none, or more than one, of this customer.
    """
    found = conn.execute(
        QUERIES.uploads_beginning, {"customer_id": customer_id, "begins": id_pattern(begins)}
    ).fetchall()
    upload_id: UUID = the_one(found, "upload", begins, "upstream uploads SLUG")[0]
    return upload_id
