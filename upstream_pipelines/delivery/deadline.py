"""A limit on wall-clock time for a call that blocks on sockets. Not here: what the call does.

A socket's own timeout starts anew with every byte, so a receiver that sends one byte every few
seconds would hold a worker for ever, and name resolution has no timeout at all.
"""

from __future__ import annotations

import contextlib
import os
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
        self._handles: list[socket.socket] = []
        self.is_cut = False

    def watch(self, sock: socket.socket) -> None:
        """Cut this one as well when the time is up; at once when it is up already."""
        # A handle of our own: TLS takes the descriptor out of the socket object that it wraps, and an SSLSocket's
        # own shutdown drops its TLS state under the thread that reads.
        own = socket.socket(fileno=os.dup(sock.fileno()))
        with self._lock:
            self._handles.append(own)
            if self.is_cut:
                self._shut_all()

    def cut(self) -> None:
        """Shut all connections down."""
        with self._lock:
            self.is_cut = True
            self._shut_all()

    def release(self) -> None:
        """Let go of the connections and leave them as they are."""
        with self._lock:
            for handle in self._handles:
                handle.close()
            self._handles.clear()

    def _shut_all(self) -> None:
        for handle in self._handles:
            with contextlib.suppress(OSError):  # the other side was first
                handle.shutdown(socket.SHUT_RDWR)
            handle.close()
        self._handles.clear()


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
    breaker.release()
    if errors:
        raise errors[0]
    return results[0]
