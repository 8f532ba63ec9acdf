"""What a file says instead of a header, or beside its headers, reaches no log, event, table, report or command.

Most likely wrong: a message or a fact that repeats a cell of the first row, which is a claim where the header is missing.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from typer.testing import CliRunner

from upstream_pipelines.cli.main import app
from upstream_pipelines.customers.store import create_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.definitions import defs
from upstream_pipelines.defs.jobs import ingest_assets
from upstream_pipelines.defs.partitions import customer_partitions
from upstream_pipelines.defs.resources import Platform
from upstream_pipelines.ingest.landing import customer_folder
from upstream_pipelines.ingest.uploads import register_landed_files
from upstream_pipelines.observability.logging import configure_logging
from upstream_pipelines.settings import Settings

HEADER = "claim_id,payer,cpt,submitted_date,outcome"
ROW = "C1,Aetna,99213,2026-01-05,pending"
CANARIES = ("Zyzzyva", "Quentin", "1931", "7734", "55512")
FILES = {
    "no header": "Zyzzyva,Quentin,1931-02-03,Aetna,99213,paid,772-34-7734\n" * 3,
    "no header, two words": "Quentin Zyzzyva,Claim,Paid,55512\n" * 3,
    "person as header": f"{HEADER},Quentin Zyzzyva,Zyzzyva Quentin Status,7734551931\n{ROW},1,2,3\n",
    "person twice as header": f"{HEADER},Quentin,QUENTIN\n{ROW},1,2\n",
    "person beside a missing column": "claim_id,payer,cpt,outcome,Quentin Zyzzyva DOB 1931\nC1,Aetna,99213,paid,1\n",
    "person in a total": f"{HEADER},note\n{ROW},\nTotal of Zyzzyva,,,,,\n",
    "person in a stray quote": f'{HEADER},note\n{ROW},"Zyzzyva\n' + f"{ROW},Quentin\n" * 120,
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_what_stands_where_headers_should_is_told_nowhere(
    content: str,
    pipeline: Connection,
    settings: Settings,
    platform: Platform,
    instance: dg.DagsterInstance,
    capfd: pytest.CaptureFixture[str],
) -> None:
    configure_logging(settings)
    customer, _ = create_customer(pipeline, "acme", "Acme")
    instance.add_dynamic_partitions(customer_partitions.name or "", ["acme"])
    (Path(str(customer_folder(settings, "acme"))) / "claims.csv").write_text(content)
    (upload_id,) = register_landed_files(pipeline, settings, customer)
    done = defs.resolve_job_def("ingest").execute_in_process(
        instance=instance, partition_key="acme", asset_selection=ingest_assets(["csv"])
    )
    assert done.success
    stored = pipeline.execute(
        "SELECT to_jsonb(u)::text || coalesce((SELECT jsonb_agg(to_jsonb(f)) FROM quality_findings AS f)::text, '')"
        " || coalesce((SELECT jsonb_agg(to_jsonb(r)) FROM rejected_rows AS r)::text, '')"
        " || coalesce((SELECT jsonb_agg(to_jsonb(q)) FROM quality_reports AS q)::text, '')"
        " || coalesce((SELECT jsonb_agg(to_jsonb(a)) FROM alerts AS a)::text, '')"
        "  FROM uploads AS u WHERE upload_id = %s",
        (upload_id,),
    ).fetchone()
    assert stored is not None
    events = "".join(dg.serialize_value(record) for record in instance.all_logs(done.run_id))
    told = {"database": stored[0].replace("\\u", ""), "events": events, "logs": "".join(capfd.readouterr())}
    assert "acme" in told["events"]
    for where, text in told.items():
        found = [canary for canary in CANARIES if canary.lower() in _without_ids(text).lower()]
        assert found == [], where


def _without_ids(text: str) -> str:
    """Ids, digests and times are numbers of their own, and may hold any four digits."""
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\\\\x[0-9a-f]{64}|[0-9a-f]{40,64}", "", text)
    return re.sub(r"\d+\.\d+|\d{4}-\d\d-\d\dT[\d:]+|\d{9,}", "", text)


def test_the_commands_name_such_columns_by_their_place(
    pipeline: Connection, platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPSTREAM_LANDING_QUIET_SECONDS", "0")
    create_customer(pipeline, "acme", "Acme")
    file = tmp_path / "claims.csv"
    file.write_text(FILES["person as header"].replace("7734551931", "Claim Note"))
    answer = CliRunner().invoke(app, ["upload", "acme", str(file), "--json"])
    result: dict[str, Any] = json.loads(answer.stdout)
    assert result["status"] == "success"
    assert result["unused_columns"] == ["column 6", "column 7", "Claim Note"]
