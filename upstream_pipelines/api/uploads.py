"""POST /api/v1/uploads/ and /api/v1/customers/{slug}/uploads: a file, CSV or X12 835, streams into the landing zone, from a
customer's system or a person. GET /api/v1/uploads/{upload_id} tells a system what became of one.

Not here: reading the file (the loader does), writing it (incoming_file.py), what people ask of uploads (customer_uploads.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Request, Response
from psycopg.errors import QueryCanceled
from starlette.concurrency import run_in_threadpool

from upstream_pipelines.api.authentication import (
    AuthenticatedCaller,
    CanSendOrOperate,
    UploadingCaller,
    require_token_still,
)
from upstream_pipelines.api.bodies import chunks
from upstream_pipelines.api.incoming_file import IncomingFile, unwritable
from upstream_pipelines.api.multipart import FileForm
from upstream_pipelines.api.once import REPLAYED, IdempotencyKey
from upstream_pipelines.api.problems import ProblemError, documented
from upstream_pipelines.api.webhook import Receipt
from upstream_pipelines.customers.audit import Actor
from upstream_pipelines.customers.flags import require
from upstream_pipelines.customers.idempotency import FirstAnswer, KeyedRequest, hold_key, is_kept, keep_answer
from upstream_pipelines.customers.models import CustomerKey
from upstream_pipelines.customers.roles import Action
from upstream_pipelines.db.engine import Connection, connect, customer_transaction
from upstream_pipelines.errors import ConflictError, DatabaseUnavailableError, ForbiddenError
from upstream_pipelines.ingest.inbox import StoredFile, UploadStatus, find_upload, register_uploaded_file
from upstream_pipelines.ingest.landing import upload_path
from upstream_pipelines.settings import Settings

router = APIRouter(tags=["uploads"])
_of_people = APIRouter(prefix="/api/v1/customers/{slug}", tags=["uploads"])

# What a form may hold beside its file: two boundaries and the part's headers.
_FORM_BYTES = 64 * 1024
# The server hands over 64 KiB at a time; one hop to a thread for each would be 32,768 for 2 GiB.
_WRITE_BYTES = 1024 * 1024

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            }
        },
    }
}


@router.post(
    "/api/v1/uploads/",
    status_code=202,
    summary="Upload a file of claims: CSV, or an X12 835 remittance",
    responses=documented(400, 401, 403, 408, 409, 413, 415, 422, 429, 503),
    openapi_extra=_BODY,
)
@router.post("/api/v1/uploads", status_code=202, include_in_schema=False)
async def receive_file(
    request: Request, response: Response, caller: UploadingCaller, idempotency_key: IdempotencyKey = None
) -> Receipt:
    """Answers 202 once the file is wholly stored and registered; loading it follows. With an Idempotency-Key the request is the
    same where the file's name and bytes are.
    """
    settings: Settings = request.app.state.settings
    customer = CustomerKey(caller.customer_id, caller.slug)

    @contextmanager
    def transaction() -> Iterator[Connection]:
        with connect(settings, "upstream_api") as conn, customer_transaction(conn, caller.customer_id):
            yield conn

    sender = _Sender(
        customer, caller.actor(request.state.request_id), transaction, partial(require_token_still, request),
        token_id=caller.token_id,
    )  # fmt: skip
    return await _accepted(request, response, sender, idempotency_key)


@_of_people.post(
    "/uploads",
    status_code=202,
    summary="Upload a file as a person: CSV, or an X12 835 remittance",
    responses=documented(400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503),
    openapi_extra=_BODY,
)
async def post_upload(
    request: Request, response: Response, sender: CanSendOrOperate, idempotency_key: IdempotencyKey = None
) -> Receipt:
    """Answers 202 once the file is wholly stored and registered; loading it follows. Who sent it stands in the trail, also an
    operator. With an Idempotency-Key the request is the same where the file's name and bytes are.
    """
    one = _Sender(
        sender.customer, sender.actor, sender.transaction,
        lambda conn: sender.require_still(request, conn, Action.WORK), person_id=sender.person_id,
    )  # fmt: skip
    return await _accepted(request, response, one, idempotency_key)


@router.get(
    "/api/v1/uploads/{upload_id}", summary="Status of an upload", responses=documented(401, 404, 422, 429, 503)
)
def read_upload(request: Request, caller: AuthenticatedCaller, upload_id: UUID) -> UploadStatus:
    """Status and counts of one of the customer's own uploads, by file or by webhook."""
    with connect(request.app.state.settings, "upstream_api") as conn:
        return find_upload(conn, caller, upload_id)


router.include_router(_of_people)


@dataclass(frozen=True)
class _Sender:
    """Who sends a file, for which customer, and what opens a transaction of it. An operator is neither person nor token."""

    customer: CustomerKey
    actor: Actor
    transaction: Callable[[], AbstractContextManager[Connection]]
    # Whether they may still send: the file may have come for hours.
    require_still: Callable[[Connection], None]
    person_id: UUID | None = None
    token_id: UUID | None = None

    def keyed(self, key: str, request: bytes) -> KeyedRequest:
        """A request of theirs with its key."""
        return KeyedRequest.of(self.customer.customer_id, self.person_id, key, request, token_id=self.token_id)


