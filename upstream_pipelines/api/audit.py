"""/api/v1/customers/{slug}/audit: who did what, as pages and as CSV. Not here: writing acts down (customers/audit.py)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from upstream_pipelines.api.authentication import Acting, CanAudit, CanExportAudit
from upstream_pipelines.api.bodies import JsonRoute
from upstream_pipelines.api.problems import documented
from upstream_pipelines.customers.audit import Act, ActFilter, acts_as_csv, read_acts, record

router = APIRouter(prefix="/api/v1/customers/{slug}", tags=["audit"], route_class=JsonRoute)

_PAGE = 1000
# PostgreSQL takes no NUL in a text.
_TEXT = r"^[^\x00]*$"


class ActsQuery(BaseModel):
    """Which acts; what is not given does not narrow."""

    action: str | None = Field(default=None, pattern=_TEXT, max_length=100, description="Such as member.removed.")
    actor: str | None = Field(
        default=None, pattern=_TEXT, max_length=254, description="Id or e-mail of who acted."
    )
    entity_kind: str | None = Field(default=None, pattern=_TEXT, max_length=100)
    entity_id: str | None = Field(default=None, pattern=_TEXT, max_length=200)
    since: datetime | None = Field(default=None, description="From then on; without a zone, UTC.")
    until: datetime | None = Field(default=None, description="Before then; without a zone, UTC.")

    def filter(self) -> ActFilter:
        """The same, for the domain."""
        return ActFilter(**self.model_dump(include=set(ActFilter.__dataclass_fields__)))


class ActsPageQuery(ActsQuery):
    """Which acts, and which page of them."""

    after: str | None = Field(default=None, max_length=200, description="`next` of the page before.")
    limit: int = Field(default=100, ge=1, le=_PAGE)


class ActsPage(BaseModel):
    """Acts, the newest first; `next` is null on the last page."""

    acts: list[Act]
    next: str | None


@router.get("/audit", summary="Who did what", responses=documented(401, 403, 404, 422, 429, 503))
def read_audit(acting: CanAudit, wanted: Annotated[ActsPageQuery, Query()]) -> ActsPage:
    """The customer's trail, the newest first. Nothing in it can be changed or removed."""
    with acting.transaction() as conn:
        acts, mark = read_acts(conn, acting.customer_id, wanted.filter(), after=wanted.after, limit=wanted.limit)
    return ActsPage(acts=acts, next=mark)


_CSV: dict[int | str, dict[str, Any]] = {
    200: {"description": "The acts as CSV.", "content": {"text/csv": {"schema": {"type": "string"}}}}
}


@router.get(
    "/audit.csv",
    summary="Who did what, as CSV",
    response_class=StreamingResponse,
    responses=_CSV | documented(401, 403, 404, 422, 429, 503),
)
def read_audit_csv(acting: CanExportAudit, wanted: Annotated[ActsQuery, Query()]) -> StreamingResponse:
    """The whole trail. What a spreadsheet would take for a formula has an apostrophe before it. That it was taken is an act."""
    with acting.transaction() as conn:
        narrowed = sorted(name for name, value in vars(wanted.filter()).items() if value is not None)
        record(
            conn, acting.actor, "audit.exported", ("customer", acting.slug), customer_id=acting.customer_id,
            details={"filters": narrowed},
        )  # fmt: skip
    return StreamingResponse(
        _pages(acting, wanted.filter()),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{acting.slug}-audit.csv"'},
    )


def _pages(acting: Acting, wanted: ActFilter) -> Iterator[str]:
    mark: str | None = None
    first = True
    while first or mark is not None:
        with acting.transaction() as conn:
            acts, mark = read_acts(conn, acting.customer_id, wanted, after=mark, limit=_PAGE)
        yield acts_as_csv(acts, header=first)
        first = False
