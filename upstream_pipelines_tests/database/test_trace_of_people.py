"""What `upstream trace` says of uploads and reports that people ask for, read from what the database alone knows."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from upstream_pipelines.alerts.store import sync_channels, write_run_failure_alert
from upstream_pipelines.customers.audit import Actor, operator
from upstream_pipelines.customers.models import Customer
from upstream_pipelines.customers.store import create_customer, get_customer
from upstream_pipelines.db.engine import Connection, connect, customer_transaction
from upstream_pipelines.delivery.channels import EmailChannel
from upstream_pipelines.errors import NotFoundError
from upstream_pipelines.ingest.inbox import StoredFile, register_uploaded_file
from upstream_pipelines.ingest.staging import stage_waiting
from upstream_pipelines.ingest.uploads import send_file
from upstream_pipelines.operations.trace import trace
from upstream_pipelines.reports.models import Period
from upstream_pipelines.reports.store import fail_report, request_report, take_report
from upstream_pipelines.settings import Settings

ANN = Actor("person", str(uuid4()), "ann@example.org", "a" * 32)
RUNS = [str(uuid4()) for _ in range(3)]
MAY = Period(date(2026, 5, 1), date(2026, 6, 1))


@pytest.fixture
def acme(pipeline: Connection) -> Customer:
    create_customer(pipeline, "acme", "Acme")
    return get_customer(pipeline, "acme")


def test_a_trace_says_whether_a_person_an_operator_or_a_token_sent_a_file_and_not_who(
    pipeline: Connection, settings: Settings, acme: Customer, tmp_path: Path
) -> None:
    """Most likely wrong: the act of another upload, sent at the same time."""
    token_id, prefix = pipeline.execute("SELECT token_id, prefix FROM ingestion_tokens").fetchall()[0]
    file = tmp_path / "claims.csv"
    file.write_text("claim_id\n")
    said = {}
    with pipeline.transaction():  # all of one instant
        for actor, token in (
            (ANN, None), (Actor("operator", "api", "api", "b" * 32), None), (Actor("token", str(token_id), prefix, "c" * 32), token_id),
        ):  # fmt: skip
            stored = StoredFile(uuid4(), "csv", "claims.csv", f"{file}.{actor.kind}", bytes(32), 9)
            register_uploaded_file(pipeline, acme, actor, stored, token)
            said[actor.kind] = actor.request_id or ""
        by_command = send_file(pipeline, settings, acme, file, operator())
        unsaid = send_file(pipeline, settings, acme, file)

    def about(asked: object) -> str:
        entry = trace(pipeline, str(asked)).entries[0]
        assert entry.what == "received"
        return entry.about

    assert "; by person; request aaa" in about(said["person"])
    assert "; by operator; request bbb" in about(said["operator"])
    assert f"; by token {prefix}; request ccc" in about(said["token"])
    assert "; by operator; without a request" in about(by_command)
    assert "; by" not in about(unsaid)
    assert "ann@" not in str(trace(pipeline, said["person"]))


def test_a_trace_of_a_refused_file_names_the_command_that_says_what_to_do(
    pipeline: Connection, settings: Settings, acme: Customer, tmp_path: Path
) -> None:
    file = tmp_path / "claims.csv"
    file.write_text("insurer_x,proc,sent\nA,99213,2026-01-05\n")
    upload_id = str(send_file(pipeline, settings, acme, file))
    stage_waiting(pipeline, settings, acme, source="csv", run_id=RUNS[0])
    (result,) = [entry.about for entry in trace(pipeline, upload_id).entries if entry.what == "result"]
    assert result == f"refused: columns_not_found; `upstream uploads acme {upload_id[:8]}` says what to do"


def test_a_run_that_was_killed_at_a_report_and_the_alert_of_it_belong_to_the_report_that_another_run_made(
    pipeline: Connection, acme: Customer
) -> None:
    """Most likely wrong: the run that has it now is the only one that is known."""
    sync_channels(
        pipeline, acme.customer_id, [EmailChannel(kind="email", name="office", recipients=("a@acme.example",))]
    )
    with pipeline.transaction():
        report_id = request_report(pipeline, ANN, acme, MAY)
    for run_id in RUNS:
        assert take_report(pipeline, acme.customer_id, run_id) is not None
        write_run_failure_alert(pipeline, acme.customer_id, run_id, "reports", None, "RunFailure", None)
    write_run_failure_alert(pipeline, acme.customer_id, "other", "reports", None, "RunFailure", None)
    fail_report(pipeline, acme.customer_id, report_id, RUNS[2], "unexpected")
    alerts = pipeline.execute("SELECT content #>> '{data,run_id}', alert_id::text FROM alerts").fetchall()
    of_runs = dict(alerts)
    for asked in ("a" * 32, str(report_id), of_runs[RUNS[0]], of_runs[RUNS[2]], *RUNS):
        found = trace(pipeline, asked)
        assert [report["report_id"] for report in found.reports] == [report_id]
        assert [(one.run_id, one.about[:9]) for one in found.entries if one.what == "make"] == [
            (run_id, f"attempt {number}") for number, run_id in enumerate(RUNS, 1)
        ]
        told = {one.id for one in found.entries if one.what == "alert"}
        assert told == {of_runs[run_id] for run_id in RUNS}
    with pytest.raises(NotFoundError):
        trace(pipeline, str(uuid4()))
    assert trace(pipeline, of_runs["other"]).reports == ()


def test_who_asks_for_a_report_that_is_not_made_yet_finds_it_by_that_request(
    pipeline: Connection, acme: Customer, settings: Settings
) -> None:
    """Most likely wrong: the request was answered 202 and left nothing behind."""
    ben = replace(ANN, id=str(uuid4()), name="ben@example.org", request_id="b" * 32)
    asked = []
    with connect(settings, "upstream_api") as api:
        for actor in (ANN, ben):
            with customer_transaction(api, acme.customer_id, UUID(actor.id)):
                asked.append(request_report(api, actor, acme, MAY))
    with pipeline.transaction():
        asked.append(request_report(pipeline, operator(), acme, MAY))
    assert len(set(asked)) == 1
    for request in ("a" * 32, "b" * 32):
        found = trace(pipeline, request)
        assert (found.kind, [report["report_id"] for report in found.reports]) == ("request", asked[:1])
        assert [one.about for one in found.entries if one.what == "received"] == [
            f"report of 2026-05-01 to 2026-05-31, asked for by person; request {'a' * 32}",
            f"asked for again by person; request {'b' * 32}",
            "asked for again by operator; without a request (command or Dagster's UI)",
        ]
        assert "ben@" not in str(found)
