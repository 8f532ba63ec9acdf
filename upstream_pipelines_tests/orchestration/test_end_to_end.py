"""The path as its users have it: real daemon, webserver, sensors, runs, API, PostgreSQL and receivers."""

from __future__ import annotations

import json
import os
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import requests
import yaml
from dagster_graphql import DagsterGraphQLClient

from upstream_pipelines.defs.run_queue import DELIVERY_JOB, WORK
from upstream_pipelines.demo.generator import Change, as_known_on, synthetic_claims
from upstream_pipelines_tests.orchestration.document_blocks import DOCUMENTS, commands, differs, run
from upstream_pipelines_tests.orchestration.document_preparations import BEFORE

pytestmark = [
    pytest.mark.timeout(420),
    # Dagster's own GraphQL client calls its transport in a way that the transport has deprecated.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

# A name as no generator makes it; it must stay in the claim tables.
CANARY = "ZZYZX, QUENTIN"
ROOT = Path(__file__).parents[2]


def _customer(running: Any, slug: str) -> tuple[str, str]:
    """Signs up and configures; returns token and signing secret."""
    token = running.json("customers", "create", slug, "--name", f"{slug} clinic")["token"]
    base = f"http://127.0.0.1:{running.receivers.http_port}"
    file = running.home / f"{slug}.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "channels": [
                    {"kind": "email", "name": "mail", "recipients": [f"billing@{slug}.example"]},
                    {"kind": "slack", "name": "slack", "webhook_url": f"{base}/slack/{slug}"},
                    {"kind": "webhook", "name": "hook", "url": f"{base}/hook/{slug}"},
                ]
            }
        )
    )
    secret = running.json("customers", "configure", slug, "--file", str(file))["secrets"]["hook"]
    running.receivers.received.secrets[slug] = secret
    return token, secret


@pytest.fixture(scope="module", autouse=True)
def silent_token(running: Any) -> str:
    """Token of a customer that should send every day and has sent nothing for a month. The daemon notices it while the
    other tests run.
    """
    token: str = running.json("customers", "create", "silent", "--name", "Silent clinic")["token"]
    file = running.home / "silent.yaml"
    mail = {"kind": "email", "name": "mail", "recipients": ["billing@silent.example"]}
    file.write_text(yaml.safe_dump({"cadence_days": 1, "channels": [mail]}))
    running.command("customers", "configure", "silent", "--file", str(file))
    running.rows(
        "UPDATE customers SET created_at = now() - interval '30 days' WHERE slug = 'silent' RETURNING customer_id"
    )
    # The next watch is an hour after the one at the start.
    query = """mutation ($selector: SensorSelector!) {
      setSensorCursor(sensorSelector: $selector) { __typename } }"""
    selector = {
        "repositoryLocationName": "upstream_pipelines",
        "repositoryName": "__repository__",
        "sensorName": "silent_customers",
    }
    assert _asked(running, query, {"selector": selector})["setSensorCursor"]["__typename"] == "Sensor"
    return token


def _lines(running: Any, slug: str) -> int:
    return int(
        running.rows("SELECT count(*) FROM claims JOIN customers USING (customer_id) WHERE slug = %s", slug)[0][0]
    )


def _post(running: Any, token: str, claims: list[dict[Any, Any]], key: str) -> requests.Response:
    return requests.post(
        f"{running.api}/api/v1/ingest/webhook/",
        data=json.dumps({"claims": claims}),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json", "Idempotency-Key": key},
        timeout=30,
        proxies={"http": ""},
    )