class _SentFile:
    """A file of a request while it is written, under the id that its upload will have."""

    def __init__(self, settings: Settings, customer: CustomerKey, file_name: str) -> None:
        self.upload_id = uuid4()
        try:
            path = upload_path(settings, customer.slug, self.upload_id, file_name)
        except OSError as error:
            raise unwritable() from error
        self.incoming = IncomingFile(path, settings.max_upload_bytes)

    @property
    def stored(self) -> StoredFile:
        """The same, once it is complete."""
        incoming = self.incoming
        return StoredFile(
            self.upload_id, incoming.source, incoming.path.name, str(incoming.path), incoming.sha256,
            incoming.byte_count,
        )  # fmt: skip

    def complete(self, rest: bytes) -> None:
        """Write the last of it, and make it durable."""
        self.incoming.write(rest)
        if self.incoming.byte_count == 0:
            raise ProblemError(422, "file_empty", "The file is empty. Send one with claims in it.")
        self.incoming.close()


async def _accepted(request: Request, response: Response, sender: _Sender, key: str | None) -> Receipt:
    """Take the file of the request, or give the first answer to the key of the request again."""
    form = FileForm(request.headers.get("content-type"))
    await run_in_threadpool(_require_on, sender, key)
    sent = await _received(request, form, sender.customer)
    made = Receipt(upload_id=sent.upload_id, request_id=request.state.request_id)
    asked = _asked(request, sender, sent, key) if key is not None else None
    receipt = await run_in_threadpool(_register_once, sender, sent, asked, made)
    request.state.upload_id = receipt.upload_id
    if receipt is not made:
        response.headers.update(REPLAYED)
    return receipt


async def _received(request: Request, form: FileForm, customer: CustomerKey) -> _SentFile:
    """The file of the request, whole in the landing zone; or an error, and no part of it."""
    settings: Settings = request.app.state.settings
    sent: _SentFile | None = None
    waiting = bytearray()
    try:
        async for chunk in chunks(request, settings.max_upload_bytes + _FORM_BYTES):
            waiting += form.feed(chunk)
            if sent is None and form.file_name is not None:
                sent = await run_in_threadpool(_SentFile, settings, customer, form.file_name)
            if sent is not None and len(waiting) >= _WRITE_BYTES:
                await run_in_threadpool(sent.incoming.write, bytes(waiting))
                waiting.clear()
        form.finish()
        assert sent is not None
        await run_in_threadpool(sent.complete, bytes(waiting))
    except BaseException:
        # A refused file, a broken connection, a full disk, a shutdown: whatever it was, no part of it stays.
        if sent is not None:
            sent.incoming.discard()
        raise
    return sent


def _require_on(sender: _Sender, key: str | None) -> None:
    """Before the body, which may be of 2 GiB; again when it is registered. What was accepted before files were switched off is
    answered again, so of a key with an answer it is asked at the end alone.
    """
    with sender.transaction() as conn:
        if key is None or not is_kept(conn, sender.keyed(key, b"")):
            require(conn, sender.customer, "csv_upload")


@contextmanager
def _kept_if_registered(sent: _SentFile) -> Iterator[None]:
    """Removes a file that is certainly no upload: nothing was sent to the database yet, the upload was refused, or a statement
    took too long and was ended, also if it was the commit.

    After any other error the commit may have happened, and a registered upload must not lose its file.
    """
    try:
        yield
    except (DatabaseUnavailableError, QueryCanceled, ConflictError, ForbiddenError, ProblemError):
        sent.incoming.discard()
        raise


def _asked(request: Request, sender: _Sender, sent: _SentFile, key: str) -> KeyedRequest:
    """Name and digest of the file stand for the body: it is not held in memory, and its boundary is another each time."""
    file = sent.stored
    # One of its two addresses is as good as the other.
    address = f"{request.method} {request.url.path.rstrip('/')}?{request.url.query}"
    same = f"{address}\n{file.file_name}\n{file.sha256.hex()}"
    return sender.keyed(key, same.encode())


def _register_once(sender: _Sender, sent: _SentFile, asked: KeyedRequest | None, made: Receipt) -> Receipt:
    """`made`, or the first answer to a request of that key, for which the file that came again is removed."""
    with _kept_if_registered(sent), sender.transaction() as conn:
        sender.require_still(conn)
        first = hold_key(conn, asked) if asked is not None else None
        if first is None:
            register_uploaded_file(conn, sender.customer, sender.actor, sent.stored, sender.token_id)
            if asked is not None:
                keep_answer(conn, asked, FirstAnswer(202, made.model_dump_json(), None))
            return made
    sent.incoming.discard()
    assert first.answer is not None
    return Receipt.model_validate_json(first.answer)
