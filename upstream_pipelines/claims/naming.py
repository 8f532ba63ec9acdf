"""Payer names and CPT groups of stored claims: given anew where a customer's aliases or groups were changed.

Belongs here: applying them, and who waits for a run that does. Not here: what an alias or a group may be (mapping.py), the names
of lines that come (merge.py), the sensor that asks for runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg.types.json import Jsonb

from upstream_pipelines.customers.models import Customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.queries import load_queries

QUERIES = load_queries(__package__)

# A run that fails is asked for again after 30 s, 60 s, 2 min and 4 min; by then an alert has told of it, and what is left is a
# matter for people. A new change, or the next upload, begins anew.
MOST_ASKS = 5


@dataclass(frozen=True)
class NewNames:
    """A customer for whom a run was asked for: the key of the request carries the change and the number of the request."""

    slug: str
    run_key: str


def apply_changed_mapping(conn: Connection, customer: Customer) -> int:
    """Give the stored claims the customer's aliases and groups when these changed since the last time.

    Returns: how many lines got another payer name or group.
    """
    wanted = customer.configuration.naming_sha256(), customer.names_wanted
    key = {"customer_id": customer.customer_id}
    changed = 0
    with conn.transaction():
        applied = conn.execute(QUERIES.select_applied_mapping, key).fetchone()
        if applied == wanted:
            return 0
        if applied is None or applied[0] != wanted[0]:
            ((changed,),) = conn.execute(QUERIES.apply_names, {**key, **names_of(customer)}).fetchall()
        conn.execute(QUERIES.set_applied_mapping, {**key, "sha256": wanted[0], "change": wanted[1]})
    return int(changed)


def names_applied(conn: Connection, customer: Customer) -> bool:
    """Whether the stored claims have the customer's present aliases and groups, as they do where there are none; else a run is
    asked for.
    """
    applied = conn.execute(QUERIES.select_applied_mapping, {"customer_id": customer.customer_id}).fetchone()
    # Without a digest no upload was ever merged.
    return applied is None or applied[0] in {None, customer.configuration.naming_sha256()}


def customers_with_new_names(conn: Connection, lock_class: int, limit: int) -> list[str]:
    """Slugs of active customers whose claims wait for changed names, at most `limit`: those for whom a run has to be asked for
    now. `lock_class`: of the lock that a run holds while it works on a customer's claims.
    """
    values = {"most_asks": MOST_ASKS, "lock_class": lock_class, "limit": limit}
    return [slug for (slug,) in conn.execute(QUERIES.customers_with_new_names, values).fetchall()]


def ask_for_new_names(conn: Connection, slugs: Sequence[str]) -> list[NewNames]:
    """Note that a run is asked for, for each of these customers."""
    rows = conn.execute(QUERIES.ask_for_new_names, {"slugs": list(slugs)}).fetchall()
    return [NewNames(slug, f"{change}:{asks}") for slug, change, asks in rows]


def names_of(customer: Customer) -> dict[str, Jsonb]:
    """A customer's aliases and groups as values of statements."""
    mapping = customer.configuration.mapping
    return {"aliases": Jsonb(dict(mapping.payer_aliases)), "groups": Jsonb(dict(mapping.groups()))}
