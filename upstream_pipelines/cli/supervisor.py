"""Starts the platform's processes, keeps them running, ends them: API, Dagster webserver, Dagster daemon.

Not here: what they do; the database (db/embedded.py).
"""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import requests
from dagster_postgres.utils import DagsterPostgresException
from filelock import FileLock, Timeout
from sqlalchemy.exc import SQLAlchemyError

from upstream_pipelines.db.embedded import postmaster_pid
from upstream_pipelines.db.engine import database_url
from upstream_pipelines.defs.home import dagster_environment, dagster_instance, project_file
from upstream_pipelines.defs.orphans import fail_orphaned_runs
from upstream_pipelines.errors import AlreadyRunningError, UpstreamError
from upstream_pipelines.settings import Settings

_READY_SECONDS = 120
_STOP_SECONDS = 15
# A process that ends this often within five minutes will not get better by starting it again.
_MOST_RESTARTS = 5
_RESTART_WINDOW = 300.0
# A round is about a second; no customer waits longer than this behind a run whose process is gone.
_ROUNDS_BETWEEN_ORPHANS = 20


class ProcessEndedError(UpstreamError):
    """One of the platform's processes does not stay up."""

    code = "process_ended"


@dataclass
class _Child:
    name: str
    command: list[str]
    process: subprocess.Popen[bytes] | None = None
    starts: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Platform:
    """The running platform: its settings, and a look at whether all of it still runs."""

    settings: Settings
    watch: Callable[[], None]


@contextmanager
def sole_copy(settings: Settings) -> Iterator[None]:
    """Be the one platform of this home; ends what a killed copy left and makes sure the ports are free.

    Raises:
        AlreadyRunningError: a second copy on the same home, or a port that something else uses.
    """
    home = settings.home.expanduser().resolve()
    home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home / "up.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise AlreadyRunningError(
            f"A copy of the platform runs on {home} already{_whose(home)}. Use it, stop it, or set UPSTREAM_HOME to "
            "another folder."
        ) from None
    try:
        end_leftovers(home)
        require_free_port(settings.api_host, settings.api_port, "the HTTP API", "UPSTREAM_API_PORT")
        require_free_port(settings.ui_host, settings.ui_port, "the Dagster UI", "UPSTREAM_UI_PORT")
        yield
    finally:
        lock.release()


@contextmanager
def running_platform(settings: Settings, say: Callable[[str], None]) -> Iterator[Platform]:
    """Run the processes, as the sole copy of the home; ends them on the way out.

    Raises:
        ProcessEndedError: a process does not come up; the message names its log.
    """
    home = settings.home.expanduser().resolve()
    with dagster_instance(settings) as instance:
        fail_orphaned_runs(instance)
    children = _children(settings)
    try:
        for child in children:
            _start(home, child, dagster_environment(settings))
        _record(home, children)
        _wait_until_ready(settings, home, children, say)
        rounds = itertools.count(1)
        server = postmaster_pid(home)

        def watch() -> None:
            nonlocal server
            _watch(settings, home, children, say)
            present = postmaster_pid(home)
            if server is not None and present != server:
                # Whoever asks for it first starts it again, be it a child.
                say(f"PostgreSQL ended and was started again. Read {home / 'postgres.log'}.")
            server = present
            if next(rounds) % _ROUNDS_BETWEEN_ORPHANS == 0:
                _end_orphaned_runs(settings, say)

        yield Platform(settings, watch)
    finally:
        _stop(children)
        (home / "up.json").unlink(missing_ok=True)


def require_free_port(host: str, port: int, what: str, variable: str) -> None:
    """Raise when a port is in use, and say what to do."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise AlreadyRunningError(
                f"Port {port} on {host} is busy ({error.strerror}); {what} needs it. Stop what uses it, or set "
                f"{variable} to another port."
            ) from None


def end_leftovers(home: Path) -> None:
    """End processes of a copy that was killed: nothing watches them any more, and they hold the ports."""
    left = []
    for process in _recorded(home):
        with suppress(psutil.NoSuchProcess):
            left += [*process.children(recursive=True), process]
    _end(left)


def runs_here(settings: Settings) -> bool:
    """Whether processes of a platform of this home are alive on this machine."""
    return bool(_recorded(settings.home.expanduser().resolve()))


def _recorded(home: Path) -> list[psutil.Process]:
    """The processes that the platform of this home has started, as far as they are alive."""
    try:
        recorded = json.loads((home / "up.json").read_text())["children"]
    except (FileNotFoundError, ValueError, KeyError):
        return []
    alive = []
    for pid, started in recorded:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if abs(process.create_time() - started) < 1:
                alive.append(process)
    return alive


def _whose(home: Path) -> str:
    try:
        return f" (process {json.loads((home / 'up.json').read_text())['pid']})"
    except (FileNotFoundError, ValueError, KeyError):
        return ""


def _children(settings: Settings) -> list[_Child]:
    workspace = str(project_file("workspace.yaml"))
    tools = Path(sys.executable).parent
    return [
        _Child("api", [sys.executable, "-m", "upstream_pipelines.cli.serve_api"]),
        _Child(
            "webserver",
            [
                str(tools / "dagster-webserver"), "-w", workspace, "-h", settings.ui_host,
                "-p", str(settings.ui_port), "--log-level", "warning",
            ],
        ),
        _Child("daemon", [str(tools / "dagster-daemon"), "run", "-w", workspace]),
    ]  # fmt: skip


def _die_with_parent() -> None:
    """In the child, before it becomes the program: Linux ends it when this process is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # 1: PR_SET_PDEATHSIG


