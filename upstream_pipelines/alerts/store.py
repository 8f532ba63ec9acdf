"""Channels, rules and the outbox in the database. Not here: matching (rules.py), the decision whether an
alert is told (life.py, outbox.py), wording, sending (delivery/).
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

from upstream_pipelines.alerts.notices import DriftNotice, Entry, drift_entry, drift_subject
from upstream_pipelines.alerts.occurrences import quality_entry, refused_entry, run_failure_entry
from upstream_pipelines.alerts.outbox import QUERIES, write_pairs
from upstream_pipelines.alerts.rules import (
    HEARS_OF_ALL,
    MOST_RULES,
    AlertRule,
    Facts,
    matches,
    read_stored,
    wants_late,
)
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.delivery.channels import (
    Channel,
    EmailChannel,
    SlackChannel,
    check_destination,
    new_secret,
)
from upstream_pipelines.errors import ConfigurationError, NotFoundError, UpstreamError
from upstream_pipelines.settings import Settings, read_settings

_log = logging.getLogger(__name__)
AlertState = Literal["pending", "sent", "failed", "suppressed"]
_UNLISTED = "no longer in the customer's configuration"


def sync_channels(
    conn: Connection,
    customer_id: int,
    channels: Sequence[Channel],
    settings: Settings | None = None,
    now: datetime | None = None,
) -> dict[str, str]:
    """Make a customer's channels those listed; others are disabled, never deleted. What was held back for want of a
    channel is decided over again.

    Returns: signing secrets made for new webhook channels, by channel name. They are shown this once.

    Raises:
        ConfigurationError: a name twice, or a URL that can never be sent to.
        NotFoundError: no such customer.
    """
    _refuse_double_names("channels", [channel.name for channel in channels])
    settings, now = settings or read_settings(), now or datetime.now(UTC)
    for channel in channels:
        check_destination(channel, settings)
    with conn.transaction():
        if conn.execute(QUERIES.lock_customer, {"customer_id": customer_id}).fetchone() is None:
            raise NotFoundError(f"There is no customer {customer_id}. `upstream customers list` shows them all.")
        # Alerts before channels, as a worker locks them.
        conn.execute(QUERIES.lock_waiting, {"customer_id": customer_id})
        conn.execute(QUERIES.lock_customers_channels, {"customer_id": customer_id})
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
            {"customer_id": customer_id, "names": names, "unlisted": _UNLISTED, "now": now},
        )
        conn.execute(QUERIES.wake_held, {"customer_id": customer_id, "now": now})
    return made


def enable_channel(conn: Connection, customer_id: int, name: str, now: datetime | None = None) -> None:
    """Switch a channel on again that its receiver's failures had disabled; what was held back for want of one is decided
    over again.

    Raises:
        NotFoundError: no channel of that name.
    """
    key = {"customer_id": customer_id, "name": name, "now": now or datetime.now(UTC)}
    with conn.transaction():
        # Who decides meanwhile saw it off; what they hold back must be there to be woken.
        conn.execute(QUERIES.lock_customer, key)
        # Alerts before the channel, as a worker locks them.
        conn.execute(QUERIES.lock_waiting, key)
        if conn.execute(QUERIES.enable_channel, key).rowcount == 0:
            raise NotFoundError(f"This customer has no channel {name}.")
        conn.execute(QUERIES.wake_held, key)


def sync_rules(conn: Connection, customer_id: int, rules: Sequence[AlertRule]) -> None:
    """Make a customer's rules those listed; others are disabled, never deleted. What was held back for want of a channel
    is decided over again: a rule may name others now.

    Raises:
        ConfigurationError: a name twice, or a channel that the customer does not have.
    """
    names = [rule.name for rule in rules]
    _refuse_double_names("alert_rules", names)
    if len(rules) > MOST_RULES:
        raise ConfigurationError(f"alert_rules: there are {len(rules):,}. Write {MOST_RULES} at most.")
    with conn.transaction():
        conn.execute(QUERIES.lock_customer, {"customer_id": customer_id})
        check_channels_of_rules(
            rules, [row[0] for row in conn.execute(QUERIES.channel_names, {"customer_id": customer_id})]
        )
        rows = json.dumps([rule.model_dump(mode="json") for rule in rules])
        conn.execute(QUERIES.upsert_rules, {"customer_id": customer_id, "rules": rows})
        conn.execute(QUERIES.disable_unlisted_rules, {"customer_id": customer_id, "names": names})
        conn.execute(QUERIES.lock_waiting, {"customer_id": customer_id})
        conn.execute(QUERIES.wake_held, {"customer_id": customer_id, "now": datetime.now(UTC)})


def check_channels_of_rules(rules: Sequence[AlertRule], channels: Sequence[str]) -> None:
    """Raise `ConfigurationError` where a rule names a channel that is not among those of the customer."""
    for rule in rules:
        unknown = sorted(set(rule.channels or ()) - set(channels))
        if unknown:
            raise ConfigurationError(
                f'alert_rules "{rule.name}": there is no channel {", ".join(unknown)}. '
                f"Channels: {', '.join(sorted(channels)) or 'none; list them under channels'}."
            )


def enabled_channels(conn: Connection, customer_id: int) -> list[str]:
    """Names of a customer's channels that are on."""
    return [row[0] for row in conn.execute(QUERIES.enabled_channels, {"customer_id": customer_id})]


