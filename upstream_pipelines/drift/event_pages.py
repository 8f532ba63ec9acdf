"""Pages of a customer's events, one event's looks, what people said of it, and the filter that shows its claim lines.

Reads only. Not here: the evidence of a look (explaining.py), accepting (verdicts.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Literal
from uuid import UUID

from psycopg.rows import class_row

from upstream_pipelines.claims.listing import ClaimFilter
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.marks import page_of, read_mark
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.drift.breakdown import periods_of
from upstream_pipelines.drift.events import Cause, Direction, State
from upstream_pipelines.drift.explaining import newest_row
from upstream_pipelines.drift.settings import Signal
from upstream_pipelines.drift.verdicts import KeptEvent, kept_event

QUERIES = load_queries(__package__)
# Of an event that is open for half a year, a look a day.
_LOOKS = 400
_OVER = ("live", "over")


@dataclass(frozen=True)
class EventFilter:
    """Which events; what is None does not narrow. State `live` is open or updated; opened on or after `since`."""

    payer: str | None = None
    signal: Signal | None = None
    state: Literal["live", "open", "updated", "resolved"] | None = None
    direction: Direction | None = None
    since: date | None = None


@dataclass(frozen=True)
class EventLook:
    """What one look found of an event; figures as in its row."""

    as_of: date
    state: State
    direction: Direction
    cause: Cause
    baseline: float | None
    current: float | None
    effect: float | None
    q_value: float | None
    severity: float | None
    n_baseline: int
    n_current: int
    maturity: float | None


@dataclass(frozen=True)
class Said:
    """That an event was accepted as the new normal, by whom and why."""

    accepted_on: date
    accepted_by: str
    note: str


@dataclass(frozen=True)
class EventInFull:
    """An event with its newest row that compares two periods, or None (it was closed for want of data, or the looks are
    not kept any more), its looks, the newest first, and what people said.
    """

    event: KeptEvent
    row: dict[str, Any] | None
    looks: list[EventLook]
    said: Said | None


def events_page(
    conn: Connection, customer_id: int, wanted: EventFilter, *, after: str | None = None, limit: int
) -> tuple[list[KeptEvent], str | None]:
    """Events, those that live first, then by the day they opened, the newest first; at most `limit`, and the mark from which
    the next page goes on, None at the end.

    Raises:
        InvalidInputError: `after` is no mark of an earlier page.
    """
    over, day, event_id = (
        read_mark(after, _OVER.index, date.fromisoformat, UUID) if after is not None else (-1, None, None)
    )
    values = {
        "customer_id": customer_id, **vars(wanted), "after_over": over, "after_day": day, "after_id": event_id,
        "limit": limit + 1,
    }  # fmt: skip
    with conn.cursor(row_factory=class_row(KeptEvent)) as cursor:
        rows = cursor.execute(QUERIES.select_events_page, values).fetchall()
    return page_of(rows, limit, lambda row: (_OVER[row.state == "resolved"], row.opened_on, row.event_id))


def event_in_full(conn: Connection, customer_id: int, event_id: UUID) -> EventInFull:
    """One event with all that is kept of it.

    Raises:
        NotFoundError: this customer has no such event.
    """
    event = kept_event(conn, customer_id, str(event_id))
    values = {"customer_id": customer_id, "event_id": event_id, "limit": _LOOKS}
    with conn.cursor(row_factory=class_row(EventLook)) as cursor:
        looks = cursor.execute(QUERIES.select_event_looks, values).fetchall()
    with conn.cursor(row_factory=class_row(Said)) as said:
        word = said.execute(QUERIES.select_acceptance, values).fetchone()
    return EventInFull(event, newest_row(conn, customer_id, event_id), looks, word)


def lines_of(event: KeptEvent, row: dict[str, Any]) -> ClaimFilter:
    """The filter of the customer's claims that shows the lines an event is about, as they are now.

    Denials, prices and decision lag: what was decided since the change (where it goes by submission: submitted since);
    volume and mix: what was submitted since.
    """
    periods = periods_of(row["detail"], 1)
    lines = ClaimFilter(payer=event.payer)
    if event.signal in {"denial_rate", "authorization_denials"}:
        lines = replace(lines, outcome="DENIED")
    if event.signal == "authorization_denials":
        lines = replace(lines, denial_code=("15", "197", "198"))
    if event.signal == "allowed_amount":
        lines = replace(lines, outcome="PAID")
    if periods.by == "submission" or event.signal in {"volume", "procedure_mix"}:
        return replace(lines, submitted_from=periods.since_first, submitted_to=periods.since_last)
    return replace(lines, decided_from=periods.since_first, decided_to=periods.since_last)
