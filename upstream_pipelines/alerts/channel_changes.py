"""One channel of a customer looked at and changed by hand: a webhook added, any channel switched off.

Not here: all channels as a file lists them, switching on (store.py), secrets replaced (delivery/rotation.py), tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from upstream_pipelines.alerts.outbox import QUERIES
from upstream_pipelines.alerts.overview import ChannelState, channel_states
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.delivery.address_guard import host_of
from upstream_pipelines.delivery.channels import WebhookChannel, check_destination, new_secret
from upstream_pipelines.errors import ConfigurationError, ConflictError, InvalidInputError, NotFoundError
from upstream_pipelines.settings import Settings

# They are never deleted, and each is asked for at every alert.
MOST_CHANNELS = 100


@dataclass(frozen=True)
class ChannelInFull(ChannelState):
    """A channel with what its managers may know: `host` of a webhook's address, the end of its secret, and until when the
    secret before signs too.
    """

    created_at: datetime
    disabled_at: datetime | None
    host: str | None
    secret_last_four: str | None
    both_sign_until: datetime | None


def channel_in_full(
    conn: Connection, customer_id: int, channel_id: UUID, now: datetime | None = None
) -> ChannelInFull:
    """One channel by its id.

    Raises:
        NotFoundError: this customer has no such channel.
    """
    now = now or datetime.now(UTC)
    key = {"customer_id": customer_id, "channel_id": channel_id, "now": now}
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(QUERIES.channel_in_full, key).fetchone()
    if row is None:
        raise NotFoundError("This customer has no such channel.")
    url = row.pop("url")
    state = next(one for one in channel_states(conn, customer_id, now) if one.channel_id == channel_id)
    return ChannelInFull(**vars(state), host=host_of(url) if url is not None else None, **row)


def channel_named(conn: Connection, customer_id: int, name: str) -> UUID:
    """The id of a channel, by which the trail knows it: a name is free text, and the trail is for ever.

    Raises:
        NotFoundError: no channel of that name.
    """
    row = conn.execute(QUERIES.channel_named, {"customer_id": customer_id, "name": name}).fetchone()
    if row is None:
        raise NotFoundError(f"This customer has no channel {name}.")
    found: UUID = row[0]
    return found


def add_webhook(
    conn: Connection, customer_id: int, name: str, url: str, settings: Settings, *, now: datetime | None = None
) -> tuple[UUID, str]:
    """Add a webhook channel, on from now on; what was held back for want of a channel is decided over again.

    Returns: its id, and its signing secret, which is shown this once.

    Raises:
        InvalidInputError: the URL can never be sent to; the message says why, and repeats nothing of it.
        ConflictError: the name is taken, or there are too many channels.
    """
    now = now or datetime.now(UTC)
    channel = WebhookChannel(kind="webhook", name=name, url=url)
    try:
        check_destination(channel, settings, "url")
    except ConfigurationError as error:
        raise InvalidInputError(str(error)) from None
    secret = new_secret()
    key = {"customer_id": customer_id, "now": now}
    with conn.transaction():
        conn.execute(QUERIES.lock_customer, key)
        # Alerts before the channel, as a worker locks them.
        conn.execute(QUERIES.lock_waiting, key)
        made = conn.execute(
            QUERIES.add_webhook,
            {**key, "name": name, "configuration": Jsonb({"url": url}), "secret": secret, "most": MOST_CHANNELS},
        ).fetchone()
        if made is None:
            raise ConflictError(
                f"There is a channel of that name already, or there are {MOST_CHANNELS}. Channels stay, also those that are "
                "off: give another name, or switch one on again."
            )
        conn.execute(QUERIES.wake_held, key)
    return made[0], secret


def disable_channel(conn: Connection, customer_id: int, channel_id: UUID, now: datetime | None = None) -> bool:
    """Send nothing more there until it is switched on again. What is due there is given up, what comes is held back where no
    other channel is on. Returns: whether it was on.
    """
    key = {"customer_id": customer_id, "channel_id": channel_id, "now": now or datetime.now(UTC)}
    with conn.transaction():
        # Who decides meanwhile saw it on; their messages are there before it is off.
        conn.execute(QUERIES.lock_customer, key)
        return conn.execute(QUERIES.switch_off_channel, key).rowcount > 0


def wake_waiting(conn: Connection, customer_id: int, now: datetime | None = None) -> None:
    """Decide over again what waits for a channel, or for alerts to be switched on. The customer is locked."""
    key = {"customer_id": customer_id, "now": now or datetime.now(UTC)}
    conn.execute(QUERIES.lock_waiting, key)
    conn.execute(QUERIES.wake_held, key)
