"""Channels, rules and the outbox in the database. Not here: matching (rules.py), wording, sending (delivery/)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

from upstream_pipelines.alerts.notices import DriftNotice, Entry, drift_entry, quality_entry, run_failure_entry
from upstream_pipelines.alerts.rules import AlertRule, matches
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.delivery.channels import (
    Channel,
    EmailChannel,
    SlackChannel,
    check_destination,
    new_secret,
)
from upstream_pipelines.errors import ConfigurationError, ConflictError, NotFoundError, UpstreamError
from upstream_pipelines.settings import Settings, read_settings

QUERIES = load_queries(__package__)
_UNLISTED = "no longer in the customer's configuration"


def sync_channels(
    conn: Connection, customer_id: int, channels: Sequence[Channel], settings: Settings | None = None
) -> dict[str, str]:
    """Make a customer's channels those listed; others are disabled, never deleted.

    Returns: signing secrets made for new webhook channels, by channel name. They are shown this once.

    Raises:
        ConfigurationError: a name twice, or a URL that can never be sent to.
        NotFoundError: no such customer.
    """
    _refuse_double_names("channels", [channel.name for channel in channels])
    settings = settings or read_settings()
    for channel in channels:
        check_destination(channel, settings)
    with conn.transaction():
        if conn.execute(QUERIES.lock_customer, {"customer_id": customer_id}).fetchone() is None:
            raise NotFoundError(f"There is no customer {customer_id}. `upstream customers list` shows them all.")
        signed = {
            name
            for name, kind, has_secret in conn.execute(QUERIES.channels_of, {"customer_id": customer_id})
            if kind == "webhook" and has_secret
        }
        made = {
            channel.name: new_secret()
            for channel in channels
            if channel.kind == "webhook" and channel.secret is None and channel.name not in signed
        }
        parts = [_stored_parts(channel) for channel in channels]
        names = [channel.name for channel in channels]
        conn.execute(
            QUERIES.upsert_channels,
            {
                "customer_id": customer_id,
                "names": names,
                "kinds": [channel.kind for channel in channels],
                "configurations": [json.dumps(configuration) for configuration, _ in parts],
                "secrets": [made.get(name, secret) for name, (_, secret) in zip(names, parts, strict=True)],
                "unlisted": _UNLISTED,
            },
        )
        conn.execute(
            QUERIES.disable_unlisted_channels,
            {"customer_id": customer_id, "names": names, "unlisted": _UNLISTED},
        )
    return made


def enable_channel(conn: Connection, customer_id: int, name: str) -> None:
    """Switch a channel on again that its receiver's failures had disabled.

    Raises:
        NotFoundError: no channel of that name.
    """
    if conn.execute(QUERIES.enable_channel, {"customer_id": customer_id, "name": name}).rowcount == 0:
        raise NotFoundError(f"This customer has no channel {name}.")


def sync_rules(conn: Connection, customer_id: int, rules: Sequence[AlertRule]) -> None:
    """Make a customer's rules those listed; others are disabled, never deleted.

    Raises:
        ConfigurationError: a name twice, or a channel that the customer does not have.
    """
    names = [rule.name for rule in rules]
    _refuse_double_names("alert_rules", names)
    with conn.transaction():
        known = {row[0] for row in conn.execute(QUERIES.channels_of, {"customer_id": customer_id})}
        unknown = sorted({name for rule in rules for name in rule.channels or ()} - known)
        if unknown:
            raise ConfigurationError(
                f"alert_rules: there is no channel {', '.join(unknown)}. "
                f"Channels: {', '.join(sorted(known)) or 'none; list them under channels'}."
            )
        rows = json.dumps([rule.model_dump(mode="json") for rule in rules])
        conn.execute(QUERIES.upsert_rules, {"customer_id": customer_id, "rules": rows})
        conn.execute(QUERIES.disable_unlisted_rules, {"customer_id": customer_id, "names": names})


def write_drift_alerts(conn: Connection, customer_id: int, notices: Sequence[DriftNotice]) -> int:
    """Match the rules and write alerts and deliveries, in the transaction that wrote the events.

    A resolved notice goes only where the opening was told. The same notice again adds nothing.

    Returns: number of alerts written.

    Raises:
        UpstreamError: no transaction is open: a crash between event and alert would lose the alert.
    """
    if conn.info.transaction_status != TransactionStatus.INTRANS:
        raise UpstreamError(
            "write_drift_alerts needs the transaction that writes the drift events. "
            "Call it inside `with conn.transaction():`."
        )
    return _write(conn, customer_id, [drift_entry(notice) for notice in notices])


def write_run_failure_alert(  # noqa: PLR0917  the callers' order of words
    conn: Connection,
    customer_id: int,
    run_id: str,
    job_name: str,
    step: str | None,
    error_class: str,
    link: str | None,
) -> int:
    """Put a failed run into the outbox, once per run. Returns: number of alerts written."""
    return _write(conn, customer_id, [run_failure_entry(run_id, job_name, step, error_class, link)])


def write_quality_alert(  # noqa: PLR0917  as above
    conn: Connection,
    customer_id: int,
    upload_id: uuid.UUID,
    score: float,
    failed_rules: Sequence[str],
    link: str | None,
    rows: tuple[int, int] | None = None,
) -> int:
    """Put an upload that failed quality rules into the outbox, once per upload; `rows`: rejected, of all. Returns:
    alerts written.
    """
    return _write(conn, customer_id, [quality_entry(upload_id, score, failed_rules, link, rows)])


def email_channels(conn: Connection) -> int:
    """How many switched-on e-mail channels there are, of all customers."""
    row = conn.execute(QUERIES.count_email_channels).fetchone()
    assert row is not None
    return int(row[0])


def due_deliveries(conn: Connection, now: datetime | None = None) -> int:
    """How many deliveries a worker would take at `now` (default: this moment)."""
    row = conn.execute(QUERIES.count_due, {"now": now or datetime.now(UTC)}).fetchone()
    assert row is not None
    return int(row[0])


def list_alerts(conn: Connection, customer_id: int, limit: int = 200) -> list[dict[str, Any]]:
    """The newest alerts, each with its deliveries and their attempts; JSON-able, without chart and secrets."""
    return [row[0] for row in conn.execute(QUERIES.list_alerts, {"customer_id": customer_id, "limit": limit})]


def resend(conn: Connection, customer_id: int, delivery_id: uuid.UUID, now: datetime | None = None) -> None:
    """Start a dead delivery's retry schedule again.

    Raises:
        NotFoundError: no such delivery of this customer.
        ConflictError: it is not dead, or its channel is disabled.
    """
    key = {"customer_id": customer_id, "delivery_id": delivery_id, "now": now or datetime.now(UTC)}
    with conn.transaction():
        found = conn.execute(QUERIES.delivery_state, key).fetchone()
        if found is None:
            raise NotFoundError(f"There is no delivery {delivery_id}. `upstream alerts list` shows them all.")
        state, alert_id, enabled, channel = found
        if not enabled:
            raise ConflictError(f"Channel {channel} is disabled. Put it right and enable it, then resend.")
        alerts = {"customer_id": customer_id, "alert_ids": [alert_id]}
        conn.execute(QUERIES.lock_alert, alerts)
        if conn.execute(QUERIES.resend_delivery, key).rowcount == 0:
            raise ConflictError(f"Delivery {delivery_id} is {state}; only a dead one is resent.")
        conn.execute(QUERIES.settle_alerts, alerts)


def conservation(conn: Connection, customer_id: int) -> dict[str, int]:
    """Counts that show nothing was lost or invented between alerts, deliveries and attempts.

    Returns: alerts, expected_deliveries, deliveries; and missing_deliveries, unexpected_deliveries,
    lost_attempts, wrong_states, which are all 0 when the outbox is whole.
    """
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(QUERIES.conservation, {"customer_id": customer_id}).fetchone()
    assert row is not None
    return {name: int(count) for name, count in row.items()}


def _write(conn: Connection, customer_id: int, entries: Sequence[Entry]) -> int:
    """All matching (rule, event) pairs in one statement; `conn` decides what transaction that is."""
    if not entries:
        return 0
    with conn.transaction():
        customer = conn.execute(QUERIES.customer_name, {"customer_id": customer_id}).fetchone()
        if customer is None:
            raise NotFoundError(f"There is no customer {customer_id}. `upstream customers list` shows them all.")
        pairs = _matched(conn, customer_id, entries)
        if not pairs:
            return 0
        common = {"customer": {"slug": customer[0], "name": customer[1]}}
        row = conn.execute(
            QUERIES.write_alerts,
            {
                "customer_id": customer_id,
                "rule_ids": [rule_id for rule_id, _ in pairs],
                "kinds": [entry.kind for _, entry in pairs],
                "notices": [entry.notice for _, entry in pairs],
                "fingerprints": [entry.fingerprint for _, entry in pairs],
                "subject_ids": [entry.subject_id for _, entry in pairs],
                "contents": [json.dumps({**entry.content, **common}) for _, entry in pairs],
            },
        ).fetchone()
    assert row is not None
    return int(row[0])


def _matched(conn: Connection, customer_id: int, entries: Sequence[Entry]) -> list[tuple[uuid.UUID, Entry]]:
    """Openings by what the rules say now; endings by who was told of the opening."""
    with conn.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(QUERIES.rules_of, {"customer_id": customer_id}).fetchall()
    rules = {row.pop("rule_id"): AlertRule.model_validate(row) for row in rows}
    pairs = [
        (rule_id, entry)
        for entry in entries
        if entry.notice == "open"
        for rule_id, rule in rules.items()
        if matches(rule, entry.facts)
    ]
    endings = {entry.subject_id: entry for entry in entries if entry.notice == "resolved"}
    if endings:
        told = conn.execute(
            QUERIES.rules_told_of_opening, {"customer_id": customer_id, "subject_ids": list(endings)}
        )
        pairs += [(rule_id, endings[subject_id]) for rule_id, subject_id in told]
    return pairs


def _stored_parts(channel: Channel) -> tuple[dict[str, Any], str | None]:
    """What is stored in the open and what is stored as the secret."""
    if isinstance(channel, EmailChannel):
        return {"recipients": list(channel.recipients)}, None
    if isinstance(channel, SlackChannel):
        if channel.webhook_url is not None:
            return {}, channel.webhook_url.get_secret_value()
        assert channel.bot_token is not None
        return {"channel": channel.channel}, channel.bot_token.get_secret_value()
    return {"url": channel.url}, channel.secret.get_secret_value() if channel.secret is not None else None


def _refuse_double_names(key: str, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigurationError(f"{key}: {', '.join(twice)} is there twice. Names must differ.")
