"""Sensors and the schedule: what they ask for, and that one customer's trouble stays its own."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from upstream_pipelines.customers.store import (
    create_customer,
    customers_of_bucket,
    get_customer,
    list_customers,
    set_status,
)
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.definitions import defs
from upstream_pipelines.defs.drift_assets import look_days
from upstream_pipelines.defs.failure_sensor import failed_runs
from upstream_pipelines.defs.home import project_file
from upstream_pipelines.defs.jobs import deliver_alerts, drift_sweep, ingest_assets, names_assets
from upstream_pipelines.defs.orphans import fail_orphaned_runs, in_process_tags
from upstream_pipelines.defs.partitions import KnownKeys, customer_partitions
from upstream_pipelines.defs.resources import Platform
from upstream_pipelines.defs.run_queue import DELIVERY_JOB, WORK, RunQueue
from upstream_pipelines.defs.schedules import daily_drift
from upstream_pipelines.defs.sensors import due_alerts, waiting_uploads
from upstream_pipelines.errors import ConfigurationError
from upstream_pipelines.ingest.landing import customer_folder
from upstream_pipelines.ingest.uploads import customer_lock
from upstream_pipelines.quality.rules import STREAM_RULES
from upstream_pipelines.settings import Settings


@pytest.fixture
def platform(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Platform:
    monkeypatch.setenv("UPSTREAM_LANDING_QUIET_SECONDS", "0")
    return platform


def _drop(settings: Settings, slug: str, name: str = "a.csv") -> None:
    Path(str(customer_folder(settings, slug)), name).write_text("payer,cpt,submitted_date,outcome\n")


def _tick(sensor: Any, instance: dg.DagsterInstance, platform: Platform) -> Any:
    with dg.build_sensor_context(instance=instance) as context:
        return sensor(context, platform=platform)


def _evaluate(context: dg.ScheduleEvaluationContext, platform: Platform) -> Any:
    return list(daily_drift(context, platform=platform))  # type: ignore[arg-type]


def test_a_dropped_file_becomes_one_run_request_and_a_missing_partition_is_added(
    settings: Settings, pipeline: Connection, platform: Platform, instance: dg.DagsterInstance
) -> None:
    create_customer(pipeline, "acme", "Acme")
    _drop(settings, "acme")
    result = _tick(waiting_uploads, instance, platform)
    (request,) = result.run_requests
    assert request.partition_key == "acme"
    assert {key.to_user_string() for key in request.asset_selection} == {
        "csv_claims", "claims", "upload_quality", "payer_activity",
    }  # fmt: skip
    assert {key.name for key in request.asset_check_keys} >= {rule.name for rule in STREAM_RULES}
    (added,) = result.dynamic_partitions_requests
    assert (added.partitions_def_name, list(added.partition_keys)) == ("customer", ["acme"])
    instance.add_dynamic_partitions(customer_partitions.name or "", ["acme"])
    assert isinstance(_tick(waiting_uploads, instance, platform), dg.SkipReason)


def test_a_run_in_the_queue_that_takes_an_upload_is_asked_for_once(
    settings: Settings, pipeline: Connection, platform: Platform, instance: dg.DagsterInstance
) -> None:
    """Each more would begin for nothing, when the queue is long already."""
    create_customer(pipeline, "acme", "Acme")
    _drop(settings, "acme")
    tags = {"dagster/partition": "acme"}

    def due_again() -> Any:
        pipeline.execute("UPDATE uploads SET requested_at = NULL")
        return _tick(waiting_uploads, instance, platform)

    def queued(assets: list[dg.AssetKey] | None) -> dg.DagsterRun:
        job = defs.resolve_job_def("ingest")
        chosen = job.get_subset(asset_selection=set(assets)) if assets else job
        return instance.create_run_for_job(
            chosen,
            tags=tags,
            status=dg.DagsterRunStatus.NOT_STARTED,
            asset_selection=frozenset(assets) if assets else None,
        )

    instance.add_dynamic_partitions(customer_partitions.name or "", ["acme"])
    for assets, takes in (
        (names_assets(), False), (ingest_assets(["webhook"]), False), (ingest_assets(["csv"]), True), (None, True),
    ):  # fmt: skip
        run = queued(assets)
        asked = due_again()
        assert isinstance(asked, dg.SkipReason) == takes, assets
        assert takes or [request.partition_key for request in asked.run_requests] == ["acme"]
        instance.delete_run(run.run_id)
    assert [request.partition_key for request in due_again().run_requests] == ["acme"], "it was lost"


@pytest.fixture
def at_work(pipeline: Connection, instance: dg.DagsterInstance) -> dg.DagsterRun:
    """A run of acme's that was asked for its first upload and has begun."""
    create_customer(pipeline, "acme", "Acme")
    instance.add_dynamic_partitions(customer_partitions.name or "", ["acme"])
    return instance.create_run_for_job(
        defs.resolve_job_def("ingest"), tags={"dagster/partition": "acme"}, status=dg.DagsterRunStatus.STARTED
    )


