"""POST /api/v1/ingest/webhook/: what is accepted, what is refused, and how either is answered."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import httpx
import pytest
from fastapi import Request
from sqlalchemy.pool import QueuePool

from upstream_pipelines.api.authentication import TokenSent
from upstream_pipelines.api.intake import SMALL_BYTES
from upstream_pipelines.api.rate_limits import RateClass, RateLimits
from upstream_pipelines.customers.tokens import Caller
from upstream_pipelines.db.engine import Connection, engine
from upstream_pipelines.settings import Settings

REQUEST = "6f2c1d6e-0d3a-4b52-9c51-0a4f6f1d2e3b"
URL = "/api/v1/ingest/webhook/"
CLAIM = {"payer": "Aetna", "cpt": "99213", "submitted_date": "2026-03-02", "outcome": "PENDING"}
BODY = json.dumps({"claims": [CLAIM]}).encode()


JSON = {"Content-Type": "application/json"}
Count = Callable[[], int]


@pytest.fixture
def small(
    settings: Settings, serve: Callable[[Settings], str], token: Callable[[str], str]
) -> Iterator[httpx.Client]:
    """A client of an API that accepts at most 2,048 bytes."""
    headers = {"Authorization": f"Bearer {token('small')}", **JSON}
    url = serve(settings.model_copy(update={"max_body_bytes": 2048}))
    with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=30) as client:
        yield client


def test_a_batch_is_acknowledged_with_its_id_and_stands_in_the_inbox(
    acme: httpx.Client, pipeline: Connection
) -> None:
    answer = acme.post(URL, content=BODY, headers={**JSON, "X-Request-Id": REQUEST})
    assert answer.status_code == 202
    assert answer.json().keys() == {"upload_id", "status", "request_id"}
    assert answer.json()["status"] == "received"
    assert answer.json()["request_id"] == answer.headers["X-Request-Id"] == REQUEST
    rows = pipeline.execute(
        "SELECT u.upload_id::text, c.slug, u.source, u.request_id, i.body FROM uploads AS u "
        "JOIN webhook_inbox AS i USING (customer_id, upload_id) JOIN customers AS c USING (customer_id)"
    ).fetchall()
    assert rows == [(answer.json()["upload_id"], "acme", "webhook", REQUEST, BODY)]


def test_the_address_without_its_last_slash_is_the_same(acme: httpx.Client) -> None:
    assert acme.post(URL.rstrip("/"), content=BODY, headers=JSON).status_code == 202


def test_a_repeated_key_gets_the_first_answer_and_says_so(acme: httpx.Client, uploads: Count) -> None:
    headers = {**JSON, "Idempotency-Key": "batch-7"}
    first = acme.post(URL, content=BODY, headers=headers)
    again = acme.post(URL, content=BODY, headers=headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    other = acme.post(URL, content=BODY + b" ", headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert uploads() == 1


def test_fifty_clients_with_one_key_make_one_upload(acme: httpx.Client, uploads: Count) -> None:
    headers = {**JSON, "Idempotency-Key": "batch-8"}
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: acme.post(URL, content=BODY, headers=headers), range(50)))
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert len({answer.json()["upload_id"] for answer in answers if answer.status_code == 202}) == 1
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} <= {
        "idempotency_key_in_flight"
    }
    assert uploads() == 1


def test_a_key_that_is_no_key_is_refused(acme: httpx.Client, uploads: Count) -> None:
    for key in (b"", b"x" * 256, b"with space", "ümlaut".encode("latin-1")):
        answer = acme.post(
            URL, content=BODY, headers={b"Content-Type": b"application/json", b"Idempotency-Key": key}
        )
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), key[:20]
    assert uploads() == 0


def test_every_kind_of_bad_token_gets_one_and_the_same_answer(
    anonymous: httpx.Client, token: Callable[[str], str], pipeline: Connection, uploads: Count
) -> None:
    good = token("acme")

    def ask(authorization: str | None) -> tuple[int, str | None, dict[str, object]]:
        headers = {**JSON, "X-Request-Id": REQUEST}
        if authorization is not None:
            headers["Authorization"] = authorization
        answer = anonymous.post(URL, content=BODY, headers=headers)
        return answer.status_code, answer.headers.get("WWW-Authenticate"), answer.json()

    missing = ask(None)
    assert missing[:2] == (401, 'Bearer realm="upstream"')
    assert ask("Bearer upi_" + "x" * 43) == missing
    assert ask("Bearer nonsense") == missing
    assert ask(f"Basic {good}") == missing
    pipeline.execute("UPDATE ingestion_tokens SET expires_at = now() - interval '1 second'")
    assert ask(f"Bearer {good}") == missing
    pipeline.execute("UPDATE ingestion_tokens SET expires_at = NULL, revoked_at = now()")
    assert ask(f"Bearer {good}") == missing
    pipeline.execute("UPDATE ingestion_tokens SET revoked_at = NULL")
    assert ask(f"Bearer {good}")[0] == 202
    pipeline.execute("UPDATE customers SET status = 'disabled'")
    assert ask(f"Bearer {good}") == missing
    assert uploads() == 1


def test_a_body_of_exactly_the_limit_is_accepted_and_one_byte_more_is_not(
    small: httpx.Client, uploads: Count
) -> None:
    full = BODY + b" " * (2048 - len(BODY))
    assert small.post(URL, content=full, headers=JSON).status_code == 202
    answer = small.post(URL, content=full + b" ", headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert uploads() == 1


def test_a_chunked_body_is_counted_while_it_comes(small: httpx.Client, uploads: Count) -> None:
    """No Content-Length at all: only counting finds the size, and of 80 MB that come after it not all are read."""
    taken = 0

    def long() -> Iterator[bytes]:
        nonlocal taken
        yield BODY
        for _ in range(20_000):
            taken += 1
            yield b" " * 4096

    answer = small.post(URL, content=long(), headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert taken < 20_000
    assert uploads() == 0


def _raw(client: httpx.Client, length: int, body: bytes, *, break_off: bool = False) -> bytes:
    """Send a request whose Content-Length is not its body's; returns all that is answered."""
    url = client.base_url
    with socket.create_connection((url.host, url.port or 0), timeout=10) as connection:
        connection.sendall(
            f"POST {URL} HTTP/1.1\r\nHost: x\r\nAuthorization: {client.headers['Authorization']}\r\n"
            f"Content-Type: application/json\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n".encode()
            + body
        )
        if break_off:
            connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_a_body_announced_too_large_is_refused_before_it_comes(small: httpx.Client, uploads: Count) -> None:
    assert _raw(small, 10**12, b"{").startswith(b"HTTP/1.1 413 ")
    assert uploads() == 0


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
def test_a_sender_of_too_much_that_reads_only_when_it_has_sent_all_reads_why(
    small: httpx.Client, uploads: Count, chunked: bool
) -> None:
    """16 MiB, far more than sockets buffer: a connection closed on them would be reset, with the answer in it."""
    length, piece = 16 * 2**20, b" " * 2**16
    headers = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {length}"
    with socket.create_connection((small.base_url.host, small.base_url.port or 80), timeout=30) as connection:
        connection.sendall(
            f"POST {URL} HTTP/1.1\r\nHost: x\r\nAuthorization: {small.headers['authorization']}\r\n"
            f"Content-Type: application/json\r\n{headers}\r\n\r\n".encode()
        )
        for _ in range(length // len(piece)):
            connection.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" if chunked else piece)
        if chunked:
            connection.sendall(b"0\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"too_large" in answer
    assert uploads() == 0


def test_a_body_shorter_or_longer_than_announced_is_not_accepted(small: httpx.Client, uploads: Count) -> None:
    """Shorter: the sender broke off. Longer: what was announced is no batch, the rest no request."""
    assert not _raw(small, len(BODY) + 1, BODY, break_off=True).startswith(b"HTTP/1.1 202 ")
    assert _raw(small, 10, BODY + b" " * 4096).startswith(b"HTTP/1.1 422 ")
    assert uploads() == 0


# In one test each, these lists: a database and a server a case would cost half a second.
_NO_BATCHES = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'{"claims": {}}',
    b'{"claim": []}',
    b"\xff\xfe\x00",
    b'{"claims": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    b"[" * 100_000,
]


def test_a_body_that_is_no_batch_is_refused_as_a_whole(acme: httpx.Client, uploads: Count) -> None:
    for body in _NO_BATCHES:
        answer = acme.post(URL, content=body, headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (422, "file_refused"), body[:40]
    assert uploads() == 0


def test_what_is_not_plain_json_is_refused_by_its_headers(acme: httpx.Client, uploads: Count) -> None:
    for headers, code in (
        ({"Content-Type": "text/csv"}, "content_type"),
        ({"Content-Type": ""}, "content_type"),
        ({"Content-Encoding": "gzip"}, "content_encoding"),
    ):
        answer = acme.post(URL, content=BODY, headers={**JSON, **headers})
        assert (answer.status_code, answer.json()["code"]) == (415, code), headers
    assert uploads() == 0


def test_json_by_its_other_names_is_accepted(acme: httpx.Client, uploads: Count) -> None:
    for kind in ("application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.x+json"):
        assert acme.post(URL, content=BODY, headers={"Content-Type": kind}).status_code == 202, kind
    assert uploads() == 3


def _sent(client: httpx.Client, request: str) -> bytes:
    """The beginning of the answer to a request as it stands."""
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=10) as sender:
        sender.sendall(request.encode())
        return sender.recv(65536)


@pytest.mark.parametrize(("path", "status"), [(URL, 401), ("/api/v1/auth/login", 422)])
def test_a_length_of_thousands_of_noughts_is_a_length(anonymous: httpx.Client, path: str, status: int) -> None:
    """Python reads no number of so many digits; the server in front does."""
    answer = _sent(
        anonymous, f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {'0' * 5000}2\r\n\r\n{{}}"
    )  # fmt: skip
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())


