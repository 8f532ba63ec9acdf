"""Who a request speaks for: the bearer ingestion token. Not here: issuing tokens, the log-in of people."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from upstream_pipelines.api.problems import ProblemError
from upstream_pipelines.customers.tokens import Caller, authenticate
from upstream_pipelines.db.engine import connect

_bearer = HTTPBearer(
    auto_error=False, scheme_name="ingestion_token", description="An ingestion token of the customer: `upi_...`."
)


def _require_caller(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
) -> Caller:
    """The token's customer; one and the same 401 for a missing, wrong, expired or revoked token."""
    caller = None
    if credentials is not None:
        with connect(request.app.state.settings, "upstream_api") as conn:
            caller = authenticate(conn, credentials.credentials)
    if caller is None:
        raise ProblemError(
            401,
            "unauthorized",
            "Send a valid ingestion token as `Authorization: Bearer upi_...`. It may be wrong, expired or revoked.",
            headers={"WWW-Authenticate": 'Bearer realm="upstream"'},
        )
    return caller


AuthenticatedCaller = Annotated[Caller, Depends(_require_caller)]
