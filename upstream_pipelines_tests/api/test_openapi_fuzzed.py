"""The OpenAPI document against the API that gives it, by schemathesis: whatever it lets a client send, with a token and
without, no answer is a 500 and none is undeclared.

The same few requests in each run of the suite; UPSTREAM_FUZZ_EXAMPLES (`make fuzz`) asks for as many others of each route.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any
from uuid import UUID

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pydantic import SecretStr
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_schema_conformance,
    status_code_conformance,
)

from upstream_pipelines.customers.roles import Role
from upstream_pipelines.customers.sessions import open_session
from upstream_pipelines.db.engine import connect
from upstream_pipelines.settings import Settings
from upstream_pipelines_tests.api.conftest import UNFITTING, Things
from upstream_pipelines_tests.api.test_people_routes import BODIES

_CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance, ignored_auth,
]  # fmt: skip


_EXAMPLES = 15
# Of each route, and others each time: for a night.
_MORE = int(os.environ.get("UPSTREAM_FUZZ_EXAMPLES", "0"))
# 70 s on a quiet machine, and some minutes beside others.
pytestmark = [pytest.mark.timeout(0 if _MORE else 600), pytest.mark.hypothesis]
ASKS_A_PERSON, ASKS_AN_OPERATOR = "access_token", "operator_token"
PUBLIC = {
    *(f"GET {path}" for path in ("/health", "/health/live", "/health/ready", "/api/v1/monitoring/status")),
    *(f"POST /api/v1/auth/{what}" for what in ("login", "refresh", "password")),
}
OPERATOR = "an operator's token of 32 letters and more"
# What no request of this test is answered by a success, and why. Everything else is, at least once.
WITHOUT_SUCCESS = {
    "POST /api/v1/auth/login": "nobody here has a password: a hash takes as long as twenty requests",
    "POST /api/v1/auth/password": "the same",
    "PUT /api/v1/me/password": "the same",
    "POST /api/v1/auth/refresh": "a refresh token is good once",
    "DELETE /api/v1/customers/{slug}/membership": "the last owner may not leave",
}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Nothing of this is refused for coming too often."""
    unlimited: dict[str, Any] = {
        f"rate_limit_{kind}": "1000000/minute"
        for kind in ("auth", "address", "read", "write", "ingest", "bulk", "report")
    }
    return settings.model_copy(update=unlimited | {"operator_token": SecretStr(OPERATOR)})


@dataclass
class Prepared:
    """What a customer has of everything: ids for paths, and requests that fit it."""

    owner: httpx.Client
    person_id: UUID
    ids: dict[str, Any]

    def fitting(self, label: str) -> dict[str, Any]:
        """Body and query of a request that is in order, for what is seldom found by chance; revisions as they are now."""
        method, _, path = label.partition(" ")
        of_customer = path.removeprefix("/api/v1/customers/{slug}/")
        if of_customer == "drift/labels" and method == "DELETE":
            return {"query": {"label": BODIES["POST {slug}/drift/labels"]["label"]}}
        body = BODIES.get(label.replace("/api/v1/customers/{slug}", "{slug}"), _FITTING.get(label))
        if body is not None and "revision" in body:
            present = self.owner.get(f"/api/v1/customers/acme/{of_customer.format_map(self.ids)}").json()
            body = body | {"revision": present["revision"]}
        return {} if body is None else {"body": body}


# Beside the bodies of the matrix of roles and routes.
_FITTING: dict[str, dict[str, Any]] = {
    "POST /api/v1/customers": {"slug": "lakeside", "name": "Lakeside Clinic"},
    "POST /api/v1/customers/{slug}/reports": {"from": "2026-05-01", "until": "2026-06-01"},
}  # fmt: skip


@pytest.fixture
def prepared(
    acme: httpx.Client, log_in: Callable[[str, Role], httpx.Client], things: Things
) -> Prepared:  # fmt: skip
    """One of everything."""
    owner = log_in("acme", Role.OWNER)
    ids = things("acme", acme, owner)
    return Prepared(owner, UUID(owner.get("/api/v1/me").json()["person_id"]), ids)


