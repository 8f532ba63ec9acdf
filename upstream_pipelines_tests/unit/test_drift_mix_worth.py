"""What a changed mix is worth: codes at their own prices, whichever of them the test of the mix pools."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

from upstream_pipelines.drift.activity import activity_from_claims
from upstream_pipelines.drift.data_trouble import announcements
from upstream_pipelines.drift.detector import Detector
from upstream_pipelines.drift.events import DriftEvent
from upstream_pipelines.drift.measures import Change, Comparison, compare
from upstream_pipelines.drift.mix_worth import sign_of_worth

START = date(2024, 1, 1)  # a Monday
CHANGED, DAYS = 200, 280
VISIT, LONG_VISIT = "99213", "99214"
# The visits, and so many cheap codes that a new code begins among those pooled.
PRICES = {VISIT: 90.0, LONG_VISIT: 130.0, "J1100": 4.0, **{f"8{number:04d}": 20.0 for number in range(14)}}
SHARES = {VISIT: 0.3, LONG_VISIT: 0.2, "J1100": 0.08, **{f"8{number:04d}": 0.03 for number in range(14)}}


@cache
def claims(seed: int, *, priced: bool = True) -> pd.DataFrame:
    """Alpha and, at four fifths of its prices, Beta: 60 lines a weekday each, decided after 10 days, nothing changes."""
    rng = np.random.default_rng(seed)
    day = np.arange(DAYS)
    frames = []
    for payer, level in (("Alpha", 1.0), ("Beta", 0.8)):
        submitted = np.repeat(day, rng.poisson(60.0 * (day % 7 < 5)))
        codes = rng.choice(list(SHARES), len(submitted), p=np.array(list(SHARES.values())) / sum(SHARES.values()))
        price = np.array([PRICES[code] for code in codes]) * level * np.exp(rng.normal(0, 0.05, len(codes)))
        frames.append(
            pd.DataFrame(
                {
                    "payer": payer,
                    "cpt": codes,
                    "submitted_date": np.datetime64(START) + submitted,
                    "decided_date": np.datetime64(START) + submitted + 10,
                    "outcome": "PAID",
                    "allowed_amount": price if priced else np.nan,
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def recoded(lines: pd.DataFrame, codes: Mapping[str, str], price: float = 1.0, seed: int = 9) -> pd.DataFrame:
    """From CHANGED on half of Alpha's lines of `codes` bear others, at `price` times their prices."""
    chosen = np.random.default_rng(seed).random(len(lines)) < 0.5
    chosen &= (lines["payer"] == "Alpha") & lines["cpt"].isin(list(codes))
    chosen &= lines["submitted_date"] >= np.datetime64(START) + CHANGED
    return lines.assign(
        cpt=lines["cpt"].where(~chosen, lines["cpt"].replace(dict(codes))),
        allowed_amount=lines["allowed_amount"] * np.where(chosen, price, 1.0),
    )


RENAMED = {VISIT: "NEW1", LONG_VISIT: "NEW2"}


def looks(lines: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of Alpha's mix event, a look a day from the change on."""
    detector, live, rows = Detector(*activity_from_claims(lines)), dict[Any, DriftEvent](), []
    for day in range(CHANGED + 2, DAYS + 1):
        found = detector.look(START + timedelta(days=day), list(live.values()))
        live |= {event.event_id: event for event in found.events}
        rows += [
            row
            for row in found.records
            if (row["payer"], row["signal"]) == ("Alpha", "procedure_mix") and row["event_id"] is not None
        ]
    return rows


def compared(lines: pd.DataFrame) -> Comparison:
    detector = Detector(*activity_from_claims(lines))
    split = (START - date(1970, 1, 1)).days + CHANGED
    charts = detector.charts(START + timedelta(days=DAYS + 1))
    change = Change("procedure_mix", detector.facts.payers.index("Alpha"), "submission", split, 1)
    return compare(charts, change, detector.settings)


def of_alpha(lines: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    alpha = lines[lines["payer"] == "Alpha"]
    since = alpha["submitted_date"] >= np.datetime64(START) + CHANGED
    return alpha[~since], alpha[since]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_codes_replaced_one_for_one_at_equal_prices_are_no_loss_at_any_look(seed: int) -> None:
    """The other payer pays less, the pool holds cheap codes, and at first nobody has paid the new codes at all."""
    rows = looks(recoded(claims(seed), RENAMED))
    assert rows[0]["state"] == "open"
    assert "worsening" not in {row["direction"] for row in rows}
    assert {row["direction"] for row in rows[:20]} == {"unclear"}
    assert all(row["detail"]["effect_low"] <= 0.0 <= row["detail"]["effect_high"] for row in rows[:20])


@pytest.mark.parametrize("codes", [RENAMED, {VISIT: LONG_VISIT}, {LONG_VISIT: "J1100"}], ids=str)
def test_the_effect_is_that_of_the_lines_at_the_codes_own_prices(codes: dict[str, str]) -> None:
    lines = recoded(claims(4), codes)
    before, since = of_alpha(lines)
    mean = before.groupby("cpt")["allowed_amount"].mean()
    mean = pd.concat([mean, since[~since["cpt"].isin(mean.index)].groupby("cpt")["allowed_amount"].mean()])
    truth = since["cpt"].map(mean).mean() / before["cpt"].map(mean).mean() - 1
    found = compared(lines)
    assert found.effect == pytest.approx(truth, abs=2e-3)
    assert found.effect_interval is not None
    low, high = found.effect_interval
    assert low < truth < high


def test_a_loss_is_one_for_the_worse_once_its_interval_says_so_and_is_then_told() -> None:
    rows = looks(recoded(claims(5), {LONG_VISIT: "J1100"}))
    directions = [row["direction"] for row in rows]
    assert directions[-1] == "worsening"
    first = directions.index("worsening")
    assert set(directions[first:]) == {"worsening"}
    assert set(directions[:first]) <= {"unclear"}
    assert rows[first]["detail"]["effect_high"] < 0.1
    late = {"state": "updated", "cause": "payer", "direction": "worsening"}
    assert announcements(late, "payer", "improving") == [("open", "payer")]
    assert announcements(late, "payer", "unclear") == [("open", "payer")]
    assert announcements(late, "payer", "worsening") == []


def test_the_interval_of_the_worth_holds_what_nobody_has_paid_yet() -> None:
    """New codes of which no line is decided may be worth anything: neither a loss nor a gain."""
    lines = recoded(claims(6), RENAMED)
    undecided = lines["cpt"].isin(["NEW1", "NEW2"])
    pending = lines.assign(
        decided_date=lines["decided_date"].where(~undecided), outcome=lines["outcome"].where(~undecided, "PENDING")
    )
    found = compared(pending)
    assert found.effect_interval is not None
    low, high = found.effect_interval
    assert high - low > 0.3
    assert found.worth_sign is None


def test_without_any_amount_a_changed_mix_is_one_for_the_worse() -> None:
    found = compared(recoded(claims(7, priced=False), {LONG_VISIT: "J1100"}))
    assert (found.effect, found.effect_interval, found.worth_sign) == (0.0, None, -1)
    assert sign_of_worth(None, 0) is None


def test_codes_of_later_days_and_other_payers_leave_the_last_digit_alone() -> None:
    lines = recoded(claims(8), RENAMED)
    late = lines.tail(40).assign(
        cpt=[f"A{number:04d}" for number in range(40)],
        submitted_date=np.datetime64(START) + DAYS + 20,
        decided_date=np.datetime64(START) + DAYS + 25,
    )
    assert compared(pd.concat([lines, late], ignore_index=True)) == compared(lines)