def test_a_dropped_file_and_a_posted_batch_become_claims_and_the_schedules_job_alarms_on_every_channel(
    running: Any,
) -> None:
    """Most likely wrong: a sensor that is off, a run that cannot start, a sender that is not configured."""
    today = datetime.now(UTC).date()
    token, _ = _customer(running, "acme")
    claims = synthetic_claims(7, today, 280, Change("Aetna", today - timedelta(days=60), denial_rate=0.30))
    known = as_known_on(claims, today)
    folder = running.home / "landing" / "acme"
    part = folder / "Zzyzx_Quentin.csv.part"
    part.write_text(known.head(len(known) - 3).to_csv(index=False, date_format="%Y-%m-%d"))
    part.rename(folder / "Zzyzx_Quentin.csv")
    batch = known.tail(3).astype(object).where(known.tail(3).notna(), None)
    for name in ("service_date", "submitted_date", "decided_date"):
        batch[name] = batch[name].map(lambda day: None if day is None else str(day)[:10])
    rows = batch.to_dict("records")
    rows.append({**rows[0], "claim_id": "P1", "payer": CANARY})
    assert _post(running, token, rows, "batch-0001").status_code == 202
    running.wait("the claims", lambda: _lines(running, "acme") == len(known))
    rejected = running.rows("SELECT field, rule FROM rejected_rows")
    assert [(field, rule) for field, rule in rejected] == [("payer", "phi_in_payer")]

    client = DagsterGraphQLClient("127.0.0.1", port_number=running.ui_port)
    run_id = client.submit_job_execution("drift_sweep", run_config=_scheduled_config(running, today))
    running.wait("the sweep", lambda: client.get_run_status(run_id).value in {"SUCCESS", "FAILURE"})
    assert client.get_run_status(run_id).value == "SUCCESS"
    events = running.rows("SELECT payer, signal, direction, state FROM drift_events WHERE state <> 'watch'")
    assert events == [("Aetna", "denial_rate", "worsening", "open")]

    got = running.receivers.received
    # The upload with the rejected row is told as well: in the same messages, or in some that come first.
    running.wait("the deliveries", lambda: "drift.event.opened" in _told(got.webhooks))
    running.wait(
        "the outcome of the deliveries",
        lambda: running.rows("SELECT DISTINCT state FROM deliveries") == [("sent",)],
    )
    assert got.refused == 0
    (mail,) = [mail for mail in got.mails if "denies more" in str(mail["Subject"])]
    assert mail["To"] == "billing@acme.example"
    assert "Aetna" in str(mail["Subject"])
    assert any(part.get_content_type() == "image/png" for part in mail.walk())
    assert sum("Aetna" in json.dumps(message) for message in got.slack) == 1
    told = _told(got.webhooks)
    assert set(told) == {"drift.event.opened", "upload.quality_failed"}
    assert told["drift.event.opened"]["payer"] == "Aetna"
    assert told["upload.quality_failed"]["failed_rules"] == ["phi_in_payer"]
    alerts = running.json("alerts", "list", "acme")
    assert [alert["state"] for alert in alerts] == ["sent", "sent"]
    for alert in alerts:
        assert len(alert["deliveries"]) == 3
        assert all(len(delivery["attempts"]) == 1 for delivery in alert["deliveries"])


