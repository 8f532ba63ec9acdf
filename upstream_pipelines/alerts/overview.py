"""What people look up about a customer's alerts and about the outbox as a whole. Reads only; not here: tables of the UI
(defs/), what a single alert says (wording.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg.rows import class_row, dict_row

from upstream_pipelines.alerts.content import wording_of
from upstream_pipelines.alerts.outbox import QUERIES
from upstream_pipelines.alerts.store import list_alerts
from upstream_pipelines.db.engine import Connection

# A dead delivery that nobody resent in a week is history.
DEAD_FOR = timedelta(days=7)


@dataclass(frozen=True)
class ChannelState:
    """A channel as it is: why it is off (None where somebody switched it off), since when its receiver fails, when something
    last arrived.
    """

    channel_id: UUID
    name: str
    kind: str
    enabled: bool
    disabled_reason: str | None
    failing_since: datetime | None
    last_sent: datetime | None
    waiting: int
    dead: int

    @property
    def is_in_trouble(self) -> bool:
        """Switched off by its receiver, or messages to it were given up. One that a file no longer names, or that somebody
        switched off, is neither.
        """
        if self.enabled:
            return self.dead > 0
        return self.disabled_reason is not None and not self.disabled_reason.startswith("no longer in")


@dataclass(frozen=True)
class Overview:
    """A customer's newest alerts (as `list_alerts`, each with its headline) and its channels."""

    alerts: Sequence[Mapping[str, Any]]
    channels: Sequence[ChannelState]

    @property
    def told(self) -> list[Mapping[str, Any]]:
        """Those that went, or are to go, to somebody."""
        return [alert for alert in self.alerts if alert["state"] != "suppressed"]

    @property
    def held(self) -> list[Mapping[str, Any]]:
        """Those that were held back, each with its reason."""
        return [alert for alert in self.alerts if alert["state"] == "suppressed"]

    @property
    def dead(self) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
        """(alert, delivery) of messages that were given up."""
        return [
            (alert, delivery)
            for alert in self.alerts
            for delivery in alert["deliveries"]
            if delivery["state"] == "dead"
        ]


def overview(conn: Connection, customer_id: int, now: datetime, limit: int = 50) -> Overview:
    """A customer's alerts and channels for people."""
    alerts = [
        {**alert, "headline": wording_of(alert["content"]).headline}
        for alert in list_alerts(conn, customer_id, limit)
    ]
    return Overview(alerts, channel_states(conn, customer_id, now))


def channel_states(conn: Connection, customer_id: int, now: datetime) -> list[ChannelState]:
    """A customer's channels, by name, with no address and no secret of them; `dead` within the last week."""
    key = {"customer_id": customer_id, "since": now - DEAD_FOR}
    with conn.cursor(row_factory=class_row(ChannelState)) as cursor:
        return cursor.execute(QUERIES.channel_states, key).fetchall()


def attempts_since(conn: Connection, since: datetime, limit: int = 100) -> list[dict[str, Any]]:
    """Attempts that began since then, newest first: slug, channel, kind, started_at, outcome, status_code, latency_ms,
    detail, alerts (how many the message carries). Of all customers.
    """
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(QUERIES.attempts_since, {"since": since, "limit": limit}).fetchall()


def customers_told_since(conn: Connection, since: datetime, limit: int) -> list[tuple[int, str]]:
    """(customer_id, slug) of customers to whom something was tried since then."""
    return conn.execute(QUERIES.customers_told_since, {"since": since, "limit": limit}).fetchall()


@dataclass(frozen=True)
class OutboxHealth:
    """The outbox of all customers: `dead` deliveries of the last week that nobody resent and whose customers they are,
    channels that were `switched_off` by their receivers ("slug/channel"), those whose receivers are `failing` and since when,
    `due` deliveries and since when the oldest is.
    """

    dead: int
    dead_of: Sequence[str]
    switched_off: Sequence[str]
    failing: Sequence[tuple[str, datetime]]
    due: int
    oldest_due: datetime | None


def outbox_health(conn: Connection, now: datetime) -> OutboxHealth:
    """What `upstream doctor` asks."""
    key = {"now": now, "since": now - DEAD_FOR}
    dead, dead_of = conn.execute(QUERIES.dead_lately, key).fetchone() or (0, [])
    off = [row[0] for row in conn.execute(QUERIES.channels_off)]
    failing = [(row[0], row[1]) for row in conn.execute(QUERIES.channels_failing)]
    due, oldest = conn.execute(QUERIES.oldest_due, key).fetchone() or (0, None)
    return OutboxHealth(dead, dead_of, off, failing, due, oldest)
