"""Times the webhook API under load, and kills it under that load: batches a second, latency, and what a 202 is worth.

`make bench` prints the table and writes benchmarks/api_load.json. The API is a process of its own, as `upstream up` runs it;
PostgreSQL and the senders share the machine's cores with it. Senders are given their times beforehand and a latency counts
from that time on, so that a slow answer is not hidden by a sender that waits for it. Batches are of ten claims, each with an
Idempotency-Key of its own.

- steady: the rate that has to hold;
- as fast as it goes: each sender sends its next batch when the last was answered;
- killed: the API is killed (SIGKILL) in the middle of the steady rate; every batch that was answered 202 is in the database.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from pydantic import SecretStr

from upstream_pipelines.customers.store import create_customer
from upstream_pipelines.customers.tokens import issue_token
from upstream_pipelines.db import embedded
from upstream_pipelines.db.engine import connect
from upstream_pipelines.db.migrate import migrate
from upstream_pipelines.settings import Settings

RATE = 200  # batches a second
SECONDS = 20
SENDERS = 16
CLAIMS = 10
HOST, PATH = "127.0.0.1", "/api/v1/ingest/webhook/"


@dataclass(frozen=True)
class Answer:
    """One batch: seconds until its answer, its status (0: none came), the upload it became."""

    seconds: float
    status: int
    upload_id: str | None


def body() -> bytes:
    """A batch of new claims."""
    batch = uuid.uuid4().hex[:12]
    claim = {"payer": "Aetna", "cpt": "99213", "submitted_date": "2026-03-02", "decided_date": "2026-03-16",
             "outcome": "PAID", "billed_amount": "150.00", "allowed_amount": "92.10"}  # fmt: skip
    return json.dumps({"claims": [{**claim, "claim_id": f"{batch}-{n}"} for n in range(CLAIMS)]}).encode()


def request(token: str) -> bytes:
    """A request with a batch and a key of its own."""
    content = body()
    return (
        f"POST {PATH} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        f"Idempotency-Key: {uuid.uuid4().hex}\r\nContent-Length: {len(content)}\r\n\r\n"
    ).encode() + content


_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


class Sender:
    """A client with one connection that stays open. No client's library: reading an answer with the standard one takes the cores
    that the API and PostgreSQL share with it a fifth of what they spend on the batch.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def send(self, request: bytes, since: float) -> Answer:
        """Send a request; its latency counts from `since`."""
        try:
            if self._socket is None:
                self._socket = socket.create_connection((HOST, self._port), timeout=30)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.sendall(request)
            status, content = self._answer(self._socket)
        except OSError:
            self._socket = None
            return Answer(time.perf_counter() - since, 0, None)
        seconds = time.perf_counter() - since
        return Answer(seconds, status, json.loads(content)["upload_id"] if status == 202 else None)

    def _answer(self, connection: socket.socket) -> tuple[int, bytes]:
        came, end, length = b"", -1, 0
        while end < 0 or len(came) < end + 4 + length:
            more = connection.recv(65536)
            if not more:
                raise ConnectionResetError("closed before the answer was whole")
            came += more
            end = came.find(b"\r\n\r\n")
            announced = _LENGTH.search(came, 0, end + 2) if end >= 0 else None
            length = int(announced[1]) if announced is not None else 0
        status = _STATUS.match(came)
        assert status is not None, "no answer of HTTP/1.1"
        return int(status[1]), came[end + 4 :]


def steady(port: int, token: str, seconds: float) -> list[Answer]:
    """Send at the rate, whatever the answers take."""
    requests = [request(token) for _ in range(int(RATE * seconds))]
    slots = iter(range(len(requests)))
    lock, answers, began = Lock(), list[Answer](), time.perf_counter() + 0.2

    def work() -> None:
        sender = Sender(port)
        while True:
            with lock:
                slot = next(slots, None)
            if slot is None:
                return
            at = began + slot / RATE
            time.sleep(max(0.0, at - time.perf_counter()))
            answers.append(sender.send(requests[slot], at))

    _together(work)
    return answers


def flat_out(port: int, token: str, seconds: float) -> list[Answer]:
    """Send the next batch when the last was answered."""
    end, answers = time.perf_counter() + seconds, list[Answer]()

    def work() -> None:
        sender = Sender(port)
        while time.perf_counter() < end:
            made = request(token)
            answers.append(sender.send(made, time.perf_counter()))

    _together(work)
    return answers


