"""What people see of a look in the Dagster UI: which columns first, the newest event in words, figures with units."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from upstream_pipelines.customers.models import Customer
from upstream_pipelines.defs.drift_tables import drift_metadata
from upstream_pipelines.drift.figures import Figure
from upstream_pipelines.drift.store import LooksMade
from upstream_pipelines_tests.unit.drift_rows import ROW

TODAY = date(2026, 5, 1)
ACME = Customer(1, "acme", "Acme", "active", {}, datetime(2026, 1, 1, tzinfo=UTC), None)


def _row(event: str, **changes: Any) -> dict[str, Any]:
    detail = ROW["detail"] | {"money": ROW["detail"]["money"] | {"basis": "gross"}} | changes.pop("detail", {})
    return {**ROW, "as_of": TODAY, "event_id": event * 8, "detail": detail, **changes}


def _metadata(*rows: dict[str, Any]) -> dict[str, Any]:
    figures = pd.DataFrame(columns=list(Figure.__dataclass_fields__))
    made = LooksMade(list(rows), 0, figures, {}, frozenset(), TODAY, TODAY)
    return drift_metadata(ACME, made)


def _cells(table: Any, line: int) -> list[str]:
    return [
        cell.strip()
        for cell in str(table.md_str).replace("\N{NO-BREAK SPACE}", " ").splitlines()[line].split(" | ")
    ]


def test_what_changed_since_when_how_sure_and_what_it_costs_come_first_and_nothing_stands_twice() -> None:
    """Twelve columns were wider than the page: a reader had to scroll to the dollars."""
    table = _metadata(_row("a"))["events now"]
    assert _cells(table, 0) == [
        "| what changed, as of May 1", "since", "how sure", "what it costs", "lines decided so far", "state", "event |",
    ]  # fmt: skip
    assert _cells(table, 2) == [
        "| Alpha denies more: 15.3 % of decided lines, up from 10.0 %", "about Mar 5 (Feb 26 to Mar 11)",
        "very sure, over 99.9 %", "about $12,000 a month ($8,100 to $16,000)", "72 % of those sent since Mar 5", "open",
        "aaaaaaaa |",
    ]  # fmt: skip


def test_a_share_of_lines_decided_says_since_which_day_they_were_sent() -> None:
    """29, 62 and 72 % stood on one page, each "complete", each of other lines."""
    going = _row("a", state="updated", detail={"current_from": "2026-04-03"})
    mix = _row("b", signal="volume", maturity=1.0)
    cells = [_cells(_metadata(row)["events now"], 2)[4] for row in (going, mix)]
    assert cells == ["72 % of those sent since Apr 3", "counted as they come"]


def test_what_is_watched_says_what_it_waits_for_and_a_gain_is_no_cost() -> None:
    waiting = _row("a", state="watch", event_id=None)
    gain = _row("b", detail={"money": ROW["detail"]["money"] | {"gain": True}})
    assert _cells(_metadata(waiting)["events now"], 2)[-2:] == ["watch, for another week", "- |"]
    assert _cells(_metadata(gain)["events now"], 2)[3] == "gains about $12,000 a month ($8,100 to $16,000)"


def test_a_change_of_the_data_says_so_in_the_table_and_has_no_price() -> None:
    cells = _cells(_metadata(_row("a", cause="data"))["events now"], 2)
    assert "open, data not payer" in cells
    assert cells[3] == "-"


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "resolved", "detail": {"reason": "back_at_baseline", "confidence": 0.0}},
        {"state": "updated", "detail": {"calm_since": "2026-04-20", "confidence": 0.0}},
    ],
    ids=["resolved", "calm"],
)
def test_of_a_change_that_is_over_the_table_says_neither_how_sure_nor_what_it_costs(
    changes: dict[str, Any],
) -> None:
    """Its last figures are those of days that deny it: the change that was found was not one of "not sure, 0.0 %"."""
    cells = _cells(_metadata(_row("a", q_value=1.0, **changes))["events now"], 2)
    assert cells[2:4] == ["-", "-"]
    assert cells[0].startswith("| Alpha denied more")
    unpriced = _row("a", q_value=1.0, **{**changes, "detail": changes["detail"] | {"money": None}})
    assert _cells(_metadata(unpriced)["events now"], 2)[3] == "-"


def test_the_events_come_first_and_the_newest_of_them_as_plain_text() -> None:
    old = _row("a", state="updated")
    new = _row("b", payer="Beta [x](http://a.example)", detail={"change_date": "2026-04-02"})
    metadata = _metadata(old, new)
    names = list(metadata)
    assert names.index("events now") < names.index("newest event") < names.index("explanation")
    told = metadata["newest event"]
    assert isinstance(told, dg.TextMetadataValue)
    assert (told.text or "").startswith("bbbbbbbb: Beta [x](http://a.example) denies more")
    assert _cells(metadata["events now"], 2)[-1] == "bbbbbbbb |"
    assert _cells(metadata["explanation"], 2)[0] == "| bbbbbbbb"


def test_the_smallest_change_that_would_show_has_its_unit() -> None:
    reason = {"reason": "too_few_lines", "lines_needed": 210, "about_date": "2026-07-01"}
    rows = [
        _row("a", signal=signal, state="not_enough_data", detail=reason | {"smallest_detectable": size})
        for signal, size in (
            ("denial_rate", 0.084),
            ("decision_lag", 6.2),
            ("allowed_amount", 0.07),
            ("volume", 0.3),
        )
    ]
    table = _metadata(*rows)["not enough data"]
    assert [_cells(table, line)[-1] for line in range(2, 6)] == ["8 points |", "6 days |", "7 % |", "30 % |"]


def test_a_payer_of_few_lines_is_counted_and_not_named() -> None:
    """It may be a patient, put where the payer belongs."""
    reason = {"reason": "too_few_lines", "lines_needed": 210}
    rows = [
        _row(event, payer=payer, state="not_enough_data", detail=reason)
        for event, payer in (("a", "Aetna"), ("b", "Jane Doe"), ("c", "J. Roe"))
    ]
    blank = dict.fromkeys(
        ("baseline", "baseline_low", "baseline_high", "current", "current_low", "current_high"), 0.1
    )
    figures = pd.DataFrame(
        {
            "payer": payer,
            "signal": signal,
            **blank,
            "n_baseline": before,
            "n_current": now,
            "maturity": 0.9,
            "status": "ok",
        }
        for payer, before, now in (("Aetna", 9, 2), ("Jane Doe", 10, 0), ("J. Roe", 0, 1))
        for signal in ("denial_rate", "volume")
    )
    made = LooksMade(rows, 0, figures, {}, frozenset(), TODAY, TODAY)
    metadata = drift_metadata(ACME, made)
    shown = "".join(str(getattr(value, "md_str", value)) for value in metadata.values())
    assert "Jane" not in shown
    assert "Roe" not in shown
    assert [_cells(metadata["not enough data"], line)[0] for line in (2, 3)] == [
        "| Aetna", "| (2 payers with fewer than 11 lines)",
    ]  # fmt: skip
    assert "Aetna" in next(str(value.md_str) for name, value in metadata.items() if name.startswith("figures"))
