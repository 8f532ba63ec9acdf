"""`upstream trace`: from the id of a request to the last attempt of a delivery, over the real parts in this process."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import dagster as dg
import httpx
import pytest
from typer.testing import CliRunner

from upstream_pipelines.alerts.notices import DriftNotice
from upstream_pipelines.alerts.store import sync_channels, write_drift_alerts
from upstream_pipelines.api.app import create_app
from upstream_pipelines.cli.main import app
from upstream_pipelines.customers.store import create_customer, get_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.definitions import defs
from upstream_pipelines.defs.drift_assets import look_at
from upstream_pipelines.defs.home import dagster_instance
from upstream_pipelines.defs.jobs import deliver_alerts
from upstream_pipelines.defs.partitions import customer_partitions
from upstream_pipelines.defs.resources import Platform
from upstream_pipelines.defs.sensors import waiting_uploads
from upstream_pipelines.delivery.channels import WebhookChannel
from upstream_pipelines.demo.receivers import running_receivers
from upstream_pipelines.errors import ConflictError, NotFoundError
from upstream_pipelines.ingest.uploads import QUERIES
from upstream_pipelines.observability.logging import configure_logging
from upstream_pipelines.observability.tracing import configure_tracing, trace_id_of, trace_of_look
from upstream_pipelines.operations.trace import trace
from upstream_pipelines.settings import Settings
from upstream_pipelines_tests.unit.otlp_collector import Collector, collecting

REQUEST = "0190c5a2-7b1e-7d3f-9a60-5d1f0c2b3a4e"
EVENT = uuid.UUID("11111111-0000-4000-8000-000000000000")
CANARY = "ZYZZYVA, QUENTIN"
ROW = {"claim_id": "A1", "payer": "Aetna", "cpt": "99213", "submitted_date": "2026-01-05", "outcome": "pending"}
ROWS = [ROW, ROW | {"claim_id": "A2"}, ROW | {"claim_id": "A3", "payer": CANARY}]


def _said(*words: str) -> str:
    result = CliRunner().invoke(app, ["trace", *words], env={"COLUMNS": "250"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


async def _posted(settings: Settings, token: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}", "X-Request-Id": REQUEST}
    transport = httpx.ASGITransport(create_app(settings))
    async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers) as client:
        return await client.post("/api/v1/ingest/webhook/", json={"claims": ROWS})


def _open_event(conn: Connection, customer_id: int) -> None:
    """A look after the upload opens an event and tells of it, as drift/store.py writes them."""
    today = date.today()
    with conn.transaction():
        conn.execute(
            "INSERT INTO drift_looks (customer_id, as_of, method_version, settings) VALUES (%s, %s, '1', '{}')",
            (customer_id, today),
        )
        conn.execute(
            """INSERT INTO drift_events (customer_id, event_id, payer, cpt_group, signal, direction, state, started_on,
                                         opened_on, last_look, memory, method_version, settings,
                                         opened_method_version, opened_settings)
               VALUES (%s, %s, 'Aetna', 'ALL', 'denial_rate', 'worsening', 'open', %s, %s, %s, '{}', '1', '{}', '1', '{}')""",
            (customer_id, EVENT, today, today, today),
        )
        conn.execute(
            """INSERT INTO drift_results (customer_id, as_of, payer, cpt_group, signal, direction, state, event_id,
                                          n_baseline, n_current, cause)
               VALUES (%s, %s, 'Aetna', 'ALL', 'denial_rate', 'worsening', 'open', %s, 900, 90, 'payer')""",
            (customer_id, today, EVENT),
        )
        notice = DriftNotice(
            event_id=EVENT, notice="open", payer="Aetna", cpt_group="ALL", signal="denial_rate", direction="worsening",
            severity=0.7, effect=0.05, baseline=0.1, current=0.15, n_baseline=900, n_current=90, maturity=0.9,
            p_value=1e-5, q_value=1e-4, as_of=today, change_date=today, headline="Aetna denies more", sentences=("More.",),
            facts=(("Before", "10 %"),),
        )  # fmt: skip
        assert write_drift_alerts(conn, customer_id, [notice]) == 1


@dataclass
class Happened:
    """The ids of what a request led to, and what the processes logged."""

    upload: str
    run: str
    delivery_run: str
    tags: dict[str, str]
    logs: str
    collector: Collector


@pytest.fixture
def happened(
    pipeline: Connection,
    settings: Settings,
    platform: Platform,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Iterator[Happened]:
    monkeypatch.setenv("UPSTREAM_WEBHOOK_ALLOW_LOOPBACK", "true")
    local = settings.model_copy(update={"webhook_allow_loopback": True})
    customer, token = create_customer(pipeline, "acme", "Acme")
    with collecting() as collector, running_receivers() as receivers, dagster_instance(settings) as instance:
        monkeypatch.setenv("UPSTREAM_OTLP_ENDPOINT", collector.endpoint)
        configure_tracing(settings.model_copy(update={"otlp_endpoint": collector.endpoint}))
        hook = WebhookChannel(kind="webhook", name="hook", url=f"http://127.0.0.1:{receivers.http_port}/hook")
        receivers.received.secrets |= sync_channels(pipeline, customer.customer_id, [hook], local)
        configure_logging(settings)
        answer = asyncio.run(_posted(settings, token))
        assert answer.status_code == 202
        upload_id = answer.json()["upload_id"]
        # A run that died while it read.
        key = {"customer_id": customer.customer_id, "upload_id": upload_id, "run_id": "died"}
        pipeline.execute(QUERIES.start_upload, key)
        instance.add_dynamic_partitions(customer_partitions.name or "", ["acme"])
        with dg.build_sensor_context(instance=instance) as context:
            asked: Any = waiting_uploads(context, platform=platform)
        (request,) = asked.run_requests
        done = defs.resolve_job_def("ingest").execute_in_process(
            instance=instance, partition_key="acme", asset_selection=list(request.asset_selection), tags=request.tags,
        )  # fmt: skip
        assert done.success
        _open_event(pipeline, customer.customer_id)
        pipeline.execute("UPDATE deliveries SET due_at = now()")  # the quality alert waits for others to join it
        sent = deliver_alerts.execute_in_process(instance=instance, resources={"platform": platform})
        assert sent.success
        logs = "".join(capfd.readouterr())
        yield Happened(upload_id, done.run_id, sent.run_id, dict(request.tags), logs, collector)


def test_a_request_is_followed_to_the_last_attempt_of_its_deliveries(
    happened: Happened, pipeline: Connection, settings: Settings
) -> None:
    """Most likely wrong: a link that is missing somewhere on the way, or an id that only one side writes."""
    assert happened.tags["upstream/requests"] == REQUEST
    assert happened.tags["upstream/uploads"] == happened.upload
    lines = [json.loads(line) for line in happened.logs.splitlines() if line.startswith("{")]
    written = {line["event"]: line.get("upload_id") for line in lines if line.get("request_id") == REQUEST}
    assert {written[event] for event in ("request", "upload staged", "upload merged")} == {happened.upload}

    said = _said(REQUEST, "--json")
    told = json.loads(said)
    (upload,) = told["uploads"]
    counts = {name: upload[name] for name in ("rows", "accepted", "rejected", "duplicates", "updated")}
    assert counts == {"rows": 3, "accepted": 2, "rejected": 1, "duplicates": 0, "updated": 0}
    assert [(item["rule"], item["rows"]) for item in upload["rejections"]] == [("phi_in_payer", 1)]
    prefix = pipeline.execute("SELECT prefix FROM ingestion_tokens").fetchall()[0][0]
    assert prefix in told["entries"][0]["about"]
    assert [(one["what"], one["state"]) for one in told["entries"]] == [
        ("received", "accepted"), ("read", "no outcome"), ("run asked for", "asked"), ("read", "read"),
        ("merge", "merged"), ("result", "partial"), ("alert", "sent"), ("delivery", "sent"), ("run", "success"),
        ("look", "made"), ("event", "open"), ("alert", "sent"), ("attempt", "sent"),
    ]  # fmt: skip
    assert [one["run_id"] for one in told["entries"] if one["run_id"]] == [
        "died", happened.run, happened.run, happened.run,
    ]  # fmt: skip
    shown = _said(REQUEST)
    assert "Aetna denies more" in shown
    assert CANARY not in said + shown
    _every_id_leads_into_it(happened, pipeline)
    _every_step_is_a_span_in_the_trace_of_the_request(happened, pipeline, settings)


def _every_step_is_a_span_in_the_trace_of_the_request(
    happened: Happened, conn: Connection, settings: Settings
) -> None:
    yesterday = date.today() - timedelta(days=1)
    conn.execute("UPDATE drift_looks SET made_at = now() - interval '1 day'")  # so that the upload came after it
    look_at(conn, settings, get_customer(conn, "acme"), [yesterday], run_id="of a sweep")
    spans = {one.name: one for one in happened.collector.spans()}
    request, attempt, made = spans["POST /api/v1/ingest/webhook/"], spans["attempt delivery"], spans["look"]
    for name in ("read upload", "merge upload", "attempt delivery"):
        assert spans[name].trace_id == REQUEST.replace("-", "")
        assert spans[name].parent_id == request.span_id
        assert spans[name].attributes["request_id"] == REQUEST
        assert spans[name].attributes["upload_id"] == happened.upload
    runs = {name: one.attributes.get("run_id") for name, one in spans.items()}
    assert runs == {
        request.name: None, "read upload": happened.run, "merge upload": happened.run,
        "attempt delivery": happened.delivery_run, "look": "of a sweep",
    }  # fmt: skip
    assert request.attributes == {
        "request_id": REQUEST, "upload_id": happened.upload, "http.request.method": "POST",
        "http.route": "/api/v1/ingest/webhook/", "http.response.status_code": 202,
    }  # fmt: skip
    assert spans["merge upload"].attributes["outcome"] == "partial"
    assert attempt.attributes["outcome"] == "sent"
    # The message tells of a look's event, too.
    customer_id = get_customer(conn, "acme").customer_id
    assert attempt.links == [f"{trace_id_of(trace_of_look(customer_id, str(date.today()))):032x}"]
    assert made.links == [request.trace_id]
    assert made.trace_id == f"{trace_id_of(trace_of_look(customer_id, str(yesterday))):032x}"
    assert made.attributes == {
        "run_id": "of a sweep",
        "customer": "acme",
        "as_of": str(yesterday),
        "opened": 0,
        "alerts": 0,
    }
    sent = happened.collector.bytes().upper()
    for value in (CANARY.split(",", maxsplit=1)[0], "Aetna"):
        assert value.upper().encode() not in sent


def _every_id_leads_into_it(happened: Happened, conn: Connection) -> None:
    alerts = dict(conn.execute("SELECT kind, alert_id::text FROM alerts").fetchall())
    delivery = conn.execute("SELECT delivery_id::text FROM deliveries").fetchall()[0][0]
    ids = {
        "request": REQUEST.replace("-", "").upper(), "upload": happened.upload[:8], "run": happened.run,
        "alert": alerts["quality"][:13], "delivery": delivery,
    }  # fmt: skip
    for kind, asked in ids.items():
        found = trace(conn, asked)
        assert found.kind == kind
        assert [str(one["upload_id"]) for one in found.uploads] == [happened.upload], kind
    # A drift event belongs to all uploads before its look: the look is named and no upload.
    of_drift = trace(conn, alerts["drift"])
    assert of_drift.uploads == ()
    assert [one.what for one in of_drift.entries] == ["look", "event", "alert", "delivery", "attempt"]
    for unknown in (str(uuid.uuid4()), "%", "12345678", "no-id"):
        with pytest.raises(NotFoundError, match=r"logs/api\.log"):
            trace(conn, unknown)
    conn.execute(
        "INSERT INTO uploads (customer_id, upload_id, source, byte_count) SELECT customer_id, "
        "overlay(upload_id::text placing '000000000000' from 25)::uuid, source, 0 FROM uploads"
    )
    with pytest.raises(ConflictError, match="More than one id"):
        trace(conn, happened.upload[:8])
