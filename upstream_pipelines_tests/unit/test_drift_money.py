"""Dollars and contributions from a breakdown small enough to work out by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upstream_pipelines.drift.breakdown import EXPOSURE_KEYS, EXPOSURE_SUMS, KEYS, SUMS, Breakdown, Periods
from upstream_pipelines.drift.contributions import explain
from upstream_pipelines.drift.flow import DAYS_PER_MONTH
from upstream_pipelines.drift.money import effect_interval, money_of

CHANGE = date(2026, 4, 1)
PERIODS = Periods(
    "decision", CHANGE - timedelta(days=100), CHANGE - timedelta(days=1), CHANGE, CHANGE + timedelta(days=49)
)
EXACT = 1e-9


def cell(dimension: str, period: str, name: str, **sums: float) -> dict[str, Any]:
    keys = {"dimension": dimension, "period": period, "age_bin": 3, "name": name, "cpt": "", "modifiers": ""}
    return {**keys, **dict.fromkeys(SUMS, 0.0), **sums}


def breakdown() -> Breakdown:
    """1,000 lines of two groups before (100 days), 500 since (50 days); prices 100 and 50 dollars, halved paid."""
    rows: list[dict[str, Any]] = []
    for period, lines, denied in (("before", (600, 400), (60, 20)), ("since", (300, 200), (75, 10))):
        for index, (group, price) in enumerate((("Surgery", 100.0), ("Visits", 50.0))):
            paid = lines[index] - denied[index]
            sums = {
                "lines": lines[index], "decided": lines[index], "denied": denied[index], "paid_out": lines[index],
                "denied_authorization": denied[index] / 5, "priced": paid, "allowed": paid * price,
                "paid": paid * price / 2, "sum_log_allowed": paid * np.log(price),
                "sum_log_allowed_sq": paid * np.log(price) ** 2,
            }  # fmt: skip
            for dimension, name in (
                ("all", ""),
                ("cpt_group", group),
                ("facility", "North"),
                ("denial_code", "CO16"),
            ):
                rows.append(cell(dimension, period, name, **sums))
            for dimension, name in (("procedure", group), ("procedure_facility", "North")):
                rows.append({**cell(dimension, period, name, **sums), "cpt": f"9{index}"})
    cells = pd.DataFrame(rows)[[*KEYS, *SUMS]].groupby(KEYS, as_index=False).sum()
    return Breakdown(PERIODS, cells, None, 100, (0, 0))


def row(signal: str, baseline: float, current: float, effect: float, width: float = 0.0) -> dict[str, Any]:
    return {
        "signal": signal, "direction": "worsening", "baseline": baseline, "current": current, "effect": effect,
        "detail": {
            "baseline_low": baseline, "baseline_high": baseline, "current_low": current - width,
            "current_high": current + width, "over_dispersion": 1.0,
        },
    }  # fmt: skip


A_MONTH = DAYS_PER_MONTH / 50


def test_denials_cost_the_lines_times_what_a_denied_line_would_have_been_allowed() -> None:
    money = money_of(breakdown(), row("denial_rate", 0.08, 0.17, 0.09, 0.02))
    assert money is not None
    value = (75 * 100 + 10 * 50) / 85
    assert money["lost"] == money["per_month"] == pytest.approx(0.09 * 500 * A_MONTH * value)
    assert [money["low"], money["high"]] == pytest.approx(
        [0.07 * 500 * A_MONTH * value, 0.11 * 500 * A_MONTH * value]
    )
    assert "gross" in money["basis"]


def test_the_customers_own_overturned_denials_are_taken_off_from_twenty_outcomes_on() -> None:
    asked = row("denial_rate", 0.08, 0.17, 0.09)
    gross = money_of(breakdown(), asked)
    few = money_of(replace(breakdown(), overturned=(19, 9)), asked)
    net = money_of(replace(breakdown(), overturned=(40, 10)), asked)
    assert gross is not None
    assert few is not None
    assert net is not None
    assert few["per_month"] == gross["per_month"]
    assert net["per_month"] == pytest.approx(0.75 * gross["per_month"])
    assert "25% of this payer's denials that were paid later (10 of 40)" in net["basis"]


def test_slower_decisions_keep_the_payers_dollars_of_so_many_days() -> None:
    money = money_of(breakdown(), row("decision_lag", 14.0, 21.0, 7.0))
    assert money is not None
    paid_a_day = (540 * 100 + 380 * 50) / 2 / 100
    assert money["delayed"] == pytest.approx(7 * paid_a_day)
    assert money["lost"] is None


def test_fewer_lines_and_lower_valued_ones_are_no_loss_at_the_payer() -> None:
    volume = money_of(breakdown(), row("volume", 70.0, 35.0, -0.5))
    mix = money_of(breakdown(), row("procedure_mix", 0.0, 0.2, -0.1))
    assert volume is not None
    assert mix is not None
    a_line = (540 * 100 + 380 * 50) / 1000
    assert volume["not_submitted"] == pytest.approx(0.5 * 10 * DAYS_PER_MONTH * a_line)
    assert mix["lower_valued"] == pytest.approx(0.1 * 500 * A_MONTH * a_line)
    assert (volume["lost"], mix["lost"]) == (None, None)


def test_lower_prices_cost_each_codes_own_dollars() -> None:
    """Surgery is paid a tenth less, visits as before: the loss is a ninth of what surgery is paid now."""
    whole = breakdown()
    cells = whole.cells.copy()
    surgery = (cells["cpt"] == "90") & (cells["period"] == "since")
    cells.loc[surgery, "allowed"] *= 0.9
    cells.loc[surgery, "sum_log_allowed"] += cells.loc[surgery, "priced"] * np.log(0.9)
    cells.loc[surgery, "sum_log_allowed_sq"] = cells.loc[surgery, "priced"] * np.log(90.0) ** 2
    cut = replace(whole, cells=cells)
    money = money_of(cut, row("allowed_amount", 1.0, 0.96, -0.04))
    assert money is not None
    assert money["under_priced"] == pytest.approx(225 * 10 * A_MONTH)
    assert money["low"] < money["per_month"] < money["high"]
    told = explain(cut, row("allowed_amount", 1.0, 0.96, -0.04))
    assert told is not None
    assert told["change"] == pytest.approx(-225 * 10 / (225 * 100 + 190 * 50))
    assert told["by"]["procedure"][0]["name"] == "90"


def test_a_volume_that_only_met_a_weekend_is_not_explained_by_anyone() -> None:
    """50 lines on every weekday, 30 of surgery; the days since the change run from Friday to Monday."""
    friday = date(2026, 4, 3)
    rows = []
    for dimension, groups in (
        ("all", {"": 50}), ("cpt_group", {"Surgery": 30, "Visits": 20}), ("facility", {"North": 50})
    ):  # fmt: skip
        for name, a_day in groups.items():
            rows.append(cell(dimension, "before", name, lines=60 * a_day))
            rows.append(cell(dimension, "since", name, lines=2 * a_day))
    periods = Periods(
        "submission", friday - timedelta(days=84), friday - timedelta(days=1), friday, friday + timedelta(days=3)
    )
    told = explain(Breakdown(periods, pd.DataFrame(rows), None, 84, (0, 0)), row("volume", 250.0, 250.0, 0.0))
    assert told is not None
    assert told["change"] == 0.0
    assert all(abs(entry["total"]) < EXACT for entries in told["by"].values() for entry in entries)


def test_a_volume_that_stopped_is_missed_by_each_as_it_was_expected() -> None:
    whole = breakdown()
    stopped = replace(whole, cells=whole.cells[whole.cells["period"] == "before"])
    told = explain(stopped, row("volume", 70.0, 0.0, -1.0))
    assert told is not None
    assert {entry["name"]: entry["total"] for entry in told["by"]["cpt_group"]} == pytest.approx(
        {"Surgery": -42.0, "Visits": -28.0}
    )


def test_an_improvement_is_a_gain_and_its_amounts_are_positive() -> None:
    better = {**row("denial_rate", 0.08, 0.03, -0.05, 0.01), "direction": "improving"}
    money = money_of(breakdown(), better)
    assert money is not None
    assert money["gain"]
    assert 0 < money["low"] < money["per_month"] < money["high"]


@pytest.mark.parametrize("signal", ["denial_rate", "decision_lag", "allowed_amount", "volume", "procedure_mix"])
def test_without_amounts_there_is_no_money_rather_than_none_lost(signal: str) -> None:
    cells = breakdown().cells.assign(allowed=0.0, paid=0.0, priced=0.0)
    bare = replace(breakdown(), cells=cells)
    assert money_of(bare, row(signal, 1.0, 0.9, -0.1)) is None


@pytest.mark.parametrize(("signal", "known"), [("denial_rate", False), ("procedure_mix", False), ("volume", True)])
def test_no_lines_cost_nothing_that_is_known_unless_they_are_the_news(signal: str, *, known: bool) -> None:
    asked = {**row(signal, 0.2, 0.1, -0.1), "n_current": 0}
    assert (money_of(breakdown(), asked) is not None) == known
    assert money_of(breakdown(), {**asked, "n_current": 1}) is not None


def test_an_interval_of_baseline_and_current_makes_one_of_the_difference() -> None:
    asked = row("denial_rate", 0.10, 0.16, 0.06)
    asked["detail"] |= {"baseline_low": 0.06, "baseline_high": 0.14, "current_low": 0.13, "current_high": 0.19}
    assert list(effect_interval(asked)) == pytest.approx([0.01, 0.11])


def random_breakdown(draw: Callable[..., Any]) -> Breakdown:
    """Any sums that belong together: each line has a group, a facility, a code, a reason and an age."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(2, 60))
    lines = pd.DataFrame(
        {
            "period": rng.choice(["before", "since"], count), "age_bin": rng.integers(1, 4, count),
            "cpt_group": rng.choice(["A", "B"], count), "facility": rng.choice(["N", "S", "W"], count),
            "cpt": rng.choice(["1", "2", "3"], count), "denied": rng.random(count) < 0.3,
            "log": rng.normal(4, 0.5, count), "repeat": rng.integers(1, 9, count),
        }
    )  # fmt: skip
    lines["cpt_group"] = lines["cpt"].map({"1": "A", "2": "A", "3": "B"})
    lines["reason"] = np.where(lines["denied"], rng.choice(["CO16", "CO197"], len(lines)), "")
    paid = ~lines["denied"]
    lines = lines.assign(
        lines=1.0, decided=1.0, denied=lines["denied"].astype(float),
        denied_authorization=(lines["reason"] == "CO197").astype(float), paid_out=1.0, priced=paid.astype(float),
        billed=1.0, allowed=np.exp(lines["log"]) * paid, paid=1.0, sum_log_allowed=lines["log"] * paid,
        sum_log_allowed_sq=lines["log"] ** 2 * paid, modifiers="",
    )  # fmt: skip
    # One to eight lines alike.
    lines[SUMS] = lines[SUMS].mul(lines["repeat"], axis=0)
    parts = []
    for dimension, keys in {
        "all": [], "cpt_group": ["age_bin", "cpt_group"], "facility": ["age_bin", "facility"],
        "denial_code": ["age_bin", "reason"], "procedure": ["cpt", "cpt_group"],
        "procedure_facility": ["cpt", "facility"],
    }.items():  # fmt: skip
        sums = lines.groupby(["period", *keys])[SUMS].sum().reset_index()
        parts.append(sums.assign(dimension=dimension, name=sums[keys[-1]] if keys else ""))
    cells = (
        pd.concat(parts)
        .fillna({"age_bin": 0, "cpt": ""})
        .assign(modifiers="")[[*KEYS, *SUMS]]
        .astype({"age_bin": "int64"})
    )
    exposure = pd.concat(
        lines.assign(line_days=rng.integers(1, 9, len(lines)).astype(float))
        .groupby(["period", "age_bin", name])[EXPOSURE_SUMS]
        .sum()
        .reset_index()
        .rename(columns={name: "name"})
        .assign(dimension=name)[[*EXPOSURE_KEYS, *EXPOSURE_SUMS]]
        for name in ("cpt_group",)
    )
    by_facility = exposure.assign(dimension="facility")
    return Breakdown(PERIODS, cells, pd.concat([exposure, by_facility]), 100, (0, 0))


