"""Rules: what a file may say, that a slip is named with what to write, and matching against a model of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upstream_pipelines.alerts.rules import DEFAULT_RULE, AlertRule, Facts, Kind, Signal, dollars_of, matches
from upstream_pipelines.customers.configuration import CustomerConfiguration, read_configuration_file
from upstream_pipelines.errors import ConfigurationError

KINDS, SIGNALS = get_args(Kind), get_args(Signal)
PAYERS, GROUPS = ("Aetna", "Cigna", "Straße Health"), ("ALL", "VISITS")
SHARES = (None, 0.0, 0.3, 0.5, 1.0)


def _listed(names: tuple[str, ...]) -> st.SearchStrategy[Any]:
    return st.none() | st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True)


RULES = st.fixed_dictionaries(
    {
        "name": st.just("r"),
        "kinds": st.lists(st.sampled_from(KINDS), min_size=1, unique=True),
        "signals": _listed(SIGNALS[:3]),
        "payers": _listed((*PAYERS, "AETNA", "STRASSE HEALTH")),
        "cpt_groups": _listed(GROUPS),
        "directions": st.sampled_from([["worsening"], ["improving"], ["worsening", "improving"], ["unclear"]]),
        "minimum_severity": st.sampled_from([0.0, 0.3, 0.5]),
        "minimum_confidence": st.sampled_from([0.0, 0.5, 0.9]),
        "minimum_effect": st.sampled_from([0.0, 0.05]),
        "minimum_dollars_per_month": st.sampled_from([0.0, 1000.0]),
        "unknown_dollars": st.sampled_from(["tell", "skip"]),
        "enabled": st.booleans(),
    }
)
DRIFTS = st.builds(
    Facts, kind=st.sampled_from(["drift", "quality"]), signal=st.sampled_from(SIGNALS[:3]), payer=st.sampled_from(PAYERS),
    cpt_group=st.sampled_from(GROUPS), direction=st.sampled_from(["worsening", "improving", "unclear"]),
    severity=st.sampled_from(SHARES), confidence=st.sampled_from(SHARES),
    effect=st.sampled_from([None, 0.0, 0.06, -0.06]), dollars=st.sampled_from([None, 0.0, 999.0, 1000.0]),
)  # fmt: skip
EVENTS = DRIFTS | st.builds(Facts, kind=st.sampled_from(KINDS))


def _refusals(rule: dict[str, Any], facts: Facts) -> list[str]:
    """The model: each reason by which a rule does not want an event, one at a time."""
    found = []
    if not rule["enabled"]:
        found.append("off")
    if facts.kind not in rule["kinds"]:
        found.append("kind")
    if facts.signal is not None:
        for key, value in (("signals", facts.signal), ("payers", facts.payer), ("cpt_groups", facts.cpt_group)):
            if rule[key] is not None and not any(str(value).casefold() == name.casefold() for name in rule[key]):
                found.append(key)
    if facts.kind == "drift":
        may_be = {"worsening", "unclear"} if facts.direction == "unclear" else {facts.direction}
        if not may_be & set(rule["directions"]):
            found.append("direction")
        for key in ("severity", "confidence", "effect"):
            size = getattr(facts, key)
            if rule[f"minimum_{key}"] > 0 and (size is None or abs(size) < rule[f"minimum_{key}"]):
                found.append(key)
        if rule["minimum_dollars_per_month"] > 0:
            known = facts.dollars is not None
            if (known and facts.dollars < rule["minimum_dollars_per_month"]) or (
                not known and rule["unknown_dollars"] == "skip"
            ):
                found.append("dollars")
    return found


@settings(max_examples=400, deadline=None)
@given(rule=RULES, facts=EVENTS)
def test_a_rule_matches_where_the_model_finds_no_reason_against_it(rule: dict[str, Any], facts: Facts) -> None:
    assert matches(AlertRule.model_validate(rule), facts) == (not _refusals(rule, facts))


def test_a_change_that_may_be_a_loss_is_heard_by_whoever_asks_for_losses_and_by_no_one_who_asks_for_gains() -> (
    None
):
    unclear = Facts("drift", "procedure_mix", "Aetna", "ALL", "unclear", 0.5)
    gains = AlertRule(name="gains", directions=("improving",))
    assert matches(DEFAULT_RULE, unclear)
    assert not matches(gains, unclear)
    assert matches(AlertRule(name="doubts", directions=("unclear",)), unclear)
    assert not matches(AlertRule(name="doubts", directions=("unclear",)), Facts("drift", direction="worsening"))


def test_without_a_word_about_them_everything_but_trouble_with_delivery_is_wanted() -> None:
    assert {kind for kind in KINDS if matches(DEFAULT_RULE, Facts(kind, direction="worsening"))} == {
        "drift", "quality", "silence", "run_failure",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("money", "dollars"),
    [
        (None, None),
        ({}, None),
        ({"per_month": None}, None),
        ({"per_month": float("nan")}, None),
        ({"per_month": 1200.0}, 1200.0),
        ({"per_month": -1200.0}, 1200.0),
    ],
)
def test_dollars_are_the_estimate_without_its_sign_or_not_known(money: Any, dollars: float | None) -> None:
    assert dollars_of(money) == dollars


@pytest.mark.parametrize(
    ("dollars", "unknown", "matched"),
    [
        (5000.0, "tell", True),
        (4999.0, "tell", False),
        (None, "tell", True),
        (None, "skip", False),
        (5000.0, "skip", True),
    ],
)
def test_what_a_rule_does_where_dollars_are_not_known_is_its_own_word(
    dollars: float | None, unknown: str, matched: bool
) -> None:
    rule = AlertRule.model_validate({"name": "r", "minimum_dollars_per_month": 5000, "unknown_dollars": unknown})
    assert matches(rule, Facts("drift", direction="worsening", dollars=dollars)) is matched
    assert matches(
        rule.model_copy(update={"minimum_dollars_per_month": 0.0}), Facts("drift", direction="worsening")
    )


def _read(tmp_path: Path, rule: str) -> AlertRule:
    path = tmp_path / "acme.yaml"
    path.write_text(f"alert_rules:\n  - {{name: night shift, {rule}}}\n", encoding="utf-8")
    rules = read_configuration_file(path, CustomerConfiguration()).alert_rules
    assert rules is not None
    return rules[0]


@pytest.mark.parametrize(
    ("written", "begin", "end"),
    [
        # Unquoted, YAML makes 1200 of 20:00 and leaves 07:00 a text.
        ("{from: 20:00, to: 07:00}", "20:00", "07:00"),
        ('{from: "20:00", to: "7:30"}', "20:00", "07:30"),
        ('{from: "00:00", to: "24:00", days: [sat, sun]}', "00:00", "24:00"),
        ("{from: 0:00, to: 12:30}", "00:00", "12:30"),
    ],
)
def test_quiet_hours_are_read_as_people_write_them(tmp_path: Path, written: str, begin: str, end: str) -> None:
    rule = _read(tmp_path, f"quiet_hours: {written}, time_zone: America/New_York")
    assert rule.quiet_hours is not None
    assert (rule.quiet_hours.begin, rule.quiet_hours.end) == (begin, end)
    stored = rule.model_dump(mode="json")
    assert stored["quiet_hours"]["from"] == begin
    assert AlertRule.model_validate(stored) == rule


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("time_zone: EST5", r'alert_rules\.0 "night shift"\.time_zone: .*such as America/New_York'),
        ("time_zone: ../../etc/passwd", r"time_zone: there is no such time zone"),
        ("quiet_hours: {from: 20:00, to: 07:00}", r'"night shift": quiet_hours need a time_zone'),
        (
            "quiet_hours: {from: 8pm, to: 07:00}, time_zone: UTC",
            r'quiet_hours\.from: write a time of day as "20:00"',
        ),
        ("quiet_hours: {from: 25:00, to: 07:00}, time_zone: UTC", r"quiet_hours\.from: write a time of day"),
        ("quiet_hours: {from: 20:00}, time_zone: UTC", r"quiet_hours\.to: Field required"),
        ("quiet_hours: {from: 20:00, to: 20:00}, time_zone: UTC", r"quiet_hours: from and to are the same"),
        ("quiet_hours: {from: 20:00, to: 07:00, days: [caturday]}, time_zone: UTC", r"quiet_hours\.days\.0"),
        ("quiet_hours: {from: 0:00, to: 24:00}, time_zone: UTC", r"never end would tell nothing; name the days"),
        (
            "quiet_hours: {from: 20:00, to: 07:00, days: [mon, tue, mon]}, time_zone: UTC",
            r"quiet_hours\.days: .*each of them once",
        ),
        ("kinds: [drift, drift]", r'"night shift"\.kinds: .*write each of them once'),
        ("signals: [volume, volume]", r"signals: .*write each of them once"),
        ("payers: [Aetna, Cigna, Aetna]", r"payers: .*write each of them once"),
        ("cpt_groups: [VISITS, VISITS]", r"cpt_groups: .*write each of them once"),
        ("channels: [hook, hook]", r"channels: .*write each of them once"),
        ("directions: [unclear, worsening, improving, unclear]", r"directions: .*at most 3 items"),
        ("minimum_severity: 7", r'"night shift"\.minimum_severity'),
        ("minimum_dollars_per_month: .inf", r'"night shift"\.minimum_dollars_per_month'),
        ("unknown_dollars: maybe", r"unknown_dollars: Input should be 'tell' or 'skip'"),
        ("kinds: [gossip]", r'"night shift"\.kinds\.0: Input should be .*delivery_trouble'),
        ("repeat_hours: 2", r"repeat_hours \(2\) is shorter than cooldown_hours \(4\)"),
        ("minimum_severty: 0.3", r'"night shift"\.minimum_severty'),
    ],
)
def test_a_slip_is_named_by_rule_and_key_with_what_to_write(tmp_path: Path, written: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        _read(tmp_path, written)
