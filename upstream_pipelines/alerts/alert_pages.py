"""Pages of a customer's alerts, and one with all that was tried to tell it. Reads only; not here: lists for commands and the
UI (store.py, overview.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from psycopg.rows import class_row

from upstream_pipelines.alerts.content import wording_of
from upstream_pipelines.alerts.feedback import Judgement
from upstream_pipelines.alerts.outbox import QUERIES
from upstream_pipelines.alerts.rules import Kind
from upstream_pipelines.alerts.store import AlertState
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.marks import page_of, read_mark
from upstream_pipelines.errors import NotFoundError

AlertKind = Kind | Literal["test"]


@dataclass(frozen=True)
class AlertFilter:
    """Which alerts; what is None does not narrow. Written at `since` or later."""

    state: AlertState | None = None
    kind: AlertKind | None = None
    since: datetime | None = None


@dataclass(frozen=True)
class KeptAlert:
    """An alert without its deliveries: `content` as it is kept, without its chart; `judgement` the newest, if any."""

    alert_id: UUID
    rule: str | None
    kind: AlertKind
    notice: str
    state: AlertState
    reason: str | None
    held_by: str | None
    held_until: datetime | None
    severity: float | None
    created_at: datetime
    told_at: datetime | None
    over_at: datetime | None
    content: dict[str, Any]
    judgement: Judgement | None

    @property
    def headline(self) -> str:
        """What it says, in one line."""
        return wording_of(self.content).headline


def alerts_page(
    conn: Connection, customer_id: int, wanted: AlertFilter, *, after: str | None = None, limit: int
) -> tuple[list[KeptAlert], str | None]:
    """Alerts, told and held back, the newest first, at most `limit`, and the mark from which the next page goes on, None at
    the end.

    Raises:
        InvalidInputError: `after` is no mark of an earlier page.
    """
    at, alert_id = read_mark(after, datetime.fromisoformat, UUID) if after is not None else (None, None)
    values = {
        "customer_id": customer_id, **vars(wanted), "after_at": at, "after_id": alert_id, "limit": limit + 1,
    }  # fmt: skip
    with conn.cursor(row_factory=class_row(KeptAlert)) as cursor:
        rows = cursor.execute(QUERIES.select_alerts_page, values).fetchall()
    return page_of(rows, limit, lambda row: (row.created_at, row.alert_id))


def alert_in_full(conn: Connection, customer_id: int, alert_id: UUID) -> dict[str, Any]:
    """One alert in the form of `list_alerts`: with its judgements, deliveries and their attempts.

    Raises:
        NotFoundError: this customer has no such alert.
    """
    key = {"customer_id": customer_id, "limit": 1, "state": None, "subject_ids": None, "alert_id": alert_id}
    row = conn.execute(QUERIES.list_alerts, key).fetchone()
    if row is None:
        raise NotFoundError(
            f"There is no alert {alert_id}. `upstream alerts list SLUG` shows a customer's alerts."
        )
    found: dict[str, Any] = row[0]
    return found
