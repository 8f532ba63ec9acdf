"""A person changes their own password over HTTP."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

import httpx
import pytest

from upstream_pipelines.customers.audit import operator
from upstream_pipelines.customers.passwords import hash_password
from upstream_pipelines.customers.people import let_reset_password
from upstream_pipelines.customers.roles import Role
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.settings import Settings

LogIn = Callable[[str, Role], httpx.Client]
LOG_IN = "/api/v1/auth/login"
OWN = "/api/v1/me/password"
OLD, NEW = "four words make one", "five words make another"
EMAIL = "owner@acme.example"
CHANGE = {"current_password": OLD, "new_password": NEW}


@pytest.fixture
def owner(acme: httpx.Client, log_in: LogIn, pipeline: Connection) -> httpx.Client:
    """Somebody logged in whose password is `OLD`."""
    client = log_in("acme", Role.OWNER)
    pipeline.execute("UPDATE people SET password_hash = %s", (hash_password(OLD),))
    return client


def _log_in(client: httpx.Client, password: str) -> httpx.Response:
    return client.post(LOG_IN, json={"email": EMAIL, "password": password})


def test_a_new_password_ends_all_other_log_ins_and_leaves_the_present_one(
    owner: httpx.Client, anonymous: httpx.Client, pipeline: Connection
) -> None:
    other = _log_in(anonymous, OLD).json()
    bearer = {"Authorization": f"Bearer {other['access_token']}"}
    reset = let_reset_password(pipeline, operator(), EMAIL)
    assert anonymous.get("/api/v1/me", headers=bearer).status_code == 200
    assert owner.put(OWN, json=CHANGE).status_code == 204
    assert anonymous.get("/api/v1/me", headers=bearer).status_code == 401
    refreshed = anonymous.post("/api/v1/auth/refresh", json={"refresh_token": other["refresh_token"]})
    assert refreshed.status_code == 401
    assert owner.get("/api/v1/me").status_code == 200
    assert [_log_in(anonymous, password).status_code for password in (OLD, NEW)] == [401, 200]
    used = anonymous.post("/api/v1/auth/password", json={"token": reset, "password": "six words make a third"})
    assert used.status_code == 401, "a token that lies about would undo it"
    trail = pipeline.execute(
        "SELECT actor_name, entity_kind, details, customer_id FROM audit_log WHERE action = 'person.password_changed'"
    ).fetchall()
    assert trail == [(EMAIL, "person", {"log_ins_ended": 1}, None)]
    told = pipeline.execute("SELECT string_agg(audit_log::text, ' ') FROM audit_log").fetchone()
    assert told is not None
    assert not any(password in told[0] for password in (OLD, NEW))


def test_a_wrong_current_password_is_answered_like_a_wrong_log_in_and_an_unfit_new_one_as_everywhere(
    owner: httpx.Client, anonymous: httpx.Client
) -> None:
    wrong, refused = owner.put(OWN, json={**CHANGE, "current_password": "x" * 12}), _log_in(anonymous, "x" * 12)
    assert (wrong.status_code, wrong.headers["WWW-Authenticate"]) == (401, refused.headers["WWW-Authenticate"])
    same = {"detail": "", "request_id": ""}
    assert {**wrong.json(), **same} == {**refused.json(), **same}
    for unfit in ("short", "x" * 1001):
        answer = owner.put(OWN, json={**CHANGE, "new_password": unfit})
        assert (answer.status_code, answer.json()["code"]) == (422, "password_unfit")
        assert unfit not in answer.text
    for typed in (OLD, OLD.replace("f", "\uff46")):
        answer = owner.put(OWN, json={**CHANGE, "new_password": typed})
        assert (answer.status_code, answer.json()["code"]) == (422, "password_unchanged"), (
            "typed on another keyboard too"
        )
        assert OLD not in answer.text
    told = owner.put(OWN, json={"current_password": "x" * 12, "new_password": "x" * 12})
    assert told.status_code == 401, "who does not know the password is told nothing of it"
    assert anonymous.put(OWN, json=CHANGE).status_code == 401
    assert _log_in(anonymous, OLD).status_code == 200


def test_half_a_surrogate_pair_is_no_new_password_and_fits_nobody_as_a_given_one(
    owner: httpx.Client, anonymous: httpx.Client, pipeline: Connection
) -> None:
    """JSON can hold it, UTF-8 cannot."""
    headers = {"Content-Type": "application/json"}
    half = "four words make \ud800"
    token = let_reset_password(pipeline, operator(), EMAIL)

    def sent(client: httpx.Client, method: str, path: str, **body: str) -> tuple[int, str]:
        answer = client.request(method, path, content=json.dumps(body), headers=headers)
        return answer.status_code, answer.json()["code"]

    unfit, wrong = (422, "password_unfit"), (401, "unauthorized")
    assert sent(owner, "PUT", OWN, current_password=OLD, new_password=half) == unfit
    assert sent(anonymous, "POST", "/api/v1/auth/password", token=token, password=half) == unfit
    assert sent(owner, "PUT", OWN, current_password=half, new_password=NEW) == wrong
    for email in (EMAIL, "nobody@acme.example"):
        assert sent(anonymous, "POST", LOG_IN, email=email, password=half) == wrong
    assert _log_in(anonymous, OLD).status_code == 200


def test_sent_again_with_its_key_it_is_done_once_and_nothing_kept_tells_the_password(
    owner: httpx.Client, pipeline: Connection
) -> None:
    """The second time the current password fits no more, so that without the key nobody could tell whether it was done."""
    body = json.dumps(CHANGE)
    headers = {"Idempotency-Key": "K", "Content-Type": "application/json"}
    answers = [owner.put(OWN, content=body, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [204, 204]
    assert answers[1].headers["Idempotent-Replayed"] == "true"
    other = owner.put(OWN, json={**CHANGE, "new_password": "six words make a third"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert owner.put(OWN, content=body, headers={"Content-Type": "application/json"}).status_code == 401
    plain = hashlib.sha256(f"PUT {OWN}?\n{body}".encode()).digest()
    row = pipeline.execute("SELECT request_sha256, customer_id, answer FROM kept_answers").fetchone()
    assert row is not None
    assert row[0] != plain, "who reads the database could try passwords against it"
    assert row[1:] == (None, None)


class TestLimits:
    """Counted as log-ins are."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"rate_limit_auth": "3/day"})

    def test_passwords_tried_here_are_counted_with_the_log_ins_of_the_account(
        self, owner: httpx.Client, anonymous: httpx.Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("upstream_pipelines.customers.own_password.password_fits", lambda *_: False)
        assert [owner.put(OWN, json=CHANGE).status_code for _ in range(4)] == [401, 401, 401, 429]
        assert _log_in(anonymous, OLD).status_code == 429

    def test_a_request_that_is_sent_again_with_its_key_counts_too(self, owner: httpx.Client) -> None:
        """Answered 422 or not it would tell, uncounted, whether a guessed password is that of the first request."""
        keyed = {"Idempotency-Key": "K1"}
        assert owner.put(OWN, json=CHANGE, headers=keyed).status_code == 204
        guesses = [{**CHANGE, "current_password": f"a guess of many {number}"} for number in range(3)]
        answers = [owner.put(OWN, json=guess, headers=keyed).status_code for guess in guesses]
        assert answers == [422, 422, 429]


class TestAddress:
    """Also where each account has tries left: who holds many access tokens holds one address."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"rate_limit_address": "2/day"})

    def test_passwords_tried_here_are_counted_with_the_log_ins_of_the_address(
        self, owner: httpx.Client, anonymous: httpx.Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("upstream_pipelines.customers.own_password.password_fits", lambda *_: False)
        assert [owner.put(OWN, json=CHANGE).status_code for _ in range(3)] == [401, 401, 429]
        another = {"email": "another@acme.example", "password": OLD}
        assert anonymous.post(LOG_IN, json=another).status_code == 429
