"""Reading request bodies within bounds of size and time. Not here: what a body means."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import Message

from upstream_pipelines.api.problems import ProblemError

# A sender that is silent for so long has gone or wants to hold the connection; 10 MiB take 30 s on 3 Mbit/s.
_SILENCE_SECONDS = 30.0
# Nor is a body waited for longer than this and what it takes at the least pace, 0.13 Mbit/s: a model's 64 KiB 34 s in all, which
# come before anybody has said who they are, a batch of 10 MiB 11 min, a file of 2 GiB a day and a half.
_GRACE_SECONDS = 30.0
_LEAST_BYTES_A_SECOND = 16 * 1024
_DIGITS = len(str(sys.maxsize))
# A change of a setting or of rules that people wrote; files and batches have routes of their own.
_MODEL_BYTES = 64 * 1024


def refuse_announced_size(request: Request, limit: int) -> None:
    """Refuse by Content-Length, before a byte of the body is read.

    Raises:
        ProblemError: 413, the body is announced as larger than `limit` bytes.
    """
    if announced(request) > limit:
        raise too_large(limit)


def announced(request: Request) -> int:
    """The body's length by its header, 0 where it has none; of more digits than a length can have, `sys.maxsize`."""
    digits = request.headers.get("content-length", "")
    # Python reads no number of more than 4,300 digits, and noughts may stand before the first that counts.
    digits = digits.lstrip("0") if digits.isdecimal() else ""
    return int(digits or 0) if len(digits) < _DIGITS else sys.maxsize


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
        ProblemError: 413, more than `limit` bytes came; 408, nothing came for 30 s, or less than 16 KiB/s over the whole.
    """
    refuse_announced_size(request, limit)
    count, waited = 0, 0.0
    stream = request.stream()
    while True:
        # Of the time the sender's part alone: what is done with a chunk before the next is asked for is not theirs.
        left = _GRACE_SECONDS + count / _LEAST_BYTES_A_SECOND - waited
        asked = time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, min(_SILENCE_SECONDS, left))):
                chunk = await anext(stream, None)
        except TimeoutError:
            raise _too_slow(silent=left >= _SILENCE_SECONDS) from None
        if chunk is None:
            return
        waited += time.monotonic() - asked
        count += len(chunk)
        if count > limit:
            raise too_large(limit)
        yield chunk


def _too_slow(*, silent: bool) -> ProblemError:
    what = (
        f"Nothing came for {_SILENCE_SECONDS:.0f} s"
        if silent
        else f"The body came at less than {_LEAST_BYTES_A_SECOND} bytes a second, after {_GRACE_SECONDS:.0f} s"
    )
    return ProblemError(
        408, "request_too_slow", f"{what}. Send the request again.", headers={"Connection": "close"}
    )


async def whole_body(request: Request, limit: int, hold: Callable[[int, int], None] | None = None) -> bytes:
    """The body, at most `limit` bytes of it; errors as for `chunks`.

    `hold` is told how many bytes are announced, and at each chunk how many came: what it raises ends the reading.
    """
    refuse_announced_size(request, limit)
    if hold is not None:
        hold(announced(request), 0)
    body = bytearray()
    async for chunk in chunks(request, limit):
        body += chunk
        if hold is not None:
            hold(0, len(body))
    return bytes(body)


class JsonRoute(APIRoute):
    """A route whose body FastAPI reads into a model: for `APIRouter(route_class=JsonRoute)`.

    FastAPI reads a body to its end before it asks who sends it; here it ends at 64 KiB (413), or when nothing comes for
    30 s or the whole takes longer than 34 s (408).
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
