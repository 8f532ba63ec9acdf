"""What Prometheus and operators are told: true figures, labels of closed sets, nobody's names, and not to everybody."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import dagster as dg
import httpx
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from typer.testing import CliRunner

import upstream_pipelines
from upstream_pipelines.api import metrics
from upstream_pipelines.api.metrics import FIGURES, METHODS, ApiMetrics, TotalsCollector
from upstream_pipelines.cli.main import app
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.defs.run_counts import JOBS, count_runs
from upstream_pipelines.operations import totals
from upstream_pipelines.operations.status import JobRuns, note_runs
from upstream_pipelines.settings import Settings

CANARY = "zebrafish"
STATUS = "/api/v1/monitoring/status"
_FILLED = f"""
INSERT INTO customers (slug, name, created_at) VALUES ('{CANARY}', '{CANARY}', now() - interval '9 days');
UPDATE customers SET configuration = '{{"mapping": {{"payer_aliases": {{"{CANARY}": "A"}}}}}}', applied_mapping_sha256 = 'x'
 WHERE slug = '{CANARY}';
UPDATE customers SET names_wanted_at = now() - interval '16 minutes', names_asks = 5;
INSERT INTO uploads (customer_id, source, byte_count, file_name, status, accepted, rows, received_at)
SELECT customer_id, v.source, 1, '{CANARY}.csv', v.status, v.rows, v.rows, now() - v.age::interval
  FROM customers, (VALUES ('csv', 'success', 9, '30 hours'), ('webhook', 'received', 0, '2 hours'),
                          ('webhook', 'received', 0, '30 seconds'), ('csv', 'failed', 0, '1 minute'))
       AS v (source, status, rows, age);
INSERT INTO report_runs (customer_id, report_id, period_from, period_until, actor_kind, actor_id, actor_name, state, error_code,
                         requested_at, started_at, ended_at)
SELECT customer_id, gen_random_uuid(), v.first::date, '2026-06-01', 'person', '1', '{CANARY}', v.state,
       CASE WHEN v.state = 'failed' THEN '{CANARY}' END, now() - v.age::interval, CASE WHEN v.state <> 'waiting' THEN now() END,
       CASE WHEN v.state IN ('success', 'failed') THEN now() END
  FROM customers, (VALUES ('2026-01-01', 'success', '3 days'), ('2026-02-01', 'failed', '2 days'), ('2026-03-01', 'waiting', '1 hour'),
                          ('2026-04-01', 'running', '1 minute')) AS v (first, state, age);
INSERT INTO drift_events (customer_id, event_id, payer, cpt_group, signal, direction, state, started_on, last_look, memory,
                          method_version, settings, opened_method_version, opened_settings)
SELECT customer_id, gen_random_uuid(), '{CANARY}' || v.state || v.signal, 'ALL', v.signal, 'worsening', v.state, now(), now(),
       '{{}}', '1', '{{}}', '1', '{{}}'
  FROM customers, (VALUES ('denial_rate', 'open'), ('denial_rate', 'updated'), ('denial_rate', 'watch'),
                          ('denial_rate', 'resolved'), ('{CANARY}', 'open')) AS v (signal, state);
INSERT INTO alert_channels (customer_id, name, kind, configuration, failing_since)
SELECT customer_id, '{CANARY}', 'email', '{{}}', now() FROM customers;
INSERT INTO alerts (customer_id, kind, notice, fingerprint, subject_id, content, channel_ids)
SELECT customer_id, 'test', 'open', '{CANARY}', gen_random_uuid(), '{{"x": "{CANARY}"}}', '{{}}' FROM customers;
INSERT INTO deliveries (customer_id, channel_id, state, due_at, finished_at)
SELECT customer_id, channel_id, v.state, now() + v.due::interval, CASE WHEN v.state = 'dead' THEN now() END
  FROM alert_channels, (VALUES ('pending', '-1 minute'), ('retrying', '1 hour'), ('dead', '-1 day')) AS v (state, due);
