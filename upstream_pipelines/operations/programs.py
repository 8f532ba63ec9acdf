"""PostgreSQL's own pg_dump and pg_restore: which of those there are fits the server, and running one.

Not here: what is dumped, where it goes (backup.py, restore.py).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy.engine import URL

from upstream_pipelines.db import embedded
from upstream_pipelines.errors import ConfigurationError, UpstreamError

_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")


class ProgramFailedError(UpstreamError):
    """pg_dump or pg_restore ended with an error."""

    code = "program_failed"


@dataclass(frozen=True)
class Program:
    """One of the two, with the major version of PostgreSQL that it belongs to."""

    path: Path
    major: int


def find_program(name: Literal["pg_dump", "pg_restore"], server: int, archive: int = 0) -> Program:
    """The program that fits a server of this major version, and an archive of that one, of those on PATH and the embedded
    server's own: the oldest, since a newer one may set what an older server does not know.

    Raises:
        ConfigurationError: there is none.
    """
    on_path = shutil.which(name)
    places = [Path(on_path)] if on_path else []
    found = [program for path in (*places, embedded.client_programs() / name) if (program := _program(path))]
    least = max(server, archive)
    fitting = [
        program
        for program in sorted(found, key=lambda program: program.major)
        # From 17 on pg_restore begins with a setting (transaction_timeout) that 16 refuses, and reads no newer archive.
        if program.major >= least and (server > 16 or program.major == server)
    ]
    if not fitting:
        there = ", ".join(f"{program.path} is of version {program.major}" for program in found) or "none is there"
        wanted = f"{least} or newer" if server > 16 else f"{server}, and an archive made with it,"
        raise ConfigurationError(
            f"{name} of PostgreSQL {wanted} is needed: {there}. Install PostgreSQL's client programs of that version and put "
            "them on PATH."
        )
    return fitting[0]


def run_program(program: Program, url: URL, *arguments: str) -> None:
    """Run it on a database; its output goes where the arguments say.

    The password reaches it by the environment, which on Linux its own account alone can read; a command line is read by all.

    Raises:
        ProgramFailedError: it failed; the message is its own, less what may quote a row.
    """
    parameters = conninfo_to_dict(url.render_as_string(hide_password=False))
    environment = {**os.environ, "LC_ALL": "C"}
    if "sslpassword" in parameters:
        raise ConfigurationError("A key with a password (sslpassword) cannot be used here. Use one without.")
    if parameters.get("password"):
        environment["PGPASSWORD"] = str(parameters.pop("password"))
    done = subprocess.run(  # noqa: S603 - PostgreSQL's own program with arguments made here
        [str(program.path), "--no-password", f"--dbname={make_conninfo('', **parameters)}", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=environment,
        check=False,
    )
    if done.returncode != 0:
        raise ProgramFailedError(f"{program.path.name} of PostgreSQL {program.major} failed: {_told(done.stderr)}")


def list_archive(program: Program, archive: Path) -> list[str]:
    """The entries of a dump, a line each, as pg_restore's --use-list reads them.

    Raises:
        ProgramFailedError: it is no archive that this pg_restore reads.
    """
    done = subprocess.run(  # noqa: S603 - as above
        [str(program.path), "--list", str(archive)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", env={**os.environ, "LC_ALL": "C"}, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise ProgramFailedError(f"{program.path.name} of PostgreSQL {program.major} failed: {_told(done.stderr)}")
    return done.stdout.splitlines()


def _told(stderr: str) -> str:
    """The program's first errors. Details and what stands between quote statements and rows; an error of COPY quotes a value itself."""
    errors = [line for line in stderr.splitlines() if re.match(r"pg_\w+: (error|fatal|hint)", line)]
    shown = [line.split("ERROR:")[0] + "a row was refused" if "COPY failed" in line else line for line in errors]
    return " ".join(shown)[:600] or "it said nothing; look into the server's log."


def _program(path: Path) -> Program | None:
    if not path.exists():
        return None
    done = subprocess.run([str(path), "--version"], capture_output=True, text=True, check=False)  # noqa: S603 - as above
    version = _VERSION.search(done.stdout)
    return Program(path, int(version[1])) if version else None