def _together(work: Callable[[], None]) -> None:
    threads = [Thread(target=work) for _ in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextmanager
def api(settings: Settings) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The API as `upstream up` starts it."""
    assert settings.database_url is not None
    environment = {
        **os.environ,
        "UPSTREAM_HOME": str(settings.home),
        "UPSTREAM_API_PORT": str(settings.api_port),
        "UPSTREAM_DATABASE_URL": settings.database_url.get_secret_value(),
    }
    command = [sys.executable, "-m", "upstream_pipelines.cli.serve_api"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            assert process.poll() is None, "the API ended before it listened"
            try:
                socket.create_connection((HOST, settings.api_port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield process, settings.api_port
    finally:
        process.kill()
        process.wait()


def told(name: str, answers: list[Answer], seconds: float) -> dict[str, Any]:
    """Print and return what a part gave."""
    accepted = sorted(answer.seconds for answer in answers if answer.status == 202)
    cuts = statistics.quantiles(accepted, n=100)
    figures = {
        "batches_a_second": len(accepted) / seconds,
        "p50_ms": 1000 * cuts[49],
        "p99_ms": 1000 * cuts[98],
        "worst_ms": 1000 * accepted[-1],
        "accepted": len(accepted),
        "refused_or_lost": len(answers) - len(accepted),
    }
    print(
        f"{name:22} {figures['batches_a_second']:8.0f} {figures['p50_ms']:9.1f} {figures['p99_ms']:9.1f} "
        f"{figures['worst_ms']:9.1f} {len(accepted):9,} {figures['refused_or_lost']:8,}",
        flush=True,
    )
    return figures


def _analyze(settings: Settings) -> None:
    """As autovacuum does in the first minute of a new database: what was planned on empty tables looks for a batch's upload among
    all of its customer's, and after 7,000 batches PostgreSQL worked 1.6 ms for one instead of 0.3.
    """
    with connect(settings, "upstream_owner") as owner:
        owner.execute("ANALYZE uploads")
        owner.execute("ANALYZE webhook_inbox")


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.create_server((HOST, 0)) as probe:
        return int(probe.getsockname()[1])


def main() -> None:
    results: dict[str, Any] = {"rate": RATE, "claims_a_batch": CLAIMS, "senders": SENDERS}
    with tempfile.TemporaryDirectory() as folder, multiprocessing.get_context("spawn").Pool(1) as senders:
        home = Path(folder) / "home"
        url = embedded.join(home)
        settings = Settings(
            home=home, database_url=SecretStr(url.render_as_string(hide_password=False)), api_port=free_port()
        )
        migrate(settings)
        with connect(settings, "upstream_pipeline") as conn:
            customer, _ = create_customer(conn, "bench", "Bench")
            token = issue_token(conn, customer.customer_id)
            print(f"{'':22} {'a second':>8} {'p50 ms':>9} {'p99 ms':>9} {'worst ms':>9} {'202':>9} {'other':>8}")
            with api(settings) as (process, port):
                senders.apply(flat_out, (port, token, 2.0))  # its first requests import and connect
                _analyze(settings)
                answers = senders.apply(steady, (port, token, SECONDS))
                results["steady"] = told("steady", answers, SECONDS)
                answers = senders.apply(flat_out, (port, token, SECONDS))
                results["as fast as it goes"] = told("as fast as it goes", answers, SECONDS)
                waiting = senders.apply_async(steady, (port, token, 4.0))
                time.sleep(2.5)
                process.send_signal(signal.SIGKILL)
                answers = waiting.get()
            results["killed"] = told("killed", answers, 4.0)
            assert any(answer.status == 0 for answer in answers), "it was not killed under load"
            kept = {str(row[0]) for row in conn.execute("SELECT upload_id FROM uploads").fetchall()}
            lost = [answer for answer in answers if answer.status == 202 and answer.upload_id not in kept]
            results["killed"]["acknowledged_and_lost"] = len(lost)
            print(f"acknowledged and lost when killed: {len(lost)}")
        embedded.leave(home)
    Path(__file__).with_suffix(".json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
