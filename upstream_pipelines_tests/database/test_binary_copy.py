"""Binary COPY of arrow tables: PostgreSQL holds what the table held, whatever it was."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, LiteralString

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from psycopg import sql

from upstream_pipelines.claims.contract import COLUMNS
from upstream_pipelines.customers.store import create_customer
from upstream_pipelines.db.binary_copy import HEADER, TRAILER, binary_rows
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.ingest import line_writer
from upstream_pipelines.ingest.recognise import Source
from upstream_pipelines.ingest.staging import stage_waiting
from upstream_pipelines.ingest.uploads import get_upload, send_file
from upstream_pipelines.settings import Settings

# Arrow's type and PostgreSQL's, and what a column of them may hold.
_KINDS: dict[str, tuple[pa.DataType, str, st.SearchStrategy[object]]] = {
    "flag": (pa.bool_(), "boolean", st.booleans()),
    "place": (pa.int16(), "smallint", st.integers(-(2**15), 2**15 - 1)),
    "line": (pa.int32(), "integer", st.integers(-(2**31), 2**31 - 1)),
    "number": (pa.int64(), "bigint", st.integers(-(2**63), 2**63 - 1)),
    "day": (pa.date32(), "date", st.dates()),
    "name": (pa.string(), "text", st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)),
    "key": (pa.binary(16), "uuid", st.binary(min_size=16, max_size=16)),
    "amount": (pa.decimal128(14, 2), "numeric(14, 2)", st.decimals(-(10**12) + 1, 10**12 - 1, places=2)),
    "units": (pa.decimal128(12, 3), "numeric(12, 3)", st.decimals(-(10**9) + 1, 10**9 - 1, places=3)),
    "whole": (pa.decimal128(18, 0), "numeric(18, 0)", st.decimals(-(10**18) + 1, 10**18 - 1, places=0)),
    "part": (pa.decimal128(4, 4), "numeric(4, 4)", st.decimals(Decimal("-0.9999"), Decimal("0.9999"), places=4)),
}  # fmt: skip
_NAMES = {str(kind): name.replace(", ", ",") for kind, name, _ in _KINDS.values()}
_ROWS = st.lists(
    st.fixed_dictionaries({name: st.none() | values for name, (_, _, values) in _KINDS.items()}),
    min_size=1,
    max_size=12,
)


def _written(conn: Connection, table: pa.Table, columns: str, query: LiteralString) -> list[tuple[Any, ...]]:
    """What the query gives of a table `written` with these columns that holds the arrow table."""
    rows = binary_rows(table)
    into = sql.SQL("COPY written ({}) FROM STDIN (FORMAT binary)").format(
        sql.SQL(", ").join(map(sql.Identifier, rows.columns))
    )
    with conn.transaction(force_rollback=True):
        conn.execute(f"CREATE TEMP TABLE written ({columns})".encode())
        with conn.cursor() as cursor, cursor.copy(into) as copy:
            for part in (HEADER, memoryview(rows.content), TRAILER):
                copy.write(part)
        return conn.execute(query).fetchall()


@hypothesis_settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=_ROWS, full=st.sets(st.sampled_from(sorted(_KINDS))), skipped=st.integers(0, 3))
def test_what_is_written_is_what_was_held(
    pipeline: Connection, rows: list[dict[str, object]], full: set[str], skipped: int
) -> None:
    """With columns that hold no null, which are put together, and with tables that begin in the middle of their arrays."""
    filled = {name: next((row[name] for row in rows if row[name] is not None), None) for name in full}
    rows = [{**row, **{name: value for name, value in filled.items() if row[name] is None}} for row in rows]
    before = [rows[0]] * skipped
    table = pa.table({
        "n": pa.array(range(len(before) + len(rows)), pa.int64()),
        **{name: pa.array([row[name] for row in (*before, *rows)], kind) for name, (kind, _, _) in _KINDS.items()},
    }).slice(skipped)  # fmt: skip
    columns = ", ".join(["n bigint", *(f"{name} {kind}" for name, (_, kind, _) in _KINDS.items())])
    for row in rows:
        if isinstance(row["key"], bytes):
            row["key"] = uuid.UUID(bytes=row["key"])
    query = "SELECT flag, place, line, number, day, name, key, amount, units, whole, part FROM written ORDER BY n"
    assert _written(pipeline, table, columns, query) == [tuple(row[name] for name in _KINDS) for row in rows]


@pytest.mark.parametrize(
    "amount", ["0.00", "0.01", "-0.01", "1.00", "100.00", "9999.99", "10000.00", "999999999999.99"]
)
def test_an_amount_is_the_number_that_its_digits_make(pipeline: Connection, amount: str) -> None:
    """Not one that is equal and written otherwise: rows are compared by their text in exports and tests."""
    table = pa.table({"n": [1], "amount": pa.array([Decimal(amount)], pa.decimal128(14, 2))})
    query = "SELECT amount::text, numeric_send(amount) = numeric_send(amount::text::numeric(14, 2)) FROM written"
    assert _written(pipeline, table, "n bigint, amount numeric(14, 2)", query) == [(amount, True)]


@pytest.mark.parametrize("amount", ["1000000000000.00", "-1000000000000.00", "123456789012345678901234.56"])
def test_an_amount_of_more_digits_than_its_type_is_refused(amount: str) -> None:
    """Most likely wrong: arrow lets it be, and its first digits are lost."""
    wide = pa.array([None, Decimal(amount)], pa.decimal128(38, 2))
    column = pa.Array.from_buffers(pa.decimal128(14, 2), 2, wide.buffers())
    with pytest.raises(OverflowError, match="more digits than decimal128"):
        binary_rows(pa.table({"amount": column}))


def test_lines_and_rejections_are_of_the_types_of_their_tables(
    pipeline: Connection,
    settings: Settings,
    tmp_path: Path,
    remittance: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Most likely wrong: bytes of another type of the same length, which PostgreSQL takes for a value."""
    customer, _ = create_customer(pipeline, "acme", "Acme")
    written: dict[str, dict[str, str]] = {}
    copy = line_writer._copy

    def noted(conn: Connection, table: LiteralString, frame: pd.DataFrame) -> None:
        types = written.setdefault(table, {})
        types.update({str(name): _NAMES[str(dtype.pyarrow_dtype)] for name, dtype in frame.dtypes.items()})
        copy(conn, table, frame)

    monkeypatch.setattr(line_writer, "_copy", noted)
    (tmp_path / "lines.csv").write_text(
        "payer,cpt,submitted_date,outcome\nAetna,99213,2026-01-05,pending\n,99213,2026-01-05,paid\n"
    )
    (tmp_path / "paid.835").write_bytes(
        remittance("CLP*A1*1*100*80**12*ICN1~SVC*HC:99213*100*80~DTM*472*20260105~CAS*CO*45*20~")
    )
    sources: dict[str, Source] = {"lines.csv": "csv", "paid.835": "x12_835"}
    for name, source in sources.items():
        upload_id = send_file(pipeline, settings, customer, tmp_path / name)
        stage_waiting(pipeline, settings, customer, source=source, run_id="r")
        assert get_upload(pipeline, customer.customer_id, upload_id)["error_code"] is None
    assert set(written["landed_lines"]) >= {
        *COLUMNS,
        "payer_claim_number",
        "payer_position",
        "claim_ordinal",
        "submitted_stands_in",
    }
    for landed, table in (("landed_lines", "received_lines"), ("landed_rejections", "rejected_rows")):
        types = dict(pipeline.execute(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0", [table]
        ).fetchall())  # fmt: skip
        assert written[landed] == {name: types[name] for name in written[landed]}


@pytest.mark.parametrize(
    "kind", [pa.float64(), pa.timestamp("us"), pa.int8(), pa.decimal128(19, 2), pa.binary(8), pa.large_string()]
)
def test_a_type_that_is_not_known_is_refused(kind: pa.DataType) -> None:
    """Most likely wrong: bytes that PostgreSQL would take for another value."""
    with pytest.raises(TypeError, match="binary COPY is not written of"):
        binary_rows(pa.table({"column": pa.nulls(1, kind)}))
