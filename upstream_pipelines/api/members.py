"""/api/v1/customers/{slug}/members: who works for a customer, in which role. Not here: the rules (customers/members.py)."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, Field

from upstream_pipelines.api.authentication import CanManage, CanRead
from upstream_pipelines.api.bodies import JsonRoute
from upstream_pipelines.api.once import OnceRoute, ShownOnce
from upstream_pipelines.api.problems import documented
from upstream_pipelines.customers import members
from upstream_pipelines.customers.members import Member
from upstream_pipelines.customers.roles import Role

router = APIRouter(prefix="/api/v1/customers/{slug}", tags=["members"], route_class=OnceRoute)
# Who has left is told nothing about the customer any more, not even that they left.
_leaving = APIRouter(route_class=JsonRoute)


class Invitation(BaseModel):
    """Whom to invite, in which role."""

    email: str = Field(max_length=254)
    role: Role
    display_name: str = Field(default="", max_length=200)


class Invited(ShownOnce):
    """The member to be, and the token to hand over; it is not shown again."""

    secrets = ("token",)
    instead = (
        "The token was in the first answer alone. Invite again, with a new Idempotency-Key: that makes a new token and ends "
        "this one."
    )

    member: Member
    token: str | None = Field(description="For POST /api/v1/auth/password; good once, for 24 hours.")


class RoleChange(BaseModel):
    """The role a member is to have."""

    role: Role


@router.get("/members", summary="Members", responses=documented(401, 403, 404, 422, 429, 503))
def read_members(acting: CanRead) -> list[Member]:
    """All members, and invitations that wait (`joined_at` is null)."""
    with acting.transaction() as conn:
        return members.list_members(conn, acting.customer_id)


@router.post(
    "/members",
    status_code=201,
    summary="Invite a member",
    responses=documented(400, 401, 403, 404, 408, 409, 413, 422, 429, 503),
)
def post_member(acting: CanManage, body: Invitation) -> Invited:
    """Nobody grants a role above their own. Inviting again gives a new token; the earlier one stops working."""
    with acting.transaction() as conn:
        member, token = members.invite(
            conn, acting.actor, acting.customer_id, body.email, body.role, display_name=body.display_name
        )
    return Invited(member=member, token=token)


@router.patch(
    "/members/{person_id}",
    summary="Change a role",
    responses=documented(400, 401, 403, 404, 408, 409, 413, 422, 429, 503),
)
def patch_member(acting: CanManage, person_id: UUID, body: RoleChange) -> Member:
    """Neither to a role above one's own nor of a member above it; the last owner stays one."""
    with acting.transaction() as conn:
        return members.change_role(conn, acting.actor, acting.customer_id, person_id, body.role)


@router.delete(
    "/members/{person_id}",
    status_code=204,
    summary="Remove a member",
    responses=documented(401, 403, 404, 409, 422, 429, 503),
)
def delete_member(acting: CanManage, person_id: UUID) -> None:
    """Acts at once: the next request of that person meets a 404 here."""
    with acting.transaction() as conn:
        members.remove(conn, acting.actor, acting.customer_id, person_id)


@_leaving.delete(
    "/membership",
    status_code=204,
    summary="Leave a customer",
    responses=documented(401, 403, 404, 409, 422, 429, 503),
)
def delete_membership(acting: CanRead) -> None:
    """End one's own membership, whatever the role; the last owner stays."""
    with acting.transaction() as conn:
        members.leave(conn, acting.actor, acting.customer_id, acting.who.person_id)


router.include_router(_leaving)
