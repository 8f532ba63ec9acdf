"""What people read of an event: the sentences, the headline, the facts and the money."""

from __future__ import annotations

from typing import Any

import pytest

from upstream_pipelines.drift.explaining import tell_what_is_within
from upstream_pipelines.drift.explanation import NAMES, describe, facts_of, headline, sentences_of, title_of
from upstream_pipelines.drift.units import rounded_dollars
from upstream_pipelines_tests.unit.drift_rows import ROW, plain, told


def test_an_event_says_what_changed_since_when_how_sure_how_complete_and_what_it_costs() -> None:
    text = told()
    for part in (
        (
            "Alpha denies more: 15.3 % of decided lines, up from 10.0 %, of claims sent since about March 5, 2026 "
            "(Feb 26 to Mar 11)."
        ),
        "This costs about $12,000 a month ($8,100 to $16,000).",
        "+5.0 points on lines of the same kind, +0.2 points from another mix of procedures",
        (
            "The largest part of it, by CPT group: Imaging (+4.0 points); by denial code: CO-197 (+5.0 points). "
            "These are views of the same change and do not add up."
        ),
        "Figures as of May 1, 2026.",
        (
            "How sure: very sure, over 99.9 %: of all findings of the same look at least as clear as this one, under 0.1 % come "
            "about by chance alone."
        ),
        "(95 % intervals)",
        (
            "Based on 910 decided lines of claims sent since March 5, 2026, against 4,200 before; 72 % of the lines sent since "
            "March 5, 2026 are decided, counted up to April 30, 2026."
        ),
    ):
        assert part in text
    assert "facility" not in text  # no facility carries a quarter of it


@pytest.mark.parametrize(
    ("first", "second", "named"),
    [
        ({"total": -47.0, "share": 0.5}, {"total": -47.0, "share": 0.5}, False),  # everywhere
        (
            {"total": -60.0, "share": 0.5},
            {"total": -34.0, "share": 0.5},
            False,
        ),  # 64 % of the change, half the lines
        ({"total": -60.0, "share": 0.4}, {"total": -34.0, "share": 0.6}, True),
        ({"total": -80.0, "share": 0.7}, {"total": -14.0, "share": 0.3}, True),  # nearly all of it
        ({"total": -80.0}, {"total": -14.0}, True),
        ({"total": -60.0}, {"total": -34.0}, False),  # told before shares were kept
        ({"total": 60.0, "share": 0.1}, {"total": -154.0, "share": 0.9}, False),  # the other way
    ],
)
def test_the_largest_part_is_named_only_where_it_stands_out(
    first: dict[str, Any], second: dict[str, Any], named: bool
) -> None:
    explanation = {
        "unit": "lines a week", "change": -94.0, "parts": {},
        "by": {"facility": [{"name": "South Clinic", **first}, {"name": "North Clinic", **second}]},
    }  # fmt: skip
    row = {**ROW, "signal": "volume", "detail": {**ROW["detail"], "explanation": explanation}}
    assert ("South Clinic" in describe(row)) is named
    assert ("Comes from" in dict(facts_of(row))) is named


def test_what_was_never_priced_is_not_said_to_lack_amounts() -> None:
    """Events of an earlier release have no money with them, whatever the source sends."""
    detail = {name: value for name, value in ROW["detail"].items() if name != "money"}
    assert "Costs" not in dict(facts_of({**ROW, "detail": detail}))
    assert "amounts" not in describe({**ROW, "detail": detail})


@pytest.mark.parametrize(
    ("signal", "said"),
    [("authorization_denials", "no denials for authorization so far"), ("denial_rate", "no denials so far")],
)
def test_a_payer_that_denied_nothing_so_far_needs_no_more_lines(signal: str, said: str) -> None:
    lacking = {"lines_needed": 0, "about_date": None, "smallest_detectable": None, "reason": "no_such_denials"}
    text = told(signal=signal, state="not_enough_data", baseline=None, detail=lacking)
    assert text.endswith(f"cannot be judged: {said}.")


