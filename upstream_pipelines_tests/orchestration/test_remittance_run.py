"""A remittance in the landing zone becomes a run of its own asset, and what people see of it is told like a file's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from typer.testing import CliRunner

from upstream_pipelines.cli.main import app
from upstream_pipelines.customers.store import create_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.definitions import defs
from upstream_pipelines.defs.partitions import customer_partitions
from upstream_pipelines.defs.resources import Platform
from upstream_pipelines.defs.sensors import waiting_uploads
from upstream_pipelines.ingest.landing import customer_folder
from upstream_pipelines.settings import Settings

Build = Callable[..., bytes]
CLAIMS = (
    "CLP*A1*1*100*80**12*I1~NM1*QC*1*CANARY*JOHN~DTM*050*20260110~SVC*HC:99213*100*80**1~DTM*472*20260105~CAS*CO*45*20",
    "CLP*A2*4*50*0**12*I2~DTM*050*20260110~SVC*HC:99214*50*0**1~DTM*472*20260105~CAS*CO*197*50",
    "CLP*A3*1*50*50**12*I3~DTM*050*20260110~SVC*HC*50*50**1~DTM*472*20260105",
)


@pytest.fixture
def folder(
    pipeline: Connection, settings: Settings, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The landing folder of a customer whose partition exists."""
    monkeypatch.setenv("UPSTREAM_LANDING_QUIET_SECONDS", "0")
    create_customer(pipeline, "acme", "Acme")
    instance.add_dynamic_partitions(customer_partitions.name or "", ["acme"])
    return Path(str(customer_folder(settings, "acme")))


def _requests(instance: dg.DagsterInstance, platform: Platform) -> list[dg.RunRequest]:
    with dg.build_sensor_context(instance=instance) as context:
        result: Any = waiting_uploads(context, platform=platform)
    return list(result.run_requests)


def _shown(instance: dg.DagsterInstance, asset: str) -> dict[str, Any]:
    event = instance.get_latest_materialization_event(dg.AssetKey(asset))
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.partition == "acme"
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def test_a_dropped_remittance_is_read_by_its_asset_and_merged_and_reported(
    folder: Path, pipeline: Connection, platform: Platform, instance: dg.DagsterInstance, remittance: Build
) -> None:
    (folder / "remit.txt").write_bytes(remittance(*CLAIMS))
    (request,) = _requests(instance, platform)
    assert {key.to_user_string() for key in request.asset_selection or ()} == {
        "remittances", "claims", "upload_quality", "payer_activity",
    }  # fmt: skip
    done = defs.resolve_job_def("ingest").execute_in_process(
        instance=instance, partition_key="acme", asset_selection=list(request.asset_selection or ())
    )
    assert done.success
    shown = _shown(instance, "remittances")
    assert (shown["uploads"], shown["dagster/row_count"], shown["rejected rows"]) == (1, 3, 1)
    assert "service_code_sent" in shown["rejected"]
    assert _shown(instance, "claims")["new lines"] == 2
    quality = _shown(instance, "upload_quality")
    assert "x12_835" in quality["scores"]
    assert "remittance_balances" in quality["rules"]
    outcomes = pipeline.execute(
        "SELECT claim_id, outcome, denial_reason_code FROM claims ORDER BY claim_id"
    ).fetchall()
    assert outcomes == [("A1", "PAID", None), ("A2", "DENIED", "CO-197")]
    events = instance.all_logs(done.run_id)
    assert len(events) > 5
    assert "CANARY" not in "".join(dg.serialize_value(event) for event in events)


def test_a_file_and_a_remittance_of_one_customer_are_one_run_with_both_assets(
    folder: Path, platform: Platform, instance: dg.DagsterInstance, remittance: Build
) -> None:
    (folder / "remit.835").write_bytes(remittance(*CLAIMS))
    (folder / "claims.csv").write_text("payer,cpt,submitted_date,outcome\nAetna,99213,2026-01-05,pending\n")
    (request,) = _requests(instance, platform)
    assert {"csv_claims", "remittances"} <= {key.to_user_string() for key in request.asset_selection or ()}


def test_a_refused_remittance_says_why_in_the_table_of_uploads(
    folder: Path, platform: Platform, instance: dg.DagsterInstance, remittance: Build
) -> None:
    (folder / "remit.835").write_bytes(remittance(*CLAIMS).replace(b"ST*835", b"ST*837"))
    (request,) = _requests(instance, platform)
    done = defs.resolve_job_def("ingest").execute_in_process(
        instance=instance, partition_key="acme", asset_selection=list(request.asset_selection or ())
    )
    assert done.success
    shown = _shown(instance, "remittances")
    assert shown["refused"] == 1
    assert "is an 837 (claims), not an 835" in shown["uploads of this run"]


def test_the_upload_command_takes_a_remittance(
    pipeline: Connection, platform: Platform, tmp_path: Path, remittance: Build
) -> None:
    create_customer(pipeline, "acme", "Acme")
    file = tmp_path / "remit.edi"
    file.write_bytes(remittance(*CLAIMS))
    done = CliRunner().invoke(app, ["upload", "acme", str(file), "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["status"], said["rows"], said["accepted"], said["rejected"]) == ("partial", 3, 2, 1)
    assert [item["rule"] for item in said["rejections"]] == ["service_code_sent"]
