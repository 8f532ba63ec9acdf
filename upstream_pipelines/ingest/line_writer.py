"""Writes judged blocks to received_lines and rejected_rows, each while the next one is judged.

PostgreSQL refuses COPY into a table with row-level security unless the role passes by it, and a role that may do that
cannot be made on most hosted servers. So COPY goes into a temporary table (not logged, not indexed) and INSERT ... SELECT
moves it on, block by block: a block of 30,000 lines stays in the session's own memory and never reaches a disk.
Not here: reading and judging (staging.py, claims/judge.py).
"""

from __future__ import annotations

import io
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import LiteralString, Self

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
from psycopg import sql

from upstream_pipelines.claims.judge import JudgedBlock
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.queries import load_queries

QUERIES = load_queries(__package__)


class LineWriter:
    """Takes the judged blocks of one upload; use it as a context, inside the transaction that reads the upload.

    The connection belongs to the writer's thread until the context ends: nothing else may use it meanwhile. Memory is
    bounded by two blocks, one being written and one being judged.
    constants: column → value, of the columns that are the same in every row: customer_id, upload_id and source; a rejected row
        has no source.
    """

    def __init__(self, conn: Connection, constants: dict[str, object]) -> None:
        self._conn = conn
        self._constants = constants
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lines")
        self._pending: Future[None] | None = None

    def __enter__(self) -> Self:
        self._conn.execute(QUERIES.make_landing_tables)
        rejections = {name: value for name, value in self._constants.items() if name != "source"}
        # As the columns' defaults they are neither written out nor parsed for each row.
        self._conn.execute(
            sql.SQL("; ").join(
                [_defaults("landed_lines", self._constants), _defaults("landed_rejections", rejections)]
            )
        )
        return self

    def write(self, block: JudgedBlock) -> None:
        """Begin to write a block, once the one before it is written; what went wrong with that one is raised here."""
        self._settle()
        self._pending = self._thread.submit(self._write, block)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True)
        if error is None:
            self._settle()
            self._conn.execute("DROP TABLE landed_lines, landed_rejections")
        elif self._pending is not None and (second := self._pending.exception()) is not None:
            # The class only: the message of a refused COPY quotes the row.
            error.add_note(f"The block before could not be written either: {type(second).__name__}.")

    def _settle(self) -> None:
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def _write(self, block: JudgedBlock) -> None:
        self._move(block.accepted, "landed_lines", QUERIES.keep_landed_lines)
        self._move(block.rejected, "landed_rejections", QUERIES.keep_landed_rejections)

    def _move(self, frame: pd.DataFrame, table: LiteralString, keep: LiteralString) -> None:
        if not frame.empty:
            _copy(self._conn, table, frame)
            self._conn.execute(keep)
            # Made in this transaction, so that nothing has to be kept of it: the file is cut to nothing at once.
            self._conn.execute(sql.SQL("TRUNCATE {}").format(sql.Identifier(table)))


def _defaults(table: str, values: dict[str, object]) -> sql.Composed:
    """Statement that gives columns of a table constants as their defaults."""
    changes = [
        sql.SQL("ALTER COLUMN {} SET DEFAULT {}").format(sql.Identifier(name), sql.Literal(value))
        for name, value in values.items()
    ]
    return sql.SQL("ALTER TABLE {} {}").format(sql.Identifier(table), sql.SQL(", ").join(changes))


def _copy(conn: Connection, table: str, frame: pd.DataFrame) -> None:
    """Write a whole frame to a table by COPY.

    pyarrow writes the CSV (whole columns, no Python object a cell); COPY reads an unquoted empty
    field as NULL and a quoted one as text, which is how pyarrow writes null and ''. Columns without a value are left out:
    half of the claim line's are of fields that the file has no column for.
    """
    content = pa.Table.from_pandas(frame, preserve_index=False)
    content = content.select([name for name in content.column_names if content[name].null_count < len(frame)])
    buffer = io.BytesIO()
    pacsv.write_csv(content, buffer, pacsv.WriteOptions(include_header=False))
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, content.column_names))
    )
    with conn.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(buffer.getbuffer())
