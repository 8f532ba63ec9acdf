"""Assembles the HTTP API. Not here: routes (one module a resource), the server process (server.py)."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from upstream_pipelines.api import (
    alert_settings,
    alerts,
    audit,
    auth,
    channels,
    claims,
    configuration,
    customer_uploads,
    customers,
    deliveries,
    drift,
    front,
    health,
    members,
    monitoring,
    own_password,
    problems,
    product_flags,
    quality,
    reports,
    silences,
    tokens,
    uploads,
    webhook,
)
from upstream_pipelines.api.familiar import LatelyLoggedIn
from upstream_pipelines.api.intake import Intake
from upstream_pipelines.api.metrics import ApiMetrics, MetricsMiddleware
from upstream_pipelines.api.rate_limits import RateLimits
from upstream_pipelines.api.requests import DOCS_PATH, RequestMiddleware
from upstream_pipelines.settings import Settings


def create_app(settings: Settings) -> FastAPI:
    """The API over the given settings. Connects to nothing until a request needs it."""
    # FastAPI's own page loads its scripts from a public network, which a closed one does not reach and a page beside health
    # data should not trust; these are the same files, from the package.
    app = FastAPIOffline(
        title="Upstream Pipelines",
        summary="Send claims, and see what became of them.",
        version="1",
        docs_url=DOCS_PATH,
        openapi_url="/api/v1/openapi.json",
        redoc_url=None,
        static_url=f"{DOCS_PATH}/static",
        swagger_ui_oauth2_redirect_url=f"{DOCS_PATH}/oauth2-redirect",
        # Its own spans and log records hold messages of errors and arguments of requests, and so claims. Ours are in requests.py.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        # A redirected POST loses its body or its token in many clients; routes list both spellings instead.
        redirect_slashes=False,
    )
    app.state.settings = settings
    app.state.rate_limits = RateLimits(settings)
    app.state.intake = Intake(settings.max_body_bytes)
    app.state.familiar = LatelyLoggedIn()
    app.state.metrics = ApiMetrics(settings)
    # Routes are tried one after another, a hundred in all: batches, of which there are most, come first.
    for module in (
        webhook, auth, own_password, customers, members, audit, tokens, claims, drift, customer_uploads, alerts, deliveries, silences,
        alert_settings, channels, configuration, product_flags, quality, reports, uploads, health, monitoring, front,
    ):  # fmt: skip
        app.include_router(module.router)
    problems.install(app)
    app.add_middleware(RequestMiddleware)
    app.add_middleware(MetricsMiddleware, metrics=app.state.metrics)
    return app
