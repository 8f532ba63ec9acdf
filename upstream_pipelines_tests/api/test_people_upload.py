"""POST /api/v1/customers/{slug}/uploads: people and operators send files like systems do, and the trail says who sent what."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr
from sqlalchemy.engine import URL

from upstream_pipelines.customers.audit import operator as operator_at_command
from upstream_pipelines.customers.flag_changes import replace_flags
from upstream_pipelines.customers.flags import Flag
from upstream_pipelines.customers.roles import Role
from upstream_pipelines.customers.store import get_customer
from upstream_pipelines.db import engine
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.settings import Settings

LogIn = Callable[[str, Role], httpx.Client]
PEOPLES, SYSTEMS, WEBHOOK = "/api/v1/customers/acme/uploads", "/api/v1/uploads/", "/api/v1/ingest/webhook/"
CLAIMS = "/api/v1/customers/acme/claims"
CSV = b"payer,cpt,submitted_date,outcome\nAetna,99213,2026-03-02,PENDING\n"
BATCH = b'{"claims": [{"payer": "Aetna", "cpt": "99213", "submitted_date": "2026-03-02", "outcome": "PENDING"}]}'
TOKEN = "an operator's token of 32 letters and more"
KEY = {"Idempotency-Key": "march"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"operator_token": SecretStr(TOKEN), "rate_limit_bulk": "1000/minute"})


@pytest.fixture
def operator(anonymous: httpx.Client) -> Iterator[httpx.Client]:
    """A client with the operator's token."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=anonymous.base_url, headers=headers, trust_env=False, timeout=30) as client:
        yield client


def _form(content: bytes = CSV, name: str = "march.csv") -> dict[str, Any]:
    return {"file": (name, content)}


def _files(settings: Settings) -> list[Path]:
    return [path for path in Path(settings.landing_root).rglob("*") if path.is_file()]


def _acts(pipeline: Connection) -> list[tuple[Any, ...]]:
    return pipeline.execute(
        "SELECT actor_kind, actor_id, actor_name, entity_id, details FROM audit_log WHERE action = 'upload.accepted'"
        " ORDER BY at"
    ).fetchall()


def _switch(pipeline: Connection, **wanted: bool) -> None:
    flags: dict[Flag, bool] = {"csv_upload": wanted["csv_upload"]}
    replace_flags(pipeline, operator_at_command(), get_customer(pipeline, "acme"), flags)


