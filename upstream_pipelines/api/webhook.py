"""POST /api/v1/ingest/webhook/: a batch of claims as JSON, stored durably before it is acknowledged.

Not here: what a claim must hold (the loader judges each one), how it is stored (ingest/inbox.py).
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Header, Request, Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from upstream_pipelines.api.authentication import IngestingCaller
from upstream_pipelines.api.bodies import whole_body
from upstream_pipelines.api.intake import SMALL_BYTES, Intake
from upstream_pipelines.api.problems import ProblemError, documented
from upstream_pipelines.customers.tokens import Caller
from upstream_pipelines.db.engine import connect
from upstream_pipelines.ingest.batch_reader import check_batch
from upstream_pipelines.ingest.inbox import Accepted, accept_batch
from upstream_pipelines.settings import Settings

router = APIRouter(tags=["ingest"])

_JSON = re.compile(r"application/(?:json|[a-z0-9.+-]+\+json)(?:\s*;.*)?", re.IGNORECASE)

# For readers of the documentation: the route reads the body itself, to count it while it comes.
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "Claims, one object a claim line, with the fields that a CSV file would have as columns.",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["claims"],
                    "properties": {"claims": {"type": "array", "minItems": 1, "items": {"type": "object"}}},
                },
                "example": {
                    "claims": [
                        {
                            "payer": "Aetna",
                            "cpt": "99213",
                            "submitted_date": "2026-03-02",
                            "decided_date": "2026-03-16",
                            "outcome": "PAID",
                            "billed_amount": "150.00",
                            "allowed_amount": "92.10",
                        }
                    ]
                },
            }
        },
    }
}


class Receipt(BaseModel):
    """What was received is stored; loading it follows."""

    upload_id: UUID = Field(description="Ask for its status at /api/v1/uploads/{upload_id}.")
    status: Literal["received"] = "received"
    request_id: str


@router.post(
    "/api/v1/ingest/webhook/",
    status_code=202,
    summary="Send a batch of claims",
    responses=documented(400, 401, 403, 408, 409, 413, 415, 422, 429, 503),
    openapi_extra=_BODY,
)
@router.post("/api/v1/ingest/webhook", status_code=202, include_in_schema=False)
async def receive_batch(
    request: Request,
    response: Response,
    caller: IngestingCaller,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=255,
            pattern=r"^[\x21-\x7e]+$",
            description="Makes it safe to send a batch again: for 7 days the same key and body get the first answer.",
        ),
    ] = None,
) -> Receipt:
    """Answers 202 once the batch is committed to the database; until then nothing was accepted."""
    if not _JSON.fullmatch(request.headers.get("content-type", "")):
        raise ProblemError(415, "content_type", "Send the batch as Content-Type: application/json.")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise ProblemError(415, "content_encoding", "Send the batch uncompressed, without Content-Encoding.")
    settings: Settings = request.app.state.settings
    intake: Intake = request.app.state.intake
    with intake.batch(caller.customer_id) as batch:
        body = await whole_body(request, settings.max_body_bytes, batch.hold)
        # What is small is read where it is stored: one hop to a thread, not two.
        claim_count = None if len(body) <= SMALL_BYTES else await batch.read(check_batch, body)
        accepted = await run_in_threadpool(
            _store, settings, caller, body, claim_count=claim_count, idempotency_key=idempotency_key,
            request_id=request.state.request_id,
        )  # fmt: skip
    request.state.upload_id = accepted.upload_id
    if accepted.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return Receipt(upload_id=accepted.upload_id, request_id=accepted.request_id)


def _store(
    settings: Settings,
    caller: Caller,
    body: bytes,
    *,
    claim_count: int | None,
    idempotency_key: str | None,
    request_id: str,
) -> Accepted:
    if claim_count is None:
        claim_count = check_batch(body)
    with connect(settings, "upstream_api") as conn:
        return accept_batch(
            conn, caller, body, claim_count=claim_count, idempotency_key=idempotency_key, request_id=request_id
        )
