"""/api/v1/customers/{slug}/alert-rules: who is told of what. Reads only; the configuration sets them. Not here: channels."""

from __future__ import annotations

from fastapi import APIRouter

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