"""


def _scraped(client: httpx.Client) -> dict[str, dict[str, float]]:
    """By sample, by the values of its labels in the order of their names."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert CANARY not in answer.text.lower()
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            _check_labels(family.name, sample.labels)
            found.setdefault(sample.name, {})[" ".join(value for _, value in sorted(sample.labels.items()))] = (
                sample.value
            )
    return found


def _check_labels(name: str, labels: dict[str, str]) -> None:
    figures = {figure.metric: dict(figure.labels) for figure in FIGURES.values()}
    if name in figures:
        assert set(labels) == set(figures[name]), name
        assert all(value in {*figures[name][label], metrics.OTHER} for label, value in labels.items()), labels
        return
    closed = {
        "method": {*METHODS, metrics.OTHER}, "status": {f"{number}xx" for number in range(1, 6)},
        "route": {"none", "/metrics", STATUS, "/health", "/api/v1/uploads/{upload_id}", "/api/v1/ingest/webhook/"},
    }  # fmt: skip
    for label, value in labels.items():
        if label != "le":
            assert value in closed[label], (name, label, value)


def test_figures_are_true_and_their_labels_are_of_closed_sets(
    acme: httpx.Client, pipeline: Connection, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most likely wrong: a label that a customer, a payer or a client's path can choose."""
    pipeline.execute("UPDATE customers SET status = 'disabled'")
    pipeline.execute(
        _FILLED.replace("FROM customers", f"FROM (SELECT * FROM customers WHERE slug = '{CANARY}') AS c")
    )
    in_trouble = {"upload", "waiting", "look", "channel", "report", "report_waiting", "names"}
    now = datetime.now(UTC)
    note_runs(pipeline, [JobRuns("ingest", 2, 1, 3, "r", "success", now, now, now)], now)
    note_runs(pipeline, [JobRuns(CANARY, 1, 0, 0, None, None, None, None, None),
                         JobRuns("ingest", 2, 1, 4, "r", "success", now, now, None)], now)  # fmt: skip
    acme.get(f"/api/v1/uploads/{CANARY}")
    acme.get(f"/{CANARY}?{CANARY}={CANARY}")
    acme.request("PROPFIND", "/health")

    read = Mock(wraps=totals.read_totals)
    monkeypatch.setattr(metrics, "read_totals", read)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: _scraped(acme), range(16)))[-1]
    assert read.call_count == 1, "a storm of scrapes asks the database once"
    assert found["upstream_totals_up"] == {"": 1}
    assert found["upstream_customers"] == {"active": 1, "disabled": 1}
    assert found["upstream_customers_failing"] == dict.fromkeys(in_trouble, 1)
    assert found["upstream_reports_waiting"] == {"waiting": 1, "running": 1}
    assert 3600 <= found["upstream_report_oldest_waiting_seconds"][""] < 3700
    assert found["upstream_uploads_waiting"] == {"webhook received": 2}
    assert found["upstream_uploads_last_day"] == {"webhook received": 2, "csv failed": 1}
    assert 7200 <= found["upstream_upload_oldest_waiting_seconds"][""] < 7300
    assert found["upstream_drift_events_open"] == {"worsening denial_rate": 2, "worsening other": 1}
    assert found["upstream_alerts_last_day"] == {"test pending": 1}
    assert found["upstream_deliveries_waiting"] == {"email": 2}
    assert found["upstream_deliveries_due"] == {"email": 1}
    assert found["upstream_deliveries_dead"] == {"email": 1}
    assert found["upstream_runs"]["ingest failed_last_day"] == 4
    assert found["upstream_runs"]["other queued"] == 1
    assert set(found["upstream_run_last_success_seconds"]) == {"ingest"}
    requests = found["upstream_http_requests_total"]
    assert requests["GET /api/v1/uploads/{upload_id} 4xx"] == 1
    assert requests["GET none 4xx"] == 1
    assert requests["other /health 4xx"] == 1
    assert found["upstream_http_request_seconds_count"]["GET none"] == 1
    assert found["upstream_http_requests_in_flight"][""] >= 1

    told = acme.get(STATUS).json()
    assert {one["why"] for one in told["failing"]} == in_trouble
    waiting = told["uploads_waiting"], told["reports_waiting"], told["deliveries_due"], told["deliveries_dead"]
    assert waiting == (2, 2, 1, 1)
    assert [one["failed"] for one in told["runs"] if one["job_name"] == "ingest"] == [4]
    assert settings.database_url is not None
    monkeypatch.setenv("UPSTREAM_DATABASE_URL", settings.database_url.get_secret_value())
    said = json.loads(CliRunner().invoke(app, ["status", "--json"]).stdout)
    assert said.pop("left_in_landing_zone") == [], "the API does not look into folders"
    assert {name: said[name] for name in said if "seconds" not in name} == {
        name: _same_times(told[name]) for name in told if "seconds" not in name
    } | {"at": said["at"]}
    shown = CliRunner().invoke(app, ["status"], env={"COLUMNS": "200"}).stdout
    assert f"`upstream uploads {CANARY}`" in shown
    assert f"`upstream reports make {CANARY}`" in shown

    # Totals that take too long are given up, and the API's own figures are told all the same.
    monkeypatch.setattr(totals, "_MOST_MILLISECONDS", 100)
    url = settings.database_url.get_secret_value()
    with psycopg.connect(url) as holder:
        holder.execute("LOCK TABLE uploads IN ACCESS EXCLUSIVE MODE")
        up, *families = TotalsCollector(settings).collect()
    assert [sample.value for sample in up.samples] == [0]
    assert [sample for family in families for sample in family.samples] == []


