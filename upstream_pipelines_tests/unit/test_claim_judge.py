"""Judging rows: each rule finds what it is for, a reason never holds a value, and real files come out exactly."""

from __future__ import annotations

import io
import os
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pandera.errors
import pytest

from upstream_pipelines.claims.contract import COLUMNS, arrow_type, build_contract, claim_line_columns
from upstream_pipelines.claims.judge import ContractBrokenError, Judge
from upstream_pipelines.claims.mapping import ClaimMapping
from upstream_pipelines.errors import FileRefusedError
from upstream_pipelines.ingest.csv_reader import open_csv

TODAY = date(2026, 11, 24)
GOOD = {
    "claim_id": "C1", "line_number": "1", "payer": "Aetna", "cpt": "99213", "service_date": "2026-01-02",
    "submitted_date": "2026-01-05", "decided_date": "2026-02-01", "payment_date": "2026-02-03", "outcome": "paid",
    "billed_amount": "120.00", "allowed_amount": "100.50", "paid_amount": "90", "denial_reason_code": "",
    "denial_reason_text": "", "units": "1", "authorization_required": "yes",
}  # fmt: skip
DENIED = GOOD | {"outcome": "denied", "denial_reason_code": "CO-197", "payment_date": "", "paid_amount": ""}


def _judge(*rows: dict[str, str], **mapping: Any) -> tuple[pd.DataFrame, pd.DataFrame, Judge]:
    content = pd.DataFrame(list(rows)).to_csv(index=False).encode()
    chosen = ClaimMapping(**mapping)
    judge = Judge(chosen, TODAY)
    judged = [judge.judge(block) for block in open_csv(io.BytesIO(content), chosen).blocks()]
    return (
        pd.concat([block.accepted for block in judged], ignore_index=True),
        pd.concat([block.rejected for block in judged], ignore_index=True),
        judge,
    )


def _failing(judge: Judge) -> dict[str, int]:
    findings = judge.findings()
    found = findings[findings["failing_rows"] > 0]
    return dict(zip(found["rule"], found["failing_rows"], strict=True))


def test_a_good_line_fails_no_rule() -> None:
    accepted, rejected, judge = _judge(GOOD, DENIED)
    assert len(accepted) == 2
    assert rejected.empty
    assert _failing(judge) == {}


@pytest.mark.parametrize(
    ("change", "field", "rule"),
    [
        ({"payer": ""}, "payer", "payer_present"),
        ({"cpt": "~"}, "cpt", "cpt_present"),
        ({"submitted_date": "9999-12-31"}, "submitted_date", "submitted_date_present"),
        ({"decided_date": ""}, "decided_date", "decided_date_present"),
        ({"outcome": "N/A"}, "outcome", "outcome_present"),
        ({"decided_date": "2026-01-04"}, "decided_date", "decided_on_or_after_submitted"),
        ({"payment_date": "2026-11-25"}, "payment_date", "no_future_date"),
        ({"payer": "SMITH, JOHN"}, "payer", "phi_in_payer"),
        ({"payer": "Aetna 123-45-6789"}, "payer", "phi_in_payer"),
        ({"payer": "x" * 300}, "payer", "text_form"),
        ({"service_date": "soon"}, "service_date", "date_form"),
        ({"service_date": "03/04/2026"}, "service_date", "date_order_known"),
        ({"billed_amount": "much"}, "billed_amount", "amount_form"),
        ({"paid_amount": "(5.00)"}, "paid_amount", "amount_not_negative"),
        ({"line_number": "one"}, "line_number", "line_number_form"),
    ],
)
def test_each_error_rejects_its_row_under_field_and_rule_and_no_other_row(
    change: dict[str, str], field: str, rule: str
) -> None:
    accepted, rejected, judge = _judge(GOOD, GOOD | change, GOOD)
    assert accepted["source_row_number"].tolist() == [1, 3]
    assert rejected[["source_row_number", "field", "rule"]].to_dict("records") == [
        {"source_row_number": 2, "field": field, "rule": rule}
    ]
    assert _failing(judge) == {rule: 1}


