"""What people see of drift: figures at equal maturity, the chart, the sentences."""

from __future__ import annotations

import struct
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from upstream_pipelines.drift.activity import activity_from_claims
from upstream_pipelines.drift.chart import drift_chart
from upstream_pipelines.drift.detector import Detector
from upstream_pipelines.drift.events import DriftEvent
from upstream_pipelines.drift.explaining import tell_what_is_within
from upstream_pipelines.drift.explanation import NAMES, describe, facts_of, headline, title_of
from upstream_pipelines.drift.figures import figures_of, wilson
from upstream_pipelines.drift.units import brief_money, direction_text, rounded_dollars
from upstream_pipelines_tests.unit.test_drift_replay import CHANGED, Payer, simulate
from upstream_pipelines_tests.unit.test_drift_replay import START as FIRST

START = date(2025, 1, 6)


def customer(seed: int = 1) -> pd.DataFrame:
    """Alpha denies 10 %, three times slower than it pays; Tiny has a line a week. Nothing changes."""
    rng = np.random.default_rng(seed)
    submitted = np.repeat(np.arange(300), 40)
    denied = rng.random(len(submitted)) < 0.1
    decided = submitted + rng.gamma(4, np.where(denied, 30, 10) / 4).round().astype(int)
    alpha = pd.DataFrame({"payer": "Alpha", "submitted": submitted, "decided": decided, "denied": denied})
    week = np.arange(0, 300, 7)
    tiny = pd.DataFrame({"payer": "Tiny $1", "submitted": week, "decided": week + 9, "denied": False})
    both = pd.concat([alpha, tiny], ignore_index=True)
    return pd.DataFrame(
        {
            "payer": both["payer"],
            "cpt": "99213",
            "submitted_date": pd.Timestamp(START) + pd.to_timedelta(both["submitted"], unit="D"),
            "decided_date": pd.Timestamp(START) + pd.to_timedelta(both["decided"], unit="D"),
            "outcome": np.where(both["denied"], "DENIED", "PAID"),
            "billed_amount": 200.0,
            "allowed_amount": np.where(both["denied"], 0.0, 100 * np.exp(rng.normal(0, 0.1, len(both)))),
        }
    )


@pytest.fixture(scope="module")
def figures() -> pd.DataFrame:
    detector = Detector(*activity_from_claims(customer()))
    return figures_of(detector, detector.charts(START + timedelta(days=300)))


def test_figures_compare_both_sides_at_the_same_maturity(figures: pd.DataFrame) -> None:
    """A current block of which slow denials are not in yet must not look better than a baseline that has them all."""
    row = figures[(figures["payer"] == "Alpha") & (figures["signal"] == "denial_rate")].iloc[0]
    assert row["baseline"] < 0.07
    assert row["current_low"] <= row["baseline"] <= row["current_high"]
    assert row["baseline_low"] < row["baseline"] < row["baseline_high"]
    assert 0.3 <= row["maturity"] < 1
    assert f"{row['maturity']:.0%} complete" in row["status"]


def test_what_waits_for_no_decision_shows_the_decided_share_and_calls_nothing_complete(
    figures: pd.DataFrame,
) -> None:
    alpha = figures[figures["payer"] == "Alpha"].set_index("signal")
    others = alpha.loc[["decision_lag", "allowed_amount", "volume", "procedure_mix"]]
    assert others["status"].str.endswith("counted as they come").all()
    assert others["maturity"].tolist() == [alpha["maturity"]["denial_rate"]] * 4


def test_figures_of_time_and_price_are_those_put_in(figures: pd.DataFrame) -> None:
    alpha = figures[figures["payer"] == "Alpha"].set_index("signal")
    lag, price = alpha.loc["decision_lag"], alpha.loc["allowed_amount"]
    assert lag["baseline"] == pytest.approx(10.2, abs=0.8)
    assert lag["current_low"] < lag["baseline"] < lag["current_high"]
    assert (price["baseline"], price["current"]) == (1.0, pytest.approx(1.0, abs=0.02))
    assert price["current_low"] < 1 < price["current_high"]


def test_a_payer_with_too_little_has_a_status_and_no_figures(figures: pd.DataFrame) -> None:
    tiny = figures[figures["payer"] == "Tiny $1"]
    assert len(tiny) == 6
    assert tiny["current"].isna().all()
    assert tiny["status"].str.startswith("not enough data").all()


def test_the_interval_of_a_rate_widens_with_over_dispersion_and_stays_within_bounds() -> None:
    _, low, high = wilson(0, 50, 1.0)
    assert low == 0.0
    assert high == pytest.approx(0.071, abs=0.001)
    _, low_wide, high_wide = wilson(10, 100, 4.0)
    assert low_wide < wilson(10, 100, 1.0)[1]
    assert high_wide > wilson(10, 100, 1.0)[2]


