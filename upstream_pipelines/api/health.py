"""GET /health/live: this process answers. GET /health/ready, and /health: its database does too, and the schema is the
program's.

Not here: metrics, the state of uploads and runs (monitoring.py). Open to anyone, so it tells nothing else.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import sqlalchemy.exc
from fastapi import APIRouter, Request
from pydantic import BaseModel

from upstream_pipelines.api.problems import ProblemError, documented
from upstream_pipelines.db.migrate import current_revision, head_revision

router = APIRouter(tags=["operations"])


class Health(BaseModel):
    """All is well."""

    status: Literal["ok"] = "ok"
    database: Literal["ok"] = "ok"
    schema_revision: Literal["current"] = "current"


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


@router.get("/health/live", summary="Liveness")
def live() -> Alive:
    """200 while the process answers; it asks nothing, so that a database in trouble restarts no API."""
    return Alive()


@router.get("/health/ready", summary="Readiness", responses=documented(503))
@router.get("/health", summary="Health", responses=documented(503))
def health(request: Request) -> Health:
    """200 when requests can be served, 503 when not."""
    try:
        revision = current_revision(request.app.state.settings, "upstream_api")
    except sqlalchemy.exc.ProgrammingError:
        revision = None  # the role may not read the table: roles and grants come with the migrations
    if revision != _needed_revision():
        raise ProblemError(
            503,
            "schema_outdated",
            "The database schema is not the one this program needs. Run `upstream migrate`.",
        )
    return Health()


@cache
def _needed_revision() -> str:
    return head_revision()