def _told(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """What each alert of the messages says, by its type."""
    alerts = [
        alert
        for message in messages
        for alert in (message["data"]["alerts"] if message["type"] == "alerts.grouped" else [message])
    ]
    return {alert["type"]: alert["data"] for alert in alerts}


def _scheduled_config(running: Any, today: Any) -> dict[str, Any]:
    """What the daily schedule would ask for today, evaluated by the webserver."""
    at = datetime(today.year, today.month, today.day, 6, tzinfo=UTC)
    query = """mutation ($selector: ScheduleSelector!, $at: Float) {
      scheduleDryRun(selectorData: $selector, timestamp: $at) {
        ... on DryRunInstigationTick { evaluationResult { runRequests { runConfigYaml } error { message } } }
      } }"""
    selector = {
        "repositoryLocationName": "upstream_pipelines",
        "repositoryName": "__repository__",
        "scheduleName": "daily_drift",
    }
    result = _asked(running, query, {"selector": selector, "at": at.timestamp()})["scheduleDryRun"][
        "evaluationResult"
    ]
    assert result["error"] is None, result
    (request,) = result["runRequests"]
    # Dagster writes and reads days as plain text; BaseLoader does too.
    config: dict[str, Any] = yaml.load(request["runConfigYaml"], Loader=yaml.BaseLoader)
    options = config["ops"]["look_at_customers"]["config"]
    options |= {name: int(options[name]) for name in ("bucket", "buckets")}
    assert config["ops"]["look_at_customers"]["config"]["as_of"] == str(today)
    return config


def test_what_is_materialised_in_the_ui_counts_as_work_and_delivery_does_not(running: Any) -> None:
    """Most likely wrong: the UI's own job carries no tag of ours, so that it and the sweeps fill the queue together and
    alerts wait until one of them ends.
    """
    launch = """mutation ($selector: JobOrPipelineSelector!) {
      launchPipelineExecution(executionParams: {selector: $selector, mode: "default", executionMetadata: {
        tags: [{key: "dagster/partition", value: "acme"}]}}) {
        __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
    selector = {
        "repositoryLocationName": "upstream_pipelines", "repositoryName": "__repository__",
        "pipelineName": "__ASSET_JOB", "assetSelection": [{"path": ["alerts"]}], "assetCheckSelection": [],
    }  # fmt: skip
    launched = _asked(running, launch, {"selector": selector})["launchPipelineExecution"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    runs = _asked(
        running, "query { runsOrError { ... on Runs { results { runId jobName tags { key value } } } } }", {}
    )
    tags = {
        (run["runId"], run["jobName"]): {tag["key"]: tag["value"] for tag in run["tags"]}
        for run in runs["runsOrError"]["results"]
    }
    assert tags[launched["run"]["runId"], "__ASSET_JOB"].items() >= WORK.items()
    assert {name for (_, name), carried in tags.items() if not carried.items() >= WORK.items()} == {DELIVERY_JOB}


def _asked(running: Any, query: str, variables: dict[str, Any]) -> dict[str, Any]:
    answer = requests.post(
        f"{running.ui}/graphql",
        json={"query": query, "variables": variables},
        timeout=60,
        proxies={"http": ""},
    ).json()
    assert "errors" not in answer, answer
    data: dict[str, Any] = answer["data"]
    return data


def test_no_value_of_a_claim_is_in_logs_or_in_dagsters_storage(running: Any) -> None:
    """The canary came in above: in a field that is rejected for it, and as the name of the file."""
    assert running.rows("SELECT 1 FROM uploads WHERE file_name = 'Zzyzx_Quentin.csv'")
    assert running.rows("SELECT 1 FROM webhook_inbox WHERE position(%s IN encode(body, 'escape')) > 0", CANARY)
    surname = CANARY.split(",", maxsplit=1)[0]
    for path in (running.home / "logs").iterdir():
        assert surname not in path.read_text(errors="replace").upper(), path
    for path in (running.home / "dagster").rglob("*"):
        if path.is_file():
            assert surname not in path.read_text(errors="replace").upper(), path
    facts = json.loads((running.home / "postgres.json").read_text())
    with psycopg.connect(
        host="127.0.0.1",
        port=facts["port"],
        user="upstream",
        password=facts["password"],
        dbname="upstream_dagster",
    ) as conn:
        found = conn.execute("SELECT count(*) FROM event_logs WHERE event ILIKE %s", (f"%{surname}%",)).fetchone()
        assert found == (0,)
        events = conn.execute("SELECT count(*) FROM event_logs").fetchone()
        assert events is not None
        assert events[0] > 20
    outside = json.dumps([running.receivers.received.slack, running.receivers.received.webhooks])
    assert surname not in outside.upper()


def test_a_run_killed_in_the_middle_of_its_merge_loses_and_doubles_nothing(running: Any) -> None:
    """The test holds the claims table, so that the run is certainly inside its merge when it is killed."""
    _customer(running, "killed")
    folder = running.home / "landing" / "killed"
    header = "claim_id,line_number,payer,cpt,submitted_date,decided_date,outcome\n"
    rows = "".join(f"K{number},1,Aetna,99213,2026-01-05,2026-02-01,PAID\n" for number in range(500))
    facts = json.loads((running.home / "postgres.json").read_text())
    with psycopg.connect(
        host="127.0.0.1", port=facts["port"], user="upstream", password=facts["password"], dbname="upstream"
    ) as holder:
        holder.execute("LOCK TABLE claims IN EXCLUSIVE MODE")
        (folder / "killed.csv").write_text(header + rows)
        waiting = """SELECT a.client_port FROM pg_stat_activity AS a, uploads AS u
                      WHERE u.file_name = 'killed.csv' AND u.staged_at IS NOT NULL
                        AND a.wait_event_type = 'Lock' AND a.query LIKE '%claims%'"""
        running.wait("the merge", lambda: len(running.rows(waiting)) == 1)
        os.kill(_process_of_connection(running.rows(waiting)[0][0]), signal.SIGKILL)
        holder.rollback()
    assert _lines(running, "killed") == 0
    running.wait("the merge to be made again", lambda: _lines(running, "killed") == 500, seconds=180)
    running.wait(
        "the end of the upload",
        lambda: running.rows("SELECT status FROM uploads WHERE file_name = 'killed.csv'") == [("success",)],
    )
    row = running.rows(
        "SELECT rows, accepted, rejected, duplicates, updated FROM uploads WHERE file_name = 'killed.csv'"
    )
    assert row == [(500, 500, 0, 0, 0)]
    assert running.rows(
        "SELECT count(*) FROM claim_history JOIN customers USING (customer_id) WHERE slug = 'killed'"
    ) == [(0,)]
    # The run that was killed is an alert of its own, through the same outbox, and taken back by the one after it.
    running.wait(
        "the alert on the failed run and its end",
        lambda: (
            running.rows("SELECT notice FROM alerts WHERE kind = 'run_failure' ORDER BY notice")
            == [("open",), ("resolved",)]
        ),
    )


def _process_of_connection(port: int) -> int:
    """The process at the client's end of a connection to PostgreSQL."""
    (process,) = (
        connection.pid
        for connection in psutil.net_connections("tcp")
        if connection.laddr and connection.laddr.port == port and connection.pid is not None
    )
    return int(process)


def test_a_second_copy_and_a_busy_port_are_named_with_what_to_do(running: Any, tmp_path: Path) -> None:
    second = running.command("up", check=False)
    assert second.returncode == 6
    assert "already" in second.stderr
    assert str(running.process.pid) in second.stderr
    running.environment["UPSTREAM_HOME"] = str(tmp_path / "other")
    try:
        busy = running.command("up", check=False)
    finally:
        running.environment["UPSTREAM_HOME"] = str(running.home)
    assert busy.returncode == 6
    assert "UPSTREAM_API_PORT" in busy.stderr


def test_a_customer_that_stopped_sending_is_told_of_and_taken_back_when_it_sends(
    running: Any, silent_token: str
) -> None:
    got = running.receivers.received
    running.wait(
        "the mail", lambda: any("No claims have arrived for 30 days" in str(m["Subject"]) for m in got.mails)
    )
    row = {
        "claim_id": "S1",
        "payer": "Aetna",
        "cpt": "99213",
        "submitted_date": "2026-01-05",
        "outcome": "pending",
    }
    assert _post(running, silent_token, [row], "batch-0002").status_code == 202
    running.wait(
        "the end of the silence",
        lambda: running.rows(
            "SELECT content ->> 'type' FROM alerts WHERE kind = 'silence' AND notice = 'resolved'"
        ) == [("customer.sends_again",)],
    )  # fmt: skip
    running.wait(
        "its tables in the UI",
        lambda: "alerts" in _materialised(running, "silent"),
    )


def _materialised(running: Any, partition: str) -> set[str]:
    query = """query ($partition: String!) { assetNodes { assetKey { path }
      latestMaterializationByPartition(partitions: [$partition]) { partition } } }"""
    nodes = _asked(running, query, {"partition": partition})["assetNodes"]
    return {node["assetKey"]["path"][0] for node in nodes if any(node["latestMaterializationByPartition"])}


def test_doctor_finds_everything_in_order(running: Any) -> None:
    findings = running.json("doctor")
    assert {finding["part"] for finding in findings} >= {"database", "landing zone", "e-mail", "HTTP API"}
    assert [finding for finding in findings if not finding["ok"]] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_commands_of_a_document_run_and_answer_as_it_says(running: Any, tmp_path: Path, name: str) -> None:
    """Most likely wrong: an option or an answer that was changed, and not where it is shown. After the other tests, whose
    customers the documents ask about and delete.
    """
    wanted = commands((ROOT / name).read_text())
    before = BEFORE[name](running, tmp_path)
    # A second terminal knows nothing of the settings of the platform but where it is.
    settings = ("UPSTREAM_HOME", "UPSTREAM_API_PORT", "UPSTREAM_UI_PORT")
    environment = {
        name: value
        for name, value in running.environment.items()
        if not name.startswith("UPSTREAM_") or name in settings
    } | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    assert differs(wanted, run(wanted, before, environment, tmp_path)) == []
