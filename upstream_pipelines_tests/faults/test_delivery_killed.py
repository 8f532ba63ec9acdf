"""Workers and PostgreSQL killed with SIGKILL at each step of a delivery: nothing is lost, each receiver has each once.

A real process is stopped at a step, killed there, and after its lease another worker goes on. The receiver
deduplicates on `webhook-id`, as the documentation asks of it.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from upstream_pipelines.alerts.rules import DEFAULT_RULE
from upstream_pipelines.alerts.store import conservation, sync_channels, sync_rules
from upstream_pipelines.db import embedded
from upstream_pipelines.db.engine import Connection, connect, dispose_engines
from upstream_pipelines.db.migrate import migrate
from upstream_pipelines.delivery import worker
from upstream_pipelines.delivery.channels import WebhookChannel, new_secret
from upstream_pipelines.delivery.worker import deliver_due
from upstream_pipelines.errors import DatabaseUnavailableError
from upstream_pipelines.settings import Settings

# Each step is a call, the first or the second of its kind, that is entered but not carried out or has just come back. The
# first outcomes and the next leases are committed behind `_disable_failed`, and before the second wait.
STEPS = {
    "before the lease": ("Outbox", "lease", "before", "1"),
    "after the lease": ("Sender", "attempt", "before", "1"),
    "after the send": ("Sender", "attempt", "after", "1"),
    "in the transaction of the outcome": ("Outbox", "_disable_failed", "after", "1"),
    "after the commit": ("_Worker", "_wait_for_ends", "before", "2"),
}
_UNSENT = {"before the lease", "after the lease"}
_STOPPED = """
import itertools, os, sys, time
from pydantic import SecretStr
from upstream_pipelines.delivery import worker
from upstream_pipelines.settings import Settings
owner, name, when, number = getattr(worker, sys.argv[1]), *sys.argv[2:4], int(sys.argv[4])
real, calls = getattr(owner, name), itertools.count(1)
def stop(*args):
    if next(calls) < number:
        return real(*args)
    if when == "after":
        real(*args)
    os.write(1, b"stopped\\n")  # in one piece: several threads stop here
    time.sleep(60)
setattr(owner, name, stop)
worker.deliver_due(Settings(database_url=SecretStr(sys.stdin.read()), webhook_allow_loopback=True))
"""
_COUNTING = """
import os, sys
from pydantic import SecretStr
from upstream_pipelines.delivery import sending, worker
from upstream_pipelines.delivery.outcome import Outcome
from upstream_pipelines.settings import Settings
file = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def count(settings, *, delivery_id, **rest):
    os.write(file, (delivery_id + "\\n").encode())
    return Outcome("sent", "accepted", 200, "ok")
