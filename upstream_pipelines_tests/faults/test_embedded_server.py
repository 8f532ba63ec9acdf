"""The embedded PostgreSQL: shared, stopped by the last one out, back after SIGKILL with all that was committed."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from upstream_pipelines.db import embedded
from upstream_pipelines.errors import DatabaseUnavailableError


@pytest.fixture
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="upstream-embedded-"))
    yield folder / "home"
    embedded.leave(folder / "home")
    shutil.rmtree(folder)


def _query(home: Path, statement: str) -> object:
    url = embedded.join(home).render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as conn:
        cursor = conn.execute(statement)
        return cursor.fetchone() if cursor.description else None


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_its_password_is_for_its_owner_alone_and_nobody_gets_in_without(home: Path) -> None:
    url = embedded.join(home)
    assert stat.S_IMODE((home / "postgres.json").stat().st_mode) == 0o600
    wrong = url.set(password="wrong").render_as_string(hide_password=False)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)


def test_after_sigkill_of_the_postmaster_the_next_use_starts_it_with_all_that_was_committed(home: Path) -> None:
    _query(home, "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
    pid = embedded.postmaster_pid(home)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 10
    while _alive(pid) and time.monotonic() < end:
        time.sleep(0.02)
    assert _query(home, "SELECT count(*) FROM kept") == (1000,)
    assert embedded.postmaster_pid(home) != pid


def test_it_runs_as_long_as_another_process_uses_it_and_stops_with_the_last(home: Path) -> None:
    code = (
        "import sys, pathlib; from upstream_pipelines.db import embedded; "
        "embedded.join(pathlib.Path(sys.argv[1])); print('in', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "in\n"
    embedded.join(home)
    embedded.leave(home)
    assert embedded.postmaster_pid(home) is not None
    other.communicate()
    assert other.wait(30) == 0
    assert embedded.postmaster_pid(home) is None


def test_a_user_that_was_killed_does_not_keep_it_running(home: Path) -> None:
    embedded.join(home)
    (home / "postgres-users" / "999999999").write_text("1.0")
    embedded.leave(home)
    assert embedded.postmaster_pid(home) is None


def test_a_first_start_that_was_killed_half_way_is_made_again(home: Path) -> None:
    (home / "postgres").mkdir(parents=True)
    (home / "postgres" / "PG_VERSION").write_text("18\n")
    assert _query(home, "SELECT 1") == (1,)


def test_a_server_that_cannot_start_is_an_error_that_names_its_log(home: Path) -> None:
    embedded.join(home)
    embedded.leave(home)
    with (home / "postgres" / "postgresql.conf").open("a") as conf:
        conf.write("shared_buffers = nonsense\n")
    with pytest.raises(DatabaseUnavailableError, match=r"postgres\.log"):
        embedded.join(home)
