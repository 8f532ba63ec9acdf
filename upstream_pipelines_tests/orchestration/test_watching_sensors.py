"""Sensors that write what they saw into the outbox: failed runs, runs that made up for them, silent customers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from psycopg.types.json import Jsonb

from upstream_pipelines.alerts.store import sync_channels
from upstream_pipelines.customers.store import create_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.defs.failure_sensor import _did_the_work_of, failed_runs
from upstream_pipelines.defs.resources import Platform
from upstream_pipelines.defs.sensors import silent_customers
from upstream_pipelines.delivery.channels import EmailChannel
from upstream_pipelines_tests.orchestration.sensor_ticks import Ticks

OFFICE = EmailChannel(kind="email", name="office", recipients=("a@example.org",))


@pytest.fixture
def acme(pipeline: Connection) -> int:
    customer, _ = create_customer(pipeline, "acme", "Acme")
    sync_channels(pipeline, customer.customer_id, [OFFICE])
    return customer.customer_id


def _run(instance: dg.DagsterInstance, job: str, slug: str, *, fails: bool) -> str:
    @dg.op
    def work() -> None:
        if fails:
            raise RuntimeError("SMITH, JOHN")

    @dg.job(name=job)
    def some_job() -> None:
        work()

    done = some_job.execute_in_process(instance=instance, tags={"dagster/partition": slug}, raise_on_error=False)
    return done.run_id


def _alerts(conn: Connection) -> list[tuple[str, str]]:
    return conn.execute("SELECT notice, content -> 'data' ->> 'run_id' FROM alerts ORDER BY created_at").fetchall()


def test_a_failed_run_is_told_once_and_taken_back_by_a_later_run_of_the_same_work(
    pipeline: Connection, acme: int, platform: Platform, instance: dg.DagsterInstance
) -> None:
    ticks = Ticks(failed_runs, instance, platform)
    earlier = _run(instance, "ingest", "acme", fails=False)
    failed = _run(instance, "ingest", "acme", fails=True)
    assert "1 alerts written, 0 taken back" in ticks.tick()
    assert ticks.tick().startswith("0 failed runs")
    # Neither another job, nor another customer, nor the run before it made up for it.
    create_customer(pipeline, "beta", "Beta")
    _run(instance, "drift", "acme", fails=False)
    _run(instance, "ingest", "beta", fails=False)
    assert "0 taken back" in ticks.tick()
    assert _alerts(pipeline) == [("open", failed)]
    (data,) = pipeline.execute("SELECT content -> 'data' FROM alerts").fetchone()  # type: ignore[misc]
    assert (data["step"], data["error_class"], data["process_died"]) == ("work", "RuntimeError", False)
    again = _run(instance, "ingest", "acme", fails=False)
    assert "1 taken back" in ticks.tick()
    assert _alerts(pipeline) == [("open", failed), ("resolved", failed)]
    _run(instance, "ingest", "acme", fails=False)
    assert "0 taken back" in ticks.tick()
    told = pipeline.execute("SELECT content FROM alerts").fetchall()
    assert "SMITH" not in str(told)
    assert again in str(told)
    assert earlier not in str(told)


def test_a_run_that_failed_and_was_made_up_for_between_two_ticks_is_told_and_taken_back(
    pipeline: Connection, acme: int, platform: Platform, instance: dg.DagsterInstance
) -> None:
    _run(instance, "ingest", "acme", fails=True)
    _run(instance, "ingest", "acme", fails=False)
    assert "1 alerts written, 1 taken back" in Ticks(failed_runs, instance, platform).tick()


def _record(
    at: int,
    assets: set[str] | None,
    run_id: str = "r",
    parent: str | None = None,
    days: dict[str, str] | None = None,
) -> Any:
    moment = datetime(2026, 6, 1, tzinfo=UTC) + timedelta(minutes=at)
    run = SimpleNamespace(
        run_id=run_id, parent_run_id=parent, root_run_id=parent, asset_selection=assets,
        run_config={"ops": {"payer_drift": {"config": days}}} if days is not None else {},
    )  # fmt: skip
    return SimpleNamespace(
        create_timestamp=moment, update_timestamp=moment + timedelta(minutes=1), dagster_run=run
    )


@pytest.mark.parametrize(
    ("later", "did"),
    [
        (_record(5, None), True),
        (_record(5, {"csv_claims", "claims"}), True),
        (_record(5, {"csv_claims", "claims", "payer_activity"}), True),
        (_record(5, {"webhook_claims", "claims"}), False),
        (_record(5, {"claims"}, parent="failed"), True),
        (_record(-5, None), False),
    ],
    ids=["whole job", "same assets", "more assets", "other assets", "re-executed from failure", "before"],
)
def test_only_a_later_run_of_all_its_assets_makes_up_for_a_failed_one(later: Any, did: bool) -> None:
    assert _did_the_work_of(later, _record(0, {"csv_claims", "claims"}, "failed")) is did


PRESENT: dict[str, str] = {}
PAST, SPAN = {"as_of": "2026-01-05"}, {"from_day": "2026-01-01", "as_of": "2026-01-31"}


@pytest.mark.parametrize(
    ("failed", "later", "did"),
    [
        (PRESENT, PRESENT, True),
        (PRESENT, {"as_of": "2026-05-31"}, True),
        (PRESENT, PAST, False),
        (PRESENT, {"from_day": "2026-01-01"}, True),
        (PAST, PRESENT, False),
        (PAST, PAST, True),
        (PAST, SPAN, True),
        (SPAN, PAST, False),
        ({"as_of": "nonsense"}, PRESENT, True),
    ],
)
def test_looks_of_other_days_make_up_for_none_that_failed(
    failed: dict[str, str], later: dict[str, str], did: bool
) -> None:
    assert _did_the_work_of(_record(5, None, days=later), _record(0, None, "failed", days=failed)) is did


def test_a_part_of_a_job_does_not_make_up_for_all_of_it() -> None:
    assert not _did_the_work_of(_record(5, {"claims"}), _record(0, None, "failed"))


def test_the_silence_sensor_notices_hourly_and_takes_back_at_once(
    pipeline: Connection, acme: int, platform: Platform, instance: dg.DagsterInstance
) -> None:
    ticks = Ticks(silent_customers, instance, platform)
    pipeline.execute("UPDATE customers SET configuration = %s", (Jsonb({"cadence_days": 1}),))
    long_ago = datetime.now(UTC) - timedelta(days=5)
    add = "INSERT INTO uploads (customer_id, source, byte_count, received_at) VALUES (%s, 'csv', 1, %s)"
    pipeline.execute(add, (acme, long_ago))
    assert ticks.tick() == "1 customers watched, 1 went silent, 0 are so no longer."
    assert ticks.tick() == "0 customers send again."
    pipeline.execute(add, (acme, datetime.now(UTC)))
    assert ticks.tick() == "1 customers send again."
    assert ticks.tick() == "0 customers send again."
    ticks.cursor = (datetime.now(UTC) - timedelta(hours=2)).isoformat()
    assert ticks.tick() == "1 customers watched, 0 went silent, 0 are so no longer."
    (link,) = pipeline.execute("SELECT content -> 'data' ->> 'link' FROM alerts LIMIT 1").fetchone()  # type: ignore[misc]
    assert link.endswith("/assets/payer_drift?view=partitions&partition=acme")