def test_a_statement_that_takes_too_long_is_told_as_such_and_leaves_no_file_behind(
    acme: httpx.Client,
    log_in: LogIn,
    settings: Settings,
    database_url: URL,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Told as a database that is away, the same slow request would be sent again at once."""
    analyst = log_in("acme", Role.ANALYST)
    monkeypatch.setattr(engine, "REQUEST_SECONDS", 1)
    with psycopg.connect(database_url.render_as_string(hide_password=False)) as held:
        asked: list[tuple[str, Callable[[], httpx.Response]]] = [
            ("claims", lambda: analyst.get(CLAIMS)),
            ("uploads", lambda: analyst.post(PEOPLES, files=_form())),
            ("uploads", lambda: acme.post(SYSTEMS, files=_form())),
        ]
        for table, ask in asked:
            held.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(sql.Identifier(table)))
            answer = ask()
            assert (answer.status_code, answer.json()["code"]) == (503, "took_too_long"), answer.text
            assert answer.headers["Retry-After"] == "60"
            held.rollback()
    assert _files(settings) == []
    assert "database unavailable" not in caplog.text
    assert analyst.get(CLAIMS).status_code == 200


def test_people_and_an_operator_send_files_and_the_trail_says_who(
    acme: httpx.Client, operator: httpx.Client, log_in: LogIn, settings: Settings, pipeline: Connection
) -> None:
    """More than the 64 KiB that other bodies may have, and more than one write."""
    content = os.urandom(1_500_000)
    analyst = log_in("acme", Role.ANALYST)
    sent = [client.post(PEOPLES, files=_form(content, "John Smith.csv")) for client in (analyst, operator)]
    assert [answer.status_code for answer in sent] == [202, 202], [answer.text for answer in sent]
    ids = [answer.json()["upload_id"] for answer in sent]
    assert [path.read_bytes() for path in sorted(_files(settings))] == [content, content]
    me = analyst.get("/api/v1/me").json()
    assert _acts(pipeline) == [
        ("person", me["person_id"], me["email"], ids[0], {"source": "csv"}),
        ("operator", "api", "UPSTREAM_OPERATOR_TOKEN", ids[1], {"source": "csv"}),
    ]
    trail = pipeline.execute("SELECT string_agg(a::text, ' ') FROM audit_log AS a").fetchone()
    assert trail is not None
    assert "Smith" not in trail[0], "a file's name may be a patient's"
    assert {upload["upload_id"] for upload in analyst.get(PEOPLES).json()["uploads"]} == set(ids)
    assert log_in("acme", Role.VIEWER).post(PEOPLES, files=_form()).status_code == 403
    assert acme.post(PEOPLES, files=_form()).status_code == 401, "systems have a route of their own"
    assert operator.post("/api/v1/customers/unknown/uploads", files=_form()).status_code == 404
    for form, status, code in (
        ({"file": ("a.csv", b"")}, 422, "file_empty"), ({"other": ("a.csv", CSV)}, 422, "unexpected_part"),
    ):  # fmt: skip
        refused = analyst.post(PEOPLES, files=form)
        assert (refused.status_code, refused.json()["code"]) == (status, code)
    assert analyst.post(PEOPLES, json={}).status_code == 415
    assert len(_files(settings)) == len(_acts(pipeline)) == 2, "of what was refused nothing stays"


def test_a_file_sent_again_with_its_key_is_one_upload_and_another_file_is_refused(
    acme: httpx.Client, operator: httpx.Client, log_in: LogIn, settings: Settings, pipeline: Connection
) -> None:
    """Each form has a boundary of its own: it is the same request all the same."""
    owner = log_in("acme", Role.OWNER)
    for client in (owner, operator):
        first, again = (client.post(PEOPLES, files=_form(), headers=KEY) for _ in range(2))
        assert (first.status_code, again.status_code) == (202, 202), again.text
        assert again.json() == first.json()
        assert "Idempotent-Replayed" not in first.headers
        assert again.headers["Idempotent-Replayed"] == "true"
    for form in (_form(CSV + b"x"), _form(name="april.csv")):
        other = owner.post(PEOPLES, files=form, headers=KEY)
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert len(_files(settings)) == len(_acts(pipeline)) == 2, "the owner's and the operator's"
    _switch(pipeline, csv_upload=False)
    assert owner.post(PEOPLES, files=_form(), headers=KEY).json()["upload_id"] in str(_acts(pipeline)), (
        "it was accepted"
    )
    for headers in ({}, {"Idempotency-Key": "new"}):
        refused = owner.post(PEOPLES, files=_form(), headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (403, "product_off")
    no_form = owner.post(PEOPLES, content=CSV, headers={"Content-Type": "multipart/form-data; boundary=B", **KEY})
    assert no_form.json()["code"] == "form_malformed", "of a key with an answer the file is read"
    no_form = owner.post(
        PEOPLES, content=CSV, headers={"Content-Type": "multipart/form-data; boundary=B", "Idempotency-Key": "new"}
    )
    assert no_form.json()["code"] == "product_off", "nothing is read, nor written, that is refused in any case"
    assert len(_files(settings)) == len(_acts(pipeline)) == 2
    _switch(pipeline, csv_upload=True)
    assert owner.post(PEOPLES, files=_form(), headers={"Idempotency-Key": "new"}).status_code == 202, (
        "the key was free"
    )


def test_fifty_clients_with_one_key_make_one_upload_one_act_and_one_file(
    acme: httpx.Client, log_in: LogIn, settings: Settings, pipeline: Connection, uploads: Callable[[], int]
) -> None:
    """Each writes its file before the key is asked for: of 49 nothing stays, nor the folder that was made for it."""
    analyst = log_in("acme", Role.ANALYST)
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: analyst.post(PEOPLES, files=_form(), headers=KEY), range(50)))
    made = [answer for answer in answers if answer.status_code == 202]
    assert len({answer.content for answer in made}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in made) == 1
    refused = {(answer.status_code, answer.json()["code"]) for answer in answers if answer not in made}
    assert refused <= {(409, "idempotency_key_in_flight")}
    (file,) = _files(settings)
    assert [path.name for path in file.parent.parent.iterdir()] == [made[0].json()["upload_id"]]
    assert (uploads(), len(_acts(pipeline))) == (1, 1)


def test_files_of_a_token_stand_in_the_trail_and_batches_in_uploads_alone(
    acme: httpx.Client, pipeline: Connection
) -> None:
    json = {"Content-Type": "application/json"}
    upload_id = acme.post(SYSTEMS, files=_form()).json()["upload_id"]
    assert acme.post(WEBHOOK, content=BATCH, headers=json).status_code == 202
    (token,) = pipeline.execute("SELECT token_id::text, prefix FROM ingestion_tokens").fetchall()
    assert acme.headers["Authorization"].removeprefix("Bearer ").startswith(token[1])
    assert _acts(pipeline) == [("token", *token, upload_id, {"source": "csv"})]
    sent = pipeline.execute(
        "SELECT u.source, u.token_id::text, a.action FROM uploads AS u"
        "  LEFT JOIN audit_log AS a ON a.request_id = u.request_id ORDER BY u.source"
    ).fetchall()
    assert sent == [("csv", token[0], "upload.accepted"), ("webhook", token[0], None)]


def test_a_file_of_a_token_is_one_upload_for_its_key_whichever_address_it_comes_to(
    acme: httpx.Client, operator: httpx.Client, settings: Settings, pipeline: Connection
) -> None:
    def send(_: int) -> httpx.Response:
        return acme.post(SYSTEMS, files=_form(), headers=KEY)

    with ThreadPoolExecutor(50) as many:
        answers = list(many.map(send, range(50)))
    assert {answer.status_code for answer in answers} <= {202, 409}, [answer.text for answer in answers]
    accepted = [answer for answer in answers if answer.status_code == 202]
    again = acme.post(SYSTEMS.rstrip("/"), files=_form(), headers=KEY)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert {answer.json()["upload_id"] for answer in (*accepted, again)} == {again.json()["upload_id"]}
    assert len(_files(settings)) == len(_acts(pipeline)) == 1
    other = acme.post(SYSTEMS, files=_form(b"another"), headers=KEY)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert operator.post(PEOPLES, files=_form(), headers=KEY).status_code == 202, "the key of somebody else"
    assert len(_files(settings)) == 2


def test_whoever_may_send_no_longer_when_the_file_has_come_gets_nothing_in(
    acme: httpx.Client, operator: httpx.Client, log_in: LogIn, settings: Settings, pipeline: Connection
) -> None:
    """The right is taken while the file is half there; the refusal is that of who never had it."""
    analyst = log_in("acme", Role.ANALYST)

    def send(client: httpx.Client, path: str, *meanwhile: str) -> tuple[int, str]:
        def body() -> Iterator[bytes]:
            yield b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n' + CSV
            until = time.monotonic() + 20
            while not _files(settings):
                assert time.monotonic() < until, "the file is not begun"
                time.sleep(0.005)
            for statement in meanwhile:
                pipeline.execute(statement)
            yield CSV + b"\r\n--B--\r\n"

        answer = client.post(path, content=body(), headers={"Content-Type": "multipart/form-data; boundary=B"})
        return answer.status_code, answer.json().get("code", "")

    disabled, active = "UPDATE customers SET status = 'disabled'", "UPDATE customers SET status = 'active'"
    for client, path, taken, given, refusal in (
        (analyst, PEOPLES, "UPDATE members SET role = 'viewer'", "UPDATE members SET role = 'analyst'", (403, "forbidden")),
        (analyst, PEOPLES, "UPDATE members SET joined_at = NULL", "UPDATE members SET joined_at = now()", (404, "not_found")),
        (analyst, PEOPLES, "UPDATE people SET disabled_at = now()", "UPDATE people SET disabled_at = NULL", (401, "unauthorized")),
        (analyst, PEOPLES, "UPDATE login_sessions SET ended_at = now(), ending = 'logout'",
         "UPDATE login_sessions SET ended_at = NULL, ending = NULL", (401, "unauthorized")),
        (analyst, PEOPLES, disabled, active, (404, "not_found")),
        (operator, PEOPLES, disabled, active, (404, "not_found")),
        (acme, SYSTEMS, disabled, active, (401, "unauthorized")),
        (acme, SYSTEMS, "UPDATE ingestion_tokens SET revoked_at = now()", "UPDATE ingestion_tokens SET revoked_at = NULL",
         (401, "unauthorized")),
        (acme, SYSTEMS, "UPDATE ingestion_tokens SET expires_at = now()", "UPDATE ingestion_tokens SET expires_at = NULL",
         (401, "unauthorized")),
    ):  # fmt: skip
        assert send(client, path, taken) == refusal, taken
        assert _files(settings) == [], taken
        pipeline.execute(given)
    assert _acts(pipeline) == []
    ran_out = "UPDATE session_tokens SET expires_at = now()"
    assert send(analyst, PEOPLES, ran_out)[0] == 202, "an access token may live shorter than a large file takes"
    assert send(analyst, PEOPLES)[0] == 401
    assert len(_acts(pipeline)) == 1
