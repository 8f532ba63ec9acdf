"""The dry run: what a rule would have told, what its cooldown would have held back, and in how many messages."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from upstream_pipelines.alerts.dry_run import RuleOutcome, dry_run
from upstream_pipelines.alerts.history import PastEvent
from upstream_pipelines.alerts.rules import AlertRule, Facts, QuietHours

START = datetime(2026, 3, 2, 6, tzinfo=UTC)
UNTIL = START + timedelta(days=90)
RULE = AlertRule(name="r", directions=("worsening", "improving"))


def _event(
    hours: float,
    subject: str = "e1",
    notice: Literal["open", "resolved", "update"] = "open",
    *,
    severity: float = 0.5,
    kind: Literal["drift", "silence", "quality"] = "drift",
    fingerprint: str = "f",
) -> PastEvent:
    drift: dict[str, Any] = {
        "signal": "denial_rate",
        "payer": "Aetna",
        "cpt_group": "ALL",
        "direction": "worsening",
    }
    facts = Facts(kind, severity=severity, **drift) if kind == "drift" else Facts(kind)
    return PastEvent(
        START + timedelta(hours=hours), notice, subject, fingerprint, facts, "Aetna", ends=kind != "quality"
    )


def _ask(rule: AlertRule, *events: PastEvent) -> RuleOutcome:
    (outcome,) = dry_run(events, [rule], ["hook", "office"], UNTIL)
    return outcome


def _told(outcome: RuleOutcome) -> list[tuple[str, float]]:
    return [(one.notice, (one.at - START) / timedelta(hours=1)) for one in outcome.told]


def test_opening_and_end_are_told_and_an_end_whose_opening_did_not_match_is_not() -> None:
    events = (
        _event(0),
        _event(48, notice="resolved"),
        _event(50, "e2", severity=0.1),
        _event(60, "e2", "resolved"),
    )
    outcome = _ask(RULE.model_copy(update={"minimum_severity": 0.3}), *events)
    assert _told(outcome) == [("open", 0), ("resolved", 48)]
    assert outcome.channels == ("hook", "office")


def test_an_event_whose_direction_becomes_clear_is_told_once_to_each_rule_and_late_to_one_that_asked_for_gains() -> (
    None
):
    opened, gain = _event(0), _event(100)
    mix = [
        replace(event, facts=replace(event.facts, direction=direction))
        for event, direction in ((opened, "unclear"), (gain, "improving"))
    ]
    assert _told(_ask(AlertRule(name="losses"), *mix)) == [("open", 0)]
    assert _told(_ask(RULE, *mix)) == [("open", 0)]
    assert _told(_ask(AlertRule(name="gains", directions=("improving",)), *mix)) == [("open", 100)]


def test_the_same_again_within_the_cooldown_waits_for_its_end_and_is_dropped_where_it_is_over_by_then() -> None:
    again = (_event(0), _event(1, notice="resolved"), _event(2, "e2"))
    assert _told(_ask(RULE, *again)) == [("open", 0), ("resolved", 1), ("open", 4)]
    over = _ask(RULE, *again, _event(3, "e2", "resolved"))
    assert _told(over) == [("open", 0), ("resolved", 1)]
    assert over.held == 1


def test_a_step_of_severity_breaks_through_the_cooldown_and_escalates_what_goes_on() -> None:
    through = _ask(RULE, _event(0), _event(1, "e2", severity=0.7))
    assert _told(through) == [("open", 0), ("open", 1)]
    grown = _ask(
        RULE, _event(0), _event(24, notice="update", severity=0.6), _event(48, notice="update", severity=0.7),
        _event(72, notice="update", severity=0.75),
    )  # fmt: skip
    assert _told(grown) == [("open", 0), ("escalated", 48)]


def test_an_event_that_grows_past_a_minimum_is_told_then_and_without_a_minimum_none_is_told_late() -> None:
    grown = (_event(0, severity=0.2), _event(24, notice="update", severity=0.4), _event(48, notice="resolved"))
    asking = RULE.model_copy(update={"minimum_severity": 0.3})
    assert _told(_ask(asking, *grown)) == [("open", 24), ("resolved", 48)]
    assert _told(_ask(asking, *grown[1:])) == [], "it opened before the days asked about"
    other = RULE.model_copy(update={"payers": ("Cigna",)})
    assert _told(_ask(other, *grown)) == []


def test_an_event_that_goes_on_after_its_end_is_told_again() -> None:
    back = (_event(0), _event(24, notice="resolved"), _event(48, notice="update"), _event(72, notice="resolved"))
    assert _told(_ask(RULE, *back)) == [("open", 0), ("resolved", 24), ("open", 48), ("resolved", 72)]


def test_what_is_open_is_repeated_until_it_is_over_or_now_and_only_where_the_rule_says_so() -> None:
    rule = RULE.model_copy(update={"repeat_hours": 24.0})
    assert _told(_ask(rule, _event(0), _event(60, notice="resolved"))) == [
        ("open", 0), ("reminder", 24), ("reminder", 48), ("resolved", 60),
    ]  # fmt: skip
    assert len(_ask(rule, _event(0)).told) == 1 + 90
    assert len(_ask(RULE, _event(0)).told) == 1
    assert len(_ask(rule, _event(0, kind="quality")).told) == 1


def test_what_comes_together_is_one_message_and_the_next_waits_its_minutes() -> None:
    look = tuple(_event(0, f"e{number}", fingerprint=f"f{number}") for number in range(5))
    later = _event(1 / 60, "e9", fingerprint="f9")
    outcome = _ask(RULE, *look, later)
    assert [(at - START) / timedelta(minutes=1) for at in outcome.messages] == [0, 5]
    assert outcome.a_week(90) == 2 * 7 / 90
    one_by_one = _ask(
        RULE,
        *(_event(number / 3600, f"s{number}", kind="silence", fingerprint=f"{number}") for number in range(20)),
    )
    assert [(at - START) / timedelta(seconds=1) for at in one_by_one.messages] == [30]


def test_what_one_look_tells_is_one_message_and_does_not_hold_back_each_other() -> None:
    look = _ask(RULE, _event(0), _event(0, "e2"), _event(0, "e3"))
    assert _told(look) == [("open", 0)] * 3
    assert look.messages == [START]


def test_quiet_hours_move_a_message_to_their_end() -> None:
    """06:00 UTC of March 2 is one o'clock in New York."""
    quiet = QuietHours.model_validate({"from": "20:00", "to": "07:00"})
    rule = AlertRule(name="r", quiet_hours=quiet, time_zone="America/New_York")
    outcome = _ask(rule, _event(0), _event(3, "e2", fingerprint="f2"))
    assert outcome.messages == [datetime(2026, 3, 2, 12, tzinfo=UTC)]


def test_rules_that_are_off_are_not_asked_and_channels_that_are_off_are_not_counted() -> None:
    off, narrow = (
        RULE.model_copy(update={"enabled": False}),
        RULE.model_copy(update={"channels": ("hook", "gone")}),
    )
    (outcome,) = dry_run([_event(0)], [off, narrow], ["hook", "office"], UNTIL)
    assert outcome.channels == ("hook",)
