"""Headers that may be shown: those of claims files, however they are written; never a person's name or a value."""

from __future__ import annotations

from pathlib import Path

import pytest

import upstream_pipelines
from upstream_pipelines.claims.fields import FIELDS
from upstream_pipelines.claims.header_words import looks_like_column_name, shown_headers


def test_every_known_header_may_be_shown_in_each_way_of_writing_it() -> None:
    for field in FIELDS.values():
        for name in (field.name, *field.synonyms, *field.weak_synonyms):
            words = name.split("_")
            for written in (name, name.upper(), " ".join(words).title(), "".join(word.title() for word in words)):
                assert looks_like_column_name(written), written


@pytest.mark.parametrize(
    "header",
    ["Patient Name", "PatientDOB", "CLM_CNTRCTR_NUM", "claimid", "dateofservice", "Insurance Plan (Primary)", "ICD10 Code 2",
     "Place of Service", "Payer/Plan", "CPT® Code", 'Claim\n"Status"', "Denial Reason Description",
     "PRVDR_NPI_NUM", "# of Units", "Total Charges $", "Answered On", "Verdict", "Clinician", "Write-Off", "Co-Pay", "Txn ID", "Pt Resp",
     "Denial Why", "Reply Explanation"],
)  # fmt: skip
def test_names_of_columns_may_be_shown(header: str) -> None:
    assert looks_like_column_name(header)


@pytest.mark.parametrize(
    "header",
    ["John Smith", "SMITH, JOHN", "Smith John Status", "smithjohn", "Claim of Zyzzyva", "1931-02-03", "DOB 02/03/1931",
     "772-34-7734", "555 123 4567", "Claim 12345678", "john@example.org", "", " ", "12", "$100.50", "Aetna",
     "status " * 20, "Ünbekannt", "MRN 445566", "Max Price", "Bill Case", "Page Co", "Doctor Smith", "Bill Weeks",
     "Max Sum", "Page Days", "Bill Rooms", "Max Branch", "Page Key"],
)  # fmt: skip
def test_persons_values_and_unknown_words_may_not(header: str) -> None:
    assert not looks_like_column_name(header)
    assert shown_headers(["payer", header]) == ["payer", "column 2"]


def test_no_given_name_may_be_shown() -> None:
    """A word that is added for a column's sake may be a name, or make one together with another."""
    text = (Path(upstream_pipelines.__file__).parent / "quality" / "given_names.txt").read_text()
    names = [name for line in text.splitlines() if not line.startswith("#") for name in line.split()]
    assert len(names) > 5000
    assert [name for name in names if looks_like_column_name(name.title())] == []
