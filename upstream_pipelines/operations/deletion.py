"""Takes a disabled customer away: its rows in every table, its files, itself. Not here: Dagster's part (defs/forgetting.py).

Which tables those are, and in which order, the database's catalogue says: a table of a later release is not forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import TopologicalSorter

import psycopg
from psycopg import sql

from upstream_pipelines.customers.audit import Actor, record
from upstream_pipelines.customers.models import Customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.errors import ConflictError
from upstream_pipelines.ingest.landing import delete_folder
from upstream_pipelines.ingest.uploads import customer_lock, is_locked
from upstream_pipelines.settings import Settings

QUERIES = load_queries(__package__)

# Rows of a transaction: a tenth of a second, so that nothing waits for one, and one that is killed has lost no more.
BATCH_ROWS = 10_000
# Rows looked up at once. Each look-up walks over the index entries of what was deleted before it: with one a batch, a
# hundred million lines would take ten thousand such walks, so they take a hundred.
_CHUNK_ROWS = 1_000_000
# What outlives a customer, and why. Nobody has the right to delete from it either.
STAYS: Mapping[str, str] = {"audit_log": "who did what to the customer, its deletion among it; no word of a claim"}
# A delivery or a request that had begun may write once more after a table was emptied.
_ROUNDS = 3


def empty_customer(conn: Connection, actor: Actor, settings: Settings, customer: Customer) -> dict[str, int]:
    """Delete a disabled customer's rows and files, all but the row of the customer itself. Killed, it is simply called again.

    Returns: how many rows of which table were deleted, and `files`.

    Raises:
        ConflictError: it is not disabled, or a run is at work on it.
    """
    if customer.status != "disabled":
        raise ConflictError(
            f"Customer {customer.slug} is active. `upstream customers disable {customer.slug}` stops what works on it; "
            "then delete it."
        )
    if is_locked(conn, customer.customer_id):
        raise ConflictError(
            f"A run is at work on customer {customer.slug}. Wait for its end, or end it in the Dagster UI."
        )
    deleted: dict[str, int] = {}
    with customer_lock(conn, customer.customer_id):
        # Before the first row goes: who kills the deletion in the middle has deleted all the same.
        record(
            conn, actor, "customer.deletion_begun", ("customer", customer.slug), customer_id=customer.customer_id
        )
        deleted["files"] = delete_folder(settings, customer.slug)
        for left in reversed(range(_ROUNDS)):
            try:
                # While it can be told who they are.
                people = conn.execute(QUERIES.delete_people_of_nobody_else, {"customer_id": customer.customer_id})
                deleted["people"] = deleted.get("people", 0) + people.rowcount
                for table, count in delete_rows(conn, customer.customer_id).items():
                    deleted[table] = deleted.get(table, 0) + count
                break
            except psycopg.errors.ForeignKeyViolation:
                if not left:
                    raise ConflictError(
                        f"Something still writes for customer {customer.slug}. What was deleted stays so; delete it again."
                    ) from None
        # A file that was on its way when the first were deleted.
        deleted["files"] += delete_folder(settings, customer.slug)
    return deleted


def delete_customer(conn: Connection, customer: Customer) -> None:
    """Delete the row of an emptied customer: from then on there is nobody of that name.

    Raises:
        ConflictError: it was enabled meanwhile, or something was written for it.
    """
    try:
        gone = conn.execute(QUERIES.delete_disabled_customer, {"customer_id": customer.customer_id}).rowcount
    except psycopg.errors.ForeignKeyViolation:
        gone = 0
    if not gone:
        raise ConflictError(
            f"Customer {customer.slug} was enabled, or something was written for it, while it was deleted. Disable it and "
            "delete it again."
        )


def delete_rows(conn: Connection, customer_id: int) -> dict[str, int]:
    """Delete a customer's rows in every table but `customers`, in transactions of `BATCH_ROWS`. Returns: rows by table."""
    rows = {name: (parents, itself) for name, parents, itself in conn.execute(QUERIES.tenant_tables).fetchall()}
    # What refers goes before what it refers to.
    order: TopologicalSorter[str] = TopologicalSorter({name: [] for name in rows})
    for name, (parents, _) in rows.items():
        for parent in rows.keys() & parents:
            order.add(parent, name)
    return {
        name: _empty(conn, name, customer_id, rows[name][1])
        for name in order.static_order()
        if name != "customers" and name not in STAYS
    }


def _empty(conn: Connection, table: str, customer_id: int, refers_to_itself_by: str | None) -> int:
    found = sql.SQL("SELECT ctid::text FROM {} WHERE customer_id = {}{} LIMIT {}").format(
        sql.Identifier(table),
        sql.Literal(customer_id),
        # Rows that refer to another of the same table go before it.
        sql.SQL(" ORDER BY {} IS NULL").format(sql.Identifier(refers_to_itself_by))
        if refers_to_itself_by
        else sql.SQL(""),
        sql.Literal(_CHUNK_ROWS),
    )
    # The place of a deleted row may have been given to another customer's: hence its customer again.
    delete = sql.SQL("DELETE FROM {} WHERE ctid = ANY (%s::tid[]) AND customer_id = %s").format(
        sql.Identifier(table)
    )
    deleted = 0
    while True:
        seen = 0
        with conn.cursor("rows_to_delete", withhold=True) as cursor:
            cursor.execute(found)
            while places := [row[0] for row in cursor.fetchmany(BATCH_ROWS)]:
                seen += len(places)
                deleted += conn.execute(delete, (places, customer_id)).rowcount
        if seen < _CHUNK_ROWS:
            return deleted
