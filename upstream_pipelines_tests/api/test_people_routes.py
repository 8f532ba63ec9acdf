"""People over HTTP: logging in, one's customers, members, the trail; and whom each route lets through."""

from __future__ import annotations

from collections.abc import Callable
from string import Formatter
from typing import Any, Literal
from uuid import uuid4

import httpx
from fastapi.routing import iter_route_contexts

from upstream_pipelines.api.app import create_app
from upstream_pipelines.api.authentication import OrOperator
from upstream_pipelines.customers.audit import operator
from upstream_pipelines.customers.flags import FLAGS
from upstream_pipelines.customers.members import invite
from upstream_pipelines.customers.people import let_reset_password
from upstream_pipelines.customers.roles import Action, Role, allowed
from upstream_pipelines.customers.store import get_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.settings import Settings
from upstream_pipelines_tests.api.conftest import Things

LogIn = Callable[[str, Role], httpx.Client]
PASSWORD = "four words make one"
ACME = "/api/v1/customers/acme"

# What each route below a customer is sent where its rule lets a request through; those not here need no body.
BODIES: dict[str, dict[str, Any]] = {
    "PATCH {slug}": {"name": "Acme Health"},
    "POST {slug}/members": {"email": "new@example.org", "role": "viewer"},
    "PATCH {slug}/members/{person_id}": {"role": "analyst"},
    "POST {slug}/drift/events/{event_id}/acceptance": {"note": "new contract"},
    "POST {slug}/alerts/{alert_id}/feedback": {"judgement": "noise"},
    "POST {slug}/alert-rules": {"name": "large ones", "minimum_dollars_per_month": 5000},
    "PUT {slug}/alert-rules/{rule_id}": {"revision": "0" * 16, "rule": {"name": "large ones"}},
    "POST {slug}/silences": {"payer": "Aetna", "hours": 1},
    "POST {slug}/tokens": {"label": "practice system"},
    "PUT {slug}/payer-aliases": {"revision": "0" * 16, "payer_aliases": {"AETNA INC": "Aetna"}},
    "PUT {slug}/cpt-groups": {"revision": "0" * 16, "cpt_groups": {"992*": "VISITS"}},
    "PUT {slug}/quality-rules": {"revision": "0" * 16, "quality": {"cpt_form": "error"}},
    "PUT {slug}/product-flags": {"revision": "0" * 16, "flags": dict.fromkeys(FLAGS, True)},
    "POST {slug}/channels": {"name": "billing system", "url": "https://billing.example.org/upstream"},
    "POST {slug}/drift/labels": {"label": "code set", "first_day": "2026-10-01", "last_day": "2026-10-01"},
}


def _customer_routes() -> list[tuple[str, str, Action | Literal["operator"]]]:
    """Method, path and action of all routes below a customer; "operator" where nobody of the customer may do it."""
    found = []
    for route in iter_route_contexts(create_app(Settings()).routes):
        if str(route.path).startswith("/api/v1/customers/{slug}"):
            (action,) = [inner.call.rule for inner in route.dependant.dependencies if hasattr(inner.call, "rule")]
            action = action.action if isinstance(action, OrOperator) else action
            found += [(method, str(route.path), action) for method in route.methods or ()]
    return sorted(found, key=lambda route: route[:2])


def _filled(path: str, slug: str, ids: dict[str, Any]) -> str:
    return path.format_map(_Ids(ids, slug=slug))


def _send(client: httpx.Client, method: str, path: str, slug: str, ids: dict[str, Any]) -> httpx.Response:
    body = BODIES.get(f"{method} {path.removeprefix('/api/v1/customers/')}")
    return client.request(method, _filled(path, slug, ids), json=body)


class _Ids(dict[str, Any]):
    """An id for whatever a path asks for, and a format where it asks for one."""

    def __missing__(self, name: str) -> Any:
        return "pdf" if name == "format" else uuid4()


def test_every_role_meets_every_route_of_its_customer_as_its_rule_says(acme: httpx.Client, log_in: LogIn) -> None:
    """In the order of the roles, and leaving last: a route that lets too much through would change what follows."""
    routes = sorted(_customer_routes(), key=lambda route: route[1].endswith("/membership"))
    assert len(routes) >= 46
    clients = {role: log_in("acme", role) for role in Role}
    for role, client in clients.items():
        for method, path, action in routes:
            status = _send(client, method, path, "acme", _Ids()).status_code
            if action != "operator" and allowed(role, action):
                assert status not in {401, 403}, (role, method, path)
            else:
                assert status == 403, (role, method, path)


def _paths_with_ids() -> list[tuple[str, str]]:
    """Method and path of all routes, also of systems, that name one thing of a customer."""
    routes = [(method, str(route.path)) for route in iter_route_contexts(create_app(Settings()).routes)
              for method in route.methods or () if "{" in str(route.path).replace("{slug}", "")]  # fmt: skip
    # What is taken from a thing comes before what takes it away.
    return sorted(routes, key=lambda route: (route[0] == "DELETE", route))


