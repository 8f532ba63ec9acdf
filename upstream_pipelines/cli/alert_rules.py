"""`upstream alerts dry-run, test`: what rules would have told, and whether a channel works. Not here: what was told
(alerts.py).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from upstream_pipelines.cli.output import (
    Json,
    out,
    print_fields,
    print_json,
    print_table,
    progress,
    short_command_settings,
)
from upstream_pipelines.customers.audit import operator
from upstream_pipelines.customers.configuration import read_configuration_file
from upstream_pipelines.customers.store import get_customer
from upstream_pipelines.db.engine import connect
from upstream_pipelines.db.migrate import prepare
from upstream_pipelines.errors import ConfigurationError
from upstream_pipelines.observability.tracing import configure_tracing

Slug = Annotated[str, typer.Argument(help="The customer's slug.")]
_SHOWN = 20


def dry_run(
    slug: Slug,
    rules: Annotated[
        Path | None,
        typer.Option(help="A YAML file with `alert_rules:` to try; without it the rules that are stored."),
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=3650, help="How many past days to ask the rules about.")] = 90,
    *,
    json: Json = False,
) -> None:
    """Which rules would have told of the past days' events, and how many messages that makes a week. Sends nothing."""
    from upstream_pipelines.alerts.dry_run import NOT_SIMULATED
    from upstream_pipelines.alerts.dry_run import dry_run as try_rules
    from upstream_pipelines.alerts.history import past_events
    from upstream_pipelines.alerts.store import check_channels_of_rules, enabled_channels, stored_rules

    settings = short_command_settings()
    prepare(settings)
    until = datetime.now(UTC)
    with connect(settings, "upstream_pipeline") as conn:
        customer = get_customer(conn, slug)
        channels = enabled_channels(conn, customer.customer_id)
        if rules is None:
            tried = stored_rules(conn, customer.customer_id)
        else:
            file = read_configuration_file(rules, customer.configuration)
            if file.alert_rules is None:
                raise ConfigurationError(f"{rules} has no section alert_rules. Write the rules to try under it.")
            tried = list(file.alert_rules)
            if file.channels is not None:
                channels = sorted(channel.name for channel in file.channels)
            check_channels_of_rules(tried, channels)
        events = past_events(conn, customer.customer_id, until - timedelta(days=days))
    outcomes = try_rules(events, tried, channels, until)
    news = [event for event in events if event.notice != "update"]
    if json:
        print_json(
            {
                "days": days, "events": len(news), "not_simulated": NOT_SIMULATED,
                "rules": [
                    {
                        "rule": one.rule.name, "channels": list(one.channels), "alerts": one.counted(),
                        "held_back": one.held, "messages": len(one.messages), "messages_a_week": one.a_week(days),
                        "told": [vars(telling) for telling in one.told],
                    }
                    for one in outcomes
                ],
            }
        )  # fmt: skip
        return
    print_table(
        f"Dry run of {customer.name}: the last {days} days, {len(news)} events; nothing was sent",
        ("rule", "channel", "alerts it would have told", "held back", "messages", "messages a week"),
        (
            (
                one.rule.name, channel, _counts(one.counted()), one.held, len(one.messages), one.a_week(days),
            )
            for one in outcomes
            for channel in one.channels or ("(none: no such channel is on)",)
        ),
    )  # fmt: skip
    told = sorted(
        ((telling, one.rule.name) for one in outcomes for telling in one.told), key=lambda pair: pair[0].at
    )
    if told:
        print_table(
            "The latest of them" if len(told) > _SHOWN else "They are",
            ("at", "rule", "kind", "notice", "about"),
            ((one.at, name, one.kind, one.notice, one.about) for one, name in told[-_SHOWN:]),
        )
    out.print(f"Not simulated: {NOT_SIMULATED}.")


def _counts(counted: Any) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counted.items())) or "none"


def try_channel(
    slug: Slug, channel: Annotated[str, typer.Argument(help="Name of the channel.")], *, json: Json = False
) -> None:
    """Send one message marked as a test through a channel, and say what came of it."""
    from upstream_pipelines.delivery.trial import try_channel as send_test

    settings = short_command_settings()
    configure_tracing(settings)
    prepare(settings)
    with connect(settings, "upstream_pipeline") as conn:
        customer = get_customer(conn, slug)
        with progress("Sending …", quiet=json):
            tested = send_test(conn, settings, customer.customer_id, channel, actor=operator())
    if json:
        print_json(vars(tested))
    else:
        print_fields(
            f"Test of channel {channel}",
            {
                "outcome": "sent: look whether it arrived" if tested.sent else "not sent",
                "what happened": tested.detail,
                "answer": tested.answer,
                "milliseconds": tested.latency_ms,
                "what to do": tested.advice,
                "delivery": tested.delivery_id,
            },
        )
    if not tested.sent:
        raise typer.Exit(1)
