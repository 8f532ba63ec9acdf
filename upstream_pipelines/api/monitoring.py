"""GET /metrics for Prometheus, GET /api/v1/monitoring/status for people who run the platform.

Not here: what is counted (metrics.py), what the status says (operations/status.py), who may ask (operators.py).
"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import choose_encoder

from upstream_pipelines.api.metrics import ApiMetrics
from upstream_pipelines.api.operators import OPERATOR
from upstream_pipelines.api.problems import documented
from upstream_pipelines.db.engine import connect
from upstream_pipelines.operations.status import Status, read_status

router = APIRouter(tags=["operations"], dependencies=[OPERATOR])


# Not in the document: it speaks Prometheus's format and none of this API's.
@router.get("/metrics", include_in_schema=False)
def metrics(request: Request) -> Response:
    """All figures, in the text format or OpenMetrics, as the scraper asks."""
    counted: ApiMetrics = request.app.state.metrics
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(counted.registry), headers={"Content-Type": content_type})


@router.get("/api/v1/monitoring/status", summary="State of the platform", responses=documented(404, 503))
def monitoring_status(request: Request) -> Status:
    """Last runs, queues, lags, customers in trouble. For operators: a customer's token is answered 404."""
    with connect(request.app.state.settings, "upstream_api") as conn:
        return read_status(conn)