def test_what_is_not_known_of_how_sure_is_not_said() -> None:
    assert "How sure: very sure, over 99.9 %. " in told(q_value=None)
    assert "How sure" not in told(q_value=float("nan"), detail={"change_date": "2026-03-05"})
    assert "about 12.0 % come about by chance alone" in told(q_value=0.12)


@pytest.mark.parametrize("signal", ["decision_lag", "allowed_amount", "volume", "procedure_mix"])
def test_what_waits_for_no_decision_is_not_called_complete(signal: str) -> None:
    text = told(signal=signal, maturity=1.0)
    assert "before, counted up to April 30, 2026." in text
    assert "100 %" not in text
    assert "Complete" not in dict(facts_of({**ROW, "signal": signal, "maturity": 1.0}))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"signal": "decision_lag", "baseline": 14.0, "current": 21.0, "effect": 7.0},
         "Alpha decides later: half of the lines are decided after 21 days, up from 14"),
        ({"signal": "allowed_amount", "baseline": 1.0, "current": 0.95, "effect": -0.05},
         "Alpha allows less for the same procedures: 5.0 % less than before"),
        ({"signal": "volume", "baseline": 260.0, "current": 180.0, "effect": -0.308},
         "Fewer claim lines go to Alpha: 180 a week where 260 were to be expected (-30.8 %)"),
        ({"signal": "procedure_mix", "baseline": 0.0, "current": 0.12, "effect": -0.06},
         "Lower-valued procedures are billed to Alpha: 12 % of the lines are others than before, 6.0 % fewer dollars"),
        ({"signal": "authorization_denials", "baseline": 0.02, "current": 0.05, "effect": 0.03},
         "Alpha denies more for missing authorization: 5.0 % of decided lines, up from 2.0 %"),
        ({"direction": "improving", "current": 0.05, "effect": -0.05},
         "Alpha denies less: 5.0 % of decided lines, down from 10.0 %"),
    ],
)  # fmt: skip
def test_each_signal_has_its_own_words(changes: dict[str, Any], said: str) -> None:
    assert told(**changes).startswith(said)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "Alpha denies more: 10.0 % → 15.3 %, about $12,000 a month"),
        ({"signal": "decision_lag", "baseline": 14.0, "current": 21.0, "effect": 7.0},
         "Alpha decides later: 14.0 → 21.0 days, about $12,000 a month"),
        ({"signal": "volume", "baseline": 260.0, "current": 180.0, "effect": -0.308},
         "Fewer claim lines go to Alpha: 260 → 180 lines a week, about $12,000 a month"),
    ],
)  # fmt: skip
def test_the_headline_has_payer_signal_size_money_and_day(changes: dict[str, Any], said: str) -> None:
    assert plain(headline({**ROW, **changes})) == f"{said}, as of May 1"
    ended = headline({**ROW, **changes, "state": "resolved"}, "resolved")
    assert ended.startswith(f"Resolved: Alpha: {NAMES[changes.get('signal', 'denial_rate')]} is ")


@pytest.mark.parametrize(
    ("signal", "by", "said"),
    [
        ("denial_rate", "submission", "of claims sent since about March 5"),
        ("denial_rate", "decision", "of claims decided since about March 5"),
        ("allowed_amount", "decision", "of claims decided since about March 5"),
        ("procedure_mix", "submission", "of claims sent since about March 5"),
        ("volume", "submission", "expected (+5.3 %), since about March 5"),
    ],
)
def test_a_change_date_says_which_day_of_a_claim_it_means(signal: str, by: str, said: str) -> None:
    detail = {**ROW["detail"], "by": by}
    assert said in told(signal=signal, detail=detail)
    assert (
        f"for claims {'decided' if by == 'decision' else 'sent'} since then"
        in dict(facts_of({**ROW, "signal": signal, "detail": detail}))["Since"]
    )


