"""The inbox: a batch and its upload together or not at all, and one batch for one key."""

from __future__ import annotations

import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import psycopg
import pytest

from upstream_pipelines.customers.idempotency import IdempotencyKeyReusedError, KeyInFlightError
from upstream_pipelines.customers.store import get_customer
from upstream_pipelines.customers.tokens import Caller
from upstream_pipelines.db.engine import Connection, connect
from upstream_pipelines.errors import NotFoundError
from upstream_pipelines.ingest.inbox import (
    Accepted,
    accept_batch,
    find_upload,
    read_batch_body,
)
from upstream_pipelines.ingest.staging import stage_waiting
from upstream_pipelines.settings import Settings

_BODY = b'{"claims": [{"payer": "Aetna"}]}'


@pytest.fixture
def callers(pipeline: Connection) -> tuple[Caller, Caller]:
    """Two customers."""
    rows = pipeline.execute(
        "INSERT INTO customers (slug, name) VALUES ('acme', 'Acme'), ('beta', 'Beta') RETURNING customer_id, slug"
    ).fetchall()
    acme, beta = (Caller(customer_id, uuid4(), slug, "upi_12345678") for customer_id, slug in rows)
    return acme, beta


def _accept(settings: Settings, caller: Caller, body: bytes = _BODY, key: str | None = None) -> Accepted:
    with connect(settings, "upstream_api") as conn:
        return accept_batch(conn, caller, body, claim_count=1, idempotency_key=key, request_id="request-1")


def _count(pipeline: Connection) -> tuple[int, int]:
    row = pipeline.execute(
        "SELECT (SELECT count(*) FROM uploads), (SELECT count(*) FROM webhook_inbox)"
    ).fetchone()
    assert row is not None
    return row[0], row[1]


def test_a_batch_is_stored_byte_for_byte_with_its_upload(
    settings: Settings, pipeline: Connection, callers: tuple[Caller, Caller]
) -> None:
    body = b'{"claims": [{"payer": "\xc3\x84tna"}]}\r\n'
    accepted = _accept(settings, callers[0], body)
    assert read_batch_body(pipeline, callers[0].customer_id, accepted.upload_id) == body
    row = pipeline.execute(
        "SELECT source, status, byte_count, rows, request_id, sha256 = sha256(%s), detected FROM uploads", (body,)
    ).fetchone()
    assert row == ("webhook", "received", len(body), 0, "request-1", True, {"claims": 1})


def test_a_batch_that_was_read_keeps_the_size_it_came_with(
    settings: Settings, pipeline: Connection, callers: tuple[Caller, Caller]
) -> None:
    """What a partial upload lost is judged by the bytes of the others."""
    claim = {
        "claim_id": "A",
        "payer": "Aetna",
        "cpt": "99213",
        "submitted_date": "2026-01-05",
        "outcome": "PENDING",
    }
    body = json.dumps({"claims": [claim]}).encode()
    _accept(settings, callers[0], body)
    stage_waiting(pipeline, settings, get_customer(pipeline, "acme"), source="webhook", run_id="r")
    kept = pipeline.execute("SELECT byte_count, rows, staged_at IS NOT NULL FROM uploads").fetchall()
    assert kept == [(len(body), 1, True)]


def test_without_a_key_the_same_body_is_a_batch_each_time(
    settings: Settings, pipeline: Connection, callers: tuple[Caller, Caller]
) -> None:
    assert _accept(settings, callers[0]).upload_id != _accept(settings, callers[0]).upload_id
    assert _count(pipeline) == (2, 2)


def test_the_same_key_and_body_get_the_first_answer_again(
    settings: Settings, pipeline: Connection, callers: tuple[Caller, Caller]
) -> None:
    first = _accept(settings, callers[0], key="k1")
    with connect(settings, "upstream_api") as conn:
        again = accept_batch(conn, callers[0], _BODY, claim_count=1, idempotency_key="k1", request_id="request-2")
    assert again == Accepted(first.upload_id, "request-1", replayed=True)
    assert _count(pipeline) == (1, 1)


def test_of_a_key_that_names_somebody_its_hash_is_kept(
    settings: Settings, pipeline: Connection, callers: tuple[Caller, Caller]
) -> None:
    _accept(settings, callers[0], key="jane-canary-1970")
    kept = pipeline.execute("SELECT idempotency_key FROM webhook_inbox").fetchall()
    assert kept == [(hashlib.sha256(b"jane-canary-1970").hexdigest(),)]


