"""What people see of alerts in the Dagster UI: told, held back and why, given up, channels, attempts.

Not here: the asset and the run that show it (alert_assets.py), the general form of tables (tables.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from upstream_pipelines.alerts.overview import ChannelState, Overview
from upstream_pipelines.defs.tables import markdown_table

_SHOWN_ATTEMPTS = 30


def alert_metadata(slug: str, seen: Overview) -> dict[str, Any]:
    """Counts and tables of a customer's newest alerts."""
    return {
        "told": len(seen.told),
        "held back": len(seen.held),
        "given up": len(seen.dead),
        "what was told": markdown_table(
            ("at", "what", "kind", "notice", "rule", "state", "where"),
            (
                (
                    datetime.fromisoformat(alert["created_at"]), alert["headline"], alert["kind"], alert["notice"], alert["rule"],
                    alert["state"], ", ".join(_where(delivery) for delivery in alert["deliveries"]),
                )
                for alert in seen.told
            ),
            "Nothing was told yet.",
        ),
        "what was held back": markdown_table(
            ("at", "what", "kind", "rule", "why", "looked at again"),
            (
                (
                    datetime.fromisoformat(alert["created_at"]), alert["headline"], alert["kind"], alert["rule"], alert["reason"],
                    datetime.fromisoformat(alert["held_until"]) if alert["held_until"] else "no",
                )
                for alert in seen.held
            ),
            "Nothing was held back.",
        ),
        "what was given up": markdown_table(
            ("what", "channel", "attempts", "why", "send it again"),
            (
                (
                    alert["headline"], delivery["channel"], len(delivery["attempts"]),
                    delivery["progress"].get("reason"), f"upstream alerts resend {slug} {delivery['delivery_id']}",
                )
                for alert, delivery in seen.dead
            ),
            "No message was given up.",
        ),
        "channels": channels_table(seen.channels),
        "latest attempts": _latest_attempts(seen),
    }  # fmt: skip


def channels_table(channels: Sequence[ChannelState]) -> Any:
    """Channels: on or why not, failing or well, what waits."""
    return markdown_table(
        ("channel", "kind", "on", "why not", "failing since", "last arrived", "waiting", "given up in a week"),
        (
            (
                channel.name, channel.kind, channel.enabled, channel.disabled_reason, channel.failing_since,
                channel.last_sent, channel.waiting, channel.dead,
            )
            for channel in channels
        ),
        "No channel: nobody hears of anything. `upstream customers configure` names them.",
    )  # fmt: skip


def attempts_table(attempts: Sequence[Mapping[str, Any]]) -> Any:
    """Attempts of all customers, as `alerts.overview.attempts_since` gives them. Not the receivers' answers."""
    return markdown_table(
        ("at", "customer", "channel", "kind", "alerts", "outcome", "status", "ms", "detail"),
        (
            (
                attempt["started_at"], attempt["slug"], attempt["channel"], attempt["kind"], attempt["alerts"],
                attempt["outcome"], attempt["status_code"], attempt["latency_ms"], attempt["detail"],
            )
            for attempt in attempts
        ),
        "Nothing was tried.",
    )  # fmt: skip


def _latest_attempts(seen: Overview) -> Any:
    # A message of several alerts is one delivery: its attempts are shown once.
    deliveries = {delivery["delivery_id"]: delivery for alert in seen.told for delivery in alert["deliveries"]}
    tried = [(attempt, delivery) for delivery in deliveries.values() for attempt in delivery["attempts"]]
    tried.sort(key=lambda pair: pair[0]["started_at"], reverse=True)
    return markdown_table(
        ("at", "channel", "attempt", "outcome", "status", "ms", "detail"),
        (
            (
                datetime.fromisoformat(attempt["started_at"]), delivery["channel"], attempt["attempt"], attempt["outcome"],
                attempt["status_code"], attempt["latency_ms"], attempt["detail"],
            )
            for attempt, delivery in tried[:_SHOWN_ATTEMPTS]
        ),
        "Nothing was tried yet.",
    )  # fmt: skip


def _where(delivery: Mapping[str, Any]) -> str:
    tries = len(delivery["attempts"])
    return f"{delivery['channel']} {delivery['state']}" + (f" after {tries} tries" if tries > 1 else "")
