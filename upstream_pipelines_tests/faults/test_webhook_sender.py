"""Webhooks to hostile receivers, on real sockets. Each must end in time, with a reason that gives nothing away."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from upstream_pipelines.delivery import address_guard
from upstream_pipelines.delivery.channels import new_secret
from upstream_pipelines.delivery.outcome import Outcome
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
    assert (outcome.state, outcome.status_code, outcome.answer) == ("retry", 500, "x" * 1024)
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
