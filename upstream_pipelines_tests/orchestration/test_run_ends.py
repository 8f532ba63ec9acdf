"""How a failed run ended, read from Dagster's event log: what is known, without the words of an error."""

from __future__ import annotations

import importlib.util
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from upstream_pipelines.alerts.runs import RunEnd
from upstream_pipelines.defs.jobs import deliver_alerts, drift_sweep
from upstream_pipelines.defs.orphans import fail_orphaned_runs
from upstream_pipelines.defs.run_ends import read_end, read_sweep


class OddError(Exception):
    """An error of ours; its words name a patient."""


@dg.op
def first() -> None:
    """Nothing fails here."""


@dg.op(ins={"after": dg.In(dg.Nothing)})
def second() -> None:
    """It fails with a cause of its own."""
    try:
        float("SMITH, JOHN")
    except ValueError as error:
        raise OddError("SMITH, JOHN") from error


@dg.job
def two_steps() -> None:
    second(first())


def test_a_failed_step_is_named_with_the_class_of_its_error_and_not_of_the_cause(
    instance: dg.DagsterInstance,
) -> None:
    done = two_steps.execute_in_process(instance=instance, raise_on_error=False)
    assert read_end(instance, done.dagster_run) == RunEnd("second", "OddError")


def _started(instance: dg.DagsterInstance, **tags: str) -> dg.DagsterRun:
    run = instance.create_run_for_job(deliver_alerts, tags=tags)
    began = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, job_name=run.job_name)
    instance.report_dagster_event(began, run.run_id)
    return run


def test_a_run_whose_process_is_gone_says_so(instance: dg.DagsterInstance) -> None:
    run = _started(instance, **{".dagster/grpc_info": '{"host": "localhost", "socket": "/nowhere/at/all"}'})
    assert fail_orphaned_runs(instance) == 1
    assert read_end(instance, run) == RunEnd(None, None, process_died=True)


def test_of_a_run_that_was_ended_from_outside_nothing_is_known(instance: dg.DagsterInstance) -> None:
    run = _started(instance)
    instance.report_run_failed(run, "Exceeded maximum runtime of 14400 seconds.")
    assert read_end(instance, run) == RunEnd(None, None)


def test_a_run_that_was_never_started_says_so(instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(deliver_alerts)
    instance.report_run_failed(run, "Run timed out due to taking longer than 300 seconds to start.")
    assert read_end(instance, run) == RunEnd(None, None, never_began=True)


def test_a_run_whose_process_crashed_says_so(instance: dg.DagsterInstance) -> None:
    """The code server sees it and writes so, in words that are read here as Dagster has them."""
    spec = importlib.util.find_spec("dagster._grpc.server")
    assert spec is not None
    assert spec.origin is not None
    assert 'prefix=f"Run execution process for {run.run_id}"' in Path(spec.origin).read_text()
    run = _started(instance)
    crash = f"Run execution process for {run.run_id} was terminated by signal 9 (SIGKILL)."
    instance.report_engine_event(crash, run, cls=type("DagsterApiServer", (), {}))  # whose name goes before it
    instance.report_run_failed(run)
    assert read_end(instance, run) == RunEnd(None, None, process_died=True)


@pytest.mark.parametrize(
    ("config", "part"),
    [
        ({}, (0, 1)),
        ({"ops": {"look_at_customers": {"config": {"bucket": 3, "buckets": 12}}}}, (3, 12)),
    ],
)
def test_the_part_of_a_sweep_is_read_from_its_configuration(
    instance: dg.DagsterInstance, config: dict[str, Any], part: tuple[int, int]
) -> None:
    record = instance.get_run_record_by_id(instance.create_run_for_job(drift_sweep, run_config=config).run_id)
    assert record is not None
    sweep = read_sweep(record)
    assert sweep is not None
    assert (sweep.run_id, sweep.bucket, sweep.buckets) == (record.dagster_run.run_id, *part)
    assert sweep.since == record.create_timestamp


@pytest.mark.parametrize(
    "config",
    [
        {"bucket": "x"},
        {"buckets": 0},
        {"bucket": 2, "buckets": 2},
        {"bucket": -1},
        {"as_of": "2026-13-40"},
        {"as_of": "2999-01-01"},
        {"as_of": "2026-01-01"},
    ],
)
def test_a_sweep_with_no_bucket_or_day_there_can_be_or_of_past_days_is_none_and_stops_nothing(
    config: dict[str, Any],
) -> None:
    """Most likely wrong: somebody's slip in the UI makes each later tick of the sensor fail."""
    given = {"ops": {"look_at_customers": {"config": config}}}
    # Dagster would refuse to make such a run here.
    slip: Any = SimpleNamespace(
        dagster_run=SimpleNamespace(run_id="r", job_name="drift_sweep", run_config=given),
        create_timestamp=datetime.now(UTC),
    )
    assert read_sweep(slip) is None
