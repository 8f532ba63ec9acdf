"""What people say of an event: that it is the new normal.

Not here: labelled days, which are part of a customer's settings (drift/settings.py), and what a look makes of an
acceptance (detector.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from psycopg.rows import class_row

from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.drift.events import Cause, Direction, Ending, State
from upstream_pipelines.drift.settings import Signal
from upstream_pipelines.errors import ConflictError, NotFoundError
from upstream_pipelines.notes import checked_note

QUERIES = load_queries(__package__)


@dataclass(frozen=True)
class KeptEvent:
    """An event as it stands now, without its memory; `reason` of its end, `accepted_on` if people said it is normal."""

    event_id: UUID
    payer: str
    cpt_group: str
    signal: Signal
    direction: Direction
    state: State
    cause: Cause
    started_on: date
    opened_on: date
    last_look: date
    resolved_on: date | None
    reason: Ending | None
    accepted_on: date | None


@dataclass(frozen=True)
class Acceptance:
    """People's word on an event, the first one said: `before` if it had been said already.

    `first_look`: the first day whose look resolves the event.
    """

    event: KeptEvent
    accepted_on: date
    accepted_by: str
    note: str
    before: bool

    @property
    def first_look(self) -> date:
        """A look made again does not know the events that it opens itself: those are resolved a day later."""
        return max(self.accepted_on, self.event.last_look, self.event.opened_on + timedelta(days=1))


def kept_event(conn: Connection, customer_id: int, begins: str) -> KeptEvent:
    """The event whose id begins so, as it stands after the last look.

    Raises:
        NotFoundError: this customer has no such event.
        ConflictError: more than one begins so.
    """
    pattern = "".join(letter for letter in begins.casefold() if letter in "0123456789abcdef-") + "%"
    values = {"customer_id": customer_id, "begins": pattern}
    with conn.cursor(row_factory=class_row(KeptEvent)) as cursor:
        events = cursor.execute(QUERIES.select_kept_event, values).fetchall()
    if not events or len(pattern) != len(begins) + 1:
        raise NotFoundError(f"There is no event {begins!r}. `upstream drift list SLUG` shows a customer's events.")
    if len(events) > 1:
        raise ConflictError(f"More than one event begins with {begins}. Give more of its id.")
    return events[0]


def accept_event(
    conn: Connection, customer_id: int, begins: str, *, accepted_on: date, accepted_by: str, note: str = ""
) -> Acceptance:
    """Call an event the new normal from `accepted_on` on: the next look at or after that day resolves it, of an event
    that opened on that day the look of the day after.

    The days before the event then leave the baseline. The first word counts: said again, it is returned and nothing
    changes.

    Raises:
        NotFoundError: this customer has no such event.
        ConflictError: more than one id begins so, or the event is over.
        InvalidInputError: the note is too long, or may be about a patient.
    """
    note = checked_note(note, "note")
    with conn.transaction():
        event = kept_event(conn, customer_id, begins)
        if event.state == "resolved":
            raise ConflictError(f"This event was resolved on {event.resolved_on}; it keeps nothing open any more.")
        values: dict[str, Any] = {
            "customer_id": customer_id, "event_id": event.event_id, "accepted_on": accepted_on,
            "accepted_by": accepted_by, "note": note,
        }  # fmt: skip
        found = conn.execute(QUERIES.insert_acceptance, values).fetchone()
    if found is None:
        raise ConflictError("This event was accepted by someone else just now. Look at the list again.")
    return Acceptance(event, *found)


def unknown_payers(conn: Connection, customer_id: int, names: Sequence[str]) -> list[str]:
    """Those of the names under which this customer has no claims; letter case does not count."""
    values = {"customer_id": customer_id, "names": [name.lower() for name in names]}
    known = {row[0] for row in conn.execute(QUERIES.select_payers, values)}
    return [name for name in names if name.lower() not in known]


def list_events(conn: Connection, customer_id: int) -> list[KeptEvent]:
    """The customer's events: those that live first, then by the day they opened, the newest first."""
    with conn.cursor(row_factory=class_row(KeptEvent)) as cursor:
        return cursor.execute(QUERIES.select_events, {"customer_id": customer_id}).fetchall()
