"""Stored quality reports: replaced by a repeated run, summed over a run, invisible to other customers."""

from __future__ import annotations

import io
from datetime import date
from uuid import UUID, uuid4

import pandas as pd
import pytest

from upstream_pipelines.claims.judge import Judge
from upstream_pipelines.claims.mapping import ClaimMapping
from upstream_pipelines.db.engine import Connection, connect, customer_transaction
from upstream_pipelines.errors import NotFoundError
from upstream_pipelines.ingest.csv_reader import open_csv
from upstream_pipelines.quality.report import QualityReport, build_report
from upstream_pipelines.quality.store import latest_findings, load_findings, load_report, save_report
from upstream_pipelines.settings import Settings

HEADER = "payer,cpt,submitted_date,decided_date,outcome"
GOOD = "Aetna,99213,2026-01-05,2026-02-01,paid"
NO_PAYER = ",99213,2026-01-05,2026-02-01,paid"


def _customer(conn: Connection, slug: str) -> int:
    row = conn.execute(
        "INSERT INTO customers (slug, name) VALUES (%s, %s) RETURNING customer_id", (slug, slug)
    ).fetchone()
    assert row is not None
    return int(row[0])


def _upload(conn: Connection, customer_id: int, file_name: str, run_id: str | None = None) -> UUID:
    row = conn.execute(
        "INSERT INTO uploads (customer_id, source, file_name, byte_count, run_id) VALUES (%s, 'csv', %s, 1, %s) "
        "RETURNING upload_id",
        (customer_id, file_name, run_id),
    ).fetchone()
    assert row is not None
    return UUID(str(row[0]))


def _judged(*rows: str) -> tuple[QualityReport, pd.DataFrame]:
    judge = Judge(ClaimMapping(), date(2026, 11, 24))
    for block in open_csv(io.BytesIO("\n".join([HEADER, *rows]).encode()), ClaimMapping()).blocks():
        judge.judge(block)
    counts = judge.counters()
    report = build_report(
        judge.findings(),
        counts,
        rows=counts.rows,
        accepted=counts.accepted,
        rejected=counts.rejected,
        duplicates=0,
    )
    return report, judge.findings()


def test_a_report_comes_back_as_it_was_saved_and_a_repeated_run_replaces_it(pipeline: Connection) -> None:
    customer = _customer(pipeline, "acme")
    upload = _upload(pipeline, customer, "a.csv")
    for rows in ([GOOD, NO_PAYER, "ragged"], [GOOD, GOOD]):
        report, findings = _judged(*rows)
        save_report(pipeline, customer, upload, report, findings)
        assert load_report(pipeline, customer, upload) == report
        stored = pd.DataFrame(load_findings(pipeline, customer, upload))
        expected = findings.sort_values("rule", ignore_index=True)
        assert stored.to_dict("records") == expected.to_dict("records")


def test_the_latest_findings_are_those_of_one_run_summed_per_rule(pipeline: Connection) -> None:
    customer = _customer(pipeline, "acme")
    old = _upload(pipeline, customer, "old.csv", "run-1")
    save_report(pipeline, customer, old, *_judged(NO_PAYER, NO_PAYER, NO_PAYER))
    first, second = (_upload(pipeline, customer, name, "run-2") for name in ("b.csv", "c.csv"))
    save_report(pipeline, customer, first, *_judged(GOOD, NO_PAYER))
    save_report(pipeline, customer, second, *_judged(NO_PAYER, GOOD, NO_PAYER, "ragged"))
    found = {finding["rule"]: finding for finding in latest_findings(pipeline, customer)}
    assert len(found) == 18
    payer = found["payer_present"]
    assert (payer["checked_rows"], payer["failing_rows"], payer["severity"]) == (5, 3, "error")
    assert payer["samples"] == [
        {"upload_id": str(first), "file_name": "b.csv", "rows": [2]},
        {"upload_id": str(second), "file_name": "c.csv", "rows": [1, 3]},
    ]
    assert found["row_shape"]["failing_rows"] == 1
    assert found["cpt_present"]["samples"] == []


def test_uploads_without_a_run_are_each_their_own(pipeline: Connection) -> None:
    customer = _customer(pipeline, "acme")
    for name in ("a.csv", "b.csv"):
        save_report(pipeline, customer, _upload(pipeline, customer, name), *_judged(GOOD, NO_PAYER))
    assert {finding["checked_rows"] for finding in latest_findings(pipeline, customer)} <= {0, 1, 2}


def test_nothing_judged_yet_gives_no_findings_and_a_missing_report_says_so(pipeline: Connection) -> None:
    customer = _customer(pipeline, "acme")
    assert latest_findings(pipeline, customer) == []
    with pytest.raises(NotFoundError, match="no quality report"):
        load_report(pipeline, customer, uuid4())


def test_another_customer_reads_no_report(settings: Settings, pipeline: Connection) -> None:
    acme, other = _customer(pipeline, "acme"), _customer(pipeline, "other")
    upload = _upload(pipeline, acme, "a.csv", "run-1")
    save_report(pipeline, acme, upload, *_judged(GOOD, NO_PAYER))
    with connect(settings, "upstream_api") as conn:
        with customer_transaction(conn, other):
            assert latest_findings(conn, acme) == []
            with pytest.raises(NotFoundError):
                load_report(conn, acme, upload)
        with customer_transaction(conn, acme):
            assert load_report(conn, acme, upload).summary["rows"] == 2
            assert latest_findings(conn, acme)
