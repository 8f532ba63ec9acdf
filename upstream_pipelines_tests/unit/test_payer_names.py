"""Spellings of one payer are suggested as aliases; payers that only look alike are not."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from upstream_pipelines.customers.configuration import parse_configuration
from upstream_pipelines.quality.payer_names import aliases_yaml, suggest_aliases


def _pairs(spelling: str, payer: str) -> list[tuple[str, str]]:
    found = suggest_aliases({spelling: 5, payer: 500}, {spelling: 5, payer: 500}, {})
    return [(suggestion.spelling, suggestion.payer) for suggestion in found]


@pytest.mark.parametrize(
    ("spelling", "payer"),
    [
        ("AETNA", "Aetna"), ("AETNA INC", "Aetna"), ("Aetna, Inc.", "Aetna"), ("Aetna Ins Co", "Aetna"),
        ("United Healthcare", "UnitedHealthcare"), ("UHC", "United Healthcare"), ("United Healtcare", "United Healthcare"),
        ("BCBS of Texas", "Blue Cross Blue Shield of Texas"), ("Blue Cross & Blue Shield", "Blue Cross and Blue Shield"),
        ("Shield Blue Cross Blue", "Blue Cross Blue Shield"), ("Cingna", "Cigna"), ("Humanna", "Humana"),
        ("Santé Québec", "Sante Quebec"), ("MOLINA  Healthcare", "Molina Healthcare"),
    ],
)  # fmt: skip
def test_another_spelling_is_suggested(spelling: str, payer: str) -> None:
    assert _pairs(spelling, payer) == [(" ".join(spelling.split()), payer)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Medicare", "Medicaid"), ("Medicare Part A", "Medicare Part B"), ("BCBS of Texas", "BCBS of Florida"),
        ("Anthem BCBS CO", "Anthem BCBS"), ("Aetna HMO", "Aetna PPO"), ("Plan 1", "Plan 2"), ("Humana Gold", "Humana"),
        ("North Carolina Medicaid", "South Carolina Medicaid"), ("Kansas Medicaid", "Arkansas Medicaid"),
        ("East Health", "West Health"), ("Virginia Premier", "West Virginia Premier"), ("Cigna", "Signa"),
        ("Payer 10023", "Payer 10032"), ("Aetna", "Humana"),
    ],
)  # fmt: skip
def test_another_payer_is_not(one: str, other: str) -> None:
    assert _pairs(one, other) == []
    assert _pairs(other, one) == []


def test_the_rarer_name_is_the_spelling_and_an_aliases_target_is_known_however_rare() -> None:
    counts = {"Aetna Inc": 500, "Aetna": 5}
    assert [(item.spelling, item.payer) for item in suggest_aliases(counts, counts, {})] == [
        ("Aetna", "Aetna Inc")
    ]
    found = suggest_aliases(counts, counts, {"AETNA LLC": "Aetna"})
    assert [(item.spelling, item.payer, item.lines) for item in found] == [("Aetna Inc", "Aetna", 500)]


def test_names_of_few_lines_that_are_alike_may_be_a_patients_and_are_not_for_showing() -> None:
    known = {"Maria Johnson": 10, "Highmark Alliance": 11, "Seldom Mutual": 1}
    found = suggest_aliases(
        {"Marie Johnson": 1, "Highmrak Alliance": 1, "Seldon Mutual": 1}, known, {"SM": "Seldom Mutual"}
    )
    assert {one.spelling: one.may_be_shown for one in found} == {
        "Marie Johnson": False, "Highmrak Alliance": True, "Seldon Mutual": True,
    }  # fmt: skip


def test_what_has_an_alias_is_not_suggested_also_one_to_itself() -> None:
    counts = {"AETNA INC": 5, "Aetna": 500}
    assert suggest_aliases(counts, counts, {"aetna  inc": "Aetna"}) == []
    assert suggest_aliases(counts, counts, {"AETNA INC": "AETNA INC"}) == []


def test_names_that_may_be_a_persons_are_never_looked_at() -> None:
    counts = {"SMITH, JOHN": 5, "Smith, John": 500, "Aetna 123-45-6789": 2, "Aetna": 9}
    assert suggest_aliases(counts, counts, {}) == []


def test_the_section_is_taken_by_the_configuration_and_keeps_the_aliases_there_are() -> None:
    counts = {"AETNA INC": 5, "Aetna": 500, 'Humana: "Gold" #1': 3, 'HUMANA "GOLD" #1': 30}
    section = aliases_yaml(suggest_aliases(counts, counts, {"Old": "New"}), {"Old": "New"})
    stored = parse_configuration(yaml.safe_load(section), "test").stored
    assert stored.mapping.payer_aliases == {
        "AETNA INC": "Aetna", 'Humana: "Gold" #1': 'HUMANA "GOLD" #1', "Old": "New",
    }  # fmt: skip


@settings(deadline=None, max_examples=30)
@given(st.dictionaries(st.text(min_size=1, max_size=12), st.integers(1, 9), max_size=8))
def test_no_name_breaks_it_and_none_is_led_to_itself_or_to_a_rarer_one(counts: dict[str, int]) -> None:
    known = {" ".join(name.split()): lines for name, lines in counts.items()}
    for found in suggest_aliases(counts, known, {}):
        assert found.spelling != found.payer
        assert known[found.payer] > found.lines