sending.send_webhook = count
url = SecretStr(sys.stdin.readline().strip())
print("ready", flush=True)
sys.stdin.readline()
report = worker.deliver_due(Settings(database_url=url))
print(report.taken, report.sent, report.lost, flush=True)
"""


def _start(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _url(settings: Settings) -> str:
    assert settings.database_url is not None
    return settings.database_url.get_secret_value()


def _whole(conn: Connection, customer: int) -> dict[str, int]:
    counts = conservation(conn, customer)
    zero = ("missing_places", "unexpected_places", "empty_deliveries", "lost_attempts", "wrong_states")
    assert {name: counts[name] for name in zero} == dict.fromkeys(zero, 0)
    return counts


def _received(receiver: Any) -> Counter[str]:
    return Counter(headers["webhook-id"] for _, headers, _ in receiver.requests)


@pytest.mark.parametrize("step", STEPS)
def test_a_worker_killed_at_a_step_loses_nothing(
    loopback: Settings, pipeline: Connection, customer: int, receiver: Any, queue: Any, step: str
) -> None:
    queue([WebhookChannel(kind="webhook", name=f"hook{n}", url=f"{receiver.url}/{n}") for n in range(3)], 4)
    sends = (
        0 if step in {"before the lease", "after the lease"} else 3
    )  # one to each channel before the first outcome
    with _start(_STOPPED, *STEPS[step]) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(_url(loopback))
            process.stdin.close()
            assert process.stdout.readline() == "stopped\n"
            end = time.monotonic() + 20
            while len(receiver.requests) < sends and time.monotonic() < end:
                time.sleep(0.02)
            time.sleep(0.3)  # those of the leases after the first outcome
        finally:
            os.kill(process.pid, signal.SIGKILL)
    _end_of_the_killed(pipeline)
    sent_before = sum(_received(receiver).values())
    recorded = [str(row[0]) for row in pipeline.execute("SELECT delivery_id FROM deliveries WHERE state = 'sent'")]
    assert sent_before == sends or (step == "after the commit" and sent_before > sends)
    assert bool(recorded) == (step == "after the commit")
    deliver_due(loopback)
    _whole(pipeline, customer)
    later = datetime.now(UTC) + timedelta(seconds=62)
    deliver_due(loopback, clock=lambda: later)
    counts = _whole(pipeline, customer)
    received = _received(receiver)
    assert (counts["deliveries"], len(received)) == (12, 12)
    assert pipeline.execute("SELECT DISTINCT state FROM deliveries").fetchall() == [("sent",)]
    # Twice comes only what was sent and not recorded.
    assert sum(received.values()) - 12 == sent_before - len(recorded)
    assert all(received[delivery_id] == 1 for delivery_id in recorded)


def _end_of_the_killed(conn: Connection) -> None:
    """The server notices that its client is gone, and rolls back what was open."""
    for _ in range(200):
        row = conn.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND backend_type = 'client backend'"
        ).fetchone()
        if row == (0,):
            return
        time.sleep(0.05)
    pytest.fail("the killed worker's session did not end")


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A PostgreSQL of this module's own, to be killed."""
    home = tmp_path_factory.mktemp("killed") / "home"
    settings = Settings(home=home, webhook_allow_loopback=True)
    migrate(settings)
    yield settings
    dispose_engines()
    embedded.leave(home)


def _again(settings: Settings) -> None:
    """Connecting starts the embedded server; the dying one may still answer for a moment."""
    for _ in range(200):
        dispose_engines()
        try:
            with connect(settings, "upstream_pipeline"):
                return
        except DatabaseUnavailableError:
            time.sleep(0.1)
    pytest.fail("PostgreSQL did not come back")


@pytest.mark.parametrize("step", STEPS)
def test_a_postgres_killed_at_a_step_loses_nothing(
    own_server: Settings, receiver: Any, write_alerts: Callable[[Connection, int, int], None], step: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with connect(own_server, "upstream_pipeline") as conn:
        row = conn.execute(
            "INSERT INTO customers (slug, name) VALUES (%s, 'Acme') RETURNING customer_id", (f"c{time.time_ns()}",)
        ).fetchone()
        assert row is not None
        customer = int(row[0])
        sync_rules(conn, customer, [DEFAULT_RULE])
        hooks = [WebhookChannel(kind="webhook", name=f"hook{n}", url=f"{receiver.url}/{n}") for n in range(3)]
        sync_channels(conn, customer, hooks, own_server)
        write_alerts(conn, customer, 4)
    owner_name, name, when, number = STEPS[step]
    owner: Any = getattr(worker, owner_name)
    real = getattr(owner, name)
    killed: list[int] = []
    calls = itertools.count(1)

    def kill(*args: Any) -> Any:
        result = real(*args) if when == "after" else None
        if next(calls) >= int(number) and not killed:
            pid = embedded.postmaster_pid(own_server.home)
            assert pid is not None
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)
            time.sleep(0.3)  # its children see it and end
        return result if when == "after" else real(*args)

    monkeypatch.setattr(owner, name, kill)
    with pytest.raises(DatabaseUnavailableError, match="sent again under the same id"):
        deliver_due(own_server)
    monkeypatch.undo()
    _again(own_server)
    with connect(own_server, "upstream_pipeline") as conn:
        _whole(conn, customer)
        later = datetime.now(UTC) + timedelta(seconds=62)
        deliver_due(own_server, clock=lambda: later)
        counts = _whole(conn, customer)
        states = conn.execute(
            "SELECT DISTINCT state FROM deliveries WHERE customer_id = %s", (customer,)
        ).fetchall()
    assert (counts["deliveries"], states, len(_received(receiver))) == (12, [("sent",)], 12)
    if step == "before the lease":
        assert set(_received(receiver).values()) == {1}


