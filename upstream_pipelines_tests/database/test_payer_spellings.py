"""A payer spelled otherwise becomes a finding of its upload; accepted as an alias it reaches the stored claims."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from typer.testing import CliRunner

from upstream_pipelines.claims.naming import apply_changed_mapping
from upstream_pipelines.cli.main import app
from upstream_pipelines.customers.configuration import parse_configuration
from upstream_pipelines.customers.store import configure_customer, create_customer, get_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.drift.counting import refresh_activity
from upstream_pipelines.errors import NotFoundError
from upstream_pipelines.ingest.merging import merge_staged
from upstream_pipelines.ingest.staging import stage_waiting
from upstream_pipelines.ingest.uploads import send_file
from upstream_pipelines.quality.store import load_findings, note_payer_spellings
from upstream_pipelines.settings import Settings

HEADER = "claim_id,payer,cpt,submitted_date,outcome"


@pytest.fixture(autouse=True)
def _command_finds_the_database(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.database_url is not None
    monkeypatch.setenv("UPSTREAM_DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setenv("UPSTREAM_HOME", str(settings.home))


def _load(conn: Connection, settings: Settings, tmp_path: Path, *payers: str) -> UUID:
    file = tmp_path / "claims.csv"
    lines = [f"{payers[0]}{number},{payer},99213,2026-01-05,pending" for number, payer in enumerate(payers)]
    file.write_text("\n".join([HEADER, *lines]))
    customer = get_customer(conn, "acme")
    upload_id = send_file(conn, settings, customer, file)
    stage_waiting(conn, settings, customer, source="csv", run_id="run")
    merge_staged(conn, settings, customer, "run")
    return upload_id


def _finding(conn: Connection, upload_id: UUID) -> dict[str, Any] | None:
    customer = get_customer(conn, "acme")
    note_payer_spellings(conn, customer, upload_id)
    found = {finding["rule"]: finding for finding in load_findings(conn, customer.customer_id, upload_id)}
    return found.get("payer_spelling")


def _names(conn: Connection) -> list[str]:
    return [row[0] for row in conn.execute("SELECT DISTINCT payer_name FROM claims ORDER BY 1").fetchall()]


def _aliases(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["customers", "aliases", "acme", *arguments], catch_exceptions=False)


def test_a_spelling_becomes_a_finding_and_once_accepted_one_payer(
    pipeline: Connection, settings: Settings, tmp_path: Path
) -> None:
    create_customer(pipeline, "acme", "Acme")
    _load(pipeline, settings, tmp_path, *["Aetna"] * 5, "Humana")
    refresh_activity(pipeline, get_customer(pipeline, "acme").customer_id)
    upload_id = _load(pipeline, settings, tmp_path, "Humana", "AETNA INC", "AETNA INC", "Medicare")
    found = _finding(pipeline, upload_id)
    assert found is not None
    assert (found["field"], found["severity"], found["checked_rows"], found["failing_rows"]) == (
        "payer",
        "warning",
        4,
        2,
    )
    assert found["sample_row_numbers"] == [2, 3]
    assert _names(pipeline) == ["AETNA INC", "Aetna", "Humana", "Medicare"]

    told = json.loads(_aliases("--json").stdout)
    assert [(item["spelling"], item["payer"], item["lines"]) for item in told["suggestions"]] == [
        ("AETNA INC", "Aetna", 2)
    ]
    assert told["accepted"] == {}
    assert _names(pipeline) == ["AETNA INC", "Aetna", "Humana", "Medicare"]
    with pytest.raises(NotFoundError, match="Not suggested: Medicare"):
        _aliases("--accept", "Medicare")
    assert (
        "reach the stored claims by a run that starts within a minute" in _aliases("--accept", "AETNA INC").stdout
    )
    customer = get_customer(pipeline, "acme")
    assert customer.configuration.mapping.payer_aliases == {"AETNA INC": "Aetna"}
    assert apply_changed_mapping(pipeline, customer) == 2
    assert _names(pipeline) == ["Aetna", "Humana", "Medicare"]
    assert _finding(pipeline, upload_id) is None
    assert json.loads(_aliases("--json").stdout)["suggestions"] == []


def test_the_section_that_is_shown_does_the_same_by_the_configuration_file(
    pipeline: Connection, settings: Settings, tmp_path: Path
) -> None:
    create_customer(pipeline, "acme", "Acme")
    _load(pipeline, settings, tmp_path, "Aetna", "Aetna", "AETNA INC")
    file = tmp_path / "acme.yaml"
    file.write_text(json.loads(_aliases("--json").stdout)["yaml"])
    assert CliRunner().invoke(app, ["customers", "configure", "acme", "--file", str(file)]).exit_code == 0
    assert apply_changed_mapping(pipeline, get_customer(pipeline, "acme")) == 1
    assert _names(pipeline) == ["Aetna"]


def test_a_customer_can_switch_the_rule_off_and_not_make_it_an_error(
    pipeline: Connection, settings: Settings, tmp_path: Path
) -> None:
    create_customer(pipeline, "acme", "Acme")
    upload_id = _load(pipeline, settings, tmp_path, "Aetna", "Aetna", "AETNA INC")
    customer = get_customer(pipeline, "acme")
    configure_customer(pipeline, customer, parse_configuration({"quality": {"payer_spelling": "off"}}, "test"))
    assert _finding(pipeline, upload_id) is None
    with pytest.raises(Exception, match="stored already"):
        parse_configuration({"quality": {"payer_spelling": "error"}}, "test")
