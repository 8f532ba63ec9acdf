"""POST /api/v1/uploads/ streams a file, CSV or X12 835, into the landing zone; GET tells what became of an upload.

Not here: reading the file (the loader does), writing it (incoming_file.py).
"""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from upstream_pipelines.api.authentication import AuthenticatedCaller, UploadingCaller
from upstream_pipelines.api.bodies import chunks
from upstream_pipelines.api.incoming_file import IncomingFile, unwritable
from upstream_pipelines.api.multipart import FileForm
from upstream_pipelines.api.problems import ProblemError, documented
from upstream_pipelines.api.webhook import Receipt
from upstream_pipelines.customers.flags import require
from upstream_pipelines.customers.models import CustomerKey
from upstream_pipelines.customers.tokens import Caller
from upstream_pipelines.db.engine import connect, customer_transaction
from upstream_pipelines.errors import DatabaseUnavailableError
from upstream_pipelines.ingest.inbox import UploadStatus, find_upload, register_uploaded_file
from upstream_pipelines.ingest.landing import upload_path
from upstream_pipelines.settings import Settings

router = APIRouter(tags=["uploads"])

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
    responses=documented(400, 401, 403, 408, 413, 415, 422, 429, 503),
    openapi_extra=_BODY,
)
@router.post("/api/v1/uploads", status_code=202, include_in_schema=False)
async def receive_file(request: Request, caller: UploadingCaller) -> Receipt:
    """Answers 202 once the file is wholly stored and registered; loading it follows."""
    settings: Settings = request.app.state.settings
    form = FileForm(request.headers.get("content-type"))
    await run_in_threadpool(_require_on, settings, caller)
    upload_id = uuid4()
    incoming: IncomingFile | None = None
    waiting = bytearray()
    try:
        async for chunk in chunks(request, settings.max_upload_bytes + _FORM_BYTES):
            waiting += form.feed(chunk)
            if incoming is None and form.file_name is not None:
                incoming = await run_in_threadpool(_open, settings, caller, upload_id, form.file_name)
            if incoming is not None and len(waiting) >= _WRITE_BYTES:
                await run_in_threadpool(incoming.write, bytes(waiting))
                waiting.clear()
        form.finish()
        assert incoming is not None
        await run_in_threadpool(_complete, incoming, bytes(waiting))
    except BaseException:
        # A refused file, a broken connection, a full disk, a shutdown: whatever it was, no part of it stays.
        if incoming is not None:
            incoming.discard()
        raise
    await run_in_threadpool(_register, settings, caller, upload_id, incoming, request.state.request_id)
    request.state.upload_id = upload_id
    return Receipt(upload_id=upload_id, request_id=request.state.request_id)


@router.get(
    "/api/v1/uploads/{upload_id}", summary="Status of an upload", responses=documented(401, 404, 422, 429, 503)
)
def read_upload(request: Request, caller: AuthenticatedCaller, upload_id: UUID) -> UploadStatus:
    """Status and counts of one of the customer's own uploads, by file or by webhook."""
    with connect(request.app.state.settings, "upstream_api") as conn:
        return find_upload(conn, caller, upload_id)


def _require_on(settings: Settings, caller: Caller) -> None:
    with connect(settings, "upstream_api") as conn, customer_transaction(conn, caller.customer_id):
        require(conn, CustomerKey(caller.customer_id, caller.slug), "csv_upload")


def _open(settings: Settings, caller: Caller, upload_id: UUID, file_name: str) -> IncomingFile:
    try:
        path = upload_path(settings, caller.slug, upload_id, file_name)
    except OSError as error:
        raise unwritable() from error
    return IncomingFile(path, settings.max_upload_bytes)


def _complete(incoming: IncomingFile, rest: bytes) -> None:
    incoming.write(rest)
    if incoming.byte_count == 0:
        raise ProblemError(422, "file_empty", "The file is empty. Send one with claims in it.")
    incoming.close()


def _register(
    settings: Settings, caller: Caller, upload_id: UUID, incoming: IncomingFile, request_id: str
) -> None:
    try:
        with connect(settings, "upstream_api") as conn:
            register_uploaded_file(
                conn,
                caller,
                upload_id=upload_id,
                source=incoming.source,
                file_name=incoming.path.name,
                location=str(incoming.path),
                sha256=incoming.sha256,
                byte_count=incoming.byte_count,
                request_id=request_id,
            )
    except DatabaseUnavailableError:
        # Nothing was sent to the database yet. After any later error the commit may have happened,
        # and a registered upload must not lose its file.
        incoming.discard()
        raise
