"""The API on a real socket over a real database, and clients of two customers."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest
import uvicorn
from psycopg.rows import dict_row

from upstream_pipelines.alerts.rules import DEFAULT_RULE
from upstream_pipelines.alerts.store import sync_channels, sync_rules, write_quality_alert
from upstream_pipelines.api.app import create_app
from upstream_pipelines.customers.audit import operator
from upstream_pipelines.customers.members import Member, invite
from upstream_pipelines.customers.roles import Role
from upstream_pipelines.customers.sessions import open_session
from upstream_pipelines.customers.store import get_customer
from upstream_pipelines.customers.tokens import issue_token
from upstream_pipelines.db.engine import Connection, connect
from upstream_pipelines.delivery.channels import WebhookChannel
from upstream_pipelines.settings import Settings

# The Argon2id hash of a password that was thrown away, made with the least that Argon2 takes: a log-in whose password is asked for costs
# next to nothing. One that is no hash ended such requests with a 500.
UNFITTING = "$argon2id$v=19$m=8,t=1,p=1$VjnmHnLvubIiYZ4H2jrfUg$TnMc+JBRv6UlLlVS3vhzHcFcOIRRrP5KJj5xkOtUaoU"
Things = Callable[[str, httpx.Client, httpx.Client], dict[str, Any]]


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
                (UNFITTING, made.person_id),
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
                pair = open_session(conn, made.person_id, made.email, UNFITTING)
            assert pair is not None
            headers = {"Authorization": f"Bearer {pair.access_token}"}
            return stack.enter_context(
                httpx.Client(base_url=anonymous.base_url, headers=headers, trust_env=False, timeout=30)
            )

        yield make


@pytest.fixture
def things(member: Callable[[str, Role], Member], pipeline: Connection) -> Things:
    """One of everything that a path can name, made by the quickest way there is: of the customer with that slug, by its system and
    its owner; gives the ids by the names that they have in paths.
    """

    def make(slug: str, system: httpx.Client, owner: httpx.Client) -> dict[str, Any]:
        customer_id, path = get_customer(pipeline, slug).customer_id, f"/api/v1/customers/{slug}"
        sync_channels(
            pipeline, customer_id, [WebhookChannel(kind="webhook", name="hook", url="https://example.org/hook")]
        )
        sync_rules(pipeline, customer_id, [DEFAULT_RULE])
        write_quality_alert(pipeline, customer_id, uuid4(), 71.0, ["payer_present"], None)
        pipeline.execute("UPDATE deliveries SET state = 'dead', finished_at = now()")
        event_id, report_id = uuid4(), uuid4()
        pipeline.execute(
            """INSERT INTO drift_events (customer_id, event_id, payer, cpt_group, signal, direction, state, started_on, opened_on,
                                         last_look, memory, method_version, settings, opened_method_version, opened_settings)
               VALUES (%s, %s, 'Aetna', 'ALL', 'denial_rate', 'worsening', 'updated', '2026-03-02', '2026-04-01', '2026-05-01',
                       '{}', 1, '{}', 1, '{}')""",
            (customer_id, event_id),
        )
        pipeline.execute(
            """WITH made AS (
                   INSERT INTO report_runs (customer_id, report_id, period_from, period_until, actor_kind, actor_id, state,
                                            started_at, ended_at)
                   VALUES (%s, %s, '2026-04-01', '2026-05-01', 'operator', 'x', 'success', now(), now()) RETURNING *
               )
               INSERT INTO report_files (customer_id, report_id, format, content)
               SELECT customer_id, report_id, f, 'x' FROM made, unnest(ARRAY['html', 'pdf', 'xlsx', 'csv']) AS f""",
            (customer_id, report_id),
        )
        with pipeline.cursor(row_factory=dict_row) as cursor:
            ids = cursor.execute(
                "SELECT a.alert_id, d.delivery_id, d.channel_id, r.rule_id"
                " FROM alerts AS a JOIN deliveries AS d USING (customer_id) JOIN alert_rules AS r USING (customer_id)"
                " WHERE customer_id = %s",
                (customer_id,),
            ).fetchone()
        assert ids is not None
        return ids | {
            "event_id": event_id, "report_id": report_id, "person_id": member(slug, Role.VIEWER).person_id,
            "upload_id": system.post("/api/v1/uploads/", files={"file": ("a.csv", b"payer\n")}).json()["upload_id"],
            "silence_id": owner.post(f"{path}/silences", json={"payer": "Aetna", "hours": 1}).json()["silence_id"],
            # Not that of the requests with a token.
            "token_id": owner.post(f"{path}/tokens", json={}).json()["info"]["token_id"],
        }  # fmt: skip

    return make
