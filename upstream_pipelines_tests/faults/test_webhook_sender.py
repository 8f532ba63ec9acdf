"""Webhooks to hostile receivers, on real sockets. Each must end in time, with a reason that gives nothing away."""

from __future__ import annotations

import gzip
import socket
import struct
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from upstream_pipelines.delivery import address_guard
from upstream_pipelines.delivery.channels import new_secret
from upstream_pipelines.delivery.outcome import LONGEST_RETRY_AFTER, Outcome, next_wait
from upstream_pipelines.delivery.webhook import send_webhook
from upstream_pipelines.settings import Settings

PAYLOAD = {
    "type": "drift.event.opened",
    "timestamp": "2026-05-01T00:00:00+00:00",
    "data": {"payer": "Müller & Söhne"},
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of a sender alone: no database is made for it."""
    return Settings(home=tmp_path)


def _send(settings: Settings, url: str, **changes: Any) -> Outcome:
    values: dict[str, Any] = {
        "url": url, "secrets": [new_secret()], "delivery_id": "5f0c", "payload": PAYLOAD, "now": datetime.now(UTC),
    }  # fmt: skip
    return send_webhook(settings, **{**values, **changes})


def test_a_receiver_that_drips_headers_is_cut_off_at_the_wall_clock(loopback: Settings, receiver: Any) -> None:
    def drip(handler: Any, _body: bytes) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nx: ")
        while not receiver.closing.wait(0.1):
            handler.wfile.write(b"a")

    receiver.script = drip
    before, started = threading.active_count(), time.monotonic()
    outcome = _send(loopback, receiver.url, total_seconds=1.0)
    assert time.monotonic() - started < 2
    assert (outcome.state, outcome.detail, outcome.receiver_failing) == ("retry", "no answer within 1 s", True)
    time.sleep(0.5)
    assert threading.active_count() <= before + 1  # the cut socket ended the sending thread


def test_a_body_that_never_ends_after_a_200_is_a_delivery_and_is_not_waited_for(
    loopback: Settings, receiver: Any
) -> None:
    def drip(handler: Any, _body: bytes) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
        while not receiver.closing.wait(0.1):
            handler.wfile.write(b"a")

    receiver.script = drip
    outcome = _send(loopback, receiver.url, total_seconds=1.0)
    assert (outcome.state, outcome.answer) == ("sent", "(the answer did not end)")


def test_of_an_endless_answer_16_kib_are_read_and_1_kib_kept(loopback: Settings, receiver: Any) -> None:
    written = 0

    def flood(handler: Any, _body: bytes) -> None:
        nonlocal written
        handler.wfile.write(b"HTTP/1.1 500 no\r\n\r\n")
        while not receiver.closing.is_set():
            written += handler.connection.send(b"x" * 65536)

    receiver.script = flood
    started = time.monotonic()
    outcome = _send(loopback, receiver.url)
    assert time.monotonic() - started < 3
    assert (outcome.state, outcome.status_code, outcome.answer) == ("retry", 500, "…")
    time.sleep(0.2)
    assert written < 16 * 1024 * 1024  # socket buffers, not what was read


def test_a_gzip_bomb_is_not_unpacked(loopback: Settings, receiver: Any, reply: Any) -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    receiver.script = lambda handler, _: reply(handler, 200, bomb, content_encoding="gzip")
    outcome = _send(loopback, receiver.url)
    assert (outcome.state, outcome.answer) == ("sent", "(a compressed answer, not read)")


def test_a_redirect_to_the_metadata_service_is_not_followed(loopback: Settings, receiver: Any, reply: Any) -> None:
    receiver.script = lambda handler, _: reply(handler, 302, location="http://169.254.169.254/latest/meta-data")
    outcome = _send(loopback, receiver.url)
    assert (outcome.state, outcome.status_code) == ("retry", 302)
    assert "redirects are not followed" in outcome.detail
    assert len(receiver.requests) == 1


def test_loopback_is_refused_unless_allowed_and_the_answer_says_no_more(settings: Settings, receiver: Any) -> None:
    outcome = _send(settings, receiver.url)
    assert (outcome.state, outcome.detail, outcome.answer) == ("retry", "destination not allowed", None)
    assert receiver.requests == []


def test_a_name_that_resolves_to_a_private_address_the_second_time_is_not_connected_to(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the address that was checked is the one that is used, so the third answer never counts."""
    answers = iter(["93.184.215.14", "10.0.0.7", "127.0.0.1"])
    asked: list[str] = []

    def resolve(host: str, port: int, *_: object, **__: object) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert _send(settings, "https://rebind.example.org/").detail == "destination not allowed"
    assert asked == ["rebind.example.org"] * 2


def test_one_private_address_among_public_ones_is_enough_to_refuse(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda _host, port, *_, **__: [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in ("93.184.215.14", "10.0.0.7")
        ],
    )
    assert _send(settings, "https://two.example.org/").detail == "destination not allowed"
    with pytest.raises(address_guard.DestinationNotAllowedError):
        address_guard.check_every_address("two.example.org", 443, allow_loopback=False)


def test_the_environment_proxy_is_not_used(
    loopback: Settings, receiver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert _send(loopback, receiver.url).state == "sent"


def test_a_closed_port_and_a_hang_up_are_retries_without_the_url_in_the_reason(
    loopback: Settings, receiver: Any
) -> None:
    receiver.script = lambda handler, _: handler.connection.shutdown(socket.SHUT_RDWR)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        for url in (f"http://127.0.0.1:{closed.getsockname()[1]}/?token=CANARY", f"{receiver.url}/?token=CANARY"):
            outcome = _send(loopback, url)
            assert (outcome.state, outcome.receiver_failing) == ("retry", True)
            assert "CANARY" not in repr(outcome)
            assert "no connection" in outcome.detail


def test_plain_text_where_tls_is_expected_is_a_tls_failure(loopback: Settings, receiver: Any) -> None:
    assert "TLS" in _send(loopback, receiver.url.replace("http://", "https://")).detail


def test_a_connection_that_is_reset_in_the_middle_of_an_answer(loopback: Settings, receiver: Any) -> None:
    """Before the status nothing was said; after it the status stands, whatever became of the body."""

    def reset_after(told: bytes) -> None:
        def script(handler: Any, _body: bytes) -> None:
            handler.connection.sendall(told)
            time.sleep(0.05)  # a reset overtakes what was not read yet
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.rfile.close()
            handler.wfile.close()
            handler.connection.close()

        receiver.script = script

    reset_after(b"HTTP/1.1 20")
    outcome = _send(loopback, receiver.url)
    assert (outcome.state, outcome.receiver_failing, outcome.status_code) == ("retry", True, None)
    assert outcome.detail.startswith("no connection (")
    reset_after(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\nhalf")
    assert (_send(loopback, receiver.url).state, _send(loopback, receiver.url).status_code) == ("sent", 200)
    reset_after(b"HTTP/1.1 500 no\r\ncontent-length: 100000\r\n\r\nhalf")
    outcome = _send(loopback, receiver.url)
    assert (outcome.state, outcome.status_code) == ("retry", 500)


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n", b"\x00\xff" * 500, b"HTTP/9.9 200 OK\r\n\r\n", b"HTTP/1.1 abc OK\r\n\r\n", b"",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 5000 + b"\r\n", b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\nx",
    ],
    ids=["ssh", "binary", "version", "status", "nothing", "many headers", "long header", "chunks", "length"],
)  # fmt: skip
def test_garbage_instead_of_http_ends_the_attempt_with_a_reason(
    loopback: Settings, receiver: Any, garbage: bytes
) -> None:
    """Most likely wrong: an exception of http.client that is none of requests'."""

    def script(handler: Any, _body: bytes) -> None:
        handler.connection.sendall(garbage)
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_WR)

    receiver.script = script
    outcome = _send(loopback, receiver.url)
    # With a readable status the receiver has decided; without one it is a failure of its own.
    assert (outcome.state, outcome.status_code) in {("sent", 200), ("retry", None)}
    assert outcome.state == "sent" or outcome.detail.startswith("no connection (")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0), ("30", 30), ("Fri, 01 May 2026 12:10:00 GMT", 600), ("Friday, 01-May-26 12:10:00 GMT", 600),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0), ("Fri, 31 Dec 9999 23:59:59 GMT", None), ("999999999", 999999999),
        ("-1", None), ("1e9", None), ("9" * 30, None), ("tomorrow", None), ("\u0663", None), ("30, 60", None),
        ("Fri, 99 May 2026 99:99:99 GMT", None), ("Fri, 01 May 2026 12:10:00 +9999", None),
    ],
)  # fmt: skip
def test_whatever_a_429_asks_for_is_understood_or_ignored(
    loopback: Settings, receiver: Any, value: str, seconds: int | None
) -> None:
    receiver.script = lambda handler, _: handler.connection.sendall(
        f"HTTP/1.1 429 slow\r\nretry-after: {value}\r\ncontent-length: 0\r\n\r\n".encode()
    )
    outcome = _send(loopback, receiver.url, now=datetime(2026, 5, 1, 12, tzinfo=UTC))
    assert (outcome.state, outcome.status_code) == ("retry", 429)
    wait = next_wait(1, outcome.retry_after, lambda: 0.0)
    assert wait is not None
    assert timedelta(seconds=5) <= wait <= LONGEST_RETRY_AFTER
    if seconds is not None:
        assert outcome.retry_after == timedelta(seconds=seconds)