@settings(deadline=None, max_examples=30)
@given(st.data(), st.floats(-0.9, 2.0))
def test_the_worth_of_a_mix_is_one_figure_in_its_row_its_money_and_what_it_is_taken_apart_into(
    data: st.DataObject, effect: float
) -> None:
    whole = random_breakdown(data.draw)
    asked = {**row("procedure_mix", 0.0, 0.2, effect), "direction": "worsening" if effect < 0 else "improving"}
    asked["detail"] |= {"effect_low": effect - 0.1, "effect_high": effect + 0.1}
    assert effect_interval(asked) == (effect - 0.1, effect + 0.1)
    told, money = explain(whole, asked), money_of(whole, asked)
    if told is None or not told["before"]:
        return
    assert np.sign(told["change"]) == np.sign(effect)
    assert told["change"] == pytest.approx(effect * told["before"])
    assert money is None or (money["per_month"] >= 0) == (effect == 0 or money["gain"] == (effect > 0))


def test_a_mix_of_codes_nobody_was_paid_for_has_no_money() -> None:
    asked = row("procedure_mix", 0.0, 0.2, 0.0)
    asked["detail"] |= {"effect_low": None, "effect_high": None}
    assert money_of(breakdown(), asked) is None


def test_a_code_that_is_not_paid_yet_is_no_loss_in_what_a_mix_is_taken_apart_into() -> None:
    """Half of the surgery bears a new code of which nothing is decided: it counts as a mean line and not as nothing."""
    whole = breakdown()
    new = whole.cells[(whole.cells["cpt"] == "90") & (whole.cells["period"] == "since")]
    unpaid = new.assign(cpt="NEW", priced=0.0, allowed=0.0)
    told = explain(replace(whole, cells=pd.concat([whole.cells, unpaid])), row("procedure_mix", 0.0, 0.2, 0.0))
    assert told is not None
    parts = {entry["name"]: entry["total"] for entry in told["by"]["procedure"]}
    assert abs(parts["NEW"]) < 5.0


