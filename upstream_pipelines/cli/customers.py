"""`upstream customers`: create, list, configure, disable, enable. Not here: their ingestion tokens (tokens.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from upstream_pipelines.cli.operator import acting, audited
from upstream_pipelines.cli.output import Json, out, print_fields, print_json, print_table, short_command_settings
from upstream_pipelines.customers.audit import operator
from upstream_pipelines.customers.configuration import CustomerConfiguration, read_configuration_file
from upstream_pipelines.customers.models import Customer
from upstream_pipelines.customers.store import (
    accept_aliases,
    configure_customer,
    get_customer,
    list_customers,
    set_status,
    sign_up,
)
from upstream_pipelines.db.engine import connect
from upstream_pipelines.db.migrate import prepare
from upstream_pipelines.errors import NotFoundError
from upstream_pipelines.ingest.landing import customer_folder

app = typer.Typer(help="Who sends claims.", no_args_is_help=True)
_APPLIED = "Changed aliases and groups reach the stored claims by a run that starts within a minute while `upstream up` runs."
Slug = Annotated[str, typer.Argument(help="The customer's slug, such as acme.")]


def _described(customer: Customer) -> dict[str, Any]:
    return {
        "slug": customer.slug,
        "name": customer.name,
        "status": customer.status,
        "created_at": customer.created_at,
        "configuration": customer.stored_configuration,
    }


@app.command()
def create(
    slug: Slug, name: Annotated[str, typer.Option(help="The organisation's name.")], *, json: Json = False
) -> None:
    """Sign up a customer: partition, landing folder, default rules, an ingestion token (shown once)."""
    settings = short_command_settings()
    prepare(settings)
    with acting(settings) as conn:
        customer, token = sign_up(conn, operator(), slug, name)
    folder = customer_folder(settings, slug)
    _add_partition(slug)
    if json:
        print_json({"customer": _described(customer) | {"landing_folder": str(folder)}, "token": token})
        return
    print_fields(f"Customer {slug}", {"name": customer.name, "landing folder": folder})
    out.print("Ingestion token, shown this once:", token, soft_wrap=True)
    out.print(f"Next: drop a file (CSV or X12 835) into that folder, or `upstream upload {slug} FILE`.")


def _add_partition(slug: str) -> None:
    """Dagster's key of the customer; the sensor adds it too, should this process end before."""
    from upstream_pipelines.defs.home import dagster_instance
    from upstream_pipelines.defs.partitions import customer_partitions

    with dagster_instance(short_command_settings()) as instance:
        instance.add_dynamic_partitions(customer_partitions.name or "", [slug])


@app.command("list")
def list_(*, json: Json = False) -> None:
    """All customers."""
    settings = short_command_settings()
    prepare(settings)
    with connect(settings, "upstream_pipeline") as conn:
        customers = list_customers(conn)
    if json:
        print_json([_described(customer) for customer in customers])
        return
    print_table(
        "Customers",
        ("slug", "name", "status", "since"),
        ((customer.slug, customer.name, customer.status, customer.created_at) for customer in customers),
    )


@app.command()
def configure(
    slug: Slug,
    file: Annotated[
        Path, typer.Option(help="The customer's YAML file; docs/guide/configuration.md has every key.")
    ],
    *,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Start from nothing: what the file does not mention goes to its default."),
    ] = False,
    json: Json = False,
) -> None:
    """Set what the file mentions: columns, outcomes, aliases, groups, rules, channels, cadence; the rest stays."""
    settings = short_command_settings()
    prepare(settings)
    with acting(settings) as conn:
        customer = get_customer(conn, slug)
        present = CustomerConfiguration() if replace else customer.configuration
        content = read_configuration_file(file, present)
        secrets = configure_customer(conn, customer, content)
        audited(
            conn, customer, "customer.configured", ("customer", slug), replaced=replace,
            channels=len(content.channels) if content.channels is not None else None,
            alert_rules=len(content.alert_rules) if content.alert_rules is not None else None,
        )  # fmt: skip
        customer = get_customer(conn, slug)
    if json:
        print_json({"customer": _described(customer), "secrets": secrets})
        return
    out.print(f"Customer {slug} is configured.")
    for channel, secret in secrets.items():
        out.print(f"Signing secret of channel {channel} (shown once): {secret}")
    if customer.configuration.naming_sha256() != present.naming_sha256():
        out.print(_APPLIED)


@app.command()
def aliases(
    slug: Slug,
    accept: Annotated[
        list[str] | None,
        typer.Option(help="A suggested spelling to accept as an alias; may be given several times."),
    ] = None,
    *,
    accept_all: Annotated[bool, typer.Option("--accept-all", help="Accept every suggestion.")] = False,
    json: Json = False,
) -> None:
    """Payers that look like another spelling of a known one, and the aliases that would make them one."""
    from upstream_pipelines.quality.payer_names import aliases_yaml
    from upstream_pipelines.quality.store import stored_payer_spellings

    settings = short_command_settings()
    prepare(settings)
    with acting(settings) as conn:
        customer = get_customer(conn, slug)
        found = stored_payer_spellings(conn, customer)
        wanted = {suggestion.spelling for suggestion in found} if accept_all else set(accept or ())
        unknown = wanted - {suggestion.spelling for suggestion in found}
        if unknown:
            raise NotFoundError(
                f"Not suggested: {', '.join(sorted(unknown))}. `upstream customers aliases {slug}` lists what is; other "
                "aliases go into the customer's YAML file."
            )
        accepted = {suggestion.spelling: suggestion.payer for suggestion in found if suggestion.spelling in wanted}
        if accepted:
            accept_aliases(conn, customer, accepted)
            audited(conn, customer, "payer_aliases.accepted", ("customer", slug), aliases=len(accepted))
    section = aliases_yaml(found, customer.configuration.mapping.payer_aliases) if found else ""
    if json:
        print_json({"suggestions": [vars(item) for item in found], "yaml": section, "accepted": accepted})
        return
    print_table(
        "Payers spelled otherwise",
        ("spelling", "looks like", "lines", "likeness"),
        ((item.spelling, item.payer, item.lines, item.likeness) for item in found),
    )
    if accepted:
        out.print(f"Accepted: {', '.join(accepted)}. {_APPLIED}")
    elif found:
        out.print("Accept them with --accept SPELLING or --accept-all, or by this section of the YAML file:")
        out.print(section)


@app.command()
def disable(slug: Slug, *, json: Json = False) -> None:
    """Stop reading and looking; the customer's tokens stop working at once. Nothing is deleted."""
    _set_status(slug, "disabled", json=json)


@app.command()
def enable(slug: Slug, *, json: Json = False) -> None:
    """Take a disabled customer up again."""
    _set_status(slug, "active", json=json)


def _set_status(slug: str, status: str, *, json: bool) -> None:
    settings = short_command_settings()
    prepare(settings)
    with acting(settings) as conn:
        customer = set_status(conn, slug, status)
        audited(
            conn, customer, "customer.disabled" if status == "disabled" else "customer.enabled", ("customer", slug)
        )
    if json:
        print_json({"customer": _described(customer)})
    else:
        out.print(f"Customer {slug} is {customer.status}.")
