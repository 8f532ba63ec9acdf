"""The second of two processes that make looks in turn: it waits at the end of a line for what to look at.

turns.py starts it with its end of the line. It reads a `Detector` and answers True, then reads a `Task` after the other and
answers those that ask for a look. It ends with the line. Not here: who makes which look (turns.py), a look (detector.py).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from multiprocessing.connection import Connection

from upstream_pipelines.drift.data_trouble import Trouble
from upstream_pipelines.drift.detector import Detector
from upstream_pipelines.drift.events import DriftEvent


@dataclass(frozen=True)
class Task:
    """Look at `as_of` (None: at no day) with these events and troubles and answer; then make the charts of the day `then`."""

    as_of: date | None
    live: Sequence[DriftEvent]
    troubles: Sequence[Trouble]
    then: date | None


def serve(line: Connection) -> None:
    """Do what is asked for, until the other process closes the line or is gone.

    Of what a look raises the class is the answer: the other process makes that look itself, and meets it where it has not
    passed. So it does with what preparing a day raises, which is not told.
    """
    detector: Detector = line.recv()
    line.send(True)
    while True:
        task: Task = line.recv()
        events = task.live
        if task.as_of is not None:
            try:
                result = detector.look(task.as_of, task.live, task.troubles)
            except Exception as error:  # noqa: BLE001 - the other process makes the look and meets it too, or it has passed
                line.send(type(error).__name__)
                continue
            events = [*events, *result.events]
            line.send(result)
        if task.then is not None:
            with suppress(Exception):
                detector.charts(task.then, events)


def main() -> None:
    """Serve the line whose descriptor is the program's argument."""
    with suppress(EOFError, OSError):
        serve(Connection(int(sys.argv[1])))
