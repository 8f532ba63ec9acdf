"""Reading X12 835: what each segment means, and that what is damaged is refused, rejected or told, never lost."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import date
from typing import Any

import pandas as pd
import pytest

from upstream_pipelines.claims.judge import Judge
from upstream_pipelines.claims.mapping import ClaimMapping
from upstream_pipelines.errors import FileRefusedError
from upstream_pipelines.ingest.recognise import source_of
from upstream_pipelines.ingest.remittance_reader import RemittanceFile, open_remittance

TODAY = date(2026, 11, 26)
Build = Callable[..., bytes]
# Names and notes of a patient, in every segment that can hold them.
PATIENT = (
    "NM1*QC*1*CANARY*JOHN****MI*CANARY123~NM1*IL*1*CANARY*MARY****MI*CANARY456~NM1*74*1*CANARY~"
    "NTE*ADD*CANARY PHONED~REF*EA*CANARY789~PER*CX*CANARY*TE*5551234567"
)


def _load(content: bytes, **mapping: Any) -> tuple[RemittanceFile, Judge, pd.DataFrame, pd.DataFrame]:
    file = open_remittance(io.BytesIO(content), TODAY)
    judge = Judge(ClaimMapping(**mapping), TODAY)
    judged = [judge.judge(block) for block in file.blocks()]
    assert sum(block.rows for block in judged) == sum(len(b.accepted) + b.rejected_rows for b in judged)
    frames = [pd.concat([getattr(block, part) for block in judged]) for part in ("accepted", "rejected")]
    return file, judge, frames[0].reset_index(drop=True), frames[1].reset_index(drop=True)


def _line(content: bytes, **mapping: Any) -> dict[str, Any]:
    """The one accepted line: what is filled, as text."""
    accepted = _load(content, **mapping)[2]
    assert len(accepted) == 1
    return {str(name): str(value) for name, value in accepted.iloc[0].items() if not pd.isna(value)}


def _failing(content: bytes, **mapping: Any) -> set[str]:
    findings = _load(content, **mapping)[1].findings()
    return set(findings["rule"][findings["failing_rows"] > 0])


def _claim(status: str = "1", billed: str = "100", paid: str = "80", rest: str = "", of_claim: str = "") -> str:
    """A claim of one service."""
    return (
        f"CLP*A1*{status}*{billed}*{paid}**12*ICN1~{PATIENT}~DTM*050*20260110~{of_claim}~"
        f"SVC*HC:99213:25*{billed}*{paid}**1~DTM*472*20260105~{rest}"
    )


def test_a_paid_line_holds_what_its_segments_say_and_nothing_else(remittance: Build) -> None:
    rest = "CAS*CO*45*15~CAS*PR*2*5~REF*6R*3~AMT*B6*85"
    line = _line(remittance(_claim(rest=rest, of_claim="NM1*82*1*CANARY*DOC****XX*1922164458")))
    expected = {
        "source_row_number": "19", "key_is_natural": "True", "claim_id": "A1", "line_number": "3", "payer": "AETNA",
        "cpt": "99213", "modifiers": "25", "service_date": "2026-01-05", "submitted_date": "2026-01-10",
        "decided_date": "2026-02-03", "payment_date": "2026-02-05", "outcome": "PAID", "billed_amount": "100.00",
        "allowed_amount": "85.00", "paid_amount": "80.00", "units": "1.000", "provider_npi": "1922164458",
        "payer_claim_number": "ICN1", "payer_position": "1", "claim_ordinal": "1", "submitted_stands_in": "False",
    }  # fmt: skip
    assert {name: value for name, value in line.items() if name not in {"line_key", "row_hash"}} == expected


@pytest.mark.parametrize(
    ("claim", "outcome", "code", "allowed"),
    [
        # status, billed, paid, adjustments
        (_claim(), "PAID", None, "100.00"),
        (_claim(rest="CAS*CO*45*20"), "PAID", None, "80.00"),
        (_claim(rest="CAS*CO*45*15**253*1~CAS*PR*3*4"), "PAID", None, "84.00"),
        (_claim(paid="0", rest="CAS*CO*45*20~CAS*PR*1*80"), "PAID", None, "80.00"),
        (_claim(paid="0", rest="CAS*PR*2*60**3*40"), "PAID", None, "100.00"),
        (_claim(paid="0", rest="CAS*CO*45*100"), "PAID", None, "0.00"),
        (_claim(paid="0", rest="CAS*CO*29*100"), "DENIED", "CO-29", None),
        (_claim(paid="0", rest="CAS*CO*45*70~CAS*CO*197*30"), "DENIED", "CO-197", None),
        (_claim(paid="0", rest="CAS*PR*1*70~CAS*PR*96*30"), "DENIED", "PR-96", None),
        (_claim(paid="0", rest="CAS*CO*16*40~CAS*PI*B7*60"), "DENIED", "PI-B7", None),
        (_claim(paid="0", rest="CAS*CO*16*50~CAS*CO*11*50"), "DENIED", "CO-11", None),
        (_claim(paid="0", rest="CAS*OA*94*-9~CAS*CO*45*109"), "PAID", None, "0.00"),
        (_claim(paid="0", rest="CAS*CO*197*100~AMT*B6*0"), "DENIED", "CO-197", "0.00"),
        # Paid in part: not denied, whatever was taken off.
        (_claim(paid="10", rest="CAS*CO*97*90"), "PAID", None, "100.00"),
        # A line without an adjustment of its own is looked at with the claim's.
        (_claim(paid="0", of_claim="CAS*CO*29*100"), "DENIED", "CO-29", None),
        # What an earlier payer decided is no denial of this one.
        (_claim("2", paid="0", rest="CAS*OA*23*100"), "PAID", None, "0.00"),
        (_claim("2", paid="20", rest="CAS*OA*23*80"), "PAID", None, "20.00"),
        (_claim("4", paid="0", rest="CAS*CO*16*100"), "DENIED", "CO-16", None),
        (_claim("4", paid="0", rest="CAS*CO*45*100"), "DENIED", None, None),
        (_claim("4", paid="0"), "DENIED", None, None),
        (_claim("19"), "PAID", None, "100.00"),
        (_claim("21", paid="0", rest="CAS*CO*50*100"), "DENIED", "CO-50", None),
        (_claim("23", paid="0"), "OTHER", None, None),
        (_claim("25", paid="0"), "OTHER", None, None),
        (_claim("10", paid="0"), "PENDING", None, None),
        (_claim("22", billed="-100", paid="-80", rest="CAS*CO*45*-20"), "OTHER", None, None),
    ],
)  # fmt: skip
def test_the_outcome_follows_from_status_payment_and_adjustments(
    remittance: Build, claim: str, outcome: str, code: str | None, allowed: str | None
) -> None:
    line = _line(remittance(claim))
    assert (line["outcome"], line.get("denial_reason_code"), line.get("allowed_amount")) == (
        outcome,
        code,
        allowed,
    )


def test_an_unknown_status_is_other_with_a_warning(remittance: Build) -> None:
    content = remittance(_claim("77"))
    assert _line(content)["outcome"] == "OTHER"
    assert "outcome_known" in _failing(content)


def test_a_pending_line_has_no_decision(remittance: Build) -> None:
    assert "decided_date" not in _line(remittance(_claim("10", paid="0")))


def test_a_reversal_is_paid_nothing_and_keeps_what_was_billed(remittance: Build) -> None:
    line = _line(remittance(_claim("22", billed="-100", paid="-80", rest="CAS*CO*45*-20")))
    assert (line["billed_amount"], line["paid_amount"], line["decided_date"]) == ("100.00", "0.00", "2026-02-03")
    assert "payment_date" not in line


def test_customers_can_say_that_a_reversed_line_is_open_again(remittance: Build) -> None:
    content = remittance(_claim("22", billed="-100", paid="-80"))
    assert _line(content, outcomes={"reversed": "PENDING"})["outcome"] == "PENDING"


def test_a_claim_without_services_is_one_line(remittance: Build) -> None:
    content = remittance("CLP*A1*1*500*300*50*MA*ICN1*11*1~CAS*CO*45*150~CAS*PR*1*50~DTM*232*20260105~AMT*AU*350")
    line = _line(content)
    assert (line["cpt"], line["outcome"], line["service_date"]) == ("UNSPECIFIED", "PAID", "2026-01-05")
    assert (line["billed_amount"], line["allowed_amount"], line["paid_amount"]) == ("500.00", "350.00", "300.00")
    assert "cpt_form" not in _failing(content)


@pytest.mark.parametrize(
    ("dates", "service"),
    [
        ("DTM*472*20260105", "2026-01-05"),
        ("DTM*150*20260106~DTM*151*20260109", "2026-01-06"),
        ("DTM*151*20260109~DTM*472*20260105", "2026-01-05"),
        ("", "2026-01-02"),
    ],
)
def test_the_service_date_is_the_lines_own_or_the_claims(remittance: Build, dates: str, service: str) -> None:
    claim = (
        f"CLP*A1*1*100*80**12*ICN1~DTM*232*20260102~DTM*233*20260109~SVC*HC:99213*100*80**1~{dates}~CAS*CO*45*20"
    )
    line = _line(remittance(claim))
    assert line["service_date"] == service
    # There is no received date (DTM*050): the day of service stands in.
    assert (line["submitted_date"], line["submitted_stands_in"]) == (service, "True")
    assert "submitted_date_sent" in _failing(remittance(claim))


@pytest.mark.parametrize(
    ("production", "payment", "decided", "paid_on", "rule"),
    [
        ("20260203", "20260205", "2026-02-03", "2026-02-05", None),
        # Nobody pays before deciding.
        ("20260203", "20260201", "2026-02-01", "2026-02-01", None),
        ("20260203", "20262301", "2026-02-03", None, "remittance_dates"),
        ("20269903", "20260205", "2026-02-05", "2026-02-05", "remittance_dates"),
        # A transfer that is announced for a day to come.
        ("20261125", "20261130", "2026-11-25", None, "payment_made"),
    ],
)
def test_decided_and_paid_come_from_production_and_payment_date(
    remittance: Build, production: str, payment: str, decided: str, paid_on: str | None, rule: str | None
) -> None:
    content = remittance(_claim(rest="CAS*CO*45*20"), production=production, payment=payment)
    line = _line(content)
    assert (line["decided_date"], line.get("payment_date")) == (decided, paid_on)
    assert _failing(content) == ({rule} if rule else set())


def test_without_a_production_date_the_groups_date_stands_for_it(remittance: Build) -> None:
    content = (
        remittance(_claim(rest="CAS*CO*45*20")).replace(b"DTM*405*20260203~", b"").replace(b"SE*20", b"SE*19")
    )
    assert _line(content)["decided_date"] == "2026-02-03"


def test_equal_lines_of_a_claim_are_told_apart_and_so_is_a_split_line(remittance: Build) -> None:
    services = "SVC*HC:99213*50*40**1~DTM*472*20260105~" * 2
    split = "SVC*HC:99214*50*40**1~DTM*472*20260105~REF*6R*7~" * 2
    accepted = _load(remittance(f"CLP*A1*1*200*160**12*ICN1~{services}{split}CAS*CO*45*40"))[2]
    assert accepted["claim_ordinal"].tolist() == [1, 2, 1, 2]
    assert accepted["line_number"].tolist()[2:] == [7, 7]


def test_a_long_line_reference_is_no_number_of_a_line(remittance: Build) -> None:
    for reference in ("123456789012", "A-7", ""):
        line = _line(remittance(_claim(rest=f"REF*6R*{reference}")))
        assert "line_number" not in line


def test_remark_codes_of_a_denial_are_kept_and_free_text_is_not(remittance: Build) -> None:
    line = _line(remittance(_claim(paid="0", rest="CAS*CO*16*100~LQ*HE*N14~LQ*HE*MA130~LQ*HE*CANARY JOHN")))
    assert line["denial_reason_text"] == "Remark codes: N14 MA130"


@pytest.mark.parametrize(
    ("claim", "rules"),
    [
        (_claim(rest="CAS*CO*45*20"), set()),
        (_claim(rest="CAS*CO*45*19.99"), {"remittance_balances"}),
        (_claim(paid="0", rest="CAS*CO*29*100"), set()),
        ("CLP*A1*1*100*80**12*ICN1~DTM*050*20260110~CAS*CO*45*5~SVC*HC:99213*100*85**1~DTM*472*20260105~CAS*CO*45*15",
         set()),
        ("CLP*A1*1*100*80**12*ICN1~DTM*050*20260110~SVC*HC:99213*100*85**1~DTM*472*20260105~CAS*CO*45*15",
         {"remittance_balances"}),
        (_claim(rest="CAS*CO*45*20").replace("HC:", "HC>").replace(":25", ">25"), {"component_separator"}),
    ],
)  # fmt: skip
def test_what_does_not_balance_or_has_other_separators_is_a_warning(
    remittance: Build, claim: str, rules: set[str]
) -> None:
    content = remittance(claim)
    assert _failing(content) == rules
    line = _line(content)
    assert (line["cpt"], line.get("modifiers")) in {("99213", "25"), ("99213", None)}


@pytest.mark.parametrize("after", ["", "PLB*1234567893*20261231*WO:ABC*100"])
def test_a_wrong_count_of_segments_is_told_on_the_last_claim(remittance: Build, after: str) -> None:
    other = _claim(rest="CAS*CO*45*20").replace("A1", "A2")
    content = remittance(_claim(rest="CAS*CO*45*20"), other, after, segments=99)
    file, judge, accepted, _ = _load(content)
    findings = judge.findings().set_index("rule")
    numbers = findings.loc["remittance_counts", "sample_row_numbers"]
    assert numbers == accepted["source_row_number"].tolist()[1:]
    assert file.detected["envelope_faults"] == 1


@pytest.mark.parametrize(
    ("claim", "field", "rule"),
    [
        ("CLP*A1*1*100*80~SVC*HC*99213*100*80~DTM*472*20260105", "cpt", "service_code_sent"),
        ("CLP*A1*1*100*80~SVC**100*80~DTM*472*20260105", "cpt", "service_code_sent"),
        ("CLP*A1*1*100*80~SVC*HC:*100*80~DTM*472*20260105", "cpt", "service_code_sent"),
        ("CLP*A1*1*100*80~SVC*HC:99213~DTM*472*20260105", "billed_amount", "service_amounts_sent"),
        ("CLP*A1*1**80~DTM*232*20260105", "billed_amount", "service_amounts_sent"),
        ("CLP*A1*1*100*80~SVC*HC:99213*1OO*80~DTM*472*20260105", "billed_amount", "amount_form"),
        ("CLP*A1*1*100*80~SVC*HC:99213*100*-80~DTM*472*20260105", "paid_amount", "amount_not_negative"),
        ("CLP*A1*1*100*0~SVC*HC:99213*100*0~DTM*472*20260105~CAS*CO*CANARY*100", "denial_reason_code",
         "adjustments_readable"),
        ("CLP*A1*1*100*0~SVC*HC:99213*100*0~DTM*472*20260105~CAS*CANARY*45*100", "denial_reason_code",
         "adjustments_readable"),
        ("CLP*A1*1*100*0~CAS*CO*45*1E9999999~SVC*HC:99213*100*0~DTM*472*20260105", "denial_reason_code",
         "adjustments_readable"),
        ("CLP*A1*1*100*80~SVC*HC:99213*100*80~DTM*472*20261399", "service_date", "date_form"),
        ("CLP*A1*1*100*80~SVC*HC:99213*100*80", "submitted_date", "submitted_date_present"),
        ("CLP*A1*1*100*80~DTM*050*20260301~SVC*HC:99213*100*80~DTM*472*20260105", "decided_date",
         "decided_on_or_after_submitted"),
    ],
)  # fmt: skip
def test_a_bad_line_is_rejected_with_field_and_rule_and_the_others_go_on(
    remittance: Build, claim: str, field: str, rule: str
) -> None:
    _, _, accepted, rejected = _load(remittance(claim, _claim().replace("A1", "A2")))
    assert accepted["claim_id"].tolist() == ["A2"]
    assert (field, rule) in set(zip(rejected["field"], rejected["rule"], strict=True))
    assert "CANARY" not in rejected.to_csv()
    assert len(set(rejected["source_row_number"])) == 1


def test_a_payer_without_a_name_goes_by_its_identifier_and_without_both_is_rejected(remittance: Build) -> None:
    assert _line(remittance(_claim(), payer="*XV*87726"))["payer"] == "87726"
    assert _load(remittance(_claim(), payer=""))[3]["rule"].tolist() == ["payer_present"]


def test_a_payers_name_keeps_its_letters_in_either_encoding(remittance: Build) -> None:
    for encoding in ("utf-8", "windows-1252"):
        content = remittance(_claim(), payer="PAYER").replace(b"PAYER", "CAJA DE SALUD PEÑA".encode(encoding))
        assert _line(content)["payer"] == "CAJA DE SALUD PEÑA"


def test_graded_off_or_as_an_error_the_rules_of_remittances_do_as_the_customer_says(remittance: Build) -> None:
    content = remittance("CLP*A1*1*100*80~SVC*HC:99213*100*80~DTM*472*20260105")
    assert _failing(content) == {"submitted_date_sent", "remittance_balances"}
    assert _failing(content, quality={"submitted_date_sent": "off"}) == {"remittance_balances"}
    rejected = _load(content, quality={"remittance_balances": "error"})[3]
    assert rejected["rule"].tolist() == ["remittance_balances"]


ISA = f"ISA*00*{'':10}*00*{'':10}*ZZ*{'S':15}*ZZ*{'R':15}*260203*0330*^*00501*000000001*0*P*:~"
GS, ST = "GS*HP*S*R*20260203*0330*1*X*005010X221A1~", "ST*835*0001~BPR*I*1~N1*PR*AETNA~"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (ISA + GS + "ST*837*0021~BHT*0019~SE*3*0021~GE*1*1~IEA*1*000000001~", ["an 837 (claims), not an 835"]),
        (ISA + GS + "ST*277*0021~SE*2*0021~GE*1*1~IEA*1*000000001~", ["a 277 (claim status)", "835"]),
        (ISA + GS + "ST*CANARY*0021~SE*2*0021~", ["no 835"]),
        ("ST*837*0021~BHT*0019~SE*3*0021~", ["an 837"]),
        (ISA, ["ends after segment 1", "interchange (ISA)"]),
        (ISA + GS + ST + "CLP*CANARY*1*100*80~SVC*HC:992", ["ends after segment 7", "transaction (ST)", "cut short"]),
        (ISA + GS + ST + "CLP*CANARY*1*100*80~" + ISA, ["At segment 7", "interchange begins (ISA) within another"]),
        (ISA + GS + ST + ST, ["At segment 6", "transaction begins (ST) within another"]),
        (ISA + GS + ST + "IEA*1*000000001~", ["At segment 6", "ends (IEA)"]),
        (ISA + GS + "SE*2*0001~", ["At segment 3", "ends (SE)"]),
        (ISA + GS + "CLP*CANARY*1*100*80~", ["outside of any transaction"]),
        (ISA + GS + ST + "SVC*HC:99213*100*80~", ["belongs to no claim"]),
        (ISA + GS + "GE*0*1~IEA*1*000000001~", ["no remittance"]),
        (ISA + GS + ST + "SE*4*0001~GE*1*1~IEA*1*000000001~\nCANARY,1,2", ["After the end of an interchange"]),
        (ISA[:60], ["separators", "ISA"]),
        (ISA.replace("*:~", "*:A"), ["separators", "ISA"]),
        (ISA.replace("*:~", "*~~"), ["separators", "ISA"]),
        (ISA.replace(":~", ":~" + "x" * 70_000), ["no end within"]),
        ("ST*835*0001", ["separators", "ST"]),
        ("", ["no remittance"]),
        ("CANARY", ["does not begin with an interchange"]),
    ],
)  # fmt: skip
def test_a_damaged_file_is_refused_and_told_what_to_do(content: str, says: list[str]) -> None:
    with pytest.raises(FileRefusedError) as refused:
        list(open_remittance(io.BytesIO(content.encode()), TODAY).blocks())
    for words in says:
        assert words in str(refused.value)
    assert "CANARY" not in str(refused.value)
    assert "Ask" in str(refused.value) or "ask" in str(refused.value) or "Send" in str(refused.value)


def test_a_claim_of_endless_services_is_refused_instead_of_held(remittance: Build) -> None:
    with pytest.raises(FileRefusedError, match="more than 9,999 services"):
        _load(remittance("CLP*A1*1*100*80~" + "SVC*HC:99213*100*80~" * 10_001))


def test_a_remittance_without_claims_has_no_rows_and_is_no_error(remittance: Build) -> None:
    file = open_remittance(io.BytesIO(remittance("PLB*1234567893*20261231*WO:ABC*100")), TODAY)
    assert list(file.blocks()) == []
    assert (file.detected["transactions"], file.detected["provider_adjustments"]) == (1, 1)


def test_nothing_of_a_patient_is_in_rows_facts_or_findings(remittance: Build) -> None:
    file, judge, accepted, rejected = _load(
        remittance(
            _claim(), _claim(billed="CANARY", rest="CAS*CO*45*20~LQ*HE*CANARY"), "PLB*CANARY*20261231*WO:CANARY*1"
        )
    )
    told = [accepted.to_csv(), rejected.to_csv(), json.dumps(file.detected), judge.findings().to_csv()]
    assert "CANARY" not in "".join(told)
    assert len(accepted) == 1


@pytest.mark.parametrize(
    ("head", "source"),
    [
        (b"ISA*00*          *", "x12_835"), (b"\xef\xbb\xbf\r\nISA*00*", "x12_835"), (b"ISA|03|", "x12_835"),
        (b"ISA\x1d00\x1d", "x12_835"), (b"ISA,00,", "x12_835"), (b"ISA*", "x12_835"), (b"ST*835*0001~", "x12_835"),
        (b"ST*837*", "x12_835"), (b"ISA,payer,cpt", "csv"), (b"ISA;payer", "csv"), (b"ISAAC,payer", "csv"),
        (b"ISA payer,cpt", "csv"), (b"STATUS,payer", "csv"), (b"claim_id,payer", "csv"), (b"", "csv"), (b"ISA", "csv"),
        (b'"ISA*00*"', "csv"), (b"ISA_ID,payer", "csv"),
    ],
)  # fmt: skip
def test_a_file_is_recognised_by_how_it_begins(head: bytes, source: str) -> None:
    assert source_of(head) == source
