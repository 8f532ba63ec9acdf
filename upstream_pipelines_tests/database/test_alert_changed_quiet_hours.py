"""What waits for the end of quiet hours while the rule's quiet hours are changed."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from upstream_pipelines.alerts.rules import AlertRule, QuietHours
from upstream_pipelines.alerts.store import sync_channels, sync_rules, write_quality_alert
from upstream_pipelines.customers.store import create_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.delivery.channels import WebhookChannel

EVENING = datetime(2026, 5, 1, 21, tzinfo=UTC)
MORNING = datetime(2026, 5, 2, 7, tzinfo=UTC)
QUIET = AlertRule(
    name="default", time_zone="UTC", quiet_hours=QuietHours.model_validate({"from": "20:00", "to": "07:00"})
)
LOUD = AlertRule(name="default")


@pytest.fixture
def acme(pipeline: Connection) -> int:
    customer_id = create_customer(pipeline, "acme", "Acme")[0].customer_id
    sync_channels(
        pipeline, customer_id, [WebhookChannel(kind="webhook", name="hook", url="https://example.org/hook")]
    )
    sync_rules(pipeline, customer_id, [QUIET])
    write_quality_alert(pipeline, customer_id, uuid.uuid4(), 71.0, ["payer_present"], None, EVENING)
    return customer_id


def _waiting(conn: Connection) -> list[tuple[datetime, int]]:
    """When each message is due and how many alerts it carries."""
    return conn.execute(
        """SELECT d.due_at, count(*) FROM deliveries AS d JOIN delivery_alerts USING (customer_id, delivery_id)
            GROUP BY d.delivery_id, d.due_at ORDER BY d.due_at"""
    ).fetchall()


def test_what_waits_keeps_its_time_when_quiet_hours_are_lifted_until_the_next_alert_takes_it_along(
    pipeline: Connection, acme: int
) -> None:
    sync_rules(pipeline, acme, [LOUD])
    assert _waiting(pipeline) == [(MORNING, 1)]
    an_hour_on = EVENING + timedelta(hours=1)
    write_quality_alert(pipeline, acme, uuid.uuid4(), 71.0, ["cpt_present"], None, an_hour_on)
    assert _waiting(pipeline) == [(an_hour_on + timedelta(seconds=30), 2)]


def test_what_waits_is_not_moved_by_longer_quiet_hours(pipeline: Connection, acme: int) -> None:
    longer = QuietHours.model_validate({"from": "20:00", "to": "09:00"})
    sync_rules(pipeline, acme, [QUIET.model_copy(update={"quiet_hours": longer})])
    write_quality_alert(pipeline, acme, uuid.uuid4(), 71.0, ["cpt_present"], None, EVENING + timedelta(hours=1))
    assert _waiting(pipeline) == [(MORNING, 2)]
