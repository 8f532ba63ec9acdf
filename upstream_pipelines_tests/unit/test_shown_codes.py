"""Which codes may stand in a message, a chart or a table by their form alone."""

from __future__ import annotations

import pytest

from upstream_pipelines.claims.codes import code_name, shown_code, shown_modifiers, told_apart


@pytest.mark.parametrize("code", ["99213", "J1100", "0001F", "0075T", "0001U", "D0120", "UNSPECIFIED"])
def test_a_code_of_cpt_or_hcpcs_may_be_shown(code: str) -> None:
    assert shown_code(code) == code


@pytest.mark.parametrize(
    "text",
    ["DOE JANE", "SSN 123-45-6789", "DOE", "9921", "992134", "99213\n", "٩٩٢١٣", "99213 DOE", "", "J110O0", "DOE JANE 1980"],
)  # fmt: skip
def test_what_has_another_form_is_one_of_the_other_codes(text: str) -> None:
    assert shown_code(text) == "other codes"


def test_a_code_that_the_customer_lists_may_be_shown_and_no_other_that_begins_so() -> None:
    assert shown_code("CLINIC7", {"CLINIC7"}) == "CLINIC7"
    assert shown_code("CLINIC77", {"CLINIC7"}) == "other codes"


@pytest.mark.parametrize("modifiers", ["", "25", "TC", "25 59", "25 59 RT LT"])
def test_modifiers_of_two_characters_may_be_shown(modifiers: str) -> None:
    assert shown_modifiers(modifiers) == modifiers


@pytest.mark.parametrize("text", ["DOE", "JANE DOE", "25 DOE", "1", "25 59 RT LT GC", "25\n"])
def test_other_modifiers_are_not_shown(text: str) -> None:
    assert shown_modifiers(text) == "other modifiers"


def test_codes_without_a_name_stay_apart_and_are_called_the_same() -> None:
    shown = {text: shown_code(text) for text in ("DOE JANE", "99213", "ROE JOHN")}
    apart = told_apart(list(shown), shown)
    assert apart == {"DOE JANE": "other codes 1", "99213": "99213", "ROE JOHN": "other codes 2"}
    assert {code_name(code) for code in apart.values()} == {"other codes", "99213"}
    assert code_name("99213", "25 59") == "99213-25 59"
    assert code_name("99213", "other modifiers 2") == "99213 with other modifiers"
