"""Runs the HTTP API in this process until it is told to stop. Not here: the application (app.py)."""

from __future__ import annotations

import gc
import signal
import socket
from types import FrameType

import uvicorn

from upstream_pipelines.api.app import create_app
from upstream_pipelines.errors import AlreadyRunningError
from upstream_pipelines.observability.logging import configure_logging
from upstream_pipelines.observability.tracing import configure_tracing
from upstream_pipelines.settings import Settings

# What a stop waits for running requests; a supervisor usually kills after 30.
_STOP_SECONDS = 20


def serve(settings: Settings) -> None:
    """Serve on `api_host`:`api_port`; returns after SIGINT or SIGTERM and the end of running requests.

    To be called in the main thread, for signals reach no other.

    Raises:
        ConfigurationError: traces are asked for and cannot be made.
        AlreadyRunningError: the port is taken, or the address is not this machine's.
    """
    configure_logging(settings)
    configure_tracing(settings)
    config = uvicorn.Config(
        create_app(settings),
        log_config=None,  # its records go where all of ours go
        access_log=False,  # it writes paths with their query strings; RequestMiddleware writes the route
        server_header=False,
        lifespan="off",  # nothing is opened before a request needs it
        ws="none",
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    listener = _listen(settings.api_host, settings.api_port)
    # What is there now is there to the end. Each full collection would look through its 220,000 objects, and answer nobody for
    # 0.15 s: at 200 batches a second 30 of them.
    gc.collect()
    gc.freeze()
    # uvicorn stops on a signal and then raises it again; the default action would end this process
    # without its atexit functions, and the embedded PostgreSQL would run on.
    before = {number: signal.signal(number, _no_more) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _no_more(_number: int, _frame: FrameType | None) -> None:
    """The server has stopped for it already."""


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise AlreadyRunningError(
            f"The API cannot listen on {host}, port {port} ({error.strerror}). Stop what listens there, or set "
            "UPSTREAM_API_HOST and UPSTREAM_API_PORT."
        ) from error