# Some 100 ms of pandas an example, and several times that on a busy machine.
@settings(deadline=None, max_examples=50)
@given(st.data())
def test_contributions_of_every_signal_add_up_to_its_change(data: st.DataObject) -> None:
    """Whatever the lines: groups in one period only, codes never paid, reasons that came and went."""
    whole = random_breakdown(data.draw)
    for signal in (
        "denial_rate", "authorization_denials", "decision_lag", "allowed_amount", "volume", "procedure_mix"
    ):  # fmt: skip
        asked = row(signal, 10.0, 8.0, -0.2)
        told = explain(whole, asked)
        if told is None:
            continue
        if signal == "volume":
            # It is the row's own change that is shared out: only the row knows the calendar.
            assert (told["before"], told["since"]) == (asked["baseline"], asked["current"])
            assert told["change"] == asked["current"] - asked["baseline"]
        scale = 1 + abs(told["change"]) + max(abs(e["total"]) for entries in told["by"].values() for e in entries)
        if told["parts"]:
            assert abs(sum(told["parts"].values()) - told["change"]) < EXACT * scale, signal
        for dimension, entries in told["by"].items():
            total = sum(entry["total"] for entry in entries) + told["parts"].get("maturity", 0.0)
            assert abs(total - told["change"]) < EXACT * scale, (signal, dimension)
            shares = [entry["share"] for entry in entries if "share" in entry]
            if dimension == "denial_code":  # those that moved nothing, and lines that are not denied, are left out
                assert sum(shares) <= 1 + EXACT
            elif shares:
                assert abs(sum(shares) - 1) < EXACT, (signal, dimension)
