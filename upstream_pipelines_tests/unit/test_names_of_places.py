"""Which names of facilities may stand in a message by their form alone."""

from __future__ import annotations

import pytest

from upstream_pipelines.drift.breakdown import may_name_a_place


@pytest.mark.parametrize(
    "name",
    [
        "Jane Doe 01/02/1980", "Jane Doe 1980-01-02", "Jane Doe 1.2.80", "JANE DOE 2 JAN 1980", "Doe January 2, 1980",
        "Doe 02Jan80", "Patient: Jane Doe", "PATIENT_DOE", "pt 000123456", "Pt. Doe", "pt12 Doe", "123456789",
        "12 34 56", "123-456", "123 - 45 - 6789", "(12)34.56", "Dr. John Smith", "DR SMITH", "John Smith M.D.",
        "John Smith, MD", "Mr Smith", "Mrs. Smith", "Ms. Doe", "D.O.B. unknown Doe", "SSN Doe", "mrn:77 Doe",
        "DOE, JANE", "jane@doe.example", "Jane\u200b Doe", "as she said on the phone to the nurse at the desk of the ward",
    ],
)  # fmt: skip
def test_a_name_with_what_stands_beside_a_person_is_withheld(name: str) -> None:
    assert not may_name_a_place(name)


@pytest.mark.parametrize(
    "name",
    [
        "North", "Main Campus", "Riverside Hospital", "St. Mary's Medical Center", "Outpatient Surgery West",
        "Inpatient Unit 3", "5th Street Clinic", "1200 Oak Avenue", "Building 4 - Suite 210", "Lab 12345",
        "Martin Luther King Jr. Health Centre", "Johnson & Johnson Family Practice", "Marchmont Imaging", "May Street Lab",
        "Clinic 24/7", "Drummond Associates", "Mdina Care Group", "not given",
    ],
)  # fmt: skip
def test_an_ordinary_name_of_a_place_may_be_shown(name: str) -> None:
    assert may_name_a_place(name)
