"""What holds for every request: its id, its log line, the security headers, the last catch of errors.

Plain ASGI, so that streamed bodies pass through untouched. Not here: anything a single route does.
"""

from __future__ import annotations

import logging
import re
import time
from uuid import uuid4

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from upstream_pipelines.api.problems import unexpected
from upstream_pipelines.observability.logging import log_context

_log = logging.getLogger(__name__)

# Anything else could break a log line, a header or a search.
_SAFE_ID = re.compile(r"[A-Za-z0-9._-]{8,64}", re.ASCII)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_HEADERS = {
    "Cache-Control": "no-store",  # every answer is about one customer
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
# The documentation page is the one that runs scripts: FastAPI's, from the network it names.
DOCS_PATH = "/api/v1/docs"
_DOCS_POLICY = (
    "default-src 'none'; connect-src 'self'; frame-ancestors 'none'; img-src 'self' data: https://fastapi.tiangolo.com; "
    "script-src 'unsafe-inline' https://cdn.jsdelivr.net; style-src 'unsafe-inline' https://cdn.jsdelivr.net"
)


class RequestMiddleware:
    """Gives each request an id, writes one log line for it, and lets no error out unanswered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _SAFE_ID.fullmatch(given) else uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        begun = time.perf_counter()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                if scope["path"] == DOCS_PATH:
                    headers["Content-Security-Policy"] = _DOCS_POLICY
                headers["X-Request-Id"] = request_id
            await send(message)

        with log_context(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_headers)
            except Exception:
                _log.exception("request failed")
                if status:
                    raise  # half an answer is out; only closing the connection tells the client so
                await unexpected(Request(scope))(scope, receive, send_with_headers)
            finally:
                # The route and not the path: what a client writes into a path may be anything.
                route = getattr(scope.get("route"), "path", "none")
                _log.info(
                    "request",
                    extra={
                        "method": scope["method"] if scope["method"] in _METHODS else "other",
                        "route": route,
                        "status": status,
                        "milliseconds": round((time.perf_counter() - begun) * 1000, 1),
                    },
                )
