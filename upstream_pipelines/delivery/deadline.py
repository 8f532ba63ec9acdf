"""A limit on wall-clock time for a call that blocks on sockets. Not here: what the call does.

A socket's own timeout starts anew with every byte, so a receiver that sends one byte every few
seconds would hold a worker for ever, and name resolution has no timeout at all.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


class DeadlineError(Exception):
    """The call did not end within its time."""


class Breaker:
    """Sockets of a call in progress; cutting them wakes the thread that waits on one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self.is_cut = False

    def watch(self, sock: socket.socket) -> None:
        """Cut this one as well when the time is up; at once when it is up already."""
        with self._lock:
            self._sockets.append(sock)
            if self.is_cut:
                _shut(sock)

    def cut(self) -> None:
        """Shut all sockets down."""
        with self._lock:
            self.is_cut = True
            for sock in self._sockets:
                _shut(sock)


def within(seconds: float, call: Callable[[Breaker], Result]) -> Result:
    """Run `call` in a thread of its own and wait at most `seconds`.

    Raises:
        DeadlineError: it did not end. Its sockets are cut; what the thread still does is not looked at.
    """
    breaker = Breaker()
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call(breaker))
        except BaseException as error:  # noqa: BLE001  handed to the caller below
            errors.append(error)

    # A daemon: a thread that hangs in name resolution must not keep the process from ending.
    thread = threading.Thread(target=run, name="delivery", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        breaker.cut()
        raise DeadlineError
    if errors:
        raise errors[0]
    return results[0]


def _shut(sock: socket.socket) -> None:
    # The raw socket: an SSLSocket's own shutdown drops its TLS state under the thread that reads.
    # Already closed, or never connected: then nothing waits on it.
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
