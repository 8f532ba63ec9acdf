"""Reads waiting uploads into received_lines and rejected_rows.

One upload is one transaction, or two that are committed one after the other (db/second.py): an attempt that dies is made again,
and clears what the one before it may have left.
Not here: what a row must hold (claims/judge.py), how rows get into the tables (line_writer.py), merging into claims
(claims/merge.py).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, BinaryIO, Literal
from uuid import UUID

import structlog
from psycopg.types.json import Jsonb

from upstream_pipelines.alerts.store import write_refused_alert
from upstream_pipelines.claims.judge import Judge
from upstream_pipelines.claims.raw_block import ClaimSource
from upstream_pipelines.customers.models import Customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.second import SecondConnection
from upstream_pipelines.errors import FileRefusedError, NotFoundError
from upstream_pipelines.ingest.batch_reader import read_batch
from upstream_pipelines.ingest.csv_reader import open_csv
from upstream_pipelines.ingest.inbox import read_batch_body
from upstream_pipelines.ingest.landing import take_in
from upstream_pipelines.ingest.line_writer import LineWriter
from upstream_pipelines.ingest.recognise import Source
from upstream_pipelines.ingest.remittance_reader import open_remittance
from upstream_pipelines.ingest.unusual import watch_upload
from upstream_pipelines.ingest.uploads import QUERIES, customer_lock, finish_file, upload_link
from upstream_pipelines.observability.logging import log_context
from upstream_pipelines.observability.tracing import span
from upstream_pipelines.quality.report import build_report
from upstream_pipelines.quality.store import save_report
from upstream_pipelines.settings import Settings

# Where people look for what became of an upload.
_ASSETS: dict[Source, str] = {"csv": "csv_claims", "webhook": "webhook_claims", "x12_835": "remittances"}

# An upload whose run was killed this often is given up: it may be what kills the runs.
MAX_ATTEMPTS = 3


@dataclass(frozen=True)
class Staged:
    """What one call took in: ids of uploads ready for the merge, and how many ended without one."""

    ready: tuple[UUID, ...]
    duplicates: int
    failed: int


def stage_waiting(
    conn: Connection, settings: Settings, customer: Customer, *, source: Source, run_id: str
) -> Staged:
    """Read all waiting uploads of one customer and source, oldest first.

    A refused file is marked failed with its message and does not stop the others. Anything else that
    goes wrong is raised; the upload waits on, and the sensor asks for another run.
    """
    ready: list[UUID] = []
    duplicates = failed = 0
    with customer_lock(conn, customer.customer_id):
        waiting = conn.execute(
            QUERIES.select_waiting_uploads, {"customer_id": customer.customer_id, "source": source}
        ).fetchall()
        for upload_id, location, attempts, request_id in waiting:
            attempt = _Attempt(conn, settings, customer, source, upload_id, location or "", run_id)
            with (
                log_context(request_id=request_id, run_id=run_id, upload_id=str(upload_id)),
                span("read upload", customer=customer.slug, source=source) as traced,
            ):
                outcome = attempt.make(attempts)
                traced.set(outcome=outcome)
            if outcome == "ready":
                ready.append(upload_id)
            elif outcome == "duplicate":
                duplicates += 1
            else:
                failed += 1
    return Staged(tuple(ready), duplicates, failed)


@dataclass(frozen=True)
class _Attempt:
    """One attempt at reading one upload."""

    conn: Connection
    settings: Settings
    customer: Customer
    source: Source
    upload_id: UUID
    location: str
    run_id: str

    @property
    def _key(self) -> dict[str, Any]:
        return {"customer_id": self.customer.customer_id, "upload_id": self.upload_id}

    def make(self, attempts_before: int) -> Literal["ready", "duplicate", "failed"]:
        log = structlog.get_logger().bind(
            customer=self.customer.slug, upload_id=str(self.upload_id), run_id=self.run_id
        )
        # Committed before any line is written: the second connection would wait for these deletions.
        self.conn.execute(QUERIES.clear_received_lines, self._key)
        self.conn.execute(QUERIES.clear_rejected_rows, self._key)
        if attempts_before >= MAX_ATTEMPTS:
            self._fail(
                "attempts_used_up",
                f"{attempts_before} runs ended while they read this upload. Look at those runs in the Dagster UI, "
                "then send it again.",
            )
            log.error("upload given up", attempts=attempts_before)
            return "failed"
        self.conn.execute(QUERIES.start_upload, {**self._key, "run_id": self.run_id})
        digest: bytes | None = None
        try:
            reopen = self._bytes()
            digest, byte_count = _digest(reopen)
            known = {
                **self._key,
                "sha256": digest,
                "configuration_sha256": self.customer.configuration.reading_sha256(),
            }
            same = self.conn.execute(QUERIES.find_same_bytes, known).fetchone()
            if same is not None:
                self._finish_as_duplicate({**known, "duplicate_of": same[0], "rows": same[1]})
                finish_file(self.conn, self.settings, self.customer, self.upload_id, "done")
                log.info("same bytes again", duplicate_of=str(same[0]))
                return "duplicate"
            with SecondConnection(self.conn) as second, self.conn.transaction(), reopen() as stream:
                rows = self._copy_rows(stream, second, {**known, "byte_count": byte_count})
                second.commit()
        except FileRefusedError as refusal:
            self._fail(refusal.code, str(refusal), digest)
            log.warning("upload refused", reason=str(refusal))
            return "failed"
        log.info("upload staged", rows=rows)
        return "ready"

    def _finish_as_duplicate(self, found: dict[str, Any]) -> None:
        with self.conn.transaction():
            self.conn.execute(QUERIES.finish_as_duplicate, found)
            self._end("same_bytes")
            watch_upload(
                self.conn, self.settings, self.customer, self.upload_id, source=self.source, run_id=self.run_id
            )

    def _bytes(self) -> Callable[[], BinaryIO]:
        """A function that opens the upload's bytes from their start, as often as they are needed."""
        if self.source == "webhook":
            body = read_batch_body(self.conn, self.customer.customer_id, self.upload_id)
            return lambda: io.BytesIO(body)
        path = take_in(self.settings, self.customer.slug, self.upload_id, self.location)
        return lambda: path.open("rb")

    def _copy_rows(self, stream: BinaryIO, second: SecondConnection, known: dict[str, Any]) -> int:
        mapping = self.customer.configuration.mapping
        today = datetime.now(UTC).date()
        read: ClaimSource
        if self.source == "csv":
            read = open_csv(stream, mapping)
        elif self.source == "webhook":
            read = read_batch(stream.read(), mapping)
        else:
            read = open_remittance(stream, today)
        judge = Judge(mapping, today)
        with LineWriter(self.conn, second, {**self._key, "source": self.source}) as writer:
            for block in read.blocks():
                writer.write(judge.judge(block))
        findings, counters = judge.findings(), judge.counters()
        report = build_report(
            findings,
            counters,
            rows=counters.rows,
            accepted=counters.accepted,
            rejected=counters.rejected,
            duplicates=0,
        )
        save_report(self.conn, self.customer.customer_id, self.upload_id, report, findings)
        noted = self.conn.execute(
            QUERIES.finish_staging,
            {
                **known,
                "rows": counters.rows,
                "rejected": counters.rejected,
                "warnings": counters.warned,
                "detected": Jsonb(read.detected),
                "lines_repeat": judge.lines_repeat(),
                "unnatural_lines": judge.unnatural_lines(),
            },
        )
        if noted.rowcount != 1:
            # Nothing else keeps the lines to their upload: a foreign key is looked up for each of them.
            raise NotFoundError(f"Upload {self.upload_id} was deleted while it was read. Send it again.")
        self._end("read")
        return counters.rows

    def _end(self, outcome: Literal["read", "same_bytes", "refused"]) -> None:
        """Note in the caller's transaction what came of the attempt."""
        ended = {**self._key, "step": "read", "run_id": self.run_id, "outcome": outcome}
        self.conn.execute(QUERIES.end_step, ended)

    def _fail(self, code: str, message: str, digest: bytes | None = None) -> None:
        failed = {**self._key, "code": code, "message": message, "sha256": digest}
        with self.conn.transaction():
            self.conn.execute(QUERIES.fail_upload, failed)
            self._end("refused")
            write_refused_alert(
                self.conn, self.customer.customer_id, self.upload_id, self.source, code,
                upload_link(self.settings, self.customer.slug, _ASSETS[self.source]),
            )  # fmt: skip
        finish_file(self.conn, self.settings, self.customer, self.upload_id, "failed")


def _digest(reopen: Callable[[], BinaryIO]) -> tuple[bytes, int]:
    with reopen() as stream:
        hashed = hashlib.file_digest(stream, "sha256")  # type: ignore[arg-type]  # any opened file has readinto
        # Not where it stands: of bytes in memory file_digest takes the buffer and reads nothing.
        return hashed.digest(), stream.seek(0, io.SEEK_END)
