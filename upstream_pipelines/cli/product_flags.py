"""`upstream customers flags`: which parts of the product are on for a customer. Not here: what a part does."""

from __future__ import annotations

from typing import Annotated

import typer

from upstream_pipelines.cli.operator import acting
from upstream_pipelines.cli.output import Json, out, print_json, print_table, short_command_settings
from upstream_pipelines.customers.audit import operator
from upstream_pipelines.customers.flag_changes import replace_flags
from upstream_pipelines.customers.flags import FLAGS, Flag, product_flags
from upstream_pipelines.customers.store import get_customer
from upstream_pipelines.db.migrate import prepare
from upstream_pipelines.errors import InvalidInputError


def flags(
    slug: Annotated[str, typer.Argument(help="The customer's slug, such as acme.")],
    on: Annotated[list[str] | None, typer.Option(help="A part to switch on; may be given several times.")] = None,
    off: Annotated[
        list[str] | None, typer.Option(help="A part to switch off; may be given several times.")
    ] = None,
    *,
    json: Json = False,
) -> None:
    """Which parts of the product are on: csv_upload, webhook_ingest, drift, alerts, reports; switches them on and off."""
    wanted = _wanted(on or [], off or [])
    settings = short_command_settings()
    prepare(settings)
    with acting(settings) as conn:
        customer = get_customer(conn, slug)
        if wanted:
            replace_flags(conn, operator(), customer, wanted)
        present = product_flags(conn, customer.customer_id)
    if json:
        print_json({"slug": slug, "revision": present.revision, "flags": dict(present.on)})
        return
    print_table(
        f"Product flags of {slug}",
        ("part", "state"),
        ((flag, "on" if state else "off") for flag, state in present.on.items()),
    )
    if wanted:
        out.print("What was accepted before goes on; `upstream audit` has who switched what.")


def _wanted(on: list[str], off: list[str]) -> dict[Flag, bool]:
    unknown = sorted({*on, *off} - set(FLAGS))
    if unknown or set(on) & set(off):
        raise InvalidInputError(
            f"There is no part {', '.join(unknown)}. The parts are {', '.join(FLAGS)}."
            if unknown
            else f"{', '.join(sorted(set(on) & set(off)))} cannot be both on and off."
        )
    return {flag: flag in on for flag in FLAGS if flag in on or flag in off}
