"""`upstream uploads`, as typed: what came, and what became of one upload, refused or in part."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from typer.testing import CliRunner

from upstream_pipelines.cli.main import app
from upstream_pipelines.customers.models import Customer
from upstream_pipelines.customers.store import create_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.defs.tables import uploads_table
from upstream_pipelines.errors import ConflictError, NotFoundError, UpstreamError
from upstream_pipelines.ingest.inbox import upload_status
from upstream_pipelines.ingest.merging import merge_staged
from upstream_pipelines.ingest.staging import stage_waiting
from upstream_pipelines.ingest.upload_pages import UploadFilter, uploads_page
from upstream_pipelines.ingest.uploads import send_file, uploads_of_run
from upstream_pipelines.operations.trace import trace
from upstream_pipelines.reports.content import read_content
from upstream_pipelines.reports.models import Period
from upstream_pipelines.settings import Settings

HEADER = "claim_id,line_number,payer,cpt,submitted_date,decided_date,outcome"


@pytest.fixture
def customer(pipeline: Connection, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Customer:
    assert settings.database_url is not None
    monkeypatch.setenv("UPSTREAM_DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setenv("UPSTREAM_HOME", str(settings.home))
    return create_customer(pipeline, "acme", "Acme")[0]


def _said(*words: str) -> str:
    result = CliRunner().invoke(app, ["uploads", "acme", *words], env={"COLUMNS": "200"})
    if isinstance(result.exception, UpstreamError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def _send(conn: Connection, settings: Settings, customer: Customer, file: Path, *lines: str) -> str:
    file.write_text("\n".join([*lines, ""]))
    upload_id = send_file(conn, settings, customer, file)
    stage_waiting(conn, settings, customer, run_id="r", source="csv")
    merge_staged(conn, settings, customer, "r")
    return str(upload_id)


def test_people_find_what_came_and_why_rows_or_a_whole_file_were_refused(
    pipeline: Connection, settings: Settings, customer: Customer, tmp_path: Path
) -> None:
    assert "Nothing has come for acme yet" in _said()
    partly = _send(
        pipeline, settings, customer, tmp_path / "jane-canary.csv", HEADER,
        "A,1,Aetna,99213,2026-01-05,2026-02-01,PAID", "B,1,,99213,2026-01-05,2026-02-01,PAID",
    )  # fmt: skip
    refused = _send(pipeline, settings, customer, tmp_path / "other.csv", "a,b", "1,2")
    listed = json.loads(_said("--json"))
    assert [(one["upload_id"], one["status"], one["error_code"] is None) for one in listed] == [
        (refused, "failed", False), (partly, "partial", True),
    ]  # fmt: skip
    assert partly[:8] in _said()
    one = json.loads(_said(partly[:8], "--json"))
    assert (one["rows"], one["accepted"], one["rejected"]) == (2, 1, 1)
    assert [(item["rule"], item["row_numbers"]) for item in one["rejections"]] == [("payer_present", [2])]
    assert "payer_present" in _said(partly[:8].upper())
    assert json.loads(_said(refused[:8], "--json"))["error"]
    assert "canary" not in _said() + _said(partly, "--json"), "a customer may name a file after a patient"
    assert _said(partly).rstrip().endswith("jane-canary.csv"), "who asks for one upload is told where its file is"


def test_rows_that_were_not_counted_are_none_and_not_zero(
    pipeline: Connection, settings: Settings, customer: Customer, tmp_path: Path
) -> None:
    """A file of two rows was told as one of none, wherever it was looked up."""
    unread = _send(pipeline, settings, customer, tmp_path / "other.csv", "a,b", "1,2", "3,4")
    bad = "B,1,,99213,2026-01-05,2026-02-01,PAID"
    none_good = _send(pipeline, settings, customer, tmp_path / "bad.csv", HEADER, bad, bad.replace("B", "C"))
    assert {one["upload_id"]: (one["status"], one["rows"]) for one in json.loads(_said("--json"))} == {
        unread: ("failed", None), none_good: ("failed", 2),
    }  # fmt: skip
    assert json.loads(_said(unread, "--json"))["rows"] is None
    assert re.search(r"rows +│ - ", _said(unread))
    assert upload_status(pipeline, customer.customer_id, UUID(unread)).rows is None
    page, _ = uploads_page(pipeline, customer.customer_id, UploadFilter(), limit=10)
    assert {str(one.upload_id): one.rows for one in page} == {unread: None, none_good: 2}
    now = datetime.now(UTC)
    report = read_content(pipeline, customer, Period(now.date(), now.date() + timedelta(days=1)), now)
    assert {one.upload_id: one.rows for one in report.uploads} == {unread: None, none_good: 2}
    assert trace(pipeline, unread).uploads[0]["rows"] is None
    ran = uploads_of_run(pipeline, customer.customer_id, "r", ["csv"])
    assert {str(one["upload_id"]): one["rows"] for one in ran} == {unread: None, none_good: 2}
    assert f"| {unread[:8]} | csv | failed | - |" in (uploads_table(ran).md_str or "")


def test_an_upload_is_named_by_the_beginning_of_its_id_where_that_is_one(
    pipeline: Connection, settings: Settings, customer: Customer, tmp_path: Path
) -> None:
    upload = _send(pipeline, settings, customer, tmp_path / "a.csv", HEADER)
    pipeline.execute("DELETE FROM upload_runs")  # they refer to the ids that change here
    pipeline.execute("UPDATE uploads SET upload_id = %s", (upload[:-1] + ("0" if upload[-1] != "0" else "1"),))
    _send(pipeline, settings, customer, tmp_path / "b.csv", HEADER, "")
    pipeline.execute("DELETE FROM upload_runs")
    pipeline.execute("UPDATE uploads SET upload_id = %s WHERE file_name = 'b.csv'", (upload,))
    with pytest.raises(ConflictError, match="More than one upload"):
        _said(upload[:8])
    for unknown in ("ffffffff-0000", "%", "not-an-id"):
        with pytest.raises(NotFoundError, match="`upstream uploads SLUG`"):
            _said(unknown)
