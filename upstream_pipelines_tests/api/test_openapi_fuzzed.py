"""The OpenAPI document against the API that gives it, by schemathesis: whatever it lets a client send, with a token and
without, no answer is a 500 and none is undeclared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_schema_conformance,
    status_code_conformance,
)

from upstream_pipelines.customers.members import Member
from upstream_pipelines.customers.roles import Role
from upstream_pipelines.customers.sessions import open_session
from upstream_pipelines.db.engine import connect
from upstream_pipelines.settings import Settings
from upstream_pipelines_tests.api.conftest import UNHASHED

_CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance, ignored_auth,
]  # fmt: skip


ASKS_A_PERSON = "access_token"
PUBLIC = {
    *(f"GET {path}" for path in ("/health", "/health/live", "/health/ready", "/api/v1/monitoring/status")),
    *(f"POST /api/v1/auth/{what}" for what in ("login", "refresh", "password")),
}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Nothing of this is refused for coming too often."""
    return settings.model_copy(
        update={
            f"rate_limit_{kind}": "1000000/minute"
            for kind in ("auth", "address", "read", "write", "ingest", "bulk", "report")
        }
    )


@pytest.mark.parametrize("with_token", [True, False], ids=["tokens", "no token"])
def test_no_request_that_the_document_allows_is_answered_by_a_500_or_undeclared(
    acme: httpx.Client, member: Callable[[str, Role], Member], settings: Settings, with_token: bool
) -> None:
    """With an ingestion token where the document asks for one, else as the owner of the customer in the path."""
    schema: Any = schemathesis.openapi.from_dict(acme.get("/api/v1/openapi.json").json())
    owner = member("acme", Role.OWNER)
    answered = {}
    for operation in (found.ok() for found in schema.get_all_operations()):
        headers = {}
        if with_token:
            asks = {name for scheme in operation.definition.raw.get("security", []) for name in scheme}
            headers = {"Authorization": acme.headers["Authorization"]}
            if ASKS_A_PERSON in asks:
                # One for each: a log-out among them ends it.
                with connect(settings, "upstream_api") as conn:
                    pair = open_session(conn, owner.person_id, owner.email, UNHASHED)
                assert pair is not None
                headers = {"Authorization": f"Bearer {pair.access_token}"}
        answered[operation.label] = _answers(operation, str(acme.base_url), headers)
    assert len(answered) >= 66
    for label in ("/health", "/health/live", "/health/ready", "/api/v1/monitoring/status"):
        assert answered[f"GET {label}"] == {200}
    if not with_token:
        # A body that is no JSON is refused as such before anybody is asked for.
        assert all(answered[name] - {400, 422} == {401} for name in answered.keys() - PUBLIC), answered
        return
    assert answered["POST /api/v1/ingest/webhook/"] >= {202, 422}
    assert answered["POST /api/v1/uploads/"] >= {202, 422}
    assert answered["GET /api/v1/uploads/{upload_id}"] >= {404, 422}
    assert answered["POST /api/v1/auth/login"] >= {401, 422}
    for name, statuses in answered.items():
        if name.startswith("GET /api/v1/customers"):
            # An id that was made up is nobody's.
            assert (200 if name.count("{") <= 1 else 404) in statuses, name


def _modes(operation: Any) -> list[GenerationMode]:
    """What the document allows, and what it does not where a request can break it at all."""
    takes_nothing = not len(operation.body) and not list(operation.iter_parameters())
    return [GenerationMode.POSITIVE] if takes_nothing else list(GenerationMode)


def _answers(operation: Any, base_url: str, headers: dict[str, str]) -> set[int]:
    """Send what the operation allows, check each answer against its description; returns the statuses.

    Fewer for each of the many routes of people, whose bodies are small; without a token they are all refused alike.
    """
    statuses = set()
    of_people = ASKS_A_PERSON in str(operation.definition.raw)

    @examples(
        max_examples=15 if not of_people else 3 if headers else 1, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate],
        database=None, derandomize=True,
    )  # fmt: skip
    @given(case=st.one_of([operation.as_strategy(generation_mode=mode) for mode in _modes(operation)]))
    def call(case: schemathesis.Case[Any]) -> None:
        if "slug" in case.path_parameters:
            # Else every one of them would end at a customer that nobody knows.
            case.path_parameters["slug"] = "acme"
        response = case.call(base_url=base_url, headers=headers)
        case.validate_response(response, checks=_CHECKS, headers=headers)
        statuses.add(response.status_code)

    call()
    return statuses
