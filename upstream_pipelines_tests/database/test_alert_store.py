"""Channels, rules and the outbox on a real database: written with the event or not at all, and only once."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from psycopg import sql
from pydantic import SecretStr, TypeAdapter

from upstream_pipelines.alerts.notices import DriftNotice
from upstream_pipelines.alerts.outbox import QUERIES
from upstream_pipelines.alerts.resending import resend
from upstream_pipelines.alerts.rules import DEFAULT_RULE, AlertRule
from upstream_pipelines.alerts.store import (
    conservation,
    due_deliveries,
    enable_channel,
    list_alerts,
    sync_channels,
    sync_rules,
    write_drift_alerts,
    write_quality_alert,
    write_run_failure_alert,
)
from upstream_pipelines.db.engine import Connection, connect, customer_transaction
from upstream_pipelines.delivery.channels import Channel, EmailChannel, SlackChannel, WebhookChannel, secret_bytes
from upstream_pipelines.errors import ConfigurationError, NotFoundError, UpstreamError
from upstream_pipelines.settings import Settings

OFFICE = EmailChannel(kind="email", name="office", recipients=("a@example.org",))
HOOK = WebhookChannel(kind="webhook", name="hook", url="https://example.org/hook")


def _notice(**changes: Any) -> DriftNotice:
    values: dict[str, Any] = {
        "event_id": uuid.uuid4(), "notice": "open", "payer": "Aetna", "cpt_group": "ALL", "signal": "denial_rate",
        "direction": "worsening", "severity": 0.7, "effect": 0.052, "baseline": 0.101, "current": 0.153,
        "n_baseline": 5000, "n_current": 900, "maturity": 0.72, "p_value": 1e-5, "q_value": float("nan"),
        "as_of": date(2026, 5, 1), "change_date": date(2026, 4, 2),
        "headline": "Aetna denies more: 10.1 % → 15.3 %", "sentences": ("Aetna denies more.",), "facts": (("Before", "10.1 %"),),
    }  # fmt: skip
    return DriftNotice(**{**values, **changes})


def _customer(conn: Connection, slug: str) -> int:
    row = conn.execute(
        "INSERT INTO customers (slug, name) VALUES (%s, %s) RETURNING customer_id", (slug, slug.title())
    ).fetchone()
    assert row is not None
    sync_rules(conn, row[0], [DEFAULT_RULE])
    return int(row[0])


@pytest.fixture
def acme(pipeline: Connection) -> int:
    return _customer(pipeline, "acme")


def _write(conn: Connection, customer: int, *notices: DriftNotice) -> int:
    with conn.transaction():
        return write_drift_alerts(conn, customer, notices)


def _count(conn: Connection) -> tuple[int, int]:
    row = conn.execute("SELECT (SELECT count(*) FROM alerts), (SELECT count(*) FROM deliveries)").fetchone()
    assert row is not None
    return row[0], row[1]


def _channels(conn: Connection) -> list[tuple[str, bool, str | None]]:
    return conn.execute("SELECT name, enabled, disabled_reason FROM alert_channels ORDER BY name").fetchall()


def test_an_alert_goes_to_every_channel_with_the_customers_name(pipeline: Connection, acme: int) -> None:
    sync_channels(pipeline, acme, [OFFICE, HOOK])
    assert _write(pipeline, acme, _notice(), _notice(payer="Cigna")) == 2
    assert _count(pipeline) == (2, 2)  # one message a channel, with both
    assert due_deliveries(pipeline) == 2
    alerts = list_alerts(pipeline, acme)
    json.dumps(alerts)
    assert {alert["content"]["customer"]["name"] for alert in alerts} == {"Acme"}
    assert [d["channel"] for d in alerts[0]["deliveries"]] == ["hook", "office"]


def test_a_rolled_back_event_leaves_no_alert(pipeline: Connection, acme: int) -> None:
    sync_channels(pipeline, acme, [OFFICE])
    with pipeline.transaction(force_rollback=True):
        assert write_drift_alerts(pipeline, acme, [_notice()]) == 1
    assert _count(pipeline) == (0, 0)


def test_without_the_callers_transaction_nothing_is_written(pipeline: Connection, acme: int) -> None:
    sync_channels(pipeline, acme, [OFFICE])
    with pytest.raises(UpstreamError, match=r"with conn\.transaction"):
        write_drift_alerts(pipeline, acme, [_notice()])
    assert _count(pipeline) == (0, 0)


def test_the_same_notice_twice_adds_nothing(pipeline: Connection, acme: int) -> None:
    """A drift run that is executed again sees the same event again."""
    sync_channels(pipeline, acme, [OFFICE, HOOK])
    event = _notice()
    assert [_write(pipeline, acme, event), _write(pipeline, acme, event)] == [1, 0]
    assert _write(pipeline, acme, _notice(event_id=event.event_id, severity=0.9)) == 0
    assert _count(pipeline) == (1, 2)


def test_a_resolved_notice_goes_only_where_the_opening_was_told(pipeline: Connection, acme: int) -> None:
    sync_channels(pipeline, acme, [OFFICE])
    told, untold = _notice(), uuid.uuid4()
    _write(pipeline, acme, told)
    pipeline.execute("UPDATE deliveries SET state = 'sent', finished_at = now()")
    sync_channels(pipeline, acme, [OFFICE, HOOK])  # a channel that heard nothing of the opening
    endings = [_notice(event_id=event, notice="resolved", severity=0.0) for event in (told.event_id, untold)]
    assert _write(pipeline, acme, *endings) == 1
    assert _write(pipeline, acme, *endings) == 0
    rows = pipeline.execute(
        """SELECT a.notice, c.name FROM delivery_alerts AS l JOIN alerts AS a USING (customer_id, alert_id)
             JOIN alert_channels AS c USING (customer_id, channel_id) ORDER BY 1, 2"""
    ).fetchall()
    assert rows == [("open", "office"), ("resolved", "office")]
    assert conservation(pipeline, acme)["missing_places"] == 0


@pytest.mark.parametrize(
    ("rules", "channels"),
    [
        ([], [OFFICE]),
        ([AlertRule(name="r", payers=("Cigna",))], [OFFICE]),
        ([AlertRule(name="r", enabled=False)], [OFFICE]),
    ],
)
def test_where_no_rule_matches_nothing_is_written(
    pipeline: Connection, acme: int, rules: Sequence[AlertRule], channels: Sequence[Channel]
) -> None:
    sync_channels(pipeline, acme, [HOOK])
    sync_rules(pipeline, acme, rules)
    sync_channels(pipeline, acme, channels)
    assert _write(pipeline, acme, _notice()) == 0
    assert _count(pipeline) == (0, 0)


def test_for_a_customer_that_never_had_a_channel_nothing_is_written(pipeline: Connection, acme: int) -> None:
    assert _write(pipeline, acme, _notice()) == 0
    assert _count(pipeline) == (0, 0)


def test_each_matching_rule_makes_its_own_alert_for_its_own_channels(pipeline: Connection, acme: int) -> None:
    sync_channels(pipeline, acme, [OFFICE, HOOK])
    rules = [AlertRule(name="all"), AlertRule(name="hook only", channels=("hook",), minimum_severity=0.5)]
    sync_rules(pipeline, acme, rules)
    assert _write(pipeline, acme, _notice(), _notice(severity=0.1)) == 3
    assert _count(pipeline) == (3, 3)


def test_a_failed_run_is_one_alert_however_often_its_sensor_fires(pipeline: Connection, acme: int) -> None:
    sync_channels(pipeline, acme, [OFFICE])
    failure = (
        pipeline,
        acme,
        "run-1",
        "daily_drift",
        "payer_drift",
        "ValueError: 123-45-6789",
        "http://u/runs/run-1",
    )
    assert [write_run_failure_alert(*failure), write_run_failure_alert(*failure)] == [1, 0]
    assert "6789" not in repr(pipeline.execute("SELECT * FROM alerts").fetchall())


def test_quality_alerts_are_for_rules_that_ask_for_them(pipeline: Connection, acme: int) -> None:
    sync_channels(pipeline, acme, [OFFICE])
    upload = (pipeline, acme, uuid.uuid4(), 71.0, ["payer_present"], None)
    sync_rules(pipeline, acme, [AlertRule(name="payers", kinds=("drift", "run_failure"))])
    assert write_quality_alert(*upload) == 0
    sync_rules(pipeline, acme, [AlertRule(name="quality", kinds=("quality",))])
    assert write_quality_alert(*upload) == 1


def test_by_default_a_change_that_is_data_and_an_upload_that_failed_reach_somebody(
    pipeline: Connection, acme: int
) -> None:
    sync_channels(pipeline, acme, [OFFICE])
    assert _write(pipeline, acme, _notice(cause="data")) == 1
    assert write_quality_alert(pipeline, acme, uuid.uuid4(), 71.0, ["payer_present"], None) == 1


def test_a_webhook_secret_is_made_once_shown_once_and_kept(pipeline: Connection, acme: int) -> None:
    made = sync_channels(pipeline, acme, [HOOK, OFFICE])
    assert list(made) == ["hook"]
    assert len(secret_bytes(made["hook"])) == 32
    assert sync_channels(pipeline, acme, [HOOK]) == {}
    assert pipeline.execute("SELECT secret FROM alert_channels WHERE name = 'hook'").fetchone() == (made["hook"],)
    own = "whsec_" + "QUFB" * 10
    assert sync_channels(pipeline, acme, [HOOK.model_copy(update={"secret": SecretStr(own)})]) == {}
    assert pipeline.execute("SELECT secret FROM alert_channels WHERE name = 'hook'").fetchone() == (own,)


def test_secrets_are_stored_apart_from_the_configuration(pipeline: Connection, acme: int) -> None:
    content = [
        {"kind": "slack", "name": "in", "webhook_url": "https://hooks.slack.com/services/CANARY"},
        {"kind": "slack", "name": "bot", "bot_token": "xoxb-CANARY", "channel": "#alerts"},
    ]
    sync_channels(pipeline, acme, TypeAdapter(list[SlackChannel]).validate_python(content))
    rows = pipeline.execute("SELECT name, configuration, secret FROM alert_channels ORDER BY name").fetchall()
    assert rows == [
        ("bot", {"channel": "#alerts"}, "xoxb-CANARY"),
        ("in", {}, "https://hooks.slack.com/services/CANARY"),
    ]
    assert "CANARY" not in repr(list_alerts(pipeline, acme))


def test_a_channel_no_longer_listed_is_disabled_kept_and_comes_back_with_its_listing(
    pipeline: Connection, acme: int
) -> None:
    sync_channels(pipeline, acme, [OFFICE, HOOK])
    _write(pipeline, acme, _notice())
    sync_channels(pipeline, acme, [HOOK])
    reason = "no longer in the customer's configuration"
    assert _channels(pipeline) == [("hook", True, None), ("office", False, reason)]
    sync_channels(pipeline, acme, [OFFICE])
    assert _channels(pipeline) == [("hook", False, reason), ("office", True, None)]


def test_a_channel_its_receiver_refused_stays_off_until_it_changes_or_is_enabled(
    pipeline: Connection, acme: int
) -> None:
    """Saving an unrelated setting must not start sending to a receiver that answered 410."""
    sync_channels(pipeline, acme, [HOOK])
    refuse = "UPDATE alert_channels SET enabled = false, disabled_reason = '410', failing_since = now()"
    pipeline.execute(refuse)
    sync_channels(pipeline, acme, [HOOK])
    assert _channels(pipeline) == [("hook", False, "410")]
    sync_channels(pipeline, acme, [HOOK.model_copy(update={"url": "https://example.org/other"})])
    assert _channels(pipeline) == [("hook", True, None)]
    assert pipeline.execute("SELECT failing_since FROM alert_channels").fetchone() == (None,)
    pipeline.execute(refuse)
    enable_channel(pipeline, acme, "hook")
    assert _channels(pipeline) == [("hook", True, None)]
    with pytest.raises(NotFoundError):
        enable_channel(pipeline, acme, "other")


def test_what_cannot_be_used_is_refused_before_anything_is_stored(pipeline: Connection, acme: int) -> None:
    loopback = HOOK.model_copy(update={"url": "http://127.0.0.1:9/hook"})
    with pytest.raises(ConfigurationError, match="only https"):
        sync_channels(pipeline, acme, [OFFICE, loopback])
    with pytest.raises(ConfigurationError, match="twice"):
        sync_channels(pipeline, acme, [OFFICE, OFFICE])
    with pytest.raises(ConfigurationError, match="twice"):
        sync_rules(pipeline, acme, [DEFAULT_RULE, DEFAULT_RULE])
    with pytest.raises(NotFoundError):
        sync_channels(pipeline, acme + 1, [OFFICE])
    with pytest.raises(ConfigurationError, match="no channel hok"):
        sync_rules(pipeline, acme, [AlertRule(name="r", channels=("hok",))])
    assert _channels(pipeline) == []
    sync_channels(pipeline, acme, [loopback], Settings(webhook_allow_loopback=True))
    assert len(_channels(pipeline)) == 1


def test_a_rule_no_longer_listed_is_disabled_and_its_alerts_stay(pipeline: Connection, acme: int) -> None:
    sync_channels(pipeline, acme, [OFFICE])
    _write(pipeline, acme, _notice())
    sync_rules(pipeline, acme, [AlertRule(name="new", minimum_severity=0.9)])
    rows = pipeline.execute("SELECT name, enabled FROM alert_rules ORDER BY name").fetchall()
    assert rows == [("default", False), ("new", True)]
    assert _write(pipeline, acme, _notice()) == 0
    assert len(list_alerts(pipeline, acme)) == 1


def test_another_customers_alerts_are_neither_seen_nor_resent(
    settings: Settings, pipeline: Connection, acme: int
) -> None:
    other = _customer(pipeline, "other")
    for customer in (acme, other):
        sync_channels(pipeline, customer, [HOOK])
        _write(pipeline, customer, _notice())
    (alert,) = list_alerts(pipeline, other)
    with pytest.raises(NotFoundError):
        resend(pipeline, acme, alert["deliveries"][0]["delivery_id"][:8])
    with connect(settings, "upstream_api") as api, customer_transaction(api, acme):
        assert len(list_alerts(api, acme)) == 1  # also: the API role may read all that the list needs
        assert list_alerts(api, other) == []
        assert conservation(api, acme)["deliveries"] == 1


def test_conservation_notices_what_was_lost_or_invented(pipeline: Connection, acme: int) -> None:
    sync_channels(pipeline, acme, [OFFICE, HOOK])
    _write(pipeline, acme, _notice(), _notice())
    whole = conservation(pipeline, acme)
    assert (whole["alerts"], whole["expected_places"], whole["deliveries"]) == (2, 4, 2)
    assert {whole[name] for name in whole if name not in ("alerts", "expected_places", "deliveries")} == {0}
    pipeline.execute(
        "UPDATE deliveries SET attempt = 1 WHERE delivery_id = (SELECT delivery_id FROM deliveries LIMIT 1)"
    )
    assert conservation(pipeline, acme)["lost_attempts"] == 1
    pipeline.execute(
        "DELETE FROM delivery_alerts WHERE channel_id = (SELECT channel_id FROM alert_channels WHERE name = 'hook')"
    )
    assert conservation(pipeline, acme)["missing_places"] == 2
    assert conservation(pipeline, acme)["empty_deliveries"] == 1
    pipeline.execute("UPDATE deliveries SET state = 'sent'")
    assert conservation(pipeline, acme)["wrong_states"] == 2


def test_channels_are_locked_by_id_whatever_the_order_of_the_file(
    settings: Settings, pipeline: Connection, acme: int
) -> None:
    """Most likely wrong: the file's order; a worker that judges the same channels then waits for us, and we for it."""
    channels: list[Channel] = [OFFICE, HOOK]
    sync_channels(pipeline, acme, channels)
    by_id = [row[0] for row in pipeline.execute("SELECT name FROM alert_channels ORDER BY channel_id")]
    backwards = sorted(channels, key=lambda channel: by_id.index(channel.name), reverse=True)
    lock = "SELECT 1 FROM alert_channels WHERE name = %s FOR NO KEY UPDATE"
    with connect(settings, "upstream_pipeline") as worker, connect(settings, "upstream_pipeline") as ours:
        us = threading.Thread(target=sync_channels, args=(ours, acme, backwards))
        with worker.transaction():
            worker.execute(lock, (by_id[0],))
            us.start()
            blocked = "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
            end = time.monotonic() + 15
            while pipeline.execute(blocked, (worker.info.backend_pid,)).fetchone() == (0,):
                assert time.monotonic() < end
                time.sleep(0.01)
            assert worker.execute(lock + " NOWAIT", (by_id[1],)).fetchone() == (1,)
        us.join()


