"""The asset upload_quality lists payers that are spelled otherwise, with the section of YAML that accepts them."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import yaml

from upstream_pipelines.customers.store import create_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.definitions import defs
from upstream_pipelines.defs.jobs import ingest_assets
from upstream_pipelines.defs.partitions import customer_partitions
from upstream_pipelines.defs.resources import Platform
from upstream_pipelines.ingest.landing import customer_folder
from upstream_pipelines.ingest.uploads import register_landed_files
from upstream_pipelines.settings import Settings


def test_the_suggested_aliases_stand_in_the_metadata_of_upload_quality(
    pipeline: Connection, settings: Settings, platform: Platform, instance: dg.DagsterInstance
) -> None:
    customer, _ = create_customer(pipeline, "acme", "Acme")
    instance.add_dynamic_partitions(customer_partitions.name or "", ["acme"])
    lines = [
        f"C{number},{payer},99213,2026-01-05,pending"
        for number, payer in enumerate(
            ["Aetna"] * 11 + ["AETNA"] + ["Maria Johnsoncanary"] * 2 + ["Marie Johnsoncanary"]
        )
    ]
    text = "\n".join(["claim_id,payer,cpt,submitted_date,outcome", *lines])
    (Path(str(customer_folder(settings, "acme"))) / "claims.csv").write_text(text)
    register_landed_files(pipeline, settings, customer)
    done = defs.resolve_job_def("ingest").execute_in_process(
        instance=instance, partition_key="acme", asset_selection=ingest_assets(["csv"])
    )
    assert done.success
    event = instance.get_latest_materialization_event(dg.AssetKey("upload_quality"))
    assert event is not None
    assert event.asset_materialization is not None
    shown = {name: value.value for name, value in event.asset_materialization.metadata.items()}
    assert "| AETNA | Aetna | 1 |" in str(shown["payers spelled otherwise"])
    assert yaml.safe_load(str(shown["aliases to accept"])) == {"payer_aliases": {"AETNA": "Aetna"}}
    assert "payer_spelling" in str(shown["rules"])
    # Two names of few lines that are alike may be a patient's.
    assert "canary" not in str(shown)
    assert str(shown["further spellings"]).startswith("1 of payers of few lines")
