"""A rule of one customer that nobody can read, and the alerts of all others."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest

from upstream_pipelines.alerts.outbox import tell_what_waited
from upstream_pipelines.alerts.rules import AlertRule
from upstream_pipelines.alerts.store import enable_channel, sync_channels, sync_rules, write_quality_alert
from upstream_pipelines.customers.store import create_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.delivery.channels import WebhookChannel
from upstream_pipelines.delivery.worker import deliver_due, utc_now
from upstream_pipelines.errors import AlertsUndecidedError
from upstream_pipelines.settings import Settings


def test_an_unreadable_rule_of_one_customer_keeps_back_no_alert_of_another(
    pipeline: Connection, settings: Settings
) -> None:
    now = utc_now()
    ids = []
    for slug in ("acme", "beta"):
        customer_id = create_customer(pipeline, slug, slug)[0].customer_id
        hook = WebhookChannel(kind="webhook", name="hook", url="https://nowhere.invalid/hook")
        sync_channels(pipeline, customer_id, [hook])
        sync_rules(pipeline, customer_id, [AlertRule(name="default")])
        pipeline.execute(
            "UPDATE alert_channels SET enabled = false, disabled_reason = '410', disabled_at = now() WHERE customer_id = %s",
            [customer_id],
        )
        write_quality_alert(
            pipeline, customer_id, uuid.uuid4(), 71.0, ["payer_present"], None, now - timedelta(hours=1)
        )
        enable_channel(pipeline, customer_id, "hook", now)
        ids.append(customer_id)
    pipeline.execute(
        """UPDATE alert_rules SET quiet_hours = '{"from": "John Smith", "to": "x"}', time_zone = 'UTC' WHERE customer_id = %s""",
        ids[:1],
    )
    with pytest.raises(
        AlertsUndecidedError, match=rf"for 1 customers .*: {ids[0]}: ValueError\. They wait"
    ) as failed:
        tell_what_waited(pipeline, None, now)
    assert failed.value.told == 1
    assert "Smith" not in str(failed.value)
    placed = "SELECT customer_id FROM deliveries"
    assert pipeline.execute(placed).fetchall() == [(ids[1],)]
    with pytest.raises(AlertsUndecidedError):
        deliver_due(settings)
    tried = pipeline.execute("SELECT DISTINCT customer_id FROM delivery_attempts").fetchall()
    assert tried == [(ids[1],)], "what could be decided was sent before it was raised"
    pipeline.execute("UPDATE alert_rules SET quiet_hours = NULL, time_zone = NULL")
    assert tell_what_waited(pipeline, None, now) == 1
