"""The API under the knife: 202 means committed, anything else means nothing was accepted.

A real process on a real port, killed; a real PostgreSQL, killed.
"""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import httpx
import psutil
import pytest

from upstream_pipelines.api.server import serve
from upstream_pipelines.customers.tokens import issue_token
from upstream_pipelines.db import embedded
from upstream_pipelines.db.engine import Connection, connect, dispose_engines
from upstream_pipelines.db.migrate import migrate
from upstream_pipelines.errors import AlreadyRunningError, DatabaseUnavailableError
from upstream_pipelines.ingest.inbox import read_batch_body
from upstream_pipelines.settings import Settings

WEBHOOK, UPLOADS = "/api/v1/ingest/webhook/", "/api/v1/uploads/"
BODY = b'{"claims": [{"payer": "Aetna", "cpt": "99213", "submitted_date": "2026-03-02", "outcome": "PENDING"}]}'
_PROGRAM = (
    "from upstream_pipelines.api.server import serve; from upstream_pipelines.settings import read_settings; "
    "serve(read_settings())"
)


def _customer(pipeline: Connection) -> tuple[int, str]:
    row = pipeline.execute(
        "INSERT INTO customers (slug, name) VALUES ('acme', 'Acme') RETURNING customer_id"
    ).fetchone()
    assert row is not None
    return row[0], issue_token(pipeline, row[0])


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def _api(settings: Settings, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The API as a process of its own; its standard error goes to `log`."""
    port = _free_port()
    environment = {
        **os.environ,
        "UPSTREAM_HOME": str(settings.home),
        "UPSTREAM_API_PORT": str(port),
        "UPSTREAM_MAX_UPLOAD_BYTES": str(64 * 1024 * 1024),
        **({"UPSTREAM_DATABASE_URL": settings.database_url.get_secret_value()} if settings.database_url else {}),
    }
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as stream:
        process = subprocess.Popen([sys.executable, "-c", _PROGRAM], env=environment, stderr=stream)
    try:
        for _ in range(600):
            assert process.poll() is None, log.read_text()
            try:
                httpx.get(url + "/health", trust_env=False, timeout=5)
                break
            except httpx.TransportError:
                time.sleep(0.05)
        yield process, url
    finally:
        process.kill()
        process.wait()


@contextmanager
def _client(url: str, token: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=30) as client:
        yield client


def _post(client: httpx.Client) -> httpx.Response:
    return client.post(WEBHOOK, content=BODY, headers={"Content-Type": "application/json"})


def test_what_was_acknowledged_survives_the_death_of_the_process(
    settings: Settings, pipeline: Connection, tmp_path: Path
) -> None:
    """SIGKILL the moment the 202 has arrived. Before that, in the same process: an upload that breaks
    off leaves nothing, and 60 MiB cost the process no more than 20 MiB of memory.
    """
    customer_id, token = _customer(pipeline)
    with _api(settings, tmp_path / "log") as (process, url), _client(url, token) as client:
        small = client.post(UPLOADS, files={"file": ("a.csv", b"payer\nAetna\n")})
        _break_off_an_upload(url, token)
        before = psutil.Process(process.pid).memory_info().rss
        (tmp_path / "big.csv").write_bytes(b"x" * 60 * 1024 * 1024)
        with (tmp_path / "big.csv").open("rb") as stream:
            big = client.post(UPLOADS, files={"file": ("big.csv", stream)})
        grown = _peak_bytes(process.pid) - before
        batch = _post(client)
        process.send_signal(signal.SIGKILL)
    assert [answer.status_code for answer in (small, big, batch)] == [202, 202, 202]
    assert grown < 20 * 1024 * 1024
    assert read_batch_body(pipeline, customer_id, UUID(batch.json()["upload_id"])) == BODY
    stored = {
        Path(row[0]) for row in pipeline.execute("SELECT location FROM uploads WHERE source = 'csv'").fetchall()
    }
    assert {path for path in Path(settings.landing_root).rglob("*") if path.is_file()} == stored
    assert sorted(path.stat().st_size for path in stored) == [12, 60 * 1024 * 1024]
    log = (tmp_path / "log").read_text()
    assert token not in log
    assert "Traceback" not in log


def test_under_load_too_what_was_acknowledged_survives_the_death_of_the_process(
    settings: Settings, pipeline: Connection, tmp_path: Path
) -> None:
    """Eight clients send batches of their own until the process is killed in the midst of them."""
    customer_id, token = _customer(pipeline)
    acknowledged: dict[UUID, bytes] = {}
    enough = threading.Event()

    def send(sender: int, url: str) -> None:
        with _client(url, token) as client:
            for number in itertools.count():
                body = BODY.replace(b"99213", b"%05d" % (10_000 * sender + number))
                try:
                    answer = client.post(WEBHOOK, content=body, headers={"Content-Type": "application/json"})
                except httpx.TransportError:
                    return
                assert answer.status_code == 202
                acknowledged[UUID(answer.json()["upload_id"])] = body
                if len(acknowledged) >= 100:
                    enough.set()

    with _api(settings, tmp_path / "log") as (process, url), ThreadPoolExecutor(8) as pool:
        senders = [pool.submit(send, sender, url) for sender in range(1, 9)]
        assert enough.wait(60)
        process.send_signal(signal.SIGKILL)
        for sender in senders:
            sender.result()
    kept = {upload_id: read_batch_body(pipeline, customer_id, upload_id) for upload_id in acknowledged}
    assert kept == acknowledged
    # What was committed and not answered any more is at most one batch of each.
    assert 0 <= _count(pipeline) - len(acknowledged) <= 8


def _count(pipeline: Connection) -> int:
    row = pipeline.execute("SELECT count(*) FROM uploads").fetchone()
    assert row is not None
    return int(row[0])


def _break_off_an_upload(url: str, token: str) -> None:
    """Send 5 MiB of an announced 20 and hang up; return when the server has noticed."""
    address = httpx.URL(url)
    with socket.create_connection((address.host, address.port or 0), timeout=10) as connection:
        connection.sendall(
            f"POST {UPLOADS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
            "Content-Type: multipart/form-data; boundary=B\r\nContent-Length: 20000000\r\n\r\n"
            '--B\r\nContent-Disposition: form-data; name="file"; filename="b.csv"\r\n\r\n'.encode()
        )
        connection.sendall(b"x" * 5 * 1024 * 1024)
    time.sleep(0.5)


def _peak_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    pytest.fail("this kernel does not tell the peak memory of a process")


def test_what_was_acknowledged_survives_the_death_of_postgres(tmp_path: Path) -> None:
    """The whole server is killed right after the 202, and what was written is found after its recovery."""
    settings = Settings(home=tmp_path / "home")
    migrate(settings)
    with connect(settings, "upstream_pipeline") as pipeline:
        customer_id, token = _customer(pipeline)
    with _api(settings, tmp_path / "log") as (process, url), _client(url, token) as client:
        answers = [_post(client) for _ in range(5)]
        postmaster = embedded.postmaster_pid(settings.home)
        assert postmaster is not None
        os.kill(postmaster, signal.SIGKILL)
        assert [answer.status_code for answer in answers] == [202] * 5
        _wait_for_recovery(settings)
        with connect(settings, "upstream_pipeline") as pipeline:
            for answer in answers:
                assert read_batch_body(pipeline, customer_id, UUID(answer.json()["upload_id"])) == BODY
        # The same process goes on: its pool finds out that its connections are dead.
        assert _post(client).status_code == 202
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    dispose_engines()
    embedded.leave(settings.home)


def _wait_for_recovery(settings: Settings) -> None:
    """Connecting starts the embedded server again; the dying one may still answer for a moment."""
    for _ in range(200):
        dispose_engines()
        try:
            with connect(settings, "upstream_pipeline"):
                return
        except DatabaseUnavailableError:
            time.sleep(0.1)
    pytest.fail("PostgreSQL did not come back")


def test_a_taken_port_is_said_before_anything_is_served(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AlreadyRunningError, match=f"port {port}"):
            serve(settings.model_copy(update={"api_port": port}))
