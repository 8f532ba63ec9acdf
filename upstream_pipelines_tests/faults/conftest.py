"""Receivers on real sockets, and an outbox with alerts in it. Only loopback is listened on."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, LiteralString

import pytest

from upstream_pipelines.alerts.notices import DriftNotice
from upstream_pipelines.alerts.rules import DEFAULT_RULE
from upstream_pipelines.alerts.store import conservation, sync_channels, sync_rules, write_drift_alerts
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.delivery.channels import Channel
from upstream_pipelines.delivery.worker import deliver_due
from upstream_pipelines.settings import Settings


@dataclass
class Receiver:
    """An HTTP server that keeps what it got and answers by script; without a script 200 and `ok`."""

    url: str = ""
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    script: Callable[[BaseHTTPRequestHandler, bytes], None] | None = None
    open_now: int = 0
    most_open: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    closing: threading.Event = field(default_factory=threading.Event)


def answer(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"ok", **headers: str) -> None:
    """A complete answer."""
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture
def reply() -> Callable[..., None]:
    return answer


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    # Slack's SDK would hand a request for loopback to a proxy of the machine the tests run on.
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    state = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            with state.lock:
                state.open_now += 1
                state.most_open = max(state.most_open, state.open_now)
                state.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            try:
                if state.script is None:
                    answer(self, 200)
                else:
                    state.script(self, body)
            except OSError:
                self.close_connection = True  # the sender hung up, as some of these tests want
            finally:
                with state.lock:
                    state.open_now -= 1

        do_GET = do_POST  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """A sender that hangs up in the middle is what some tests are about; it need not be printed."""

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield state
    state.closing.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def loopback(settings: Settings) -> Settings:
    """Settings that let webhooks reach this machine."""
    return settings.model_copy(update={"webhook_allow_loopback": True})


@pytest.fixture
def customer(pipeline: Connection) -> int:
    row = pipeline.execute(
        "INSERT INTO customers (slug, name) VALUES ('acme', 'Acme Health') RETURNING customer_id"
    ).fetchone()
    assert row is not None
    sync_rules(pipeline, row[0], [DEFAULT_RULE])
    return int(row[0])


def notice(**changes: Any) -> DriftNotice:
    """A denial rate that went up."""
    values: dict[str, Any] = {
        "event_id": uuid.uuid4(), "notice": "open", "payer": "Aetna", "cpt_group": "ALL", "signal": "denial_rate",
        "direction": "worsening", "severity": 0.7, "effect": 0.052, "baseline": 0.101, "current": 0.153,
        "n_baseline": 5000, "n_current": 900, "maturity": 0.72, "p_value": 1e-5, "q_value": 2e-4,
        "as_of": date(2026, 5, 1), "change_date": date(2026, 4, 2),
        "headline": "Aetna denies more: 10.1 % → 15.3 %", "sentences": ("Aetna denies more.",), "facts": (("Before", "10.1 %"),),
        "chart_png": None, "link": "http://127.0.0.1:3020/runs",
    }  # fmt: skip
    return DriftNotice(**{**values, **changes})


# What was written just now as one message a channel becomes one for each alert.
_ONE_EACH = """
WITH joined AS (
    SELECT l.*, d.rule_id, d.due_at, gen_random_uuid() AS own
      FROM delivery_alerts AS l JOIN deliveries AS d USING (customer_id, delivery_id)
     WHERE d.state = 'pending' AND d.attempt = 0
       AND d.delivery_id IN (SELECT delivery_id FROM delivery_alerts GROUP BY delivery_id HAVING count(*) > 1)
), made AS (
    INSERT INTO deliveries (customer_id, delivery_id, rule_id, channel_id, due_at)
    SELECT customer_id, own, rule_id, channel_id, due_at FROM joined
), moved AS (
    UPDATE delivery_alerts AS l SET delivery_id = j.own FROM joined AS j
     WHERE l.customer_id = j.customer_id AND l.alert_id = j.alert_id AND l.channel_id = j.channel_id
)
DELETE FROM deliveries WHERE delivery_id IN (SELECT delivery_id FROM joined)
"""


@pytest.fixture
def write_alerts() -> Callable[..., None]:
    """So many alerts to each channel of a customer, each in a message of its own and of another payer, so that none
    waits for another.
    """

    def write(conn: Connection, customer_id: int, alerts: int, **changes: Any) -> None:
        with conn.transaction():
            payers = [f"Payer {uuid.uuid4().hex[:12]}" for _ in range(alerts)]
            notices = [notice(**{"payer": payer, **changes}) for payer in payers]
            assert write_drift_alerts(conn, customer_id, notices) == alerts
            conn.execute(_ONE_EACH)
            # Nor for the spacing after a message that went out before: that is what other tests are about.
            conn.execute(
                "UPDATE deliveries SET due_at = least(due_at, now()) WHERE state = 'pending' AND attempt = 0"
            )

    return write


@pytest.fixture
def queue(
    pipeline: Connection, customer: int, loopback: Settings, write_alerts: Callable[..., None]
) -> Callable[[list[Channel], int], dict[str, str]]:
    """Channels and so many alerts to each of them. Returns the secrets that were made."""

    def fill(channels: list[Channel], alerts: int = 1, **changes: Any) -> dict[str, str]:
        made = sync_channels(pipeline, customer, channels, loopback)
        write_alerts(pipeline, customer, alerts, **changes)
        return made

    return fill


class Watched:
    """The real worker under a clock that is set by hand; after each of its runs the outbox must be whole."""

    def __init__(self, conn: Connection, customer: int) -> None:
        self._conn, self._customer = conn, customer
        self.now = datetime.now(UTC) + timedelta(seconds=1)

    def deliver(self, settings: Settings, *, events: int) -> None:
        """One run of the worker. So many events were written, to each of the customer's channels."""
        deliver_due(settings, clock=lambda: self.now, jitter=lambda: 0.0)
        counts = conservation(self._conn, self._customer)
        channels = self._one("SELECT count(*) FROM alert_channels")
        zero = ("missing_places", "unexpected_places", "empty_deliveries", "lost_attempts", "wrong_states")
        assert {name: counts[name] for name in zero} == dict.fromkeys(zero, 0)
        # Of a channel that was switched off the others are told: an alert without an event of its own.
        events += self._one("SELECT count(*) FROM alerts WHERE kind = 'delivery_trouble'")
        assert counts["alerts"] == events
        assert channels * self._one("SELECT count(*) FROM alerts WHERE kind = 'drift'") <= counts["deliveries"]
        assert self._one("SELECT count(*) FROM deliveries WHERE state = 'sending'") == 0
        assert self._one("SELECT count(*) FROM delivery_attempts WHERE outcome IS NULL") == 0

    def on_to_the_next_try(self) -> bool:
        """Set the clock to when something can be taken again. Returns: whether anything still waits."""
        row = self._conn.execute(
            "SELECT min(greatest(d.due_at, c.not_before)) FROM deliveries AS d JOIN alert_channels AS c "
            "USING (customer_id, channel_id) WHERE d.state IN ('pending', 'retrying')"
        ).fetchone()
        assert row is not None
        if row[0] is None:
            return False
        self.now = max(self.now, row[0])
        return True

    def attempts(self, channel: str) -> list[tuple[str, int | None, str]]:
        """What is kept of a channel's attempts, in the order they were made: outcome, status, detail."""
        return self._conn.execute(
            "SELECT t.outcome, t.status_code, t.detail FROM delivery_attempts AS t "
            "JOIN deliveries USING (customer_id, delivery_id) JOIN alert_channels USING (customer_id, channel_id) "
            "WHERE name = %s ORDER BY t.started_at, t.finished_at, t.attempt",
            (channel,),
        ).fetchall()

    def states(self, channel: str) -> dict[str, int]:
        """How many deliveries of a channel are in which state."""
        return dict(
            self._conn.execute(
                "SELECT state, count(*) FROM deliveries JOIN alert_channels USING (customer_id, channel_id) "
                "WHERE name = %s GROUP BY state",
                (channel,),
            ).fetchall()
        )

    def _one(self, statement: LiteralString) -> int:
        row = self._conn.execute(statement).fetchone()
        assert row is not None
        return int(row[0])


@pytest.fixture
def watched(pipeline: Connection, customer: int) -> Watched:
    return Watched(pipeline, customer)


@pytest.fixture
def json_of() -> Callable[[bytes], Any]:
    return json.loads
