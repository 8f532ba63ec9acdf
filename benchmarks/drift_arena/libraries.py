"""Evidently and NannyML, the real packages, in an environment of their own: making it, and talking to it.

Their pins clash with the product's (Evidently 0.7 does not import under pandas 3). The environment is made once from
libraries.txt; what runs in it is library_side.py, one process a library and worker. Not here: how they are used.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.drift_arena.cases import Setup
from benchmarks.drift_arena.contestants import events_of_runs
from benchmarks.drift_arena.simulator import Lines, claims_frame

HERE = Path(__file__).parent
PINS = HERE / "libraries.txt"
ENVIRONMENT = HERE / ".libraries"
PYTHON = ENVIRONMENT / "bin" / "python"
LOOK_EVERY = 7  # days: a look of theirs costs 30 ms a payer and library, so they look weekly
LIBRARIES = ("evidently", "nannyml")
SIGNALS = {
    "outcome": "denial_rate",
    "decision_days": "decision_lag",
    "allowed_amount": "allowed_amount",
    "cpt": "procedure_mix",
}


class LibraryEnvironmentError(Exception):
    """The libraries' environment cannot be made, or a library failed in it."""


def ensure_environment() -> None:
    """Make the libraries' environment unless it is there with the present pins.

    Raises:
        LibraryEnvironmentError: it cannot be made; --without-libraries runs the other contestants.
    """
    made = ENVIRONMENT / "made-from.txt"
    if made.exists() and made.read_text() == PINS.read_text():
        return
    print("Installing Evidently and NannyML in an environment of their own, once, about two minutes", flush=True)
    commands = (
        [sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)],
        [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(PINS)],
    )
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise LibraryEnvironmentError(
                f"The environment of Evidently and NannyML cannot be made:\n{done.stderr.strip()[-2000:]}\n"
                "Make the package index reachable and run again, or give --without-libraries."
            )
    made.write_text(PINS.read_text())


_running: dict[str, subprocess.Popen[str]] = {}


def run_library(library: str, setup: Setup, lines: Lines) -> dict[str, Any]:
    """A library's alarms on a customer, one event while a column drifts, as for the rule."""
    looks = setup.looks[::LOOK_EVERY]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "claims.parquet"
        claims_frame(setup.customer, lines, versions=False).to_parquet(file)
        request = {"claims": str(file), "start": setup.customer.start.isoformat(), "looks": looks}
        drifted = _ask(library, request)
    alarms = []
    for name, by_column in drifted.items():
        for column, directions in by_column.items():
            alarms += events_of_runs(looks, directions, name, SIGNALS[column])
    return {
        "alarms": [asdict(alarm) for alarm in alarms],
        "signals": sorted(SIGNALS.values()),
        "looks": list(looks),
        "days_a_look": LOOK_EVERY,
    }


def _ask(library: str, request: dict[str, Any]) -> dict[str, dict[str, list[str | None]]]:
    """One request to this worker's process of a library, which is started when first needed."""
    if library not in _running:
        # DO_NOT_TRACK and its kin: neither library may report its use from here.
        _running[library] = subprocess.Popen(
            [str(PYTHON), str(HERE / "library_side.py"), library],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1", "PYTHONPATH": ""},
        )  # fmt: skip
    process = _running[library]
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(request) + "\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise LibraryEnvironmentError(f"{library} ended without an answer; what it said is above.")
    drifted: dict[str, dict[str, list[str | None]]] = json.loads(answer)
    return drifted
