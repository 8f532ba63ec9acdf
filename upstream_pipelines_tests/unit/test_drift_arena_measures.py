"""How the arena judges alarms: only the right alarm counts, and the intervals are what they say."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.drift_arena import __main__ as command
from benchmarks.drift_arena import libraries, runner
from benchmarks.drift_arena.bars import bars
from benchmarks.drift_arena.cases import CASES, Setup
from benchmarks.drift_arena.contestants import events_of_runs, run_fixed_rule
from benchmarks.drift_arena.measures import (
    changes_found,
    decoy_alarms,
    false_events,
    median_interval,
    poisson_interval,
    quantile,
    wilson,
)
from benchmarks.drift_arena.page import page
from benchmarks.drift_arena.simulator import Lines, simulate
from benchmarks.drift_arena.summary import chart_rates

CELL = ("denial_rate", 1.5, 50.0, 0, "submission")


def alarm(day: int, payer: str = "A", signal: str = "denial_rate", **more: str) -> dict[str, Any]:
    return {"day": day, "payer": payer, "signal": signal, "direction": "worsening", "cause": "payer"} | more


def result(*alarms: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A customer of payers A, B and C; A's denial rate rises on day 330."""
    trial = {"payer": "A", "day": 330, "volume": 50.0, "signal": "denial_rate", "size": 1.5, "ramp": 0,
             "on": "submission", "decoy": None}  # fmt: skip
    return {"case": "change", "index": 0, "looks": list(range(300, 451)), "payers": ["A", "B", "C"], "renamed": {},
            "trials": [trial], "alarms": list(alarms), "signals": ["denial_rate"], "seconds": 1.0} | more  # fmt: skip


def test_intervals_are_the_published_ones() -> None:
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 50)[0] == pytest.approx(0.0, abs=1e-12)
    assert poisson_interval(0, 1.0) == pytest.approx((0.0, 3.6889), abs=1e-3)
    assert poisson_interval(10, 2.0) == pytest.approx((2.3977, 9.1952), abs=1e-3)


def test_the_median_counts_a_missed_change_as_longer_than_any() -> None:
    assert quantile([5.0, 9.0, math.inf], 0.5) == 9.0
    assert quantile([5.0, math.inf, math.inf], 0.5) is None
    assert quantile([], 0.5) is None
    assert median_interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]) == (2.0, 9.0)
    assert median_interval([]) == (None, None)


def test_the_interval_of_the_median_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(400):
        low, high = median_interval([float(each) for each in rng.exponential(10.0, 25)])
        assert low is not None
        assert high is not None
        covered += low <= 10.0 * math.log(2) <= high
    assert covered / 400 >= 0.93


def test_a_change_is_found_by_the_first_right_alarm_after_it() -> None:
    found = changes_found([result(alarm(320), alarm(345), alarm(390))])[CELL]
    assert (found["found"], found["median"], found["leaks"]) == (1, 15.0, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        alarm(329), alarm(330), alarm(451), alarm(345, "B"), alarm(345, signal="decision_lag"),
        alarm(345, direction="improving"), alarm(345, cause="data"),
    ],
    ids=["before", "on the day", "too late", "payer", "signal", "direction", "cause data"],
)  # fmt: skip
def test_no_other_alarm_finds_a_change(wrong: dict[str, Any]) -> None:
    found = changes_found([result(wrong)])[CELL]
    assert found["found"] == 0
    assert found["median"] is None


def test_an_alarm_of_another_signal_leaks_unless_that_signal_truly_changed() -> None:
    assert changes_found([result(alarm(345, signal="decision_lag"))])[CELL]["leaks"] == 1
    assert changes_found([result(alarm(345, signal="authorization_denials"))])[CELL]["leaks"] == 0
    assert changes_found([result(alarm(345, "B", "decision_lag"))])[CELL]["leaks"] == 0


def test_chance_is_what_unchanged_payers_of_the_same_customer_raise() -> None:
    assert changes_found([result(alarm(345, "B"))])[CELL]["by_chance"] == 0.5


