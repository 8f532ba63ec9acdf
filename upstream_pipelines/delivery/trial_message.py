"""A message marked as a test, written into the outbox. Not here: sending it and waiting for what comes of it (trial.py).

Loads no sender: the API asks for a test, and the worker sends it.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from uuid import UUID, uuid4

from upstream_pipelines.customers.flags import require
from upstream_pipelines.customers.models import CustomerKey
from upstream_pipelines.db.engine import Connection, name_customer
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.errors import ConflictError, NotFoundError

QUERIES = load_queries(__package__)


@dataclass(frozen=True)
class AskedTest:
    """A test that is due now: its message and alert, its channel and of which kind that is, the customer's slug."""

    delivery_id: UUID
    alert_id: UUID
    channel_id: UUID
    kind: str
    slug: str


def ask_for_test(conn: Connection, customer_id: int, name: str) -> AskedTest:
    """Write a test of a channel; it is tried once, by whichever worker comes first, and within five minutes or not at all.

    Raises:
        NotFoundError: there is no such channel.
        ProductOffError: alerts are off for the customer.
        ConflictError: it is switched off; the message says why, and how to switch it on.
    """
    with conn.transaction():
        found = conn.execute(QUERIES.channel_to_test, {"customer_id": customer_id, "name": name}).fetchone()
        if found is None:
            raise NotFoundError(
                f"There is no channel {name}. `upstream customers configure` lists channels in a file."
            )
        channel_id, kind, enabled, reason, slug = found
        require(conn, CustomerKey(customer_id, slug), "alerts")
        asked = AskedTest(uuid4(), uuid4(), channel_id, kind, slug)
        key = {"channel_id": channel_id, "alert_id": asked.alert_id, "delivery_id": asked.delivery_id}
        name_customer(conn, customer_id)
        if not enabled or conn.execute(QUERIES.write_test, key).fetchone() != (True,):
            raise ConflictError(
                f"Channel {name} is switched off: {reason or 'by hand'}. Switch it on again "
                f"(`upstream alerts enable {slug} {shlex.quote(name)}`), then test it."
            )
    return asked