@pytest.mark.parametrize(
    ("row", "change", "rule"),
    [
        (GOOD, {"cpt": "9921"}, "cpt_form"),
        (DENIED, {"denial_reason_code": "TMF"}, "denial_code_form"),
        (GOOD, {"allowed_amount": "1000000.01"}, "allowed_amount_range"),
        (DENIED, {"denial_reason_text": "call 555-123-4567"}, "phi_in_denial_text"),
        (GOOD, {"outcome": "Appealed"}, "outcome_known"),
        (DENIED, {"denial_reason_code": ""}, "denied_has_reason_code"),
        (GOOD, {"service_date": "2026-01-06"}, "service_on_or_before_submitted"),
        (GOOD, {"payment_date": "2026-01-31"}, "payment_on_or_after_decided"),
        (GOOD, {"facility": "SMITH, JANE"}, "phi_in_facility"),
        (GOOD, {"units": "two"}, "units_form"),
        (GOOD, {"authorization_required": "perhaps"}, "flag_form"),
    ],
)
def test_each_warning_keeps_its_row_and_is_counted(row: dict[str, str], change: dict[str, str], rule: str) -> None:
    accepted, rejected, judge = _judge(row, row | change)
    assert len(accepted) == 2
    assert rejected.empty
    assert _failing(judge) == {rule: 1}
    assert judge.counters().warned == 1
    finding = judge.findings().set_index("rule").loc[rule]
    assert finding["sample_row_numbers"] == [2]


def test_a_pending_line_needs_no_decision_and_keeps_no_denial_rule() -> None:
    accepted, _, judge = _judge(GOOD | {"outcome": "in process", "decided_date": "", "payment_date": ""})
    assert accepted["outcome"].tolist() == ["PENDING"]
    findings = judge.findings().set_index("rule")
    assert findings.loc["decided_date_present", "checked_rows"] == 0


def test_today_itself_is_no_future() -> None:
    assert _failing(_judge(GOOD | {"payment_date": "2026-11-24"})[2]) == {}


def test_the_boundaries_of_allowed_amounts_pass() -> None:
    assert _failing(_judge(GOOD | {"allowed_amount": "0"}, GOOD | {"allowed_amount": "1,000,000.00"})[2]) == {}


def test_a_row_that_fails_several_rules_is_one_rejected_row_with_a_line_for_each() -> None:
    content = GOOD | {"payer": "", "service_date": "2027-01-01", "payment_date": "2027-01-01"}
    _, rejected, judge = _judge(content, GOOD)
    assert sorted(zip(rejected["field"], rejected["rule"], strict=True)) == [
        ("payer", "payer_present"),
        ("payment_date", "no_future_date"),
        ("service_date", "no_future_date"),
    ]
    assert judge.counters().rejected == 1
    assert _failing(judge)["no_future_date"] == 1


def test_a_cell_that_cannot_be_read_is_not_also_missing() -> None:
    _, rejected, judge = _judge(GOOD | {"submitted_date": "soon"})
    assert rejected["rule"].tolist() == ["date_form"]
    assert "submitted_date" not in {name for name, count in judge.counters().missing.items() if count}


def test_empty_cells_are_counted_per_field_also_where_a_rule_rejects_them() -> None:
    rows = [GOOD, GOOD | {"payer": "", "units": "~"}, GOOD | {"decided_date": "9999-12-31", "units": "two"}]
    missing = _judge(*rows)[2].counters().missing
    assert {name: count for name, count in missing.items() if 0 < count < 3} == {
        "payer": 1, "units": 1, "decided_date": 1,
    }  # fmt: skip


