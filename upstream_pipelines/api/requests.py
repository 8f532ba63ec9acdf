"""What holds for every request: its id, its log line, the security headers, the last catch of errors.

Plain ASGI, so that streamed bodies pass through untouched. Not here: anything a single route does.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from uuid import uuid4

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from upstream_pipelines.api.problems import unexpected
from upstream_pipelines.api.rate_limits import Allowance
from upstream_pipelines.observability.logging import log_context
from upstream_pipelines.observability.tracing import caller_of, record_request

_log = logging.getLogger(__name__)

# A UUID, its 32 digits (a trace id has that form too), a ULID: ids that a program makes. Anything else could be a name or a
# number of a patient, and stands in the log before the sender is known.
_SAFE_ID = re.compile(
    r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9a-fA-F]{32}|[0-7][0-9A-HJKMNP-TV-Z]{25}", re.ASCII
)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_HEADERS = {
    "Cache-Control": "no-store",  # every answer is about one customer
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
# The documentation page is the one that runs scripts: those of its own server, and one written into it.
DOCS_PATH = "/api/v1/docs"
_DOCS_POLICY = (
    "default-src 'none'; connect-src 'self'; frame-ancestors 'none'; img-src 'self' data:; "
    "script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'"
)
# A connection that is closed on unread data is reset, and the sender never reads why it was refused: what it still sends
# is read and dropped, so much of it and for so long in all, and while it comes without such a pause.
_LINGER_BYTES = 32 * 1024 * 1024
_LINGER_SECONDS = 10.0
_LINGER_PAUSE_SECONDS = 2.0


class RequestMiddleware:
    """Gives each request an id, writes one log line for it, and lets no error out unanswered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope)
        given = announced.get("x-request-id", "")
        caller = caller_of(announced.getlist("traceparent"))
        made = caller.request_id if caller is not None else uuid4().hex
        request_id = given if _SAFE_ID.fullmatch(given) else made
        scope.setdefault("state", {})["request_id"] = request_id
        begun = time.perf_counter()
        status = 0
        failure: Exception | None = None
        body_comes = announced.get("content-length", "0") != "0" or "transfer-encoding" in announced
        closes = False

        async def receive_watched() -> Message:
            nonlocal body_comes
            message = await receive()
            body_comes = message["type"] == "http.request" and message.get("more_body", False)
            return message

        async def send_with_headers(message: Message) -> None:
            nonlocal status, closes
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                if scope["path"] == DOCS_PATH:
                    headers["Content-Security-Policy"] = _DOCS_POLICY
                headers["X-Request-Id"] = request_id
                allowance: Allowance | None = scope["state"].get("rate_limit")
                if allowance is not None:
                    headers.update(allowance.headers())
                if status >= HTTPStatus.BAD_REQUEST and body_comes:
                    # Who was refused before all was read could hold the connection for as long as it drips.
                    headers["Connection"] = "close"
                closes = headers.get("connection") == "close"
            elif closes and body_comes and not message.get("more_body", False):
                await send({**message, "more_body": True})
                await _drop_the_rest(receive_watched, lambda: body_comes)
                message = {"type": "http.response.body", "body": b"", "more_body": False}
            await send(message)

        with log_context(request_id=request_id):
            try:
                await self._app(scope, receive_watched, send_with_headers)
            except Exception as error:
                failure = error
                _log.exception("request failed")
                if status:
                    raise  # half an answer is out; only closing the connection tells the client so
                await unexpected(Request(scope))(scope, receive_watched, send_with_headers)
            finally:
                # The route and not the path: what a client writes into a path may be anything.
                route = getattr(scope.get("route"), "path", "none")
                method = scope["method"] if scope["method"] in _METHODS else "other"
                upload_id = scope["state"].get("upload_id")
                seconds = time.perf_counter() - begun
                record_request(
                    f"{method} {route}", request_id=request_id, caller=caller, seconds=seconds, error=failure,
                    upload_id=upload_id,
                    **{"http.request.method": method, "http.route": route, "http.response.status_code": status},
                )  # fmt: skip
                _log.info(
                    "request",
                    extra={
                        "method": method,
                        "route": route,
                        "status": status,
                        "milliseconds": round(seconds * 1000, 1),
                        # What it brought; of a request that is answered again nothing else says so.
                        **({"upload_id": str(upload_id)} if upload_id is not None else {}),
                    },
                )


async def _drop_the_rest(receive: Receive, comes: Callable[[], bool]) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_SECONDS):
            dropped = 0
            while comes() and dropped < _LINGER_BYTES:
                async with asyncio.timeout(_LINGER_PAUSE_SECONDS):
                    dropped += len((await receive()).get("body", b""))
