"""Personal data in payer names and denial texts is found; what only looks like it is left alone."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upstream_pipelines.quality.phi import holds_person_as_payer, holds_phi, kinds_in, may_hold_phi


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("123-45-6789", "ssn"),
        ("member SSN 123-45-6789 not found", "ssn"),
        ("call (555) 123-4567", "phone"),
        ("555-123-4567", "phone"),
        ("jo.smith@example.org", "email"),
        ("DOB 01/02/1980", "date_of_birth"),
        ("born 1980-02-01", "date_of_birth"),
        ("MRN: 0012345", "mrn"),
        ("patient id 884422", "mrn"),
        ("SMITH, JOHN", "person_name"),
        ("Smith, John A", "person_name"),
        ("O'NEIL, MARY", "person_name"),
        ("SMITH JR, JOHN", "person_name"),
        ("Zielinski Jr., Xiomara", "person_name"),
        ("John Q. Smith Jr.", "person_name"),
        ("Records for Doe^Jane not received", "person_name"),
        ("Contact Mr. John Smith", "person_name"),
        ("social security number 123456789", "ssn"),
        ("xxx-xx-6789", "ssn"),
        ("Date of birth is 2 January 1970", "date_of_birth"),
        ("Med Rec # 0012345", "mrn"),
        ("pt acct # 884422", "mrn"),
        ("Member ID: XYZ123456789 not found", "member_id"),
        ("MBI 1EG4TE5MK73", "member_id"),
    ],
)
def test_personal_data_is_found(text: str, kind: str) -> None:
    assert kind in kinds_in(text)
    assert holds_phi(pa.array(["Aetna", text, None])).tolist() == [False, True, False]


@pytest.mark.parametrize(
    "text",
    [
        "Blue Cross", "Blue Cross Blue Shield", "UnitedHealthcare", "Medicare Advantage - Aetna", "1234567890",
        "1437702123", "CLM0000111", "Aetna, Inc.", "Cigna, Commercial", "Amerigroup, Texas", "BCBS, Illinois",
        "Humana (PPO)", "Kaiser Permanente, CA", "CO-45", "Denied 2026-01-02", "Missing, Invalid Information",
        "Prior Authorization Required", "99213-25", "Private - Other", "Blue Cross, Blue Shield", "John Hancock",
        "Duplicate of claim 20260102001", "Timely filing limit is 90 days", "Stop Loss, Threshold Met", "Denied, Timely Filing",
        "MR ANGIOGRAPHY", "Kaiser Permanente Sr Advantage", "Call provider services 1-800-676-2583", "Medicaid 87726",
        "Medical record request 1234567890 sent", "Member ID not on file", "Emblem, Dental", "Blue Cross, Premera",
        "Not covered, See remark N290", "Void, Bill Primary", "Centene, Virginia",
    ],
)  # fmt: skip
def test_payers_numbers_and_denial_texts_are_not_personal_data(text: str) -> None:
    assert kinds_in(text) == []
    assert holds_phi(pa.array([text])).tolist() == [False]


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.text(max_size=40), st.sampled_from(["a@b.co", "1-2", "x,Y"])), max_size=8))
def test_the_quick_look_finds_what_the_exact_patterns_find(texts: list[str | None]) -> None:
    """Most likely wrong: a pattern that the candidate expression lets slip."""
    expected = [text is not None and bool(kinds_in(text)) for text in texts]
    assert holds_phi(pa.array(texts, pa.string())).tolist() == expected


@pytest.mark.parametrize(
    "name",
    [
        "JANE A DOE 01/02/1970",
        "Doe^Jane",
        "Patient John Smith",
        "Mr John Smith",
        "MRS. DOE",
        "SMITH, JOHN",
        "DOB 19700102",
        "Doe 1970-01-02",
    ],
)
def test_a_person_where_a_payer_should_stand_is_found(name: str) -> None:
    assert holds_person_as_payer(pa.array([name, None, "Aetna"])).tolist() == [True, False, False]


@pytest.mark.parametrize(
    "name",
    [
        "Blue Cross Blue Shield of MS",
        "Medicaid MD",
        "United Healthcare 87726",
        "Payer 123456789",
        "AETNA, INC",
        "Humana^",
        "Outpatient Choice",
        "Aetna PPO 80/20/50",
    ],
)
def test_a_payers_name_is_no_persons(name: str) -> None:
    assert not holds_person_as_payer(pa.array([name])).any()


def test_a_rare_name_costs_no_row_and_is_shown_to_nobody() -> None:
    """What rejects a row must be sure; what is shown may not be doubtful."""
    assert kinds_in("ZIELINSKI, NGOZI") == []
    assert may_hold_phi("ZIELINSKI, NGOZI")
    assert holds_person_as_payer(pa.array(["ZIELINSKI, NGOZI"]), in_doubt=True).all()
    assert not may_hold_phi("Cigna, Commercial")
