"""POST /api/v1/ingest/webhook/: a batch of claims as JSON, stored durably before it is acknowledged.

Not here: what a claim must hold (the loader judges each one), how it is stored (ingest/inbox.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from upstream_pipelines.api.authentication import TokenSent, no_token, token_sent
from upstream_pipelines.api.bodies import announced, whole_body
from upstream_pipelines.api.intake import MOST_UNASKED, SMALL_BYTES, Intake
from upstream_pipelines.api.once import REPLAYED, Key
from upstream_pipelines.api.problems import ProblemError, documented
from upstream_pipelines.api.rate_limits import RateClass
from upstream_pipelines.customers.tokens import Caller
from upstream_pipelines.db.engine import connect
from upstream_pipelines.ingest.batch_reader import check_batch
from upstream_pipelines.ingest.inbox import Accepted, accept_batch
from upstream_pipelines.settings import Settings

router = APIRouter(tags=["ingest"])

_KEY = TypeAdapter[str](Key)
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
            "schema": {"title": "Idempotency-Key", **_KEY.json_schema()},
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
    intake: Intake = request.app.state.intake
    sent = token_sent(request, RateClass.INGEST)
    batch = _Batch(settings, sent, request.state.request_id, request.headers.get("idempotency-key"))
    small = min(SMALL_BYTES, settings.max_body_bytes)
    if (
        sent.token is not None
        and 0 < announced(request) <= small
        and _refusal(request) is None
        and intake.unasked < MOST_UNASKED
    ):
        # Most batches: one thread for all that is to be done. Whose it is is asked when the body is there, which is so small
        # that anybody may send it.
        with intake.of_nobody():
            body = await whole_body(request, small)
        # Whoever is gone reads no answer, and would send it again.
        if await request.is_disconnected():
            raise ClientDisconnect
        accepted = await run_in_threadpool(batch.store, body)
    else:
        accepted = await _receive_in_turn(request, intake, batch)
    request.state.upload_id = accepted.upload_id
    receipt = Receipt(upload_id=accepted.upload_id, request_id=accepted.request_id)
    headers = REPLAYED if accepted.replayed else None
    return Response(receipt.model_dump_json(), 202, headers, "application/json")


# What the structural test reads. No dependency of the route has it: they were a fifth of what a batch cost this process.
receive_batch.rule = "token"  # type: ignore[attr-defined]


@dataclass(frozen=True)
class _Batch:
    """A request with a batch, but its body."""

    settings: Settings
    sent: TokenSent
    request_id: str
    idempotency_key: str | None = field(repr=False)

    def store(self, body: bytes, caller: Caller | None = None, claim_count: int | None = None) -> Accepted:
        """Store a body of `caller`, whose token is asked for again, or of whoever the token says it is, with `claim_count` claims if
        they were counted already.
        """
        if caller is None:
            caller = self.sent.caller()
        elif self.sent.found() is None:  # a body of 10 MiB may come for 11 minutes
            raise no_token(self.sent.request)
        if claim_count is None:
            claim_count = check_batch(body)
        with connect(self.settings, "upstream_api") as conn:
            return accept_batch(
                conn, caller, body, claim_count=claim_count, idempotency_key=self.idempotency_key,
                request_id=self.request_id,
            )  # fmt: skip


async def _receive_in_turn(request: Request, intake: Intake, batch: _Batch) -> Accepted:
    """A batch that may be large: who sends it, what it may take of memory, and whose turn it is, in this order."""
    caller = await run_in_threadpool(batch.sent.caller)
    refusal = _refusal(request)
    if refusal is not None:
        raise refusal
    with intake.batch(caller.customer_id) as held:
        body = await whole_body(request, batch.settings.max_body_bytes, held.hold)
        # What is small is read where it is stored: one hop to a thread, not two.
        claim_count = None if len(body) <= SMALL_BYTES else await held.read(check_batch, body)
        return await run_in_threadpool(batch.store, body, caller, claim_count)


def _refusal(request: Request) -> Exception | None:
    """Why a request is refused for its headers, which is told to those alone who may send."""
    key = request.headers.get("idempotency-key")
    try:
        if key is not None:
            _KEY.validate_python(key)
    except ValidationError as error:
        where = ("header", "idempotency-key")
        return RequestValidationError([{"type": one["type"], "loc": where} for one in error.errors()])
    if not _JSON.fullmatch(request.headers.get("content-type", "")):
        return ProblemError(415, "content_type", "Send the batch as Content-Type: application/json.")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        return ProblemError(415, "content_encoding", "Send the batch uncompressed, without Content-Encoding.")
    return None
