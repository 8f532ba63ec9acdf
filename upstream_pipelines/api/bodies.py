"""Reading request bodies within bounds of size and time. Not here: what a body means."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from fastapi import Request

from upstream_pipelines.api.problems import ProblemError

# A sender that is silent for so long has gone or wants to hold the connection; 10 MiB take 30 s on 3 Mbit/s.
_SILENCE_SECONDS = 30.0


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
