"""Product flags over HTTP: who reads and sets them, and what is refused where a part is off."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from pydantic import SecretStr

from upstream_pipelines.customers.audit import operator as operator_at_command
from upstream_pipelines.customers.flag_changes import replace_flags
from upstream_pipelines.customers.flags import FLAGS, Flag
from upstream_pipelines.customers.roles import Role
from upstream_pipelines.customers.store import create_customer, get_customer
from upstream_pipelines.db.engine import Connection, connect, customer_transaction
from upstream_pipelines.ingest.staging import stage_waiting
from upstream_pipelines.settings import Settings

LogIn = Callable[[str, Role], httpx.Client]
FLAG_PATH = "/api/v1/customers/acme/product-flags"
WEBHOOK, UPLOADS = "/api/v1/ingest/webhook/", "/api/v1/uploads/"
BATCH = b'{"claims": [{"payer": "Aetna", "cpt": "99213", "submitted_date": "2026-03-02", "outcome": "PENDING"}]}'
KEYED = {"Content-Type": "application/json", "Idempotency-Key": "K"}
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


def _flags(**changed: bool) -> dict[str, bool]:
    return {**dict.fromkeys(FLAGS, True), **changed}


def _switch(pipeline: Connection, **wanted: bool) -> None:
    flags: Mapping[Flag, bool] = wanted  # type: ignore[assignment]
    replace_flags(pipeline, operator_at_command(), get_customer(pipeline, "acme"), flags)


def test_the_operator_sets_them_members_read_them_and_the_trail_has_it(
    acme: httpx.Client, anonymous: httpx.Client, operator: httpx.Client, log_in: LogIn, pipeline: Connection
) -> None:
    viewer, owner = log_in("acme", Role.VIEWER), log_in("acme", Role.OWNER)
    create_customer(pipeline, "beta", "Beta")
    stranger = log_in("beta", Role.OWNER)
    read = viewer.get(FLAG_PATH).json()
    assert read["flags"] == _flags(), "all are on at sign-up"
    assert operator.get(FLAG_PATH).json() == read
    wanted = {"revision": read["revision"], "flags": _flags(drift=False, reports=False)}
    refused = [client.put(FLAG_PATH, json=wanted) for client in (owner, stranger, acme, anonymous)]
    assert [answer.status_code for answer in refused] == [403, 404, 401, 401]
    assert "operator" in refused[0].json()["detail"]
    for headers in ({}, {"Idempotency-Key": "K"}, {"Idempotency-Key": "K"}):
        answer = operator.put(FLAG_PATH, json={**wanted, "revision": "0" * 16})
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
        first = operator.put(FLAG_PATH, json=wanted, headers=headers)
        wanted["revision"] = first.json()["revision"] if not headers else wanted["revision"]
        assert (first.status_code, first.json()["flags"]) == (200, wanted["flags"])
    assert first.headers["Idempotent-Replayed"] == "true"
    assert viewer.get(FLAG_PATH).json() == first.json()
    assert operator.put("/api/v1/customers/unknown/product-flags", json=wanted).status_code == 404
    assert operator.put(FLAG_PATH, json={**wanted, "flags": {"drift": True}}).status_code == 422
    acts = owner.get("/api/v1/customers/acme/audit", params={"action": "product_flags.replaced"}).json()["acts"]
    assert [(act["actor_kind"], act["actor_id"], act["entity_id"], act["details"]) for act in acts] == [
        ("operator", "api", "acme", {"on": [], "off": ["drift", "reports"]})
    ], "what changes nothing is no act"


def test_without_a_token_set_nobody_is_the_operator(
    serve: Callable[[Settings], str], settings: Settings, pipeline: Connection
) -> None:
    create_customer(pipeline, "acme", "Acme")
    address = serve(settings.model_copy(update={"operator_token": None}))
    for given in (TOKEN, "x", "None"):
        answer = httpx.get(f"{address}{FLAG_PATH}", headers={"Authorization": f"Bearer {given}"}, trust_env=False)
        assert answer.status_code == 401


def test_the_api_role_writes_no_flags_and_no_act_of_an_operator_but_by_the_function(
    settings: Settings, pipeline: Connection
) -> None:
    customer_id = create_customer(pipeline, "acme", "Acme")[0].customer_id
    act = "INSERT INTO audit_log (customer_id, actor_kind, actor_id, action, entity_kind, entity_id) VALUES (%s, 'operator', 'x', 'a.b', 'c', 'd')"
    with connect(settings, "upstream_api") as conn:
        for statement in ("UPDATE customers SET products_off = '{}' WHERE customer_id = %s", act):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), customer_transaction(conn, customer_id):
                conn.execute(statement, (customer_id,))
    with pytest.raises(psycopg.errors.CheckViolation):
        pipeline.execute("UPDATE customers SET products_off = '{everything}'")


def test_a_batch_is_refused_while_batches_are_off_and_what_was_accepted_before_is_read(
    acme: httpx.Client, settings: Settings, pipeline: Connection, uploads: Callable[[], int]
) -> None:
    before = acme.post(WEBHOOK, content=BATCH, headers=KEYED)
    _switch(pipeline, webhook_ingest=False)
    refused = acme.post(WEBHOOK, content=BATCH, headers={**KEYED, "Idempotency-Key": "other"})
    assert (refused.status_code, refused.json()["code"]) == (403, "product_off")
    assert "upstream customers flags acme --on webhook_ingest" in refused.json()["detail"]
    assert uploads() == 1
    assert acme.post(WEBHOOK, content=BATCH, headers=KEYED).json() == before.json(), "it was accepted"
    stage_waiting(pipeline, settings, get_customer(pipeline, "acme"), source="webhook", run_id="r")
    assert pipeline.execute("SELECT count(*) FROM received_lines").fetchone() == (1,)
    _switch(pipeline, webhook_ingest=True)
    assert acme.post(WEBHOOK, content=BATCH, headers={**KEYED, "Idempotency-Key": "other"}).status_code == 202


def test_no_report_is_asked_for_while_reports_are_off_and_one_asked_for_twice_with_a_key_is_one(
    acme: httpx.Client, log_in: LogIn, pipeline: Connection
) -> None:
    analyst, path = log_in("acme", Role.ANALYST), "/api/v1/customers/acme/reports"
    period = {"from": "2026-05-01", "until": "2026-06-01"}
    first, again = (analyst.post(path, json=period, headers={"Idempotency-Key": "K"}) for _ in range(2))
    plain = analyst.post(path, json=period)
    assert (first.status_code, again.headers["Idempotent-Replayed"]) == (202, "true")
    assert first.json() == again.json() == plain.json(), "one that is not made yet is the same in any case"
    assert first.headers["Location"] == again.headers["Location"] == plain.headers["Location"]
    _switch(pipeline, reports=False)
    refused = analyst.post(path, json=period)
    assert (refused.status_code, refused.json()["code"]) == (403, "product_off")
    assert pipeline.execute("SELECT count(*) FROM report_runs").fetchone() == (1,)
    assert analyst.get(path).status_code == 200


def test_a_file_is_refused_while_files_are_off_and_none_of_it_is_stored(
    acme: httpx.Client, settings: Settings, pipeline: Connection, uploads: Callable[[], int]
) -> None:
    def send() -> httpx.Response:
        return acme.post(UPLOADS, files={"file": ("a.csv", b"payer,cpt\nAetna,99213\n", "text/csv")})

    _switch(pipeline, csv_upload=False)
    refused = send()
    assert (refused.status_code, refused.json()["code"]) == (403, "product_off")
    assert uploads() == 0
    assert not [path for path in Path(settings.landing_root).rglob("*") if path.is_file()]
    batch: dict[str, Any] = {"content": BATCH, "headers": KEYED}
    assert acme.post(WEBHOOK, **batch).status_code == 202, "batches are another part"
    _switch(pipeline, csv_upload=True)
    assert send().status_code == 202
