"""A customer's mapping: mistakes are told when it is written, not when the first file comes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from pydantic import ValidationError

from upstream_pipelines.claims.fields import FIELDS, header_key
from upstream_pipelines.claims.mapping import ClaimMapping
from upstream_pipelines.quality.rules import DEFAULT_RULES, GRADABLE_RULES, RULES, active_rules


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"columns": {"payr": "Insurer"}}, "payr"),
        ({"columns": {"payer": "X", "facility": "x "}}, "several fields"),
        ({"columns": {"payer": "--"}}, "letter or digit"),
        ({"outcomes": {"Zahlung": "paid"}}, "PAID"),
        ({"cpt_groups": {"99*2": "visits"}}, "992*"),
        ({"quality": {"cpt_from": "off"}}, "cpt_from"),
        ({"quality": {"cpt_form": "fatal"}}, "warning"),
        ({"quality": {"payer_present": "off"}}, "always an error"),
        ({"quality": {"cpt_present": "warning"}}, "no_cpt"),
        ({"date_order": "dmy"}, "DMY"),
        ({"colums": {}}, "colums"),
    ],
)
def test_a_mistake_is_named(content: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as wrong:
        ClaimMapping.model_validate(content)
    assert says in str(wrong.value)


def test_a_mapping_survives_json() -> None:
    mapping = ClaimMapping(
        columns={"payer": "Insurer"}, outcomes={"Zahlung": "PAID"}, date_order="DMY", cpt_groups={"992*": "visits"},
        quality={"cpt_form": "off", "payer_present": "error"}, delimiter=";", encoding="windows-1252",
    )  # fmt: skip
    assert ClaimMapping.model_validate_json(mapping.model_dump_json()) == mapping


def test_no_header_means_two_fields() -> None:
    names = Counter(
        header_key(header)
        for field in FIELDS.values()
        for header in {header_key(name) for name in (field.name, *field.synonyms, *field.weak_synonyms)}
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_there_are_fourteen_default_rules_with_distinct_names() -> None:
    assert len(DEFAULT_RULES) == 14
    assert [rule.severity for rule in DEFAULT_RULES].count("error") == 8
    assert len({rule.name for rule in GRADABLE_RULES}) == len(GRADABLE_RULES)
    for rule in RULES.values():
        assert rule.description
        assert rule.why
        assert rule.reason.endswith(".")


def test_a_rule_switched_off_is_gone_and_a_graded_one_changes() -> None:
    rules = {rule.name: rule.severity for rule in active_rules({"cpt_form": "off", "outcome_known": "error"})}
    assert "cpt_form" not in rules
    assert rules["outcome_known"] == "error"
