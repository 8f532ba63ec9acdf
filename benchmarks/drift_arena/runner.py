"""Runs contestants on customers in parallel and keeps each finished result, so that a run can go on where it ended.

A result is one small JSON file, named by everything it depends on. Not here: what is run (cases.py, contestants.py).
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.drift_arena import contestants, libraries, oracle
from benchmarks.drift_arena.cases import CASES, Setup
from benchmarks.drift_arena.progress import progress
from benchmarks.drift_arena.simulator import Lines, simulate, source_hash

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Plan:
    """What to run: the customers (case, index) of a seed base for each contestant."""

    base: int
    folder: Path
    customers: dict[str, tuple[tuple[str, int], ...]]
    product_settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """One customer and the contestants still to run on it, with the file each one's result goes to."""

    case: str
    index: int
    base: int
    files: tuple[tuple[str, str], ...]
    product_settings: dict[str, Any]


def contestant_hash(contestant: str, settings: dict[str, Any]) -> str:
    """Names a contestant's method; results of another method are not taken for its own."""
    side = ("contestants.py", "libraries.py", "library_side.py", "libraries.txt")
    names = {"oracle": ("oracle.py",), **dict.fromkeys(libraries.LIBRARIES, side)}.get(
        contestant, ("contestants.py",)
    )
    text = b"".join((HERE / name).read_bytes() for name in names)
    if contestant == "product":
        text += (contestants.product_hash() + json.dumps(settings, sort_keys=True)).encode()
    return hashlib.sha256(text).hexdigest()[:12]


def tasks_of(plan: Plan) -> tuple[list[Task], dict[str, list[Path]]]:
    """The tasks not yet done, and for each contestant the files of all of its results."""
    world = source_hash()
    files: dict[str, list[Path]] = {}
    waiting: dict[tuple[str, int], list[tuple[str, str]]] = {}
    for contestant, customers in plan.customers.items():
        method = contestant_hash(contestant, plan.product_settings)
        for case, index in customers:
            path = plan.folder / contestant / f"{case}-{plan.base}-{index}-{world}-{method}.json"
            files.setdefault(contestant, []).append(path)
            if not path.exists():
                waiting.setdefault((case, index), []).append((contestant, str(path)))
    tasks = [
        Task(case, index, plan.base, tuple(each), plan.product_settings) for (case, index), each in waiting.items()
    ]
    return tasks, files


def run(plan: Plan, jobs: int) -> dict[str, list[dict[str, Any]]]:
    """All results of the plan by contestant; what is not yet there is computed by `jobs` processes."""
    tasks, files = tasks_of(plan)
    # Each process works alone on its core: threads of linear algebra would only push each other aside.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    if jobs == 1:
        for task in progress(tasks, len(tasks)):
            work(task)
    elif tasks:
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            futures = [pool.submit(work, task) for task in tasks]
            for future in progress(as_completed(futures), len(futures)):
                future.result()
    return {each: [json.loads(path.read_text()) for path in paths] for each, paths in files.items()}


def work(task: Task) -> None:
    """Simulate the customer once, run the contestants on it, and write each one's result whole or not at all."""
    case = next(each for each in CASES if each.name == task.case)
    setup = case.setup(task.base, task.index)
    lines = simulate(setup.customer)
    for contestant, file in task.files:
        started = time.perf_counter()
        found = _run(contestant, setup, lines, task.product_settings)
        result = {
            "contestant": contestant,
            "case": task.case,
            "index": task.index,
            "seed": setup.customer.seed,
            "arrival": setup.customer.arrival,
            "lines": len(lines.payer),
            "looks": list(setup.looks),
            "payers": [payer.name for payer in setup.customer.payers],
            "renamed": {payer.renamed_to: payer.name for payer in setup.customer.payers if payer.renamed_to},
            "trials": [asdict(trial) for trial in setup.trials],
            **found,
            "seconds": round(time.perf_counter() - started, 2),
        }
        path = Path(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_text(json.dumps(result))
        part.replace(path)


def _run(contestant: str, setup: Setup, lines: Lines, settings: dict[str, Any]) -> dict[str, Any]:
    if contestant == "product":
        return contestants.run_product(setup, lines, settings)
    if contestant == "fixed rule":
        return contestants.run_fixed_rule(setup, lines)
    if contestant == "oracle":
        return oracle.run_oracle(setup, lines)
    return libraries.run_library(contestant, setup, lines)
