"""Writes judged blocks to received_lines and rejected_rows by two connections, while the next one is judged.

PostgreSQL refuses COPY into a table with row-level security unless the role passes by it, and a role that may do that
cannot be made on most hosted servers. So COPY goes into a temporary table (not logged, not indexed) and INSERT ... SELECT
moves it on, block by block.
Not here: reading and judging (staging.py, claims/judge.py).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import LiteralString, Self

import pandas as pd
import pyarrow as pa
from psycopg import sql

from upstream_pipelines.claims.judge import JudgedBlock
from upstream_pipelines.db.binary_copy import HEADER, TRAILER, binary_rows
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.db.second import SecondConnection

QUERIES = load_queries(__package__)


class LineWriter:
    """Takes the judged blocks of one upload; use it as a context, inside the transactions that read the upload.

    A block that comes while the one before is still being written goes to the second connection. Both belong to the writer
    until the context ends: nothing else may use them meanwhile. Memory is bounded by three blocks, two being written and one
    being judged.
    constants: column → value, of the columns that are the same in every row: customer_id, upload_id and source; a rejected row
        has no source.
    """

    def __init__(self, conn: Connection, second: SecondConnection, constants: dict[str, object]) -> None:
        self._conn = conn
        self._constants = constants
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lines")
        self._first = _Lane(lambda work: self._thread.submit(work, conn))
        self._lanes = [self._first]
        self._second = second

    def __enter__(self) -> Self:
        # See db/second.py. At the end the first may wait for a block of the second's.
        self._conn.execute(
            "LOCK TABLE received_lines, rejected_rows IN ROW EXCLUSIVE MODE; "
            "SET LOCAL idle_in_transaction_session_timeout = 0"
        )
        return self

    def write(self, block: JudgedBlock) -> None:
        """Begin to write a block, once a connection is free; what went wrong with one before is raised here."""
        while (lane := next((lane for lane in self._lanes if lane.free()), None)) is None:
            if len(self._lanes) == 1 and self._second.opens():
                self._lanes.append(_Lane(self._second.start))
            else:
                wait([lane.pending for lane in self._lanes if lane.pending], return_when=FIRST_COMPLETED)
        lane.pending = lane.start(partial(self._write, lane, block))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pending = [lane.pending for lane in self._lanes if lane.pending]
        wait(pending)
        self._thread.shutdown(wait=True)
        if error is None:
            for one in pending:
                one.result()
            if self._first.has_tables:
                self._conn.execute("DROP TABLE landed_lines, landed_rejections")
        else:
            for another in (one.exception() for one in pending):
                if another is not None:
                    # The class only: the message of a refused COPY quotes the row.
                    error.add_note(f"A block before could not be written either: {type(another).__name__}.")

    def _write(self, lane: _Lane, block: JudgedBlock, conn: Connection) -> None:
        if not lane.has_tables:
            self._make_tables(conn)
            lane.has_tables = True
        _move(conn, block.accepted, "landed_lines", QUERIES.keep_landed_lines)
        _move(conn, block.rejected, "landed_rejections", QUERIES.keep_landed_rejections)

    def _make_tables(self, conn: Connection) -> None:
        conn.execute(QUERIES.make_landing_tables)
        rejections = {name: value for name, value in self._constants.items() if name != "source"}
        # As the columns' defaults they are neither written out nor parsed for each row.
        conn.execute(
            sql.SQL("; ").join(
                [_defaults("landed_lines", self._constants), _defaults("landed_rejections", rejections)]
            )
        )


@dataclass
class _Lane:
    """A connection's thread, the block that is being written there, and whether the tables for COPY are made."""

    start: Callable[[Callable[[Connection], None]], Future[None]]
    pending: Future[None] | None = None
    has_tables: bool = False

    def free(self) -> bool:
        """Whether it can be given a block. Raises what went wrong with its last one."""
        if self.pending is not None and self.pending.done():
            pending, self.pending = self.pending, None
            pending.result()
        return self.pending is None


def _move(conn: Connection, frame: pd.DataFrame, table: LiteralString, keep: LiteralString) -> None:
    if not frame.empty:
        _copy(conn, table, frame)
        conn.execute(keep)
        # Made in this transaction, so that nothing has to be kept of it: the file is cut to nothing at once.
        conn.execute(sql.SQL("TRUNCATE {}").format(sql.Identifier(table)))


def _defaults(table: str, values: dict[str, object]) -> sql.Composed:
    """Statement that gives columns of a table constants as their defaults."""
    changes = [
        sql.SQL("ALTER COLUMN {} SET DEFAULT {}").format(sql.Identifier(name), sql.Literal(value))
        for name, value in values.items()
    ]
    return sql.SQL("ALTER TABLE {} {}").format(sql.Identifier(table), sql.SQL(", ").join(changes))


def _copy(conn: Connection, table: str, frame: pd.DataFrame) -> None:
    """Write a whole frame to a table by binary COPY: whole columns, no Python object a cell. Columns without a value are left out:
    half of the claim line's are of fields that the file has no column for.
    """
    content = pa.Table.from_pandas(frame, preserve_index=False)
    rows = binary_rows(
        content.select([name for name in content.column_names if content[name].null_count < len(frame)])
    )
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, rows.columns))
    )
    with conn.cursor() as cursor, cursor.copy(statement) as copy:
        for part in (HEADER, memoryview(rows.content), TRAILER):
            copy.write(part)