def test_eight_processes_take_each_of_ten_thousand_deliveries_once(
    loopback: Settings, pipeline: Connection, customer: int, fill: Callable[[int, int], None], tmp_path: Path
) -> None:
    """Real processes, leases and outcomes; only the sending is a line in a file."""
    fill(10_000, 100)  # three times what one process has in flight: there is something left for the others
    processes = [_start(_COUNTING, str(tmp_path / "taken")) for _ in range(8)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(_url(loopback) + "\n")
        process.stdin.flush()
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    started = time.monotonic()
    results = []
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        out, _ = process.communicate(timeout=150)
        results.append([int(number) for number in out.split()])
    print(f"8 processes, 10,000 deliveries: {time.monotonic() - started:.1f} s")
    taken = Counter((tmp_path / "taken").read_text().split())
    assert (len(taken), set(taken.values())) == (10_000, {1})
    assert [sum(column) for column in zip(*results, strict=True)] == [10_000, 10_000, 0]
    assert sum(result[0] > 0 for result in results) >= 2
    assert pipeline.execute("SELECT state, attempt, count(*) FROM deliveries GROUP BY 1, 2").fetchall() == [
        ("sent", 1, 10_000)
    ]
    assert _whole(pipeline, customer)["deliveries"] == 10_000


@pytest.fixture
def fill(pipeline: Connection, customer: int) -> Callable[[int, int], None]:
    """So many deliveries spread over so many webhooks, written as the outbox has them."""

    def write(rows: int, channels: int) -> None:
        pipeline.execute(
            """
            WITH channel AS (
                INSERT INTO alert_channels (customer_id, name, kind, configuration, secret)
                SELECT %(customer)s, 'hook' || n, 'webhook', '{"url": "https://hook.example.org/"}', %(secret)s
                  FROM generate_series(1, %(channels)s) AS n RETURNING channel_id
            ), alert AS (
                INSERT INTO alerts (customer_id, rule_id, kind, notice, fingerprint, subject_id, content, channel_ids, told_at)
                SELECT %(customer)s, r.rule_id, 'drift', 'open', n::text, gen_random_uuid(),
                       '{"type": "test", "customer": {"slug": "acme", "name": "Acme"}, "data": {}}',
                       (SELECT array_agg(channel_id) FROM channel), now()
                  FROM alert_rules AS r, generate_series(1, %(rows)s / %(channels)s) AS n
                RETURNING alert_id, rule_id, channel_ids
            ), message AS MATERIALIZED (
                SELECT alert_id, rule_id, channel_id, gen_random_uuid() AS delivery_id
                  FROM alert, unnest(channel_ids) AS c (channel_id)
            ), delivery AS (
                INSERT INTO deliveries (customer_id, delivery_id, rule_id, channel_id)
                SELECT %(customer)s, delivery_id, rule_id, channel_id FROM message
            )
            INSERT INTO delivery_alerts (customer_id, delivery_id, alert_id, channel_id)
            SELECT %(customer)s, delivery_id, alert_id, channel_id FROM message
            """,
            {"customer": customer, "channels": channels, "rows": rows, "secret": new_secret()},
        )

    return write