@pytest.mark.parametrize("with_token", [True, False], ids=["tokens", "no token"])
def test_no_request_that_the_document_allows_is_answered_by_a_500_or_undeclared(
    acme: httpx.Client, prepared: Prepared, settings: Settings, with_token: bool
) -> None:
    """With the token that the document asks for: of a system, of the operator, or of the owner of the customer in the path."""
    schema: Any = schemathesis.openapi.from_dict(acme.get("/api/v1/openapi.json").json())
    answered = {}
    for operation in (found.ok() for found in schema.get_all_operations()):
        headers = _headers(operation, acme, prepared, settings) if with_token else {}
        answered[operation.label] = _answers(operation, str(acme.base_url), headers, prepared)
    assert len(answered) >= 66
    for label in ("/health", "/health/live", "/health/ready", "/api/v1/monitoring/status"):
        assert answered[f"GET {label}"] == {200}
    if not with_token:
        # A body that is no JSON is refused as such before anybody is asked for.
        assert all(answered[name] - {400, 422} == {401} for name in answered.keys() - PUBLIC), answered
        return
    assert answered["POST /api/v1/ingest/webhook/"] >= {202, 422}
    assert answered["POST /api/v1/uploads/"] >= {202, 422}
    assert answered["GET /api/v1/uploads/{upload_id}"] >= {200, 404, 422}
    assert answered["POST /api/v1/auth/login"] >= {401, 422}
    never = {name for name, statuses in answered.items() if not any(200 <= status < 300 for status in statuses)}
    assert never == set(WITHOUT_SUCCESS), {name: answered[name] for name in never ^ set(WITHOUT_SUCCESS)}


def _headers(operation: Any, acme: httpx.Client, prepared: Prepared, settings: Settings) -> dict[str, str]:
    asks = {name for scheme in operation.definition.raw.get("security", []) for name in scheme}
    if asks == {ASKS_AN_OPERATOR}:
        return {"Authorization": f"Bearer {OPERATOR}"}
    if ASKS_A_PERSON not in asks:
        return {"Authorization": acme.headers["Authorization"]}
    # One for each: a log-out among them ends it.
    with connect(settings, "upstream_api") as conn:
        pair = open_session(conn, prepared.person_id, "owner@acme.example", UNFITTING)
    assert pair is not None
    return {"Authorization": f"Bearer {pair.access_token}"}


def _modes(operation: Any) -> list[GenerationMode]:
    """What the document allows, and what it does not where a request can break it at all."""
    takes_nothing = not len(operation.body) and not list(operation.iter_parameters())
    return [GenerationMode.POSITIVE] if takes_nothing else list(GenerationMode)


def _answers(operation: Any, base_url: str, headers: dict[str, str], prepared: Prepared) -> set[int]:
    """Send what the operation allows, check each answer against its description; returns the statuses.

    Without a token the many routes of people refuse alike: one for each of them. With one, every second one in order is for what
    there is, and what met no success is asked for as it should be.
    """
    statuses = set()
    of_people = ASKS_A_PERSON in str(operation.definition.raw)
    turns = count()
    usual = 1 if of_people and not headers else _EXAMPLES

    def send(case: schemathesis.Case[Any]) -> None:
        response = case.call(base_url=base_url, headers=headers)
        case.validate_response(response, checks=_CHECKS, headers=headers)
        statuses.add(response.status_code)

    @examples(
        max_examples=_MORE or usual, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate],
        database=None, derandomize=not _MORE,
    )  # fmt: skip
    @given(case=st.one_of([operation.as_strategy(generation_mode=mode) for mode in _modes(operation)]))
    def call(case: schemathesis.Case[Any]) -> None:
        if "slug" in case.path_parameters:
            # Else every one of them would end at a customer that nobody knows.
            case.path_parameters["slug"] = "acme"
        assert case.meta is not None
        if case.meta.generation.mode is GenerationMode.POSITIVE and next(turns) % 2:
            known = prepared.ids.keys() & case.path_parameters.keys()
            case.path_parameters.update({name: str(prepared.ids[name]) for name in known})
        send(case)

    call()
    if headers and operation.label not in WITHOUT_SUCCESS and not any(200 <= status < 300 for status in statuses):
        ids = {"slug": "acme", "format": "pdf", **prepared.ids}
        path = {name: str(value) for name, value in ids.items() if f"{{{name}}}" in operation.label}
        body = {"media_type": "application/json"} if "body" in (fits := prepared.fitting(operation.label)) else {}
        send(operation.Case(path_parameters=path, **fits, **body))
    return statuses
