"""Runs on Celery workers: the worker, and which runs a killed worker took with it.

Dagster's launcher asks Redis for the state of a run, which stays "started" for ever when a whole worker is gone; who is
at work only the workers know. Not here: runs of the default launcher (orphans.py), where Redis is (deploy/celery).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Collection
from typing import Any

import dagster as dg
from celery import Celery
from celery.exceptions import OperationalError
from celery.signals import worker_process_init
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.make_app import make_app
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG
from dagster_celery.tasks import create_execute_job_task, create_resume_job_task
from redis.exceptions import RedisError

from upstream_pipelines.defs.home import dagster_instance
from upstream_pipelines.errors import ConfigurationError, UpstreamError
from upstream_pipelines.settings import Settings

# A worker answers within 20 ms; one on a machine that swaps or stands still for a moment must not count as killed.
_ANSWER_SECONDS = 3.0
_ASKED = 3
_ASK_AGAIN_SECONDS = 3.0


class BrokerOutOfReachError(UpstreamError):
    """The Redis between the daemon and the workers does not answer."""

    code = "broker_out_of_reach"


def work(settings: Settings, processes: int) -> int:
    """Take runs from Redis until stopped, `processes` at a time. Returns: the worker's exit code.

    Raises:
        ConfigurationError: the instance does not send its runs to Celery.
    """
    with dagster_instance(settings) as instance:
        launcher = instance.run_launcher
        if not isinstance(launcher, CeleryRunLauncher):
            raise _not_sent_to_celery()
        app = make_app(launcher.app_args())  # type: ignore[no-untyped-call]
        queue = launcher.default_queue
    create_execute_job_task(app)
    create_resume_job_task(app)
    worker_process_init.connect(_die_with_worker)
    arguments = ["worker", f"--concurrency={processes}", f"--queues={queue}", "--loglevel=WARNING"]
    # Two workers may stand on one machine.
    arguments += [f"--hostname=upstream-{os.getpid()}@%h"]
    return int(app.worker_main(arguments) or 0)


def answering_processes(settings: Settings) -> int:
    """How many processes the workers have that answer now.

    Raises:
        BrokerOutOfReachError: Redis does not answer.
    """
    with dagster_instance(settings) as instance:
        launcher = instance.run_launcher
    if not isinstance(launcher, CeleryRunLauncher):
        raise _not_sent_to_celery()
    try:
        workers: dict[str, Any] = launcher.celery.control.inspect(timeout=_ANSWER_SECONDS).stats() or {}
    except (OperationalError, RedisError) as error:
        raise _out_of_reach(error) from None
    return sum(int(worker["pool"]["max-concurrency"]) for worker in workers.values())


def lost_runs(instance: dg.DagsterInstance, runs: Collection[dg.DagsterRun]) -> list[dg.DagsterRun]:
    """Those of the unfinished `runs` that a worker had begun and that none works on now.

    Raises:
        BrokerOutOfReachError: Redis does not answer, so nothing is known.
    """
    launcher = instance.run_launcher
    if not isinstance(launcher, CeleryRunLauncher):
        return []
    tasks = {run.tags[DAGSTER_CELERY_TASK_ID_TAG]: run for run in runs if DAGSTER_CELERY_TASK_ID_TAG in run.tags}
    try:
        # Begun first, then who is at work: what begins in between is not counted as begun.
        gone = {task for task in tasks if launcher.celery.AsyncResult(task).state == "STARTED"}
        for ask in range(_ASKED):
            if not gone:
                return []
            time.sleep(_ASK_AGAIN_SECONDS if ask else 0)
            gone -= _at_work(launcher.celery)
    except (OperationalError, RedisError) as error:
        raise _out_of_reach(error) from None
    return [tasks[task] for task in gone]


def _not_sent_to_celery() -> ConfigurationError:
    return ConfigurationError(
        "Runs are not sent to Celery workers. Set UPSTREAM_DAGSTER_OVERRIDES=deploy/celery/dagster.yaml and "
        "UPSTREAM_CELERY_BROKER_URL, here and where `upstream up` runs."
    )


def _out_of_reach(error: Exception) -> BrokerOutOfReachError:
    return BrokerOutOfReachError(
        f"The Redis of UPSTREAM_CELERY_BROKER_URL does not answer ({type(error).__name__}). Runs wait until it does."
    )


def _at_work(app: Celery) -> set[str]:
    answers: dict[str, list[dict[str, Any]]] = app.control.inspect(timeout=_ANSWER_SECONDS).active() or {}
    return {task["id"] for tasks in answers.values() for task in tasks}


def _die_with_worker(**_: object) -> None:
    """A process whose worker was killed ends too: nobody would hear of what it does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1: PR_SET_PDEATHSIG
