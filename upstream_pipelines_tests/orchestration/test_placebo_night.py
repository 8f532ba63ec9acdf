"""The nightly placebo: whose turn it is, one customer's trouble stays its own, and the check that people see."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import dagster as dg

from upstream_pipelines.customers.store import create_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.definitions import build_definitions
from upstream_pipelines.defs import placebo_check
from upstream_pipelines.defs.jobs import placebo_night
from upstream_pipelines.defs.partitions import customer_partitions
from upstream_pipelines.defs.placebo_check import is_within_budget
from upstream_pipelines.defs.resources import Platform
from upstream_pipelines.defs.schedules import nightly_placebo
from upstream_pipelines.drift.placebo_store import FalseEventRate
from upstream_pipelines.drift.settings import METHOD_VERSION

CHECK = dg.AssetCheckKey(dg.AssetKey("payer_drift"), "placebo_false_events")


def _requests(platform: Platform, instance: dg.DagsterInstance, day: int) -> list[Any]:
    context = dg.build_schedule_context(
        instance=instance, scheduled_execution_time=datetime(2026, 6, day, 2, tzinfo=UTC)
    )
    return list(nightly_placebo(context, platform=platform))  # type: ignore[arg-type]


def _run(platform: Platform, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    return placebo_night.execute_in_process(
        instance=instance,
        resources={"platform": platform},
        run_config={"ops": {"measure_placebo": {"config": {"night": "2026-06-01"}}}},
        raise_on_error=False,
    )


def test_a_night_is_asked_for_once_and_only_when_it_is_somebodys_turn(
    pipeline: Connection, platform: Platform, instance: dg.DagsterInstance
) -> None:
    assert isinstance(_requests(platform, instance, 1)[0], dg.SkipReason)
    create_customer(pipeline, "acme", "Acme")
    (request,) = _requests(platform, instance, 1)
    assert request.run_key == "2026-06-01"
    assert request.run_config["ops"]["measure_placebo"]["config"] == {"night": "2026-06-01"}


def test_a_night_goes_on_after_a_customer_that_fails_and_a_re_execution_does_only_that_one(
    pipeline: Connection, platform: Platform, instance: dg.DagsterInstance
) -> None:
    for slug in ("bad", "good"):
        create_customer(pipeline, slug, slug)
    pipeline.execute("UPDATE customers SET configuration = '{\"nonsense\": 1}' WHERE slug = 'bad'")
    result = _run(platform, instance)
    assert not result.success
    (failure,) = (event.step_failure_data for event in result.all_events if event.is_step_failure)
    assert failure.user_failure_data is not None
    assert "1 of 2 customers could not be measured: bad." in str(failure.user_failure_data.description)
    measured = "SELECT slug, measured_on FROM drift_placebo JOIN customers USING (customer_id) ORDER BY 1"
    assert pipeline.execute(measured).fetchall() == [("good", date(2026, 6, 1))]
    pipeline.execute("UPDATE customers SET configuration = '{}'")
    again = _run(platform, instance)
    assert again.success
    evaluated = [event.asset_check_evaluation_data.partition for event in again.all_events
                 if event.event_type_value == "ASSET_CHECK_EVALUATION"]  # fmt: skip
    assert evaluated == ["bad"]
    assert len(pipeline.execute(measured).fetchall()) == 2


def test_the_rate_is_a_check_of_the_customers_partition(
    pipeline: Connection, platform: Platform, instance: dg.DagsterInstance
) -> None:
    assert CHECK in build_definitions().resolve_asset_graph().asset_check_keys
    customer, _ = create_customer(pipeline, "acme", "Acme")
    drift = build_definitions({"platform": platform}).get_job_def("drift")
    instance.add_dynamic_partitions(customer_partitions.name or "", ["acme"])
    today = datetime.now(UTC).date()
    for events, passed in ((0, True), (9, False)):
        pipeline.execute(
            """INSERT INTO drift_placebo VALUES (%s, %s, 1, %s, 91, 400, %s)
               ON CONFLICT (customer_id, measured_on) DO UPDATE SET events = excluded.events""",
            (customer.customer_id, today, METHOD_VERSION, events),
        )
        done = drift.execute_in_process(instance=instance, partition_key="acme")
        (result,) = [one for one in done.get_asset_check_evaluations() if one.check_name == CHECK.name]
        assert result.partition == "acme"
        assert (result.passed, result.severity) == (passed, dg.AssetCheckSeverity.WARN)
        assert result.metadata["events"].value == events
        assert (result.description is None) == passed


def test_only_a_rate_that_is_surely_above_the_budget_fails() -> None:
    def rate(low: float | None) -> FalseEventRate:
        return FalseEventRate(3, 364, 4, 400, None if low is None else 3.0, low, None if low is None else 9.0)

    assert is_within_budget(rate(None), 1.0)
    assert is_within_budget(rate(0.6), 1.0)
    assert not is_within_budget(rate(1.1), 1.0)
    assert (
        "not measured"
        in placebo_check.placebo_metadata(rate(None), 1.0)["false events on your own shuffled history"]
    )
