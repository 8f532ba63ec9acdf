"""/api/v1/customers/{slug}/alert-rules and /channels: who is told of what. Reads only; the configuration sets them."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter

from upstream_pipelines.alerts.overview import ChannelState, channel_states
from upstream_pipelines.alerts.rules import AlertRule
from upstream_pipelines.alerts.store import stored_rules
from upstream_pipelines.api.authentication import CanRead
from upstream_pipelines.api.bodies import JsonRoute
from upstream_pipelines.api.problems import documented

router = APIRouter(prefix="/api/v1/customers/{slug}", tags=["alerts"], route_class=JsonRoute)


@router.get("/alert-rules", summary="Alert rules", responses=documented(401, 403, 404, 422, 429, 503))
def read_rules(acting: CanRead) -> list[AlertRule]:
    """The rules that are on: which events, from which size on, to which channels, and when."""
    with acting.transaction() as conn:
        return stored_rules(conn, acting.customer_id)


@router.get("/channels", summary="Channels", responses=documented(401, 403, 404, 422, 429, 503))
def read_channels(acting: CanRead) -> list[ChannelState]:
    """Each channel as it is: on or off and why, since when it fails, what waits for it; no address and no secret."""
    with acting.transaction() as conn:
        return channel_states(conn, acting.customer_id, datetime.now(UTC))
