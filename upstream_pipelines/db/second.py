"""A second connection that works while the first does, and is committed just before it.

PostgreSQL works with one process a connection, whatever cores it has: two connections stage, merge and count a large upload in
half of the time to two thirds of it (benchmarks/path.py). They are two transactions. So what the second wrote must do no harm
where the process dies between the two commits, and neither may wait for a row of the other: one of the two waits in Python,
which PostgreSQL does not see, and both would wait forever.
Not here: what is done by two, and how it is divided (ingest/line_writer.py, claims/merge.py, drift/counting.py).
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any, Self, TypeVar

import psycopg
import structlog

from upstream_pipelines.db.engine import Connection

T = TypeVar("T")
_CANCELS, _CANCEL_SECONDS = 25, 2
# What waits for a whole table (a migration, a REINDEX) waits for the first, and the second would wait behind it: after a minute
# it fails, and the work is made again. Longer than the 10 s after which a dead process's statement ends. The first must hold the
# tables of both before the second is given anything, for it may wait behind what waits for the second. Between the end of its
# work and the commit the second is idle, and so is the first while it waits.
_OPTIONS = "-c lock_timeout=60s -c idle_in_transaction_session_timeout=0"


class SecondConnection:
    """A connection to where the first is connected, in its role, opened when it is first asked whether it `opens()`.

    Use it as a context around the first's transaction, let that hold the tables of both (LOCK TABLE), and say `commit()` as the
    last thing within that. Left without, its statement is cancelled and what it wrote is rolled back.
    """

    def __init__(self, first: Connection) -> None:
        self._first = first
        self._conn: psycopg.Connection[Any] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="second connection")
        self._started: Future[Any] | None = None
        self._refused = False

    def __enter__(self) -> Self:
        return self

    def opens(self) -> bool:
        """Whether there is one; to be asked before it is given anything. Where PostgreSQL takes no more connections the log
        says so, and the first has to do all.
        """
        if self._conn is None and not self._refused:
            info = self._first.info
            options = f"{info.get_parameters().get('options', '')} {_OPTIONS}"
            try:
                # Not from the pool: a run holds one of its connections, and as many runs could wait for each other's second.
                self._conn = psycopg.connect(info.dsn, password=info.password, options=options, autocommit=True)
            except psycopg.OperationalError as error:
                self._refused = True
                structlog.get_logger().warning(
                    "no second connection to PostgreSQL, one does all", error=type(error).__name__
                )
        return self._conn is not None

    def at_once(self, statement: str, parameters: dict[str, Any]) -> None:
        """Execute and commit before anything is started: what has to be known whatever becomes of the rest."""
        self._open.execute(statement, parameters)

    def start(self, work: Callable[[Connection], T]) -> Future[T]:
        """Do this in a thread, after what was started before it, in the one transaction of the second connection."""
        conn = self._open
        if conn.autocommit:
            conn.autocommit = False
        started = self._thread.submit(work, conn)
        self._started = started
        return started

    def commit(self) -> None:
        """All that was started must have ended. Nothing, where nothing was.

        Raises:
            psycopg.OperationalError: the first is lost; what it held may be another's by now.
        """
        if self._conn is not None:
            self._first.execute("SELECT 1")
            self._conn.commit()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._conn is None:
            self._thread.shutdown()
            return
        if error is not None and self._started is not None:
            self._stop(self._conn, self._started, error)
        self._thread.shutdown()
        self._conn.close()

    def _stop(self, conn: psycopg.Connection[Any], started: Future[Any], error: BaseException) -> None:
        # More than once: between two statements there is nothing to cancel.
        for _ in range(_CANCELS):
            if not wait([started], timeout=0.2).not_done:
                return
            try:
                conn.cancel_safe(timeout=_CANCEL_SECONDS)
            except psycopg.Error as failed:
                error.add_note(f"The second connection could not be told to stop either: {type(failed).__name__}.")
                break
        # What cannot be cancelled ends with its socket. Not by closing it: its number may be another file's before the thread looks.
        if not conn.closed:
            with (
                socket.socket(fileno=os.dup(conn.fileno())) as held,
                contextlib.suppress(OSError),
            ):  # it has ended by itself
                held.shutdown(socket.SHUT_RDWR)

    @property
    def _open(self) -> psycopg.Connection[Any]:
        if self._conn is None:
            raise LookupError("ask whether it opens before it is given anything")
        return self._conn
