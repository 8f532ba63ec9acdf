"""Troubles that show in the counts: names and files are told as data, and what a payer does is not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from upstream_pipelines.drift.activity import activity_from_claims
from upstream_pipelines.drift.detector import Detector
from upstream_pipelines.drift.events import DriftEvent
from upstream_pipelines.drift.explanation import describe
from upstream_pipelines.drift.source_patterns import alike, patterns_in

START = date(2024, 1, 1)  # a Monday
CHANGED = 260


def customer(seed: int = 31, days: int = 340) -> pd.DataFrame:
    """Four payers of 12 to 90 lines a weekday, decided after two to four weeks."""
    rng = np.random.default_rng(seed)
    frames = []
    for name, lines in (("Alpha", 40.0), ("Beta", 12.0), ("Gamma", 90.0), ("Delta", 25.0)):
        day = np.arange(days)
        week = np.exp(rng.normal(0, 0.08, days // 7 + 1))[day // 7]
        submitted = np.repeat(day, rng.poisson(lines * week * (day % 7 < 5)))
        decided = submitted + np.maximum(np.round(rng.gamma(9.0, 1.6, len(submitted))), 1).astype(int)
        denied = rng.random(len(submitted)) < 0.1
        frames.append(
            pd.DataFrame(
                {
                    "payer": name,
                    "submitted_date": np.datetime64(START) + submitted,
                    "decided_date": np.datetime64(START) + decided,
                    "outcome": np.where(denied, "DENIED", "PAID"),
                    "allowed_amount": np.where(denied, 0.0, 100.0),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def day_of(claims: pd.DataFrame, column: str = "submitted_date") -> pd.Series:
    return (claims[column] - pd.Timestamp(START)).dt.days


def looked_at(claims: pd.DataFrame, last: int = CHANGED + 60, step: int = 2) -> pd.DataFrame:
    detector = Detector(*activity_from_claims(claims))
    memory: dict[Any, DriftEvent] = {}
    rows = []
    for day in range(CHANGED - 10, last, step):
        result = detector.look(START + timedelta(days=day), list(memory.values()))
        memory |= {event.event_id: event for event in result.events}
        rows.append(result.rows)
    return pd.concat(rows, ignore_index=True)


def renamed(claims: pd.DataFrame, old: list[str], new: Any) -> pd.DataFrame:
    return claims.assign(
        payer=claims["payer"].where(~(claims["payer"].isin(old) & (day_of(claims) >= CHANGED)), new)
    )


def half(claims: pd.DataFrame) -> pd.Series:
    return pd.Series(np.random.default_rng(5).random(len(claims)) < 0.5, index=claims.index)


def split(claims: pd.DataFrame) -> pd.DataFrame:
    return renamed(claims, ["Alpha"], half(claims).map({True: "Zeta", False: "Eta"}))


def aliased(claims: pd.DataFrame) -> pd.DataFrame:
    return renamed(claims, ["Alpha"], claims["payer"].where(half(claims), "ALPHA, Inc."))


def missing_for(days: int) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda claims: claims[~day_of(claims).between(CHANGED, CHANGED + days - 1)]


def half_missing(claims: pd.DataFrame) -> pd.DataFrame:
    return claims[~(day_of(claims).between(CHANGED, CHANGED + 29) & half(claims))]


def decisions_late(claims: pd.DataFrame) -> pd.DataFrame:
    late = day_of(claims, "decided_date").between(CHANGED, CHANGED + 13)
    arrived = pd.Timestamp(START + timedelta(days=CHANGED + 35))
    return claims.assign(
        first_seen_at=claims["submitted_date"], decision_seen_at=claims["decided_date"].where(~late, arrived)
    )


@pytest.mark.parametrize(
    ("trouble", "reason", "payers"),
    [
        (lambda claims: renamed(claims, ["Alpha"], "Zeta Care"), "renamed_payer", {"Alpha"}),
        (split, "renamed_payer", {"Alpha"}),
        (lambda claims: renamed(claims, ["Alpha", "Delta"], "Omega"), "renamed_payer", {"Alpha", "Delta"}),
        (lambda claims: renamed(claims, ["Delta"], "Alpha"), "renamed_payer", {"Alpha", "Delta"}),
        (aliased, "unmapped_alias", {"Alpha"}),
        (missing_for(21), "days_without_claims", {"Alpha", "Beta", "Gamma", "Delta"}),
        (half_missing, "all_payers_at_once", {"Alpha", "Beta", "Gamma", "Delta"}),
        (decisions_late, "days_without_claims", {"Alpha", "Gamma", "Delta"}),
    ],
    ids=["renamed", "split in two", "two into a new one", "into one already there", "half under another spelling",
         "three weeks missing", "half of a month missing", "decisions five weeks late"],
)  # fmt: skip
def test_a_change_of_names_or_files_is_data_from_its_first_look_to_its_last(
    trouble: Callable[[pd.DataFrame], pd.DataFrame], reason: str, payers: set[str]
) -> None:
    rows = looked_at(trouble(customer()))
    of_events = rows[rows["event_id"].notna()]
    assert set(of_events["payer"]) >= payers
    assert set(of_events["cause"]) == {"data"}
    assert all(row["data_reasons"] for row in of_events["detail"])
    assert any(reason in row["data_reasons"] for row in of_events["detail"])
    opened: list[dict[str, Any]] = of_events[of_events["state"] == "open"].to_dict("records")  # type: ignore[assignment]
    assert all("Data, not payer: " in describe(row) for row in opened)


@pytest.mark.parametrize(
    "change",
    [
        lambda claims: claims[~((claims["payer"] == "Alpha") & (day_of(claims) >= CHANGED))],
        lambda claims: claims.assign(
            decided_date=claims["decided_date"]
            + pd.to_timedelta(9 * ((claims["payer"] == "Alpha") & (day_of(claims) >= CHANGED)), unit="D")
        ),
        lambda claims: claims.assign(
            allowed_amount=claims["allowed_amount"]
            * (1 - 0.1 * ((claims["payer"] == "Gamma") & (day_of(claims, "decided_date") >= CHANGED)))
        ),
    ],
    ids=["no claims go to it any more", "it decides later", "it pays less"],
)
def test_what_one_payer_does_is_the_payers(change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """The likeliest mistake is to see a pattern in everything: these must alarm."""
    rows = looked_at(change(customer()))
    of_events = rows[rows["event_id"].notna()]
    assert (of_events["state"] == "open").sum() == 1
    assert set(of_events["cause"]) == {"payer"}


def test_a_new_payer_of_its_own_and_one_that_goes_weeks_later_are_no_renaming() -> None:
    claims = customer()
    day = day_of(claims)
    new = customer(7).query("payer == 'Delta'").assign(payer="Newcomer")
    new = new[day_of(new) >= CHANGED - 30]
    rows = looked_at(
        pd.concat([claims[~((claims["payer"] == "Alpha") & (day >= CHANGED))], new], ignore_index=True)
    )
    of_events = rows[rows["event_id"].notna() & (rows["payer"] == "Alpha")]
    assert set(of_events["cause"]) == {"payer"}


def test_a_late_file_explains_what_it_filled_only() -> None:
    claims = customer()
    late = day_of(claims).between(CHANGED, CHANGED + 4)
    claims["first_seen_at"] = claims["submitted_date"].where(
        ~late, pd.Timestamp(START + timedelta(days=CHANGED + 21))
    )
    detector = Detector(*activity_from_claims(claims))

    def seen(day: int) -> set[tuple[str, str | None, date, date | None]]:
        view = detector.view(START + timedelta(days=day))
        return {(item.code, item.by, item.first_day, item.last_day) for item in patterns_in(view)}

    monday, thursday = START + timedelta(days=CHANGED - 1), START + timedelta(days=CHANGED + 3)
    assert seen(CHANGED - 20) == set()
    # CHANGED is a Tuesday; Saturday and Sunday are no busy days.
    assert seen(CHANGED + 15) == {("days_without_claims", "submission", monday + timedelta(days=1), thursday)}
    after = seen(CHANGED + 30)
    assert {code for code, _, _, _ in after} == {"late_file"}
    assert ("late_file", "submission", monday + timedelta(days=1), thursday) in after


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Aetna", "AETNA, Inc."),
        ("Blue Cross", "Blue Cross Blue Shield"),
        ("BCBS", "Blue Cross Blue Shield"),
        ("UnitedHealthcare", "United Healthcare"),
        ("Humana Health Plan", "Humana"),
        ("Cigna", "Cigma"),
    ],
)
def test_spellings_of_one_payer_look_alike_either_way_round(one: str, other: str) -> None:
    assert alike(one, other)
    assert alike(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Aetna", "Cigna"),
        ("Medicare", "Medicaid"),
        ("Health Plan", "Insurance Company"),
        ("Anthem", "Humana"),
        ("!!", "Aetna"),
    ],
)
def test_other_payers_do_not(one: str, other: str) -> None:
    assert not alike(one, other)
