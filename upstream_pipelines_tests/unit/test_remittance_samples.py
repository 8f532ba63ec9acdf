"""The sample remittances of four parsers, line by line, against what their segments say."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from upstream_pipelines.claims.judge import Judge
from upstream_pipelines.claims.mapping import ClaimMapping
from upstream_pipelines.errors import FileRefusedError
from upstream_pipelines.ingest.remittance_reader import RemittanceFile, open_remittance

REAL = os.environ.get("UPSTREAM_REAL_DATA")
TODAY = date(2026, 11, 26)
pytestmark = pytest.mark.skipif(REAL is None, reason="UPSTREAM_REAL_DATA names no folder of real files")

# Claim, number of the line, payer's number, position, ordinal; code, modifiers, service, submitted, decided, payment day;
# outcome, code of the denial; billed, allowed, paid, units. Written from the segments by hand.
TIMBUCKTU = [
    ("666123", None, "1999999444444", 1, 1, "UNSPECIFIED", None, "2002-08-16", "2002-08-16", "2002-09-13", "2002-09-13",
     "PAID", None, "211366.97", "138018.40", "138018.40", None),
    ("777777", None, "1999999444445", 1, 1, "UNSPECIFIED", None, "2002-05-12", "2002-05-12", "2002-09-13", "2002-09-13",
     "PAID", None, "15000.00", "11980.33", "11980.33", None),
]  # fmt: skip
EMEDNY = [
    ("PATIENT ACCOUNT NUMBER", None, "1000210000000030", 1, 1, "V2020", "RB", "2010-01-01", "2010-01-01", "2010-01-01",
     "2010-01-01", "PAID", None, "6.00", "6.00", "6.00", "1.000"),
    ("PATIENT ACCOUNT NUMBER", None, "1000210000000030", 1, 1, "V2700", "RB", "2010-01-01", "2010-01-01", "2010-01-01",
     "2010-01-01", "PAID", None, "2.75", "2.75", "2.75", "1.000"),
    ("PATIENT ACCOUNT NUMBER", None, "1000210000000030", 1, 1, "V2103", "RB", "2010-01-01", "2010-01-01", "2010-01-01",
     "2010-01-01", "PAID", None, "5.50", "5.50", "5.50", "1.000"),
    ("PATIENT ACCOUNT NUMBER", None, "1000210000000030", 1, 1, "S0580", None, "2010-01-01", "2010-01-01", "2010-01-01",
     "2010-01-01", "PAID", None, "20.00", "20.00", "20.00", "2.000"),
    ("PATIENT ACCOUNT NUMBER", None, "1000220000000020", 2, 1, "V2020", None, "2010-01-01", "2010-01-01", "2010-01-01",
     None, "DENIED", "CO-29", "12.00", None, "0.00", "0.000"),
    ("PATIENT ACCOUNT NUMBER", None, "1000220000000020", 2, 1, "V2103", None, "2010-01-01", "2010-01-01", "2010-01-01",
     None, "DENIED", "CO-29", "22.00", None, "0.00", "0.000"),
    ("PATIENT ACCOUNT NUMBER", None, "1000230000000020", 2, 1, "V2020", "RB", "2010-01-01", "2010-01-01", "2010-01-01",
     "2010-01-01", "PAID", None, "6.00", "6.00", "6.00", "1.000"),
    ("PATIENT ACCOUNT NUMBER", None, "1000230000000020", 2, 1, "V2700", "RB", "2010-01-01", "2010-01-01", "2010-01-01",
     None, "DENIED", "CO-251", "2.75", None, "0.00", "0.000"),
    ("PATIENT ACCOUNT NUMBER", None, "1000230000000020", 2, 1, "S0580", None, "2010-01-01", "2010-01-01", "2010-01-01",
     None, "DENIED", "CO-251", "20.00", None, "0.00", "0.000"),
]  # fmt: skip
# Its V2103 was served on 2013-09-17, three years after the remittance that pays it.
EMEDNY_REJECTED = [("decided_date", "decided_on_or_after_submitted")]

SAMPLES: dict[str, tuple[str, list[tuple[Any, ...]], list[tuple[str, str]], list[str]]] = {
    "LinuxForHealth/cob-contractural-adjustment.835": (
        "YOUR TAX DOLLARS AT WORK",
        [("0001000055", None, "50650619501", 2, 1, "55669", None, "2005-02-02", "2005-02-02", "2005-03-18", None,
          "PAID", None, "541.00", "550.00", "34.00", "1.000")],
        [],
        ["component_separator", "submitted_date_sent"],
    ),
    "LinuxForHealth/demo.835": ("INSURANCE COMPANY OF TIMBUCKTU", TIMBUCKTU, [], ["submitted_date_sent"]),
    "LinuxForHealth/medicare-part-a.835": ("INSURANCE COMPANY OF TIMBUCKTU", TIMBUCKTU, [], ["submitted_date_sent"]),
    "LinuxForHealth/managed-care.835": (
        "RUSHMORE LIFE",
        [("5554555444", None, "94060555410000", 1, 1, "99211", None, "2002-03-01", "2002-03-01", "2002-03-14", None,
          "PAID", None, "800.00", "800.00", "500.00", "1.000"),
         ("8765432112", None, "94077799230000", 1, 1, "93555", None, "2002-03-10", "2002-03-10", "2002-03-14", None,
          "PAID", None, "1200.00", "1150.00", "550.00", "1.000")],
        [],
        ["remittance_dates", "submitted_date_sent"],
    ),
    "LinuxForHealth/secondary-payment.835": (
        "YOUR TAX DOLLARS AT WORK",
        [("L0004828311", None, "05090256390", 2, 1, "UNSPECIFIED", None, "2005-03-03", "2005-03-03", "2005-04-12", None,
          "PAID", None, "10323.64", "912.00", "912.00", None),
         ("0001000053", None, "05630626430", 2, 1, "12345", "26", "2005-01-06", "2005-01-06", "2005-04-12", None,
          "PAID", None, "166.50", "150.00", "30.00", "1.000"),
         ("0001000053", None, "05630626430", 2, 1, "66543", "26", "2005-01-06", "2005-01-06", "2005-04-12", None,
          "PAID", None, "585.00", "500.00", "280.00", "1.000")],
        [],
        ["component_separator", "submitted_date_sent"],
    ),
    # SVC*HC*24599.00*...: the code stands where the amount should.
    "LinuxForHealth/tertiary-payment.835": (
        "YOUR TAX DOLLARS AT WORK", [], [("cpt", "service_code_sent")],
        ["remittance_balances", "service_code_sent", "submitted_date_sent"],
    ),
    "azoner/835_mult_loops.txt": (
        "PAYER",
        [("2005555A", None, "4276512332", None, 1, "T1005", None, "2003-11-29", "2003-11-29", "2004-10-28", None,
          "DENIED", "CO-16", "500.04", None, "0.00", "68.000"),
         ("2005555A", None, "4276512332", None, 1, "T1005", None, "2003-10-30", "2003-10-30", "2004-10-28", None,
          "DENIED", "OA-A7", "127.80", None, "0.00", "16.000"),
         ("2005555A", None, "4276512332", None, 1, "T1005", None, "2003-10-31", "2003-10-31", "2004-10-28", None,
          "DENIED", "OA-A7", "287.55", None, "0.00", "36.000")],
        [],
        ["submitted_date_sent"],
    ),
    # No envelope, SE says 33 segments where there are 32, and 59426 has no billed amount.
    "keironstoddart/blue_cross_nc_sample.txt": (
        "BLUE CROSS AND BLUE SHIELD OF NORTH CAROLINA",
        [("200200964A52", 1, "94151100100", 1, 1, "59430", None, "2010-12-31", "2011-01-03", "2011-01-04", "2011-01-08",
          "PAID", None, "1210.00", "1175.40", "1057.86", "1.000"),
         ("200200964A52", 2, "94151100100", 1, 1, "59440", None, "2010-12-31", "2011-01-03", "2011-01-04", "2011-01-08",
          "PAID", None, "890.00", "890.00", "865.00", "1.000")],
        [("billed_amount", "service_amounts_sent")],
        ["remittance_counts", "service_amounts_sent"],
    ),
    "keironstoddart/emedny_sample.txt": (
        "NYSDOH", EMEDNY, EMEDNY_REJECTED, ["decided_on_or_after_submitted", "submitted_date_sent"],
    ),
    "tastypackets/multi-line-not-delimited.edi": (
        "NYSDOH", EMEDNY, EMEDNY_REJECTED, ["decided_on_or_after_submitted", "submitted_date_sent"],
    ),
    "tastypackets/profee-multiple.edi": (
        "NYSDOH", EMEDNY * 156, EMEDNY_REJECTED * 156, ["decided_on_or_after_submitted", "submitted_date_sent"],
    ),
    # The second line is wholly applied to the deductible: paid.
    "keironstoddart/united_healthcare_legacy_sample.txt": (
        "UNITED HEALTHCARE INSURANCE COMPANY",
        [("001-18573-358", None, "ATL2819897200", 1, 1, "B4152", None, "2020-12-21", "2021-01-14", "2021-02-01",
          "2021-02-04", "PAID", None, "156.42", "88.92", "88.92", "234.000"),
         ("001-18573-358", None, "ATL2819897200", 1, 1, "B4152", None, "2021-01-01", "2021-01-14", "2021-02-01",
          None, "PAID", None, "184.86", "105.26", "0.00", "277.000"),
         ("001-18604-358", None, "ATL2819897800", 1, 1, "B4154", None, "2020-12-18", "2021-01-14", "2021-02-01",
          "2021-02-04", "PAID", None, "459.90", "204.18", "204.18", "249.000"),
         ("001-18604-358", None, "ATL2819897800", 1, 1, "B4034", None, "2020-12-18", "2021-01-14", "2021-02-01",
          "2021-02-04", "PAID", None, "27.84", "27.84", "27.84", "12.000"),
         ("001-18604-358", None, "ATL2819897800", 1, 1, "B4154", None, "2021-01-01", "2021-01-14", "2021-02-01",
          "2021-02-04", "PAID", None, "328.50", "144.18", "29.05", "178.000")],
        [],
        [],
    ),
}  # fmt: skip
COLUMNS = [
    "claim_id", "line_number", "payer_claim_number", "payer_position", "claim_ordinal", "cpt", "modifiers",
    "service_date", "submitted_date", "decided_date", "payment_date", "outcome", "denial_reason_code",
    "billed_amount", "allowed_amount", "paid_amount", "units",
]  # fmt: skip


def _read(name: str) -> tuple[RemittanceFile, Judge, pd.DataFrame, pd.DataFrame]:
    judge = Judge(ClaimMapping(), TODAY)
    with (Path(REAL or "") / "x12_835" / name).open("rb") as stream:
        file = open_remittance(stream, TODAY)
        judged = [judge.judge(block) for block in file.blocks(rows=100)]
    accepted = pd.concat([block.accepted for block in judged], ignore_index=True)
    rejected = pd.concat([block.rejected for block in judged], ignore_index=True)
    assert sum(block.rows for block in judged) == len(accepted) + rejected["source_row_number"].nunique()
    return file, judge, accepted, rejected


def _cell(value: Any) -> Any:
    if pd.isna(value):
        return None
    return value if isinstance(value, str | int) else str(value)


@pytest.mark.parametrize("name", SAMPLES)
def test_each_line_of_a_sample_is_what_its_segments_say(name: str) -> None:
    payer, expected, wrong, failing = SAMPLES[name]
    _, judge, accepted, rejected = _read(name)
    assert [tuple(map(_cell, row)) for row in accepted[COLUMNS].to_numpy(dtype=object)] == expected
    assert set(accepted["payer"]) <= {payer}
    assert list(zip(rejected["field"], rejected["rule"], strict=True)) == wrong
    findings = judge.findings()
    assert sorted(findings["rule"][findings["failing_rows"] > 0]) == failing


def test_every_sample_is_tested() -> None:
    folder = Path(REAL or "") / "x12_835"
    files = {str(path.relative_to(folder)) for path in folder.glob("*/*") if not path.name.startswith("LICENSE")}
    assert files - set(SAMPLES) == {"LinuxForHealth/demo.example1.837", "keironstoddart/all_samples.csv"}


def test_interchanges_that_repeat_are_counted_as_such() -> None:
    detected = _read("tastypackets/profee-multiple.edi")[0].detected
    assert (detected["interchanges"], detected["repeated_interchanges"], detected["claims"]) == (156, 155, 468)


def test_a_claim_file_is_told_from_a_remittance() -> None:
    with pytest.raises(FileRefusedError, match=r"is an 837 \(claims\), not an 835"):
        _read("LinuxForHealth/demo.example1.837")


def test_no_name_or_number_of_a_patient_is_read() -> None:
    """Names and ids of NM1*QC and NM1*74 in the samples."""
    for name in SAMPLES:
        file, _, accepted, rejected = _read(name)
        text = f"{accepted.to_csv()}{rejected.to_csv()}{file.detected}"
        for secret in (
            "BURCK", "RAYMOND", "JONES", "666666666A", "BORDER", "BUDD", "33344555510", "TOWNSEND",
            "XXX123456789", "BAKI", "456789123", "ISLAND", "789123456", "BACH", "JOHANN", "00001612", "Dough", "YPB1234",
            "SUBMITTED LAST", "CORRECTED", "LL99999L", "COOL",
        ):  # fmt: skip
            assert secret not in text, (name, secret)