def test_another_customers_slug_and_an_unknown_one_are_the_same_404_on_every_route(
    acme: httpx.Client, beta: httpx.Client, log_in: LogIn, things: Things
) -> None:
    stranger, theirs = log_in("beta", Role.OWNER), things("acme", acme, log_in("acme", Role.OWNER))
    for method, path, _ in _customer_routes():
        answers = []
        for slug in ("acme", "unknown", "a%00b"):
            answer = _send(stranger, method, path, slug, theirs)
            assert answer.status_code == 404, (method, path, slug)
            answers.append(answer.json() | {"request_id": ""})
        assert answers[0] == answers[1] == answers[2], path


def test_an_id_of_another_customer_is_answered_like_one_that_nobody_has(
    acme: httpx.Client, beta: httpx.Client, log_in: LogIn, things: Things
) -> None:
    """Every route with an id beside the slug, by an owner who may do everything in their own customer, and by their system. Then by
    those whose the things are, for whom each is there: else this would show nothing.
    """
    owner, theirs = log_in("acme", Role.OWNER), log_in("beta", Role.OWNER)
    ids = things("beta", beta, theirs)
    routes = _paths_with_ids()
    names = {name for _, path in routes for _, name, _, _ in Formatter().parse(path) if name}
    assert names == {"slug", "format", *ids}, "things() makes one of everything that a path names"

    def ask(
        method: str, path: str, clients: tuple[httpx.Client, httpx.Client], slug: str, ids: dict[str, Any]
    ) -> Any:
        answer = _send(clients["{slug}" not in path], method, path, slug, ids)
        return answer.status_code, answer.status_code == 404 and answer.json() | {"request_id": ""}

    for method, path in routes:
        foreign = ask(method, path, (owner, acme), "acme", ids)
        assert foreign == ask(method, path, (owner, acme), "acme", _Ids()), (method, path)
        assert (foreign[0], foreign[1]["code"]) == (404, "not_found"), (method, path)
    for method, path in routes:
        assert ask(method, path, (theirs, beta), "beta", ids)[0] in {200, 201, 202, 204, 409}, (method, path)


def test_every_kind_of_bad_access_token_gets_one_and_the_same_answer(
    acme: httpx.Client, anonymous: httpx.Client, log_in: LogIn, pipeline: Connection
) -> None:
    client = log_in("acme", Role.OWNER)
    good = client.headers["Authorization"]

    def ask(authorization: str | None, path: str) -> tuple[int, str | None, dict[str, Any]]:
        headers = {"Authorization": authorization} if authorization is not None else {}
        answer = anonymous.get(path, headers=headers)
        return answer.status_code, answer.headers.get("WWW-Authenticate"), answer.json() | {"request_id": ""}

    missing = ask(None, "/api/v1/me")
    assert missing[:2] == (401, 'Bearer realm="upstream"')
    for path in ("/api/v1/me", ACME, "/api/v1/customers/unknown"):
        assert ask(None, path) == missing
        assert ask("Bearer upa_" + "x" * 43, path) == missing
        assert ask("Bearer nonsense", path) == missing
        assert ask(acme.headers["Authorization"], path) == missing, "an ingestion token logs nobody in"
    assert ask(good, ACME)[0] == 200
    webhook = anonymous.post("/api/v1/ingest/webhook/", headers={"Authorization": good})
    assert webhook.status_code == 401, "a person is no system"
    pipeline.execute("UPDATE session_tokens SET expires_at = now()")
    assert ask(good, ACME) == missing
    pipeline.execute("UPDATE session_tokens SET expires_at = now() + interval '1 day'")
    pipeline.execute("UPDATE people SET disabled_at = now()")
    assert ask(good, ACME) == missing


