"""The platform's operator switches parts of the product off and on for a customer. Not here: reading the flags (flags.py)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from psycopg.types.json import Jsonb

from upstream_pipelines.alerts.channel_changes import wake_waiting
from upstream_pipelines.customers.audit import Actor, api_operator, full_details
from upstream_pipelines.customers.flags import FLAGS, Flag, ProductFlags, flags_of, product_flags
from upstream_pipelines.customers.models import CustomerKey
from upstream_pipelines.db.engine import Connection, name_customer
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.errors import ConflictError

QUERIES = load_queries(__package__)


def replace_flags(
    conn: Connection,
    actor: Actor,
    customer: CustomerKey,
    wanted: Mapping[Flag, bool],
    revision: str | None = None,
    *,
    now: datetime | None = None,
) -> ProductFlags:
    """Make a customer's flags those; what is not among them stays. Written into the trail where any changes. `actor` is an
    operator: at the command line, as upstream_pipeline, or over HTTP, as upstream_api in the customer's transaction.

    Alerts that were held back are decided over again when alerts are switched on.

    Raises:
        ConflictError: they are not at `revision`: somebody changed them since they were read.
        NotFoundError: there is no such customer.
    """
    with conn.transaction():
        # Who decides over an alert meanwhile has the customer too: what they hold back is there to be woken.
        conn.execute(QUERIES.lock_customer, {"slug": customer.slug})
        present = product_flags(conn, customer.customer_id)
        if revision is not None and revision != present.revision:
            raise ConflictError(
                "The flags were changed since that revision was read. Read them again, and send the change anew."
            )
        on = {**present.on, **wanted}
        changed = [flag for flag in FLAGS if on[flag] != present.on[flag]]
        if not changed:
            return present
        off = [flag for flag in FLAGS if not on[flag]]
        told = {
            "on": [str(flag) for flag in changed if on[flag]],
            "off": [str(flag) for flag in changed if not on[flag]],
        }
        name_customer(conn, customer.customer_id)
        if actor == api_operator(actor.request_id):
            conn.execute(QUERIES.set_product_flags_over_api, {"off": off, "request_id": actor.request_id})
        else:
            conn.execute(
                QUERIES.set_product_flags,
                {
                    "off": off, "actor_id": actor.id, "actor_name": actor.name, "request_id": actor.request_id,
                    "details": Jsonb(full_details(actor, told)),
                },
            )  # fmt: skip
        if "alerts" in changed and on["alerts"]:
            wake_waiting(conn, customer.customer_id, now)
    return flags_of([str(flag) for flag in off])
