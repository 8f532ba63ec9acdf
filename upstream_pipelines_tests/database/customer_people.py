"""A customer and people who have joined it, made in the database. Not here: tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from upstream_pipelines.customers.audit import Actor, operator
from upstream_pipelines.customers.members import invite
from upstream_pipelines.customers.roles import Role
from upstream_pipelines.db.engine import Connection, connect, customer_transaction
from upstream_pipelines.settings import Settings

UNHASHED = "$argon2id$ of no password"
Join = Callable[..., Actor]


def made_customer(conn: Connection, slug: str) -> int:
    row = conn.execute(
        "INSERT INTO customers (slug, name) VALUES (%s, %s) RETURNING customer_id", (slug, slug)
    ).fetchone()
    assert row is not None
    return int(row[0])


def joining(pipeline: Connection, acme: int) -> Join:
    """Makes a member who has joined; gives them as an actor. No password fits: hashing is not what is tested."""

    def make(name: str, role: Role = Role.OWNER, customer_id: int = acme) -> Actor:
        email = f"{name}@example.org"
        with pipeline.transaction():
            member, _ = invite(pipeline, operator(), customer_id, email, role)
            pipeline.execute(
                "UPDATE members SET joined_at = now(), invitation_sha256 = NULL, invitation_expires_at = NULL"
                " WHERE person_id = %s",
                (member.person_id,),
            )
            pipeline.execute(
                "UPDATE people SET password_hash = %s, password_set_at = now() WHERE person_id = %s",
                (UNHASHED, member.person_id),
            )
        return Actor("person", str(member.person_id), email)

    return make


@contextmanager
def as_customer(settings: Settings, customer_id: int, who: Actor | None = None) -> Iterator[Connection]:
    person_id = UUID(who.id) if who is not None else None
    with connect(settings, "upstream_api") as conn, customer_transaction(conn, customer_id, person_id):
        yield conn
