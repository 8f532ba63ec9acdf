"""What a sweep's failures leave behind: each customer that was not looked at is told, by the run or, where it died, after it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from upstream_pipelines.alerts.runs import RunEnd, Sweep, SweepTold, write_sweep_failure
from upstream_pipelines.alerts.store import sync_channels
from upstream_pipelines.customers.audit import operator
from upstream_pipelines.customers.flag_changes import replace_flags
from upstream_pipelines.customers.store import create_customer, customers_of_bucket, get_customer, set_status
from upstream_pipelines.db.engine import Connection, connect
from upstream_pipelines.defs import drift_assets, failure_sensor
from upstream_pipelines.defs.failure_sensor import failed_runs
from upstream_pipelines.defs.jobs import drift_sweep
from upstream_pipelines.defs.resources import Platform
from upstream_pipelines.delivery.channels import EmailChannel
from upstream_pipelines.settings import Settings

OFFICE = EmailChannel(kind="email", name="office", recipients=("a@example.org",))
AS_OF = datetime.now(UTC).date().isoformat()


@pytest.fixture
def customers(pipeline: Connection) -> dict[str, int]:
    made = {slug: create_customer(pipeline, slug, slug.title())[0].customer_id for slug in ("acme", "beta")}
    for customer_id in made.values():
        sync_channels(pipeline, customer_id, [OFFICE])
    return made


def _sweep(instance: dg.DagsterInstance, platform: Platform, as_of: str = AS_OF) -> dg.ExecuteInProcessResult:
    return drift_sweep.execute_in_process(
        instance=instance,
        resources={"platform": platform},
        run_config={"ops": {"look_at_customers": {"config": {"as_of": as_of}}}},
        raise_on_error=False,
    )


def _told(conn: Connection) -> list[tuple[str, str, str]]:
    return conn.execute(
        """SELECT c.slug, a.notice, a.content -> 'data' ->> 'run_id' FROM alerts AS a JOIN customers AS c USING (customer_id)
            ORDER BY a.created_at, c.slug"""
    ).fetchall()


@pytest.mark.parametrize("part", ["evaluate_arrivals", "take_back_failures"])
def test_whatever_fails_of_a_customer_in_a_sweep_is_that_customers_and_the_others_go_on(
    pipeline: Connection,
    customers: dict[str, int],
    platform: Platform,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    part: str,
) -> None:
    real = getattr(drift_assets, part)

    def fails_for_acme(conn: Connection, customer_id: int, *rest: Any) -> Any:
        if customer_id == customers["acme"]:
            raise RuntimeError("SMITH, JOHN")
        return real(conn, customer_id, *rest)

    monkeypatch.setattr(drift_assets, part, fails_for_acme)
    result = _sweep(instance, platform)
    assert _told(pipeline) == [("acme", "open", f"{result.run_id}/acme")]
    (failure,) = (event.step_failure_data for event in result.all_events if event.is_step_failure)
    assert "1 of 2 customers failed: acme." in str(failure.user_failure_data)
    looked = {
        slug for (slug,) in pipeline.execute("SELECT slug FROM drift_looks JOIN customers USING (customer_id)")
    }
    assert looked == {"acme", "beta"}
    assert "SMITH" not in str(pipeline.execute("SELECT content FROM alerts").fetchall())


def _dies(instance: dg.DagsterInstance, bucket: int = 0, buckets: int = 1) -> dg.DagsterRun:
    """A sweep whose process is killed before it does anything, as the code server then ends it."""
    run = instance.create_run_for_job(
        drift_sweep,
        run_config={
            "ops": {"look_at_customers": {"config": {"as_of": AS_OF, "bucket": bucket, "buckets": buckets}}}
        },
        status=dg.DagsterRunStatus.STARTED,
    )
    instance.report_engine_event(
        f"Run execution process for {run.run_id} was terminated by signal 9 (SIGKILL).", run
    )
    return run


def _tick(instance: dg.DagsterInstance, platform: Platform) -> str:
    with dg.build_sensor_context(instance=instance, resources={"platform": platform}) as context:
        return str(failed_runs.evaluate_tick(context).skip_message)


def test_a_sweep_that_dies_is_told_once_for_each_customer_and_taken_back_by_the_next_look(
    pipeline: Connection, customers: dict[str, int], platform: Platform, instance: dg.DagsterInstance
) -> None:
    run = _dies(instance)
    instance.report_run_failed(run)
    assert "2 alerts written" in _tick(instance, platform)
    assert "0 alerts written" in _tick(instance, platform)
    assert _sweep(instance, platform, "2026-01-05").success
    assert _told(pipeline) == [(slug, "open", f"{run.run_id}/{slug}") for slug in customers], "nor by a past day's"
    (data,) = pipeline.execute("SELECT content -> 'data' FROM alerts LIMIT 1").fetchone()  # type: ignore[misc]
    assert (data["process_died"], data["bucket"], data["buckets"]) == (True, 0, 1)
    assert _sweep(instance, platform).success
    assert _told(pipeline)[2:] == [(slug, "resolved", f"{run.run_id}/{slug}") for slug in customers]


def test_of_a_dead_sweep_of_many_customers_a_tick_tells_some_and_the_next_goes_on(
    pipeline: Connection, customers: dict[str, int], platform: Platform, instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for number in range(3):
        sync_channels(pipeline, create_customer(pipeline, f"c{number}", "C")[0].customer_id, [OFFICE])
    monkeypatch.setattr(failure_sensor, "_MOST_TOLD", 2)
    run, other = _dies(instance, 0, 2), _dies(instance, 1, 2)
    for one in (run, other):
        instance.report_run_failed(one)
    cursor, told = None, []
    for _ in range(4):
        with dg.build_sensor_context(
            instance=instance, resources={"platform": platform}, cursor=cursor
        ) as context:
            failed_runs.evaluate_tick(context)
            cursor = context.cursor
        told.append(len(_told(pipeline)))
    assert told == [2, 4, 5, 5]
    assert cursor is not None
    assert run.run_id not in cursor
    earlier = dg.build_sensor_context(
        instance=instance, resources={"platform": platform}, cursor="2026-01-01T00:00:00+00:00"
    )
    with earlier as context:
        assert "0 alerts written" in str(failed_runs.evaluate_tick(context).skip_message)


def test_only_the_customers_of_the_dead_sweeps_bucket_that_are_active_and_whose_drift_is_on_are_told(
    pipeline: Connection, customers: dict[str, int], platform: Platform, instance: dg.DagsterInstance
) -> None:
    for number in range(8):
        sync_channels(pipeline, create_customer(pipeline, f"c{number}", "C")[0].customer_id, [OFFICE])
    its = [customer.slug for customer in customers_of_bucket(pipeline, 1, 3)]
    assert 2 < len(its) < 10
    set_status(pipeline, its[0], "disabled")
    replace_flags(pipeline, operator(), get_customer(pipeline, its[1]), {"drift": False})
    run = _dies(instance, 1, 3)
    instance.report_run_failed(run)
    _tick(instance, platform)
    assert [slug for slug, _, _ in _told(pipeline)] == sorted(its[2:])


def test_a_dead_sweep_whose_retry_looked_at_all_leaves_nothing_open(
    pipeline: Connection, customers: dict[str, int], platform: Platform, instance: dg.DagsterInstance
) -> None:
    """The retry may end before the failure is seen. A look back, made meanwhile, hides nothing."""
    instance.report_run_failed(_dies(instance))
    assert _sweep(instance, platform, "2026-01-05").success
    assert "2 alerts written" in _tick(instance, platform)
    pipeline.execute("DELETE FROM delivery_alerts; DELETE FROM deliveries; DELETE FROM alerts")
    run = _dies(instance)
    instance.report_run_failed(run)
    assert _sweep(instance, platform).success
    assert "0 alerts written" in _tick(instance, platform)
    assert _told(pipeline) == []


def test_a_look_that_ends_while_the_failure_is_being_told_is_seen(
    settings: Settings, pipeline: Connection, customers: dict[str, int]
) -> None:
    """Most likely wrong: the customer is taken as not looked at, its look ends, and nothing takes the alert back."""
    sweep = Sweep("r", "drift_sweep", datetime.now(UTC), 0, 1)

    def tell() -> SweepTold:
        with connect(settings, "upstream_pipeline") as own:
            return write_sweep_failure(own, list(customers.values()), sweep, RunEnd(None, None), link=None, most=9)

    with connect(settings, "upstream_pipeline") as looking, ThreadPoolExecutor(1) as aside:
        with looking.transaction():
            looking.execute("SELECT 1 FROM customers WHERE slug = 'acme' FOR NO KEY UPDATE")
            ticking = aside.submit(tell)
            _wait_for_a_lock(pipeline)
            looking.execute(
                "INSERT INTO drift_looks (customer_id, as_of, method_version, settings) VALUES (%s, %s, 'v', '{}')",
                (customers["acme"], AS_OF),
            )
        assert ticking.result(60) == SweepTold(1, 2, None, ())
    assert [slug for slug, _, _ in _told(pipeline)] == ["beta"]


def _wait_for_a_lock(conn: Connection) -> None:
    for _ in range(600):
        if conn.execute("SELECT FROM pg_locks WHERE NOT granted").fetchall():
            return
        time.sleep(0.05)
    raise AssertionError("nobody waits for the customer's row")


def test_a_sweep_that_fails_at_its_end_adds_nothing_to_what_it_wrote_itself(
    pipeline: Connection,
    customers: dict[str, int],
    platform: Platform,
    instance: dg.DagsterInstance,
) -> None:
    pipeline.execute("UPDATE customers SET configuration = '{\"nonsense\": 1}' WHERE slug = 'acme'")
    result = _sweep(instance, platform)
    assert "0 alerts written" in _tick(instance, platform)
    assert _told(pipeline) == [("acme", "open", f"{result.run_id}/acme")]
