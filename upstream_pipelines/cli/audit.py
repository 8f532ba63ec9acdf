"""`upstream audit`: who did what to which customer. Not here: writing it down (operator.py, the API)."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated
from uuid import UUID

import typer

from upstream_pipelines.cli.instants import instant
from upstream_pipelines.cli.output import Json, out, print_json, print_table, short_command_settings
from upstream_pipelines.customers.audit import (
    Act,
    ActFilter,
    acts_as_csv,
    deleted_customer,
    operator,
    read_acts,
    record,
)
from upstream_pipelines.customers.store import get_customer
from upstream_pipelines.db.engine import Connection, connect
from upstream_pipelines.db.migrate import prepare
from upstream_pipelines.errors import NotFoundError

_PAGE = 1000


def audit(
    slug: Annotated[
        str | None,
        typer.Argument(
            help="The customer's slug, also of one that was deleted; without it, acts of no customer: log-ins."
        ),
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="From this day or instant on, UTC: YYYY-MM-DD[THH:MM].")
    ] = None,
    action: Annotated[str | None, typer.Option(help="Only this, such as member.removed.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="So many, the newest; --csv gives all.")] = 100,
    *,
    csv: Annotated[bool, typer.Option("--csv", help="All of them as CSV on standard output.")] = False,
    json: Json = False,
) -> None:
    """Who did what, the newest first: a trail that nobody can change."""
    settings = short_command_settings()
    prepare(settings)
    wanted = ActFilter(action=action, since=instant(since, "--since") if since is not None else None)
    found: list[Act] = []
    mark: str | None = None
    with connect(settings, "upstream_pipeline") as conn:
        customer_id = _customer_id(conn, slug) if slug is not None else None
        if csv:
            of = ("customer", slug) if slug is not None else ("platform", "")
            record(conn, operator(), "audit.exported", of, customer_id=customer_id)
        while csv:
            acts, mark = read_acts(conn, customer_id, wanted, after=mark, limit=_PAGE)
            sys.stdout.write(acts_as_csv(acts, header=not found))
            found = acts or found
            if mark is None:
                return
        found, _ = read_acts(conn, customer_id, wanted, limit=limit)
    if json:
        print_json([asdict(act) for act in found])
        return
    print_table(
        f"Acts on {slug}" if slug is not None else "Log-ins",
        ("at", "who", "did", "to", "details"),
        (
            (
                act.at, f"{act.actor_name or act.actor_id} ({act.actor_kind})", act.action,
                f"{act.entity_kind} {_short(act.entity_id)}",
                ", ".join(f"{name}: {value}" for name, value in act.details.items()) or None,
            )
            for act in found
        ),
    )  # fmt: skip
    if len(found) == limit:
        out.print(f"These are the newest {limit}; --limit shows more.")


def _customer_id(conn: Connection, slug: str) -> int:
    """Of a customer that is there, else of the one of that slug that was deleted last."""
    try:
        return get_customer(conn, slug).customer_id
    except NotFoundError:
        gone = deleted_customer(conn, slug)
        if gone is None:
            raise
        return gone


def _short(entity_id: str) -> str:
    """An id as lists show it; --json and --csv have it in full, with the request's."""
    return entity_id[:8] if len(entity_id) == len(str(UUID(int=0))) else entity_id
