"""What arrives over HTTP: webhook batches stored with their body, uploaded files registered, their status.

Runs as upstream_api, in a transaction that sees one customer; a file that is accepted stands in the trail with it. Not here: HTTP,
what a batch must hold (batch_reader.py), loading it, files found in the landing zone.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID, uuid4

from psycopg.rows import class_row

from upstream_pipelines.customers.audit import Actor, record
from upstream_pipelines.customers.flags import switched_off
from upstream_pipelines.customers.idempotency import IdempotencyKeyReusedError, KeyInFlightError
from upstream_pipelines.customers.models import CustomerKey
from upstream_pipelines.customers.tokens import Caller
from upstream_pipelines.db.engine import Connection, customer_transaction
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.errors import NotFoundError
from upstream_pipelines.ingest.recognise import FileSource
from upstream_pipelines.ingest.uploads import rejections

_QUERIES = "upstream_pipelines.ingest"


@dataclass(frozen=True)
class Accepted:
    """A stored batch; `replayed` when an earlier request, then `request_id`, with the same key and body stored it."""

    upload_id: UUID
    request_id: str
    replayed: bool


@dataclass(frozen=True)
class StoredFile:
    """A file that lies whole in the landing zone, at `location`."""

    upload_id: UUID
    source: FileSource
    file_name: str
    location: str
    sha256: bytes
    byte_count: int


@dataclass(frozen=True)
class Rejection:
    """Rows of an upload that one rule rejected in one field: how many, and the numbers of the first ten. No value of a row."""

    rule: str
    field: str | None
    reason: str
    rows: int
    row_numbers: list[int]


@dataclass(frozen=True)
class UploadStatus:
    """One upload as its customer sees it: counts are lines, `seconds` the time of loading, `rejections` by rule and field,
    the most frequent first. `rows` is None where they were not counted: it waits, or was refused before all of it was read.
    """

    upload_id: UUID
    source: str
    file_name: str
    byte_count: int
    status: str
    duplicate_of: UUID | None
    rows: int | None
    accepted: int
    rejected: int
    duplicates: int
    updated: int
    warnings: int
    seconds: float | None
    error_code: str | None
    error_message: str | None
    request_id: str | None
    received_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    rejections: list[Rejection] = field(default_factory=list)


def accept_batch(
    conn: Connection,
    caller: Caller,
    body: bytes,
    *,
    claim_count: int,
    idempotency_key: str | None,
    request_id: str,
) -> Accepted:
    """Store a batch and its upload, in a transaction of its own: it is committed when this returns.

    The key is held by an advisory lock while the transaction runs, and the second of two requests at
    once is refused instead of made to wait: a retry storm must not hold every database connection.

    Of the key its SHA-256 is kept: it is the sender's text. `claim_count` is kept in `uploads.detected`; the loader counts the rows.

    Raises:
        IdempotencyKeyReusedError: same key, another body.
        KeyInFlightError: a request with the same key is being stored right now.
        ProductOffError: batches are switched off for the customer; one that was accepted before is answered again.
    """
    upload_id = uuid4()
    row = conn.execute(
        load_queries(_QUERIES).add_batch,
        {
            "customer_id": caller.customer_id,
            "upload_id": upload_id,
            "idempotency_key": None
            if idempotency_key is None
            else hashlib.sha256(idempotency_key.encode()).hexdigest(),
            "body": body,
            "sha256": hashlib.sha256(body).digest(),
            "claim_count": claim_count,
            "request_id": request_id,
            "token_id": caller.token_id,
        },
    ).fetchone()
    assert row is not None
    outcome, first_upload, first_request = row
    if outcome == "in_flight":
        raise KeyInFlightError("A request with this Idempotency-Key is being stored. Send it again in a second.")
    if outcome == "other_body":
        raise IdempotencyKeyReusedError(
            "This Idempotency-Key was used for another body in the last 7 days. Use a new key."
        )
    if outcome == "switched_off":
        raise switched_off(caller.slug, "webhook_ingest")
    if outcome == "replayed":
        return Accepted(first_upload, first_request, replayed=True)
    return Accepted(upload_id, request_id, replayed=False)


def read_batch_body(conn: Connection, customer_id: int, upload_id: UUID) -> bytes:
    """The stored body of a webhook batch, exactly as sent; for the loader (role upstream_pipeline).

    Raises:
        NotFoundError: this customer has no such batch.
    """
    row = conn.execute(
        load_queries(_QUERIES).batch_body, {"customer_id": customer_id, "upload_id": upload_id}
    ).fetchone()
    if row is None:
        raise NotFoundError(f"This customer has no webhook batch {upload_id}. Check the upload's source.")
    return bytes(row[0])


def register_uploaded_file(
    conn: Connection, customer: CustomerKey, actor: Actor, file: StoredFile, token_id: UUID | None = None
) -> None:
    """Make a wholly stored file known to the loader, and write into the trail who sent it; inside a transaction of the customer.

    `token_id`: the ingestion token that it came with, if any. The file's name is not in the trail, for it may name a patient.

    Raises:
        ProductOffError: files are switched off for the customer.
    """
    values = {
        "customer_id": customer.customer_id, "request_id": actor.request_id, "token_id": token_id, **vars(file),
    }  # fmt: skip
    if conn.execute(load_queries(_QUERIES).add_file_upload, values).rowcount == 0:
        raise switched_off(customer.slug, "csv_upload")
    record(conn, actor, "upload.accepted", ("upload", file.upload_id), customer_id=customer.customer_id,
           details={"source": file.source})  # fmt: skip


def find_upload(conn: Connection, caller: Caller, upload_id: UUID) -> UploadStatus:
    """Status and counts of one of the caller's uploads.

    Raises:
        NotFoundError: the caller's customer has no such upload, whoever else may.
    """
    with customer_transaction(conn, caller.customer_id):
        return upload_status(conn, caller.customer_id, upload_id)


def upload_status(conn: Connection, customer_id: int, upload_id: UUID) -> UploadStatus:
    """The same inside a transaction of the customer.

    Raises:
        NotFoundError: this customer has no such upload, whoever else may.
    """
    with conn.cursor(row_factory=class_row(UploadStatus)) as cursor:
        key = {"customer_id": customer_id, "upload_id": upload_id}
        status = cursor.execute(load_queries(_QUERIES).upload_status, key).fetchone()
    if status is None:
        raise NotFoundError("There is no such upload. Check the id that the upload was answered with.")
    return replace(status, rejections=[Rejection(**row) for row in rejections(conn, customer_id, upload_id)])
