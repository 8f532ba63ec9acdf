"""A rule of one customer that nobody can read, or for which nothing can be decided: the others hear of theirs, and nothing is lost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from psycopg.types.json import Jsonb

from upstream_pipelines.alerts.store import sync_channels
from upstream_pipelines.customers.store import create_customer
from upstream_pipelines.db.engine import Connection, connect
from upstream_pipelines.defs import drift_assets, failure_sensor, placebo_check
from upstream_pipelines.defs.failure_sensor import failed_runs
from upstream_pipelines.defs.jobs import drift_sweep
from upstream_pipelines.defs.resources import Platform
from upstream_pipelines.defs.sensors import silent_customers
from upstream_pipelines.delivery.channels import EmailChannel
from upstream_pipelines.settings import Settings
from upstream_pipelines_tests.orchestration.sensor_ticks import Ticks

OFFICE = EmailChannel(kind="email", name="office", recipients=("a@example.org",))


@pytest.fixture
def customers(pipeline: Connection) -> dict[str, int]:
    made = {slug: create_customer(pipeline, slug, slug.title())[0].customer_id for slug in ("acme", "beta")}
    for customer_id in made.values():
        sync_channels(pipeline, customer_id, [OFFICE])
    return made


def _without_check(settings: Settings, name: str) -> None:
    """As an earlier release, or the owner by hand, would have let it in."""
    with connect(settings, "upstream_owner") as owner:
        owner.execute(f"ALTER TABLE alert_rules DROP CONSTRAINT {name}")


@pytest.fixture
def unreadable(settings: Settings, pipeline: Connection, customers: dict[str, int]) -> None:
    """Acme's one rule, which asked for drift alone, cannot be read."""
    _without_check(settings, "alert_rules_names")
    pipeline.execute(
        "UPDATE alert_rules SET payers = '{}', kinds = '{drift}' WHERE customer_id = %s", [customers["acme"]]
    )


@pytest.fixture
def undecidable(settings: Settings, pipeline: Connection, customers: dict[str, int]) -> None:
    """Nothing can be decided for acme."""
    _without_check(settings, "alert_rules_cooldown_hours_check")
    _spoil(pipeline, customers["acme"])


def _spoil(pipeline: Connection, customer_id: int) -> None:
    """Its rule's cooldown is no time."""
    pipeline.execute("UPDATE alert_rules SET cooldown_hours = 'NaN' WHERE customer_id = %s", [customer_id])


def _mend(pipeline: Connection) -> None:
    pipeline.execute("UPDATE alert_rules SET cooldown_hours = 4")


def _run(instance: dg.DagsterInstance, slug: str, *, fails: bool) -> str:
    @dg.op
    def work() -> None:
        if fails:
            raise RuntimeError("SMITH, JOHN")

    @dg.job(name="ingest")
    def some_job() -> None:
        work()

    return some_job.execute_in_process(
        instance=instance, tags={"dagster/partition": slug}, raise_on_error=False
    ).run_id


def _told(conn: Connection) -> list[tuple[str, str]]:
    return conn.execute(
        "SELECT c.slug, a.notice FROM alerts AS a JOIN customers AS c USING (customer_id) ORDER BY c.slug, a.created_at"
    ).fetchall()


@pytest.mark.usefixtures("unreadable")
def test_a_rule_that_cannot_be_read_tells_of_everything_and_is_named(
    pipeline: Connection, platform: Platform, instance: dg.DagsterInstance, capfd: pytest.CaptureFixture[str]
) -> None:
    """Skipped, it would tell nobody of the failed run; read as it is, it would keep the failed runs of all customers."""
    ticks = Ticks(failed_runs, instance, platform)
    for slug in ("acme", "beta"):
        _run(instance, slug, fails=True)
    assert "2 alerts written" in ticks.tick()
    assert _told(pipeline) == [("acme", "open"), ("beta", "open")]
    rule = pipeline.execute("SELECT rule_id::text FROM alert_rules WHERE payers = '{}'").fetchone()
    assert rule is not None
    assert f"alert rule {rule[0]} of customer" in "".join(capfd.readouterr())


@pytest.mark.usefixtures("undecidable")
def test_a_failed_run_that_cannot_be_told_holds_up_no_other_and_is_told_and_taken_back_later(
    pipeline: Connection, platform: Platform, instance: dg.DagsterInstance
) -> None:
    ticks = Ticks(failed_runs, instance, platform)
    failed = _run(instance, "acme", fails=True)
    _run(instance, "beta", fails=True)
    said = ticks.tick()
    assert "1 alerts written" in said
    assert "Of 1 runs some could not be told" in said
    assert _told(pipeline) == [("beta", "open")]
    _run(instance, "acme", fails=False)
    for _ in range(2):
        assert "0 alerts written" in ticks.tick()
        assert failed in str(ticks.cursor)
    _mend(pipeline)
    assert "1 alerts written, 1 taken back" in ticks.tick()
    assert _told(pipeline) == [("acme", "open"), ("acme", "resolved"), ("beta", "open")]
    assert failed not in str(ticks.cursor)


