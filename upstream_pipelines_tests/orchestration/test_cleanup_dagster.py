"""Retention in Dagster's storage: logs, asset events and check results that newer ones replaced. The product's own: test_cleanup.py."""

import json
from datetime import timedelta
from typing import Any

import dagster as dg
import psycopg
import pytest
import yaml
from typer.testing import CliRunner

from upstream_pipelines.cli.main import app
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.migrate import dagster_url
from upstream_pipelines.defs import cleaning
from upstream_pipelines.defs.home import dagster_instance, project_file
from upstream_pipelines.defs.jobs import cleanup_night
from upstream_pipelines.defs.resources import Platform
from upstream_pipelines.settings import Settings
from upstream_pipelines_tests.orchestration.conftest import with_dagster_of_its_own


@pytest.fixture
def settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    return with_dagster_of_its_own(settings, monkeypatch)


def _count(conn: psycopg.Connection, table: str) -> int:
    row = conn.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert row is not None
    return int(row[0])


def _log(context: dg.OpExecutionContext, partition: str) -> None:
    context.log_event(dg.AssetMaterialization("claims", partition=partition))
    evaluation: Any = dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey("claims"), check_name="c", passed=True, partition=partition
    )
    context.log_event(evaluation)


@dg.op
def _show(context: dg.OpExecutionContext) -> None:
    _log(context, "acme")


@dg.op
def _show_quiet(context: dg.OpExecutionContext) -> None:
    _log(context, "quiet")


@dg.op
def _nothing() -> None:
    pass


@dg.job
def _shows() -> None:
    _show()


@dg.job
def _shows_quiet() -> None:
    _show_quiet()


@dg.job
def _deletes() -> None:
    _nothing()


def test_dagsters_logs_do_not_grow_for_ever_and_each_partition_stays_shown(
    settings: Settings, platform: Platform, pipeline: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    with dagster_instance(settings) as instance:
        old = [_shows.execute_in_process(instance=instance).run_id for _ in range(2)]
        # Shown once, long ago: it stays what people see of that partition.
        quiet = _shows_quiet.execute_in_process(instance=instance).run_id
        empty = _deletes.execute_in_process(instance=instance).run_id
        waiting = instance.create_run_for_job(_deletes, status=dg.DagsterRunStatus.STARTED).run_id
        instance.report_engine_event("waits", instance.get_run_by_id(waiting))
        with psycopg.connect(
            dagster_url(settings).render_as_string(hide_password=False), autocommit=True
        ) as dagster:
            dagster.execute("UPDATE event_logs SET timestamp = timestamp - interval '401 days'")
            dagster.execute("UPDATE runs SET update_timestamp = update_timestamp - interval '401 days'")
            dagster.execute(
                "UPDATE asset_check_executions SET evaluation_event_timestamp = now() - interval '401 days'"
            )
            new = _shows.execute_in_process(instance=instance).run_id
            captured = settings.home / "dagster" / "storage"
            assert {old[0], old[1], new} <= {path.name for path in captured.iterdir()}
            lines = _count(dagster, f"event_logs WHERE asset_key IS NULL AND run_id NOT IN ('{new}', '{waiting}')")
            asset_events = _count(dagster, "event_logs WHERE asset_key IS NOT NULL")

            said = CliRunner().invoke(app, ["cleanup", "--dry-run", "--json"])
            older = {one["kind"]: one["older"] for one in json.loads(said.stdout)}
            assert older["log lines of runs"] == lines > 20
            assert older["replaced asset events"] == asset_events - 2 == 2
            assert older["replaced check results"] == 2
            assert _count(dagster, "event_logs WHERE asset_key IS NOT NULL") == asset_events

            monkeypatch.setattr(cleaning, "BATCH_ROWS", 7)
            monkeypatch.setattr(cleaning, "_BATCH_RUNS", 1)
            result = cleanup_night.execute_in_process(instance=instance, resources={"platform": platform})
            assert result.success
            assert {event.run_id for event in instance.all_logs(waiting)} == {waiting}
            assert [instance.has_run(run) for run in (*old, empty)] == [False] * 3
            assert instance.has_run(new)
            assert instance.has_run(waiting)
            assert instance.has_run(quiet)
            assert {path.name for path in captured.iterdir()} >= {new}
            assert not {path.name for path in captured.iterdir()} & set(old)
            assert instance.get_materialized_partitions(dg.AssetKey("claims")) == {"acme", "quiet"}
            assert _count(dagster, "asset_check_executions") == 2
            assert len(instance.all_logs(new)) > 10


def test_ticks_of_sensors_and_schedules_are_purged_by_dagster_itself() -> None:
    retention = yaml.safe_load(project_file("dagster.yaml").read_text())["retention"]
    for kind in ("sensor", "schedule"):
        purged = retention[kind]["purge_after_days"]
        assert set(purged) == {"skipped", "failure", "success"}
        assert all(0 < days <= timedelta(days=30).days for days in purged.values())
