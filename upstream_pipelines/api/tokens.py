"""/api/v1/customers/{slug}/tokens: ingestion tokens of the customer's systems. Not here: what they are (customers/tokens.py)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, Field

from upstream_pipelines.api.authentication import CanManage
from upstream_pipelines.api.once import OnceRoute, ShownOnce
from upstream_pipelines.api.parameters import TEXT, named
from upstream_pipelines.api.problems import documented
from upstream_pipelines.customers.audit import record
from upstream_pipelines.customers.tokens import TokenInfo, list_tokens, make_token, revoke_token

router = APIRouter(prefix="/api/v1/customers/{slug}", tags=["tokens"], route_class=OnceRoute)


class NewToken(BaseModel):
    """What the token is for, and when it ends; without an end it holds until it is revoked."""

    label: Annotated[str, Field(max_length=200, pattern=TEXT)] = ""
    expires_at: datetime | None = Field(default=None, description="Without a zone, UTC.")


class IssuedToken(ShownOnce):
    """A token, which is not shown again, and what is shown of it later."""

    secrets = ("token",)
    instead = "The token was in the first answer alone. Revoke it by its token_id, and issue another with a new Idempotency-Key."

    info: TokenInfo
    token: str | None


@router.get("/tokens", summary="Ingestion tokens", responses=documented(401, 403, 404, 422, 429, 503))
def read_tokens(acting: CanManage) -> list[TokenInfo]:
    """The newest first, also those that are revoked; of each the beginning."""
    with acting.transaction() as conn:
        return list_tokens(conn, acting.customer_id)


@router.post(
    "/tokens",
    status_code=201,
    summary="Issue an ingestion token",
    responses=documented(400, 401, 403, 404, 408, 413, 422, 429, 503),
)
def post_token(acting: CanManage, body: NewToken) -> IssuedToken:
    """It is shown in this answer alone; only its digest is kept."""
    expires_at = body.expires_at
    if expires_at is not None and expires_at.tzinfo is None:
        expires_at = expires_at.replace(tzinfo=UTC)
    with acting.transaction() as conn:
        info, token = make_token(conn, acting.customer_id, body.label, expires_at)
        record(conn, acting.actor, "token.issued", ("token", info.token_id), customer_id=acting.customer_id,
               details={"prefix": info.prefix})  # fmt: skip
    return IssuedToken(info=info, token=token)


@router.delete(
    "/tokens/{token_id}",
    status_code=204,
    summary="Revoke an ingestion token",
    responses=documented(401, 403, 404, 422, 429, 503),
)
def delete_token(acting: CanManage, token_id: UUID) -> None:
    """The next request with it meets a 401. Revoking it again changes nothing."""
    with acting.transaction() as conn, named("token"):
        revoke_token(conn, acting.customer_id, token_id)
        record(conn, acting.actor, "token.revoked", ("token", token_id), customer_id=acting.customer_id)