def test_a_recovery_that_cannot_be_told_is_told_later(
    settings: Settings, customers: dict[str, int], pipeline: Connection, platform: Platform, instance: dg.DagsterInstance
) -> None:  # fmt: skip
    ticks = Ticks(failed_runs, instance, platform)
    for slug in customers:
        _run(instance, slug, fails=True)
    assert "2 alerts written" in ticks.tick()
    _without_check(settings, "alert_rules_cooldown_hours_check")
    _spoil(pipeline, customers["acme"])
    for slug in customers:
        _run(instance, slug, fails=False)
    assert "1 taken back" in ticks.tick()
    assert "0 taken back" in ticks.tick()
    _mend(pipeline)
    assert "1 taken back" in ticks.tick()
    assert 'owed": {}' in str(ticks.cursor)


@pytest.mark.usefixtures("undecidable")
def test_of_a_dead_sweep_all_are_told_but_the_one_and_that_one_later(
    pipeline: Connection, platform: Platform, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        sync_channels(pipeline, create_customer(pipeline, f"c{number}", "C")[0].customer_id, [OFFICE])
    monkeypatch.setattr(failure_sensor, "_MOST_TOLD", 2)
    today = datetime.now(UTC).date().isoformat()
    run = instance.create_run_for_job(
        drift_sweep,
        run_config={"ops": {"look_at_customers": {"config": {"as_of": today}}}},
        status=dg.DagsterRunStatus.STARTED,
    )
    instance.report_run_failed(run)
    ticks = Ticks(failed_runs, instance, platform)
    for _ in range(4):
        ticks.tick()
    assert [slug for slug, _ in _told(pipeline)] == ["beta", "c0", "c1", "c2"]
    _mend(pipeline)
    assert "1 alerts written" in ticks.tick()
    assert [slug for slug, _ in _told(pipeline)] == ["acme", "beta", "c0", "c1", "c2"]
    assert run.run_id not in str(ticks.cursor)


def _fails(*_rest: Any) -> Any:
    raise RuntimeError("SMITH, JOHN")


def _failure_of(result: dg.ExecuteInProcessResult) -> str:
    (failure,) = (event.step_failure_data for event in result.all_events if event.is_step_failure)
    return str(failure.user_failure_data)


@pytest.mark.usefixtures("undecidable")
def test_a_sweep_goes_on_after_a_customer_that_can_be_told_of_nothing_and_names_it(
    pipeline: Connection,
    customers: dict[str, int],
    platform: Platform,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(drift_assets, "look_at", _fails)
    monkeypatch.setattr(drift_assets, "take_back_failures", lambda *_: 0)
    as_of = {"as_of": datetime.now(UTC).date().isoformat()}
    done = drift_sweep.execute_in_process(
        instance=instance,
        resources={"platform": platform},
        run_config={"ops": {"look_at_customers": {"config": as_of}}},
        raise_on_error=False,
    )
    said = _failure_of(done)
    assert "2 of 2 customers failed: acme, beta." in said
    assert "No alert of it could be written for acme:" in said
    assert _told(pipeline) == [("beta", "open")]
    ticks = Ticks(failed_runs, instance, platform)
    ticks.tick()
    _mend(pipeline)
    assert "1 alerts written" in ticks.tick(), "it was not looked at, and the sensor remembers"
    assert _told(pipeline) == [("acme", "open"), ("beta", "open")]


@pytest.mark.usefixtures("undecidable")
def test_a_placebo_night_goes_on_after_a_customer_that_can_be_told_of_nothing_and_names_it(
    pipeline: Connection,
    customers: dict[str, int],
    platform: Platform,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(placebo_check, "measure", _fails)
    monkeypatch.setattr(
        placebo_check, "due_customers", lambda *_: [(number, slug) for slug, number in customers.items()]
    )

    @dg.job
    def night() -> None:
        placebo_check.measure_placebo()

    done = night.execute_in_process(instance=instance, resources={"platform": platform}, raise_on_error=False)
    said = _failure_of(done)
    assert "2 of 2 customers could not be measured: acme, beta." in said
    assert "No alert of it could be written for acme:" in said
    assert _told(pipeline) == [("beta", "open")]


@pytest.mark.usefixtures("undecidable")
def test_silences_of_others_are_told_and_ended_and_the_one_that_cannot_be_told_is_looked_at_again(
    pipeline: Connection, customers: dict[str, int], platform: Platform, instance: dg.DagsterInstance
) -> None:
    ticks = Ticks(silent_customers, instance, platform)
    pipeline.execute("UPDATE customers SET configuration = %s", (Jsonb({"cadence_days": 1}),))
    add = "INSERT INTO uploads (customer_id, source, byte_count, received_at) VALUES (%s, 'csv', 1, %s)"
    for customer_id in customers.values():
        pipeline.execute(add, (customer_id, datetime.now(UTC) - timedelta(days=5)))
    said = ticks.tick()
    assert said.startswith("2 customers watched, 1 went silent")
    assert "1 could not be told" in said
    assert _told(pipeline) == [("beta", "open")]
    _mend(pipeline)
    ticks.cursor = (datetime.now(UTC) - timedelta(hours=2)).isoformat()
    assert ticks.tick().startswith("2 customers watched, 1 went silent")
    _spoil(pipeline, customers["acme"])
    for customer_id in customers.values():
        pipeline.execute(add, (customer_id, datetime.now(UTC)))
    assert ticks.tick() == "1 customers send again."
    _mend(pipeline)
    assert ticks.tick() == "1 customers send again."
    assert _told(pipeline) == [(slug, notice) for slug in customers for notice in ("open", "resolved")]