def stored_rules(conn: Connection, customer_id: int) -> list[AlertRule]:
    """A customer's rules that are on; in the place of one that cannot be read one that hears of all."""
    return list(_rules_of(conn, customer_id).values())


def write_drift_alerts(
    conn: Connection, customer_id: int, notices: Sequence[DriftNotice], now: datetime | None = None
) -> int:
    """Match the rules and write alerts and deliveries, in the transaction that wrote the events.

    A resolved notice goes only where the opening was told, an escalated one only where the event is open and was told with
    a severity a step lower. The same notice again adds nothing.

    Returns: number of alerts written, those held back included.

    Raises:
        UpstreamError: no transaction is open: a crash between event and alert would lose the alert.
    """
    if conn.info.transaction_status != TransactionStatus.INTRANS:
        raise UpstreamError(
            "write_drift_alerts needs the transaction that writes the drift events. "
            "Call it inside `with conn.transaction():`."
        )
    return write_entries(conn, customer_id, [drift_entry(notice) for notice in notices], now)


def late_openings(
    conn: Connection, customer_id: int, going: Mapping[tuple[uuid.UUID, Literal["payer", "data"]], Facts]
) -> set[uuid.UUID]:
    """Which of the going-on drift events, by id and cause, some rule wants to hear of only now (rules.wants_late). None
    where the customer never had a channel: nothing would be written, and asked for again at every look.

    Asked before the words and pictures of a notice are made, which is then written as a `late` opening.
    """
    if not going or not conn.execute(QUERIES.channels_of, {"customer_id": customer_id}).fetchall():
        return set()
    subjects = {drift_subject(*event): event for event in going}
    rules = _rules_of(conn, customer_id)
    live = _openings(conn, customer_id, list(subjects))
    return {
        event[0]
        for subject, event in subjects.items()
        for rule_id, rule in rules.items()
        if _wants_late(rule, going[event], live.get((rule_id, subject)))
    }


def write_run_failure_alert(  # noqa: PLR0917  the callers' order of words
    conn: Connection,
    customer_id: int,
    run_id: str,
    job_name: str,
    step: str | None,
    error_class: str | None,
    link: str | None,
    now: datetime | None = None,
    *,
    process_died: bool = False,
    never_began: bool = False,
    bucket: tuple[int, int] | None = None,
) -> int:
    """Put a failed run into the outbox, once per run; what is not known is None. Returns: number of alerts written."""
    entry = run_failure_entry(
        run_id,
        job_name,
        step,
        error_class,
        link,
        process_died=process_died,
        never_began=never_began,
        bucket=bucket,
    )
    return write_entries(conn, customer_id, [entry], now)


def write_quality_alert(  # noqa: PLR0917  as above
    conn: Connection,
    customer_id: int,
    upload_id: uuid.UUID,
    score: float,
    failed_rules: Sequence[str],
    link: str | None,
    now: datetime | None = None,
    rows: tuple[int, int] | None = None,
) -> int:
    """Put an upload that failed quality rules into the outbox, once per upload; `rows`: rejected, of all. Returns:
    alerts written.
    """
    return write_entries(conn, customer_id, [quality_entry(upload_id, score, failed_rules, link, rows)], now)


def write_refused_alert(  # noqa: PLR0917  as above
    conn: Connection,
    customer_id: int,
    upload_id: uuid.UUID,
    source: str,
    code: str,
    link: str | None,
    failed_rules: Sequence[str] = (),
) -> int:
    """Put an upload that ended without being loaded into the outbox, once. Returns: alerts written."""
    return write_entries(conn, customer_id, [refused_entry(upload_id, source, code, link, failed_rules)])


def email_channels(conn: Connection) -> int:
    """How many switched-on e-mail channels there are, of all customers."""
    row = conn.execute(QUERIES.count_email_channels).fetchone()
    assert row is not None
    return int(row[0])


def due_deliveries(conn: Connection, now: datetime | None = None) -> int:
    """How many deliveries a worker would take at `now` (default: this moment), with the alerts that come due then:
    held back until then, or to be repeated.
    """
    at = {"now": now or datetime.now(UTC), "customer_id": None}
    counts = [conn.execute(query, at).fetchone() for query in (QUERIES.count_due, QUERIES.count_held)]
    return sum(int(row[0]) for row in counts if row is not None) + conn.execute(QUERIES.reminders_due, at).rowcount