def test_a_customer_can_switch_and_grade_rules() -> None:
    row = GOOD | {"cpt": "9921", "decided_date": "2026-01-04", "payer": "SMITH, JOHN"}
    accepted, rejected, judge = _judge(
        row,
        quality={"cpt_form": "error", "decided_on_or_after_submitted": "info", "phi_in_payer": "off"},
    )
    assert accepted.empty
    assert rejected["rule"].tolist() == ["cpt_form"]
    assert judge.counters().warned == 0
    findings = judge.findings().set_index("rule")
    assert findings.loc["decided_on_or_after_submitted", "severity"] == "info"
    assert "phi_in_payer" not in findings.index


def test_all_fourteen_default_rules_are_reported_even_where_nothing_failed() -> None:
    findings = _judge(GOOD)[2].findings()
    assert len(findings) == 17
    assert findings["failing_rows"].tolist() == [0] * 17


def test_at_most_ten_row_numbers_are_kept_as_samples() -> None:
    judge = _judge(*[GOOD | {"payer": ""}] * 25)[2]
    finding = judge.findings().set_index("rule").loc["payer_present"]
    assert finding["failing_rows"] == 25
    assert finding["sample_row_numbers"] == list(range(1, 11))


def test_no_value_of_a_row_is_in_reasons_findings_or_counters() -> None:
    canary = "CANARYVALUE"
    rows = [GOOD | {field: f"{canary}, JOHN 123-45-6789\x01"} for field in GOOD]
    _, rejected, judge = _judge(*rows)
    assert not rejected.empty
    shown = rejected.to_csv() + judge.findings().to_csv() + repr(judge.counters())
    assert canary not in shown
    assert "6789" not in shown


def test_accepted_lines_have_the_columns_and_types_of_the_contract() -> None:
    accepted, _, _ = _judge(GOOD, DENIED)
    assert tuple(accepted.columns) == COLUMNS
    assert [dtype.pyarrow_dtype for dtype in accepted.dtypes] == [arrow_type(name) for name in COLUMNS]
    build_contract(ClaimMapping(), TODAY).validate(accepted.assign(outcome_known=True)[list(COLUMNS)], lazy=True)


@pytest.mark.parametrize(
    "change",
    [
        {"outcome": "paid"},
        {"payer": None},
        {"submitted_date": date(2027, 1, 1)},
        {"decided_date": date(2025, 1, 1)},
        {"source_row_number": 0},
    ],
)
def test_the_contract_alone_refuses_what_may_not_be_stored(change: dict[str, Any]) -> None:
    accepted, _, _ = _judge(GOOD)
    for name, value in change.items():
        accepted[name] = pd.Series([value], dtype=accepted[name].dtype)
    with pytest.raises(pandera.errors.SchemaErrors):
        build_contract(ClaimMapping(), TODAY).validate(accepted, lazy=True)


def test_a_broken_contract_is_raised_without_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pandera's own message quotes the failing rows."""
    judge = Judge(ClaimMapping(), TODAY)
    monkeypatch.setattr(judge, "_checks", [])
    content = pd.DataFrame([GOOD | {"payer": "CANARY, JOHN"}]).to_csv(index=False).encode()
    block = next(open_csv(io.BytesIO(content), ClaimMapping()).blocks())
    with pytest.raises(ContractBrokenError) as broken:
        judge.judge(block)
    assert "CANARY" not in str(broken.value)
    assert broken.value.__cause__ is None
    assert broken.value.__suppress_context__


def test_every_column_has_a_type_and_a_description_for_people() -> None:
    columns = claim_line_columns()
    assert [column.name for column in columns] == list(COLUMNS)
    assert all(column.type and column.description for column in columns)
    types = {column.name: column.type for column in columns}
    assert (types["billed_amount"], types["units"], types["payer"]) == ("numeric(14, 2)", "numeric(12, 3)", "text")


REAL = os.environ.get("UPSTREAM_REAL_DATA")
FOUR_DATES = {
    "columns": {"payer": "insurance_provider", "submitted_date": "submission_date", "decided_date": "decision_date",
                "outcome": "claim_status", "billed_amount": "claim_amount", "allowed_amount": "approved_amount",
                "denial_reason_text": "denial_reason"},
    "no_cpt": True,
}  # fmt: skip


