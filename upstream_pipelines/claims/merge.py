"""Merges received lines into claims: latest version wins, history kept, days to recount noted.

Not here: where the lines come from (ingest/), changed names of stored lines (naming.py), counting activity (drift/counting.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple
from uuid import UUID

from upstream_pipelines.claims.naming import names_of
from upstream_pipelines.claims.payer_names import FEWEST_LINES_OF_A_NAME, unnamed_payers
from upstream_pipelines.customers.models import Customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.db.second import SecondConnection

QUERIES = load_queries(__package__)

# Rows inserted by one statement; sorted by key they take 25 MB, so that 64 MB sort them in memory (4 MB do not).
ADDED_ROWS = 100_000
# The first is idle while it waits for the second; many servers end a session that is idle in its transaction.
_SESSION = "SET LOCAL work_mem = '64MB'; SET LOCAL idle_in_transaction_session_timeout = 0"
# New lines from which on the second connection pays: it is opened, and places and names them once more.
FEWEST_FOR_TWO = 50_000
_FIRST, _LAST = UUID(int=0), UUID(int=2**128 - 1)
ALL_KEYS = {"first_key": _FIRST, "last_key": _LAST}
_LOWER = {"first_key": _FIRST, "last_key": UUID(int=2**127 - 1)}
_UPPER = {"first_key": UUID(int=2**127), "last_key": _LAST}


@dataclass(frozen=True)
class Merged:
    """What a merge did, in lines; `duplicates` are lines that changed nothing."""

    status: str
    new: int
    updated: int
    duplicates: int


@dataclass(frozen=True)
class ClaimTotals:
    """A customer's claims: lines, undecided lines, payers, first and last submitted day."""

    lines: int
    undecided: int
    payers: int
    first_day: date | None
    last_day: date | None


def merge_upload(conn: Connection, second: SecondConnection, customer: Customer, upload_id: UUID) -> Merged:
    """Merge one staged upload and finish it, in one transaction, and with many new lines in the second's, too.

    Call it under the customer's lock, after `take_back_halves`: two merges of one customer must not pass each other. Commit the
    second as the last thing in the first's transaction.
    """
    key = {"customer_id": customer.customer_id, "upload_id": upload_id, **ALL_KEYS}
    with conn.transaction():
        conn.execute(_SESSION)
        told = conn.execute(QUERIES.how_to_merge, key).fetchone() or (True, True, True, 0, 0)
        may_repeat, may_be_unnatural, has_claims, expected, last = told
        upload = _Upload(customer, upload_id, last, may_be_unnatural, may_repeat)
        by_two = expected >= FEWEST_FOR_TWO
        other = _start_upper(conn, second, upload) if by_two and not has_claims and second.opens() else None
        stored = _settle(conn, key, upload)
        # As they were found: where one is missing, the counts of the upload do not add up, and it is not finished.
        lines = _one(conn.execute(QUERIES.count_lines).fetchone())
        updated = _change(conn, key) if stored else 0
        if by_two and other is None and lines - stored >= FEWEST_FOR_TWO and second.opens():
            other = _start_upper(conn, second, upload)
        new = 0
        if other is not None:
            new = _touch(conn, key, [_add(conn, upload.key | _LOWER, upload), other.result()])
        elif stored < lines:  # a file sent again in other bytes holds nothing else
            new = _touch(conn, key, [_add(conn, key, upload)])
        finished = conn.execute(
            QUERIES.finish_upload, {**key, "lines": lines, "new": new, "updated": updated}
        ).fetchone()
        conn.execute("DROP TABLE placed, named, settled")
    return Merged(_one(finished), new, updated, lines - new - updated)


def take_back_halves(conn: Connection, customer_id: int) -> None:
    """Delete what the second connection of a merge that died committed alone. Before anything is merged: an older upload would
    find these lines stored. Under the customer's lock.
    """
    conn.execute(QUERIES.take_back_halves, {"customer_id": customer_id})


@dataclass(frozen=True)
class _Upload:
    """What is merged: whose, which, its last row, whether some of its lines may have no natural key, and two may have one."""

    customer: Customer
    upload_id: UUID
    last: int
    may_be_unnatural: bool
    may_repeat: bool

    @property
    def key(self) -> dict[str, Any]:
        return {"customer_id": self.customer.customer_id, "upload_id": self.upload_id}


class _Added(NamedTuple):
    """Lines, and the days they were submitted and decided on."""

    lines: int
    submitted: set[date]
    decided: set[date]


def _settle(conn: Connection, key: dict[str, Any], upload: _Upload) -> int:
    """Make the tables `placed`, `named` and `settled`. Returns: how many of the lines are stored already."""
    _place(conn, key, upload.customer, may_be_unnatural=upload.may_be_unnatural)
    return conn.execute(QUERIES.settle_stored, key).rowcount