def test_a_renamed_payers_alarms_are_its_own() -> None:
    renamed = result(alarm(345, "A Inc"), renamed={"A Inc": "A"})
    assert changes_found([renamed])[CELL]["found"] == 1


def test_false_events_are_counted_a_year_and_those_of_cause_data_apart() -> None:
    year = list(range(365))
    events = [alarm(9), alarm(12, direction="improving"), alarm(20, cause="data")]
    counted = false_events([result(*events, looks=year), result(looks=year)])
    assert (counted["events"], counted["a_year"], counted["worsening_a_year"]) == (2, 1.0, 0.5)
    assert counted["data_a_year"] == 0.5
    weekly = false_events([result(looks=year[::7], days_a_look=7)])
    assert weekly["customer_years"] == pytest.approx(1.0, abs=0.02)


def test_a_decoy_may_open_the_signal_it_changes_and_no_other() -> None:
    trial = {"payer": "A", "day": 330, "signal": "procedure_mix", "decoy": "mix_change"}
    silent = result(alarm(340, signal="procedure_mix"), alarm(340, "B"), trials=[trial])
    wrong = result(alarm(340), trials=[trial])
    judged = decoy_alarms([silent, wrong])
    assert (judged["payers"], judged["wrong"], judged["signals"]) == (2, 1, {"denial_rate": 1})
    assert judged["control_share"] == 0.25


def test_a_rule_has_one_event_while_it_fires_and_another_after_quiet_days() -> None:
    looks = tuple(range(100, 160))
    fires = {100, 101, 110, 140, 141}
    directions = ["worsening" if look in fires else None for look in looks]
    assert [each.day for each in events_of_runs(looks, directions, "A", "denial_rate")] == [100, 140]
    both = ["worsening" if look < 103 else "improving" if look < 106 else None for look in looks]
    assert [each.direction for each in events_of_runs(looks, both, "A", "denial_rate")] == [
        "worsening",
        "improving",
    ]


def test_the_fixed_rule_fires_on_what_it_is_for() -> None:
    """Denials from 10 to 40 %, prices and lags as they were: one worsening event of one signal."""
    day = np.repeat(np.arange(200), 20)
    ordinal = np.arange(len(day)) % 20
    zeros = np.zeros(len(day), np.int64)
    denied = np.where(day < 150, ordinal < 2, ordinal < 8)
    allowed = np.where(denied, 0.0, 100.0)
    lines = Lines(
        zeros, zeros, zeros, day, day + 1, denied, zeros, allowed, allowed, day, day + 1, zeros, denied & False,
        denied & False, day + 1, denied, allowed, day + 1,
    )  # fmt: skip
    setup = _case("null").setup(1, 0)
    quiet = Setup("null", 0, setup.customer, tuple(range(120, 195)), ())
    raised = run_fixed_rule(quiet, lines)["alarms"]
    assert {(each["signal"], each["direction"]) for each in raised} >= {("denial_rate", "worsening")}
    assert {each["signal"] for each in raised} == {"denial_rate"}
    assert 151 <= raised[0]["day"] <= 157


def _case(name: str) -> Any:
    return next(case for case in CASES if case.name == name)


def test_a_run_goes_on_where_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = runner.Plan(1, tmp_path, {"fixed rule": (("decoy_rename", 0),)})
    first = runner.run(plan, 1)

    def again(_: runner.Task) -> None:
        raise AssertionError("computed twice")

    monkeypatch.setattr(runner, "work", again)
    assert runner.run(plan, 1) == first
    assert [each["seed"] for each in first["fixed rule"]] == [1 + _case("decoy_rename").offset]
    other = runner.Plan(2, tmp_path, plan.customers)
    with pytest.raises(AssertionError, match="computed twice"):
        runner.run(other, 1)