def test_no_connection_is_held_while_requests_are_counted(
    acme: httpx.Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis may not answer, and /health/ready takes a connection of the same pool."""
    taken: list[int] = []
    counted = RateLimits.spend

    def spend(limits: RateLimits, request: Request, kind: RateClass, caller: str) -> None:
        pool = engine(settings, "upstream_api").pool
        assert isinstance(pool, QueuePool)
        taken.append(pool.checkedout())
        counted(limits, request, kind, caller)

    monkeypatch.setattr(RateLimits, "spend", spend)
    assert acme.post(URL, content=BODY, headers=JSON).status_code == 202
    assert acme.post(URL, content=BODY + b" " * SMALL_BYTES, headers=JSON).status_code == 202
    assert acme.post(URL, content=BODY, headers={**JSON, "Authorization": "Bearer x"}).status_code == 401
    assert acme.get("/api/v1/uploads/00000000-0000-0000-0000-000000000000").status_code == 404
    assert taken == [0, 0, 0, 0]


def test_a_large_batch_is_refused_when_its_token_was_revoked_while_it_came(
    acme: httpx.Client, pipeline: Connection, uploads: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, found = Event(), TokenSent.caller

    def caller(sent: TokenSent) -> Caller:
        whose = found(sent)
        asked.set()
        return whose

    def body() -> Iterator[bytes]:
        yield BODY
        assert asked.wait(10)
        pipeline.execute("UPDATE ingestion_tokens SET revoked_at = now()")
        yield b" " * SMALL_BYTES

    monkeypatch.setattr(TokenSent, "caller", caller)
    assert acme.post(URL, content=body(), headers=JSON).status_code == 401
    assert uploads() == 0


def test_a_batch_whose_sender_is_gone_is_not_stored(acme: httpx.Client, uploads: Count) -> None:
    """A length that is too small: the server closes the connection on what comes after it, and the sender reads no answer."""
    answer = _sent(
        acme, f"POST {URL} HTTP/1.1\r\nHost: x\r\nAuthorization: {acme.headers['Authorization']}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n{BODY.decode()}XXXXX"
    )  # fmt: skip
    assert b" 202 " not in answer
    assert acme.post(URL, content=BODY, headers=JSON).status_code == 202
    assert uploads() == 1


@pytest.mark.parametrize(
    ("key", "rule"),
    [("", "string_too_short"), ("k" * 256, "string_too_long"), ("two words", "string_pattern_mismatch")],
)
def test_a_key_that_breaks_a_rule_is_told_which_and_only_to_those_who_may_send(
    acme: httpx.Client, key: str, rule: str
) -> None:
    headers = {**JSON, "Idempotency-Key": key}
    told = acme.post(URL, content=BODY, headers=headers)
    assert told.status_code == 422
    assert told.json()["errors"] == [{"parameter": "header.idempotency-key", "rule": rule}]
    assert acme.post(URL, content=BODY, headers={**headers, "Authorization": "Bearer x"}).status_code == 401


@pytest.mark.parametrize("size", [0, SMALL_BYTES])
@pytest.mark.parametrize("token", [None, "Bearer", "Bearer upi_" + "a" * 43, "Basic dTpw"])
def test_without_a_good_token_a_batch_of_any_size_is_a_401(
    anonymous: httpx.Client, uploads: Count, size: int, token: str | None
) -> None:
    headers = JSON if token is None else {**JSON, "Authorization": token}
    assert anonymous.post(URL, content=BODY + b" " * size, headers=headers).status_code == 401
    assert uploads() == 0