@pytest.mark.parametrize(
    ("signal", "by", "said"),
    [
        ("denial_rate", "submission", "910 decided lines of claims sent since April 3, 2026"),
        ("denial_rate", "decision", "910 lines decided since April 3, 2026, whenever they were sent"),
        ("allowed_amount", "decision", "910 lines decided since April 3, 2026"),
        ("volume", "submission", "910 lines submitted since April 3, 2026"),
    ],
)
def test_a_figure_of_the_last_weeks_only_names_their_first_day(signal: str, by: str, said: str) -> None:
    detail = {**ROW["detail"], "by": by, "current_from": "2026-04-03"}
    row = {**ROW, "signal": signal, "state": "updated", "detail": detail}
    assert said in describe(row)
    assert said in dict(facts_of(row))["Now"]
    if signal == "denial_rate":
        assert (
            dict(facts_of(row))["Complete"]
            .replace("\N{NO-BREAK SPACE}", " ")
            .startswith("72 % of the lines sent since April 3, 2026 are decided")
        )


@pytest.mark.parametrize("state", ["open", "updated", "resolved"])
def test_each_place_says_as_of_which_day_its_figures_are(state: str) -> None:
    """An alert of a past look says 21.8 %, the event's page of today 22.2 %: both are right, each of its own day."""
    row = {**ROW, "state": state, "as_of": "2026-10-26"}
    for in_alert in (True, False):
        assert sentences_of(row, in_alert=in_alert)[-1].startswith("Figures as of October 26, 2026")
    assert headline(row).endswith(", as of Oct 26")
    assert title_of(row).endswith(", as of Oct 26")
    assert plain(dict(facts_of(row))["Now"]).startswith("15.3 %, as of October 26, 2026, on 910 ")


def test_an_alert_of_a_live_event_says_that_its_page_goes_on_being_counted() -> None:
    said = "Figures as of May 1, 2026; the event goes on being counted, and its page has the newest."
    assert said in sentences_of(ROW, in_alert=True)
    assert said not in sentences_of(ROW)
    assert "goes on" not in " ".join(sentences_of({**ROW, "state": "resolved"}, in_alert=True))


@pytest.mark.parametrize(
    ("q", "sure", "chance"),
    [(0.0004, "over 99.9 %", "under 0.1 %"), (0.004, "99.6 %", "about 0.4 %"), (0.12, "88.0 %", "about 12.0 %")],
)
def test_how_sure_and_the_share_of_chance_are_told_as_the_two_parts_of_one_whole(
    q: float, sure: str, chance: str
) -> None:
    text = told(q_value=q, detail={**ROW["detail"], "confidence": 1.0 - q})
    assert (
        f"sure, {sure}: of all findings of the same look at least as clear as this one, {chance} come about by"
        in text
    )


def test_dollars_say_of_which_lines_and_days_they_are_and_that_they_are_gross() -> None:
    money = {**ROW["detail"]["money"], "basis": "947 decided lines a month; gross: nothing is known of appeals"}
    periods = {"before": ["2025-07-08", "2026-03-04"], "since": ["2026-03-05", "2026-04-30"]}
    explanation = {**ROW["detail"]["explanation"], "periods": periods}
    assert (
        "This costs about $12,000 a month ($8,100 to $16,000). Worked out from 947 decided lines a month; gross: nothing is "
        "known of appeals. Days counted: Jul 8, 2025 to Mar 4, 2026 before the change, Mar 5 to Apr 30, 2026 since."
    ) in told(detail={**ROW["detail"], "money": money, "explanation": explanation})
    unexplained = told(detail={**ROW["detail"], "money": money, "explanation": None})
    assert "gross: nothing is known of appeals. How sure" in unexplained
    doubtful = told(detail={**ROW["detail"], "money": {**money, "low": -10.0}})
    assert "is not clear yet (-$10 to $16,000 a month). Worked out from 947" in doubtful