def _start(home: Path, child: _Child, environment: dict[str, str]) -> None:
    logs = home / "logs"
    logs.mkdir(exist_ok=True)
    with (logs / f"{child.name}.log").open("ab") as log:
        child.process = subprocess.Popen(  # noqa: S603 - our own programs
            child.command,
            env=os.environ | environment,
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is ours to pass on, in order
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - no threads are running yet
        )
    child.starts.append(time.monotonic())


def _record(home: Path, children: list[_Child]) -> None:
    facts = {
        "pid": os.getpid(),
        "children": [
            (child.process.pid, psutil.Process(child.process.pid).create_time())
            for child in children
            if child.process is not None and child.process.poll() is None
        ],
    }
    (home / "up.json").write_text(json.dumps(facts))


def _wait_until_ready(settings: Settings, home: Path, children: list[_Child], say: Callable[[str], None]) -> None:
    api = f"http://{settings.api_host}:{settings.api_port}/health"
    ui = f"http://{settings.ui_host}:{settings.ui_port}/server_info"
    end = time.monotonic() + _READY_SECONDS
    waiting = {"api": api, "webserver": ui}
    while waiting:
        for child in children:
            if child.process is not None and child.process.poll() is not None:
                raise ProcessEndedError(_ended(home, child))
        for name, url in list(waiting.items()):
            if _answers(url):
                say(f"{name} is up")
                del waiting[name]
        if time.monotonic() > end:
            names = " and ".join(waiting)
            raise ProcessEndedError(f"{names} did not come up in {_READY_SECONDS} s. Read {home / 'logs'}.")
        time.sleep(0.3)


def _answers(url: str) -> bool:
    try:
        with requests.Session() as session:
            session.trust_env = False  # a proxy of the environment has no business on loopback
            return session.get(url, timeout=2).ok
    except requests.RequestException:
        return False


def _ended(home: Path, child: _Child) -> str:
    code = child.process.returncode if child.process is not None else None
    return f"{child.name} ended with code {code}. Read {home / 'logs' / f'{child.name}.log'}."


def _watch(settings: Settings, home: Path, children: list[_Child], say: Callable[[str], None]) -> None:
    """One round: start again what has ended, the embedded database included."""
    environment: dict[str, str] | None = None
    database_url(settings)  # joins the embedded server, which starts it where it was killed
    for child in children:
        if child.process is None or child.process.poll() is None:
            continue
        now = time.monotonic()
        child.starts = [start for start in child.starts if now - start < _RESTART_WINDOW]
        if len(child.starts) > _MOST_RESTARTS:
            raise ProcessEndedError(_ended(home, child))
        say(f"{_ended(home, child)} Starting it again.")
        environment = environment or dagster_environment(settings)
        _start(home, child, environment)
        _record(home, children)


def _end_orphaned_runs(settings: Settings, say: Callable[[str], None]) -> None:
    """A code server that was killed with its run tells nobody, and the customer's next runs queue behind it."""
    try:
        with dagster_instance(settings) as instance:
            ended = fail_orphaned_runs(instance)
    except (SQLAlchemyError, DagsterPostgresException) as error:
        say(f"Dagster's storage does not answer ({type(error).__name__}); looking again later.")
        return
    except UpstreamError as error:
        say(f"{error} Looking again later.")
        return
    if ended:
        say(f"{ended} runs whose process is gone were ended; their work is taken up again.")


def _stop(children: list[_Child]) -> None:
    processes = []
    for child in children:
        if child.process is not None and child.process.poll() is None:
            try:
                process = psutil.Process(child.process.pid)
                processes += [process, *process.children(recursive=True)]
            except psutil.NoSuchProcess:
                continue
    _end(processes)


def _end(processes: list[psutil.Process]) -> None:
    for process in processes:
        try:
            process.terminate()
        except psutil.NoSuchProcess:
            continue
    _, alive = psutil.wait_procs(processes, timeout=_STOP_SECONDS)
    for process in alive:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(alive, timeout=5)
