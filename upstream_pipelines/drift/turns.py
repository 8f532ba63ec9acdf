"""A span of daily looks at one customer made by two processes in turn: a year's looks in four fifths of the time.

Belongs here: who makes which look, and what the two tell each other. Not here: a look (detector.py), storing what it
found (store.py).

A look needs the events of the day before; its charts, four fifths of its time, only the days that earlier events keep out
of the baselines. So each process makes the charts of its next day while the other finishes the day before, and only
events and rows go between them: kilobytes. Where an event that ended meanwhile keeps other days out, the charts are made
anew. Both run the same code over the same facts: the rows are those of one process to the last digit.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import date, timedelta
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any, Literal, Protocol
from uuid import UUID

import pandas as pd

from upstream_pipelines.drift.activity import activity_from_claims
from upstream_pipelines.drift.data_trouble import Trouble
from upstream_pipelines.drift.detector import Detector
from upstream_pipelines.drift.events import DriftEvent
from upstream_pipelines.drift.facts import day_number, day_of
from upstream_pipelines.drift.rows import LookResult, frame_of
from upstream_pipelines.drift.second_process import Task
from upstream_pipelines.drift.settings import DriftSettings
from upstream_pipelines.errors import UpstreamError

FEWEST_LOOKS = 120  # a process that begins after the first 25 to 60 of a year's looks has little left to save of fewer


class SecondProcessError(UpstreamError):
    """The second process of a span of looks ended before its work was done."""

    code = "second_process"


class Looks(Protocol):
    """What makes the looks of a span: a detector, or two of them in turn."""

    def look(self, as_of: date, live: Sequence[DriftEvent] = (), troubles: Sequence[Trouble] = ()) -> LookResult:
        """See `Detector.look`."""


def worthwhile_processes(looks: int) -> Literal[1, 2]:
    """2 where there are enough looks, and two processors."""
    return 2 if looks >= FEWEST_LOOKS and len(os.sched_getaffinity(0)) > 1 else 1


@contextmanager
def looks_of(detector: Detector, days: Sequence[date], processes: Literal[1, 2]) -> Iterator[Looks]:
    """What makes the looks of `days`, each to be asked for once and in this order.

    A second process is started here and ended with the block; until it has begun all looks are made in this one.

    Raises:
        SecondProcessError: the second process was killed; raised by the look that waited for it.
    """
    if processes == 1:
        yield detector
        return
    ours, theirs = Pipe()
    # A program of its own. A copy of this process would wait for the locks of threads that it has not, and hold its database
    # connections; what `multiprocessing` starts would import this process's main module first, whatever that needs.
    program = [sys.executable, "-m", "upstream_pipelines.drift.second_process", str(theirs.fileno())]
    # In a session of its own: Ctrl-C ends this process, and the end of its line the other.
    with subprocess.Popen(program, pass_fds=[theirs.fileno()], start_new_session=True) as second:  # noqa: S603 - this program
        theirs.close()
        # In a thread: a detector of 258,000 lines is 31 MB, which nobody reads before the other program has begun, in 0.5 s.
        sending = Thread(target=_send, args=(ours, detector), daemon=True)
        sending.start()
        try:
            yield _InTurn(detector, days, ours)
        finally:
            # The second process ends at the end of its line, whatever it does.
            second.kill()
            sending.join()
            ours.close()


def _send(line: Connection, detector: Detector) -> None:
    with suppress(OSError):  # it was killed meanwhile, which the next look finds
        line.send(detector)


class _InTurn:
    """The looks of `days`, by `own` detector and by that of the second process at the other end of `line`."""

    def __init__(self, own: Detector, days: Sequence[date], line: Connection) -> None:
        self._own = own
        self._days = [*days, None, None]  # no day after the last, nor after that
        self._at = 0
        self._line = line
        self._begun = False
        self._theirs: date | None = None  # the day that the second process prepares

    def look(self, as_of: date, live: Sequence[DriftEvent] = (), troubles: Sequence[Trouble] = ()) -> LookResult:
        """See `Detector.look`."""
        day, following, after_that = self._days[self._at : self._at + 3]
        if as_of != day:
            raise ValueError(f"a look of {as_of} was asked for, and that of {day} is next")
        self._at += 1
        if self._theirs != as_of:
            if self._has_begun():
                # Also where it is prepared there already: what has ended meanwhile may keep other days out.
                self._ask(Task(None, live, troubles, following))
            return self._own.look(as_of, live, troubles)
        self._ask(Task(as_of, live, troubles, after_that))
        if following is not None:
            # Meanwhile. What ends at their look is not known here yet; then these charts are made again.
            self._own.charts(following, live)
        answer = self._hear()
        if isinstance(answer, Exception):
            raise answer
        result: LookResult = answer
        return result

    def _has_begun(self) -> bool:
        if not self._begun and self._line.poll():
            self._begun = self._hear()
        return self._begun

    def _ask(self, task: Task) -> None:
        self._theirs = task.then
        with self._line_held():
            self._line.send(task)

    def _hear(self) -> Any:
        with self._line_held():
            return self._line.recv()

    @contextmanager
    def _line_held(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, OSError) as error:
            raise SecondProcessError(
                "The second of the two processes that make a customer's looks was killed, as the system does where memory "
                f"runs out, or could not begin. The looks before {self._days[self._at - 1]} stand. Make the others with "
                f"more memory, or fewer than {FEWEST_LOOKS} days at a time, for which one process is enough."
            ) from error


def replay_looks(
    claims: pd.DataFrame,
    as_of_days: Iterable[Any],
    settings: DriftSettings | None = None,
    processes: Literal[1, 2] = 1,
) -> pd.DataFrame:
    """What `upstream_pipelines.drift.replay` promises: a look a day, the events carried from each to the next."""
    detector = Detector(*activity_from_claims(claims), settings)
    days = [day_of(day_number(day)) for day in as_of_days]
    return frame_of(list(replayed(detector, days, processes))).drop(columns=["event_id", "detail"])


def replayed(detector: Detector, days: Sequence[date], processes: Literal[1, 2]) -> Iterator[dict[str, Any]]:
    """The rows of a look on each of `days`, the events carried from each to the next."""
    memory: dict[UUID, DriftEvent] = {}
    with looks_of(detector, days, processes) as looks:
        for as_of in days:
            oldest = as_of - timedelta(days=detector.settings.memory_days)
            known = [
                event for event in memory.values() if event.resolved_on is None or event.resolved_on >= oldest
            ]
            result = looks.look(as_of, known)
            memory |= {event.event_id: event for event in result.events}
            yield from result.records
