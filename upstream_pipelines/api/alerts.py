"""/api/v1/customers/{slug}/alerts: what was told or held back and how it was tried, and what it was worth.

Not here: messages (deliveries.py), silences (silences.py), rules (alert_settings.py), channels (channels.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, field_validator

from upstream_pipelines.alerts.alert_pages import (
    AlertFilter,
    AlertKind,
    KeptAlert,
    alert_in_full,
    alerts_page,
)
from upstream_pipelines.alerts.content import wording_of
from upstream_pipelines.alerts.feedback import Judged, Judgement, judge
from upstream_pipelines.alerts.store import AlertState
from upstream_pipelines.api.authentication import CanRead, CanWork
from upstream_pipelines.api.deliveries import DeliveryView
from upstream_pipelines.api.once import OnceRoute
from upstream_pipelines.api.parameters import Page, named
from upstream_pipelines.api.problems import documented
from upstream_pipelines.customers.audit import record
from upstream_pipelines.notes import TEXT_LENGTH

router = APIRouter(prefix="/api/v1/customers/{slug}", tags=["alerts"], route_class=OnceRoute)


class AlertsQuery(Page):
    """Which alerts; what is not given does not narrow."""

    state: AlertState | None = Field(
        default=None, description="`failed`: somebody did not get it; `suppressed`: held back."
    )
    kind: AlertKind | None = None
    since: datetime | None = Field(default=None, description="Written then or later; without a zone, UTC.")

    def filter(self) -> AlertFilter:
        """The same, for the domain."""
        return AlertFilter(**self.model_dump(include=set(AlertFilter.__dataclass_fields__)))


class AlertHead(BaseModel):
    """An alert without its deliveries. `reason` says why it was held back."""

    alert_id: UUID
    headline: str
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
    judgement: Judgement | None = Field(description="The newest, if any.")


class AlertsPage(BaseModel):
    """Alerts, the newest first; `next` is null on the last page."""

    alerts: list[AlertHead]
    next: str | None


class JudgementView(BaseModel):
    """What somebody said the alert was worth."""

    judgement: Judgement
    recovered: Decimal | None
    note: str
    judged_by: str
    judged_at: datetime

    @field_validator("recovered", mode="before")
    @classmethod
    def _cents(cls, value: float | None) -> str | None:
        return None if value is None else f"{value:.2f}"


class AlertDetail(BaseModel):
    """An alert in words, with what was said of it and how it was tried."""

    alert: AlertHead
    sentences: list[str]
    facts: dict[str, str]
    judgements: list[JudgementView]
    deliveries: list[DeliveryView]
    owed_to: list[str] = Field(description="Of an end: channels that are told of it once they can be.")


class Feedback(BaseModel):
    """What the alert was worth; nothing about a patient."""

    judgement: Judgement
    recovered: Decimal | None = Field(
        default=None, ge=0, max_digits=14, decimal_places=2, description="Dollars; with `real` only."
    )
    note: str = Field(default="", max_length=TEXT_LENGTH)


@router.get("/alerts", summary="Alerts", responses=documented(401, 403, 404, 422, 429, 503))
def read_alerts(acting: CanRead, wanted: Annotated[AlertsQuery, Query()]) -> AlertsPage:
    """Told and held back, the newest first."""
    with acting.transaction() as conn:
        alerts, mark = alerts_page(
            conn, acting.customer_id, wanted.filter(), after=wanted.after, limit=wanted.limit
        )
    return AlertsPage(alerts=[_head(alert) for alert in alerts], next=mark)


@router.get("/alerts/{alert_id}", summary="An alert", responses=documented(401, 403, 404, 422, 429, 503))
def read_alert(acting: CanRead, alert_id: UUID) -> AlertDetail:
    """In words, with its judgements, its messages and each try of them."""
    with acting.transaction() as conn, named("alert"):
        return _detail(alert_in_full(conn, acting.customer_id, alert_id))


@router.post(
    "/alerts/{alert_id}/feedback",
    status_code=201,
    summary="Say what an alert was worth",
    responses=documented(400, 401, 403, 404, 408, 413, 422, 429, 503),
)
def post_feedback(acting: CanWork, alert_id: UUID, body: Feedback) -> Judged:
    """All are kept, the newest counts. Two times noise within 30 days hold the same trouble back, unless it grows worse."""
    with acting.transaction() as conn, named("alert"):
        kept = judge(
            conn, acting.customer_id, str(alert_id), body.judgement, judged_by=acting.actor.name,
            recovered=None if body.recovered is None else round(body.recovered, 2), note=body.note,
        )  # fmt: skip
        record(conn, acting.actor, "alert.judged", ("alert", alert_id), customer_id=acting.customer_id,
               details={"judgement": kept.judgement})  # fmt: skip
    return kept


def _head(alert: KeptAlert) -> AlertHead:
    return AlertHead(**{name: getattr(alert, name) for name in AlertHead.model_fields})


def _detail(alert: Mapping[str, Any]) -> AlertDetail:
    wording = wording_of(alert["content"])
    judged = alert["judgements"][-1]["judgement"] if alert["judgements"] else None
    return AlertDetail(
        alert=AlertHead.model_validate({**alert, "headline": wording.headline, "judgement": judged}),
        sentences=list(wording.sentences),
        facts=dict(wording.facts),
        judgements=[JudgementView.model_validate(judgement) for judgement in alert["judgements"]],
        deliveries=[DeliveryView.model_validate(delivery) for delivery in alert["deliveries"]],
        owed_to=alert["owed_to"],
    )
