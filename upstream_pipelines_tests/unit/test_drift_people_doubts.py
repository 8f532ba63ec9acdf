"""What people read of a change that is over, or whose worth or size is not clear yet."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pandas as pd
import pytest

from upstream_pipelines.drift.activity import activity_from_claims
from upstream_pipelines.drift.basis import lines_now
from upstream_pipelines.drift.detector import Detector
from upstream_pipelines.drift.events import DriftEvent, Ending, EventMemory
from upstream_pipelines.drift.explanation import ENDINGS, describe, facts_of, headline, sentences_of, title_of
from upstream_pipelines.drift.rows import plain_row
from upstream_pipelines.drift.units import brief_money, direction_text
from upstream_pipelines_tests.unit.drift_rows import ROW, plain, told
from upstream_pipelines_tests.unit.test_drift_replay import CHANGED, Payer, simulate
from upstream_pipelines_tests.unit.test_drift_replay import START as FIRST

OPENED: list[tuple[dict[str, Any], str]] = [
    ({"signal": "denial_rate", "baseline": 0.1, "current": 0.098, "effect": -0.002,
      "detail": {"opened_with": {"baseline": 0.1, "current": 0.153}}},
     ("Alpha denied more: the denial rate went from 10.0 % to 15.3 %, of claims sent since about Mar 5, "
     "and is back at 9.8 %")),
    ({"signal": "authorization_denials", "baseline": 0.01, "current": 0.009, "effect": -0.001,
      "detail": {"opened_with": {"baseline": 0.01, "current": 0.05}}},
     ("Alpha denied more for missing authorization: they went from 1.0 % to 5.0 % of decided lines, of claims sent "
     "since about Mar 5, and are back at 0.9 %")),
    ({"signal": "decision_lag", "baseline": 14.0, "current": 13.6, "effect": -0.4,
      "detail": {"opened_with": {"baseline": 14.0, "current": 21.0}}},
     ("Alpha decided later: half of the lines were decided after 21 days instead of 14, of claims sent since about "
     "Mar 5, and the time is back at 14 days")),
    ({"signal": "allowed_amount", "baseline": 1.0, "current": 1.004, "effect": 0.004,
      "detail": {"by": "decision", "opened_with": {"baseline": 1.0, "current": 0.92}}},
     ("Alpha allowed less for the same procedures: the allowed amount went to 92.0 % of what it was before, of claims "
     "decided since about Mar 5, and is back at 100.4 %")),
    ({"signal": "volume", "baseline": 262.0, "current": 266.0, "effect": 0.015,
      "detail": {"opened_with": {"baseline": 260.0, "current": 180.0}}},
     ("Fewer claim lines went to Alpha: 180 a week came where 260 were to be expected, since about Mar 5, and the "
     "volume is back at 266 where 262 are to be expected")),
    ({"signal": "procedure_mix", "baseline": 0.0, "current": 0.01, "effect": 0.004,
      "detail": {"opened_with": {"baseline": 0.0, "current": 0.12}}},
     ("Lower-valued procedures were billed to Alpha: 12 % of the lines were others than before, of claims sent since "
     "about Mar 5, and the share of others is back at 1 %")),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "said"), OPENED)
@pytest.mark.parametrize("state", ["resolved", "updated"])
def test_a_change_that_is_over_is_told_by_what_it_was_and_not_by_todays_chance(
    changes: dict[str, Any], said: str, state: str
) -> None:
    """Its last figures are those of calm days: by these it would have gone the other way, surely by chance."""
    life = {"reason": "back_at_baseline"} if state == "resolved" else {}
    detail = {
        **ROW["detail"], "change_date_low": None, "calm_since": "2026-04-10", "confidence": 0.0, **life,
        **changes["detail"],
    }  # fmt: skip
    row = {**ROW, **changes, "state": state, "severity": 0.0, "q_value": 1.0, "detail": detail}
    assert plain(title_of(row)) == f"{said}, as of May 1"
    text = describe(row)
    assert not any(word in text for word in ("sure", "chance", "$"))
    facts = dict(facts_of(row))
    assert not {"How sure", "Severity", "Complete", "Change", "Costs", "Comes from"} & set(facts)
    assert "When found" in facts


def test_rows_of_a_going_event_say_which_days_they_are_of_and_the_last_what_it_opened_with() -> None:
    payers = [Payer("Alpha", then_denial=0.25, back=CHANGED + 60), *(Payer(f"P{number}") for number in range(3))]
    claims = simulate(3, payers, days=CHANGED + 130)
    detector = Detector(*activity_from_claims(claims))
    known: dict[Any, DriftEvent] = {}
    rows: list[dict[str, Any]] = []
    for day in range(CHANGED + 24, CHANGED + 130, 3):
        result = detector.look(FIRST + timedelta(days=day), list(known.values()))
        known |= {event.event_id: event for event in result.events}
        rows += [row for row in result.records if row["signal"] == "denial_rate" and row["event_id"]]
    opened, last = rows[0], rows[-1]
    assert (opened["state"], last["state"]) == ("open", "resolved")
    assert opened["detail"]["current_from"] == opened["detail"]["change_date"]
    for row in rows:
        first, as_of = pd.Timestamp(row["detail"]["current_from"]), pd.Timestamp(row["as_of"])
        assert first >= pd.Timestamp(row["detail"]["change_date"])
        sent = claims[claims["payer"].eq("Alpha") & claims["submitted_date"].between(first, as_of, "left")]
        assert row["maturity"] == pytest.approx((sent["decided_date"] < as_of).mean())
        assert ("opened_with" in row["detail"]) is bool(
            row["state"] == "resolved" or row["detail"].get("calm_since")
        )
    assert last["detail"]["opened_with"]["current"] == opened["current"]
    assert describe(last).startswith("Alpha denied more: the denial rate went from")


CLOSED = DriftEvent(
    event_id=UUID(int=7), payer="Alpha", signal="denial_rate", direction="worsening", state="updated",
    started_on=date(2026, 3, 5), opened_on=date(2026, 3, 20), last_look=date(2026, 4, 30),
    memory=EventMemory(
        by="submission", baseline=0.1, current_at_opening=0.153, shift_at_opening=0.43, evidence_at_opening=5.1,
        n_baseline=4200, change_low=date(2026, 2, 26), change_high=date(2026, 3, 11),
    ),
)  # fmt: skip


@pytest.mark.parametrize("ending", ["withdrawn", "payer_gone", "days_labelled"])
@pytest.mark.parametrize("signal", ["denial_rate", "volume"])
def test_an_event_that_ended_without_a_comparison_is_told_without_a_figure_of_its_last_day(
    ending: Ending, signal: str
) -> None:
    """Nothing was counted that day: the figures that are told are those of its opening."""
    event = CLOSED.model_copy(update={"signal": signal}).closed(ending, date(2026, 5, 1))
    row = {**plain_row(event.closing_row), "as_of": event.last_look}
    for in_alert in (True, False):
        sentences = sentences_of(row, in_alert=in_alert)
        assert sentences[1:] == [ENDINGS[ending]]
        assert "May 1" not in sentences[0]
    facts = dict(facts_of(row))
    assert facts["Now"] == "no longer compared"
    assert facts["When found"] != "unknown"
    assert "May 1" not in repr(facts)
    assert "since" not in lines_now(row)
    assert headline(row, "resolved").endswith(" is no longer compared, as of May 1")


def test_a_change_that_became_the_normal_is_not_said_to_be_back() -> None:
    detail = {**ROW["detail"], "reason": "became_the_normal", "opened_with": {"baseline": 0.1, "current": 0.15}}
    text = told(state="resolved", detail=detail)
    assert text.startswith("Alpha denies more: the denial rate went from 10.0 % to 15.0 %")
    assert "and is now 15.3 %" in text
    assert "back" not in text


MIX: dict[str, Any] = {
    **ROW, "signal": "procedure_mix", "direction": "improving", "baseline": 0.0, "current": 0.248, "effect": 0.031,
    "maturity": 1.0,
    "detail": {
        **ROW["detail"], "effect_low": -0.044, "effect_high": 0.102, "explanation": None,
        "money": {"per_month": 2100.0, "low": -3000.0, "high": 7000.0, "delayed": None, "gain": True},
    },
}  # fmt: skip


def test_a_mix_whose_worth_may_be_either_way_is_told_as_changed_and_not_as_worse_or_better() -> None:
    assert plain(headline(MIX)) == (
        "Other procedures are billed to Alpha: 24.8 % of the lines are others than before, as of May 1"
    )
    text = plain(describe(MIX))
    assert text.startswith("Other procedures are billed to Alpha: 25 % of the lines are others than before")
    assert "What that does to the dollars a line is not clear yet (-4.4 % to +10.2 %)." in text
    assert "What it costs is not clear yet (-$7,000 to $3,000 a month)." in text
    assert "more dollars a line" not in text
    facts = {name: plain(value) for name, value in facts_of(MIX)}
    assert facts["Change"] == "not clear yet (-4.4 % to +10.2 % in dollars a line)"
    assert facts["Costs"] == "not clear yet (-$7,000 to $3,000 a month)"
    assert direction_text(MIX) == "not clear"
    bare = {**MIX, "detail": {**MIX["detail"], "effect_low": None, "effect_high": None, "money": None}}
    assert "the source sends no amounts for these procedures" in describe(bare)


def test_a_mix_whose_worth_is_clear_is_told_with_its_sign() -> None:
    worse = {
        **MIX, "direction": "worsening", "effect": -0.1,
        "detail": {**ROW["detail"], "explanation": None, "effect_low": -0.15, "effect_high": -0.05},
    }  # fmt: skip
    assert plain(headline(worse)) == (
        "Lower-valued procedures are billed to Alpha: -10.0 % in dollars a line, about $12,000 a month, as of May 1"
    )
    assert direction_text(worse) == "worsening"


def test_money_whose_interval_holds_zero_is_in_no_subject_and_no_loss() -> None:
    money = {"per_month": 24_000.0, "low": -12_000.0, "high": 61_000.0, "delayed": None, "gain": False}
    row = {**ROW, "detail": {**ROW["detail"], "money": money}}
    assert "$" not in headline(row)
    assert "What it costs is not clear yet (-$12,000 to $61,000 a month)." in describe(row)
    assert "This costs" not in describe(row)
    assert brief_money(money) == "not clear"
    lag = {**row, "signal": "decision_lag", "baseline": 14.0, "current": 18.0, "effect": 4.0}
    lag["detail"] = {**ROW["detail"], "explanation": None, "money": {**money, "delayed": 24_000.0}}
    assert (
        "How much more is outstanding is not clear yet (-$12,000 to $61,000 outstanding at any time)."
        in describe(lag)
    )


@pytest.mark.parametrize(
    ("complete_to", "young"), [("2026-03-07", True), ("2026-03-11", True), ("2026-03-12", False)]
)
def test_the_size_of_a_change_of_less_than_eight_days_is_said_to_be_that_so_far(
    complete_to: str, *, young: bool
) -> None:
    row = {**ROW, "detail": {**ROW["detail"], "complete_to": complete_to}}
    assert (" so far" in headline(row)) == young
    assert (" so far" in dict(facts_of(row))["Change"]) == young
    assert ("So far that is an average of the" in describe(row)) == young


def test_the_difference_of_the_periods_says_why_it_is_not_that_of_the_headline() -> None:
    assert (
        "The rate above is carried forward to when all lines are decided; of the lines decided so far, the two periods "
        "as they stand differ by +5.5 points: +5.0 points on lines of the same kind"
    ) in told()
