"""/api/v1/me and /api/v1/customers: who is logged in, and the customers they are a member of; an operator signs one up.

Not here: members (members.py), what a customer has (a module each).
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from upstream_pipelines.api.authentication import Acting, AuthenticatedPerson, CanManage, CanRead, CanSignUp
from upstream_pipelines.api.once import OnceRoute, ShownOnce
from upstream_pipelines.api.parameters import Name
from upstream_pipelines.api.problems import ProblemError, documented
from upstream_pipelines.customers.members import Membership, memberships
from upstream_pipelines.customers.roles import Role
from upstream_pipelines.customers.store import SLUG, get_customer, rename_customer, sign_up_over_api
from upstream_pipelines.db.engine import Connection, connect, person_transaction
from upstream_pipelines.ingest.landing import customer_folder

router = APIRouter(tags=["customers"])
_customers = APIRouter(prefix="/api/v1/customers", route_class=OnceRoute)
_customer = APIRouter(prefix="/api/v1/customers/{slug}", route_class=OnceRoute)


class Me(BaseModel):
    """The person logged in, with their customers."""

    person_id: UUID
    email: str
    customers: list[Membership]


class CustomerView(BaseModel):
    """A customer as its members see it; `role` is one's own."""

    slug: str
    name: str
    role: Role
    created_at: datetime


class CustomerChange(BaseModel):
    """What an admin may change of the customer itself."""

    name: str = Field(min_length=1, max_length=200)


class NewCustomer(BaseModel):
    """A customer to be."""

    slug: Annotated[
        str,
        Field(
            pattern=f"^{SLUG.pattern}$",
            max_length=63,
            description="For good: in addresses, and the key of its partition.",
        ),
    ]
    name: Name


class SignedUp(ShownOnce):
    """A customer with its first ingestion token, which is not shown again."""

    secrets = ("token",)
    instead = (
        "The token was in the first answer alone. An owner issues another and revokes this one (POST and DELETE /tokens), or the "
        "operator: `upstream tokens`."
    )

    slug: str
    name: str
    created_at: datetime
    token: str | None


@_customers.post(
    "",
    status_code=201,
    summary="Sign a customer up",
    responses=documented(400, 401, 403, 408, 409, 413, 422, 429, 503),
)
def post_customer(operator: CanSignUp, body: NewCustomer) -> SignedUp:
    """The platform's operator alone. With its landing folder, the rule that tells of everything that worsens, and an ingestion
    token; its partition is there within half a minute, by the sensor that looks for uploads. 409 where the slug is taken.
    """
    with operator.transaction() as conn:
        customer, token = sign_up_over_api(conn, body.slug, body.name, operator.actor.request_id)
        try:
            customer_folder(operator.settings, customer.slug)
        except OSError as error:
            raise ProblemError(
                503, "storage_unavailable", "The landing folder could not be made; nothing was done. Try again later.",
                headers={"Retry-After": "60"},
            ) from error  # fmt: skip
    return SignedUp(slug=customer.slug, name=customer.name, created_at=customer.created_at, token=token)


@router.get("/api/v1/me", summary="Who is logged in", responses=documented(401, 429, 503))
def read_me(request: Request, who: AuthenticatedPerson) -> Me:
    """The person of the access token, and the customers they are a member of."""
    with (
        connect(request.app.state.settings, "upstream_api") as conn,
        person_transaction(conn, who.person_id),
    ):
        return Me(
            person_id=who.person_id, email=who.email, customers=memberships(conn),
        )  # fmt: skip


@router.get("/api/v1/customers", summary="One's customers", responses=documented(401, 429, 503))
def read_customers(request: Request, who: AuthenticatedPerson) -> list[Membership]:
    """The active customers of which one is a member, by slug."""
    with (
        connect(request.app.state.settings, "upstream_api") as conn,
        person_transaction(conn, who.person_id),
    ):
        return memberships(conn)


@_customer.get("", summary="A customer", responses=documented(401, 403, 404, 422, 429, 503))
def read_customer(acting: CanRead) -> CustomerView:
    """Name and since when; the role is one's own."""
    with acting.transaction() as conn:
        return _view(conn, acting)


@_customer.patch(
    "", summary="Rename a customer", responses=documented(400, 401, 403, 404, 408, 413, 422, 429, 503)
)
def patch_customer(acting: CanManage, body: CustomerChange) -> CustomerView:
    """Change the organisation's name; the slug stays."""
    with acting.transaction() as conn:
        rename_customer(conn, acting.actor, acting.customer, body.name)
        return _view(conn, acting)


router.include_router(_customers)
router.include_router(_customer)


def _view(conn: Connection, acting: Acting) -> CustomerView:
    customer = get_customer(conn, acting.slug)
    return CustomerView(slug=customer.slug, name=customer.name, role=acting.role, created_at=customer.created_at)
