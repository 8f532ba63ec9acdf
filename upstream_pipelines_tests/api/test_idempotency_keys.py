"""A request of a person that comes twice with one Idempotency-Key is done once, and answered alike."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from upstream_pipelines.api import once
from upstream_pipelines.customers.roles import Role
from upstream_pipelines.customers.store import create_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.operations.cleanup import clean_up
from upstream_pipelines.settings import Settings

LogIn = Callable[[str, Role], httpx.Client]
ACME = "/api/v1/customers/acme"
SILENCES = f"{ACME}/silences"
SILENCE = {"payer": "Aetna", "hours": 2}


@pytest.fixture(scope="module")
def template(fill_template: Callable[[Callable[[Connection, Settings], None]], str]) -> str:
    """Customers acme and beta."""

    def load(conn: Connection, _: Settings) -> None:
        for slug in ("acme", "beta"):
            create_customer(conn, slug, slug.title())

    return fill_template(load)


def _send(
    client: httpx.Client,
    key: str,
    body: dict[str, Any] | None = SILENCE,
    path: str = SILENCES,
    method: str = "POST",
) -> httpx.Response:
    return client.request(method, path, json=body, headers={"Idempotency-Key": key})


def _count(conn: Connection, what: str) -> int:
    row = conn.execute(f"SELECT count(*) FROM {what}").fetchone()
    assert row is not None
    return int(row[0])


def _replayed(answer: httpx.Response) -> bool:
    return bool(answer.headers.get("Idempotent-Replayed") == "true")


def _code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_the_same_key_and_request_get_the_first_answer_again_and_other_requests_a_422(
    log_in: LogIn, pipeline: Connection
) -> None:
    admin, owner, other = log_in("acme", Role.ADMIN), log_in("acme", Role.OWNER), log_in("beta", Role.ADMIN)
    first, again = _send(admin, "K1"), _send(admin, "K1")
    assert (first.status_code, again.status_code) == (201, 201), first.text
    assert first.content == again.content
    assert first.headers["content-type"] == again.headers["content-type"] == "application/json"
    assert (_replayed(first), _replayed(again)) == (False, True)
    assert _code(_send(admin, "K1", {"payer": "Aetna", "hours": 3})) == (422, "idempotency_key_reused")
    assert _code(_send(admin, "K1", path=f"{SILENCES}/{uuid4()}", method="DELETE")) == (
        422,
        "idempotency_key_reused",
    )
    assert _count(pipeline, "alert_silences") == 1
    assert _count(pipeline, "audit_log WHERE action = 'silence.made'") == 1
    # The key is that of a person in a customer: others have never used it, and learn nothing of who has.
    for client, path in ((owner, SILENCES), (other, "/api/v1/customers/beta/silences")):
        answer = _send(client, "K1", {"payer": "Cigna", "hours": 1}, path)
        assert (answer.status_code, _replayed(answer)) == (201, False)
    # Nor has the same person in another customer.
    pipeline.execute(
        """INSERT INTO members (customer_id, person_id, role, joined_at)
           SELECT customer_id, person_id, 'admin', now() FROM customers, people
            WHERE slug = 'beta' AND email = 'admin@acme.example'"""
    )
    assert not _replayed(_send(admin, "K1", SILENCE, "/api/v1/customers/beta/silences"))
    # An answer without a body, and one of an address with a query.
    gone = f"{SILENCES}/{first.json()['silence_id']}"
    answers = [_send(admin, "K2", None, gone, "DELETE") for _ in range(2)]
    assert [(one.status_code, one.content, _replayed(one)) for one in answers] == [
        (204, b"", False),
        (204, b"", True),
    ]
    days = {"label": "code set", "first_day": "2026-10-01", "last_day": "2026-10-01"}
    assert _send(admin, "K3", days, f"{ACME}/drift/labels").status_code == 201
    taken = [_send(admin, "K4", None, f"{ACME}/drift/labels?label=code%20set", "DELETE") for _ in range(2)]
    assert [(one.status_code, one.json(), _replayed(one)) for one in taken] == [(200, [], False), (200, [], True)]
    assert _code(_send(admin, "K4", None, f"{ACME}/drift/labels?label=other", "DELETE"))[0] == 422
    malformed = [_send(admin, key).status_code for key in ("a b", "x" * 256)]
    assert malformed == [422, 422]
    kept = pipeline.execute("SELECT string_agg(key_sha256 || principal, '') FROM kept_answers").fetchone()
    assert kept is not None
    assert "K1" not in kept[0]


def test_twenty_threads_with_one_key_make_one_thing(log_in: LogIn, pipeline: Connection) -> None:
    admin = log_in("acme", Role.ADMIN)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: _send(admin, "one"), range(20)))
    made = [answer for answer in answers if answer.status_code == 201]
    refused = [answer for answer in answers if answer.status_code != 201]
    assert len({answer.content for answer in made}) == 1
    assert sum(not _replayed(answer) for answer in made) == 1
    assert {_code(answer) for answer in refused} <= {(409, "idempotency_key_in_flight")}
    assert _replayed(_send(admin, "one"))
    assert (_count(pipeline, "alert_silences"), _count(pipeline, "kept_answers")) == (1, 1)


def test_while_the_first_is_not_answered_the_second_is_told_to_wait(log_in: LogIn, settings: Settings) -> None:
    admin, url = log_in("acme", Role.ADMIN), settings.database_url
    assert url is not None
    with psycopg.connect(url.get_secret_value()) as blocker, ThreadPoolExecutor(1) as pool:
        blocker.execute("LOCK TABLE alert_silences IN EXCLUSIVE MODE")
        first = pool.submit(_send, admin, "slow")
        while not blocker.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone():
            assert not first.done()
        assert _code(_send(admin, "slow")) == (409, "idempotency_key_in_flight")
        blocker.rollback()
        assert first.result(timeout=20).status_code == 201
    assert _replayed(_send(admin, "slow"))


def test_what_failed_is_not_kept_and_a_kill_before_the_commit_leaves_neither_act_nor_answer(
    log_in: LogIn, pipeline: Connection, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin, url = log_in("acme", Role.ADMIN), settings.database_url
    assert url is not None
    assert _code(_send(admin, "K", None, f"{SILENCES}/{uuid4()}", "DELETE")) == (404, "not_found")
    assert _code(_send(admin, "K", {"payer": "Aetna", "hours": -1})) == (422, "invalid_request")

    def killed(conn: Connection, *_: object) -> None:
        with psycopg.connect(url.get_secret_value()) as administrator:
            administrator.execute("SELECT pg_terminate_backend(%s, 10000)", (conn.info.backend_pid,))
        conn.execute("SELECT 1")

    with monkeypatch.context() as patched:
        patched.setattr(once, "keep_answer", killed)
        assert _code(_send(admin, "K")) == (503, "database_unavailable")
    assert [_count(pipeline, table) for table in ("alert_silences", "kept_answers")] == [0, 0]
    assert (_send(admin, "K").status_code, _replayed(_send(admin, "K"))) == (201, True)
    assert [_count(pipeline, table) for table in ("alert_silences", "kept_answers")] == [1, 1]


def test_secrets_are_in_the_first_answer_alone_and_the_second_says_what_to_do(
    log_in: LogIn, pipeline: Connection
) -> None:
    admin = log_in("acme", Role.ADMIN)
    made = _send(admin, "hook", {"name": "hook", "url": "https://receiver.example.org/"}, f"{ACME}/channels")
    channel = f"{ACME}/channels/{made.json()['channel']['channel_id']}"
    asked: list[tuple[str, str, dict[str, Any], str]] = [
        ("token", f"{ACME}/tokens", {"label": "practice"}, "Revoke"),
        ("token", f"{ACME}/members", {"email": "new@example.org", "role": "viewer"}, "Invite again"),
        ("secret", f"{ACME}/channels", {"name": "other", "url": "https://receiver.example.org/"}, "rotate-secret"),
        ("secret", f"{channel}/rotate-secret", {"at_once": True}, "rotate-secret"),
    ]
    secrets = [made.json()["secret"]]
    for number, (field, path, body, what) in enumerate(asked):
        first, again = (_send(admin, f"S{number}", body, path) for _ in range(2))
        assert first.status_code == again.status_code, first.text
        one, other = first.json(), again.json()
        assert ("not_shown_again" in one, other[field], _replayed(again)) == (False, None, True)
        assert what in other["not_shown_again"]
        secrets.append(one[field])
        assert {**one, field: None, "not_shown_again": other["not_shown_again"]} == other
    assert all(len(secret) > 20 for secret in secrets)
    assert _count(pipeline, "ingestion_tokens WHERE label = 'practice'") == 1
    kept = pipeline.execute("SELECT string_agg(answer, ' ') FROM kept_answers").fetchone()
    assert kept is not None
    assert [secret for secret in secrets if secret in kept[0]] == []


def test_a_key_holds_for_seven_days_and_goes_with_the_cleanup(
    log_in: LogIn, pipeline: Connection, settings: Settings
) -> None:
    admin = log_in("acme", Role.ADMIN)
    for key, days in (("old", 8), ("new", 6)):
        assert _send(admin, key).status_code == 201
        pipeline.execute(
            "UPDATE kept_answers SET kept_at = now() - %s * interval '1 day' WHERE kept_at > now() - interval '1 hour'",
            (days,),
        )
    now = datetime.now(UTC)
    (counted,) = [one for one in clean_up(pipeline, settings, now, dry_run=True)[0] if "idempotency" in one.kind]
    assert (counted.days, counted.older, _count(pipeline, "kept_answers")) == (7, 1, 2)
    assert (_replayed(_send(admin, "new")), _replayed(_send(admin, "old"))) == (True, False)
    assert (_count(pipeline, "kept_answers"), _count(pipeline, "alert_silences")) == (2, 3)
    pipeline.execute("UPDATE kept_answers SET kept_at = kept_at - interval '2 days'")
    clean_up(pipeline, settings, now)
    assert (_count(pipeline, "kept_answers"), _replayed(_send(admin, "old"))) == (1, True)


def test_who_may_no_longer_do_it_is_not_told_the_first_answer(log_in: LogIn, pipeline: Connection) -> None:
    admin = log_in("acme", Role.ADMIN)
    assert _send(admin, "K").status_code == 201
    pipeline.execute("UPDATE members SET role = 'viewer'")
    assert _code(_send(admin, "K")) == (403, "forbidden")
    pipeline.execute("UPDATE login_sessions SET ended_at = now(), ending = 'logout'")
    assert _code(_send(admin, "K")) == (401, "unauthorized")


def test_the_document_names_the_header_and_what_it_may_be_answered(anonymous: httpx.Client) -> None:
    operation = anonymous.get("/api/v1/openapi.json").json()["paths"]["/api/v1/customers/{slug}/tokens/{token_id}"]
    (header,) = [one for one in operation["delete"]["parameters"] if one["in"] == "header"]
    assert (header["name"].lower(), header["required"]) == ("idempotency-key", False)
    assert "7 days" in header["description"]
    assert {"409", "422"} <= operation["delete"]["responses"].keys()


def test_who_has_too_many_answers_kept_is_told_to_go_on_without_a_key(
    log_in: LogIn, pipeline: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer may have 60 kB: without an end one person fills the disk in a week."""
    monkeypatch.setattr("upstream_pipelines.customers.idempotency.MOST_KEPT", 2)
    admin, other = log_in("acme", Role.ADMIN), log_in("acme", Role.OWNER)
    assert [_send(admin, key).status_code for key in ("K1", "K2")] == [201, 201]
    assert _code(_send(admin, "K3")) == (409, "too_many_idempotency_keys")
    assert _count(pipeline, "alert_silences") == 2
    assert (_send(admin, "K1").status_code, _replayed(_send(admin, "K2"))) == (201, True)
    assert admin.post(SILENCES, json=SILENCE).status_code == 201
    assert _send(other, "K1").status_code == 201
