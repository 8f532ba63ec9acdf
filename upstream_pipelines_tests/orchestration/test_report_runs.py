"""From a request to a report: what the sensor asks for, what the asset makes and shows, and what a failure looks like."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from typer.testing import CliRunner

from upstream_pipelines.alerts.store import sync_channels
from upstream_pipelines.cli.main import app
from upstream_pipelines.customers.audit import Actor, operator
from upstream_pipelines.customers.store import create_customer, get_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.definitions import build_definitions
from upstream_pipelines.defs.failure_sensor import failed_runs
from upstream_pipelines.defs.partitions import customer_partitions
from upstream_pipelines.defs.report_assets import ReportConfig, report_period
from upstream_pipelines.defs.resources import Platform
from upstream_pipelines.defs.sensors import waiting_reports
from upstream_pipelines.delivery.channels import EmailChannel
from upstream_pipelines.errors import ConfigurationError, ConflictError, InvalidInputError, NotFoundError
from upstream_pipelines.operations.trace import trace
from upstream_pipelines.reports import making
from upstream_pipelines.reports.models import Period, last_full_month
from upstream_pipelines.reports.store import ReportRun, reports_page, request_report
from upstream_pipelines.settings import Settings
from upstream_pipelines_tests.orchestration.conftest import with_dagster_of_its_own

MAY = Period(date(2026, 5, 1), date(2026, 6, 1))


def _tick(instance: dg.DagsterInstance, platform: Platform) -> Any:
    with dg.build_sensor_context(instance=instance) as context:
        return waiting_reports(context, platform=platform)


def _run(instance: dg.DagsterInstance, platform: Platform, **config: Any) -> dg.ExecuteInProcessResult:
    instance.add_dynamic_partitions(customer_partitions.name or "", ["acme"])
    return (
        build_definitions({"platform": platform})
        .resolve_job_def("reports")
        .execute_in_process(
            instance=instance, partition_key="acme", raise_on_error=False,
            run_config={"ops": {"drift_report": {"config": config}}},
        )
    )  # fmt: skip


def _reports(conn: Connection) -> list[ReportRun]:
    return reports_page(conn, get_customer(conn, "acme").customer_id, limit=9)[0]


def _ask(conn: Connection, actor: Actor, period: Period = MAY) -> str:
    with conn.transaction():
        return str(request_report(conn, actor, get_customer(conn, "acme"), period))


def test_a_request_becomes_one_run_that_makes_the_report_and_shows_where_it_is(
    pipeline: Connection, platform: Platform, instance: dg.DagsterInstance
) -> None:
    create_customer(pipeline, "acme", "Acme")
    assert isinstance(_tick(instance, platform), dg.SkipReason)
    report_id = _ask(pipeline, Actor("person", "1", "ann@example.org", "f" * 32))
    result = _tick(instance, platform)
    (request,) = result.run_requests
    assert (request.run_key, request.partition_key) == (f"{report_id}:1", "acme")
    assert request.tags == {"upstream/reports": report_id, "upstream/requests": "f" * 32}
    assert [list(added.partition_keys) for added in result.dynamic_partitions_requests] == [["acme"]]
    assert isinstance(_tick(instance, platform), dg.SkipReason), "asked for again only after half a minute"

    made = _run(instance, platform, **request.run_config["ops"]["drift_report"]["config"])
    assert made.success
    (run,) = _reports(pipeline)
    assert (str(run.report_id), run.state, len(run.files)) == (report_id, "success", 4)
    (event,) = made.get_asset_materialization_events()
    metadata = event.materialization.metadata
    assert event.partition == "acme"
    assert metadata["reports made"].value == 1
    assert (
        metadata["to save it"].value == f"upstream reports save acme {report_id[:8]} --format pdf --to report.pdf"
    )
    assert (
        metadata["over the API, with an access token"].value
        == f"http://127.0.0.1:8020/api/v1/customers/acme/reports/{report_id}/files/pdf"
    )
    assert report_id[:8] in str(metadata["newest reports"].value)
    assert "ann@" not in str(metadata["newest reports"].value)
    _is_traced(pipeline, report_id, made.run_id)
    pipeline.execute("UPDATE report_runs SET asked_at = now() - interval '1 day'")
    assert isinstance(_tick(instance, platform), dg.SkipReason)
    # Another run for what was made meanwhile, as one that waited in the queue: it makes nothing.
    idle = _run(instance, platform, only_waiting=True)
    assert idle.success
    assert len(_reports(pipeline)) == 1
    (event,) = idle.get_asset_materialization_events()
    assert event.materialization.metadata["reports made"].value == 0
    assert event.materialization.metadata["to save it"] == metadata["to save it"]


def _is_traced(conn: Connection, report_id: str, run_id: str) -> None:
    """From its request, its own id and its run: who asked, which run made it, how it ended."""
    ids = {"request": "f" * 32, "report": report_id[:8], "run": run_id}
    for kind, asked in ids.items():
        found = trace(conn, asked)
        assert (found.kind, found.run_ids, [str(one["report_id"]) for one in found.reports]) == (
            kind, [run_id], [report_id],
        )  # fmt: skip
        assert [(one.what, one.state) for one in found.entries] == [
            ("received", "accepted"), ("run asked for", "asked"), ("make", "ended"), ("result", "success"),
        ]  # fmt: skip
        assert "ann@" not in str(found)


def test_one_run_in_the_queue_is_enough_and_one_that_was_killed_is_not_waited_for(
    pipeline: Connection, platform: Platform, instance: dg.DagsterInstance
) -> None:
    create_customer(pipeline, "acme", "Acme")
    _ask(pipeline, operator())
    job = build_definitions({"platform": platform}).resolve_job_def("reports")
    tags = {"dagster/partition": "acme"}
    run = instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.NOT_STARTED)
    assert isinstance(_tick(instance, platform), dg.SkipReason)
    (waiting,) = pipeline.execute("SELECT asks FROM report_runs").fetchall()
    assert waiting == (0,), "it is asked for at once when the queue is empty"
    instance.delete_run(run.run_id)
    instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTED)
    assert len(_tick(instance, platform).run_requests) == 1


def test_by_hand_it_is_the_last_full_months_or_that_of_the_days_given(
    pipeline: Connection, platform: Platform, instance: dg.DagsterInstance
) -> None:
    create_customer(pipeline, "acme", "Acme")
    assert _run(instance, platform).success
    assert _run(instance, platform, from_day="2026-02-03", until_day="2026-02-05").success
    days, month = _reports(pipeline)
    assert month.period == last_full_month(datetime.now(UTC).date())
    assert days.period == Period(date(2026, 2, 3), date(2026, 2, 5))
    assert {run.state for run in (days, month)} == {"success"}
    assert days.actor_name == operator().name
    for first, until in (("2026-02-03", None), (None, "2026-02-03"), ("2026-02-30", "2026-03-01")):
        with pytest.raises(ConfigurationError):
            report_period(ReportConfig(from_day=first, until_day=until), date(2026, 6, 1))
    with pytest.raises(InvalidInputError, match="future"):
        report_period(ReportConfig(from_day="2026-05-01", until_day="2026-07-01"), date(2026, 6, 1))


def test_a_report_that_fails_is_kept_as_failed_and_its_run_fails_by_name_and_without_data(
    pipeline: Connection, platform: Platform, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer, _ = create_customer(pipeline, "acme", "Acme")
    sync_channels(
        pipeline, customer.customer_id, [EmailChannel(kind="email", name="office", recipients=("a@example.org",))]
    )
    report_id, patient = _ask(pipeline, operator()), "John Smith"

    def broken(_: object) -> None:
        raise ValueError(patient)

    monkeypatch.setattr(making, "render", broken)
    result = _run(instance, platform, only_waiting=True)
    assert not result.success
    (run,) = _reports(pipeline)
    assert (run.state, run.error_code, run.files) == ("failed", "unexpected", ())
    (failure,) = (event.step_failure_data for event in result.all_events if event.is_step_failure)
    assert failure.user_failure_data is not None
    assert f"1 of 1 reports failed: {report_id} (unexpected)" in str(failure.user_failure_data.description)
    assert patient not in str(instance.all_logs(result.run_id))
    with dg.build_sensor_context(instance=instance, resources={"platform": platform}) as context:
        assert "1 alerts written" in str(failed_runs.evaluate_tick(context).skip_message)
    alerts = pipeline.execute(
        "SELECT alert_id::text, kind, content -> 'data' ->> 'job_name' FROM alerts"
    ).fetchall()
    ((alert_id, *told),) = alerts
    assert told == ["run_failure", "reports"]
    assert patient not in str(alerts)
    for asked in (alert_id, report_id):
        found = trace(pipeline, asked)
        states = [(one.what, one.state) for one in found.entries if one.what in {"result", "alert"}]
        assert sorted(states) == [("alert", "pending"), ("result", "failed")]


def test_the_command_makes_a_report_lists_it_and_saves_a_file_for_this_account_alone(
    settings: Settings, pipeline: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_dagster_of_its_own(settings, monkeypatch)
    create_customer(pipeline, "acme", "Acme")

    def said(*words: str, code: int = 0) -> Any:
        result = CliRunner().invoke(app, ["reports", *words], env={"COLUMNS": "200"})
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return json.loads(result.stdout) if "--json" in words else result.stdout

    assert "No report of acme" in said("list", "acme")
    made = said("make", "acme", "--from", "2026-05-01", "--until", "2026-06-01", "--json")
    assert (made["from"], made["until"], made["state"]) == ("2026-05-01", "2026-06-01", "success")
    assert said("list", "acme", "--json") == [made]
    assert made["report_id"][:8] in said("list", "acme")
    target = tmp_path / "report.csv"
    saved = said("save", "acme", made["report_id"][:8], "--format", "csv", "--to", str(target), "--json")
    assert saved["sha256"] == hashlib.sha256(target.read_bytes()).hexdigest()
    assert target.stat().st_mode & 0o777 == 0o600
    for error, words in (
        (ConflictError, ("save", "acme", made["report_id"], "--to", str(target))),
        (ConfigurationError, ("save", "acme", made["report_id"], "--to", str(tmp_path / "no" / "folder.pdf"))),
        (ConfigurationError, ("save", "acme", made["report_id"], "--format", "doc", "--to", str(tmp_path / "x"))),
        (ConfigurationError, ("make", "acme", "--from", "2026-05-01")),
        (NotFoundError, ("save", "acme", "ffff", "--to", str(tmp_path / "x"))),
    ):
        with pytest.raises(error):
            said(*words)
    assert [path.name for path in tmp_path.glob("*") if path.is_file()] == ["report.csv"]
    acts = pipeline.execute("SELECT action FROM audit_log WHERE action LIKE 'report.%' ORDER BY at").fetchall()
    assert acts == [("report.requested",), ("report.exported",)], "what was refused is no act"

    monkeypatch.setattr(making, "render", None)
    failed = said("make", "acme", "--from", "2026-04-01", "--until", "2026-05-01", "--json", code=1)
    assert (failed["state"], failed["error_code"]) == ("failed", "unexpected")
