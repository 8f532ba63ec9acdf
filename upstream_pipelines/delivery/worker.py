"""Takes due deliveries from the outbox, has them sent by threads, and keeps what came of it. Not here: how a channel sends.

At least once, normally once: a worker that dies between sending and recording leaves a lease that
runs out, and the row is sent again under the same id. Nothing is sent inside a transaction.
"""

from __future__ import annotations

import queue
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg

from upstream_pipelines.alerts.outbox import tell_what_waited
from upstream_pipelines.db.engine import Connection, connect
from upstream_pipelines.delivery.outbox import Ending, Outbox
from upstream_pipelines.delivery.outcome import random_jitter
from upstream_pipelines.delivery.sending import Attempted, Leased, Sender
from upstream_pipelines.delivery.traced import attempt_span
from upstream_pipelines.delivery.transactions import until_kept
from upstream_pipelines.delivery.turns import Turn, Turns
from upstream_pipelines.errors import AlertsUndecidedError, DatabaseUnavailableError
from upstream_pipelines.observability.tracing import is_on
from upstream_pipelines.settings import Settings

# How often channels are looked for while others are being sent to; each look reads one row a waiting channel.
_LOOK_SECONDS = 0.2
# Looks that found channels of which nothing could be taken (others hold their rows), before the call ends.
_FRUITLESS_LOOKS = 3
# Connection lost (08), shut down or crashed (57P).
_GONE = ("08", "57P")


@dataclass(frozen=True)
class DeliveryReport:
    """What one call did: attempts taken and how they ended.

    `lost`: attempts that ended after their lease, when another worker had the row.
    `buried`: deliveries that became dead without an attempt (channel disabled).
    """

    taken: int
    sent: int
    retrying: int
    dead: int
    lost: int
    buried: int
    seconds: float


def utc_now() -> datetime:
    """The clock of production."""
    return datetime.now(UTC)


def deliver_due(
    settings: Settings,
    *,
    customer_id: int | None = None,
    clock: Callable[[], datetime] = utc_now,
    limit: int = 10_000,
    worker_threads: int = 32,
    jitter: Callable[[], float] = random_jitter,
) -> DeliveryReport:
    """Send what is due, of all customers or one, until nothing is due or `limit` attempts were made.

    Safe to run in several processes at once. A failed attempt is rescheduled, not raised.

    Raises:
        DatabaseUnavailableError: the outbox cannot be reached; leased rows come back by themselves.
        AlertsUndecidedError: alerts of some customers could not be decided over; what was due of all others was sent.
    """
    started = time.monotonic()
    undecided: list[AlertsUndecidedError] = []
    sender = Sender(settings, clock)
    try:
        with connect(settings, "upstream_pipeline") as conn:
            outbox = Outbox(conn, customer_id, jitter)
            outbox.forget_secrets(clock())
            buried = outbox.bury(clock())
            _tell_what_waited(conn, customer_id, clock(), undecided)
            with ThreadPoolExecutor(worker_threads, thread_name_prefix="deliver") as threads:
                worker = _Worker(outbox, sender, threads, Turns(worker_threads), clock, limit)
                endings = worker.run()
                # The end of an event follows the message of it that has just arrived.
                while _tell_what_waited(conn, customer_id, clock(), undecided):
                    endings.update(worker.run())
            buried += outbox.bury(clock())  # of channels that were disabled meanwhile
    except psycopg.OperationalError as error:
        if error.sqlstate is not None and not error.sqlstate.startswith(_GONE):
            raise
        # Without its cause: Dagster stores those too, and a database's message may quote a row.
        raise DatabaseUnavailableError(
            f"PostgreSQL went away while alerts were delivered ({type(error).__name__}). What was in flight is sent again "
            "under the same id when its lease of 60 s is over; start the database and run `upstream doctor`."
        ) from None
    finally:
        sender.close()
    if undecided:
        raise undecided[-1]
    return DeliveryReport(
        taken=endings.total(), sent=endings["sent"], retrying=endings["retrying"], dead=endings["dead"],
        lost=endings["lost"], buried=buried, seconds=time.monotonic() - started,
    )  # fmt: skip


def _tell_what_waited(
    conn: Connection, customer_id: int | None, now: datetime, undecided: list[AlertsUndecidedError]
) -> int:
    """How many alerts were told; what failed goes to `undecided`, to be raised when all is sent."""
    try:
        return tell_what_waited(conn, customer_id, now)
    except AlertsUndecidedError as error:
        undecided.append(error)
        return error.told


