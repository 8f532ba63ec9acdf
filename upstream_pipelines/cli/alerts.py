"""`upstream alerts`: what was said to whom, and sending what is due now."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from upstream_pipelines.alerts.channel_changes import channel_named
from upstream_pipelines.alerts.content import wording_of
from upstream_pipelines.alerts.life import minute
from upstream_pipelines.alerts.overview import DEAD_FOR
from upstream_pipelines.alerts.resending import Resent, resend_all
from upstream_pipelines.alerts.resending import resend as resend_delivery
from upstream_pipelines.alerts.store import AlertState, enable_channel, list_alerts
from upstream_pipelines.cli.operator import acting, audited
from upstream_pipelines.cli.output import Json, out, print_json, print_table, progress, short_command_settings
from upstream_pipelines.customers.store import get_customer
from upstream_pipelines.db.engine import connect
from upstream_pipelines.db.migrate import prepare
from upstream_pipelines.delivery.worker import deliver_due
from upstream_pipelines.errors import ConfigurationError
from upstream_pipelines.observability.tracing import configure_tracing

app = typer.Typer(help="Alerts, their deliveries and attempts.", no_args_is_help=True)
Slug = Annotated[str, typer.Argument(help="The customer's slug.")]


@app.command("list")
def list_(
    slug: Slug,
    state: Annotated[
        AlertState | None, typer.Option(help="Of this state alone; `failed` is what somebody did not get.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="So many.")] = 200,
    *,
    json: Json = False,
) -> None:
    """The newest alerts with their deliveries and attempts."""
    settings = short_command_settings()
    prepare(settings)
    with connect(settings, "upstream_pipeline") as conn:
        alerts = list_alerts(conn, get_customer(conn, slug).customer_id, limit, state)
    if json:
        print_json(alerts)
        return
    if not alerts and state is not None:
        out.print(f"No alert of {slug} is {state}.")
        return
    if not alerts:
        out.print(
            f"Nothing was alerted for {slug} yet. Alerts need a channel (`upstream customers configure {slug}`); what was found "
            f"before there was one is not told: `upstream drift list {slug}`."
        )
        return
    shown: set[str] = set()
    print_table(
        f"Alerts of {slug}",
        ("id", "at", "kind", "notice", "about", "state", "deliveries"),
        (
            (
                alert["alert_id"][:8],
                datetime.fromisoformat(alert["created_at"]),
                alert["kind"],
                alert["notice"],
                _about(alert["content"]),
                _state(alert),
                "\n".join(_told(delivery, shown) for delivery in alert["deliveries"]),
            )
            for alert in alerts
        ),
    )


def _about(content: dict[str, Any]) -> str:
    """The headline, with which upload or run it is about and why: two of a day would else look the same."""
    wording = wording_of(content)
    facts = dict(wording.facts)
    shown = [
        f"{name.split()[-1].lower()} {facts[name][:8]}"
        for name in ("Upload", "Run", "Failed run")
        if name in facts
    ]
    shown += [facts[name] for name in ("Reason", "Rules", "Rule", "Error") if name in facts]
    return f"{wording.headline} ({', '.join(shown)})" if shown else wording.headline


def _state(alert: dict[str, Any]) -> str:
    """Why it was held back, whom it goes to later, and what it was judged to be."""
    words = f"held back: {alert['reason']}" if alert["state"] == "suppressed" else alert["state"]
    if alert["owed_to"]:
        words += f"; goes to {', '.join(alert['owed_to'])} later"
    judged = alert["judgements"][-1]["judgement"].replace("_", " ") if alert["judgements"] else None
    return f"{words} (judged {judged})" if judged else words


def _told(delivery: dict[str, Any], shown: set[str]) -> str:
    """A message in words; in full with the first of its alerts."""
    if delivery["delivery_id"] in shown:
        return f"{delivery['channel']} {delivery['state']}, in the same message (id {delivery['delivery_id'][:8]})"
    shown.add(delivery["delivery_id"])
    attempts = delivery["attempts"]
    why = f": {attempts[-1]['detail']}" if attempts and delivery["state"] not in {"sent", "sending"} else ""
    if delivery["state"] in {"pending", "retrying"}:
        why += f"; next try {minute(datetime.fromisoformat(delivery['due_at']))}"
    return f"{delivery['channel']} {delivery['state']}, attempts: {len(attempts)}{why} (id {delivery['delivery_id'][:8]})"


@app.command()
def deliver(slug: Slug, *, json: Json = False) -> None:
    """Send this customer's due alerts now, without waiting for the daemon."""
    settings = short_command_settings()
    configure_tracing(settings)
    prepare(settings)
    with connect(settings, "upstream_pipeline") as conn:
        customer = get_customer(conn, slug)
        audited(conn, customer, "delivery.requested", ("customer", slug))
        with progress("Sending …", quiet=json):
            report = deliver_due(settings, customer_id=customer.customer_id)
        alerts = list_alerts(conn, customer.customer_id)
    if json:
        print_json(alerts)
        return
    out.print(
        f"{report.sent} sent, {report.retrying} to be tried again, {report.dead} given up. "
        f"`upstream alerts list {slug}` shows each attempt."
    )


@app.command()
def enable(slug: Slug, channel: Annotated[str, typer.Argument(help="Name of the channel.")]) -> None:
    """Switch a channel on again that was switched off because its receiver failed."""
    settings = short_command_settings()
    prepare(settings)
    with acting(settings) as conn:
        customer = get_customer(conn, slug)
        enable_channel(conn, customer.customer_id, channel)
        audited(conn, customer, "channel.enabled", ("channel", channel_named(conn, customer.customer_id, channel)))
    out.print(f"Channel {channel} is on.")


@app.command()
def resend(
    slug: Slug,
    delivery: Annotated[str | None, typer.Argument(help="Id of a delivery, or its beginning.")] = None,
    channel: Annotated[
        str | None, typer.Option(help="All of this channel that wait, or died within the last 7 days.")
    ] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="With --channel: what died longer ago, too.")] = False,
) -> None:
    """Start dead deliveries again, and try now what waits for its next try: one, or all of a channel."""
    if (delivery is None) == (channel is None):
        raise ConfigurationError("Say what to resend: a delivery's id, or --channel NAME for all of a channel.")
    if every and channel is None:
        raise ConfigurationError("--all goes with --channel NAME: all of that channel, however long ago it died.")
    settings = short_command_settings()
    prepare(settings)
    with acting(settings) as conn:
        customer = get_customer(conn, slug)
        if channel is not None:
            resent = resend_all(
                conn, customer.customer_id, channel, None if every else datetime.now(UTC) - DEAD_FOR
            )
            audited(
                conn,
                customer,
                "channel.resent",
                ("channel", channel_named(conn, customer.customer_id, channel)),
                deliveries=resent.due + resent.hurried,
            )
            said = _resent(slug, channel, resent)
        elif delivery is not None:
            delivery_id = resend_delivery(conn, customer.customer_id, delivery)
            audited(conn, customer, "delivery.resent", ("delivery", delivery_id))
            said = "It is due now."
    out.print(said, markup=False)


def _resent(slug: str, channel: str, resent: Resent) -> str:
    """What is due now, what follows it, and what is left."""
    said = f"{resent.due + resent.hurried} deliveries are due now."
    if resent.following:
        said += (
            f" {resent.following} more, which say that something of these is over, follow once these have arrived."
        )
    if resent.left:
        said += (
            f" Left: {resent.left} that died over {DEAD_FOR.days} days ago, since what they tell may be over. "
            f"`upstream alerts resend {slug} --channel {shlex.quote(channel)} --all` sends them too."
        )
    return said
