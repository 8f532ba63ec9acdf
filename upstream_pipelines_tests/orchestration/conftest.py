"""The whole platform as processes (`running`: `upstream up` on a home of its own, with receivers on loopback), and its
parts within the test's own process (`platform`, `instance`).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
import requests
import trustme

from upstream_pipelines.db.migrate import ensure_roles_and_databases
from upstream_pipelines.defs.resources import Platform
from upstream_pipelines.demo.receivers import Receivers, running_receivers
from upstream_pipelines.settings import Settings


def with_dagster_of_its_own(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings with a Dagster database that nobody else has, named by the environment for commands and jobs."""
    settings = settings.model_copy(update={"dagster_database_name": f"dagster_{uuid.uuid4().hex}"})
    assert settings.database_url is not None
    monkeypatch.setenv("UPSTREAM_DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setenv("UPSTREAM_HOME", str(settings.home))
    monkeypatch.setenv("UPSTREAM_DAGSTER_DATABASE_NAME", settings.dagster_database_name)
    ensure_roles_and_databases(settings)
    return settings


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class RunningPlatform:
    """A platform that runs, and how to speak to it from outside."""

    home: Path
    environment: dict[str, str]
    process: subprocess.Popen[bytes]
    receivers: Receivers
    api: str
    ui: str
    ui_port: int

    def command(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "upstream_pipelines.cli.main", *arguments],
            env=self.environment, capture_output=True, text=True, check=check, timeout=120,
        )  # fmt: skip

    def json(self, *arguments: str) -> Any:
        return json.loads(self.command(*arguments, "--json").stdout)

    def connection(self) -> psycopg.Connection[tuple[Any, ...]]:
        """A connection to the platform's database of claims."""
        facts = json.loads((self.home / "postgres.json").read_text())
        return psycopg.connect(
            host="127.0.0.1", port=facts["port"], user="upstream", password=facts["password"], dbname="upstream"
        )

    def rows(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with self.connection() as conn:
            return conn.execute(statement, parameters or None).fetchall()

    def wait(self, what: str, done: Callable[[], bool], seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while not done():
            assert self.process.poll() is None, f"the platform ended while waiting for {what}: {self.logs()}"
            assert time.monotonic() < end, f"waited {seconds} s for {what}: {self.logs()}"
            time.sleep(0.5)

    def logs(self) -> str:
        return "\n".join(
            f"{path.name}: {path.read_text(errors='replace')[-1500:]}"
            for path in sorted((self.home / "logs").glob("*"))
        )


@pytest.fixture
def platform(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Platform:
    assert settings.database_url is not None
    monkeypatch.setenv("UPSTREAM_DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setenv("UPSTREAM_HOME", str(settings.home))
    return Platform()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    with platform_up(tmp_path_factory) as started:
        yield started


@contextmanager
def platform_up(tmp_path_factory: pytest.TempPathFactory, **variables: str) -> Iterator[RunningPlatform]:
    """`upstream up` with these environment variables beside its usual ones."""
    # Not in pytest's folder; see the fixture server_url.
    folder = Path(tempfile.mkdtemp(prefix="upstream-platform-"))
    home = folder / "home"
    authority = trustme.CA()
    ca_file = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    api_port, ui_port = free_port(), free_port()
    with running_receivers(context) as receivers:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("UPSTREAM_", "DAGSTER_"))
        }
        environment = kept | {
            "UPSTREAM_HOME": str(home),
            "UPSTREAM_API_PORT": str(api_port),
            "UPSTREAM_UI_PORT": str(ui_port),
            "UPSTREAM_LANDING_QUIET_SECONDS": "1",
            "UPSTREAM_SMTP_HOST": "localhost",
            "UPSTREAM_SMTP_PORT": str(receivers.smtp_port),
            "UPSTREAM_SMTP_SECURITY": "starttls",
            "UPSTREAM_SMTP_CA_FILE": str(ca_file),
            "UPSTREAM_SMTP_FROM": "alerts@upstream.example",
            "UPSTREAM_WEBHOOK_ALLOW_LOOPBACK": "true",
            **variables,
        }
        output = (tmp_path_factory.mktemp("output") / "up.log").open("wb")
        process = subprocess.Popen(
            [sys.executable, "-m", "upstream_pipelines.cli.main", "up"],
            env=environment, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        started = RunningPlatform(
            home,
            environment,
            process,
            receivers,
            f"http://127.0.0.1:{api_port}",
            f"http://127.0.0.1:{ui_port}",
            ui_port,
        )
        try:
            started.wait(
                "the platform to come up",
                lambda: _answers(f"{started.ui}/server_info") and _answers(f"{started.api}/health"),
            )
            yield started
            process.send_signal(signal.SIGTERM)
            # 130 is what a command ends with that was told to stop.
            assert process.wait(60) == 130, Path(output.name).read_text()
        finally:
            process.kill()
            output.close()
            shutil.rmtree(folder, ignore_errors=True)


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2, proxies={"http": ""}).ok
    except requests.RequestException:
        return False
