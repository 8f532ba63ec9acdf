"""A limit on wall-clock time for a call that blocks on sockets. Not here: what the call does.

A socket's own timeout starts anew with every byte, so a receiver that sends one byte every few
seconds would hold a worker for ever, and name resolution has no timeout at all.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

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


class _Task:
    """A call on its way through a helper's hands."""

    def __init__(self, call: Callable[[Breaker], Any]) -> None:
        self.call = call
        self.breaker = Breaker()
        self.result: Any = None
        self.error: BaseException | None = None
        # A lock that the end of the call opens: an Event has one inside, and two more objects around it.
        self.ended = threading.Lock()
        self.ended.acquire()


class _Helper:
    """A thread that makes calls one after another: to start one for each cost half the time of a webhook."""

    idle: ClassVar[list[_Helper]] = []

    def __init__(self) -> None:
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        # A daemon: a thread that hangs in name resolution must not keep the process from ending.
        threading.Thread(target=self._work, name="delivery", daemon=True).start()

    def take(self, task: _Task | None) -> None:
        """Make this call next; None: end after the one at hand."""
        self._tasks.put(task)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                task.result = task.call(task.breaker)
            except BaseException as error:  # noqa: BLE001  handed to the caller
                task.error = error
            task.ended.release()
            del task  # its result must not live until the next call


def within(seconds: float, call: Callable[[Breaker], Result]) -> Result:
    """Run `call` in another thread and wait at most `seconds`.

    Raises:
        DeadlineError: it did not end. Its sockets are cut; what the thread still does is not looked at.
    """
    task = _Task(call)
    try:
        helper = _Helper.idle.pop()
    except IndexError:
        helper = _Helper()
    helper.take(task)
    if not task.ended.acquire(timeout=seconds):
        task.breaker.cut()
        helper.take(None)
        raise DeadlineError
    _Helper.idle.append(helper)
    task.breaker.release()
    if task.error is not None:
        raise task.error
    result: Result = task.result
    return result
