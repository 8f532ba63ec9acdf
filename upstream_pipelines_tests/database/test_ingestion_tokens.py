"""Ingestion tokens: shown once, stored as a digest, and worthless the moment they are revoked."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upstream_pipelines.customers.tokens import Caller, authenticate, issue_token, list_tokens, revoke_token
from upstream_pipelines.db.engine import Connection, connect, customer_transaction
from upstream_pipelines.errors import ConfigurationError, InvalidInputError, NotFoundError
from upstream_pipelines.settings import Settings


@pytest.fixture
def customer_id(pipeline: Connection) -> int:
    row = pipeline.execute(
        "INSERT INTO customers (slug, name) VALUES ('acme', 'Acme') RETURNING customer_id"
    ).fetchone()
    assert row is not None
    return int(row[0])


def _authenticate(settings: Settings, token: str) -> Caller | None:
    with connect(settings, "upstream_api") as conn:
        return authenticate(conn, token)


def test_a_token_is_stored_as_its_digest_and_nowhere_as_itself(pipeline: Connection, customer_id: int) -> None:
    token = issue_token(pipeline, customer_id, "billing system")
    assert re.fullmatch(r"upi_[A-Za-z0-9_-]{43}", token)
    rows = pipeline.execute("SELECT t::text, token_sha256 FROM ingestion_tokens AS t").fetchall()
    ((text, digest),) = rows
    assert token not in text
    assert token[12:] not in text
    assert digest == hashlib.sha256(token.encode()).digest()


def test_the_api_role_recognises_a_token_and_notes_its_use(
    settings: Settings, pipeline: Connection, customer_id: int
) -> None:
    token = issue_token(pipeline, customer_id)
    caller = _authenticate(settings, token)
    (info,) = list_tokens(pipeline, customer_id)
    assert caller == Caller(customer_id, info.token_id, "acme", info.prefix)
    assert info.prefix == token[:12]
    assert info.last_used_at is not None
    # Once a minute: with each request the token's row would make all of a customer's requests wait for each other.
    for seconds, noted in ((30, False), (90, True)):
        pipeline.execute("UPDATE ingestion_tokens SET last_used_at = now() - %s * interval '1 second'", (seconds,))
        (before,) = list_tokens(pipeline, customer_id)
        assert _authenticate(settings, token) == caller
        (after,) = list_tokens(pipeline, customer_id)
        assert (after.last_used_at != before.last_used_at) is noted


def test_unknown_expired_revoked_and_disabled_are_all_the_same(
    settings: Settings, pipeline: Connection, customer_id: int
) -> None:
    expiring = issue_token(pipeline, customer_id, expires_at=datetime.now(UTC) + timedelta(hours=1))
    assert _authenticate(settings, expiring) is not None
    pipeline.execute("UPDATE ingestion_tokens SET expires_at = now() - interval '1 second'")
    assert _authenticate(settings, expiring) is None

    revoked = issue_token(pipeline, customer_id)
    revoke_token(pipeline, customer_id, list_tokens(pipeline, customer_id)[0].token_id)
    assert _authenticate(settings, revoked) is None

    assert _authenticate(settings, "upi_" + "x" * 43) is None

    good = issue_token(pipeline, customer_id)
    assert _authenticate(settings, good) is not None
    pipeline.execute("UPDATE customers SET status = 'disabled'")
    assert _authenticate(settings, good) is None


def test_revoking_twice_keeps_the_first_time(pipeline: Connection, customer_id: int) -> None:
    issue_token(pipeline, customer_id)
    (info,) = list_tokens(pipeline, customer_id)
    revoke_token(pipeline, customer_id, info.token_id)
    first = list_tokens(pipeline, customer_id)[0].revoked_at
    revoke_token(pipeline, customer_id, info.token_id)
    assert first is not None
    assert list_tokens(pipeline, customer_id)[0].revoked_at == first


def test_a_customer_cannot_revoke_the_token_of_another(pipeline: Connection, customer_id: int) -> None:
    issue_token(pipeline, customer_id)
    (info,) = list_tokens(pipeline, customer_id)
    with pytest.raises(NotFoundError):
        revoke_token(pipeline, customer_id + 1, info.token_id)
    assert list_tokens(pipeline, customer_id)[0].revoked_at is None


def test_a_token_needs_a_customer_and_a_future(pipeline: Connection, customer_id: int) -> None:
    with pytest.raises(NotFoundError):
        issue_token(pipeline, customer_id + 1)
    with pytest.raises(ConfigurationError):
        issue_token(pipeline, customer_id, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    with pytest.raises(ConfigurationError):
        issue_token(pipeline, customer_id, expires_at=datetime(2099, 1, 1))
    with pytest.raises(InvalidInputError, match="year 9000"):
        issue_token(pipeline, customer_id, expires_at=datetime.fromisoformat("9999-12-31T23:59:59-14:00"))
    assert list_tokens(pipeline, customer_id) == []


def test_the_api_role_issues_and_ends_tokens_of_its_customer_alone_and_reads_no_digest(
    settings: Settings, pipeline: Connection, customer_id: int
) -> None:
    import psycopg

    other = pipeline.execute(
        "INSERT INTO customers (slug, name) VALUES ('other', 'Other') RETURNING customer_id"
    ).fetchone()
    assert other is not None
    issue_token(pipeline, other[0])
    (theirs,) = list_tokens(pipeline, other[0])
    with connect(settings, "upstream_api") as conn:
        with customer_transaction(conn, customer_id):
            issue_token(conn, customer_id)
            (own,) = list_tokens(conn, customer_id)
            revoke_token(conn, customer_id, own.token_id)
            assert list_tokens(conn, other[0]) == []
            with pytest.raises(NotFoundError):
                revoke_token(conn, other[0], theirs.token_id)
        for statement in (
            "SELECT token_sha256 FROM ingestion_tokens",
            "UPDATE ingestion_tokens SET token_sha256 = 'x'",
            "DELETE FROM ingestion_tokens",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), customer_transaction(conn, customer_id):
                conn.execute(statement)
        with pytest.raises(psycopg.errors.InsufficientPrivilege), customer_transaction(conn, customer_id):
            issue_token(conn, other[0])
    assert len(list_tokens(pipeline, other[0])) == 1


class _NoDatabase:
    def cursor(self, **_: object) -> None:
        pytest.fail("a malformed token reached the database")


@given(token=st.text(max_size=60).filter(lambda text: not re.fullmatch(r"upi_[A-Za-z0-9_-]{43}", text)))
def test_what_has_not_the_form_of_a_token_never_reaches_the_database(token: str) -> None:
    assert authenticate(_NoDatabase(), token) is None  # type: ignore[arg-type]


def test_an_unknown_token_id_is_not_found(pipeline: Connection, customer_id: int) -> None:
    with pytest.raises(NotFoundError):
        revoke_token(pipeline, customer_id, uuid4())
