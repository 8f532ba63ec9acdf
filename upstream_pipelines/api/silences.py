"""/api/v1/customers/{slug}/silences: times in which alerts are held back. Not here: what follows from them (alerts/life.py)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Self
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, Field, model_validator

from upstream_pipelines.alerts import feedback
from upstream_pipelines.alerts.feedback import Silence
from upstream_pipelines.alerts.rules import Signal
from upstream_pipelines.api.authentication import CanManage, CanRead
from upstream_pipelines.api.once import OnceRoute
from upstream_pipelines.api.parameters import Name, named
from upstream_pipelines.api.problems import documented
from upstream_pipelines.customers.audit import record
from upstream_pipelines.notes import TEXT_LENGTH

router = APIRouter(prefix="/api/v1/customers/{slug}", tags=["alerts"], route_class=OnceRoute)

_MOST_HOURS = 24 * 366


class NewSilence(BaseModel):
    """The trouble of an alert, or a payer, a signal or both; for so many hours."""

    alert_id: UUID | None = None
    payer: Name | None = None
    signal: Signal | None = None
    hours: Annotated[float, Field(gt=0, le=_MOST_HOURS)]
    reason: str = Field(default="", max_length=TEXT_LENGTH, description="Why; nothing about a patient.")

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.alert_id is None) == (self.payer is None and self.signal is None):
            raise ValueError("either alert_id, or payer, signal or both")
        return self


class SilenceView(BaseModel):
    """A silence that holds; `about` says in words what it holds back."""

    silence_id: UUID
    about: str
    payer: str | None
    signal: str | None
    ends_at: datetime
    reason: str
    created_by: str
    created_at: datetime


@router.get("/silences", summary="Silences", responses=documented(401, 403, 404, 422, 429, 503))
def read_silences(acting: CanRead) -> list[SilenceView]:
    """Those that hold now, the one that ends first first."""
    with acting.transaction() as conn:
        return [_view(silence) for silence in feedback.silences(conn, acting.customer_id)]


@router.post(
    "/silences",
    status_code=201,
    summary="Hold alerts back for a time",
    responses=documented(400, 401, 403, 404, 408, 413, 422, 429, 503),
)
def post_silence(acting: CanManage, body: NewSilence) -> SilenceView:
    """What grows a step worse breaks through, and what is still open afterwards is told then."""
    now = datetime.now(UTC)
    with acting.transaction() as conn, named("alert"):
        kept = feedback.silence(
            conn, acting.customer_id, alert=None if body.alert_id is None else str(body.alert_id), payer=body.payer,
            signal=body.signal, ends_at=now + timedelta(hours=body.hours), reason=body.reason,
            created_by=acting.actor.name, now=now,
        )  # fmt: skip
        record(conn, acting.actor, "silence.made", ("silence", kept.silence_id), customer_id=acting.customer_id,
               details={"until": kept.ends_at.isoformat()})  # fmt: skip
    return _view(kept)


@router.delete(
    "/silences/{silence_id}",
    status_code=204,
    summary="End a silence before its time",
    responses=documented(401, 403, 404, 422, 429, 503),
)
def delete_silence(acting: CanManage, silence_id: UUID) -> None:
    """What it held back is decided over again with the next delivery."""
    with acting.transaction() as conn, named("silence"):
        feedback.lift_silence(conn, acting.customer_id, str(silence_id))
        record(conn, acting.actor, "silence.ended", ("silence", silence_id), customer_id=acting.customer_id)


def _view(silence: Silence) -> SilenceView:
    return SilenceView(**{name: getattr(silence, name) for name in SilenceView.model_fields})
