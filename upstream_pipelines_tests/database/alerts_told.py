"""Drift events told to a customer's channels, delivered with an outcome of one's choice. Not here: tests."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from upstream_pipelines.alerts.notices import DriftNotice
from upstream_pipelines.alerts.rules import AlertRule
from upstream_pipelines.alerts.store import (
    conservation,
    sync_channels,
    sync_rules,
    write_drift_alerts,
)
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.delivery import sending
from upstream_pipelines.delivery.channels import WebhookChannel
from upstream_pipelines.delivery.outcome import Outcome
from upstream_pipelines.delivery.worker import deliver_due
from upstream_pipelines.settings import Settings

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
SIX_MINUTES = timedelta(minutes=6)
EVENT = uuid.UUID(int=7)
AGAIN, REFUSED = Outcome("retry", "it answered 500", 500, receiver_failing=True), Outcome("dead", "refused", 400)
RULES = [
    AlertRule(name="all"),
    AlertRule(name="large", minimum_severity=0.4),
    AlertRule(name="dear", minimum_dollars_per_month=5000, unknown_dollars="skip"),
    AlertRule(name="cigna", minimum_severity=0.4, payers=("Cigna",)),
]


def acme_with_rules(pipeline: Connection) -> int:
    """A customer with a webhook and the rules."""
    row = pipeline.execute(
        "INSERT INTO customers (slug, name) VALUES ('acme', 'Acme') RETURNING customer_id"
    ).fetchone()
    assert row is not None
    sync_channels(pipeline, row[0], [WebhookChannel(kind="webhook", name="hook", url="https://example.org/hook")])
    sync_rules(pipeline, row[0], RULES)
    return int(row[0])


def tell(
    conn: Connection, customer: int, at: datetime, notice: Any, severity: float = 0.3, **changes: Any
) -> list[tuple[str, str, int]]:
    """Write it; returns (rule, notice, step) of what that added and was told."""
    values: dict[str, Any] = {
        "event_id": EVENT, "payer": "Aetna", "cpt_group": "ALL", "signal": "denial_rate", "direction": "worsening",
        "effect": 0.05, "baseline": 0.1, "current": 0.15, "n_baseline": 5000, "n_current": 900, "maturity": 0.9,
        "p_value": 1e-5, "q_value": 1e-4, "as_of": date(2026, 5, 1), "change_date": None, "headline": "Aetna denies more",
        "sentences": ("It denies more.",), "facts": (("Before", "10 %"),),
    }  # fmt: skip
    with conn.transaction():
        write_drift_alerts(
            conn, customer, [DriftNotice(notice=notice, severity=severity, **{**values, **changes})], at
        )
    assert not conservation(conn, customer)["wrong_states"]
    rows = conn.execute(
        """SELECT r.name, a.notice, a.step FROM alerts AS a JOIN alert_rules AS r USING (customer_id, rule_id)
            WHERE a.told_at = %s ORDER BY 1, 2""",
        (at,),
    ).fetchall()
    return [(row[0], row[1], row[2]) for row in rows]


def deliver(
    settings: Settings, customer: int, at: datetime, monkeypatch: pytest.MonkeyPatch, **refused: Outcome
) -> list[tuple[str, str]]:
    """Send what is due then to receivers that take it, but what is `refused`, by what it tells; returns (channel, what was
    told) in the order it was taken.
    """
    sent: list[tuple[str, str]] = []

    def receive(*_: Any, url: str, payload: dict[str, Any], **__: Any) -> Outcome:
        channel, told = url.rsplit("/", 1)[1], payload["type"].rsplit(".", 1)[1]
        if told in refused:
            return refused[told]
        sent.append((channel, told))
        return Outcome("sent", "accepted", 200)

    monkeypatch.setattr(sending, "send_webhook", receive)
    deliver_due(settings, customer_id=customer, clock=lambda: at, worker_threads=1)
    return sent


def arrive(conn: Connection) -> None:
    """What waits has arrived."""
    conn.execute("UPDATE deliveries SET state = 'sent', finished_at = created_at WHERE state = 'pending'")
    conn.execute("UPDATE alerts SET state = 'sent' WHERE state = 'pending'")


def two_channels(conn: Connection, customer: int) -> None:
    sync_channels(
        conn, customer,
        [WebhookChannel(kind="webhook", name=name, url=f"https://example.org/{name}") for name in ("hook", "spare")],
    )  # fmt: skip


def give_up(conn: Connection, channel: str) -> str:
    """What waits for a channel is dead; returns the delivery's id."""
    row = conn.execute(
        """UPDATE deliveries AS d SET state = 'dead', finished_at = now() FROM alert_channels AS c
            WHERE c.channel_id = d.channel_id AND c.name = %s RETURNING d.delivery_id::text""",
        (channel,),
    ).fetchone()
    assert row is not None
    conn.execute("UPDATE alerts SET state = 'failed' WHERE state = 'pending'")
    return str(row[0])
