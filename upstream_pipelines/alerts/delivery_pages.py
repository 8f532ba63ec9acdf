"""Pages of a customer's messages, each with the alerts in it and each try. Reads only; not here: sending, sending again
(resending.py), the alerts themselves (alert_pages.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from psycopg.rows import class_row

from upstream_pipelines.alerts.outbox import QUERIES
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.marks import page_of, read_mark

DeliveryState = Literal["pending", "sending", "retrying", "sent", "dead", "suppressed"]


@dataclass(frozen=True)
class DeliveryFilter:
    """Which messages; what is None does not narrow. Written at `since` or later."""

    state: DeliveryState | None = None
    channel_id: UUID | None = None
    alert_id: UUID | None = None
    since: datetime | None = None


@dataclass(frozen=True)
class KeptDelivery:
    """A message to one channel, with no address of it: `alert_ids` of the alerts in it, `attempts` in the form of
    `alert_pages.alert_in_full`.
    """

    delivery_id: UUID
    channel_id: UUID
    channel: str
    channel_kind: str
    state: DeliveryState
    created_at: datetime
    due_at: datetime
    finished_at: datetime | None
    alert_ids: list[UUID]
    attempts: list[dict[str, Any]]


def deliveries_page(
    conn: Connection, customer_id: int, wanted: DeliveryFilter, *, after: str | None = None, limit: int
) -> tuple[list[KeptDelivery], str | None]:
    """Messages, the newest first, at most `limit`, and the mark from which the next page goes on, None at the end.

    Raises:
        InvalidInputError: `after` is no mark of an earlier page.
    """
    at, delivery_id = read_mark(after, datetime.fromisoformat, UUID) if after is not None else (None, None)
    values = {
        "customer_id": customer_id, **vars(wanted), "after_at": at, "after_id": delivery_id, "limit": limit + 1,
    }  # fmt: skip
    with conn.cursor(row_factory=class_row(KeptDelivery)) as cursor:
        rows = cursor.execute(QUERIES.select_deliveries_page, values).fetchall()
    return page_of(rows, limit, lambda row: (row.created_at, row.delivery_id))