def priced(signal: str, per_month: float, **changes: Any) -> dict[str, Any]:
    money = {**ROW["detail"]["money"], "per_month": per_month, "gain": changes.pop("gain", False)}
    return {**ROW, "signal": signal, **changes, "detail": {**ROW["detail"], "money": money}}


@pytest.mark.parametrize(
    ("others", "within"),
    [
        ([], False),
        ([priced("denial_rate", 20_000.0)], True),
        ([priced("denial_rate", 20_000.0, state="updated")], True),
        ([priced("denial_rate", 9_000.0)], False),
        ([priced("denial_rate", 20_000.0, state="watch")], False),
        ([priced("denial_rate", 20_000.0, state="resolved")], False),
        ([priced("denial_rate", 20_000.0, cause="data")], False),
        ([priced("denial_rate", 20_000.0, gain=True)], False),
        ([priced("denial_rate", 20_000.0, payer="Beta")], False),
        ([priced("volume", 20_000.0)], False),
    ],
)
def test_money_of_authorization_is_within_that_of_the_denial_rate_only_where_that_is_told_and_as_large(
    others: list[dict[str, Any]], within: bool
) -> None:
    row = priced("authorization_denials", 12_000.0)
    tell_what_is_within([row, *others])
    assert ("within what its denial rate costs" in describe(row)) is within


def test_facts_name_the_event() -> None:
    assert dict(facts_of({**ROW, "event_id": "36a1e27a-ce2e-5617-a824-a9d92d1e640d"}))["Event"].startswith(
        "36a1e27a"
    )


def test_a_change_of_the_data_says_so_first_and_costs_nothing() -> None:
    row = {**ROW, "cause": "data", "detail": {**ROW["detail"], "data_reasons": ["late_file"]}}
    assert headline(row, "open", "data").startswith("Data, not payer: Alpha denies more")
    assert "$" not in headline(row, "open", "data")
    assert "Data, not payer: Many of the claims" in describe(row)
    assert "$" not in describe(row)


def test_facts_are_at_most_what_a_slack_section_holds_and_name_the_money() -> None:
    facts = facts_of(ROW)
    assert len(facts) <= 10
    assert dict(facts)["Costs"] == "about $12,000 a month ($8,100 to $16,000)"
    unpriced = {**ROW, "detail": {**ROW["detail"], "money": None}}
    assert "no amounts" in dict(facts_of(unpriced))["Costs"]


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0.3, "$0"), (7.4, "$7"), (12.6, "$13"), (1249, "$1,200"), (99_600, "$100,000"), (-5130, "-$5,100")],
)
def test_dollars_for_people_have_two_digits(amount: float, text: str) -> None:
    assert rounded_dollars(amount) == text


def test_every_state_is_told_as_what_it_is() -> None:
    assert "Only watched, no alarm: a single week" in told(state="watch")
    assert "back at the baseline" in told(state="resolved")
    renewed = told(state="resolved", detail={"reason": "became_the_normal"})
    assert "new normal" in renewed
    closed = {
        "as_of": "2026-05-01", "payer": "Alpha", "signal": "volume", "state": "resolved", "detail": {"reason": "payer_gone"},
    }  # fmt: skip
    assert "no claims bear this payer's name" in describe(closed)
    assert headline(closed, "resolved") == "Resolved: Alpha: claim volume is no longer compared, as of May 1"
    lacking = {
        "lines_needed": 42, "about_date": "2026-05-01", "smallest_detectable": 0.19, "reason": "too_few_lines",
    }  # fmt: skip
    text = told(state="not_enough_data", baseline=None, detail=lacking)
    assert "42 more decided lines" in text
    assert "May 1, 2026" in text
    assert "19 points" in text
    stopped = told(state="not_enough_data", detail={**lacking, "about_date": None})
    assert "none come at present" in stopped
