"""A preview reads as the ingest does, needs no database, shows no value, and writes a mapping that the product takes."""

from __future__ import annotations

import gzip
import io
import json
import re
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from upstream_pipelines.claims.judge import Judge
from upstream_pipelines.claims.mapping import ClaimMapping
from upstream_pipelines.cli.main import app
from upstream_pipelines.customers.configuration import CustomerConfiguration, read_configuration_file
from upstream_pipelines.customers.store import create_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.ingest.csv_reader import open_csv
from upstream_pipelines.ingest.preview import mapping_file, preview
from upstream_pipelines.settings import Settings

TODAY = date(2026, 11, 24)
HEADER = "Claim No,Insurance,Proc,Sub Date,Decision,Status,Quentin Zyzzyva"
ROWS = [
    "C1,Aetna,99213,01/15/2026,02/01/2026,paid,CANARY",
    "C2,CANARYPAYER,99213,01/15/2026,,paid,CANARY",
    "C3,Aetna,CANARYCODE,01/15/2026,02/01/2026,CANARYWORD,CANARY",
    "CANARY,too,few",
    "Total,,,,,,CANARY",
]
FILE = "\n".join([HEADER, *ROWS])


def _invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["ingest", "preview", *arguments])


def _json(*arguments: str) -> dict[str, Any]:
    answer = _invoke(*arguments, "--json")
    told: dict[str, Any] = json.loads(answer.stdout)
    return told


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "claims.csv.gz"
    path.write_bytes(gzip.compress(FILE.encode()))
    return path


def test_a_preview_tells_what_was_detected_how_columns_map_and_the_first_problems(file: Path) -> None:
    told = _json(str(file))
    assert told["detected"] | {"compression": "gzip", "encoding": "utf-8", "delimiter": ",", "header_line": 1,
                               "date_order": "MDY", "skipped_rows_above_header": 0} == told["detected"]  # fmt: skip
    assert [column["field"] for column in told["columns"]] == [
        "claim_id", "payer", "cpt", "submitted_date", "decided_date", "outcome", None,
    ]  # fmt: skip
    assert (told["columns"][6]["header"], told["columns"][6]["shown"]) == ("column 7", False)
    assert all(column["shown"] for column in told["columns"][:6])
    assert (told["rows"], told["accepted"], told["rejected"], told["refusal"]) == (5, 2, 3, None)
    assert [(problem["row"], problem["field"], problem["rule"]) for problem in told["problems"]] == [
        (2, "decided_date", "decided_date_present"), (3, "cpt", "cpt_form"), (3, "outcome", "outcome_known"),
        (4, "row", "row_shape"),
    ]  # fmt: skip


def test_a_preview_shows_no_cell_and_no_header_that_may_be_a_person(file: Path, tmp_path: Path) -> None:
    shown = _invoke(str(file), "--write-mapping", str(tmp_path / "mapping.yaml"))
    assert shown.exit_code == 0
    for text in (shown.output, json.dumps(_json(str(file))), (tmp_path / "mapping.yaml").read_text()):
        assert "CANARY" not in text
        assert "Zyzzyva" not in text


def test_a_preview_shows_the_headers_as_the_file_writes_them_and_says_why_one_is_not_shown(tmp_path: Path) -> None:
    """Those that no field was found for are the ones to be named in the mapping."""
    path = tmp_path / "claims.csv"
    path.write_text("Ref,Carrier Name,Proc,Sent On,Answered On,Verdict\nC1,Aetna,99213,01/15/2026,,CANARY\n")
    shown = _invoke(str(path), "--write-mapping", str(tmp_path / "mapping.yaml")).output
    for header in ("Ref", "Carrier Name", "Proc", "Sent On", "Answered On", "Verdict"):
        assert re.search(rf"│ {header} +│", shown), header
    assert "(not shown)" not in shown
    assert "patient's name" not in shown
    # Many programs end each line with a separator: nothing is hidden there.
    path.write_text("Ref,Carrier Name,Proc,Sent On,Answered On,Verdict,\nC1,Aetna,99213,01/15/2026,,CANARY,\n")
    trailing = _invoke(str(path)).output
    assert re.search(r"│ 7 +│ \(none\) +│ not used", trailing)
    assert "patient's name" not in trailing
    mapping = (tmp_path / "mapping.yaml").read_text()
    assert "# Columns that are not used: 1 (Ref), 4 (Sent On), 5 (Answered On), 6 (Verdict)." in mapping
    path.write_text(FILE)
    shown = _invoke(str(path), "--write-mapping", str(tmp_path / "other.yaml")).output
    assert re.search(r"│ 7 +│ \(not shown\) +│ not used", shown)
    assert "may be a patient's name" in shown
    assert "not used: 7 (header not shown)." in (tmp_path / "other.yaml").read_text()


def test_the_first_claim_of_a_file_without_header_is_not_shown_as_one(tmp_path: Path) -> None:
    path = tmp_path / "claims.csv"
    path.write_text("CANARY,Quentin,Zyzzyva,1931-02-03,CANARYPAYER,99213,paid\n" * 3)
    shown = _invoke(str(path), "--write-mapping", str(tmp_path / "mapping.yaml")).output
    for text in (shown, json.dumps(_json(str(path))), (tmp_path / "mapping.yaml").read_text()):
        for cell in ("CANARY", "Quentin", "Zyzzyva", "1931", "99213"):
            assert cell not in text, cell


