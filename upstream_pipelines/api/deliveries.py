"""/api/v1/customers/{slug}/deliveries: messages to channels and how each was tried, and sending a dead one again.

Not here: what was told in them (alerts.py), sending (delivery/).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from upstream_pipelines.alerts.delivery_pages import DeliveryFilter, DeliveryState, deliveries_page
from upstream_pipelines.alerts.resending import resend
from upstream_pipelines.api.authentication import CanManage, CanRead
from upstream_pipelines.api.once import OnceRoute
from upstream_pipelines.api.parameters import Page, named
from upstream_pipelines.api.problems import documented
from upstream_pipelines.customers.audit import record

router = APIRouter(prefix="/api/v1/customers/{slug}", tags=["alerts"], route_class=OnceRoute)


class DeliveriesQuery(Page):
    """Which messages; what is not given does not narrow."""

    state: DeliveryState | None = Field(default=None, description="`dead`: given up.")
    channel_id: UUID | None = None
    alert_id: UUID | None = Field(default=None, description="Messages that this alert is in.")
    since: datetime | None = Field(default=None, description="Written then or later; without a zone, UTC.")

    def filter(self) -> DeliveryFilter:
        """The same, for the domain."""
        return DeliveryFilter(**self.model_dump(include=set(DeliveryFilter.__dataclass_fields__)))


class Attempt(BaseModel):
    """One try of a message; `answer` is the beginning of what the receiver said."""

    attempt: int
    started_at: datetime
    finished_at: datetime | None
    outcome: str | None
    status_code: int | None
    latency_ms: int | None
    detail: str | None
    answer: str | None


class DeliveryView(BaseModel):
    """A message to one channel; several alerts may stand in one."""

    delivery_id: UUID
    channel: str
    channel_kind: str
    state: str
    due_at: datetime
    finished_at: datetime | None
    attempts: list[Attempt]


class ListedDelivery(DeliveryView):
    """The same, with the alerts in it."""

    channel_id: UUID
    created_at: datetime
    alert_ids: list[UUID]


class DeliveriesPage(BaseModel):
    """Messages, the newest first; `next` is null on the last page."""

    deliveries: list[ListedDelivery]
    next: str | None


class Resent(BaseModel):
    """A message that is due again."""

    delivery_id: UUID
    state: str = "retrying"


@router.get("/deliveries", summary="Messages", responses=documented(401, 403, 404, 422, 429, 503))
def read_deliveries(acting: CanRead, wanted: Annotated[DeliveriesQuery, Query()]) -> DeliveriesPage:
    """Messages to channels with each try, the newest first; no address and no secret."""
    with acting.transaction() as conn:
        found, mark = deliveries_page(
            conn, acting.customer_id, wanted.filter(), after=wanted.after, limit=wanted.limit
        )
    return DeliveriesPage(deliveries=[ListedDelivery.model_validate(vars(one)) for one in found], next=mark)


@router.post(
    "/deliveries/{delivery_id}/resend",
    summary="Send a message again",
    responses=documented(401, 403, 404, 409, 422, 429, 503),
)
def post_resend(acting: CanManage, delivery_id: UUID) -> Resent:
    """The tries of one that was given up begin anew; one that waits for its next try is tried now.

    409 where it has arrived, is not tried yet, or its channel is off.
    """
    with acting.transaction() as conn, named("delivery"):
        resend(conn, acting.customer_id, str(delivery_id), datetime.now(UTC))
        record(conn, acting.actor, "delivery.resent", ("delivery", delivery_id), customer_id=acting.customer_id)
    return Resent(delivery_id=delivery_id)
