"""Reads waiting uploads into received_lines and rejected_rows: each row is written once, by COPY.

One upload is one transaction: an attempt that dies leaves nothing behind and is made again.
Not here: what a row must hold (claims/judge.py), merging into claims (claims/merge.py).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any, BinaryIO, Literal, Protocol
from uuid import UUID

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import structlog
from psycopg import sql
from psycopg.types.json import Jsonb

from upstream_pipelines.claims.judge import Judge, JudgedBlock
from upstream_pipelines.customers.models import Customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.errors import FileRefusedError
from upstream_pipelines.ingest.batch_reader import read_batch
from upstream_pipelines.ingest.csv_reader import open_csv
from upstream_pipelines.ingest.inbox import read_batch_body
from upstream_pipelines.ingest.landing import put_away, take_in
from upstream_pipelines.ingest.uploads import QUERIES, customer_lock
from upstream_pipelines.quality.report import build_report
from upstream_pipelines.quality.store import save_report
from upstream_pipelines.settings import Settings

Source = Literal["csv", "webhook"]

# An upload whose run was killed this often is given up: it may be what kills the runs.
MAX_ATTEMPTS = 3


class RowSource(Protocol):
    """What a reader gives: facts it detected (names only), and the rows in blocks."""

    @property
    def detected(self) -> dict[str, Any]: ...

    def blocks(self) -> Iterator[Any]: ...


@dataclass(frozen=True)
class Staged:
    """What one call took in: ids of uploads ready for the merge, and how many ended without one."""

    ready: tuple[UUID, ...]
    duplicates: int
    failed: int


def stage_waiting(
    conn: Connection, settings: Settings, customer: Customer, source: Source, run_id: str, today: date
) -> Staged:
    """Read all waiting uploads of one customer and source, oldest first.

    A refused file is marked failed with its message and does not stop the others. Anything else that
    goes wrong is raised after the upload went back to waiting; the sensor asks for another run.
    """
    ready: list[UUID] = []
    duplicates = failed = 0
    with customer_lock(conn, customer.customer_id):
        waiting = conn.execute(
            QUERIES.select_waiting_uploads, {"customer_id": customer.customer_id, "source": source}
        ).fetchall()
        for upload_id, _, _, location, _, attempts in waiting:
            outcome = _stage_upload(conn, settings, customer, source, upload_id, location, attempts, run_id, today)
            if outcome == "ready":
                ready.append(upload_id)
            elif outcome == "duplicate":
                duplicates += 1
            else:
                failed += 1
    return Staged(tuple(ready), duplicates, failed)


def _stage_upload(
    conn: Connection,
    settings: Settings,
    customer: Customer,
    source: Source,
    upload_id: UUID,
    location: str | None,
    attempts: int,
    run_id: str,
    today: date,
) -> Literal["ready", "duplicate", "failed"]:
    log = structlog.get_logger().bind(customer=customer.slug, upload_id=str(upload_id), run_id=run_id)
    key = {"customer_id": customer.customer_id, "upload_id": upload_id}
    if attempts >= MAX_ATTEMPTS:
        _fail(
            conn,
            key,
            "attempts_used_up",
            f"{attempts} runs ended while they read this upload. Look at those runs in the Dagster UI, then "
            "send it again.",
        )
        put_away(settings, customer.slug, upload_id, "failed")
        log.error("upload given up", attempts=attempts)
        return "failed"
    conn.execute(QUERIES.start_upload, {**key, "run_id": run_id})
    digest: bytes | None = None
    try:
        with _open(conn, settings, customer, source, upload_id, location) as reopen:
            digest, byte_count = _digest(reopen)
            known = {**key, "sha256": digest, "configuration_sha256": customer.configuration.reading_sha256()}
            same = conn.execute(QUERIES.find_same_bytes, known).fetchone()
            if same is not None:
                conn.execute(QUERIES.finish_as_duplicate, {**known, "duplicate_of": same[0], "rows": same[1]})
                put_away(settings, customer.slug, upload_id, "done")
                log.info("same bytes again", duplicate_of=str(same[0]))
                return "duplicate"
            with conn.transaction(), reopen() as stream:
                rows = _copy_rows(conn, customer, source, upload_id, stream, today, known, byte_count)
    except FileRefusedError as refusal:
        _fail(conn, key, refusal.code, str(refusal), digest)
        put_away(settings, customer.slug, upload_id, "failed")
        log.warning("upload refused", reason=str(refusal))
        return "failed"
    log.info("upload staged", rows=rows)
    return "ready"


def _copy_rows(
    conn: Connection,
    customer: Customer,
    source: Source,
    upload_id: UUID,
    stream: BinaryIO,
    today: date,
    known: dict[str, Any],
    byte_count: int,
) -> int:
    mapping = customer.configuration.mapping
    read: RowSource = open_csv(stream, mapping) if source == "csv" else read_batch(stream.read(), mapping)
    judge = Judge(mapping, today)
    key = {"customer_id": customer.customer_id, "upload_id": upload_id}
    conn.execute(QUERIES.clear_received_lines, key)
    conn.execute(QUERIES.clear_rejected_rows, key)
    rows = accepted = 0
    constant = {"customer_id": customer.customer_id, "upload_id": str(upload_id)}
    for block in read.blocks():
        judged: JudgedBlock = judge.judge(block)
        rows += judged.rows
        accepted += len(judged.accepted)
        copy_frame(conn, "received_lines", judged.accepted, {**constant, "source": source})
        copy_frame(conn, "rejected_rows", judged.rejected, constant)
    findings = judge.findings()
    rejected = rows - accepted
    report = build_report(
        findings, judge.counters(), rows=rows, accepted=accepted, rejected=rejected, duplicates=0
    )
    save_report(conn, customer.customer_id, upload_id, report, findings)
    warned = findings.loc[findings["severity"] == "warning", "failing_rows"].sum()
    conn.execute(
        QUERIES.finish_staging,
        {
            **known,
            "byte_count": byte_count,
            "rows": rows,
            "rejected": rejected,
            "warnings": int(warned),
            "detected": Jsonb(read.detected),
        },
    )
    return rows


def copy_frame(conn: Connection, table: str, frame: pd.DataFrame, constant: dict[str, object]) -> None:
    """Write a whole frame to a table by COPY; `constant` fills columns that are the same in every row.

    pyarrow writes the CSV (whole columns, no Python object a cell); COPY reads an unquoted empty
    field as NULL and a quoted one as text, which is how pyarrow writes null and ''.
    """
    if frame.empty:
        return
    content = pa.Table.from_pandas(frame, preserve_index=False)
    for name, value in constant.items():
        content = content.append_column(name, pa.repeat(pa.scalar(value), len(frame)))
    buffer = io.BytesIO()
    pacsv.write_csv(content, buffer, pacsv.WriteOptions(include_header=False))
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, content.column_names))
    )
    with conn.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(buffer.getbuffer())


@contextmanager
def _open(
    conn: Connection,
    settings: Settings,
    customer: Customer,
    source: Source,
    upload_id: UUID,
    location: str | None,
) -> Iterator[Callable[[], BinaryIO]]:
    """A function that opens the upload's bytes from their start, as often as they are needed."""
    if source == "webhook":
        body = read_batch_body(conn, customer.customer_id, upload_id)
        yield lambda: io.BytesIO(body)
        return
    path = take_in(settings, customer.slug, upload_id, location or "")
    yield lambda: path.open("rb")


def _digest(reopen: Callable[[], BinaryIO]) -> tuple[bytes, int]:
    with reopen() as stream:
        hashed = hashlib.file_digest(stream, "sha256")
        return hashed.digest(), stream.tell()


def _fail(conn: Connection, key: dict[str, Any], code: str, message: str, digest: bytes | None = None) -> None:
    conn.execute(QUERIES.fail_upload, {**key, "code": code, "message": message, "sha256": digest})
