"""The API against hostile and unlucky senders: nothing a sender does is a 500, and silence does not hold it."""

from __future__ import annotations

import json
import secrets
import select
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import httpx
import psycopg
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from psycopg import sql
from pydantic import SecretStr

from upstream_pipelines.api import bodies
from upstream_pipelines.settings import Settings

WEBHOOK, UPLOADS = "/api/v1/ingest/webhook/", "/api/v1/uploads/"
_VALUE: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
_BATCH = st.one_of(
    st.binary(max_size=100),
    _VALUE.map(lambda value: json.dumps(value).encode()),
    st.lists(_VALUE, max_size=3).map(lambda claims: json.dumps({"claims": claims}).encode()),
)


@examples(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@example(body=b'{"claims": [{"payer": "\\ud800"}]}')
@example(body=b'{"claims": [{"billed_amount": ' + b"9" * 6000 + b"}]}")
@example(body=b'{"claims": [{"billed_amount": 1e999999, "paid_amount": NaN}]}')
@example(body=b'{"claims": [' + b"{}," * 100_000 + b"{}]}")
@example(body=b'{"claims": [{"payer": "\\u0000"}]}')
@example(body=b'{"claims": [{"a": 1, "a": 2}], "claims": []}')
@given(body=_BATCH)
def test_no_body_is_a_server_error(acme: httpx.Client, body: bytes) -> None:
    answer = acme.post(WEBHOOK, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in {202, 422}, (answer.status_code, body[:200])


@examples(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    path=st.text(st.characters(codec="utf-8"), max_size=30).map(quote),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH"]),
    header=st.binary(max_size=40).map(lambda raw: bytes(byte for byte in raw if byte > 32 and byte != 127)),
)
def test_no_path_and_no_header_is_a_server_error(
    acme: httpx.Client, path: str, method: str, header: bytes
) -> None:
    headers = [(b"Content-Type", header), (b"X-Request-Id", header), (b"Idempotency-Key", header)]
    for address in (WEBHOOK, UPLOADS, UPLOADS + path):
        answer = acme.request(method, address, headers=headers, content=b"{}")
        assert answer.status_code < 500, (answer.status_code, address)
    headers = [(b"Authorization", b"Bearer x" + header)]
    assert acme.request("POST", WEBHOOK, headers=headers).status_code in {401, 415}


def test_a_sender_that_falls_silent_is_let_go(
    acme: httpx.Client, uploads: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "_SILENCE_SECONDS", 0.2)
    with socket.create_connection((acme.base_url.host, acme.base_url.port or 0), timeout=10) as connection:
        connection.sendall(
            f"POST {WEBHOOK} HTTP/1.1\r\nHost: x\r\nAuthorization: {acme.headers['Authorization']}\r\n"
            'Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"claims": ['.encode()
        )
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request_too_slow"' in answer
    assert uploads() == 0


_LOG_IN = "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json"
_BATCH_HEAD = f"POST {WEBHOOK} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json"
_FILE = f"POST {UPLOADS} HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=B"


@pytest.mark.parametrize("head", [_LOG_IN, _BATCH_HEAD, _FILE], ids=["log-in", "batch", "file"])
def test_a_body_that_trickles_is_let_go_though_it_never_falls_silent(
    acme: httpx.Client, uploads: Callable[[], int], monkeypatch: pytest.MonkeyPatch, head: str
) -> None:
    """One byte every 8 s held a connection for ever, of a log-in before anybody had said who they are."""
    monkeypatch.setattr(bodies, "_GRACE_SECONDS", 0.5)
    with socket.create_connection((acme.base_url.host, acme.base_url.port or 0), timeout=30) as connection:
        connection.sendall(
            f"{head}\r\nAuthorization: {acme.headers['Authorization']}\r\nContent-Length: 60000\r\n\r\n".encode()
        )
        sent = 0
        while not select.select([connection], [], [], 0.05)[0]:
            connection.sendall(
                (b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + b" " * 999)[sent:][
                    :1
                ]
            )
            sent += 1
            assert sent < 600, "it is still waited for"
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request_too_slow"' in answer
    assert b"bytes a second" in answer
    assert sent > 1
    assert uploads() == 0


def test_a_slow_sender_who_keeps_the_pace_is_waited_for(
    acme: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "_GRACE_SECONDS", 0.5)
    monkeypatch.setattr(bodies, "_LEAST_BYTES_A_SECOND", 10)

    def slowly() -> Iterator[bytes]:
        yield b'{"claims": [{"payer": "Aetna"}'
        for _ in range(10):
            time.sleep(0.1)
            yield b', {"payer": "Aetna"}'
        yield b"]}"

    answer = acme.post(WEBHOOK, content=slowly(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 202, answer.text


def test_the_api_needs_no_other_login_than_its_own(
    settings: Settings, serve: Callable[[Settings], str], token: Callable[[str], str], uploads: Callable[[], int]
) -> None:
    """A login that is a member of upstream_api only; the product's own URL is not even reachable."""
    assert settings.database_url is not None
    url = httpx.URL(settings.database_url.get_secret_value())
    login, password = f"api_{secrets.token_hex(8)}", secrets.token_hex(8)
    role = sql.Identifier(login)
    headers = {"Authorization": f"Bearer {token('acme')}", "Content-Type": "application/json"}
    with psycopg.connect(str(url), autocommit=True) as owner:
        owner.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(password)))
        owner.execute(sql.SQL("GRANT upstream_api TO {}").format(role))
        try:
            own = Settings(
                home=settings.home,
                database_url=SecretStr("postgresql://nobody@127.0.0.1:1/nothing"),
                api_database_url=SecretStr(str(url.copy_with(username=login, password=password))),
            )
            with httpx.Client(base_url=serve(own), headers=headers, trust_env=False, timeout=30) as client:
                assert client.get("/health").status_code == 200
                batch = client.post(WEBHOOK, content=b'{"claims": [{"payer": "Aetna"}]}')
                assert batch.status_code == 202
                assert client.get(UPLOADS + batch.json()["upload_id"]).status_code == 200
            assert uploads() == 1
        finally:
            owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (login,))
            owner.execute(sql.SQL("DROP ROLE {}").format(role))
