"""The report of an upload: counts that add up, a score that falls with what is wrong, no value of any claim."""

from __future__ import annotations

import io
import json
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upstream_pipelines.claims.judge import Judge
from upstream_pipelines.claims.mapping import ClaimMapping
from upstream_pipelines.ingest.csv_reader import open_csv
from upstream_pipelines.quality.report import WEIGHTS, QualityReport, build_report, with_duplicates

HEADER = "payer,cpt,submitted_date,decided_date,outcome,denial_reason_code"
GOOD = "Aetna,99213,2026-01-05,2026-02-01,paid,"


def _report(*rows: str, duplicates: int = 0, header: str = HEADER, **mapping: Any) -> QualityReport:
    chosen = ClaimMapping(**mapping)
    judge = Judge(chosen, date(2026, 11, 24))
    for block in open_csv(io.BytesIO("\n".join([header, *rows]).encode()), chosen).blocks():
        judge.judge(block)
    counters = judge.counters()
    return build_report(
        judge.findings(), counters, rows=counters.rows, accepted=counters.accepted - duplicates,
        rejected=counters.rejected, duplicates=duplicates,
    )  # fmt: skip


def test_a_clean_upload_scores_one_hundred_in_everything() -> None:
    report = _report(GOOD, GOOD)
    assert report.score == 100
    assert report.dimensions == dict.fromkeys(WEIGHTS, 100.0)
    assert report.summary["failures"] == []


def test_a_score_is_one_hundred_only_where_nothing_failed() -> None:
    clean = _report(GOOD, GOOD)
    large = clean.model_copy(
        update={"summary": clean.summary | {"rows": 10**6, "accepted": 10**6 - 1, "rejected": 1}}
    )
    assert with_duplicates(large, 0).score == 99.99
    assert with_duplicates(clean, 0).score == 100


def test_each_fault_lowers_its_own_dimension() -> None:
    for row, dimension in (
        ("Aetna,99213,2026-01-05,,paid,", "completeness"),
        ("Aetna,9921,2026-01-05,2026-02-01,paid,", "validity"),
        ("Aetna,99213,2026-02-05,2026-02-01,paid,", "consistency"),
        ("Aetna,99213,2026-01-05,2027-02-01,paid,", "timeliness"),
    ):
        dimensions = _report(GOOD, row).dimensions
        assert {name for name, share in dimensions.items() if share < 100} == {dimension}
    assert _report(GOOD, GOOD, duplicates=1).dimensions["uniqueness"] == 50


def test_an_error_weighs_three_warnings_and_an_information_nothing() -> None:
    wrong = "Aetna,9921,2026-01-05,2026-02-01,paid,"
    lost = {grade: 100 - _report(GOOD, wrong, quality={"cpt_form": grade}).dimensions["validity"]
            for grade in ("error", "warning", "info")}  # fmt: skip
    assert lost["error"] > lost["warning"] > lost["info"] == 0


def test_an_upload_without_a_usable_row_scores_nothing() -> None:
    assert _report("ragged", "also,ragged").score == 0


def test_the_summary_names_rules_fields_and_advice_and_can_be_stored() -> None:
    report = _report("Aetna,99213,soon,2026-02-01,paid,", "SMITH; JANE,99213,2026-01-05,,Denied,", "ragged")
    summary = json.loads(json.dumps(report.summary))
    assert (summary["rows"], summary["rejected"], summary["invalid_dates"]) == (3, 3, 1)
    assert {failure["rule"] for failure in summary["failures"]} >= {
        "date_form",
        "row_shape",
        "decided_date_present",
    }
    assert all(failure["advice"] for failure in summary["failures"])
    assert "SMITH" not in json.dumps(summary)


def test_personal_data_is_counted_by_rule() -> None:
    assert _report('"SMITH, JANE",99213,2026-01-05,2026-02-01,paid,').summary["phi"] == {"phi_in_payer": 1}


def test_counts_that_do_not_add_up_are_refused() -> None:
    judge = Judge(ClaimMapping(), date(2026, 11, 24))
    with pytest.raises(ValueError, match="3 rows are not"):
        build_report(judge.findings(), judge.counters(), rows=3, accepted=1, rejected=1, duplicates=0)


_ROWS = st.lists(
    st.sampled_from([GOOD, "ragged", "Aetna,9921,2026-01-05,2026-02-01,paid,", "~,,,,,", "A,99213,x,y,z,",
                     "Aetna,99213,2026-01-05,2026-02-01,denied,"]),
    min_size=1, max_size=12,
)  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(_ROWS)
def test_scores_stay_between_zero_and_one_hundred_and_a_good_row_never_lowers_them(rows: list[str]) -> None:
    before, after = _report(*rows), _report(*rows, GOOD)
    for report in (before, after):
        assert all(0 <= share <= 100 for share in (report.score, *report.dimensions.values()))
    assert after.score >= before.score - 0.01


def test_an_empty_frame_of_findings_is_no_fault() -> None:
    judge = Judge(ClaimMapping(), date(2026, 11, 24))
    report = build_report(judge.findings(), judge.counters(), rows=0, accepted=0, rejected=0, duplicates=0)
    assert report.score == 100
    assert isinstance(judge.findings(), pd.DataFrame)


def test_the_guide_says_how_the_score_is_made_up_and_its_example_is_that_of_its_own_file() -> None:
    guide = Path(__file__).parents[2] / "docs" / "guide"
    told = " ".join((guide / "configuration.md").read_text().split())
    first = (guide / "first_customer.md").read_text()
    assert f"({', '.join(f'{name} {weight * 100:.0f} %' for name, weight in WEIGHTS.items())})" in told
    sent = first.split("cat > claims.csv <<END\n")[1].split("END\n")[0]
    header, *rows = sent.splitlines()
    report = _report(*rows, header=header)
    assert {name for name, share in report.dimensions.items() if share < 100} == {"validity"}
    assert f"validity is {report.dimensions['validity']} and all else 100" in told
    times = "\N{MULTIPLICATION SIGN}"
    products = " + ".join(f"{weight} {times} {report.dimensions[name]:g}" for name, weight in WEIGHTS.items())
    accepted = report.summary["accepted"]
    assert f"({products}) {times} {accepted}/{len(rows)} = {report.score}." in told
    assert f"\n{report.score}\n" in first