def test_the_due_count_is_served_by_the_partial_index(pipeline: Connection, acme: int) -> None:
    """The sensor asks every few seconds; sent deliveries must not make that slower."""
    sync_channels(pipeline, acme, [OFFICE])
    _write(pipeline, acme, *[_notice() for _ in range(300)])
    pipeline.execute("UPDATE deliveries SET state = 'sent'")
    pipeline.execute("ANALYZE deliveries")
    plan = pipeline.execute("EXPLAIN " + QUERIES.count_due, {"now": datetime.now(UTC)}).fetchall()
    assert "deliveries_due" in repr(plan)
    assert due_deliveries(pipeline, datetime.now(UTC) + timedelta(days=1)) == 0


def test_instants_in_json_are_of_utc_whatever_zone_the_server_keeps(
    settings: Settings, pipeline: Connection, acme: int
) -> None:
    (database,) = pipeline.execute("SELECT current_database()").fetchone()  # type: ignore[misc]
    pipeline.execute("SET ROLE none")
    pipeline.execute(
        sql.SQL("ALTER DATABASE {} SET timezone = 'America/New_York'").format(sql.Identifier(database))
    )
    with connect(settings, "upstream_pipeline") as conn:
        assert conn.execute("SELECT to_jsonb('2026-01-01T12:00Z'::timestamptz)").fetchone() == (
            "2026-01-01T12:00:00+00:00",
        )