def _asked_long_ago(conn: Connection, status: str) -> None:
    conn.execute(
        "UPDATE uploads SET status = %s, requests = 1, requested_at = now() - interval '1 hour'", [status]
    )


@pytest.mark.parametrize("status", ["received", "processing"])
def test_no_second_run_is_asked_for_what_a_run_at_work_was_asked_for_and_none_is_put_off_by_the_looks_at_it(
    settings: Settings,
    pipeline: Connection,
    platform: Platform,
    instance: dg.DagsterInstance,
    at_work: dg.DagsterRun,
    status: str,
) -> None:
    """Where much starts it reads after half a minute, and between its steps it holds no lock: a second would begin after it,
    for nothing, and be what people see last.
    """
    _drop(settings, "acme")
    _tick(waiting_uploads, instance, platform)
    for _ in range(3):
        _asked_long_ago(pipeline, status)
        assert isinstance(_tick(waiting_uploads, instance, platform), dg.SkipReason)
        assert pipeline.execute("SELECT requests FROM uploads").fetchall() == [(1,)]
    instance.report_run_failed(at_work)
    _asked_long_ago(pipeline, status)
    (request,) = _tick(waiting_uploads, instance, platform).run_requests
    assert request.run_key is not None
    assert request.run_key.endswith(":2")


@pytest.mark.parametrize(("status", "taken"), [("received", True), ("processing", False)])
def test_what_comes_while_a_run_begins_is_taken_by_it_and_what_comes_later_by_the_next(
    settings: Settings,
    pipeline: Connection,
    platform: Platform,
    instance: dg.DagsterInstance,
    at_work: dg.DagsterRun,
    *,
    status: str,
    taken: bool,
) -> None:
    _drop(settings, "acme")
    _tick(waiting_uploads, instance, platform)
    _asked_long_ago(pipeline, status)
    pipeline.execute("UPDATE uploads SET requested_at = now()")
    _drop(settings, "acme", "b.csv")
    result = _tick(waiting_uploads, instance, platform)
    assert isinstance(result, dg.SkipReason) == taken
    requests = pipeline.execute("SELECT requests FROM uploads ORDER BY file_name").fetchall()
    assert requests == [(1,), (0 if taken else 1,)]


def test_what_comes_of_another_source_is_not_taken_by_a_run_that_may_have_read_that_source(
    settings: Settings,
    pipeline: Connection,
    platform: Platform,
    instance: dg.DagsterInstance,
    at_work: dg.DagsterRun,
) -> None:
    """Each source has a step of its own."""
    _drop(settings, "acme")
    _drop(settings, "acme", "b.csv")
    _tick(waiting_uploads, instance, platform)
    pipeline.execute("UPDATE uploads SET requests = 1, requested_at = now()")
    pipeline.execute("UPDATE uploads SET source = 'webhook', requested_at = NULL WHERE file_name = 'b.csv'")
    (request,) = _tick(waiting_uploads, instance, platform).run_requests
    assert "webhook_claims" in {key.to_user_string() for key in request.asset_selection}


def test_what_comes_while_a_run_reads_is_not_in_its_list_and_is_asked_for(
    settings: Settings,
    pipeline: Connection,
    platform: Platform,
    instance: dg.DagsterInstance,
    at_work: dg.DagsterRun,
) -> None:
    """Of the uploads in its list the later ones are unread for as long as it reads the first."""
    _drop(settings, "acme")
    _tick(waiting_uploads, instance, platform)
    pipeline.execute("UPDATE uploads SET requests = 1, requested_at = now()")
    _drop(settings, "acme", "b.csv")
    with customer_lock(pipeline, get_customer(pipeline, "acme").customer_id):
        (request,) = _tick(waiting_uploads, instance, platform).run_requests
    assert request.tags["upstream/uploads"].count("-") == 4, "one upload"


