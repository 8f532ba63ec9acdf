"""Looks made by two processes in turn: the rows that one gives, whatever ends between two looks, and a clear end."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from upstream_pipelines.demo.generator import Change, as_known_on, synthetic_claims
from upstream_pipelines.drift import counts
from upstream_pipelines.drift.activity import activity_from_claims
from upstream_pipelines.drift.detector import Detector
from upstream_pipelines.drift.second_process import Task
from upstream_pipelines.drift.settings import DriftSettings
from upstream_pipelines.drift.turns import (
    FEWEST_LOOKS,
    _InTurn,
    looks_of,
    replayed,
    worthwhile_processes,
)

TODAY = date(2026, 6, 1)


@pytest.fixture(scope="module")
def detector() -> Detector:
    """A payer denies more for the last 100 days: its event opens, and after 60 days is the normal, which moves baselines."""
    change = Change("Aetna", TODAY - timedelta(days=100), denial_rate=0.4)
    claims = as_known_on(synthetic_claims(3, TODAY, 300, change), TODAY)
    return Detector(*activity_from_claims(claims), DriftSettings(renewal_days=60))


def _days(count: int) -> list[date]:
    return [TODAY - timedelta(days=back) for back in range(count - 1, -1, -1)]


def _watched(monkeypatch: pytest.MonkeyPatch, *, begins: bool) -> list[date]:
    """The days whose looks the second process is asked for; it has begun before the first of all looks, or never does."""
    asked: list[date] = []
    ask, hear = _InTurn._ask, _InTurn._hear

    def watched(self: _InTurn, task: Task) -> bool:
        heard = ask(self, task)
        if heard and task.as_of is not None:
            asked.append(task.as_of)
        return heard

    def has_begun(self: _InTurn) -> bool:
        if begins and not self._begun:
            self._begun = bool(hear(self))
        return begins

    monkeypatch.setattr(_InTurn, "_ask", watched)
    monkeypatch.setattr(_InTurn, "_has_begun", has_begun)
    return asked


def test_two_processes_find_what_one_finds_also_where_events_end_between_their_looks(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, days = _watched(monkeypatch, begins=True), _days(110)
    alone = list(replayed(detector, days, 1))
    assert {"open", "updated", "resolved"} <= {row["state"] for row in alone}
    assert not asked
    assert list(replayed(detector, days, 2)) == alone
    assert asked == days[1::2]


def test_until_the_second_process_has_begun_the_first_makes_all_looks(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, days = _watched(monkeypatch, begins=False), _days(6)
    assert list(replayed(detector, days, 2)) == list(replayed(detector, days, 1))
    assert not asked


@pytest.mark.parametrize("begins", [True, False])
def test_a_second_process_that_is_killed_leaves_the_looks_to_the_first_and_is_told(
    detector: Detector, monkeypatch: pytest.MonkeyPatch, *, begins: bool
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Watched(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            started.append(self)

    if begins:
        _watched(monkeypatch, begins=True)
    monkeypatch.setattr(subprocess, "Popen", Watched)
    days, found = _days(8), []
    with capture_logs() as logs, looks_of(detector, days, 2) as looks:
        if begins:
            found.append(looks.look(days[0]).records)
        started[0].kill()
        started[0].wait()
        found += [looks.look(day).records for day in days[len(found) :]]
    assert found == [detector.look(day).records for day in days]
    assert [entry["event"] for entry in logs] == ["second process of looks was lost, one goes on"]


def test_where_no_second_process_starts_one_makes_the_looks_and_it_is_told(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    days = _days(3)
    with capture_logs() as logs:
        rows = list(replayed(detector, days, 2))
    assert rows == list(replayed(detector, days, 1))
    assert [(entry["event"], entry["error"]) for entry in logs] == [
        ("second process of looks does not start, one goes on", "FileNotFoundError")
    ]


def test_the_second_process_runs_the_code_of_the_first_and_not_what_lies_in_the_working_folder(
    detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "random.py").write_text("raise SystemExit('not this one')")
    (tmp_path / "upstream_pipelines").mkdir()
    (tmp_path / "upstream_pipelines" / "__init__.py").write_text("raise SystemExit('nor this one')")
    monkeypatch.chdir(tmp_path)
    asked, days = _watched(monkeypatch, begins=True), _days(2)
    with capture_logs() as logs:
        assert list(replayed(detector, days, 2)) == list(replayed(detector, days, 1))
    assert (asked, logs) == (days[1:], [])


def test_a_look_whose_preparation_failed_once_counts_from_the_beginning(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where memory ran out for a moment: half of the day's facts would be counted, and the rest never."""
    days = _days(4)
    expected = [detector.look(day).records for day in days]
    detector.look(days[0])
    with monkeypatch.context() as patch:
        patch.setattr(counts.Counts, "_add_lines", _no_memory)
        with pytest.raises(MemoryError):
            detector.charts(days[1])
    assert [detector.look(day).records for day in days[1:]] == expected[1:]