def _same_times(value: Any) -> Any:
    """JSON of the API writes UTC as Z, the command as +00:00."""
    return json.loads(re.sub(r"(\d\d:\d\d(?:\.\d+)?)Z\"", r'\1+00:00"', json.dumps(value)))


def test_only_this_machine_or_who_has_the_token_is_told(serve: Callable[[Settings], str], tmp_path: Path) -> None:
    """And a database out of reach hides no figure of the API itself."""
    nowhere = SecretStr("postgresql://nobody@127.0.0.1:1/none")
    local = Settings(home=tmp_path, database_url=nowhere)
    guarded = local.model_copy(update={"metrics_token": SecretStr("0123456789abcdef")})
    with httpx.Client(base_url=serve(local), trust_env=False, timeout=30) as client:
        unknown = client.get("/nothing").json() | {"request_id": ""}
        assert _scraped(client)["upstream_totals_up"] == {"": 0}
        assert _scraped(client)["upstream_http_requests_total"]["GET none 4xx"] == 1
        assert client.get("/health/live").status_code == 200
        assert client.get("/health/ready").status_code == 503
        for header in ("X-Forwarded-For", "Forwarded", "X-Real-Ip", "Via"):
            refused = client.get("/metrics", headers={header: "127.0.0.1"})
            assert refused.status_code == 404
            assert refused.json() | {"request_id": ""} == unknown
            assert client.get(STATUS, headers={header: "127.0.0.1"}).status_code == 404
    with httpx.Client(base_url=serve(guarded), trust_env=False, timeout=30) as client:
        for given in (
            {},
            {"Authorization": "Bearer 0123456789abcdeg"},
            {"Authorization": "Basic 0123456789abcdef"},
        ):
            assert client.get("/metrics", headers=given).status_code == 404
            assert client.get(STATUS, headers=given).status_code == 404
        right = {"Authorization": "Bearer 0123456789abcdef", "X-Forwarded-For": "203.0.113.9"}
        assert client.get("/metrics", headers=right).status_code == 200


def test_every_metric_is_in_the_documentation_and_every_job_is_counted(tmp_path: Path) -> None:
    page = (Path(upstream_pipelines.__file__).parent.parent / "docs" / "operations.md").read_text()
    settings = Settings(home=tmp_path, database_url=SecretStr("postgresql://nobody@127.0.0.1:1/none"))
    names = {family.name for family in ApiMetrics(settings).registry.collect()}
    for name in names:
        assert name.startswith("process_") or f"`{name}" in page, name
    with dg.DagsterInstance.ephemeral() as instance:
        assert [one.job_name for one in count_runs(instance, datetime.now(UTC))] == list(JOBS)
    assert dict(FIGURES["runs"].labels)["job"] == JOBS