def test_the_chart_is_a_png_of_900_pixels(figures: pd.DataFrame) -> None:
    for rows in (figures, figures[figures["payer"] == "Tiny $1"], figures.iloc[:0]):
        picture = drift_chart(rows, "Acme $5 & more: drift")
        assert picture.startswith(b"\x89PNG")
        assert struct.unpack(">I", picture[16:20])[0] == 900


ROW: dict[str, Any] = {
    "payer": "Alpha", "signal": "denial_rate", "direction": "worsening", "state": "open", "baseline": 0.1,
    "current": 0.153, "effect": 0.053, "q_value": 0.0004, "n_baseline": 4200, "n_current": 910, "maturity": 0.72,
    "severity": 0.5, "cause": "payer",
    "detail": {
        "change_date": "2026-03-05", "change_date_low": "2026-02-26", "change_date_high": "2026-03-11",
        "complete_to": "2026-04-30", "confidence": 0.9996, "waits_for": "persistence",
        "money": {"per_month": 12034.0, "low": 8112.0, "high": 15999.0, "delayed": None, "gain": False},
        "explanation": {
            "unit": "share of decided lines", "change": 0.055,
            "parts": {"rate": 0.05, "mix": 0.002, "maturity": 0.003},
            "by": {
                "cpt_group": [
                    {"name": "Imaging", "total": 0.04, "share": 0.3}, {"name": "Visits", "total": 0.012, "share": 0.7},
                ],
                "facility": [
                    {"name": "North", "total": 0.01, "share": 0.1}, {"name": "South", "total": 0.009, "share": 0.1},
                ],
                "denial_code": [
                    {"name": "CO-197", "total": 0.05, "share": 0.9}, {"name": "CO-16", "total": 0.002, "share": 0.1},
                ],
            },
        },
    },
}  # fmt: skip


def told(**changes: Any) -> str:
    return describe({**ROW, **changes}).replace("\N{NO-BREAK SPACE}", " ")


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
        "How sure: very sure; of the findings at least as clear as this one, under 0.1 % come about by chance alone.",
        "(95 % intervals)",
        "Based on 910 decided lines, against 4,200 before; 72 % of the lines sent since then are decided,",
        "counted up to April 30, 2026.",
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
    assert "How sure: very sure. " in told(q_value=None)
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
def test_the_headline_has_payer_signal_size_and_money(changes: dict[str, Any], said: str) -> None:
    assert headline({**ROW, **changes}).replace("\N{NO-BREAK SPACE}", " ") == said
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
    assert title_of(row).replace("\N{NO-BREAK SPACE}", " ") == said
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


def test_a_change_that_became_the_normal_is_not_said_to_be_back() -> None:
    detail = {**ROW["detail"], "reason": "became_the_normal", "opened_with": {"baseline": 0.1, "current": 0.15}}
    text = told(state="resolved", detail=detail)
    assert text.startswith("Alpha denies more: the denial rate went from 10.0 % to 15.0 %")
    assert "and is now 15.3 %" in text
    assert "back" not in text


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
    closed = {"payer": "Alpha", "signal": "volume", "state": "resolved", "detail": {"reason": "payer_gone"}}
    assert "no claims bear this payer's name" in describe(closed)
    assert headline(closed, "resolved") == "Resolved: Alpha: claim volume is no longer compared"
    lacking = {
        "lines_needed": 42, "about_date": "2026-05-01", "smallest_detectable": 0.19, "reason": "too_few_lines",
    }  # fmt: skip
    text = told(state="not_enough_data", baseline=None, detail=lacking)
    assert "42 more decided lines" in text
    assert "May 1, 2026" in text
    assert "19 points" in text
    stopped = told(state="not_enough_data", detail={**lacking, "about_date": None})
    assert "none come at present" in stopped


MIX: dict[str, Any] = {
    **ROW, "signal": "procedure_mix", "direction": "improving", "baseline": 0.0, "current": 0.248, "effect": 0.031,
    "maturity": 1.0,
    "detail": {
        **ROW["detail"], "effect_low": -0.044, "effect_high": 0.102, "explanation": None,
        "money": {"per_month": 2100.0, "low": -3000.0, "high": 7000.0, "delayed": None, "gain": True},
    },
}  # fmt: skip


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def test_a_mix_whose_worth_may_be_either_way_is_told_as_changed_and_not_as_worse_or_better() -> None:
    assert (
        plain(headline(MIX)) == "Other procedures are billed to Alpha: 24.8 % of the lines are others than before"
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
        "Lower-valued procedures are billed to Alpha: -10.0 % in dollars a line, about $12,000 a month"
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