def test_a_preview_counts_as_the_ingest_does() -> None:
    told = preview(io.BytesIO(FILE.encode()), ClaimMapping(), TODAY, most_rows=100)
    judge = Judge(ClaimMapping(), TODAY)
    read = open_csv(io.BytesIO(FILE.encode()), ClaimMapping())
    for block in read.blocks():
        judge.judge(block)
    assert (told.rows, told.accepted, told.rejected) == (
        judge.counters().rows, judge.counters().accepted, judge.counters().rejected,
    )  # fmt: skip
    assert told.detected == read.detected


def test_only_as_many_rows_are_read_as_are_asked_for() -> None:
    text = "\n".join([HEADER, *[ROWS[0]] * 1000])
    told = preview(io.BytesIO(text.encode()), ClaimMapping(), TODAY, most_rows=10)
    assert (told.rows, told.whole) == (10, False)


@pytest.mark.parametrize(
    ("content", "edit"),
    [
        (FILE, {}),
        ("\n".join([HEADER.replace("Insurance", "Zyzz"), *ROWS]), {"#  payer:  # required": "  payer: Zyzz #"}),
        ("\n".join([HEADER, *ROWS]).replace("/15/", "/05/"), {"# date_order: MDY": "date_order: MDY"}),
        ("\n".join(ROWS), {
            "# no_header": "no_header", "# columns:": "columns:", "#  claim_id:": "  claim_id: 1",
            "#  payer:  #": "  payer: 2  #", "#  cpt:  #": "  cpt: 3  #", "#  submitted_date:  #": "  submitted_date: 4  #",
            "#  decided_date:": "  decided_date: 5", "#  outcome:  #": "  outcome: 6  #",
        }),
        (HEADER.replace(",Proc", "").replace(",Quentin Zyzzyva", "") + "\nC1,Aetna,01/15/2026,02/01/2026,paid\n",
         {"# no_cpt": "no_cpt"}),
    ],
    ids=["understood", "unknown header", "dates either way", "no header", "no codes"],
)  # fmt: skip
def test_the_written_mapping_is_taken_by_the_configuration_and_once_corrected_loads_the_file(
    content: str, edit: dict[str, str], tmp_path: Path
) -> None:
    told = preview(io.BytesIO(content.encode()), ClaimMapping(), TODAY, most_rows=100)
    path = tmp_path / "mapping.yaml"
    path.write_text(mapping_file(told, ClaimMapping()))
    assert read_configuration_file(path, CustomerConfiguration()).channels is None
    assert (told.refusal is None) == (not edit)
    text = path.read_text()
    for old, new in edit.items():
        assert old in text, old
        text = text.replace(old, new, 1)
    path.write_text(text)
    mapping = read_configuration_file(path, CustomerConfiguration()).stored.mapping
    again = preview(io.BytesIO(content.encode()), mapping, TODAY, most_rows=100)
    assert again.refusal is None
    assert again.accepted >= 1
    assert read_configuration_file(path, CustomerConfiguration()).stored.mapping == mapping
    path.write_text(mapping_file(again, mapping))
    assert read_configuration_file(path, CustomerConfiguration()).stored.mapping.columns == {
        column.field: column.header for column in again.columns if column.field
    }


def test_a_refused_file_is_told_with_what_was_detected_and_ends_with_the_code_of_a_refusal(tmp_path: Path) -> None:
    path = tmp_path / "claims.csv"
    path.write_text(FILE.replace("Insurance", "Zyzz"))
    answer = _invoke(str(path))
    assert answer.exit_code == 7
    assert "Required fields without a column: payer" in answer.output
    told = _json(str(path))
    assert told["missing"] == ["payer"]
    assert "No column found for payer" in told["refusal"]
    assert told["detected"]["delimiter"] == ","


def test_a_remittance_is_previewed_and_has_no_mapping_to_write(tmp_path: Path, remittance: Any) -> None:
    path = tmp_path / "era.835"
    path.write_bytes(remittance("CLP*A1*1*100*80**12*N1~SVC*HC:99213*100*80~DTM*472*20260105~CAS*CO*45*20"))
    told = _json(str(path))
    assert (told["source"], told["rows"], told["accepted"]) == ("x12_835", 1, 1)
    answer = _invoke(str(path), "--write-mapping", str(tmp_path / "mapping.yaml"))
    assert answer.exit_code == 1
    assert "no mapping to write" in str(answer.exception)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere.csv"], "is not a file"),
        (["{file}", "--mapping", "nowhere.yaml"], "There is no file"),
        (["{file}", "--write-mapping", "{file}"], "is there already"),
        (["{file}", "--write-mapping", "{folder}/none/mapping.yaml"], "cannot be written"),
    ],
)
def test_an_error_is_one_line_that_says_what_to_do(file: Path, arguments: list[str], says: str) -> None:
    filled = [argument.format(file=file, folder=file.parent) for argument in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "upstream_pipelines.cli.main", "ingest", "preview", *filled],
        env={"PATH": "", "UPSTREAM_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "COLUMNS": "400"},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_with_a_customer_its_mapping_is_used(
    pipeline: Connection, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings.database_url is not None
    monkeypatch.setenv("UPSTREAM_DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setenv("UPSTREAM_HOME", str(settings.home))
    create_customer(pipeline, "acme", "Acme")
    pipeline.execute(
        "UPDATE customers SET configuration = jsonb_build_object('mapping', jsonb_build_object('columns',"
        " jsonb_build_object('payer', 'Zyzz')))"
    )
    path = tmp_path / "claims.csv"
    path.write_text(FILE.replace("Insurance", "Zyzz"))
    assert _json(str(path))["missing"] == ["payer"]
    assert _json(str(path), "--customer", "acme")["missing"] == []
