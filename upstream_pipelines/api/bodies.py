"""Reading request bodies within bounds of size and time. Not here: what a body means."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import Message

from upstream_pipelines.api.problems import ProblemError

# A sender that is silent for so long has gone or wants to hold the connection; 10 MiB take 30 s on 3 Mbit/s.
_SILENCE_SECONDS = 30.0
# A change of a setting or of rules that people wrote; files and batches have routes of their own.
_MODEL_BYTES = 64 * 1024


def refuse_announced_size(request: Request, limit: int) -> None:
    """Refuse by Content-Length, before a byte of the body is read.

    Raises:
        ProblemError: 413, the body is announced as larger than `limit` bytes.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise too_large(limit)


def too_large(limit: int) -> ProblemError:
    """The answer to a body of more than `limit` bytes; the connection is closed, not read to its end."""
    return ProblemError(
        413,
        "too_large",
        f"The body is larger than {limit} bytes. Send it in several smaller ones.",
        headers={"Connection": "close"},
    )


async def chunks(request: Request, limit: int) -> AsyncIterator[bytes]:
    """The body as it arrives, counted, for a body may be longer than announced or not announced at all.

    Raises:
        ProblemError: 413, more than `limit` bytes came; 408, nothing came for 30 s.
    """
    refuse_announced_size(request, limit)
    count = 0
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(_SILENCE_SECONDS):
                chunk = await anext(stream, None)
        except TimeoutError:
            raise ProblemError(
                408,
                "request_too_slow",
                f"Nothing came for {_SILENCE_SECONDS:.0f} s. Send the request again.",
                headers={"Connection": "close"},
            ) from None
        if chunk is None:
            return
        count += len(chunk)
        if count > limit:
            raise too_large(limit)
        yield chunk


async def whole_body(request: Request, limit: int) -> bytes:
    """The body, at most `limit` bytes of it; errors as for `chunks`."""
    body = bytearray()
    async for chunk in chunks(request, limit):
        body += chunk
    return bytes(body)


class JsonRoute(APIRoute):
    """A route whose body FastAPI reads into a model: for `APIRouter(route_class=JsonRoute)`.

    FastAPI reads a body to its end before it asks who sends it; here it ends at 64 KiB (413), or when nothing comes for
    30 s (408).
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's own handler, given a request with a body that is read already."""
        handle = super().get_route_handler()

        async def bounded(request: Request) -> Response:
            body = await whole_body(request, _MODEL_BYTES)
            request.state.body = body

            async def receive() -> Message:
                return {"type": "http.request", "body": body, "more_body": False}

            return await handle(Request(request.scope, receive))

        return bounded
