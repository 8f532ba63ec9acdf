"""/api/v1/customers/{slug}/product-flags: which parts of the product are on. Not here: what a part does, who is the operator."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from upstream_pipelines.api.authentication import CanOperate, CanReadOrOperate
from upstream_pipelines.api.once import OnceRoute
from upstream_pipelines.api.problems import documented
from upstream_pipelines.customers import flags as domain
from upstream_pipelines.customers.flag_changes import replace_flags

router = APIRouter(prefix="/api/v1/customers/{slug}", tags=["configuration"], route_class=OnceRoute)


class Flags(BaseModel):
    """Each part of the product, true where it is on."""

    csv_upload: bool = Field(description="Files, over the API and from the landing zone; CSV and remittances.")
    webhook_ingest: bool = Field(description="Batches by webhook.")
    drift: bool = Field(description="Looks, daily and by hand.")
    alerts: bool = Field(description="Messages of any kind; what would be told meanwhile is held back.")
    reports: bool


class ProductFlags(BaseModel):
    """All product flags; sent, they take the place of those of that revision."""

    revision: Annotated[
        str,
        Field(
            min_length=16, max_length=16, pattern=r"^[0-9a-f]{16}$", description="Of the flags, as they were read."
        ),
    ]
    flags: Flags


@router.get("/product-flags", summary="Product flags", responses=documented(401, 403, 404, 422, 429, 503))
def read_flags(acting: CanReadOrOperate) -> ProductFlags:
    """Which parts of the product are on for the customer. The platform's operator sets them, and reads them here too."""
    with acting.transaction() as conn:
        return _shown(domain.product_flags(conn, acting.customer_id))


@router.put(
    "/product-flags",
    summary="Set the product flags",
    responses=documented(400, 401, 403, 404, 408, 409, 413, 422, 429, 503),
)
def put_flags(operating: CanOperate, body: ProductFlags) -> ProductFlags:
    """The platform's operator alone. 409 where they were changed since that revision. What was accepted before goes on; alerts
    that were held back are decided over again when they are on.
    """
    with operating.transaction() as conn:
        wanted = {flag: bool(getattr(body.flags, flag)) for flag in domain.FLAGS}
        return _shown(replace_flags(conn, operating.actor, operating.customer, wanted, body.revision))


def _shown(flags: domain.ProductFlags) -> ProductFlags:
    return ProductFlags(revision=flags.revision, flags=Flags.model_validate(flags.on))
