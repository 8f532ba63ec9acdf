"""The OpenAPI document against the API that gives it, by schemathesis: whatever it lets a client send, with a token and
without, no answer is a 500 and none is undeclared.
"""

from __future__ import annotations

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

_CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance, ignored_auth,
]  # fmt: skip


@pytest.mark.parametrize("with_token", [True, False], ids=["token", "no token"])
def test_no_request_that_the_document_allows_is_answered_by_a_500_or_undeclared(
    acme: httpx.Client, with_token: bool
) -> None:
    schema: Any = schemathesis.openapi.from_dict(acme.get("/api/v1/openapi.json").json())
    headers = {"Authorization": acme.headers["Authorization"]} if with_token else {}
    answered = {
        operation.label: _answers(operation, str(acme.base_url), headers)
        for operation in (found.ok() for found in schema.get_all_operations())
    }
    assert len(answered) == 7
    for label in ("/health", "/health/live", "/health/ready", "/api/v1/monitoring/status"):
        assert answered.pop(f"GET {label}") == {200}
    if with_token:
        # A request may be broken in its token too.
        assert [statuses - {401} for statuses in answered.values()] == [{202, 422}, {202, 422}, {404, 422}]
    else:
        assert all(statuses == {401} for statuses in answered.values()), answered


def _modes(operation: Any) -> list[GenerationMode]:
    """What the document allows, and what it does not where a request can break it at all."""
    takes_nothing = not len(operation.body) and not list(operation.iter_parameters())
    return [GenerationMode.POSITIVE] if takes_nothing else list(GenerationMode)


def _answers(operation: Any, base_url: str, headers: dict[str, str]) -> set[int]:
    """Send what the operation allows, check each answer against its description; returns the statuses."""
    statuses = set()

    @examples(
        max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate],
        database=None, derandomize=True,
    )  # fmt: skip
    @given(case=st.one_of([operation.as_strategy(generation_mode=mode) for mode in _modes(operation)]))
    def call(case: schemathesis.Case[Any]) -> None:
        response = case.call(base_url=base_url, headers=headers)
        case.validate_response(response, checks=_CHECKS, headers=headers)
        statuses.add(response.status_code)

    call()
    return statuses
