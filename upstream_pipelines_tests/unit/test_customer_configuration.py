"""The customer's YAML file: understood either way round, wrong keys named, the rest left as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from upstream_pipelines.customers.configuration import (
    CustomerConfiguration,
    parse_configuration,
    read_configuration_file,
)
from upstream_pipelines.errors import ConfigurationError


def test_columns_are_understood_as_field_to_header_and_as_header_to_field() -> None:
    one = parse_configuration({"columns": {"payer": "insurance_provider", "cpt": "Proc"}}, "t")
    other = parse_configuration({"columns": {"insurance_provider": "payer", "Proc": "cpt"}}, "t")
    assert one.stored == other.stored
    assert one.stored.mapping.columns["payer"] == "insurance_provider"


def test_a_source_without_procedure_codes_may_say_so_among_its_columns() -> None:
    file = parse_configuration({"columns": {"cpt": None, "payer": "Carrier"}}, "t")
    assert file.stored.mapping.no_cpt is True


def test_keys_that_a_file_does_not_mention_stay_as_they_are() -> None:
    first = parse_configuration({"columns": {"payer": "Carrier"}, "cadence_days": 7}, "t").stored
    second = parse_configuration({"payer_aliases": {"AETNA": "Aetna"}}, "t", first)
    assert second.stored.mapping.columns == {"payer": "Carrier"}
    assert second.stored.cadence_days == 7
    assert second.channels is None
    assert second.alert_rules is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"colums": {}}, "unknown key colums.*Known keys: .*columns"),
        ({"columns": {"nothing": "Nowhere"}}, "neither nothing nor its value is a claim field"),
        ({"outcomes": {"frozen": "MAYBE"}}, "outcomes.frozen"),
        ({"date_order": "sometimes"}, "date_order"),
        ({"payer_aliases": {"\u200b": "Aetna"}}, "payer_aliases.*nobody sees"),
        ({"cadence_days": 0}, "cadence_days"),
        ({"channels": [{"kind": "pigeon", "name": "x"}]}, "channels"),
        (["columns"], "mapping of keys"),
    ],
)
def test_what_cannot_be_used_is_named_by_its_place(content: object, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse_configuration(content, "acme.yaml")


def test_a_file_that_is_no_yaml_is_refused_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("columns:\n  payer: [unclosed\n")
    with pytest.raises(ConfigurationError, match="line"):
        read_configuration_file(path, CustomerConfiguration())


def test_a_day_that_no_calendar_has_is_named_by_its_place(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("drift:\n  calendar:\n    - {label: x, first_day: 2026-03-01, last_day: 2026-13-01}\n")
    with pytest.raises(ConfigurationError, match=r"drift\.calendar\.0\.last_day"):
        read_configuration_file(path, CustomerConfiguration())
    path.write_text("drift:\n  calendar:\n    - {label: x, first_day: 2026-03-01, last_day: 2026-12-01}\n")
    assert read_configuration_file(path, CustomerConfiguration()).stored.drift.calendar[0].last_day.month == 12


def test_a_secret_in_a_wrong_channel_is_not_repeated() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_configuration(
            {"channels": [{"kind": "slack", "name": "s", "bot_token": "xoxb-hush", "chanel": "x"}]}, "t"
        )
    assert "xoxb-hush" not in str(caught.value)


def test_aliases_change_the_naming_digest_and_columns_the_reading_digest() -> None:
    """The first is applied to stored claims again, the second makes the same bytes be read again."""
    plain = CustomerConfiguration()
    aliased = parse_configuration({"payer_aliases": {"A": "B"}}, "t").stored
    mapped = parse_configuration({"columns": {"payer": "Carrier"}}, "t").stored
    assert aliased.naming_sha256() != plain.naming_sha256()
    assert aliased.reading_sha256() == plain.reading_sha256()
    assert mapped.reading_sha256() != plain.reading_sha256()
