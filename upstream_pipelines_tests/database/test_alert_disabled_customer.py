"""A customer that is disabled hears nothing more of what is still open, and hears on once it is enabled."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from upstream_pipelines.alerts.feedback import silence
from upstream_pipelines.alerts.notices import DriftNotice
from upstream_pipelines.alerts.outbox import tell_what_waited
from upstream_pipelines.alerts.rules import AlertRule
from upstream_pipelines.alerts.store import (
    due_deliveries,
    list_alerts,
    sync_channels,
    sync_rules,
    write_drift_alerts,
)
from upstream_pipelines.customers.store import create_customer, set_status
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.delivery.channels import WebhookChannel

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOOK = WebhookChannel(kind="webhook", name="hook", url="https://example.org/hook")


@pytest.fixture
def acme(pipeline: Connection) -> int:
    customer_id = create_customer(pipeline, "acme", "Acme")[0].customer_id
    sync_rules(pipeline, customer_id, [AlertRule(name="default", repeat_hours=24)])
    sync_channels(pipeline, customer_id, [HOOK])
    return customer_id


def _tell(conn: Connection, customer: int, at: datetime, notice: Any = "open", severity: float = 0.5) -> None:
    with conn.transaction():
        told = DriftNotice(
            event_id=uuid.UUID(int=1), notice=notice, payer="Aetna", cpt_group="ALL", signal="denial_rate",
            direction="worsening", severity=severity, effect=0.05, baseline=0.1, current=0.15, n_baseline=5000,
            n_current=900, maturity=0.9, p_value=1e-5, q_value=1e-4, as_of=date(2026, 5, 1), change_date=None,
            headline="Aetna denies more", sentences=("It denies more.",), facts=(("Before", "10 %"),),
        )  # fmt: skip
        write_drift_alerts(conn, customer, [told], at)


def _notices(conn: Connection, customer: int) -> list[tuple[str, str]]:
    return sorted((alert["notice"], alert["state"]) for alert in list_alerts(conn, customer))


def test_a_disabled_customer_is_not_reminded(pipeline: Connection, acme: int) -> None:
    _tell(pipeline, acme, NOW)
    pipeline.execute("UPDATE deliveries SET state = 'sent'")
    set_status(pipeline, "acme", "disabled")
    assert due_deliveries(pipeline, NOW + 25 * HOUR) == 0
    assert tell_what_waited(pipeline, None, NOW + 25 * HOUR) == 0
    set_status(pipeline, "acme", "active")
    assert due_deliveries(pipeline, NOW + 26 * HOUR) == 1
    assert tell_what_waited(pipeline, None, NOW + 26 * HOUR) == 1
    assert _notices(pipeline, acme) == [("open", "pending"), ("reminder", "pending")]


def test_what_a_silence_held_back_is_told_once_the_customer_is_active_again(
    pipeline: Connection, acme: int
) -> None:
    silence(pipeline, acme, payer="Aetna", ends_at=NOW + HOUR, reason="", created_by="me", now=NOW)
    _tell(pipeline, acme, NOW)
    set_status(pipeline, "acme", "disabled")
    assert due_deliveries(pipeline, NOW + 2 * HOUR) == 0
    assert tell_what_waited(pipeline, None, NOW + 2 * HOUR) == 0
    assert _notices(pipeline, acme) == [("open", "suppressed")]
    set_status(pipeline, "acme", "active")
    assert due_deliveries(pipeline, NOW + 3 * HOUR) == 1
    assert tell_what_waited(pipeline, None, NOW + 3 * HOUR) == 1
    assert _notices(pipeline, acme) == [("open", "pending")]