def test_the_command_prints_tables_and_writes_figures_and_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--cases", "decoy_rename", "--customers", "1", "--contestants", "fixed rule", "--jobs", "1"]
    monkeypatch.setattr(sys, "argv", ["arena", *arguments, "--results-dir", str(tmp_path), "--seed", "1"])
    command.main()
    told = capsys.readouterr().out
    assert "seeds 1 to" in told
    assert "rename" in told
    summary = json.loads((tmp_path / "report" / "results.json").read_text())
    assert summary["contestants"]["fixed rule"]["decoys"]["rename"]["payers"] == 5
    assert (tmp_path / "report" / "images" / "arena_decoys.png").read_bytes().startswith(b"\x89PNG")
    words = (tmp_path / "report" / "arena.md").read_text()
    assert summary["run"]["command"] in words
    # The page follows from the published numbers alone, without another run.
    monkeypatch.setattr(command, "ROOT", tmp_path / "again")
    monkeypatch.setattr(command, "PUBLISHED", tmp_path / "report" / "results.json")
    (tmp_path / "again" / "docs").mkdir(parents=True)
    monkeypatch.setattr(sys, "argv", ["arena", "--redraw"])
    command.main()
    assert (tmp_path / "again" / "docs" / "arena.md").read_text() == words


@pytest.mark.parametrize(
    ("arguments", "seed"), [([], 100_000), (["--long"], 900_000), (["--long", "--seed", "7"], 7)]
)
def test_only_the_long_run_uses_the_seeds_that_are_reported(
    arguments: list[str], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["arena", *arguments])
    assert command._options().seed == seed


@pytest.mark.parametrize(
    ("ratio", "met"), [(1.5, True), (1.549, False), (1.501, False), (0.9, True), (None, False)]
)
def test_a_bar_is_held_to_the_ratio_as_measured(ratio: float | None, met: bool) -> None:
    cell = changes_found([result(alarm(345))])[CELL] | {
        "name": "x", "signal": "denial_rate", "size": 1.5, "volume": 50, "ramp": 0, "on": "submission", "ratio": ratio,
        "oracle_median": 10.0,
    }  # fmt: skip
    found, delay = bars({"false_events": {}, "decoys": {}, "changes": [cell]})
    assert found.met
    assert delay.met is met


def test_the_oracle_gets_the_false_events_of_the_same_signal() -> None:
    quiet = {"customer_years": 10.0, "by_signal_a_year": {"denial_rate": 0.4, "procedure_mix": 0.2}}
    rates = chart_rates(quiet)
    # Ten payers, two directions; where there was none, half an event in ten years.
    assert rates["denial_rate"] == pytest.approx(0.4 / 20)
    assert rates["volume"] == pytest.approx(0.05 / 20)
    # A mix may be found either way, and an authorisation change as one of the denial rate.
    assert rates["procedure_mix"] == pytest.approx(0.2 / 10)
    assert rates["authorization_denials"] == pytest.approx(0.4 / 20)


def test_an_unknown_case_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(SystemExit, match="null_doubling"):
        command._chosen(["nothing"])
    assert command._chosen(["null"]) == {"null"}


def test_libraries_that_cannot_be_installed_say_how_to_run_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libraries, "ENVIRONMENT", tmp_path / "none")

    def fails(*_: object, **__: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 1, "", "no route to the index")

    monkeypatch.setattr(subprocess, "run", fails)
    with pytest.raises(libraries.LibraryEnvironmentError, match=r"no route to the index\n.*--without-libraries"):
        libraries.ensure_environment()


def test_the_published_page_is_what_the_published_numbers_give() -> None:
    """A figure typed by hand, or a page of another run, would differ."""
    summary = json.loads((runner.HERE / "results.json").read_text())
    assert (command.ROOT / "docs" / "arena.md").read_text() == page(summary)
    assert bars(summary["contestants"]["product"])


def test_a_simulated_customer_gives_the_same_result_in_any_process(tmp_path: Path) -> None:
    case = _case("decoy_rename")
    setup = case.setup(1, 0)
    direct = run_fixed_rule(setup, simulate(setup.customer))
    kept = runner.run(runner.Plan(1, tmp_path, {"fixed rule": (("decoy_rename", 0),)}), 1)["fixed rule"][0]
    assert kept["alarms"] == direct["alarms"]