def _place(conn: Connection, key: dict[str, Any], customer: Customer, *, may_be_unnatural: bool) -> None:
    """Make the tables `placed` (keys of lines that are not their line_key) and `named` (names by spelling and code)."""
    placed = conn.execute(QUERIES.place_remittances, {**key, **names_of(customer)}).rowcount
    if may_be_unnatural and not placed:
        conn.execute(QUERIES.place_repeats, key)
    conn.execute(QUERIES.index_placed)
    with _in_hash_tables(conn):
        conn.execute(QUERIES.name_lines, {**key, **names_of(customer)})
    conn.execute("ANALYZE named")


def _change(conn: Connection, key: dict[str, Any]) -> int:
    """Write new versions of the stored lines that differ. Returns: how many."""
    conn.execute("ANALYZE settled")
    with _in_hash_tables(conn):
        conn.execute(QUERIES.make_incoming, key)
    conn.execute("ANALYZE incoming")
    conn.execute(QUERIES.keep_history)
    conn.execute(QUERIES.touch_days)
    updated = conn.execute(QUERIES.change_lines, key).rowcount
    conn.execute("DROP TABLE incoming")
    return updated


def _add(conn: Connection, key: dict[str, Any], upload: _Upload) -> _Added:
    """Insert the lines that are not settled."""
    new, submitted, decided = 0, set[date](), set[date]()
    with _in_hash_tables(conn):
        if upload.may_repeat:
            conn.execute(QUERIES.settle_replaced, key)
        conn.execute(QUERIES.index_settled)
        for after in range(0, upload.last, ADDED_ROWS):
            rows = {"after": after, "last": after + ADDED_ROWS}
            added, of_submitted, of_decided = conn.execute(QUERIES.add_lines, {**key, **rows}).fetchone() or (
                0,
                [],
                [],
            )
            new += added
            submitted.update(of_submitted)
            decided.update(of_decided)
    return _Added(new, submitted, decided)


def _start_upper(conn: Connection, second: SecondConnection, upload: _Upload) -> Future[_Added]:
    """Begin to add the lines of the upper half of the keys, so that rows of one key are told apart by one connection.

    Its transaction writes claims and nothing else, so that neither waits for a row of the other, and what it has committed when
    the process dies before the first has is known: lines of version 1 of an upload with this mark.
    """
    key = upload.key | _UPPER
    conn.execute("LOCK TABLE claims, uploads, received_lines IN ROW EXCLUSIVE MODE")
    second.at_once(QUERIES.note_two, upload.key)

    def add(other: Connection) -> _Added:
        other.execute(_SESSION)
        _settle(other, key, upload)
        return _add(other, key, upload)

    return second.start(add)


def _touch(conn: Connection, key: dict[str, Any], added: Sequence[_Added]) -> int:
    """Note the days to count again. Returns: how many lines were added."""
    days = {
        "submitted": sorted(set[date]().union(*(part.submitted for part in added))),
        "decided": sorted(set[date]().union(*(part.decided for part in added))),
    }
    conn.execute(QUERIES.touch_days_of_new, {**key, **days})
    return sum(part.lines for part in added)


@contextmanager
def _in_hash_tables(conn: Connection) -> Iterator[None]:
    """For joins and groups within one upload. The planner knows no line of a new upload and expects one: it would join a
    million lines with some thousand names in a nested loop, which takes hours, and sort them to group them.
    """
    conn.execute("SET LOCAL enable_nestloop = off; SET LOCAL enable_sort = off")
    yield
    conn.execute("SET LOCAL enable_nestloop TO DEFAULT; SET LOCAL enable_sort TO DEFAULT")


def claim_totals(conn: Connection, customer_id: int) -> ClaimTotals:
    """Counts of a customer's claims, for people."""
    return ClaimTotals(*(conn.execute(QUERIES.count_claims, {"customer_id": customer_id}).fetchone() or ()))


def payer_summary(conn: Connection, customer_id: int) -> list[tuple[Any, ...]]:
    """Rows of (payer, lines, paid, denied, pending, first and last submitted day), at most 50; payers of too few lines to be
    named are one row, the last.
    """
    rows = conn.execute(
        QUERIES.summarise_payers, {"customer_id": customer_id, "fewest": FEWEST_LINES_OF_A_NAME}
    ).fetchall()
    return [(name if name is not None else unnamed_payers(payers), *counts) for name, payers, *counts in rows]


def _one(row: tuple[Any, ...] | None) -> Any:
    if row is None:
        raise LookupError("the statement returns one row")
    return row[0]
