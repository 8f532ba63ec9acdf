"""Members: who may change whom, that a customer always has an owner, and that none sees the other's people."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from uuid import UUID

import psycopg
import pytest

from upstream_pipelines.customers.audit import Actor, operator
from upstream_pipelines.customers.members import LastOwnerError, change_role, invite, leave, list_members, remove
from upstream_pipelines.customers.people import (
    set_disabled,
)
from upstream_pipelines.customers.roles import Role
from upstream_pipelines.db.engine import Connection, connect
from upstream_pipelines.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError
from upstream_pipelines.settings import Settings
from upstream_pipelines_tests.database.customer_people import Join, as_customer, joining, made_customer


@pytest.fixture
def acme(pipeline: Connection) -> int:
    return made_customer(pipeline, "acme")


@pytest.fixture
def join(pipeline: Connection, acme: int) -> Join:
    return joining(pipeline, acme)


def test_nobody_grants_a_role_above_their_own_or_changes_somebody_above(
    settings: Settings, acme: int, join: Join
) -> None:
    owner, admin = join("owner"), join("admin", Role.ADMIN)
    viewer, analyst = join("viewer", Role.VIEWER), join("analyst", Role.ANALYST)
    with as_customer(settings, acme, admin) as conn:
        for forbidden in (
            lambda: invite(conn, admin, acme, "new@example.org", Role.OWNER),
            lambda: change_role(conn, admin, acme, UUID(viewer.id), Role.OWNER),
            lambda: change_role(conn, admin, acme, UUID(admin.id), Role.OWNER),
            lambda: change_role(conn, admin, acme, UUID(owner.id), Role.VIEWER),
            lambda: remove(conn, admin, acme, UUID(owner.id)),
            lambda: invite(conn, analyst, acme, "new@example.org", Role.VIEWER),
            lambda: remove(conn, viewer, acme, UUID(analyst.id)),
        ):
            with pytest.raises(ForbiddenError):
                forbidden()
        with pytest.raises(ConflictError):
            invite(conn, admin, acme, viewer.name, Role.VIEWER)
        with pytest.raises(NotFoundError):
            remove(conn, admin, acme, UUID(int=1))
        for email in (
            "nobody",
            "a@b",
            "a b@c.org",
            "a@c.org\0",
            "ä@c.org",
            *(f"a{x}@c.org" for x in "`${}|!;<>()"),
        ):
            with pytest.raises(InvalidInputError):
                invite(conn, admin, acme, email, Role.VIEWER)
        assert change_role(conn, admin, acme, UUID(viewer.id), Role.ADMIN).role is Role.ADMIN
        remove(conn, admin, acme, UUID(analyst.id))
        assert {member.email for member in list_members(conn, acme)} == {owner.name, admin.name, viewer.name}


def test_an_invitation_ends_with_the_right_of_who_made_it(
    settings: Settings, pipeline: Connection, acme: int, join: Join
) -> None:
    """Else who is removed comes back by an invitation that they made before."""
    ann, bob, cid = join("ann"), join("bob"), join("cid", Role.ADMIN)

    def waiting(conn: Connection) -> list[str]:
        return [member.role for member in list_members(conn, acme) if member.joined_at is None]

    for who, roles in ((bob, (Role.OWNER, Role.VIEWER)), (cid, (Role.ADMIN, Role.VIEWER)), (ann, (Role.ANALYST,))):
        with as_customer(settings, acme, who) as conn:
            for role in roles:
                invite(conn, who, acme, f"{role}.of.{who.name}", role)
    with as_customer(settings, acme, ann) as conn:
        change_role(conn, ann, acme, UUID(bob.id), Role.ADMIN)
        assert sorted(waiting(conn)) == ["admin", "analyst", "viewer", "viewer"]
        change_role(conn, ann, acme, UUID(cid.id), Role.ANALYST)
        assert sorted(waiting(conn)) == ["analyst", "viewer"]
        remove(conn, ann, acme, UUID(bob.id))
        assert waiting(conn) == ["analyst"]
    set_disabled(pipeline, operator(), ann.name, disabled=True)
    assert waiting(pipeline) == []


def test_the_last_owner_cannot_leave_be_removed_or_demoted(
    settings: Settings, pipeline: Connection, acme: int, join: Join
) -> None:
    """Neither by an operator. An owner who has not joined yet, or is disabled, is none to rely on."""
    ann, bob = join("ann"), join("bob")
    set_disabled(pipeline, operator(), bob.name, disabled=True)
    with as_customer(settings, acme, ann) as conn:
        invite(conn, ann, acme, "cid@example.org", Role.OWNER)
        for last in (
            lambda: leave(conn, ann, acme, UUID(ann.id)),
            lambda: remove(conn, ann, acme, UUID(ann.id)),
            lambda: remove(conn, operator(), acme, UUID(ann.id)),
            lambda: change_role(conn, ann, acme, UUID(ann.id), Role.ADMIN),
        ):
            with pytest.raises(LastOwnerError):
                last()
    set_disabled(pipeline, operator(), bob.name, disabled=False)
    with as_customer(settings, acme, ann) as conn:
        leave(conn, ann, acme, UUID(ann.id))


@pytest.mark.parametrize("act", ["leave", "demote", "remove each other"])
def test_of_two_owners_who_go_at_once_one_stays(
    settings: Settings, pipeline: Connection, acme: int, join: Join, act: str
) -> None:
    ann, bob = join("ann"), join("bob")
    barrier = Barrier(2)

    def go(pair: tuple[Actor, Actor]) -> str:
        me, other = pair
        try:
            with as_customer(settings, acme, me) as conn:
                barrier.wait()
                if act == "leave":
                    leave(conn, me, acme, UUID(me.id))
                elif act == "demote":
                    change_role(conn, me, acme, UUID(me.id), Role.VIEWER)
                else:
                    remove(conn, me, acme, UUID(other.id))
        except (LastOwnerError, ForbiddenError) as error:
            return error.code
        return "done"

    with ThreadPoolExecutor(2) as pool:
        outcomes = sorted(pool.map(go, [(ann, bob), (bob, ann)]))
    assert outcomes in (["done", "last_owner"], ["done", "forbidden"])
    owners = [member for member in list_members(pipeline, acme) if member.role is Role.OWNER]
    assert len(owners) == 1


def test_a_person_of_two_customers_is_one_of_each_and_neither_sees_the_other(
    settings: Settings, pipeline: Connection, acme: int, join: Join
) -> None:
    beta = made_customer(pipeline, "beta")
    join("ann")
    cid = join("cid", customer_id=beta)
    with as_customer(settings, acme) as conn:
        conn.execute("SELECT set_config('app.person_id', %s, true)", (cid.id,))
        assert conn.execute("SELECT count(*) FROM members").fetchone() == (1,)
        assert [member.email for member in list_members(conn, beta)] == []
        assert conn.execute("SELECT slug FROM customers").fetchall() == [("acme",)]
    with connect(settings, "upstream_api") as conn:
        for table in ("people", "members", "login_sessions", "audit_log"):
            columns = {"people": "person_id", "members": "person_id"}.get(table, "*")
            assert conn.execute(f"SELECT {columns} FROM {table}").fetchall() == [], table
        for hidden in (
            "password_hash FROM people",
            "reset_sha256 FROM people",
            "invitation_sha256 FROM members",
            "* FROM session_tokens",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(f"SELECT {hidden}")