def _no_memory(*_: Any) -> None:
    raise MemoryError


def test_an_error_of_preparing_the_next_day_is_not_that_of_this_day(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    _watched(monkeypatch, begins=True)
    days, charts = _days(4), Detector.charts

    def failing(self: Detector, as_of: date, *events: Any) -> Any:
        if as_of == days[2]:
            raise MemoryError
        return charts(self, as_of, *events)

    expected = [detector.look(day).records for day in days]
    with looks_of(detector, days, 2) as looks, monkeypatch.context() as patch:
        patch.setattr(Detector, "charts", failing)
        assert [looks.look(day).records for day in days[:2]] == expected[:2]
        with pytest.raises(MemoryError):
            looks.look(days[2])
        assert looks.look(days[3]).records == expected[3]


def test_a_look_that_fails_in_the_second_process_is_made_by_the_first_which_raises_what_it_meets(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    _watched(monkeypatch, begins=True)
    days = _days(4)
    with capture_logs() as logs, looks_of(detector, days, 2) as looks:
        looks.look(days[0])
        with pytest.raises(AttributeError, match="known_on"):
            looks.look(days[1], troubles=[None])  # type: ignore[list-item]
        assert [looks.look(day).records for day in days[2:]] == [detector.look(day).records for day in days[2:]]
    assert [(entry["event"], entry["error"]) for entry in logs] == [
        ("a look failed in the second process, the first makes it", "AttributeError")
    ]


def test_where_no_thread_starts_one_process_makes_the_looks(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    days = _days(2)
    with capture_logs() as logs:
        assert list(replayed(detector, days, 2)) == list(replayed(detector, days, 1))
    assert [entry["error"] for entry in logs] == ["RuntimeError"]


def test_an_interrupt_leaves_no_answer_that_would_be_taken_for_another_day(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    _watched(monkeypatch, begins=True)
    days, charts = _days(6), Detector.charts

    def interrupted(self: Detector, as_of: date, *events: Any) -> Any:
        if as_of == days[2]:
            raise KeyboardInterrupt
        return charts(self, as_of, *events)

    expected = [detector.look(day).records for day in days]
    with looks_of(detector, days, 2) as looks:
        looks.look(days[0])
        with monkeypatch.context() as patch:
            patch.setattr(Detector, "charts", interrupted)
            with pytest.raises(KeyboardInterrupt):
                looks.look(days[1])
        assert [looks.look(day).records for day in days[2:]] == expected[2:]


HANGING = """
import subprocess, time
from datetime import date
from upstream_pipelines.demo.generator import as_known_on, synthetic_claims
from upstream_pipelines.drift.activity import activity_from_claims
from upstream_pipelines.drift.detector import Detector
from upstream_pipelines.drift.turns import looks_of

if __name__ == "__main__":
    day = date(2026, 6, 1)
    detector = Detector(*activity_from_claims(as_known_on(synthetic_claims(3, day, 100), day)))
    start = subprocess.Popen

    def told(*args, **kwargs):
        second = start(*args, **kwargs)
        print(second.pid, flush=True)
        return second

    subprocess.Popen = told
    with looks_of(detector, [day], 2) as looks:
        while not looks._has_begun():
            time.sleep(0.01)
        print("begun", flush=True)
        time.sleep(600)
"""


def test_the_second_process_ends_when_the_first_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "hanging.py"
    script.write_text(HANGING)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        try:
            second = int(first.stdout.readline())
            assert first.stdout.readline() == "begun\n"
            assert _lives(second)
        finally:
            first.kill()
        until = time.monotonic() + 30
        while _lives(second):
            assert time.monotonic() < until, "the second process waits for ever"
            time.sleep(0.05)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_looks_are_made_by_one_process_or_by_two(detector: Detector) -> None:
    with pytest.raises(ValueError, match="by 1 or 2"), looks_of(detector, _days(2), 3):  # type: ignore[arg-type]
        pass


def test_looks_out_of_their_order_are_refused_not_mixed_up(detector: Detector) -> None:
    days = _days(4)
    with looks_of(detector, days, 2) as looks, pytest.raises(ValueError, match="is next"):
        looks.look(days[1])


def test_a_second_process_is_worth_its_start_for_many_looks_and_with_a_processor_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    assert worthwhile_processes(FEWEST_LOOKS) == 2
    assert worthwhile_processes(FEWEST_LOOKS - 1) == 1
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert worthwhile_processes(FEWEST_LOOKS) == 1
