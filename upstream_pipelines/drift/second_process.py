"""The second of two processes that make looks in turn: it waits at the end of a line for what to look at.

`python -m upstream_pipelines.drift.second_process FD`, started by turns.py; FD is its end of the line. It reads a
`Detector` and answers True, then reads a `Task` after the other and answers those that ask for a look. It ends with the line.
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

    What a look raises is the answer. What preparing one raises is not told: the look itself will raise it.
    """
    detector: Detector = line.recv()
    line.send(True)
    while True:
        task: Task = line.recv()
        events = task.live
        if task.as_of is not None:
            try:
                result = detector.look(task.as_of, task.live, task.troubles)
            except Exception as error:  # noqa: BLE001 - raised again by the process that asked
                line.send(error)
                continue
            events = [*events, *result.events]
            line.send(result)
        if task.then is not None:
            with suppress(Exception):
                detector.charts(task.then, events)


if __name__ == "__main__":
    with suppress(EOFError, OSError):
        serve(Connection(int(sys.argv[1])))
