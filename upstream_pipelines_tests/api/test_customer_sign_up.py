"""POST /api/v1/customers: the platform's operator signs a customer up, as `upstream customers create` does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from pydantic import SecretStr

from upstream_pipelines.customers.roles import Role
from upstream_pipelines.customers.store import create_customer
from upstream_pipelines.db.engine import Connection, connect, principal_transaction
from upstream_pipelines.settings import Settings

LogIn = Callable[[str, Role], httpx.Client]
PATH, LAKESIDE = "/api/v1/customers", {"slug": "lakeside", "name": "Lakeside Clinic"}
TOKEN = "an operator's token of 32 letters and more"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"operator_token": SecretStr(TOKEN)})


@pytest.fixture
def operator(anonymous: httpx.Client) -> Iterator[httpx.Client]:
    """A client with the operator's token."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=anonymous.base_url, headers=headers, trust_env=False, timeout=30) as client:
        yield client


def _made(conn: Connection, slug: str) -> list[tuple[Any, ...]]:
    """What a customer begins with, without its ids and instants."""
    return conn.execute(
        """SELECT c.status, c.configuration, c.products_off, t.label, t.expires_at,
                  to_jsonb(r) - '{customer_id,rule_id,created_at}'::text[]
             FROM customers AS c JOIN ingestion_tokens AS t USING (customer_id) JOIN alert_rules AS r USING (customer_id)
            WHERE c.slug = %s""",
        (slug,),
    ).fetchall()


def test_a_customer_signed_up_has_what_one_of_the_command_has_and_the_trail_says_who_did_it(
    operator: httpx.Client, anonymous: httpx.Client, settings: Settings, pipeline: Connection
) -> None:
    answer = operator.post(PATH, json=LAKESIDE)
    assert answer.status_code == 201, answer.text
    assert {name: answer.json()[name] for name in LAKESIDE} == LAKESIDE
    create_customer(pipeline, "other", "Other")
    assert _made(pipeline, "lakeside") == _made(pipeline, "other") != []
    assert (Path(settings.landing_root) / "lakeside").is_dir()
    headers = {"Authorization": f"Bearer {answer.json()['token']}"}
    assert anonymous.get(f"/api/v1/uploads/{uuid4()}", headers=headers).status_code == 404, "the token is known"
    acts = pipeline.execute(
        "SELECT c.slug, a.actor_kind, a.actor_id, a.actor_name, a.action, a.entity_id, a.request_id FROM audit_log AS a"
        " JOIN customers AS c USING (customer_id)"
    ).fetchall()
    request_id = answer.headers["X-Request-Id"]
    assert acts == [
        ("lakeside", "operator", "api", "UPSTREAM_OPERATOR_TOKEN", "customer.created", "lakeside", request_id)
    ]


def test_sent_again_with_its_key_it_is_one_customer_and_its_token_is_not_told_again(
    operator: httpx.Client, pipeline: Connection
) -> None:
    first, again = (operator.post(PATH, json=LAKESIDE, headers={"Idempotency-Key": "K"}) for _ in range(2))
    assert (first.status_code, again.status_code, again.headers["Idempotent-Replayed"]) == (201, 201, "true")
    assert first.json()["token"] not in again.text
    assert again.json() == first.json() | {"token": None, "not_shown_again": again.json()["not_shown_again"]}
    taken = operator.post(PATH, json=LAKESIDE)
    assert (taken.status_code, taken.json()["code"]) == (409, "conflict")
    assert LAKESIDE["slug"] not in taken.text, "no problem repeats what was sent"
    assert pipeline.execute("SELECT count(*) FROM customers").fetchone() == (1,)


