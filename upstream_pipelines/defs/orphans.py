"""Runs that ended with their process, unseen: after a killed platform Dagster still counts them as running,
and the limit of one run a customer would keep that customer waiting for ever.

Dagster's own monitoring knows no health check for the default launcher. Not here: uploads of such runs
(they come back by the customer's lock, ingest/uploads.py).
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

import dagster as dg
import psutil

_PROCESS_TAG = "upstream/process"
_CELERY_TAG = "dagster-celery/task_id"
# By these words run_ends.py tells such a run from others.
PROCESS_GONE = "The process of this run is gone; its work is taken up again."
_UNFINISHED = [
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def in_process_tags() -> dict[str, str]:
    """Tags for a run inside this process, by which a later start can tell that the process is gone."""
    process = psutil.Process()
    return {_PROCESS_TAG: f"{socket.gethostname()}/{process.pid}/{process.create_time():.2f}"}


def fail_orphaned_runs(instance: dg.DagsterInstance) -> int:
    """Mark runs whose process is gone as failed, be it on this machine or a Celery worker. Returns: how many."""
    failed = 0
    runs = instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED))
    lost = _lost_with_a_worker(instance, runs)
    for run in runs:
        if run.run_id not in lost and not _process_is_gone(run.tags):
            continue
        # A code server ends right after its last run: asked again, a run that came through has its end by now.
        present = instance.get_run_by_id(run.run_id)
        # A re-executed run bears its parent's task until it has one of its own.
        same = present is not None and present.tags.get(_CELERY_TAG) == run.tags.get(_CELERY_TAG)
        if present is not None and same and present.status in _UNFINISHED:
            instance.report_run_failed(present, PROCESS_GONE)
            failed += 1
    return failed


def _lost_with_a_worker(instance: dg.DagsterInstance, runs: Sequence[dg.DagsterRun]) -> set[str]:
    if not any(_CELERY_TAG in run.tags for run in runs):
        return set()
    from upstream_pipelines.defs.celery_runs import lost_runs  # Celery is an extra

    return {run.run_id for run in lost_runs(instance, runs)}


def _process_is_gone(tags: Mapping[str, str]) -> bool:
    if _PROCESS_TAG in tags:
        host, pid, started = tags[_PROCESS_TAG].split("/")
        if host != socket.gethostname():
            return False
        try:
            return abs(psutil.Process(int(pid)).create_time() - float(started)) > 1
        except psutil.NoSuchProcess:
            return True
    # A run of the default launcher names the socket of the code server that started it, on this machine.
    launcher = json.loads(tags.get(".dagster/grpc_info", "{}"))
    path = launcher.get("socket")
    if not path or launcher.get("host") not in {"localhost", "127.0.0.1"}:
        return False
    if not Path(path).exists():
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(2)
        return probe.connect_ex(os.fspath(path)) != 0
