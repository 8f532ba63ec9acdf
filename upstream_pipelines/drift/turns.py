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
from pathlib import Path
from threading import Thread
from typing import Any, Literal, Protocol
from uuid import UUID

import pandas as pd
import structlog

from upstream_pipelines.drift import second_process
from upstream_pipelines.drift.activity import activity_from_claims
from upstream_pipelines.drift.data_trouble import Trouble
from upstream_pipelines.drift.detector import Detector
from upstream_pipelines.drift.events import DriftEvent
from upstream_pipelines.drift.facts import day_number, day_of
from upstream_pipelines.drift.rows import LookResult, frame_of
from upstream_pipelines.drift.second_process import Task
from upstream_pipelines.drift.settings import DriftSettings

_log = structlog.get_logger()
_PROGRAM = second_process.__name__
FEWEST_LOOKS = 250  # of 120 the second process, which begins after 25 to 60, saved nothing; of 365 a fifth
FAREWELL_SECONDS = 5


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

    A second process is started here and ended with the block. Until it has begun all looks are made in this one, and from
    when it is lost: killed, as where memory runs out. The log says so.

    Raises:
        ValueError: neither 1 nor 2 processes are asked for.
    """
    if processes not in {1, 2}:
        raise ValueError(f"{processes!r} processes were asked for. Looks are made by 1 or 2.")
    started = _start(detector) if processes == 2 else None
    if started is None:
        yield detector
        return
    second, line, sending = started
    try:
        yield _InTurn(detector, days, line)
    finally:
        second.kill()
        # A fork of another thread may hold their end of the line a while longer.
        sending.join(FAREWELL_SECONDS)
        line.close()
        second.wait()


def _start(detector: Detector) -> tuple[subprocess.Popen[bytes], Connection, Thread] | None:
    """The second process, our end of the line to it, and what hands it the detector; None where the system gives no more."""
    try:
        # A program of its own. A copy of this process would wait for the locks of threads that it has not, and hold its
        # database connections; what `multiprocessing` starts would import this process's main module first.
        # It finds its modules where this one found them (-P: not in the folder it is started in).
        found_in = os.pathsep.join(str(folder or Path.cwd()) for folder in sys.path)
        ours, theirs = Pipe()
    except OSError as error:
        _not_started(error)
        return None
    # Not with -m: what it sends would be of classes of `__main__`, which are others here.
    program = [sys.executable or "", "-P", "-c", f"import {_PROGRAM}; {_PROGRAM}.main()", str(theirs.fileno())]
    try:
        with theirs:
            # In a session of its own: Ctrl-C ends this process, and the end of its line the other.
            second = subprocess.Popen(  # noqa: S603 - this program
                program,
                pass_fds=[theirs.fileno()],
                env=os.environ | {"PYTHONPATH": found_in},
                start_new_session=True,
            )
    except OSError as error:
        ours.close()
        _not_started(error)
        return None
    # In a thread: a detector of 258,000 lines is 31 MB, which nobody reads before the other program has begun, in 0.5 s.
    sending = Thread(target=_send, args=(ours, detector), daemon=True)
    try:
        sending.start()
    except RuntimeError as error:
        second.kill()
        ours.close()
        second.wait()
        _not_started(error)
        return None
    return second, ours, sending


def _not_started(error: Exception) -> None:
    _log.warning("second process of looks does not start, one goes on", error=type(error).__name__)


def _send(line: Connection, detector: Detector) -> None:
    with suppress(OSError):  # it was killed meanwhile, which a look finds
        line.send(detector)


class _InTurn:
    """The looks of `days`, by `own` detector and by that of the second process at the other end of `line`."""

    def __init__(self, own: Detector, days: Sequence[date], line: Connection) -> None:
        self._own = own
        self._days = [*days, None, None]  # no day after the last, nor after that
        self._at = 0
        self._line: Connection | None = line
        self._begun = False
        self._theirs: date | None = None  # the day that the second process prepares

    def look(self, as_of: date, live: Sequence[DriftEvent] = (), troubles: Sequence[Trouble] = ()) -> LookResult:
        """See `Detector.look`."""
        day, following, after_that = self._days[self._at : self._at + 3]
        if as_of != day:
            raise ValueError(f"a look of {as_of} was asked for, and that of {day} is next")
        self._at += 1
        if self._theirs == as_of and self._ask(Task(as_of, live, troubles, after_that)):
            answer = self._meanwhile(following, live)
            if answer is not None:
                return answer
        elif self._has_begun():
            # Also where it is prepared there already: what has ended meanwhile may keep other days out.
            self._ask(Task(None, live, troubles, following))
        return self._own.look(as_of, live, troubles)

    def _meanwhile(self, following: date | None, live: Sequence[DriftEvent]) -> LookResult | None:
        """Prepare the next day, and hear what was asked for; None where it does not come, or the look failed there."""
        try:
            if following is not None:
                # What ends at their look is not known here yet; then these charts are made again. So they are where this fails,
                # and what it fails of is raised by the look that needs them.
                with suppress(Exception):
                    self._own.charts(following, live)
            answer = self._hear()
        except BaseException:
            self._line = self._theirs = None  # the answer left in it would be taken for another day's
            raise
        if isinstance(answer, LookResult):
            return answer
        if self._line is not None:
            _log.warning("a look failed in the second process, the first makes it", error=answer)
        return None

    def _has_begun(self) -> bool:
        if not self._begun and self._line is not None and self._line.poll():
            self._begun = self._hear() is not None
        return self._begun

    def _ask(self, task: Task) -> bool:
        """Whether it was heard."""
        if self._line is None:
            return False
        try:
            self._line.send(task)
        except OSError as error:
            self._lost(error)
            return False
        self._theirs = task.then
        return True

    def _hear(self) -> Any:
        """None where nothing will come any more."""
        if self._line is None:
            return None
        try:
            return self._line.recv()
        except (EOFError, OSError) as error:
            self._lost(error)
            return None

    def _lost(self, error: Exception) -> None:
        self._line, self._theirs = None, None
        _log.warning("second process of looks was lost, one goes on", error=type(error).__name__)


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
