"""A rule of one customer under which nothing can be decided, and the alerts of all others; a rule that cannot be read."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest

from upstream_pipelines.alerts.outbox import tell_what_waited
from upstream_pipelines.alerts.rules import AlertRule
from upstream_pipelines.alerts.store import enable_channel, sync_channels, sync_rules, write_quality_alert
from upstream_pipelines.customers.store import create_customer
from upstream_pipelines.db.engine import Connection, connect
from upstream_pipelines.delivery.channels import WebhookChannel
from upstream_pipelines.delivery.worker import deliver_due, utc_now
from upstream_pipelines.errors import AlertsUndecidedError
from upstream_pipelines.settings import Settings


def test_what_cannot_be_decided_for_one_customer_keeps_back_no_alert_of_another(
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
    _without_check(settings, "alert_rules_cooldown_hours_check")
    pipeline.execute("UPDATE alert_rules SET cooldown_hours = 'NaN' WHERE customer_id = %s", ids[:1])
    with pytest.raises(AlertsUndecidedError, match=rf"for 1 customers .*: {ids[0]}: \w+\. They wait") as failed:
        tell_what_waited(pipeline, None, now)
    assert failed.value.told == 1
    placed = "SELECT customer_id FROM deliveries"
    assert pipeline.execute(placed).fetchall() == [(ids[1],)]
    with pytest.raises(AlertsUndecidedError):
        deliver_due(settings)
    tried = pipeline.execute("SELECT DISTINCT customer_id FROM delivery_attempts").fetchall()
    assert tried == [(ids[1],)], "what could be decided was sent before it was raised"
    pipeline.execute("UPDATE alert_rules SET cooldown_hours = 4")
    assert tell_what_waited(pipeline, None, now) == 1


def _without_check(settings: Settings, name: str) -> None:
    """As an earlier release, or the owner by hand, would have let it in."""
    with connect(settings, "upstream_owner") as owner:
        owner.execute(f"ALTER TABLE alert_rules DROP CONSTRAINT {name}")


@pytest.mark.parametrize(
    "odd",
    [
        """quiet_hours = '{"from": "John Smith", "to": "x"}', time_zone = 'UTC'""",
        "quiet_hours = '[1]', time_zone = 'UTC'",
        *(
            f"""quiet_hours = '{{"from": "00:00", "to": "23:59"}}', time_zone = '{zone}'"""
            for zone in ("Nowhere/Nope", "America", "leapseconds", "+VERSION", "-", "a/b/c")
        ),
    ],
)
def test_quiet_hours_that_cannot_be_read_are_not_kept_and_the_alert_is_told(
    pipeline: Connection, settings: Settings, odd: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A message at night is better than none, and than a look that fails for the want of it."""
    customer_id = create_customer(pipeline, "acme", "Acme")[0].customer_id
    sync_channels(
        pipeline, customer_id, [WebhookChannel(kind="webhook", name="hook", url="https://nowhere.invalid/hook")]
    )
    for name in ("alert_rules_quiet_hours", "alert_rules_quiet"):
        _without_check(settings, name)
    pipeline.execute(f"UPDATE alert_rules SET {odd}")
    now = utc_now()
    assert write_quality_alert(pipeline, customer_id, uuid.uuid4(), 71.0, ["payer_present"], None, now) == 1
    (due,) = pipeline.execute("SELECT due_at FROM deliveries").fetchone() or (None,)
    assert due is not None
    assert due - now < timedelta(minutes=1)
    assert "quiet hours are not kept" in caplog.text
    assert "Smith" not in caplog.text