def test_an_invited_person_joins_logs_in_works_refreshes_and_logs_out(
    acme: httpx.Client, anonymous: httpx.Client, log_in: LogIn
) -> None:
    owner = log_in("acme", Role.OWNER)
    invited = owner.post(
        f"{ACME}/members", json={"email": "ann@example.org", "role": "analyst", "display_name": "Ann"}
    )
    assert invited.status_code == 201
    credentials = {"email": "Ann@Example.org", "password": PASSWORD}
    assert anonymous.post("/api/v1/auth/login", json=credentials).status_code == 401
    weak = anonymous.post("/api/v1/auth/password", json={"token": invited.json()["token"], "password": "short"})
    assert (weak.status_code, weak.json()["code"]) == (422, "password_unfit")
    ready = {"token": invited.json()["token"], "password": PASSWORD}
    assert anonymous.post("/api/v1/auth/password", json=ready).status_code == 204
    again = anonymous.post("/api/v1/auth/password", json=ready)
    assert (again.status_code, again.json()["code"]) == (401, "unauthorized")

    tokens = anonymous.post("/api/v1/auth/login", json=credentials).json()
    assert (tokens["token_type"], tokens["expires_in"], tokens["refresh_expires_in"]) == ("bearer", 1800, 86400)
    mine = {"Authorization": f"Bearer {tokens['access_token']}"}
    me = anonymous.get("/api/v1/me", headers=mine).json()
    assert me["email"] == "ann@example.org"
    assert me["customers"] == [{"slug": "acme", "name": "acme", "role": "analyst", "display_name": "Ann"}]
    assert anonymous.get("/api/v1/customers", headers=mine).json() == me["customers"]
    assert anonymous.get(ACME, headers=mine).json()["role"] == "analyst"

    renewed = anonymous.post("/api/v1/auth/refresh", json={"refresh_token": tokens["refresh_token"]}).json()
    mine = {"Authorization": f"Bearer {renewed['access_token']}"}
    assert anonymous.post("/api/v1/auth/logout", headers=mine).status_code == 204
    assert anonymous.get("/api/v1/me", headers=mine).status_code == 401
    late = anonymous.post("/api/v1/auth/refresh", json={"refresh_token": renewed["refresh_token"]})
    assert (late.status_code, late.json()["code"]) == (401, "unauthorized")

    person_id = invited.json()["member"]["person_id"]
    changed = owner.patch(f"{ACME}/members/{person_id}", json={"role": "admin"})
    assert changed.json()["role"] == "admin"
    assert owner.delete(f"{ACME}/members/{person_id}").status_code == 204
    assert [member["role"] for member in owner.get(f"{ACME}/members").json()] == ["owner"]
    last = owner.delete(f"{ACME}/membership")
    assert (last.status_code, last.json()["code"]) == (409, "last_owner")

    trail = owner.get(f"{ACME}/audit", params={"limit": 3}).json()
    assert [act["action"] for act in trail["acts"]] == ["member.removed", "member.role_changed", "member.joined"]
    assert trail["acts"][0]["actor_name"] == "owner@acme.example"
    assert trail["acts"][0]["request_id"]
    rest = owner.get(f"{ACME}/audit", params={"limit": 3, "after": trail["next"]}).json()
    assert [act["action"] for act in rest["acts"]] == ["member.invited", "member.invited"]
    assert rest["next"] is None
    bad = owner.get(f"{ACME}/audit", params={"after": "x"})
    assert (bad.status_code, bad.json()["code"]) == (422, "invalid_input")
    assert owner.get(f"{ACME}/audit?action=%00").status_code == 422
    page = owner.get(f"{ACME}/audit.csv", params={"action": "member.removed"})
    assert page.headers["content-type"] == "text/csv; charset=utf-8"
    assert len(page.text.splitlines()) == 2
    (taken,) = owner.get(f"{ACME}/audit", params={"limit": 1}).json()["acts"]
    assert (taken["action"], taken["details"]) == ("audit.exported", {"filters": ["action"]})


def test_no_answer_repeats_a_password_or_a_token(
    acme: httpx.Client, anonymous: httpx.Client, pipeline: Connection, log_in: LogIn
) -> None:
    canary = "ZEBRAFISH-canary"
    with pipeline.transaction():
        invite(pipeline, operator(), get_customer(pipeline, "acme").customer_id, "bob@example.org", Role.OWNER)
    let_reset_password(pipeline, operator(), "bob@example.org")
    owner = log_in("acme", Role.OWNER)
    bodies: list[tuple[str, Any]] = [
        ("login", {"email": canary, "password": canary}),
        ("login", {"email": canary}),
        ("login", canary),
        ("login", {"email": [canary], "password": {canary: canary}}),
        ("login", {"email": "bob@example.org", "password": canary * 1000}),
        ("refresh", {"refresh_token": canary}),
        ("password", {"token": "ups_" + "x" * 43, "password": canary}),
    ]
    for path, body in bodies:
        answer = anonymous.post(f"/api/v1/auth/{path}", json=body)
        assert answer.status_code in {401, 422}, answer.text
        assert canary not in answer.text
    for wrong in ({"email": canary, "role": "viewer"}, {"email": "a@b.org", "role": canary}, {canary: 1}):
        answer = owner.post(f"{ACME}/members", json=wrong)
        assert answer.status_code == 422
        assert canary not in answer.text


def test_a_body_that_is_too_large_or_no_text_is_refused_before_anybody_is_asked_for(
    anonymous: httpx.Client,
) -> None:
    large = b'{"email": "' + b"x" * 70_000 + b'"}'
    for content in (large, iter([large[:40_000], large[40_000:]])):
        answer = anonymous.post(
            "/api/v1/auth/login", content=content, headers={"Content-Type": "application/json"}
        )
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    answer = anonymous.post("/api/v1/auth/login", content=b"\xff{", headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
