"""/api/v1/customers/{slug}/drift: events with their evidence, accepting one as the new normal, labelled days.

Not here: looks and what they find (drift/), the models of the answers (drift_answers.py), claim lines (claims.py).
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from upstream_pipelines.api.authentication import CanManage, CanRead, CanWork
from upstream_pipelines.api.drift_answers import Accepted, EventDetail, EventsPage, accepted, event_detail
from upstream_pipelines.api.once import OnceRoute
from upstream_pipelines.api.parameters import TEXT, Name, Page, named
from upstream_pipelines.api.problems import documented
from upstream_pipelines.claims.listing import count_lines_of
from upstream_pipelines.customers.audit import record
from upstream_pipelines.customers.labels import days_to_label, label_days, unlabel_days
from upstream_pipelines.customers.store import get_customer, lock_to_configure
from upstream_pipelines.drift.event_pages import EventFilter, event_in_full, events_page, lines_of
from upstream_pipelines.drift.events import Direction
from upstream_pipelines.drift.settings import LabelledDays, Signal
from upstream_pipelines.drift.verdicts import accept_event
from upstream_pipelines.notes import TEXT_LENGTH

router = APIRouter(prefix="/api/v1/customers/{slug}/drift", tags=["drift"], route_class=OnceRoute)

Label = Annotated[str, Field(min_length=1, max_length=100, pattern=TEXT)]


class EventsQuery(Page):
    """Which events; what is not given does not narrow."""

    payer: Name | None = Field(default=None, description="Letter case does not count.")
    signal: Signal | None = None
    state: Literal["live", "open", "updated", "resolved"] | None = Field(
        default=None, description="`live` is open or updated."
    )
    direction: Direction | None = None
    since: date | None = Field(default=None, description="Opened on that day or later.")

    def filter(self) -> EventFilter:
        """The same, for the domain."""
        return EventFilter(**self.model_dump(include=set(EventFilter.__dataclass_fields__)))


class Acceptance(BaseModel):
    """Why the event is the new normal; nothing about a patient."""

    note: str = Field(default="", max_length=TEXT_LENGTH)


class DaysToLabel(BaseModel):
    """Days unlike others; without payers or signals of all of them. Both days count."""

    label: Label
    kind: Literal["incident", "calendar"] = "calendar"
    first_day: Annotated[date, Field(ge=date(1970, 1, 1))]
    last_day: Annotated[date, Field(le=date(2999, 12, 31))]
    payers: Annotated[list[Name], Field(min_length=1, max_length=100)] | None = None
    signals: Annotated[list[Signal], Field(min_length=1, max_length=6)] | None = None


@router.get("/events", summary="Drift events", responses=documented(401, 403, 404, 422, 429, 503))
def read_events(acting: CanRead, wanted: Annotated[EventsQuery, Query()]) -> EventsPage:
    """Those that live first, then by the day they opened, the newest first."""
    with acting.transaction() as conn:
        events, mark = events_page(
            conn, acting.customer_id, wanted.filter(), after=wanted.after, limit=wanted.limit
        )
    return EventsPage(events=events, next=mark)


@router.get("/events/{event_id}", summary="A drift event", responses=documented(401, 403, 404, 422, 429, 503))
def read_event(acting: CanRead, event_id: UUID) -> EventDetail:
    """In words and figures: what changed, on what evidence, where it comes from, what it costs, and each look at it."""
    with acting.transaction() as conn, named("drift event"):
        full = event_in_full(conn, acting.customer_id, event_id)
        lines = lines_of(full.event, full.row) if full.row is not None else None
        count = count_lines_of(conn, acting.customer_id, lines) if lines is not None else None
    return event_detail(full, lines, count)


@router.post(
    "/events/{event_id}/acceptance",
    summary="Accept as the new normal",
    responses=documented(400, 401, 403, 404, 408, 409, 413, 422, 429, 503),
)
def post_acceptance(acting: CanWork, event_id: UUID, body: Acceptance) -> Accepted:
    """The next look resolves the event, and the days before it leave the baseline. Sent again it changes nothing: the
    first word counts, and is the answer with `already`.
    """
    today = datetime.now(UTC).date()
    with acting.transaction() as conn, named("drift event"):
        said = accept_event(
            conn, acting.customer_id, str(event_id), accepted_on=today, accepted_by=acting.actor.name,
            note=body.note,
        )  # fmt: skip
        if not said.before:
            entity = ("drift_event", event_id)
            record(conn, acting.actor, "drift_event.accepted", entity, customer_id=acting.customer_id)
    return accepted(said)


@router.get("/labels", summary="Labelled days", responses=documented(401, 403, 404, 422, 429, 503))
def read_labels(acting: CanRead) -> list[LabelledDays]:
    """Days that people know to be unlike others: they belong to no baseline and no current period."""
    with acting.transaction() as conn:
        return list(get_customer(conn, acting.slug).configuration.drift.calendar)


@router.post(
    "/labels",
    status_code=201,
    summary="Label days",
    responses=documented(400, 401, 403, 404, 408, 409, 413, 422, 429, 503),
)
def post_label(acting: CanManage, body: DaysToLabel) -> list[LabelledDays]:
    """Returns all labelled days. The next look goes by them. A label that is there already is a 409."""
    with acting.transaction() as conn:
        made = days_to_label(body.model_dump())
        calendar = label_days(conn, lock_to_configure(conn, acting.slug), made)
        record(conn, acting.actor, "days.labelled", ("customer", acting.slug), customer_id=acting.customer_id,
               details={"labels": len(calendar)})  # fmt: skip
    return list(calendar)


@router.delete(
    "/labels", summary="Take labelled days back", responses=documented(401, 403, 404, 409, 422, 429, 503)
)
def delete_label(acting: CanManage, label: Annotated[Label, Query()]) -> list[LabelledDays]:
    """Returns the days that are still labelled. The next look goes by them."""
    with acting.transaction() as conn, named("label"):
        calendar = unlabel_days(conn, lock_to_configure(conn, acting.slug), label)
        record(conn, acting.actor, "days.labelled", ("customer", acting.slug), customer_id=acting.customer_id,
               details={"labels": len(calendar)})  # fmt: skip
    return list(calendar)