class _Worker:
    """One thread that leases and records, in batches of what is free and what has ended; the others only send."""

    def __init__(  # noqa: PLR0917  put together in one place
        self,
        outbox: Outbox,
        sender: Sender,
        threads: ThreadPoolExecutor,
        turns: Turns,
        clock: Callable[[], datetime],
        limit: int,
    ) -> None:
        self._outbox = outbox
        self._sender = sender
        self._threads = threads
        self._turns = turns
        self._clock = clock
        self._left = limit
        self._ended: queue.SimpleQueue[Attempted] = queue.SimpleQueue()
        self._look_at = 0.0
        self._looked = False
        self._soon: datetime | None = None

    def run(self) -> Counter[Ending]:
        """Take, send and record until nothing is due or the limit is reached."""
        endings: Counter[Ending] = Counter()
        fruitless = 0
        while True:
            attempts = self._wait_for_ends() if self._turns.in_flight else []
            ended, leased = self._record_and_lease(attempts)
            endings.update(ended)
            if leased:
                self._send(leased)
            if self._turns.in_flight:
                fruitless = 0
            elif leased is None:
                if not self._wait_for_a_pause():
                    return endings
            elif self._looked:
                fruitless += 1
                if fruitless == _FRUITLESS_LOOKS:
                    return endings
                time.sleep(0.05)

    def _record_and_lease(self, attempts: list[Attempted]) -> tuple[list[Ending], list[Leased] | None]:
        """One commit for both: on a disk that takes 8 ms for one, it is most of the time of a small batch."""
        for attempt in attempts:
            self._turns.ended(attempt.leased.channel_id, attempt.leased.delivery_id)

        def both() -> tuple[list[Ending], list[Turn], list[Leased]]:
            with self._outbox.transaction():
                return self._record(attempts), *self._lease()

        ended, turns, leased = until_kept(both)
        for turn in turns:
            taken = [one.delivery_id for one in leased if one.channel_id == turn.channel_id]
            self._turns.began(turn.channel_id, taken, turn.number)
        self._left -= len(leased)
        return ended, leased if turns else None

    def _lease(self) -> tuple[list[Turn], list[Leased]]:
        """Take what free threads can send. Returns: what was asked for, and what was taken."""
        turns = self._turns.next(self._left)
        self._looked = False
        if not turns and self._left and (not self._turns.in_flight or time.monotonic() >= self._look_at):
            self._looked = True
            began = time.monotonic()
            found = self._outbox.find(self._clock())
            self._soon = found.soon
            self._turns.offer(found.waiting)
            # With 10,000 channels a look takes 0.2 s; it must not be what most time goes into.
            self._look_at = time.monotonic() + max(_LOOK_SECONDS, 5 * (time.monotonic() - began))
            turns = self._turns.next(self._left)
        if not turns:
            return [], []
        leased, limits = self._outbox.lease(turns, self._turns.delivery_ids, self._clock())
        self._turns.judged(limits)
        return turns, leased

    def _send(self, leased: Sequence[Leased]) -> None:
        requests = self._outbox.requests_of(leased) if is_on() else {}
        for one in leased:
            # A copy for each: what a thread logs and traces has the ids of this run.
            self._threads.submit(copy_context().run, self._attempt, one, requests)

    def _attempt(self, leased: Leased, requests: Mapping[str, str]) -> None:
        with attempt_span(leased, requests) as traced:
            attempted = self._sender.attempt(leased)
            traced.set(outcome=attempted.outcome.state, status_code=attempted.outcome.status_code)
        self._ended.put(attempted)

    def _wait_for_ends(self) -> list[Attempted]:
        """All attempts that have ended, after the first one or when it is time to look for other channels."""
        try:
            attempts = [self._ended.get(timeout=max(0.01, self._look_at - time.monotonic()))]
        except queue.Empty:
            return []
        while not self._ended.empty():
            attempts.append(self._ended.get())
        return attempts

    def _record(self, attempts: list[Attempted]) -> list[Ending]:
        """Keep what came of attempts."""
        if not attempts:
            return []
        endings, limits = self._outbox.record(attempts, self._clock())
        self._turns.judged(limits)
        return endings

    def _wait_for_a_pause(self) -> bool:
        """Wait for a channel that may be sent to again within 2 s (Slack). Returns: whether there is one to wait for."""
        if self._soon is None or not self._left:
            return False
        wait = (self._soon - self._clock()).total_seconds()
        time.sleep(max(0.0, wait))
        # A clock that stands still (a test's) never gets there.
        return self._clock() >= self._soon
