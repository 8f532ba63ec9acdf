"""The API on a real socket over a real database, and clients of two customers."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest
import uvicorn

from upstream_pipelines.api.app import create_app
from upstream_pipelines.customers.audit import operator
from upstream_pipelines.customers.members import Member, invite
from upstream_pipelines.customers.roles import Role
from upstream_pipelines.customers.sessions import open_session
from upstream_pipelines.customers.store import get_customer
from upstream_pipelines.customers.tokens import issue_token
from upstream_pipelines.db.engine import Connection, connect
from upstream_pipelines.settings import Settings

UNHASHED = "$argon2id$ of no password"


@contextmanager
def _served(settings: Settings) -> Iterator[str]:
    config = uvicorn.Config(create_app(settings), log_config=None, access_log=False, ws="none", lifespan="off")
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.005)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        listener.close()


@pytest.fixture
def serve() -> Iterator[Callable[[Settings], str]]:
    """Start an API with settings of the test's own; gives its address."""
    with ExitStack() as stack:
        yield lambda settings: stack.enter_context(_served(settings))


@pytest.fixture
def token(pipeline: Connection) -> Callable[[str], str]:
    """Make a customer; gives a token of it."""

    def make(slug: str) -> str:
        row = pipeline.execute(
            "INSERT INTO customers (slug, name) VALUES (%s, %s) RETURNING customer_id", (slug, slug)
        ).fetchone()
        assert row is not None
        return issue_token(pipeline, row[0], "test")

    return make


@pytest.fixture
def anonymous(serve: Callable[[Settings], str], settings: Settings) -> Iterator[httpx.Client]:
    """A client without a token."""
    with httpx.Client(base_url=serve(settings), trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture
def acme(anonymous: httpx.Client, token: Callable[[str], str]) -> Iterator[httpx.Client]:
    """A client of the customer acme."""
    headers = {"Authorization": f"Bearer {token('acme')}"}
    with httpx.Client(base_url=anonymous.base_url, headers=headers, trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture
def beta(anonymous: httpx.Client, token: Callable[[str], str]) -> Iterator[httpx.Client]:
    """A client of the customer beta."""
    headers = {"Authorization": f"Bearer {token('beta')}"}
    with httpx.Client(base_url=anonymous.base_url, headers=headers, trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture
def uploads(pipeline: Connection) -> Callable[[], int]:
    """Counts the uploads of all customers."""

    def count() -> int:
        row = pipeline.execute("SELECT count(*) FROM uploads").fetchone()
        assert row is not None
        return int(row[0])

    return count


@pytest.fixture
def member(pipeline: Connection) -> Callable[[str, Role], Member]:
    """Make somebody who has joined a customer in a role, with a password that nothing fits."""

    def make(slug: str, role: Role) -> Member:
        customer_id = get_customer(pipeline, slug).customer_id
        with pipeline.transaction():
            made, _ = invite(pipeline, operator(), customer_id, f"{role}@{slug}.example", role)
            pipeline.execute(
                "UPDATE members SET joined_at = now(), invitation_sha256 = NULL, invitation_expires_at = NULL"
                " WHERE person_id = %s",
                (made.person_id,),
            )
            pipeline.execute(
                "UPDATE people SET password_hash = %s, password_set_at = now() WHERE person_id = %s",
                (UNHASHED, made.person_id),
            )
        return made

    return make


@pytest.fixture
def log_in(
    anonymous: httpx.Client, member: Callable[[str, Role], Member], settings: Settings
) -> Iterator[Callable[[str, Role], httpx.Client]]:
    """A client of somebody in that role of a customer, logged in."""
    with ExitStack() as stack:

        def make(slug: str, role: Role) -> httpx.Client:
            made = member(slug, role)
            with connect(settings, "upstream_api") as conn:
                pair = open_session(conn, made.person_id, made.email, UNHASHED)
            assert pair is not None
            headers = {"Authorization": f"Bearer {pair.access_token}"}
            return stack.enter_context(
                httpx.Client(base_url=anonymous.base_url, headers=headers, trust_env=False, timeout=30)
            )

        yield make
