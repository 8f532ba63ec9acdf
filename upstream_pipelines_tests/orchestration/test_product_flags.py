"""Parts of the product that are off for a customer, where Dagster and the command meet them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from typer.testing import CliRunner

from upstream_pipelines.cli.main import app
from upstream_pipelines.customers.audit import operator
from upstream_pipelines.customers.flag_changes import replace_flags
from upstream_pipelines.customers.flags import Flag, ProductOffError
from upstream_pipelines.customers.store import create_customer, get_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.defs.drift_assets import payer_drift
from upstream_pipelines.defs.jobs import drift_sweep
from upstream_pipelines.defs.partitions import customer_partitions
from upstream_pipelines.defs.resources import Platform
from upstream_pipelines.defs.sensors import waiting_uploads
from upstream_pipelines.drift.placebo_store import due_customers
from upstream_pipelines.errors import InvalidInputError, UpstreamError
from upstream_pipelines.ingest.landing import customer_folder
from upstream_pipelines.ingest.missed_uploads import read_arrivals
from upstream_pipelines.operations.status import read_status
from upstream_pipelines.settings import Settings

TODAY = datetime.now(UTC).date()


@pytest.fixture
def platform(platform: Platform, pipeline: Connection, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """With the customers acme and beta."""
    monkeypatch.setenv("UPSTREAM_LANDING_QUIET_SECONDS", "0")
    for slug in ("acme", "beta"):
        create_customer(pipeline, slug, slug.title())
    return platform


def _switch(conn: Connection, *flags: Flag, on: bool = False) -> None:
    replace_flags(conn, operator(), get_customer(conn, "acme"), dict.fromkeys(flags, on))


def _said(*words: str) -> str:
    result = CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})
    if isinstance(result.exception, UpstreamError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def _tick(
    instance: dg.DagsterInstance, platform: Platform, capfd: pytest.CaptureFixture[str]
) -> tuple[set[str], str]:
    """For whom runs are asked for, and what is logged."""
    with dg.build_sensor_context(instance=instance) as context:
        result: Any = waiting_uploads(context, platform=platform)
    asked = {one.partition_key for one in getattr(result, "run_requests", None) or []}
    return asked, "".join(capfd.readouterr())


def test_files_are_left_where_they_are_said_once_and_taken_when_they_are_switched_on(
    settings: Settings, pipeline: Connection, platform: Platform, instance: dg.DagsterInstance, capfd: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    for slug in ("acme", "beta"):
        Path(str(customer_folder(settings, slug)), "a.csv").write_text("payer,cpt,submitted_date,outcome\n")
    _switch(pipeline, "csv_upload")
    asked, log = _tick(instance, platform, capfd)
    assert asked == {"beta"}
    assert "landing folder of acme: 1 files are left where they are, csv_upload is off" in log
    assert "are left where they are" not in _tick(instance, platform, capfd)[1], "that was said"
    assert Path(str(customer_folder(settings, "acme")), "a.csv").exists()
    assert json.loads(_said("status", "--json"))["left_in_landing_zone"] == [{"slug": "acme", "files": 1}]
    assert "upstream customers flags acme --on csv_upload" in _said("status")
    with pytest.raises(ProductOffError, match="csv_upload"):
        _said("upload", "acme", str(customer_folder(settings, "acme") / "a.csv"))
    _switch(pipeline, "csv_upload", on=True)
    assert "acme" in _tick(instance, platform, capfd)[0]
    assert json.loads(_said("status", "--json"))["left_in_landing_zone"] == []


def test_the_sweep_leaves_out_whose_drift_is_off_and_a_look_by_hand_says_so(
    pipeline: Connection, platform: Platform, instance: dg.DagsterInstance
) -> None:
    _switch(pipeline, "drift")
    config = {"ops": {"look_at_customers": {"config": {"as_of": TODAY.isoformat()}}}}
    swept = drift_sweep.execute_in_process(instance=instance, resources={"platform": platform}, run_config=config)
    assert swept.success
    looked = pipeline.execute(
        "SELECT DISTINCT slug FROM drift_looks JOIN customers USING (customer_id)"
    ).fetchall()
    assert looked == [("beta",)]
    instance.add_dynamic_partitions(customer_partitions.name or "", ["acme"])
    by_hand = dg.materialize(
        [payer_drift], instance=instance, resources={"platform": platform}, partition_key="acme", raise_on_error=False,
        selection=[payer_drift],
    )  # fmt: skip
    (failure,) = (event.step_failure_data for event in by_hand.all_events if event.is_step_failure)
    assert "Looking at drift is switched off for customer acme" in str(failure.error)
    with pytest.raises(ProductOffError, match="--on drift"):
        _said("drift", "acme")
    assert [slug for _, slug in due_customers(pipeline, TODAY, 100_000)] == ["beta"], "nor is it measured at night"


def test_who_may_send_nothing_is_not_silent_and_who_is_not_looked_at_is_not_late(
    pipeline: Connection, platform: Platform
) -> None:
    pipeline.execute(
        """INSERT INTO uploads (customer_id, source, sha256, byte_count, status, rows, accepted, received_at)
           SELECT customer_id, 'csv', 'x', 1, 'success', 1, 1, now() - interval '9 days' FROM customers"""
    )
    assert [(one.slug, one.why) for one in read_status(pipeline).failing] == [("acme", "look"), ("beta", "look")]
    _switch(pipeline, "drift", "csv_upload")
    assert [(one.slug, one.why) for one in read_status(pipeline).failing] == [("beta", "look")]
    assert {one.slug for one in read_arrivals(pipeline, TODAY)} == {"acme", "beta"}, "batches may come"
    _switch(pipeline, "webhook_ingest")
    assert {one.slug for one in read_arrivals(pipeline, TODAY)} == {"beta"}


def test_the_command_shows_and_switches_them_and_the_trail_has_it(
    pipeline: Connection, platform: Platform
) -> None:
    assert "reports" in _said("customers", "flags", "acme")
    switched = json.loads(_said("customers", "flags", "acme", "--off", "reports", "--off", "drift", "--json"))
    assert [flag for flag, on in switched["flags"].items() if not on] == ["drift", "reports"]
    assert json.loads(_said("customers", "flags", "acme", "--on", "drift", "--json"))["flags"]["drift"]
    acts = json.loads(_said("audit", "acme", "--action", "product_flags.replaced", "--json"))
    assert [act["details"] for act in acts] == [
        {"on": ["drift"], "off": []},
        {"on": [], "off": ["drift", "reports"]},
    ]
    for words in (["--on", "everything"], ["--on", "drift", "--off", "drift"]):
        with pytest.raises(InvalidInputError):
            _said("customers", "flags", "acme", *words)
