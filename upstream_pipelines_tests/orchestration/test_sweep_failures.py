"""What a sweep's failures leave behind: each customer that was not looked at is told, by the run or, where it died, after it."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from upstream_pipelines.alerts.store import sync_channels
from upstream_pipelines.customers.store import create_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.defs import drift_assets
from upstream_pipelines.defs.jobs import drift_sweep
from upstream_pipelines.defs.resources import Platform
from upstream_pipelines.delivery.channels import EmailChannel

OFFICE = EmailChannel(kind="email", name="office", recipients=("a@example.org",))
AS_OF = "2026-06-01"


@pytest.fixture
def customers(pipeline: Connection) -> dict[str, int]:
    made = {slug: create_customer(pipeline, slug, slug.title())[0].customer_id for slug in ("acme", "beta")}
    for customer_id in made.values():
        sync_channels(pipeline, customer_id, [OFFICE])
    return made


def _sweep(instance: dg.DagsterInstance, platform: Platform) -> dg.ExecuteInProcessResult:
    return drift_sweep.execute_in_process(
        instance=instance,
        resources={"platform": platform},
        run_config={"ops": {"look_at_customers": {"config": {"as_of": AS_OF}}}},
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
    looked = {slug for (slug,) in pipeline.execute("SELECT slug FROM drift_looks JOIN customers USING (customer_id)")}
    assert looked == {"acme", "beta"}
    assert "SMITH" not in str(pipeline.execute("SELECT content FROM alerts").fetchall())
