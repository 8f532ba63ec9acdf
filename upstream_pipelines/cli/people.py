"""`upstream members`, `upstream people`: who may log in, and to what. Not here: log-ins themselves (the API)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from upstream_pipelines.cli.operator import acting
from upstream_pipelines.cli.output import Json, out, print_json, print_table, short_command_settings
from upstream_pipelines.customers import members as domain
from upstream_pipelines.customers import people as persons
from upstream_pipelines.customers.audit import operator
from upstream_pipelines.customers.members import Member
from upstream_pipelines.customers.roles import Role
from upstream_pipelines.customers.store import get_customer
from upstream_pipelines.db.engine import connect
from upstream_pipelines.db.migrate import prepare

members = typer.Typer(help="Who works for a customer, in which role.", no_args_is_help=True)
people = typer.Typer(help="Who may log in to the API.", no_args_is_help=True)

Slug = Annotated[str, typer.Argument(help="The customer's slug.")]
Email = Annotated[str, typer.Argument(help="The person's e-mail address.")]


@members.command()
def add(
    slug: Slug,
    email: Email,
    role: Annotated[Role, typer.Option(help="What the member may do.")],
    name: Annotated[str, typer.Option(help="The name to show.")] = "",
    *,
    json: Json = False,
) -> None:
    """Invite somebody, or invite again: prints a token, once, with which they set a password and join within 24 hours."""
    settings = short_command_settings()
    prepare(settings)
    with acting(settings) as conn:
        customer = get_customer(conn, slug)
        member, token = domain.invite(conn, operator(), customer.customer_id, email, role, display_name=name)
    if json:
        print_json({"member": asdict(member), "token": token})
        return
    out.print(f"{member.email} is invited to {slug} as {member.role}. Token, shown this once, good for 24 hours:")
    out.print(token, soft_wrap=True)
    out.print(
        "It goes with a password to POST /api/v1/auth/password: a new one, or the one the person has already."
    )


@members.command("list")
def list_(slug: Slug, *, json: Json = False) -> None:
    """Members and open invitations."""
    settings = short_command_settings()
    prepare(settings)
    with connect(settings, "upstream_pipeline") as conn:
        found = domain.list_members(conn, get_customer(conn, slug).customer_id)
    if json:
        print_json([asdict(member) for member in found])
        return
    if not found:
        out.print(f"{slug} has no members. `upstream members add {slug} EMAIL --role owner` invites the first.")
        return
    print_table(
        f"Members of {slug}",
        ("e-mail", "name", "role", "state", "since"),
        (
            (member.email, member.display_name or None, member.role, _state(member), member.joined_at)
            for member in found
        ),
    )


def _state(member: Member) -> str:
    if member.disabled:
        return "disabled"
    return "invited" if member.joined_at is None else "joined"


@members.command("role")
def change_role(
    slug: Slug, email: Email, role: Annotated[Role, typer.Argument(help="What the member may do.")]
) -> None:
    """Give a member another role; the last owner stays one."""
    settings = short_command_settings()
    prepare(settings)
    with acting(settings) as conn:
        customer_id = get_customer(conn, slug).customer_id
        person_id = domain.member_of_email(conn, customer_id, email).person_id
        member = domain.change_role(conn, operator(), customer_id, person_id, role)
    out.print(f"{member.email} is {member.role} of {slug}.")


@members.command()
def remove(slug: Slug, email: Email) -> None:
    """End a membership or an invitation, at once; the last owner stays."""
    settings = short_command_settings()
    prepare(settings)
    with acting(settings) as conn:
        customer_id = get_customer(conn, slug).customer_id
        member = domain.member_of_email(conn, customer_id, email)
        domain.remove(conn, operator(), customer_id, member.person_id)
    out.print(f"{member.email} is no member of {slug} any more.")


@people.command()
def disable(email: Email) -> None:
    """Close a person's log-in to all customers, with all its tokens, at once."""
    settings = short_command_settings()
    prepare(settings)
    with acting(settings) as conn:
        person = persons.set_disabled(conn, operator(), email, disabled=True)
    out.print(f"{person.email} cannot log in any more. `upstream people enable` takes it back.")


@people.command()
def enable(email: Email) -> None:
    """Let a disabled person log in again, with the same password."""
    settings = short_command_settings()
    prepare(settings)
    with acting(settings) as conn:
        person = persons.set_disabled(conn, operator(), email, disabled=False)
    out.print(f"{person.email} may log in again.")


@people.command()
def password(email: Email, *, json: Json = False) -> None:
    """Print a token, once, with which the person sets a new password within 24 hours; that ends all their log-ins."""
    settings = short_command_settings()
    prepare(settings)
    with acting(settings) as conn:
        token = persons.let_reset_password(conn, operator(), email)
    if json:
        print_json({"token": token})
        return
    out.print("Token, shown this once, good for 24 hours:")
    out.print(token, soft_wrap=True)
    out.print("It goes with the new password to POST /api/v1/auth/password.")
