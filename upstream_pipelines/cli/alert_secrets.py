"""`upstream alerts rotate-secret`: a channel's secret replaced. Not here: setting channels up, their alerts (alerts.py)."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from upstream_pipelines.alerts.channel_changes import channel_named
from upstream_pipelines.cli.operator import acting, audited
from upstream_pipelines.cli.output import Json, out, print_json, short_command_settings
from upstream_pipelines.customers.store import get_customer
from upstream_pipelines.db.migrate import prepare
from upstream_pipelines.delivery.rotation import OVERLAP
from upstream_pipelines.delivery.rotation import rotate_secret as rotate

Slug = Annotated[str, typer.Argument(help="The customer's slug.")]
Channel = Annotated[str, typer.Argument(help="Name of the channel.")]


def rotate_secret(
    slug: Slug,
    channel: Channel,
    *,
    at_once: Annotated[
        bool, typer.Option("--at-once", help="For a secret that leaked: the old one stops signing now.")
    ] = False,
    json: Json = False,
) -> None:
    """Give a webhook a new signing secret. Both sign for 24 hours."""
    settings = short_command_settings()
    prepare(settings)
    overlap = timedelta() if at_once else OVERLAP
    with acting(settings) as conn:
        customer = get_customer(conn, slug)
        secret = rotate(conn, customer.customer_id, channel, overlap=overlap)
        audited(
            conn,
            customer,
            "channel.secret_rotated",
            ("channel", channel_named(conn, customer.customer_id, channel)),
            at_once=at_once,
        )
    if json:
        print_json({"channel": channel, "secret": secret, "overlap_hours": overlap.total_seconds() / 3600})
        return
    out.print(f"New secret of {channel}, shown this once: {secret}")
    out.print(
        "The old one signs no more: until the receiver has the new one it refuses what comes."
        if at_once
        else f"Until the receiver has it, the old one is signed with too, for {overlap.total_seconds() / 3600:.0f} hours."
    )
    out.print(
        "Where the customer's file names a secret of this channel, put the new one there too: "
        "the next `upstream customers configure` would bring the old one back."
    )
