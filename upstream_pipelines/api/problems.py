"""Every error as problem JSON (RFC 9457) with a stable `code` and the request id, and never with the input.

Not here: which error a route raises. What people read is fixed text of this program: a framework's
message may quote the request, and the request may hold a claim.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import psycopg
import sqlalchemy.exc
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from upstream_pipelines.customers.idempotency import IdempotencyKeyReusedError
from upstream_pipelines.customers.passwords import BusyError
from upstream_pipelines.errors import (
    ConflictError,
    DatabaseUnavailableError,
    FileRefusedError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    UpstreamError,
)

# The standard library's logger: structlog's, where nobody configured it, prints the locals of every frame.
_log = logging.getLogger(__name__)

# Long enough for a restart of PostgreSQL, short enough that a sender's first retry meets it.
_RETRY_SECONDS = "5"
_RETRY_AFTER_ENDED_SECONDS = (
    "60"  # three times what it had: asked again at once, it would hold a connection all the time
)

_DETAILS = {
    404: "Nothing is at this address. The addresses are listed at /api/v1/docs.",
    405: "This address does not take this method; the Allow header lists those it takes.",
}


class ProblemError(UpstreamError):
    """A request that cannot be served, as its sender will read it."""

    def __init__(self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.headers = headers


class Problem(BaseModel):
    """The body of every answer that is not a success, as `application/problem+json`."""

    type: str = "about:blank"
    title: str = Field(description="The status in words.")
    status: int
    detail: str = Field(description="What happened and what to do next.")
    code: str = Field(description="Stable name of the problem, for programs.")
    request_id: str = Field(description="Quote it when asking for help.")
    errors: list[dict[str, str]] | None = Field(
        default=None, description="For code `invalid_request`: which parameters break which rule."
    )


def problem(
    request: Request,
    status: int,
    code: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    errors: list[dict[str, str]] | None = None,
) -> JSONResponse:
    """An answer in problem JSON."""
    body = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        request_id=request.state.request_id,
        errors=errors,
    )
    return JSONResponse(
        body.model_dump(exclude_none=True),
        status_code=status,
        headers=dict(headers or {}),
        media_type="application/problem+json",
    )


def unexpected(request: Request) -> JSONResponse:
    """The answer to an error nobody foresaw; what it was is in the log under the request id."""
    return problem(
        request, 500, "internal_error", "Something went wrong here. Try again; if it stays, quote the request id."
    )


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route for OpenAPI."""
    content = {"application/problem+json": {"schema": Problem.model_json_schema()}}
    headers = {
        429: {"headers": {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait."}}}
    }
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content} | headers.get(status, {})
        for status in statuses
    }


def install(app: FastAPI) -> None:
    """Answer every foreseen error with a problem; the rest is caught outside (requests.py)."""
    app.add_exception_handler(ProblemError, _on_problem)
    app.add_exception_handler(UpstreamError, _on_upstream)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
    app.add_exception_handler(psycopg.errors.QueryCanceled, _on_ended_statement)
    # OperationalError: refused, cut off, shut down, out of disk. InterfaceError: the
    # connection was lost before. TimeoutError: all connections of the pool are busy.
    for lost in (
        psycopg.OperationalError,
        psycopg.InterfaceError,
        sqlalchemy.exc.OperationalError,
        sqlalchemy.exc.TimeoutError,
    ):
        app.add_exception_handler(lost, _on_database)


def _on_problem(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ProblemError)
    return problem(request, error.status, error.code, str(error), headers=error.headers)


def _on_upstream(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, UpstreamError)
    if isinstance(error, DatabaseUnavailableError):
        return _on_database(request, error)
    if isinstance(error, FileRefusedError | IdempotencyKeyReusedError | InvalidInputError):
        return problem(request, 422, error.code, str(error))
    if isinstance(error, BusyError):
        return problem(request, 503, error.code, str(error), headers={"Retry-After": "1"})
    if isinstance(error, ForbiddenError):
        return problem(request, 403, error.code, str(error))
    if isinstance(error, NotFoundError):
        return problem(request, 404, error.code, str(error))
    if isinstance(error, ConflictError):
        return problem(request, 409, error.code, str(error))
    # Settings and the like: the operator's business, and their messages name hosts.
    _log.error("request failed", exc_info=error)
    return unexpected(request)


def _on_database(request: Request, error: Exception) -> JSONResponse:
    _log.warning("database unavailable", extra={"error": error})
    return problem(
        request,
        503,
        "database_unavailable",
        "The database cannot be reached; nothing was accepted. Send the request again.",
        headers={"Retry-After": _RETRY_SECONDS},
    )


def _on_ended_statement(request: Request, error: Exception) -> JSONResponse:
    """The database ended a statement that took too long; asked the same again at once, it would take as long again."""
    assert isinstance(error, psycopg.errors.QueryCanceled)
    _log.warning("a statement took too long and was ended")
    return problem(
        request,
        503,
        "took_too_long",
        "The database took too long over this and ended it; nothing was changed. Ask for less, such as a shorter span, or "
        "again when it has less to do.",
        headers={"Retry-After": _RETRY_AFTER_ENDED_SECONDS},
    )


def _on_validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    # Place and rule only: pydantic's messages quote the input, and a body's keys are input.
    errors = [
        {
            "parameter": "body" if item["loc"][0] == "body" else ".".join(str(part) for part in item["loc"]),
            "rule": str(item["type"]),
        }
        for item in error.errors()
    ]
    return problem(
        request,
        422,
        "invalid_request",
        "A parameter breaks a rule of the API; see `errors` and /api/v1/docs.",
        errors=errors,
    )


def _on_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    detail = _DETAILS.get(status.value, f"{status.phrase}. The API is described at /api/v1/docs.")
    return problem(request, status.value, status.name.lower(), detail, headers=error.headers)


def _on_disconnect(request: Request, _error: Exception) -> JSONResponse:
    # Nobody reads it; it is the log's status for a request that broke off.
    return problem(request, 400, "request_broken_off", "The connection closed before the request was complete.")
