"""Sending again what was given up: one delivery by its id, or all of a channel. Not here: the retries themselves (delivery/),
the end that follows what arrives (outbox.py).
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from upstream_pipelines.alerts.outbox import QUERIES
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.ids import id_pattern, the_one
from upstream_pipelines.errors import ConflictError, NotFoundError


@dataclass(frozen=True)
class Resent:
    """Of a channel's dead deliveries how many are `due` now, how many ends of events are `following` what is, and how many
    died too long ago and were `left`; of those that waited for their next try how many are `hurried`, which is now.
    """

    due: int
    following: int
    left: int
    hurried: int = 0


def resend(conn: Connection, customer_id: int, delivery: str, now: datetime | None = None) -> uuid.UUID:
    """Start a dead delivery's retry schedule again, by its id or the beginning of it; one that waits for its next try is due now.
    Returns: its id.

    Raises:
        NotFoundError: no such delivery of this customer.
        ConflictError: more than one begins so, it has arrived or is not tried yet, or its channel is disabled.
    """
    now = now or datetime.now(UTC)
    with conn.transaction():
        # Before the alerts: who tells an end meanwhile decides by what this changes.
        conn.execute(QUERIES.lock_customer, {"customer_id": customer_id})
        found = conn.execute(
            QUERIES.deliveries_beginning, {"customer_id": customer_id, "begins": id_pattern(delivery)}
        ).fetchall()
        delivery_id: uuid.UUID
        delivery_id, state, enabled, channel = the_one(found, "delivery", delivery, "upstream alerts list SLUG")
        if not enabled:
            raise ConflictError(f"Channel {channel} is disabled. Put it right and enable it, then resend.")
        if state == "retrying":
            conn.execute(QUERIES.try_now, {"customer_id": customer_id, "delivery_id": delivery_id, "now": now})
        elif _resend(conn, customer_id, [delivery_id], now) == 0:
            raise ConflictError(
                f"This delivery is {state}; only one that is dead or waits for its next try is sent again."
            )
    return delivery_id


def resend_all(
    conn: Connection, customer_id: int, channel: str, since: datetime | None, now: datetime | None = None
) -> Resent:
    """The same for all of a channel's deliveries that died since then, or ever, and for those that wait for their next try; the
    oldest first, and ends of events after what was told of them.

    Raises:
        NotFoundError: no channel of that name.
        ConflictError: it is disabled.
    """
    now = now or datetime.now(UTC)
    with conn.transaction():
        conn.execute(QUERIES.lock_customer, {"customer_id": customer_id})
        key = {"customer_id": customer_id, "name": channel, "since": since}
        found = conn.execute(QUERIES.channel_enabled, key).fetchone()
        if found is None:
            raise NotFoundError(f"This customer has no channel {channel}.")
        if not found[0]:
            raise ConflictError(f"Channel {channel} is disabled. Put it right and enable it, then resend.")
        dead = conn.execute(QUERIES.dead_of_channel, key).fetchall()
        due = [delivery_id for delivery_id, again, follows in dead if again and not follows]
        following = [delivery_id for delivery_id, again, follows in dead if again and follows]
        hurried = conn.execute(QUERIES.try_channel_now, {**key, "now": now}).rowcount
        conn.execute(QUERIES.follow_again, {"customer_id": customer_id, "delivery_ids": following})
        return Resent(
            due=_resend(conn, customer_id, due, now),
            following=len(following),
            left=len(dead) - len(due) - len(following),
            hurried=hurried,
        )


def _resend(conn: Connection, customer_id: int, delivery_ids: Sequence[uuid.UUID], now: datetime) -> int:
    those = {"customer_ids": [customer_id] * len(delivery_ids), "delivery_ids": list(delivery_ids)}
    conn.execute(QUERIES.lock_alerts, those)
    key = {"customer_id": customer_id, "delivery_ids": list(delivery_ids), "now": now}
    resent = conn.execute(QUERIES.resend_delivery, key).rowcount
    conn.execute(QUERIES.settle_alerts, those)
    return resent
