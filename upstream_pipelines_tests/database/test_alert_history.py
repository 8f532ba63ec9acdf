"""Reading the past for the dry run, and the outbox for people: what the looks, uploads and alerts in the database say."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from psycopg.types.json import Jsonb
from typer.testing import CliRunner

from upstream_pipelines.alerts.history import past_events
from upstream_pipelines.alerts.occurrences import refusal_fingerprint
from upstream_pipelines.alerts.overview import attempts_since, customers_told_since, outbox_health, overview
from upstream_pipelines.alerts.rules import AlertRule
from upstream_pipelines.alerts.store import sync_channels, sync_rules, write_quality_alert, write_run_failure_alert
from upstream_pipelines.cli.main import app
from upstream_pipelines.customers.store import create_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.delivery.channels import EmailChannel
from upstream_pipelines.errors import UpstreamError
from upstream_pipelines.settings import Settings

NOW = datetime.now(UTC)
TODAY = NOW.date()
EVENT = uuid.UUID(int=7)


@pytest.fixture
def acme(pipeline: Connection) -> int:
    customer, _ = create_customer(pipeline, "acme", "Acme")
    office = EmailChannel(kind="email", name="office", recipients=("a@example.org",))
    sync_channels(pipeline, customer.customer_id, [office])
    return customer.customer_id


def _looked(conn: Connection, customer: int, days_ago: int, state: str, cause: str = "payer", **row: Any) -> None:
    as_of = TODAY - timedelta(days=days_ago)
    conn.execute(
        "INSERT INTO drift_looks (customer_id, as_of, method_version, settings) VALUES (%s, %s, '1', '{}')",
        (customer, as_of),
    )
    values = {"severity": 0.5, "effect": 0.05, "money": {"per_month": 9000.0}, **row}
    conn.execute(
        """INSERT INTO drift_results (customer_id, as_of, payer, cpt_group, signal, direction, state, event_id, severity,
                                      effect, n_baseline, n_current, cause, detail)
           VALUES (%s, %s, 'Aetna', 'ALL', 'denial_rate', 'worsening', %s, %s, %s, %s, 900, 90, %s, %s)""",
        (customer, as_of, state, EVENT, values["severity"], values["effect"], cause,
         Jsonb({"confidence": 0.99, "money": values["money"]})),
    )  # fmt: skip


def _told(conn: Connection, customer: int, days: int = 90) -> list[tuple[str, str, int]]:
    return [
        (event.facts.kind, event.notice, (TODAY - event.at.date()).days)
        for event in past_events(conn, customer, NOW - timedelta(days=days))
    ]


def test_an_events_life_is_read_from_the_looks_with_what_rules_ask_for(pipeline: Connection, acme: int) -> None:
    _looked(pipeline, acme, 30, "open")
    _looked(pipeline, acme, 20, "updated", severity=0.8)
    _looked(pipeline, acme, 10, "resolved")
    assert _told(pipeline, acme) == [
        ("drift", "open", 30), ("drift", "update", 20), ("drift", "resolved", 10), ("quality", "resolved", 10),
    ]  # fmt: skip
    first = past_events(pipeline, acme, NOW - timedelta(days=90))[0]
    facts = first.facts
    assert (facts.payer, facts.severity, facts.confidence, facts.effect, facts.dollars) == (
        "Aetna",
        0.5,
        0.99,
        0.05,
        9000,
    )
    assert (first.at.hour, first.about) == (6, "Aetna: denial rate (worsening)")
    assert _told(pipeline, acme, days=15) == [("drift", "resolved", 10), ("quality", "resolved", 10)]


def test_an_event_that_turns_out_to_be_data_opens_for_those_who_watch_the_data(
    pipeline: Connection, acme: int
) -> None:
    _looked(pipeline, acme, 30, "open")
    _looked(pipeline, acme, 20, "updated", "data")
    assert _told(pipeline, acme) == [("drift", "open", 30), ("quality", "open", 20), ("quality", "update", 20)]


def test_uploads_silences_and_failed_runs_are_read_too(pipeline: Connection, acme: int) -> None:
    for days, status, code in ((9, "failed", "file_refused"), (8, "partial", None), (7, "success", None)):
        (upload_id,) = pipeline.execute(
            """INSERT INTO uploads (customer_id, source, byte_count, status, error_code, received_at, finished_at)
               VALUES (%s, 'csv', 1, %s, %s, %s, %s) RETURNING upload_id""",
            (acme, status, code, NOW - timedelta(days=days), NOW - timedelta(days=days)),
        ).fetchone()  # type: ignore[misc]
        pipeline.execute(
            """INSERT INTO quality_findings (customer_id, upload_id, rule, field, severity, checked_rows, failing_rows,
                                             sample_row_numbers) VALUES (%s, %s, 'payer_present', 'payer', %s, 9, 1, '{}')""",
            (acme, upload_id, "warning" if status == "success" else "error"),
        ) if code is None else None
    pipeline.execute(
        """INSERT INTO missed_uploads (customer_id, last_day, basis, usual_days, limit_days, noticed_at, ended_at, ending)
           VALUES (%s, %s, 'setting', 1, 2, %s, %s, 'sent again')""",
        (acme, date(2026, 1, 1), NOW - timedelta(days=5), NOW - timedelta(days=4)),
    )
    write_run_failure_alert(pipeline, acme, "r1", "ingest", None, "RunFailure", None, NOW - timedelta(days=3))
    refused = next(event for event in past_events(pipeline, acme, NOW - timedelta(days=90)))
    assert refused.fingerprint == refusal_fingerprint("csv", "file_refused", ())
    assert _told(pipeline, acme) == [
        ("quality", "open", 9), ("quality", "open", 8), ("silence", "open", 5), ("silence", "resolved", 4),
        ("run_failure", "open", 3),
    ]  # fmt: skip


def _run(settings: Settings, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    assert settings.database_url is not None
    monkeypatch.setenv("UPSTREAM_DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setenv("UPSTREAM_HOME", str(settings.home))
    result = CliRunner().invoke(app, list(arguments))
    if isinstance(result.exception, UpstreamError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_command_tries_rules_of_a_file_and_writes_and_sends_nothing(
    settings: Settings, pipeline: Connection, acme: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _looked(pipeline, acme, 30, "open")
    _looked(pipeline, acme, 10, "resolved")
    stored = json.loads(_run(settings, monkeypatch, "alerts", "dry-run", "acme", "--json"))
    assert [(one["rule"], one["alerts"], one["messages"]) for one in stored["rules"]] == [
        ("default", {"drift": 2}, 2)
    ]
    file = tmp_path / "rules.yaml"
    file.write_text(
        "alert_rules:\n  - {name: large, minimum_dollars_per_month: 10000}\n  - {name: all, channels: [office]}\n"
    )
    tried = json.loads(_run(settings, monkeypatch, "alerts", "dry-run", "acme", "--rules", str(file), "--json"))
    assert {one["rule"]: one["messages"] for one in tried["rules"]} == {"large": 0, "all": 2}
    assert tried["rules"][1]["messages_a_week"] == pytest.approx(2 * 7 / 90)
    table = _run(settings, monkeypatch, "alerts", "dry-run", "acme", "--rules", str(file))
    assert "office" in table
    assert "Not simulated: " in table
    assert pipeline.execute("SELECT count(*) FROM alerts").fetchone() == (0,)
    assert pipeline.execute("SELECT name FROM alert_rules").fetchall() == [("default",)]
    file.write_text("alert_rules:\n  - {name: lost, channels: [nowhere]}\n")
    with pytest.raises(UpstreamError, match=r'"lost": there is no channel nowhere\. Channels: office'):
        _run(settings, monkeypatch, "alerts", "dry-run", "acme", "--rules", str(file))


def test_people_see_what_was_told_held_back_given_up_and_which_channels_work(
    pipeline: Connection, acme: int
) -> None:
    sync_rules(pipeline, acme, [AlertRule(name="default")])
    for number in range(2):
        write_quality_alert(pipeline, acme, uuid.UUID(int=number), 50.0, ["payer_present"], None)
    began = NOW - timedelta(minutes=1)
    pipeline.execute(
        "UPDATE deliveries SET state = 'dead', attempt = 1, finished_at = now(), progress = '{\"reason\": \"gone\"}'"
    )
    pipeline.execute(
        """INSERT INTO delivery_attempts (customer_id, delivery_id, attempt, started_at, outcome, detail)
           SELECT customer_id, delivery_id, 1, now(), 'dead', 'gone' FROM deliveries"""
    )
    seen = overview(pipeline, acme, NOW)
    assert [(alert["headline"], alert["state"]) for alert in seen.told] == [
        ("An upload failed its quality checks", "pending")
    ]
    assert ["told at" in alert["reason"] for alert in seen.held] == [True]
    assert [delivery["progress"]["reason"] for _, delivery in seen.dead] == ["gone"]
    (channel,) = seen.channels
    assert (channel.name, channel.dead, channel.waiting, channel.is_in_trouble) == ("office", 1, 0, True)
    (attempt,) = attempts_since(pipeline, began)
    assert (attempt["slug"], attempt["channel"], attempt["alerts"], attempt["detail"]) == (
        "acme",
        "office",
        1,
        "gone",
    )
    assert customers_told_since(pipeline, began, 10) == [(acme, "acme")]
    health = outbox_health(pipeline, NOW)
    assert (health.dead, health.dead_of, health.switched_off, health.due) == (1, ["acme"], [], 0)


def test_the_outbox_says_what_is_off_and_since_when_something_waits(pipeline: Connection, acme: int) -> None:
    write_quality_alert(pipeline, acme, EVENT, 50.0, ["payer_present"], None, NOW - timedelta(hours=1))
    pipeline.execute("UPDATE alert_channels SET failing_since = %s", (NOW - timedelta(hours=2),))
    health = outbox_health(pipeline, NOW)
    assert (health.failing, health.switched_off) == ([("acme/office", NOW - timedelta(hours=2))], [])
    pipeline.execute(
        "UPDATE alert_channels SET enabled = false, disabled_reason = 'the receiver answered 410 Gone'"
    )
    health = outbox_health(pipeline, NOW)
    assert (health.switched_off, health.failing, health.due) == (["acme/office"], [], 1)
    assert health.oldest_due is not None
    assert NOW - health.oldest_due > timedelta(minutes=59)
    sync_channels(pipeline, acme, [])
    pipeline.execute("UPDATE alert_channels SET disabled_reason = 'no longer in the customer''s configuration'")
    assert outbox_health(pipeline, NOW).switched_off == []
    assert not overview(pipeline, acme, NOW).channels[0].is_in_trouble