def test_the_same_key_with_another_body_is_refused(
    settings: Settings, pipeline: Connection, callers: tuple[Caller, Caller]
) -> None:
    _accept(settings, callers[0], key="k1")
    with pytest.raises(IdempotencyKeyReusedError):
        _accept(settings, callers[0], _BODY + b" ", key="k1")
    assert _count(pipeline) == (1, 1)


def test_two_customers_may_use_the_same_key(
    settings: Settings, pipeline: Connection, callers: tuple[Caller, Caller]
) -> None:
    first, second = (_accept(settings, caller, key="k1") for caller in callers)
    assert first.upload_id != second.upload_id
    assert not second.replayed


def test_after_seven_days_a_key_may_be_used_again_and_the_old_batch_stays(
    settings: Settings, pipeline: Connection, callers: tuple[Caller, Caller]
) -> None:
    first = _accept(settings, callers[0], key="k1")
    pipeline.execute("UPDATE webhook_inbox SET received_at = now() - interval '6 days 23 hours'")
    assert _accept(settings, callers[0], key="k1").replayed
    pipeline.execute("UPDATE webhook_inbox SET received_at = now() - interval '7 days 1 minute'")
    later = _accept(settings, callers[0], b'{"claims": []}', key="k1")
    assert not later.replayed
    assert read_batch_body(pipeline, callers[0].customer_id, first.upload_id) == _BODY
    assert _count(pipeline) == (2, 2)


def test_a_request_in_flight_is_told_apart_at_once(
    settings: Settings, pipeline: Connection, callers: tuple[Caller, Caller]
) -> None:
    """The first is held up by a lock on the table, after it took the key."""
    url = settings.database_url
    assert url is not None
    with psycopg.connect(url.get_secret_value()) as blocker, ThreadPoolExecutor(1) as pool:
        blocker.execute("LOCK TABLE uploads IN SHARE MODE")
        first = pool.submit(_accept, settings, callers[0], key="k1")
        _wait_until_blocked(pipeline)
        with pytest.raises(KeyInFlightError):
            _accept(settings, callers[0], key="k1")
        blocker.rollback()
        assert not first.result(timeout=10).replayed
    assert _accept(settings, callers[0], key="k1").replayed


def _wait_until_blocked(pipeline: Connection) -> None:
    for _ in range(500):
        if pipeline.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone():
            return
        pipeline.execute("SELECT pg_sleep(0.01)")
    pytest.fail("the first request never got to the lock")


def test_twenty_at_once_with_one_key_make_one_batch(
    settings: Settings, pipeline: Connection, callers: tuple[Caller, Caller]
) -> None:
    """Refused ones send again, as a client would; in the end all hold the same answer."""
    start = threading.Barrier(20)

    def client(_: int) -> tuple[UUID, bool]:
        start.wait(timeout=30)
        while True:
            try:
                accepted = _accept(settings, callers[0], key="k1")
            except KeyInFlightError:
                continue
            return accepted.upload_id, accepted.replayed

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(client, range(20)))
    assert len({upload_id for upload_id, _ in answers}) == 1
    assert sorted(replayed for _, replayed in answers) == [False] + [True] * 19
    assert _count(pipeline) == (1, 1)


def test_an_upload_of_another_customer_is_not_found(
    settings: Settings, pipeline: Connection, callers: tuple[Caller, Caller]
) -> None:
    acme, beta = callers
    upload_id = _accept(settings, beta).upload_id
    with connect(settings, "upstream_api") as conn:
        assert find_upload(conn, beta, upload_id).status == "received"
        with pytest.raises(NotFoundError):
            find_upload(conn, acme, upload_id)
    with pytest.raises(NotFoundError):
        read_batch_body(pipeline, acme.customer_id, upload_id)


def test_nothing_is_stored_when_the_body_cannot_be(
    settings: Settings, pipeline: Connection, callers: tuple[Caller, Caller]
) -> None:
    """One transaction: an upload without its body would wait for ever."""
    url = settings.database_url
    assert url is not None
    with psycopg.connect(url.get_secret_value(), autocommit=True) as conn:
        conn.execute("ALTER TABLE webhook_inbox ADD CHECK (length(body) < 5)")
    with pytest.raises(psycopg.errors.CheckViolation):
        _accept(settings, callers[0])
    assert _count(pipeline) == (0, 0)
