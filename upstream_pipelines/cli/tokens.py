"""`upstream tokens`: a customer's ingestion tokens. Not here: what they open (the API)."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from upstream_pipelines.cli.instants import instant
from upstream_pipelines.cli.operator import acting, audited
from upstream_pipelines.cli.output import Json, out, print_json, print_table, short_command_settings
from upstream_pipelines.customers.store import get_customer
from upstream_pipelines.customers.tokens import (
    TokenInfo,
    find_token,
    list_tokens,
    make_token,
    revoke_token,
)
from upstream_pipelines.db.engine import connect
from upstream_pipelines.db.migrate import prepare

app = typer.Typer(help="What a customer's systems send claims with.", no_args_is_help=True)
Slug = Annotated[str, typer.Argument(help="The customer's slug, such as acme.")]


@app.command()
def add(
    slug: Slug,
    label: Annotated[str, typer.Option(help="What the token is for.")] = "",
    expires: Annotated[
        str | None,
        typer.Option(help="Good until this day or instant, UTC: YYYY-MM-DD[THH:MM]; else until revoked."),
    ] = None,
    *,
    json: Json = False,
) -> None:
    """Make another ingestion token; it is shown once."""
    end = instant(expires, "--expires") if expires is not None else None
    settings = short_command_settings()
    prepare(settings)
    with acting(settings) as conn:
        customer = get_customer(conn, slug)
        info, made = make_token(conn, customer.customer_id, label=label, expires_at=end)
        details = {"expires": end.isoformat()} if end is not None else {}
        audited(conn, customer, "token.issued", ("token", info.token_id), prefix=info.prefix, **details)
    if json:
        print_json({"token": made})
    else:
        out.print(made, soft_wrap=True)


@app.command("list")
def list_(slug: Slug, *, json: Json = False) -> None:
    """A customer's ingestion tokens, with their last use; never the tokens themselves."""
    settings = short_command_settings()
    prepare(settings)
    with connect(settings, "upstream_pipeline") as conn:
        found = list_tokens(conn, get_customer(conn, slug).customer_id)
    if json:
        print_json([asdict(info) for info in found])
        return
    print_table(
        f"Ingestion tokens of {slug}",
        ("prefix", "label", "state", "made", "last used", "expires"),
        (
            (info.prefix, info.label or None, _state(info), info.created_at, info.last_used_at, info.expires_at)
            for info in found
        ),
    )


def _state(info: TokenInfo) -> str:
    if info.revoked_at is not None:
        return "revoked"
    return "expired" if info.expires_at is not None and info.expires_at <= datetime.now(UTC) else "good"


@app.command()
def revoke(
    slug: Slug,
    named: Annotated[
        str,
        typer.Argument(metavar="TOKEN", help="Its prefix (upi_ and 8 characters) or id, never the token itself."),
    ],
) -> None:
    """End an ingestion token at once: what sends with it is refused from then on."""
    settings = short_command_settings()
    prepare(settings)
    with acting(settings) as conn:
        customer = get_customer(conn, slug)
        info = find_token(conn, customer.customer_id, named)
        revoke_token(conn, customer.customer_id, info.token_id)
        audited(conn, customer, "token.revoked", ("token", info.token_id), prefix=info.prefix)
    out.print(f"Token {info.prefix} of {slug} is revoked.")
