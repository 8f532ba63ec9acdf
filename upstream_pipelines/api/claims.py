"""/api/v1/customers/{slug}/claims: the customer's claim lines, and its payers by month.

Not here: the lines that an event counts (drift.py says which filter shows them).
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from upstream_pipelines.api.authentication import CanRead
from upstream_pipelines.api.bodies import JsonRoute
from upstream_pipelines.api.parameters import Name, Page
from upstream_pipelines.api.problems import documented
from upstream_pipelines.claims.listing import ClaimFilter, ClaimLine, Outcome, claims_page
from upstream_pipelines.drift.payer_summary import PayerMonth, payer_months
from upstream_pipelines.errors import InvalidInputError

router = APIRouter(prefix="/api/v1/customers/{slug}", tags=["claims"], route_class=JsonRoute)

DenialCode = Annotated[str, Field(min_length=1, max_length=20, pattern=r"^[A-Za-z0-9-]*[A-Za-z0-9]$")]
# Sums are made anew for each request; a large customer has hundreds of thousands of rows of activity a year.
_MOST_DAYS = 3 * 366
_EARLIEST = date(2, 1, 1)


class ClaimsQuery(Page):
    """Which lines; what is not given does not narrow. Days are inside."""

    payer: Name | None = Field(default=None, description="Canonical name; letter case does not count.")
    cpt: str | None = Field(default=None, min_length=1, max_length=20, pattern=r"^[A-Za-z0-9]+$")
    cpt_group: Name | None = None
    outcome: Outcome | None = None
    denial_code: tuple[DenialCode, ...] | None = Field(
        default=None, min_length=1, max_length=20,
        description="CO-197 that one, 197 the reason under any group; may be given again.",
    )  # fmt: skip
    submitted_from: date | None = None
    submitted_to: date | None = None
    decided_from: date | None = None
    decided_to: date | None = None
    upload_id: UUID | None = Field(
        default=None, description="The upload that the line's latest version came from."
    )

    def filter(self) -> ClaimFilter:
        """The same, for the domain."""
        return ClaimFilter(**self.model_dump(include=set(ClaimFilter.__dataclass_fields__)))


class ClaimsPage(BaseModel):
    """Lines by the day they were submitted, the newest first; `next` is null on the last page."""

    claims: list[ClaimLine]
    next: str | None


class PayersQuery(BaseModel):
    """Which payers and months of submission; without days the last twelve months."""

    payer: Name | None = Field(default=None, description="Letter case does not count.")
    submitted_from: date | None = None
    submitted_to: date | None = None
    limit: int = Field(default=50, ge=1, le=200, description="So many payers, those with the most lines.")


@router.get("/claims", summary="Claim lines", responses=documented(401, 403, 404, 422, 429, 503))
def read_claims(acting: CanRead, wanted: Annotated[ClaimsQuery, Query()]) -> ClaimsPage:
    """The latest version of each line, with the upload and row it came from."""
    with acting.transaction() as conn:
        lines, mark = claims_page(
            conn, acting.customer_id, wanted.filter(), after=wanted.after, limit=wanted.limit
        )
    return ClaimsPage(claims=lines, next=mark)


@router.get("/payers", summary="Payers by month", responses=documented(401, 403, 404, 422, 429, 503))
def read_payers(acting: CanRead, wanted: Annotated[PayersQuery, Query()]) -> list[PayerMonth]:
    """Lines, decisions, denials and dollars of each payer by month of submission, as drift counts them."""
    last = wanted.submitted_to or datetime.now(UTC).date()
    # 334 days before the first of a month is always in the eleventh month before.
    first = wanted.submitted_from or (max(_EARLIEST, last).replace(day=1) - timedelta(days=334)).replace(day=1)
    if not 0 <= (last - first).days <= _MOST_DAYS:
        raise InvalidInputError(
            f"submitted_from to submitted_to are at most {_MOST_DAYS} days, in this order. Ask for fewer at once."
        )
    with acting.transaction() as conn:
        return payer_months(
            conn, acting.customer_id, first=first, last=last, payer=wanted.payer, payers=wanted.limit
        )