def test_nobody_but_the_operator_signs_a_customer_up_and_nothing_stays_of_what_failed(
    acme: httpx.Client, anonymous: httpx.Client, operator: httpx.Client, log_in: LogIn, settings: Settings,
    pipeline: Connection,
) -> None:  # fmt: skip
    refused = [client.post(PATH, json=LAKESIDE) for client in (log_in("acme", Role.OWNER), acme, anonymous)]
    assert [answer.status_code for answer in refused] == [403, 401, 401]
    for wrong in ({"slug": "-x"}, {"slug": "Lakeside"}, {"slug": "a" * 64}, {"slug": "a\u0000"}, {"name": " "}, {"name": "a\u0007"},
                  {"name": ""}, {"slug": "../x"}):  # fmt: skip
        assert operator.post(PATH, json=LAKESIDE | wrong).status_code == 422, wrong
    folder = Path(settings.landing_root)
    folder.mkdir(parents=True)
    (folder / "lakeside").write_text("no folder")
    failed = operator.post(PATH, json=LAKESIDE)
    assert (failed.status_code, failed.json()["code"]) == (503, "storage_unavailable")
    assert pipeline.execute("SELECT slug FROM customers").fetchall() == [("acme",)]
    with (
        connect(settings, "upstream_api") as conn,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
        principal_transaction(conn, None, None),
    ):
        conn.execute("INSERT INTO customers (slug, name) VALUES ('x', 'x')")


def test_the_api_role_signs_nobody_up_unseen_and_writes_no_act_of_an_operator_but_a_file_that_is_there(
    settings: Settings, pipeline: Connection
) -> None:
    customer_id = create_customer(pipeline, "acme", "Acme")[0].customer_id
    (upload_id,) = pipeline.execute(
        "INSERT INTO uploads (customer_id, source, byte_count, request_id) VALUES (%s, 'csv', 1, 'R') RETURNING upload_id::text",
        (customer_id,),
    ).fetchone() or ("",)
    right = {
        "actor_kind": "operator", "actor_id": "api", "actor_name": "UPSTREAM_OPERATOR_TOKEN", "action": "upload.accepted",
        "entity_kind": "upload", "entity_id": upload_id, "request_id": "R", "details": '{"source": "csv"}',
    }  # fmt: skip
    names = ["customer_id", *right]
    insert = f"INSERT INTO audit_log ({', '.join(names)}) VALUES ({', '.join(['%s'] * len(names))})"
    wrong = (
        {"actor_name": "root"}, {"actor_id": "root"}, {"action": "customer.created"}, {"entity_id": str(uuid4())},
        {"entity_id": "acme"}, {"request_id": "S"}, {"details": "{}"}, {"details": '{"source": "webhook"}'},
        {"details": '{"source": "csv", "more": "x"}'}, {"action": "customer.created", "entity_kind": "customer", "entity_id": "acme"},
    )  # fmt: skip
    with connect(settings, "upstream_api") as conn:
        for change in wrong:
            with (
                pytest.raises(psycopg.errors.InsufficientPrivilege),
                principal_transaction(conn, customer_id, None),
            ):
                conn.execute(insert, [customer_id, *(right | change).values()])
        with principal_transaction(conn, customer_id, None):
            conn.execute(insert, [customer_id, *right.values()])
        sign_up = "SELECT slug FROM sign_up_customer(%s, %s, 'R')"
        for slug, name in (("long", "x" * 201), ("long", ""), ("LONG", "x"), ("l" * 64, "x")):
            with pytest.raises(psycopg.errors.CheckViolation), principal_transaction(conn, None, None):
                conn.execute(sign_up, (slug, name))
        with principal_transaction(conn, None, None):
            assert conn.execute(sign_up, ("acme", "x")).fetchall() == [], "taken"
            assert conn.execute(sign_up, ("lakeside", "x" * 200)).fetchall() == [("lakeside",)]
    acts = pipeline.execute("SELECT actor_name, action, entity_id FROM audit_log ORDER BY at").fetchall()
    assert acts == [
        ("UPSTREAM_OPERATOR_TOKEN", "upload.accepted", upload_id),
        ("UPSTREAM_OPERATOR_TOKEN", "customer.created", "lakeside"),
    ], "whom raw SQL signs up stands in the trail"
