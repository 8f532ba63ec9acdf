"""Batches under way: how many bytes of them a customer may have in this process, and whose is read next.

A batch is read into objects by one thread at a time that keeps the others of the process from most of their work, and takes
twenty times its bytes of memory. Bodies that wait for it wait in the event loop: in a thread each, some forty of one customer
took every thread that there is, and no request of anybody was answered. Not here: what a batch must hold, storing it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from anyio import CapacityLimiter, to_thread

from upstream_pipelines.api.problems import ProblemError

# So much of each body is free, and is read where it is stored, in some 2 ms: 200 claims. Whoever else sends what, those
# who send little are let in.
SMALL_BYTES = 64 * 1024
# Of bodies so small, so many are read at once before anybody asks who sends them: 16 MiB.
MOST_UNASKED = 256
# Of the largest body that is taken: what one customer may have under way, and all. Of 10 MiB 40 and 160 MiB, and the objects
# of two.
_OF_A_CUSTOMER = 4
_OF_ALL = 16
# Reading a body of 10 MiB takes some 200 MB; more at once than there are cores gains nothing.
_AT_ONCE = 2
# The largest takes most of a second.
_RETRY = {"Retry-After": "5"}


class _Sending:
    """One customer's bodies under way."""

    def __init__(self) -> None:
        self.bodies = 0
        self.bytes = 0
        # Theirs are read one after another: a customer holds one of the places that all wait for in turn.
        self.turn = asyncio.Lock()


class Batch:
    """A body that is under way: what it holds of its customer's bytes, and of all."""

    def __init__(self, intake: Intake, sending: _Sending) -> None:
        self._intake = intake
        self._sending = sending
        self.held = self.held_of_all = 0

    def hold(self, announced: int, came: int) -> None:
        """Hold of the customer's bytes as many as are announced, and of all as many as came; never fewer than before. Sixteen
        connections that announce bodies and send none would else keep everybody's out.

        Raises:
            ProblemError: 429, the customer has too many under way; 503, all have.
        """
        more = max(announced, came) - SMALL_BYTES - self.held
        if more > 0:
            self._intake.take_of_customer(self._sending, more)
            self.held += more
        more = came - SMALL_BYTES - self.held_of_all
        if more > 0:
            self._intake.take_of_all(more)
            self.held_of_all += more

    async def read(self, check: Callable[[bytes], int], body: bytes) -> int:
        """`check(body)`, when it is the customer's turn, in a thread that no other route needs."""
        async with self._sending.turn:
            return await to_thread.run_sync(check, body, limiter=self._intake.reading)


class Intake:
    """The bodies under way in one API. Used in its event loop alone."""

    def __init__(self, largest_body: int) -> None:
        self._most_of_a_customer = _OF_A_CUSTOMER * largest_body
        self._most = _OF_ALL * largest_body
        self._bytes = 0
        self._sending: dict[int, _Sending] = {}
        self.reading = CapacityLimiter(_AT_ONCE)
        self.unasked = 0

    @contextmanager
    def of_nobody(self) -> Iterator[None]:
        """A small body that is read before anybody asks who sends it."""
        self.unasked += 1
        try:
            yield
        finally:
            self.unasked -= 1

    @contextmanager
    def batch(self, customer_id: int) -> Iterator[Batch]:
        """A body of that customer, from before it is read until it is stored."""
        sending = self._sending.setdefault(customer_id, _Sending())
        sending.bodies += 1
        batch = Batch(self, sending)
        try:
            yield batch
        finally:
            self._bytes -= batch.held_of_all
            sending.bytes -= batch.held
            sending.bodies -= 1
            if sending.bodies == 0:
                del self._sending[customer_id]

    def take_of_customer(self, sending: _Sending, more: int) -> None:
        """Count that many bytes for the customer; error as for `Batch.hold`."""
        if sending.bytes + more > self._most_of_a_customer:
            raise ProblemError(
                429, "too_many_bodies",
                f"Batches of more than {self._most_of_a_customer} bytes in all are under way for the customer. Send this one "
                "when one of them is answered.",
                headers=_RETRY,
            )  # fmt: skip
        sending.bytes += more

    def take_of_all(self, more: int) -> None:
        """Count that many bytes for all; error as for `Batch.hold`."""
        if self._bytes + more > self._most:
            raise ProblemError(
                503, "busy", "Too many large batches are under way; nothing was accepted. Send it again in some seconds.",
                headers=_RETRY,
            )  # fmt: skip
        self._bytes += more