@pytest.mark.skipif(REAL is None, reason="UPSTREAM_REAL_DATA names no folder of real files")
@pytest.mark.parametrize(
    ("name", "mapping", "rows", "pending"),
    [("rcm_analytics/claims_flat.csv", {}, 5515, 450), ("four_dates/claims.csv", FOUR_DATES, 1200, 170)],
)
def test_real_files_are_accepted_to_the_last_row(
    name: str, mapping: dict[str, Any], rows: int, pending: int
) -> None:
    chosen = ClaimMapping.model_validate(mapping)
    judge = Judge(chosen, date.today())
    with (Path(str(REAL)) / name).open("rb") as stream:
        accepted = pd.concat([judge.judge(block).accepted for block in open_csv(stream, chosen).blocks()])
    assert judge.counters().rejected == 0
    assert len(accepted) == rows
    assert (accepted["outcome"] == "PENDING").sum() == pending
    assert accepted["line_key"].is_unique


CMS = {
    "SYNTHETIC_PRAUC.csv": (
        {"columns": {"claim_id": "UTN", "payer": "MAC_ID", "cpt": "HCPCS_OR_CPT_OR_HIPPS",
                     "submitted_date": "PA_REQ_REC_DT", "decided_date": "PA_DECISION_DT", "outcome": "PA_DECISION"},
         "outcomes": {"A": "PAID", "N": "DENIED", "P": "OTHER"}},
        248, 0,
    ),
    "carrier.csv": (
        {"columns": {"claim_id": "CLM_ID", "line_number": "LINE_NUM", "payer": "CARR_NUM", "cpt": "HCPCS_CD",
                     "submitted_date": "CLM_FROM_DT", "decided_date": "NCH_WKLY_PROC_DT",
                     "outcome": "CARR_CLM_PMT_DNL_CD"},
         "outcomes": {"1": "PAID", "0": "DENIED"}},
        12, 209,
    ),
    "SYNTHETIC_CLM.csv": (
        {"columns": {"claim_id": "CLM_UNIQ_ID", "payer": "CLM_CNTRCTR_NUM", "submitted_date": "CLM_FROM_DT",
                     "decided_date": "CLM_PD_DT", "outcome": "CLM_FINL_ACTN_IND", "service_date": "CLM_OBSLT_DT",
                     "provider_npi": "PRVDR_PRSCRBNG_PRVDR_NPI_NUM"},
         "outcomes": {"Y": "PAID", "N": "DENIED"}, "no_cpt": True},
        19, 131,
    ),
}  # fmt: skip


@pytest.mark.skipif(REAL is None, reason="UPSTREAM_REAL_DATA names no folder of real files")
@pytest.mark.parametrize("name", CMS)
def test_dirty_real_files_are_parted_as_their_cells_say(name: str) -> None:
    """Pipes in a .csv, DD-Mon-YYYY, sentinel dates, NPIs as floats; rows without code or decision go."""
    mapping, accepted, rejected = CMS[name]
    chosen = ClaimMapping.model_validate(mapping)
    judge = Judge(chosen, date.today())
    with (Path(str(REAL)) / "cms_synthetic" / name).open("rb") as stream:
        frames = [judge.judge(block).accepted for block in open_csv(stream, chosen).blocks()]
    assert (judge.counters().accepted, judge.counters().rejected) == (accepted, rejected)
    npis = pd.concat(frames)["provider_npi"].dropna()
    assert npis.str.fullmatch(r"\d{10}").all()


@pytest.mark.skipif(REAL is None, reason="UPSTREAM_REAL_DATA names no folder of real files")
def test_every_other_real_file_is_refused_or_loaded_to_the_last_row() -> None:
    for path in sorted(Path(str(REAL)).rglob("*.*")):
        judge = Judge(ClaimMapping(), date.today())
        try:
            with path.open("rb") as stream:
                for block in open_csv(stream, ClaimMapping()).blocks():
                    judge.judge(block)
        except FileRefusedError:
            continue
        assert path.name == "claims_flat.csv"
