"""The detector as a whole, on simulated customers: what must be found, what must stay silent, what may not leak."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upstream_pipelines.drift import replay
from upstream_pipelines.drift.activity import activity_from_claims
from upstream_pipelines.drift.detector import Detector
from upstream_pipelines.drift.events import DriftEvent
from upstream_pipelines.drift.settings import SIGNALS, DriftSettings

START = date(2024, 1, 1)  # a Monday
CHANGED = 260  # the day, counted from START, from which on a change holds for what is submitted
COLUMNS = [
    "as_of", "payer", "cpt_group", "signal", "direction", "state", "baseline", "current", "effect", "p_value",
    "q_value", "severity", "n_baseline", "n_current", "maturity", "cause",
]  # fmt: skip


@dataclass(frozen=True)
class Payer:
    """A simulated payer; the fields named `then_` hold from CHANGED until `back`, and it has no lines from `until` on."""

    name: str
    lines: float = 50.0
    denial: float = 0.1
    then_denial: float | None = None
    lag: float = 14.0
    denied_lag: float = 1.3
    then_days_slower: float = 0.0
    then_price: float = 1.0
    then_codes: tuple[float, ...] | None = None
    then_volume: float = 1.0
    authorization: float = 0.1
    then_authorization: float | None = None
    growth: float = 1.0
    until: int = 10_000
    back: int = 10_000


def simulate(seed: int, payers: list[Payer], days: int = 400, wobble: float = 0.1) -> pd.DataFrame:
    """Lines on weekdays, gamma lags longer for denials, decisions on weekdays, weekly wobble of volume and denials."""
    rng = np.random.default_rng(seed)
    frames = []
    for payer in payers:
        week = np.exp(rng.normal(0, wobble, (2, days // 7 + 1)))
        day = np.arange(days)
        rate = (
            payer.lines
            * np.linspace(1, payer.growth, days)
            * week[0][day // 7]
            * (day % 7 < 5)
            * (day < payer.until)
            * np.where((day >= CHANGED) & (day < payer.back), payer.then_volume, 1.0)
        )
        submitted = np.repeat(day, rng.poisson(rate))
        after = (submitted >= CHANGED) & (submitted < payer.back)
        share = np.where(after & (payer.then_denial is not None), payer.then_denial or 0.0, payer.denial)
        denied = rng.random(len(submitted)) < share * week[1][submitted // 7]
        mean = payer.lag * np.where(denied, payer.denied_lag, 1.0)
        then_of_denied = payer.authorization if payer.then_authorization is None else payer.then_authorization
        of_denied = np.where(after, then_of_denied, payer.authorization)
        reason = np.where(rng.random(len(submitted)) < of_denied, "CO-197", "CO-16")
        lag = rng.gamma(4.0, mean / 4.0) + np.where(after, payer.then_days_slower, 0.0)
        decided = submitted + np.maximum(np.round(lag), 1).astype(int)
        decided += np.array([0, 0, 0, 0, 0, 2, 1])[decided % 7]
        codes = np.array(["99213", "99214", "70553", "80053"])
        before_mix, after_mix = np.array([0.4, 0.3, 0.1, 0.2]), np.array(payer.then_codes or (0.4, 0.3, 0.1, 0.2))
        code = np.where(
            after, rng.choice(4, len(submitted), p=after_mix), rng.choice(4, len(submitted), p=before_mix)
        )
        price = np.array([90.0, 130.0, 900.0, 20.0])[code] * np.exp(rng.normal(0, 0.15, len(submitted)))
        frames.append(
            pd.DataFrame(
                {
                    "payer": payer.name,
                    "cpt": codes[code],
                    "submitted_date": np.datetime64(START) + submitted,
                    "decided_date": np.datetime64(START) + decided,
                    "outcome": np.where(denied, "DENIED", "PAID"),
                    "denial_reason_code": np.where(denied, reason, ""),
                    "billed_amount": price * 2,
                    "allowed_amount": np.where(denied, 0.0, price * np.where(after, payer.then_price, 1.0)),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def days(first: int, last: int, step: int = 1) -> list[date]:
    return [START + timedelta(days=day) for day in range(first, last, step)]


def opened(rows: pd.DataFrame) -> list[tuple[str, str, str]]:
    found = rows[rows["state"] == "open"]
    return list(zip(found["payer"], found["signal"], found["direction"], strict=True))


def delay(rows: pd.DataFrame) -> int:
    first = rows.loc[rows["state"] == "open", "as_of"].min()
    return int((pd.Timestamp(first) - pd.Timestamp(START)).days) - CHANGED


OTHERS = [Payer("Beta", lines=12), Payer("Gamma", lines=90, denial=0.06, lag=9)]


@pytest.mark.parametrize(
    ("changed", "signal", "within"),
    [
        (Payer("Alpha", then_denial=0.2), "denial_rate", 60),
        (Payer("Alpha", then_days_slower=7), "decision_lag", 25),
        (Payer("Alpha", then_days_slower=14), "decision_lag", 25),
        (Payer("Alpha", then_price=0.95), "allowed_amount", 35),
        (Payer("Alpha", then_price=0.90), "allowed_amount", 25),
        (Payer("Alpha", then_volume=0.5), "volume", 25),
        (Payer("Alpha", then_volume=0.8), "volume", 60),
        (Payer("Alpha", then_codes=(0.25, 0.3, 0.1, 0.35)), "procedure_mix", 40),
        (Payer("Alpha", then_authorization=0.6), "authorization_denials", 60),
    ],
    ids=[
        "denials 10 to 20 %",
        "7 days slower",
        "14 days slower",
        "prices -5 %",
        "prices -10 %",
        "volume halved",
        "volume -20 %",
        "mix",
        "authorisation",
    ],
)
def test_a_change_opens_one_event_of_its_payer_signal_and_direction(
    changed: Payer, signal: str, within: int
) -> None:
    rows = replay(simulate(11, [changed, *OTHERS]), days(CHANGED - 60, CHANGED + 90, 2))
    # That a mix has changed is clear weeks before what it is worth.
    at_first = "unclear" if signal == "procedure_mix" else "worsening"
    assert opened(rows) == [("Alpha", signal, at_first)]
    assert 0 < delay(rows) <= within
    of_event = rows[(rows["payer"] == "Alpha") & (rows["signal"] == signal) & (rows["state"] == "updated")]
    assert of_event["direction"].iloc[-1] == "worsening"


def test_the_figures_of_an_event_are_those_that_were_put_in() -> None:
    rows = replay(simulate(12, [Payer("Alpha", then_denial=0.2), *OTHERS]), days(CHANGED + 85, CHANGED + 90))
    event = rows[(rows["signal"] == "denial_rate") & rows["state"].isin(["open", "updated"])].iloc[-1]
    assert event["baseline"] == pytest.approx(0.10, abs=0.015)
    assert event["current"] == pytest.approx(0.20, abs=0.035)
    assert event["effect"] == pytest.approx(event["current"] - event["baseline"])
    assert event["p_value"] < 0.001
    assert event["q_value"] < 0.01
    assert 0 < event["severity"] < 1
    # Of the lines of the last 28 days, which `current` is of; decisions take 14 and more.
    assert 0.3 < event["maturity"] < 0.6
    prices = replay(simulate(12, [Payer("Alpha", then_price=0.9), *OTHERS]), days(CHANGED + 60, CHANGED + 61))
    event = prices[prices["state"] == "open"].iloc[0]
    assert (event["baseline"], round(event["current"], 2)) == (1.0, pytest.approx(0.9, abs=0.02))


def test_a_single_first_look_finds_a_change_of_two_months_ago() -> None:
    rows = replay(
        simulate(13, [Payer("Alpha", then_days_slower=7), *OTHERS]), [START + timedelta(days=CHANGED + 60)]
    )
    assert opened(rows) == [("Alpha", "decision_lag", "worsening")]


def test_nothing_changed_opens_nothing() -> None:
    payers = [Payer(f"P{n}", lines=n, denial=0.05 + n / 1000, lag=8 + n / 8) for n in (4, 8, 15, 30, 60, 110)]
    assert opened(replay(simulate(14, payers), days(200, 400, 2))) == []


@pytest.mark.parametrize(
    ("decoy", "allowed"),
    [
        (Payer("Alpha", then_codes=(0.1, 0.1, 0.6, 0.2)), {"procedure_mix"}),
        (Payer("Alpha", then_days_slower=10, lines=100, denied_lag=1.8), {"decision_lag"}),
        (Payer("Alpha", growth=3.0), set()),
        (Payer("Alpha", until=CHANGED), {"volume"}),
        (Payer("Alpha", denied_lag=0.5, growth=2.0), set()),
    ],
    ids=["mix", "lag only", "growth", "payer stops", "denials faster"],
)
def test_what_is_no_change_of_a_signal_does_not_open_it(decoy: Payer, allowed: set[str]) -> None:
    rows = replay(simulate(15, [decoy, *OTHERS]), days(CHANGED, CHANGED + 130, 2))
    assert {signal for _, signal, _ in opened(rows)} <= allowed


def test_one_event_lives_from_open_over_updated_to_resolved() -> None:
    claims = simulate(16, [Payer("Alpha", then_days_slower=9, back=CHANGED + 50), *OTHERS])
    rows = replay(claims, days(CHANGED, 400))
    life = rows[(rows["payer"] == "Alpha") & (rows["signal"] == "decision_lag") & (rows["state"] != "watch")]
    states = life.loc[life["state"] != "not_enough_data", "state"].tolist()
    assert states[0] == "open"
    assert states[-1] == "resolved"
    assert set(states[1:-1]) == {"updated"}
    assert life["as_of"].is_unique
    assert len(life["baseline"].dropna().unique()) == 1


def _carried(detector: Detector, looks: list[date]) -> tuple[pd.DataFrame, list[DriftEvent]]:
    """Looks as production makes them: events through JSON between one look and the next."""
    live: dict[Any, str] = {}
    rows = []
    for as_of in looks:
        result = detector.look(as_of, [DriftEvent.model_validate_json(text) for text in live.values()])
        live |= {event.event_id: event.model_dump_json() for event in result.events}
        rows.append(result.rows)
    return pd.concat(rows, ignore_index=True), [DriftEvent.model_validate_json(text) for text in live.values()]


def test_a_past_look_is_the_same_whatever_was_loaded_later() -> None:
    """The likeliest leak is a pool, a code list or a scale learnt from rows that a look may not know yet."""
    claims = simulate(17, [Payer("Alpha", then_price=0.9), *OTHERS])
    looks = days(CHANGED - 10, CHANGED + 40, 5)
    seen_late = claims.sample(300, random_state=1).assign(
        payer="Omega", cpt="NEW", first_seen_at=pd.Timestamp(looks[-1])
    )
    cut = claims[claims["submitted_date"] < pd.Timestamp(looks[-1])].copy()
    unknown = cut["decided_date"] >= pd.Timestamp(looks[-1])
    cut.loc[unknown, "outcome"] = "PENDING"
    cut.loc[unknown, "decided_date"] = pd.NaT
    early, events = _carried(Detector(*activity_from_claims(cut)), looks)
    late, same_events = _carried(Detector(*activity_from_claims(pd.concat([claims, seen_late]))), looks)
    assert (early["state"] == "open").any()
    pd.testing.assert_frame_equal(early, late)
    assert events == same_events
    pd.testing.assert_frame_equal(early[COLUMNS], replay(claims, looks))


def test_the_order_of_lines_and_the_form_of_days_and_amounts_do_not_matter() -> None:
    claims = simulate(18, [Payer("Alpha", lines=20, then_price=0.85)])
    looks = days(CHANGED + 10, CHANGED + 60, 10)
    other = claims.sample(frac=1, random_state=2)
    other["submitted_date"] = other["submitted_date"].dt.date
    other["decided_date"] = other["decided_date"].dt.strftime("%Y-%m-%d")
    other["allowed_amount"] = pd.Series(
        [Decimal(repr(value)) for value in other["allowed_amount"]], index=other.index, dtype="object"
    )
    expected = replay(claims, looks)
    assert len(expected)
    pd.testing.assert_frame_equal(replay(other, [str(day) for day in looks]), expected)
    pd.testing.assert_frame_equal(replay(other, pd.to_datetime(looks)), expected)


def test_too_little_data_is_a_result_with_its_remedy() -> None:
    claims = simulate(19, [Payer("Alpha", lines=1)], days=60)
    result = Detector(*activity_from_claims(claims)).look(START + timedelta(days=50), [])
    assert set(result.rows["state"]) == {"not_enough_data"}
    assert sorted(result.rows["signal"]) == sorted(SIGNALS)
    assert set(result.rows["direction"]) == {"none"}
    for detail in result.rows["detail"]:
        assert detail["lines_needed"] > 0
        assert date.fromisoformat(detail["about_date"]) > START + timedelta(days=50)
        assert detail["smallest_detectable"] is None or detail["smallest_detectable"] > 0
    assert Detector(*activity_from_claims(claims)).look(START, []).rows.empty


def test_a_payer_with_many_lines_and_no_denials_for_authorization_lacks_those_and_no_lines() -> None:
    """Of payers with thousands it was said that one more is needed."""
    claims = simulate(19, [Payer("Alpha"), *OTHERS], days=330)
    claims["denial_reason_code"] = claims["denial_reason_code"].where(claims["outcome"] != "DENIED", "CO-16")
    rows = Detector(*activity_from_claims(claims)).look(START + timedelta(days=320), []).rows
    lacking = rows[(rows["signal"] == "authorization_denials") & (rows["state"] == "not_enough_data")]
    assert set(lacking["payer"]) == set(claims["payer"])
    for detail in lacking["detail"]:
        assert detail == {
            "lines_needed": 0, "about_date": None, "smallest_detectable": None, "reason": "no_such_denials",
        }  # fmt: skip


def test_a_source_that_shows_no_open_lines_says_nothing_about_lags() -> None:
    """Lines that appear only once decided make the newest look fast: an improvement that is none."""
    claims = simulate(20, [Payer("Alpha"), *OTHERS], days=330)
    claims["first_seen_at"] = claims["decided_date"] + pd.Timedelta(days=1)
    rows = replay(claims, days(200, 330, 5))
    assert opened(rows) == []
    assert set(rows.loc[rows["signal"] == "decision_lag", "state"]) == {"not_enough_data"}


def test_weekly_files_and_a_late_file_are_no_drift() -> None:
    claims = simulate(21, [Payer("Alpha"), *OTHERS], days=330)
    day = (claims["decided_date"] - pd.Timestamp(START)).dt.days
    submitted = (claims["submitted_date"] - pd.Timestamp(START)).dt.days
    weekly = pd.Timestamp(START) + pd.to_timedelta(day // 7 * 7 + 7, unit="D")
    weekly = weekly.where(weekly != pd.Timestamp(START + timedelta(days=287)), weekly + pd.Timedelta(days=5))
    claims["decision_seen_at"] = weekly
    claims["first_seen_at"] = pd.Timestamp(START) + pd.to_timedelta(submitted // 7 * 7 + 7, unit="D")
    assert opened(replay(claims, days(200, 330, 2))) == []


def _claims(rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    names = ["payer", "cpt", "submitted_date", "decided_date", "outcome", "billed_amount", "allowed_amount"]
    return pd.DataFrame(rows, columns=names)


LINE = ("A", "1", date(2025, 1, 6), date(2025, 1, 20), "PAID", 2.0, 1.0)


@pytest.mark.parametrize(
    "claims",
    [
        _claims([]),
        _claims([LINE]),
        _claims([LINE] * 500),
        _claims([("A", "1", date(2025, 1, n % 28 + 1), None, "PENDING", 1.0, None) for n in range(200)]),
        _claims(
            [("A", "1", date(2025, 1, n % 28 + 1), date(2025, 2, 1), "DENIED", None, None) for n in range(200)]
        ),
        _claims([("A", "1", date(2020, 1, 1), date(2020, 1, 5), "PAID", 1.0, float("nan"))] * 50 + [LINE] * 50),
    ],
    ids=["no line", "one line", "one day", "all pending", "all denied", "a gap of years"],
)
def test_odd_histories_are_looked_at_without_an_event(claims: pd.DataFrame) -> None:
    rows = replay(claims, ["2019-01-01", date(2025, 1, 7), pd.Timestamp("2025-02-10"), "2025-08-01"])
    assert list(rows.columns) == COLUMNS
    assert set(rows["state"]) <= {"not_enough_data", "watch"}
    assert replay(claims, []).empty


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.2, 6), st.floats(0, 1), st.floats(1, 60))
def test_any_customer_gives_rows_within_their_bounds(seed: int, lines: float, denial: float, lag: float) -> None:
    claims = simulate(seed, [Payer("A", lines, denial, lag=lag), Payer("B", lines * 3, denial)], days=250)
    rows = replay(claims, days(20, 280, 60))
    for name in ("p_value", "q_value", "severity", "maturity"):
        assert rows[name].dropna().between(0, 1).all()
    judged = rows[rows["state"] != "not_enough_data"]
    assert judged[["baseline", "current", "effect", "p_value", "q_value", "severity"]].notna().all(axis=None)
    assert not judged.duplicated(["as_of", "payer", "signal"]).any()


def test_settings_survive_json_and_refuse_what_they_do_not_know() -> None:
    chosen = DriftSettings(false_events_per_year=2, minimum_price_change=0.05)
    assert DriftSettings.model_validate_json(chosen.model_dump_json()) == chosen
    with pytest.raises(ValueError, match="extra"):
        DriftSettings.model_validate({"threshold": 5})


def test_a_customer_without_a_line_has_looks_without_rows() -> None:
    assert replay(simulate(11, OTHERS[:1]).iloc[:0], days(CHANGED, CHANGED + 2)).empty
