"""What people see in the Dagster UI of alerts and arrivals: tables, checks, and the run that sends."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import dagster as dg
import pytest

from upstream_pipelines.alerts.store import sync_channels, write_quality_alert
from upstream_pipelines.cli.doctor import examine
from upstream_pipelines.customers.store import create_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.defs.alert_assets import alerts, alerts_arrive
from upstream_pipelines.defs.arrival_check import arrival_state
from upstream_pipelines.defs.daemon_health import DaemonHealth
from upstream_pipelines.defs.jobs import deliver_alerts, drift_sweep
from upstream_pipelines.defs.partitions import customer_partitions
from upstream_pipelines.defs.resources import Platform
from upstream_pipelines.delivery.channels import EmailChannel
from upstream_pipelines.ingest.missed_uploads import Arrivals
from upstream_pipelines.settings import Settings

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def instance(instance: dg.DagsterInstance) -> dg.DagsterInstance:
    instance.add_dynamic_partitions(customer_partitions.name or "", ["acme"])
    return instance


@pytest.fixture
def acme(pipeline: Connection) -> int:
    customer, _ = create_customer(pipeline, "acme", "Acme")
    return customer.customer_id


def _tell(conn: Connection, customer_id: int) -> None:
    """One alert that goes out and one of the same kind that the cooldown holds back."""
    sync_channels(conn, customer_id, [EmailChannel(kind="email", name="office", recipients=("a@example.org",))])
    for number in range(2):
        write_quality_alert(conn, customer_id, UUID(int=number), 50.0, ["payer_present"], None, LONG_AGO)


def _shown(instance: dg.DagsterInstance, asset: str) -> dict[str, Any]:
    event = instance.get_latest_materialization_event(dg.AssetKey(asset))
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.partition == "acme"
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def test_the_run_that_sends_shows_its_attempts_and_each_customers_alerts(
    pipeline: Connection, acme: int, platform: Platform, instance: dg.DagsterInstance
) -> None:
    _tell(pipeline, acme)
    result = deliver_alerts.execute_in_process(instance=instance, resources={"platform": platform})
    (output,) = [event.step_output_data.metadata for event in result.all_events if event.is_successful_output]
    assert "| acme | office | email |" in str(output["attempts"].value)
    assert "UPSTREAM_SMTP_HOST" in str(output["attempts"].value)
    shown = _shown(instance, "alerts")
    assert (shown["told"], shown["given up"]) == (2, 0)  # the cooldown of the second has ended by now
    assert "An upload failed its quality checks" in shown["what was told"]
    assert "office retrying" in shown["what was told"]
    assert "office" in shown["latest attempts"]


def test_materialising_alerts_reads_and_sends_nothing_and_says_why_something_was_held_back(
    pipeline: Connection, acme: int, platform: Platform, instance: dg.DagsterInstance
) -> None:
    _tell(pipeline, acme)
    dg.materialize(
        [alerts, alerts_arrive], partition_key="acme", instance=instance, resources={"platform": platform}
    )
    shown = _shown(instance, "alerts")
    assert (shown["told"], shown["held back"]) == (1, 1)
    assert "the same was told at 2026-01-01 00:00 UTC" in shown["what was held back"]
    assert pipeline.execute("SELECT count(*) FROM delivery_attempts").fetchone() == (0,)


def _check(instance: dg.DagsterInstance, platform: Platform) -> dg.AssetCheckEvaluation:
    result = dg.materialize(
        [alerts, alerts_arrive], partition_key="acme", instance=instance, resources={"platform": platform}
    )
    (evaluation,) = result.get_asset_check_evaluations()
    return evaluation


def test_a_customer_that_nobody_can_reach_fails_the_check_with_what_to_do(
    pipeline: Connection, acme: int, platform: Platform, instance: dg.DagsterInstance
) -> None:
    nobody = _check(instance, platform)
    assert not nobody.passed
    assert "nobody hears of anything" in str(nobody.description)
    _tell(pipeline, acme)
    assert _check(instance, platform).passed
    pipeline.execute("UPDATE deliveries SET state = 'dead', finished_at = now()")
    given_up = _check(instance, platform)
    assert "office (1 given up in the last week). office: `upstream alerts test acme office`" in str(
        given_up.description
    )
    sync_channels(
        pipeline, acme,
        [EmailChannel(kind="email", name=name, recipients=("a@example.org",)) for name in ("office", "spare")],
    )  # fmt: skip
    pipeline.execute("UPDATE alert_channels SET enabled = false, disabled_reason = '410' WHERE name = 'office'")
    steps = str(_check(instance, platform).description).partition("office (410). office: ")[2].split("; ")
    assert [step.partition("` ")[0] for step in steps] == [
        f"`upstream alerts {step}"
        for step in ("enable acme office", "test acme office", "resend acme --channel office")
    ]


def test_a_silent_customer_fails_the_check_of_its_arrivals_in_the_daily_sweep(
    pipeline: Connection, acme: int, platform: Platform, instance: dg.DagsterInstance
) -> None:
    pipeline.execute("UPDATE customers SET configuration = '{\"cadence_days\": 7}', created_at = '2026-01-01'")
    result = drift_sweep.execute_in_process(
        instance=instance,
        resources={"platform": platform},
        run_config={"ops": {"look_at_customers": {"config": {"as_of": "2026-06-01"}}}},
    )
    assert result.success
    (evaluation,) = [
        event.event_specific_data
        for event in result.all_events
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION
    ]
    assert isinstance(evaluation, dg.AssetCheckEvaluation)
    assert (evaluation.check_name, evaluation.partition, evaluation.passed) == ("uploads_arrive", "acme", False)
    assert "and 8 are allowed" in str(evaluation.description)


@pytest.mark.parametrize(
    ("cadence_days", "days_ago", "passed", "said"),
    [(7, 8, True, None), (7, 9, False, "Nothing has come for 9 days"), (None, 99, True, "Not known yet")],
)
def test_arrivals_are_judged_by_what_is_known(
    cadence_days: int | None, days_ago: int, passed: bool, said: str | None
) -> None:
    today = date(2026, 6, 15)
    last = today - timedelta(days=days_ago)
    state = arrival_state(Arrivals(1, "acme", cadence_days, [last], last, True, None, None), today)
    assert state["passed"] is passed
    assert (state["description"] is None) if said is None else said in state["description"]
    assert state["metadata"]["last upload"] == str(last)


def test_doctor_names_what_keeps_alerts_from_people(
    settings: Settings, pipeline: Connection, acme: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    health = DaemonHealth(LONG_AGO, (), ("due_alerts",))
    monkeypatch.setattr("upstream_pipelines.cli.doctor.daemon_health", lambda _: health)
    _tell(pipeline, acme)
    found = {finding.part: finding for finding in examine(settings)}
    assert not found["due deliveries"].ok
    assert "nothing sends them" in found["due deliveries"].state
    assert "`upstream up`" in found["due deliveries"].advice
    assert not found["sensors"].ok
    assert "due_alerts" in found["sensors"].state
    assert (found["daemon"].ok, found["daemon"].state[:11]) == (True, "not running")
    assert found["dead deliveries"].ok
    assert found["alert channels"].ok
    pipeline.execute("UPDATE alert_channels SET failing_since = '2026-05-01T10:32Z'")
    channels = next(finding for finding in examine(settings) if finding.part == "alert channels")
    assert (channels.ok, channels.state) == (False, "receivers fail: acme/office since 2026-05-01 10:32 UTC")
    pipeline.execute("UPDATE deliveries SET state = 'dead', finished_at = now()")
    pipeline.execute("UPDATE alert_channels SET enabled = false, disabled_reason = 'every delivery failed'")
    found = {finding.part: finding for finding in examine(settings)}
    assert "1 messages of the last week were given up, of acme" in found["dead deliveries"].state
    assert "acme/office" in found["alert channels"].state
