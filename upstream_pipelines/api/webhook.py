"""POST /api/v1/ingest/webhook/: a batch of claims as JSON, stored durably before it is acknowledged.

Not here: what a claim must hold (the loader judges each one), how it is stored (ingest/inbox.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, Literal
from uuid import UUID

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from upstream_pipelines.api.authentication import TokenSent, token_sent
from upstream_pipelines.api.bodies import announced, whole_body
from upstream_pipelines.api.intake import SMALL_BYTES, Intake
from upstream_pipelines.api.problems import ProblemError, documented
from upstream_pipelines.api.rate_limits import RateClass
from upstream_pipelines.customers.tokens import Caller
from upstream_pipelines.db.engine import connect
from upstream_pipelines.ingest.batch_reader import check_batch
from upstream_pipelines.ingest.inbox import Accepted, accept_batch
from upstream_pipelines.settings import Settings

router = APIRouter(tags=["ingest"])

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_JSON = re.compile(r"application/(?:json|[a-z0-9.+-]+\+json)(?:\s*;.*)?", re.IGNORECASE)

# For readers of the documentation: the route reads its headers itself, and the body, to count it while it comes.
_DOCUMENTED: dict[str, Any] = {
    "security": [{"ingestion_token": []}],
    "parameters": [
        {
            "in": "header",
            "name": "idempotency-key",
            "required": False,
            "description": "Makes it safe to send a batch again: for 7 days the same key and body get the first answer.",
            "schema": {
                "type": "string",
                "title": "Idempotency-Key",
                "minLength": 1,
                "maxLength": 255,
                "pattern": "^[\\x21-\\x7e]+$",
            },
        }
    ],
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
    },
}


class Receipt(BaseModel):
    """What was received is stored; loading it follows."""

    upload_id: UUID = Field(description="Ask for its status at /api/v1/uploads/{upload_id}.")
    status: Literal["received"] = "received"
    request_id: str


@router.post(
    "/api/v1/ingest/webhook/",
    status_code=202,
    response_model=Receipt,
    summary="Send a batch of claims",
    responses=documented(400, 401, 403, 408, 409, 413, 415, 422, 429, 503),
    openapi_extra=_DOCUMENTED,
)
@router.post("/api/v1/ingest/webhook", status_code=202, include_in_schema=False)
async def receive_batch(request: Request) -> Response:
    """Answers 202 once the batch is committed to the database; until then nothing was accepted."""
    settings: Settings = request.app.state.settings
    sent = token_sent(request, RateClass.INGEST)
    store = partial(
        _store, settings, sent, idempotency_key=request.headers.get("idempotency-key"), request_id=request.state.request_id
    )  # fmt: skip
    small = min(SMALL_BYTES, settings.max_body_bytes)
    if sent.token is not None and 0 < announced(request) <= small and _refusal(request) is None:
        # Most batches: one thread and one connection for all that is to be done. Whose it is is asked when the body is there,
        # which is so small that anybody may send it.
        accepted = await run_in_threadpool(store, await whole_body(request, small))
    else:
        accepted = await _receive_in_turn(request, settings, sent, store)
    request.state.upload_id = accepted.upload_id
    receipt = Receipt(upload_id=accepted.upload_id, request_id=accepted.request_id)
    headers = {"Idempotent-Replayed": "true"} if accepted.replayed else None
    return Response(receipt.model_dump_json(), 202, headers, "application/json")


# What the structural test reads; no dependency of the route has it, as solving one costs as much as storing the batch.
receive_batch.rule = "token"  # type: ignore[attr-defined]


async def _receive_in_turn(
    request: Request, settings: Settings, sent: TokenSent, store: Callable[..., Accepted]
) -> Accepted:
    """A batch that may be large: who sends it, what it may take of memory, and whose turn it is, in this order."""
    caller = await run_in_threadpool(_caller, settings, sent)
    refusal = _refusal(request)
    if refusal is not None:
        raise refusal
    intake: Intake = request.app.state.intake
    with intake.batch(caller.customer_id) as batch:
        body = await whole_body(request, settings.max_body_bytes, batch.hold)
        # What is small is read where it is stored: one hop to a thread, not two.
        claim_count = None if len(body) <= SMALL_BYTES else await batch.read(check_batch, body)
        return await run_in_threadpool(store, body, caller, claim_count)


def _refusal(request: Request) -> Exception | None:
    """Why a request is refused for its headers, which is told to those alone who may send."""
    key = request.headers.get("idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        return RequestValidationError([{"type": "string_pattern_mismatch", "loc": ("header", "idempotency-key")}])
    if not _JSON.fullmatch(request.headers.get("content-type", "")):
        return ProblemError(415, "content_type", "Send the batch as Content-Type: application/json.")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        return ProblemError(415, "content_encoding", "Send the batch uncompressed, without Content-Encoding.")
    return None


def _caller(settings: Settings, sent: TokenSent) -> Caller:
    if sent.token is None:
        raise sent.refused()
    with connect(settings, "upstream_api") as conn:
        return sent.caller(conn)


def _store(
    settings: Settings,
    sent: TokenSent,
    body: bytes,
    caller: Caller | None = None,
    claim_count: int | None = None,
    *,
    idempotency_key: str | None,
    request_id: str,
) -> Accepted:
    """Store a body of `caller`, or of whoever the token says it is, with `claim_count` claims if they were counted already."""
    with connect(settings, "upstream_api") as conn:
        caller = caller or sent.caller(conn)
        return accept_batch(
            conn, caller, body, claim_count=check_batch(body) if claim_count is None else claim_count,
            idempotency_key=idempotency_key, request_id=request_id,
        )  # fmt: skip
