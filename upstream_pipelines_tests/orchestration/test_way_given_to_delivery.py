from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import dagster as dg
import pytest

from upstream_pipelines.defs.resources import Platform
from upstream_pipelines.defs.run_queue import WORK


def _niceness_gained(tags: dict[str, str]) -> int:
    """By how much a run with these tags puts itself behind others."""

    @dg.op
    def niceness(platform: Platform) -> int:
        return os.nice(0)

    @dg.job(tags=tags, resource_defs={"platform": Platform()})
    def one() -> None:
        niceness()

    before = os.nice(0)
    return int(one.execute_in_process().output_for_node("niceness")) - before


@pytest.mark.parametrize(("tags", "gained"), [(WORK, 10), ({}, 0)], ids=["work", "delivery"])
def test_work_in_a_process_of_its_own_gives_way_and_delivery_does_not(tags: dict[str, str], gained: int) -> None:
    # It is told to end by a message: Dagster takes SIGTERM for itself, and a pool that sends one may wait for ever.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        assert process.submit(_niceness_gained, tags).result(timeout=120) == gained


def test_work_that_a_command_runs_in_its_own_process_leaves_the_command_as_it_is() -> None:
    assert _niceness_gained(WORK) == 0