def test_a_disabled_customers_files_are_left_where_they_are(
    settings: Settings, pipeline: Connection, platform: Platform, instance: dg.DagsterInstance
) -> None:
    create_customer(pipeline, "acme", "Acme")
    set_status(pipeline, "acme", "disabled")
    _drop(settings, "acme")
    assert isinstance(_tick(waiting_uploads, instance, platform), dg.SkipReason)
    assert pipeline.execute("SELECT count(*) FROM uploads").fetchone() == (0,)


def test_nothing_due_asks_for_no_delivery_run(platform: Platform, instance: dg.DagsterInstance) -> None:
    assert isinstance(_tick(due_alerts, instance, platform), dg.SkipReason)


def test_failed_runs_without_a_customer_move_the_cursor_and_alert_nobody(
    platform: Platform, instance: dg.DagsterInstance
) -> None:
    assert isinstance(_tick(failed_runs, instance, platform), dg.SkipReason)


def test_the_schedule_asks_for_one_run_a_bucket_with_the_day(
    pipeline: Connection, platform: Platform, instance: dg.DagsterInstance
) -> None:
    pipeline.execute("INSERT INTO customers (slug, name) SELECT 'c' || n, 'C' FROM generate_series(1, 251) AS n")
    context = dg.build_schedule_context(
        instance=instance, scheduled_execution_time=datetime(2026, 6, 1, 6, tzinfo=UTC)
    )
    requests: list[Any] = list(_evaluate(context, platform))
    assert len(requests) == 2
    assert [request.run_key for request in requests] == ["2026-06-01/0/2", "2026-06-01/1/2"]
    assert requests[1].run_config["ops"]["look_at_customers"]["config"] == {
        "as_of": "2026-06-01", "bucket": 1, "buckets": 2,
    }  # fmt: skip


def test_the_schedule_without_customers_says_so(platform: Platform, instance: dg.DagsterInstance) -> None:
    context = dg.build_schedule_context(
        instance=instance, scheduled_execution_time=datetime(2026, 6, 1, 6, tzinfo=UTC)
    )
    (skipped,) = _evaluate(context, platform)
    assert isinstance(skipped, dg.SkipReason)


def test_the_buckets_of_a_sweep_hold_every_customer_once(pipeline: Connection) -> None:
    for number in range(20):
        create_customer(pipeline, f"c{number}", "C")
    found = [customer.slug for bucket in range(7) for customer in customers_of_bucket(pipeline, bucket, 7)]
    assert sorted(found) == sorted(f"c{number}" for number in range(20))


def test_a_sweep_goes_on_after_a_customer_that_fails_and_ends_failed_naming_it(
    pipeline: Connection, platform: Platform, instance: dg.DagsterInstance
) -> None:
    for slug in ("bad", "good"):
        create_customer(pipeline, slug, slug)
    pipeline.execute("UPDATE customers SET configuration = '{\"nonsense\": 1}' WHERE slug = 'bad'")
    result = drift_sweep.execute_in_process(
        instance=instance,
        resources={"platform": platform},
        run_config={"ops": {"look_at_customers": {"config": {"as_of": "2026-06-01"}}}},
        raise_on_error=False,
    )
    assert not result.success
    (failure,) = (event.step_failure_data for event in result.all_events if event.is_step_failure)
    assert failure.user_failure_data is not None
    assert "1 of 2 customers failed: bad." in str(failure.user_failure_data.description)
    assert pipeline.execute("SELECT slug FROM drift_looks JOIN customers USING (customer_id)").fetchall() == [
        ("good",)
    ]


def test_a_sweep_measures_yesterdays_batches_where_none_have_come_since(
    pipeline: Connection, platform: Platform, instance: dg.DagsterInstance
) -> None:
    customer, _ = create_customer(pipeline, "acme", "Acme")
    pipeline.execute(
        """INSERT INTO uploads (customer_id, source, byte_count, status, rows, accepted, received_at)
           VALUES (%s, 'webhook', 1, 'success', 7, 7, now() - interval '1 day')""",
        (customer.customer_id,),
    )
    result = drift_sweep.execute_in_process(
        instance=instance,
        resources={"platform": platform},
        run_config={"ops": {"look_at_customers": {"config": {"as_of": datetime.now(UTC).date().isoformat()}}}},
    )
    measured = pipeline.execute("SELECT rule, amount, state, run_id FROM upload_measures ORDER BY rule").fetchall()
    assert measured == [
        ("usual_known_rows", 0, "first", result.run_id), ("usual_volume", 7, "first", result.run_id),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("as_of", "first"), [("2026-13-01", None), ("2026-01-01", "2026-01-02"), ("soon", None), ("2999-01-01", None)]
)
def test_days_that_cannot_be_looked_at_are_refused_with_what_to_do(as_of: str, first: str | None) -> None:
    with pytest.raises(ConfigurationError, match=r"YYYY-MM-DD|Turn them round|has not come yet"):
        look_days(as_of, first)