def list_alerts(
    conn: Connection, customer_id: int, limit: int = 200, state: AlertState | None = None
) -> list[dict[str, Any]]:
    """The newest alerts, of all states or one, each with its deliveries and their attempts; JSON-able, without chart and
    secrets.
    """
    key = {"customer_id": customer_id, "limit": limit, "state": state, "subject_ids": None, "alert_id": None}
    return [row[0] for row in conn.execute(QUERIES.list_alerts, key)]


def alerts_about(
    conn: Connection, customer_id: int, subject_ids: Sequence[uuid.UUID], limit: int = 200
) -> list[dict[str, Any]]:
    """The newest alerts about uploads, runs or events, in the form of `list_alerts`."""
    key = {
        "customer_id": customer_id, "limit": limit, "state": None, "subject_ids": list(subject_ids), "alert_id": None,
    }  # fmt: skip
    return [row[0] for row in conn.execute(QUERIES.list_alerts, key)]


def conservation(conn: Connection, customer_id: int) -> dict[str, int]:
    """Counts that show nothing was lost or invented between alerts, deliveries and attempts.

    Returns: alerts, expected_places (alerts not held back x their channels), deliveries; and missing_places,
    unexpected_places, empty_deliveries, lost_attempts, wrong_states, unknown_events (alerts of drift events that are not
    kept), which are all 0 when the outbox is whole. Messages that retention took (operations/cleanup.py) count as missing.
    """
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(QUERIES.conservation, {"customer_id": customer_id}).fetchone()
    assert row is not None
    return {name: int(count) for name, count in row.items()}


def write_entries(
    conn: Connection, customer_id: int, entries: Sequence[Entry], now: datetime | None = None
) -> int:
    """Tell or hold back all matching (rule, event) pairs; `conn` decides in what transaction.

    Returns: number of alerts written, those held back included.
    """
    if not entries:
        return 0
    with conn.transaction():
        # Locked from here on: what one transaction tells must be known when the next one decides.
        customer = conn.execute(QUERIES.customer_name, {"customer_id": customer_id}).fetchone()
        if customer is None:
            raise NotFoundError(f"There is no customer {customer_id}. `upstream customers list` shows them all.")
        pairs = _matched(conn, customer_id, entries)
        common = {"customer": {"slug": customer[0], "name": customer[1]}}
        return write_pairs(conn, customer_id, pairs, common, now or datetime.now(UTC))


def _matched(conn: Connection, customer_id: int, entries: Sequence[Entry]) -> list[tuple[uuid.UUID, Entry]]:
    """Openings by what the rules say now; how an event goes on and ends by who has an alert of its opening."""
    rules = _rules_of(conn, customer_id)
    later = [entry for entry in entries if entry.notice != "open"]
    asked = [entry.subject_id for entry in entries if entry.late or entry.notice != "open"]
    live = _openings(conn, customer_id, asked)
    pairs = [
        (rule_id, entry)
        for entry in entries
        if entry.notice == "open"
        for rule_id, rule in rules.items()
        if (
            _wants_late(rule, entry.facts, live.get((rule_id, entry.subject_id)))
            if entry.late
            else matches(rule, entry.facts)
        )
    ]
    return pairs + [
        (rule_id, entry) for entry in later for rule_id, subject in live if subject == entry.subject_id
    ]


def _openings(
    conn: Connection, customer_id: int, subjects: Sequence[uuid.UUID]
) -> dict[tuple[uuid.UUID, uuid.UUID], bool]:
    """Which (rule, subject) have an alert of the opening, and whether one of them is not over."""
    if not subjects:
        return {}
    key = {"customer_id": customer_id, "subject_ids": list(subjects)}
    rows = conn.execute(QUERIES.rules_with_opening, key).fetchall()
    return {(rule_id, subject): live for rule_id, subject, live in rows}


def _wants_late(rule: AlertRule, facts: Facts, live: bool | None) -> bool:
    return not live and wants_late(rule, facts, was_over=live is not None)


def _rules_of(conn: Connection, customer_id: int) -> dict[uuid.UUID, AlertRule]:
    with conn.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(QUERIES.rules_of, {"customer_id": customer_id}).fetchall()
    rules = {row.pop("rule_id"): read_stored(row) for row in rows}
    for rule_id in (one for one, rule in rules.items() if rule is None):
        _log.error("alert rule %s of customer %d cannot be read: until it is replaced or switched off (`GET /alert-rules` shows it) it "
                   "tells of everything", rule_id, customer_id)  # fmt: skip
    return {rule_id: rule or HEARS_OF_ALL for rule_id, rule in rules.items()}


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
