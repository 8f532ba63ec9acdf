"""From remittances to claims: reversals and corrections count once, no payer overwrites another, nothing is doubled."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from upstream_pipelines.claims.merge import merge_upload
from upstream_pipelines.customers.configuration import parse_configuration
from upstream_pipelines.customers.models import Customer
from upstream_pipelines.customers.store import configure_customer, create_customer, get_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.second import SecondConnection
from upstream_pipelines.drift.counting import refresh_activity
from upstream_pipelines.ingest.landing import customer_folder, settled_files
from upstream_pipelines.ingest.merging import merge_staged
from upstream_pipelines.ingest.recognise import SOURCES
from upstream_pipelines.ingest.staging import stage_waiting
from upstream_pipelines.ingest.uploads import (
    get_upload,
    register_landed_files,
    request_customers_with_work,
    send_file,
)
from upstream_pipelines.quality.store import load_report
from upstream_pipelines.settings import Settings

Build = Callable[..., bytes]
DAY = date(2026, 2, 3)


@dataclass
class Ingest:
    """Sends files of one customer and takes them through to claims."""

    conn: Connection
    settings: Settings
    folder: Path
    uploads: list[dict[str, Any]] = field(default_factory=list)

    @property
    def customer(self) -> Customer:
        return get_customer(self.conn, "acme")

    def load(self, content: bytes, name: str | None = None) -> dict[str, Any]:
        path = self.folder / (name or f"file{len(self.uploads)}.835")
        path.write_bytes(content)
        upload_id = send_file(self.conn, self.settings, self.customer, path)
        for source in SOURCES:
            stage_waiting(self.conn, self.settings, self.customer, source=source, run_id="r")
        merge_staged(self.conn, self.settings, self.customer, "r")
        self.uploads.append(get_upload(self.conn, self.customer.customer_id, upload_id))
        return self.uploads[-1]

    def claims(
        self, columns: str = "claim_id, payer_position, outcome, paid_amount::float"
    ) -> list[tuple[Any, ...]]:
        return self.conn.execute(
            f"SELECT {columns} FROM claims ORDER BY claim_id, payer_position, cpt, service_date, claim_key"
        ).fetchall()


@pytest.fixture
def ingest(pipeline: Connection, settings: Settings, tmp_path: Path) -> Ingest:
    create_customer(pipeline, "acme", "Acme")
    folder = tmp_path / "sent"
    folder.mkdir()
    return Ingest(pipeline, settings, folder)


def _claim(
    status: str = "1", paid: str = "80", *, number: str = "ICN1", claim: str = "A1", billed: str = "100",
    adjustments: str = "CAS*CO*45*20", line: str = "REF*6R*1", code: str = "99213",
) -> str:  # fmt: skip
    return (
        f"CLP*{claim}*{status}*{billed}*{paid}**12*{number}~NM1*QC*1*DOE*JANE****MI*CANARY~DTM*050*20260110~"
        f"SVC*HC:{code}*{billed}*{paid}**1~DTM*472*20260105~{adjustments}~{line}"
    )


REVERSAL = _claim("22", "-80", billed="-100", adjustments="CAS*CO*45*-20")
DENIAL = _claim("4", "0", number="ICN2", adjustments="CAS*CO*197*100")


def test_a_reversal_and_its_correction_in_a_later_file_are_one_claim_with_the_last_outcome(
    ingest: Ingest, remittance: Build
) -> None:
    ingest.load(remittance(_claim()))
    assert ingest.claims() == [("A1", 1, "PAID", 80.0)]
    later = ingest.load(remittance(REVERSAL, DENIAL, production="20260303", payment="20260303"))
    assert ingest.claims() == [("A1", 1, "DENIED", 0.0)]
    assert ingest.claims("denial_reason_code, payer_claim_number, version") == [("CO-197", "ICN2", 2)]
    assert (later["rows"], later["accepted"], later["updated"], later["duplicates"]) == (2, 1, 1, 1)
    # What was decided first is kept for drift, and the version that was taken back stays in history.
    assert ingest.claims("first_outcome, first_decided_date") == [("PAID", DAY)]
    (history,) = ingest.conn.execute("SELECT line ->> 'outcome' FROM claim_history").fetchall()
    assert history == ("PAID",)


def test_claims_whose_number_the_payer_never_got_are_told_apart_by_the_payers_own(
    ingest: Ingest, remittance: Build
) -> None:
    sent = [
        _claim(claim="0", number="ICN7"),
        _claim("4", "0", claim="0", number="ICN8", adjustments="CAS*CO*197*100"),
    ]
    ingest.load(remittance(*sent, _claim(claim="00", number="ICN9", paid="70", adjustments="CAS*CO*45*30")))
    assert ingest.claims() == [
        ("ICN:ICN7", 1, "PAID", 80.0), ("ICN:ICN8", 1, "DENIED", 0.0), ("ICN:ICN9", 1, "PAID", 70.0),
    ]  # fmt: skip
    ingest.load(
        remittance(_claim("22", "-80", claim="0", number="ICN7", billed="-100", adjustments="CAS*CO*45*-20"))
    )
    assert ingest.claims()[0] == ("ICN:ICN7", 1, "OTHER", 0.0)


def test_a_reversal_takes_the_decision_back_until_a_correction_comes(ingest: Ingest, remittance: Build) -> None:
    ingest.load(remittance(_claim()))
    ingest.load(remittance(REVERSAL, production="20260303", payment="20260303"))
    assert ingest.claims() == [("A1", 1, "OTHER", 0.0)]
    ingest.load(remittance(_claim(paid="60", number="ICN3", adjustments="CAS*CO*45*40"), payment="20260403"))
    assert ingest.claims() == [("A1", 1, "PAID", 60.0)]
    assert ingest.claims("version, first_outcome, first_paid_amount::float") == [(3, "PAID", 80.0)]


def test_a_secondary_payment_leaves_the_primarys_decision(ingest: Ingest, remittance: Build) -> None:
    ingest.load(remittance(_claim("4", "0", adjustments="CAS*CO*16*100")))
    ingest.load(remittance(_claim("2", "15", number="S1", adjustments="CAS*OA*23*85"), payer="MEDIGAP"))
    ingest.load(remittance(_claim("3", "5", number="T1", adjustments="CAS*OA*23*95"), payer="THIRD"))
    assert ingest.claims() == [("A1", 1, "DENIED", 0.0), ("A1", 2, "PAID", 15.0), ("A1", 3, "PAID", 5.0)]
    assert ingest.claims("payer") == [("AETNA",), ("MEDIGAP",), ("THIRD",)]


@pytest.mark.parametrize("first", ["in an earlier file", "in the same file"])
def test_a_denial_or_reversal_of_a_later_payer_goes_where_its_payment_stands(
    ingest: Ingest, remittance: Build, first: str
) -> None:
    secondary = _claim("2", "15", number="S1", adjustments="CAS*OA*23*85")
    taken_back = _claim("22", "-15", number="S1", billed="-100", adjustments="CAS*OA*23*-85")
    ingest.load(remittance(_claim()))
    if first == "in the same file":
        ingest.load(remittance(secondary, taken_back, payer="MEDIGAP"))
    else:
        ingest.load(remittance(secondary, payer="MEDIGAP"))
        ingest.load(remittance(taken_back, payer="MEDIGAP"))
    assert ingest.claims() == [("A1", 1, "PAID", 80.0), ("A1", 2, "OTHER", 0.0)]


def test_one_payer_for_both_coverages_is_told_apart_by_its_number(ingest: Ingest, remittance: Build) -> None:
    ingest.load(remittance(_claim(), _claim("2", "15", number="S1", adjustments="CAS*OA*23*85")))
    ingest.load(remittance(_claim("22", "-15", number="S1", billed="-100", adjustments="CAS*OA*23*-85")))
    assert ingest.claims() == [("A1", 1, "PAID", 80.0), ("A1", 2, "OTHER", 0.0)]
    ingest.load(remittance(REVERSAL))
    assert ingest.claims() == [("A1", 1, "OTHER", 0.0), ("A1", 2, "OTHER", 0.0)]


def test_a_denial_of_another_payer_does_not_replace_what_the_first_has_decided(
    ingest: Ingest, remittance: Build
) -> None:
    ingest.load(remittance(_claim()))
    ingest.load(remittance(_claim("4", "0", number="S1", adjustments="CAS*CO*22*100"), payer="MEDIGAP"))
    ingest.load(remittance(_claim("4", "0", number="T1", adjustments="CAS*CO*22*100"), payer="THIRD"))
    assert ingest.claims() == [("A1", 1, "PAID", 80.0), ("A1", 2, "DENIED", 0.0), ("A1", 3, "DENIED", 0.0)]


def test_another_spelling_of_the_payer_is_the_same_payer_where_an_alias_says_so(
    ingest: Ingest, remittance: Build
) -> None:
    configure_customer(
        ingest.conn, ingest.customer, parse_configuration({"payer_aliases": {"AETNA LIFE": "AETNA"}}, "test")
    )
    ingest.load(remittance(_claim()))
    ingest.load(remittance(_claim("4", "0", number="X9", adjustments="CAS*CO*16*100"), payer="AETNA LIFE"))
    assert ingest.claims() == [("A1", 1, "DENIED", 0.0)]


def test_lines_without_numbers_are_found_again_in_another_order(ingest: Ingest, remittance: Build) -> None:
    first = (
        "CLP*A1*1*300*240**12*I1~DTM*050*20260110~"
        "SVC*HC:99213*100*80**1~DTM*472*20260105~CAS*CO*45*20~"
        "SVC*HC:99213*100*80**1~DTM*472*20260105~CAS*CO*45*20~"
        "SVC*HC:J1100*100*80**1~DTM*472*20260105~CAS*CO*45*20"
    )
    second = (
        "CLP*A1*1*300*150**12*I2~DTM*050*20260110~"
        "SVC*HC:J1100*100*50**1~DTM*472*20260105~CAS*CO*45*50~"
        "SVC*HC:99213*100*50**1~DTM*472*20260105~CAS*CO*45*50~"
        "SVC*HC:99213*100*50**1~DTM*472*20260105~CAS*CO*45*50"
    )
    ingest.load(remittance(first))
    upload = ingest.load(remittance(second))
    assert ingest.claims("cpt, paid_amount::float") == [("99213", 50.0), ("99213", 50.0), ("J1100", 50.0)]
    assert (upload["accepted"], upload["updated"], upload["duplicates"]) == (3, 3, 0)


def test_a_split_line_keeps_both_its_parts(ingest: Ingest, remittance: Build) -> None:
    part = "SVC*HC:99213*50*40**1~DTM*472*20260105~CAS*CO*45*10~REF*6R*1~"
    content = remittance(f"CLP*A1*1*100*80**12*I1~DTM*050*20260110~{part}{part}")
    ingest.load(content)
    assert ingest.claims("paid_amount::float") == [(40.0,), (40.0,)]


def test_the_same_bytes_and_the_same_interchange_in_another_file_add_nothing(
    ingest: Ingest, remittance: Build
) -> None:
    one, two = remittance(_claim()), remittance(_claim(claim="A2"), control="000000002")
    first = ingest.load(one, "first.edi")
    again = ingest.load(one, "second.txt")
    assert again["duplicate_of"] == first["upload_id"]
    joined = ingest.load(one + b"\n" + two + b"\n" + one)
    assert (joined["rows"], joined["accepted"], joined["duplicates"], joined["updated"]) == (3, 1, 2, 0)
    assert joined["detected"]["repeated_interchanges"] == 1
    assert ingest.claims("claim_id, version") == [("A1", 1), ("A2", 1)]


HEADER = "claim_id,line_number,payer,cpt,service_date,submitted_date,decided_date,outcome,billed_amount,facility,diagnosis_codes"
OPEN = f"{HEADER}\nA1,1,AETNA,99213,2026-01-05,2026-01-08,,pending,100,North Clinic,E11.9\n".encode()


def test_a_remittance_decides_what_a_list_of_open_claims_has_sent(ingest: Ingest, remittance: Build) -> None:
    ingest.load(OPEN, "open.csv")
    ingest.load(remittance(_claim().replace("DTM*050*20260110~", "")))
    assert ingest.claims("outcome, submitted_date, facility, diagnosis_codes, source, version") == [
        ("PAID", date(2026, 1, 8), "North Clinic", "E11.9", "x12_835", 2)
    ]
    # The received date that a remittance does say goes before it.
    ingest.load(remittance(_claim(number="ICN4")))
    assert ingest.claims("submitted_date") == [(date(2026, 1, 10),)]


def test_a_list_that_still_holds_a_decided_claim_as_open_does_not_open_it_again(
    ingest: Ingest, remittance: Build
) -> None:
    ingest.load(OPEN, "open.csv")
    ingest.load(remittance(_claim()))
    upload = ingest.load(OPEN.replace(b"North", b"South"), "next.csv")
    assert (upload["accepted"], upload["duplicates"]) == (0, 1)
    assert ingest.claims("outcome, facility") == [("PAID", "North Clinic")]
    # Nor does its stale row hide a decision that stands above it in the same file.
    header, row = OPEN.decode().splitlines()
    decided = row.replace("North", "West").replace(",,pending", ",2026-01-20,denied")
    upload = ingest.load(f"{header}\n{decided}\n{row}\n".encode(), "both.csv")
    assert (upload["accepted"], upload["updated"], upload["duplicates"]) == (1, 1, 1)
    assert ingest.claims("outcome, facility") == [("DENIED", "West Clinic")]


def test_a_dropped_file_is_a_remittance_by_its_content_whatever_its_name(
    ingest: Ingest, remittance: Build
) -> None:
    folder = Path(str(customer_folder(ingest.settings, "acme")))
    (folder / "remit.csv").write_bytes(remittance(_claim()))
    (folder / "claims.835").write_bytes(OPEN)
    register_landed_files(ingest.conn, ingest.settings, ingest.customer)
    found = ingest.conn.execute("SELECT file_name, source FROM uploads ORDER BY file_name").fetchall()
    assert found == [("claims.835", "csv"), ("remit.csv", "x12_835")]
    (work,) = request_customers_with_work(ingest.conn, 50)
    assert sorted(work.sources) == ["csv", "x12_835"]


def test_a_file_taken_away_while_the_folder_is_looked_at_is_passed_over(
    ingest: Ingest, remittance: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(str(customer_folder(ingest.settings, "acme")))
    (folder / "a.835").write_bytes(remittance(_claim()))
    found = list(settled_files(ingest.settings, "acme"))
    gone = replace(found[0], path=found[0].path.with_name("gone.835"))
    monkeypatch.setattr("upstream_pipelines.ingest.uploads.settled_files", lambda *_: iter([gone, *found]))
    register_landed_files(ingest.conn, ingest.settings, ingest.customer)
    assert ingest.conn.execute("SELECT file_name FROM uploads").fetchall() == [("a.835",)]


def test_a_claim_file_is_refused_and_bad_lines_are_set_apart(ingest: Ingest, remittance: Build) -> None:
    refused = ingest.load(remittance(_claim()).replace(b"ST*835", b"ST*837"))
    assert (refused["status"], refused["error_code"]) == ("failed", "file_refused")
    assert "is an 837 (claims), not an 835" in refused["error_message"]
    partial = ingest.load(remittance(_claim(), _claim(claim="A2", code="")))
    assert (partial["status"], partial["rows"], partial["accepted"], partial["rejected"]) == ("partial", 2, 1, 1)
    assert ingest.conn.execute("SELECT rule, field FROM rejected_rows").fetchall() == [
        ("service_code_sent", "cpt")
    ]


def test_a_file_that_is_cut_short_leaves_nothing_behind(ingest: Ingest, remittance: Build) -> None:
    content = remittance(*(_claim(claim=f"A{n}") for n in range(50)))
    upload = ingest.load(content[: len(content) // 2])
    assert upload["status"] == "failed"
    assert "cut short" in upload["error_message"]
    assert ingest.conn.execute("SELECT count(*) FROM received_lines").fetchone() == (0,)


def test_a_remittance_without_claims_ends_well_with_no_row(ingest: Ingest, remittance: Build) -> None:
    upload = ingest.load(remittance("PLB*1234567893*20261231*WO:ABC*100"))
    assert (upload["status"], upload["rows"], upload["accepted"]) == ("success", 0, 0)


def test_no_table_holds_a_patient_of_the_remittance(ingest: Ingest, remittance: Build) -> None:
    """Every text of every table, but for the name of the file and where it lies."""
    ingest.load(
        remittance(_claim(), _claim(claim="A2", code=""), "NTE*ADD*CANARY", "PLB*CANARY*20261231*WO:CANARY*1")
    )
    tables = ingest.conn.execute(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
    ).fetchall()
    assert len(tables) > 10
    for (table,) in tables:
        if table != "alembic_version":
            rows = ingest.conn.execute(f'SELECT to_jsonb(t)::text FROM "{table}" AS t').fetchall()
            assert "CANARY" not in str(rows), table
            assert "JANE" not in str(rows), table


def test_the_report_and_the_activity_count_remittances_like_other_sources(
    ingest: Ingest, remittance: Build
) -> None:
    upload = ingest.load(remittance(_claim(), _claim("4", "0", claim="A2", adjustments="CAS*CO*197*100")))
    report = load_report(ingest.conn, ingest.customer.customer_id, upload["upload_id"])
    assert (report.summary["rows"], report.summary["accepted"], report.score) == (2, 2, 100.0)
    refresh_activity(ingest.conn, ingest.customer.customer_id)
    rows = ingest.conn.execute(
        "SELECT sum(lines), sum(denied), sum(denied_authorization) FROM payer_activity"
    ).fetchone()
    assert rows == (2, 1, 1)


def test_a_merge_that_is_made_again_changes_nothing(ingest: Ingest, remittance: Build) -> None:
    upload = ingest.load(remittance(REVERSAL, DENIAL, _claim("2", "15", number="S1", adjustments="CAS*OA*23*85")))
    before = ingest.claims("claim_key, row_hash, version, payer_position")
    with SecondConnection(ingest.conn) as second:
        merged = merge_upload(ingest.conn, second, ingest.customer, upload["upload_id"])
    assert (merged.new, merged.updated, merged.duplicates) == (0, 0, 3)
    assert ingest.claims("claim_key, row_hash, version, payer_position") == before


REAL = os.environ.get("UPSTREAM_REAL_DATA")


@pytest.mark.skipif(REAL is None, reason="UPSTREAM_REAL_DATA names no folder of real files")
def test_the_sample_remittances_are_loaded_and_what_repeats_adds_nothing(ingest: Ingest) -> None:
    folder = Path(REAL or "") / "x12_835"
    status = {}
    for path in sorted(folder.glob("*/*")):
        if path.suffix in {".835", ".837", ".txt", ".edi"} and not path.name.startswith("LICENSE"):
            upload = ingest.load(path.read_bytes(), path.name)
            status[path.name] = (upload["status"], upload["rows"], upload["accepted"], upload["rejected"])
            if upload["status"] != "failed":
                assert upload["rows"] == upload["accepted"] + upload["rejected"] + upload["duplicates"]
    assert status == {
        "cob-contractural-adjustment.835": ("success", 1, 1, 0),
        "demo.835": ("success", 2, 2, 0),
        "demo.example1.837": ("failed", None, 0, 0),
        "managed-care.835": ("success", 2, 2, 0),
        # The same bytes as demo.835 under another name.
        "medicare-part-a.835": ("success", 2, 0, 0),
        "secondary-payment.835": ("success", 3, 3, 0),
        "tertiary-payment.835": ("failed", 1, 0, 1),
        "835_mult_loops.txt": ("success", 3, 3, 0),
        "blue_cross_nc_sample.txt": ("partial", 3, 2, 1),
        "emedny_sample.txt": ("partial", 10, 9, 1),
        "united_healthcare_legacy_sample.txt": ("success", 5, 5, 0),
        # The same three claims as emedny_sample.txt, line by line and 156 times.
        "multi-line-not-delimited.edi": ("partial", 10, 0, 1),
        "profee-multiple.edi": ("partial", 1560, 0, 156),
    }
    assert len(ingest.claims()) == 27
