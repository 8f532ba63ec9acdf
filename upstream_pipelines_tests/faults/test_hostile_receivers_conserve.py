"""Alerts in the outbox for webhooks whose receivers are hostile, on real sockets: none is lost, none is doubled.

What a single attempt makes of such a receiver is asked in test_webhook_sender.py and test_webhook_tls.py; of mail and
Slack beside their servers (test_email_faults.py, test_slack_sender.py).
"""

from __future__ import annotations

import gzip
import itertools
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from upstream_pipelines.alerts.store import sync_channels
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.delivery import sending
from upstream_pipelines.delivery.channels import WebhookChannel
from upstream_pipelines.delivery.outcome import ATTEMPTS
from upstream_pipelines.delivery.webhook import send_webhook
from upstream_pipelines.settings import Settings

EVENTS = 2
Script = Callable[[Any, Any], None]
_BOMB = gzip.compress(b"\0" * 5_000_000)


def _tell(receiver: Any, handler: Any, head: bytes) -> None:
    """A beginning, then a byte every now and then for ever."""
    handler.wfile.write(head)
    while not receiver.closing.wait(0.05):
        handler.wfile.write(b"a")


def _flood(receiver: Any, handler: Any) -> None:
    handler.wfile.write(b"HTTP/1.1 500 no\r\n\r\n")
    while not receiver.closing.is_set():
        handler.connection.send(b"x" * 65536)


def _reset(_receiver: Any, handler: Any, told: bytes) -> None:
    handler.connection.sendall(told)
    time.sleep(0.05)  # a reset overtakes what was not read yet
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.rfile.close()
    handler.wfile.close()
    handler.connection.close()


def _raw(_receiver: Any, handler: Any, answer: bytes) -> None:
    handler.connection.sendall(answer)
    handler.close_connection = True


@dataclass(frozen=True)
class Row:
    """What the receiver does, and how each attempt must be kept. `url` where the trouble lies in the address; `seconds`
    of a whole attempt, 20 in production.
    """

    script: Script | None
    outcome: str
    status: int | None
    detail: str
    url: str = "http://127.0.0.1:{port}/bad"
    seconds: float = 10.0


_BOMB_HEAD = f"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {len(_BOMB)}\r\n\r\n".encode()
_METADATA = b"HTTP/1.1 302 found\r\nlocation: http://169.254.169.254/latest/meta-data\r\ncontent-length: 0\r\n\r\n"
_STORM = b"HTTP/1.1 429 slow down\r\nretry-after: 60\r\ncontent-length: 0\r\n\r\n"
ROWS = {
    "slow drip": Row(
        partial(_tell, head=b"HTTP/1.1 200 OK\r\nx: "), "retry", None, "no answer within 0.2 s", seconds=0.2
    ),
    "a body that never ends": Row(
        partial(_tell, head=b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n"),
        "sent",
        200,
        "accepted",
        seconds=1.0,
    ),
    "an endless answer": Row(_flood, "retry", 500, "the receiver answered 500"),
    "a gzip bomb": Row(partial(_raw, answer=_BOMB_HEAD + _BOMB), "sent", 200, "accepted"),
    "a redirect to the metadata service": Row(
        partial(_raw, answer=_METADATA), "retry", 302, "redirects are not followed"
    ),
    "a name that stands for another address at the second look": Row(
        None, "retry", None, "destination not allowed", "http://localhost:{port}/bad"
    ),
    "a storm of 429": Row(partial(_raw, answer=_STORM), "retry", 429, "the receiver answered 429"),
    "no TLS where it is expected": Row(None, "retry", None, "no TLS connection", "https://127.0.0.1:{port}/bad"),
    "a reset before the status": Row(partial(_reset, told=b"HTTP/1.1 20"), "retry", None, "no connection ("),
    "a reset after the status": Row(
        partial(_reset, told=b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\nhalf"), "sent", 200, "accepted"
    ),
    "no HTTP at all": Row(partial(_raw, answer=b"SSH-2.0-OpenSSH_9.6\r\n"), "retry", None, "no connection ("),
}


@pytest.fixture
def _rebinding(monkeypatch: pytest.MonkeyPatch) -> None:
    """`localhost` is another address each second time it is looked up."""
    real, looks = socket.getaddrinfo, itertools.count(1)

    def resolve(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host != "localhost":
            return real(host, port, *args, **kwargs)
        address = "127.0.0.1" if next(looks) % 2 else "10.0.0.7"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.mark.usefixtures("_rebinding")
@pytest.mark.parametrize("ends", ["it is mended", "it stays so"])
@pytest.mark.parametrize("row", ROWS)
def test_a_hostile_receiver_costs_no_alert_and_doubles_none(
    loopback: Settings, pipeline: Connection, customer: int, receiver: Any, queue: Any, reply: Any, watched: Any,
    monkeypatch: pytest.MonkeyPatch, row: str, ends: str,
) -> None:  # fmt: skip
    """Most likely wrong: an outcome that no step writes down, so that the lease runs out and the same goes out again."""
    hostile = ROWS[row]
    monkeypatch.setattr(sending, "send_webhook", partial(send_webhook, total_seconds=hostile.seconds))

    def script(handler: Any, _body: bytes) -> None:
        if handler.path == "/bad" and hostile.script is not None:
            hostile.script(receiver, handler)
        else:
            reply(handler, 200)

    receiver.script = script
    port = receiver.url.rpartition(":")[2]
    good = WebhookChannel(kind="webhook", name="good", url=f"{receiver.url}/good")
    queue([WebhookChannel(kind="webhook", name="bad", url=hostile.url.format(port=port)), good], EVENTS)
    watched.deliver(loopback, events=EVENTS)
    assert watched.states("good") == {"sent": EVENTS}
    if ends == "it is mended":
        mended = WebhookChannel(kind="webhook", name="bad", url=f"{receiver.url}/mended")
        sync_channels(pipeline, customer, [mended, good], loopback)
    while watched.on_to_the_next_try():
        watched.deliver(loopback, events=EVENTS)

    attempts = watched.attempts("bad")
    met = [one for one in attempts if one != ("sent", 200, "accepted") or hostile.outcome == "sent"]
    assert {(outcome, status) for outcome, status, _ in met} - {("dead", hostile.status)} == {
        (hostile.outcome, hostile.status)
    }
    assert all(hostile.detail in detail for *_, detail in met)
    reached = Counter((path, headers["webhook-id"]) for path, headers, _ in receiver.requests)
    assert sorted(reached[key] for key in reached if key[0] == "/good") == [1] * EVENTS
    if hostile.outcome == "sent":
        assert (watched.states("bad"), len(attempts)) == ({"sent": EVENTS}, EVENTS)
    elif ends == "it is mended":
        assert watched.states("bad") == {"sent": EVENTS}
        assert sorted(reached[key] for key in reached if key[0] == "/mended") == [1] * EVENTS
        # A storm pauses the channel, so the second is not even tried in it.
        assert len(met) == (1 if hostile.status == 429 else EVENTS)
    else:
        assert (watched.states("bad"), len(attempts)) == ({"dead": EVENTS}, EVENTS * ATTEMPTS)
        assert [outcome for outcome, *_ in attempts].count("dead") == EVENTS
