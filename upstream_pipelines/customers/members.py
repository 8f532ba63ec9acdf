"""Members of a customer: inviting, listing, changing a role, removing, leaving. Not here: log-ins, passwords, HTTP.

An invitation is a membership that does not hold yet; it is taken up with its token (people.py). Who changes members is
looked at again inside the transaction, with all members of the customer locked: of two owners who leave at once, one does.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.rows import class_row

from upstream_pipelines.customers.audit import Actor, record
from upstream_pipelines.customers.people import (
    PASSWORD_TOKEN_LIFE,
    checked_email,
    checked_name,
    end_invitations_by,
    new_token,
)
from upstream_pipelines.customers.roles import Action, Role, allowed
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.errors import ConflictError, ForbiddenError, NotFoundError

QUERIES = load_queries(__package__)


@dataclass(frozen=True)
class Member:
    """A member as the customer sees it; `joined_at` is None while the invitation waits.

    The name is what this customer calls them. Instants are in UTC.
    """

    person_id: UUID
    email: str
    display_name: str
    role: Role
    disabled: bool
    invited_at: datetime
    joined_at: datetime | None


@dataclass(frozen=True)
class Membership:
    """A customer that a person is a member of, and what it calls them."""

    slug: str
    name: str
    role: Role
    display_name: str


class LastOwnerError(ConflictError):
    """A customer has an owner."""

    code = "last_owner"


def list_members(conn: Connection, customer_id: int) -> list[Member]:
    """All members and invitations of a customer, by e-mail."""
    with conn.cursor(row_factory=class_row(Member)) as cursor:
        return [
            _typed(row)
            for row in cursor.execute(
                QUERIES.select_members, {"customer_id": customer_id, "person_id": None}
            ).fetchall()
        ]


def memberships(conn: Connection) -> list[Membership]:
    """The active customers of the person of the transaction, by slug (role upstream_api, `person_transaction`)."""
    rows = conn.execute(QUERIES.select_memberships).fetchall()
    return [Membership(slug, name, Role(role), called) for slug, name, role, called in rows]


def invite(
    conn: Connection, actor: Actor, customer_id: int, email: str, role: Role, *, display_name: str = ""
) -> tuple[Member, str]:
    """Invite somebody, or invite again who has not come yet: the earlier token stops working.

    Call it inside a transaction. Returns: the member to be, and the token with which it joins; shown once, good for 24
    hours. The answer is the same for somebody who is new and for somebody whom another customer knows.

    Raises:
        InvalidInputError: no e-mail address, or a name that cannot be shown.
        ForbiddenError: the role is above the actor's own.
        ConflictError: the person is a member already.
    """
    address, name = checked_email(email), checked_name(display_name)
    mine = _lock_and_rank(conn, actor, customer_id)
    _not_above(mine, role)
    row = conn.execute(QUERIES.person_of_email, {"email": address}).fetchone()
    assert row is not None
    present = _find(conn, customer_id, row[0])
    if present is not None:
        if present.joined_at is not None:
            raise ConflictError("This person is a member already. Change the role instead.")
        _not_above(mine, present.role)
    token, digest = new_token("ups")
    conn.execute(
        QUERIES.invite_member,
        {
            "customer_id": customer_id, "person_id": row[0], "role": role, "display_name": name, "token_sha256": digest,
            "life": PASSWORD_TOKEN_LIFE, "invited_by": actor.id if actor.kind == "person" else None,
        },
    )  # fmt: skip
    record(conn, actor, "member.invited", ("person", row[0]), customer_id=customer_id, details={"role": role})
    return get_member(conn, customer_id, row[0]), token


def change_role(conn: Connection, actor: Actor, customer_id: int, person_id: UUID, role: Role) -> Member:
    """Give a member another role. Open invitations that they made and could not make now end. Call it inside a transaction.

    Raises:
        NotFoundError: the customer has no such member.
        ForbiddenError: the new role or the present one is above the actor's own.
        LastOwnerError: nobody else would own the customer.
    """
    mine = _lock_and_rank(conn, actor, customer_id)
    member = get_member(conn, customer_id, person_id)
    _not_above(mine, role)
    _not_above(mine, member.role)
    if role is not Role.OWNER:
        _keep_an_owner(conn, customer_id, member)
    conn.execute(QUERIES.set_role, {"customer_id": customer_id, "person_id": person_id, "role": role})
    beyond = [one for one in Role if one.outranks(role) or not allowed(role, Action.MANAGE)]
    end_invitations_by(conn, actor, person_id, beyond, customer_id)
    record(
        conn, actor, "member.role_changed", ("person", person_id), customer_id=customer_id,
        details={"before": member.role, "role": role},
    )  # fmt: skip
    return get_member(conn, customer_id, person_id)


def remove(conn: Connection, actor: Actor, customer_id: int, person_id: UUID) -> None:
    """End a membership or an invitation, at once, with the open invitations that the member made. Call it inside a
    transaction. Errors as for `change_role`.
    """
    mine = _lock_and_rank(conn, actor, customer_id)
    member = get_member(conn, customer_id, person_id)
    _not_above(mine, member.role)
    _end(conn, actor, customer_id, member, "member.removed")


def leave(conn: Connection, actor: Actor, customer_id: int, person_id: UUID) -> None:
    """End one's own membership, whatever the role. Call it inside a transaction.

    Raises:
        LastOwnerError: nobody else would own the customer.
    """
    conn.execute(QUERIES.lock_members, {"customer_id": customer_id})
    _end(conn, actor, customer_id, get_member(conn, customer_id, person_id), "member.left")


def _end(conn: Connection, actor: Actor, customer_id: int, member: Member, action: str) -> None:
    _keep_an_owner(conn, customer_id, member)
    conn.execute(QUERIES.remove_member, {"customer_id": customer_id, "person_id": member.person_id})
    end_invitations_by(conn, actor, member.person_id, tuple(Role), customer_id)
    record(
        conn, actor, action, ("person", member.person_id), customer_id=customer_id, details={"role": member.role}
    )  # fmt: skip


def get_member(conn: Connection, customer_id: int, person_id: UUID) -> Member:
    """One member or invitation.

    Raises:
        NotFoundError: the customer has no such member.
    """
    member = _find(conn, customer_id, person_id)
    if member is None:
        raise NotFoundError("This customer has no such member. List the members to find the id.")
    return member


def role_of(conn: Connection, customer_id: int, person_id: UUID) -> Role | None:
    """The role of a person who has joined; None for everybody else."""
    member = _find(conn, customer_id, person_id)
    return member.role if member is not None and member.joined_at is not None else None


def member_of_email(conn: Connection, customer_id: int, email: str) -> Member:
    """The same by e-mail, in whichever case.

    Raises:
        NotFoundError: the customer has no such member.
    """
    for member in list_members(conn, customer_id):
        if member.email.casefold() == email.strip().casefold():
            return member
    raise NotFoundError(
        f"This customer has no member {email}. `upstream members list SLUG` shows those there are."
    )


def _find(conn: Connection, customer_id: int, person_id: UUID) -> Member | None:
    with conn.cursor(row_factory=class_row(Member)) as cursor:
        row = cursor.execute(
            QUERIES.select_members, {"customer_id": customer_id, "person_id": person_id}
        ).fetchone()
    return _typed(row) if row is not None else None


def _typed(row: Member) -> Member:
    return Member(**{**vars(row), "role": Role(row.role)})


def _lock_and_rank(conn: Connection, actor: Actor, customer_id: int) -> Role:
    """The role by which the actor changes members, as it is now: an operator may do what an owner may."""
    rows = conn.execute(QUERIES.lock_members, {"customer_id": customer_id}).fetchall()
    if actor.kind == "operator":
        return Role.OWNER
    roles = {str(person_id): Role(role) for person_id, role, joined in rows if joined}
    mine = roles.get(actor.id)
    if mine is None or not allowed(mine, Action.MANAGE):
        raise ForbiddenError("Your role does not allow this any more. Ask an owner.")
    return mine


def _not_above(mine: Role, other: Role) -> None:
    if other.outranks(mine):
        raise ForbiddenError(f"A member of role {mine} neither grants nor changes the role {other}. Ask an owner.")


def _keep_an_owner(conn: Connection, customer_id: int, member: Member) -> None:
    others = conn.execute(
        QUERIES.other_owners, {"customer_id": customer_id, "person_id": member.person_id}
    ).fetchone()
    if member.role is Role.OWNER and member.joined_at is not None and others == (0,):
        raise LastOwnerError("A customer has at least one owner. Make somebody else an owner first.")