def test_a_customer_whose_configuration_is_broken_is_still_listed_disabled_and_named(pipeline: Connection) -> None:
    """It has to be repaired by the command, so the command must not fail on it."""
    create_customer(pipeline, "bad", "Bad")
    pipeline.execute("UPDATE customers SET configuration = '{\"nonsense\": 1}'")
    assert [customer.slug for customer in list_customers(pipeline)] == ["bad"]
    assert set_status(pipeline, "bad", "disabled").status == "disabled"
    with pytest.raises(ConfigurationError, match=r"customer bad .*nonsense.*--replace"):
        _ = get_customer(pipeline, "bad").configuration


def test_one_customers_folder_that_is_no_folder_keeps_no_other_waiting(
    settings: Settings, pipeline: Connection, platform: Platform, instance: dg.DagsterInstance
) -> None:
    for slug in ("bad", "good"):
        create_customer(pipeline, slug, slug)
    Path(str(customer_folder(settings, "bad"))).rmdir()
    Path(settings.landing_root, "bad").write_text("not a folder")
    _drop(settings, "good")
    assert [request.partition_key for request in _tick(waiting_uploads, instance, platform).run_requests] == [
        "good"
    ]


def test_three_runs_of_work_at_most_are_there_beside_delivery() -> None:
    """That the queue tags what the UI starts, test_end_to_end asks of the real one."""
    read = yaml.safe_load(project_file("dagster.yaml").read_text())
    queue, runs = read["run_coordinator"], read["concurrency"]["runs"]
    assert (queue["module"], queue["class"]) == (RunQueue.__module__, RunQueue.__name__)
    limits = {limit["key"]: limit["limit"] for limit in runs["tag_concurrency_limits"] if "value" not in limit}
    assert limits == dict.fromkeys(WORK, 3)
    assert runs["max_concurrent_runs"] > 3
    jobs = {job.name: job.run_tags for job in defs.get_repository_def().get_all_jobs()}
    # By the job's own tag, too: what a command runs in its own process never comes through the queue.
    assert {name for name, tags in jobs.items() if not WORK.items() <= tags.items()} == {
        DELIVERY_JOB, "__ASSET_JOB",
    }  # fmt: skip
    assert {name for name, tags in jobs.items() if tags.get("dagster/priority")} == {DELIVERY_JOB}


def _unfinished_run(instance: dg.DagsterInstance, tags: dict[str, str]) -> str:
    run = instance.create_run_for_job(deliver_alerts, tags=tags, status=dg.DagsterRunStatus.STARTED)
    return run.run_id


def test_a_run_whose_process_is_gone_is_ended_and_a_living_one_is_left(instance: dg.DagsterInstance) -> None:
    living = _unfinished_run(instance, in_process_tags())
    host = in_process_tags()["upstream/process"].split("/")[0]
    gone = _unfinished_run(instance, {"upstream/process": f"{host}/999999999/1.00"})
    lost = _unfinished_run(instance, {".dagster/grpc_info": '{"host": "localhost", "socket": "/nowhere/at/all"}'})
    assert fail_orphaned_runs(instance) == 2
    status = {run.run_id: run.status for run in instance.get_runs()}
    assert status[living] == dg.DagsterRunStatus.STARTED
    assert status[gone] == status[lost] == dg.DagsterRunStatus.FAILURE


def test_a_key_is_missed_at_once_where_a_customer_is_new_and_after_a_minute_where_somebody_took_it_away() -> None:
    clock = [1000.0]
    known = KnownKeys(lambda: clock[0])
    with dg.DagsterInstance.ephemeral() as instance:
        assert known.missing(instance, ["acme"]) == ["acme"]
        instance.add_dynamic_partitions("customer", ["acme"])
        assert known.missing(instance, ["acme", "lakeside"]) == ["lakeside"]
        instance.delete_dynamic_partition("customer", "acme")
        assert known.missing(instance, ["acme"]) == []
        clock[0] += 61
        assert known.missing(instance, ["acme"]) == ["acme"]
