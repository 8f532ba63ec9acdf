"""More payers, codes and groups than anybody has: looks keep to the memory they have, and say whom they leave out."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from upstream_pipelines.drift import facts as facts_module
from upstream_pipelines.drift.activity import activity_from_claims
from upstream_pipelines.drift.detector import Detector
from upstream_pipelines.drift.facts import Facts, facts_from_frames
from upstream_pipelines.drift.shortage import unwatched_text

START = date(2024, 1, 1)


def _claims(payers: dict[str, int], day: int = 0, days: int = 300, seed: int = 1) -> pd.DataFrame:
    """So many lines of each payer, all of which became known on a day."""
    rng = np.random.default_rng(seed)
    payer = np.repeat(list(payers), list(payers.values()))
    sent = np.datetime64(START) + rng.integers(0, days, len(payer))
    return pd.DataFrame(
        {
            "payer": payer,
            "cpt": rng.choice(["99213", "99214", "70010"], len(payer)),
            "submitted_date": sent,
            "decided_date": sent + rng.integers(1, 20, len(payer)),
            "outcome": np.where(rng.random(len(payer)) < 0.2, "DENIED", "PAID"),
            "allowed_amount": 100.0,
            "first_seen_at": np.datetime64(START) + 330 + day,
            "decision_seen_at": np.datetime64(START) + 330 + day,
        }
    )


def _facts(claims: pd.DataFrame) -> Facts:
    return facts_from_frames(*activity_from_claims(claims))


def test_of_too_many_payers_those_are_looked_at_that_were_sent_first_and_of_one_day_those_with_the_most_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(facts_module, "WATCHED_PAYERS", 3)
    first = _claims({"Small": 5, "Large": 50, "Middle": 20, "Tiny": 2})
    assert (_facts(first).payers, _facts(first).unwatched) == (["Large", "Middle", "Small"], 1)
    later = pd.concat([first, _claims({f"CLM{number}": 400 for number in range(6)}, day=1)])
    facts = _facts(later)
    assert (facts.payers, facts.unwatched) == (["Large", "Middle", "Small"], 7)
    assert facts.lines.sum() == 75
    assert facts.price_payer.max() < 3
    assert facts.code_payer.max() < 3


def test_a_look_at_a_past_day_is_the_same_whatever_payers_were_sent_since(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts_module, "WATCHED_PAYERS", 3)
    first = _claims({"Small": 200, "Large": 900, "Middle": 400})
    flooded = pd.concat([first, _claims({f"CLM{number}": 2000 for number in range(6)}, day=10)])
    looked = [
        Detector(*activity_from_claims(claims)).look(START + timedelta(days=335)).records
        for claims in (first, flooded)
    ]
    assert len(looked[0]) > 0
    assert repr(looked[0]) == repr(looked[1])


def test_cells_are_the_pairs_of_payer_and_code_that_there_are() -> None:
    claims = _claims({f"P{number}": 4 for number in range(50)})
    claims["cpt"] = [str(10000 + number) for number in range(len(claims))]
    facts = _facts(claims)
    assert len(facts.code_cell_payer) == 200
    assert facts.price_cells == (claims["outcome"] == "PAID").sum()
    assert sorted(facts.code_cell.tolist()) == list(range(200))
    assert facts.code_cell_payer[facts.code_cell].tolist() == facts.code_payer.tolist()


def test_groups_beyond_those_that_are_counted_each_are_counted_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts_module, "COUNTED_GROUPS", 2)
    claims = _claims({"A": 900})
    frames = activity_from_claims(claims)
    every = frames.activity["cpt_group"].value_counts()
    assert len(every) == 2
    more = frames.activity.assign(cpt_group=[f"group {number % 30}" for number in range(len(frames.activity))])
    facts = facts_from_frames(more, frames.prices, frames.codes)
    assert len(facts.groups) == 2
    assert facts.lines.sum() == 900
    assert len(np.unique(facts.group)) == 2


def test_who_is_left_out_is_told_with_what_to_do() -> None:
    assert unwatched_text(0) == ""
    assert unwatched_text(1).startswith("1 payer is not looked at: at most 500 are")
    assert unwatched_text(12_345).startswith("12,345 payers are not looked at")
    assert "payer_aliases" in unwatched_text(2)
