"""/api/v1/auth: logging in, refreshing, logging out, setting a password. Not here: who may do what (authentication.py)."""

from __future__ import annotations

from functools import partial
from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, SecretStr

from upstream_pipelines.api.authentication import CHALLENGE, AuthenticatedPerson
from upstream_pipelines.api.bodies import JsonRoute
from upstream_pipelines.api.familiar import LatelyLoggedIn
from upstream_pipelines.api.problems import ProblemError, documented
from upstream_pipelines.api.rate_limits import (
    account_of,
    address_of,
    spend_account,
    spend_address,
    spend_log_in,
    spend_refresh,
)
from upstream_pipelines.customers.people import PasswordRefusedError, set_password
from upstream_pipelines.customers.sessions import (
    ACCESS_LIFE,
    REFRESH_LIFE,
    TokenPair,
    log_in,
    log_out,
    refresh,
    session_of,
)
from upstream_pipelines.db.engine import connect

router = APIRouter(prefix="/api/v1/auth", tags=["log-in"], route_class=JsonRoute)

# No password, e-mail or token is longer; what is longer is not read into a hash or a statement.
_MOST = 4000


class Credentials(BaseModel):
    """An e-mail and its password."""

    email: str = Field(max_length=_MOST)
    password: SecretStr = Field(max_length=_MOST)


class RefreshToken(BaseModel):
    """The refresh token of a log-in; it is used up."""

    refresh_token: SecretStr = Field(max_length=_MOST)


class NewPassword(BaseModel):
    """A token that somebody was given, and the password that is to hold: a new one, or the one the person has."""

    token: SecretStr = Field(max_length=_MOST)
    password: SecretStr = Field(max_length=_MOST)


class Tokens(BaseModel):
    """A log-in. Keep the tokens where nobody reads them; they are not shown again."""

    access_token: str
    refresh_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105  the name of a scheme
    expires_in: int = Field(description="Seconds for which the access token is good.")
    refresh_expires_in: int = Field(description="Seconds for which the refresh token is good, for one use.")


@router.post("/login", summary="Log in", responses=documented(400, 401, 408, 413, 422, 429, 503))
def post_login(request: Request, body: Credentials) -> Tokens:
    """One and the same 401 for an unknown e-mail, a wrong password and a disabled person."""
    spend_log_in(request, body.email)
    familiar: LatelyLoggedIn = request.app.state.familiar
    who = (account_of(body.email), address_of(request))
    pair = log_in(
        partial(connect, request.app.state.settings, "upstream_api"), body.email, body.password.get_secret_value(),
        familiar=who in familiar, request_id=request.state.request_id,
    )  # fmt: skip
    if pair is None:
        raise ProblemError(
            401, "unauthorized", "The e-mail or the password is wrong, or the log-in is closed.", headers=CHALLENGE
        )
    familiar.note(who)
    return _shown(pair)


@router.post(
    "/refresh", summary="Replace the tokens of a log-in", responses=documented(400, 401, 408, 413, 422, 429, 503)
)
def post_refresh(request: Request, body: RefreshToken) -> Tokens:
    """A refresh token is good for one use. A second use ends the log-in: somebody else has the token too."""
    token = body.refresh_token.get_secret_value()
    with connect(request.app.state.settings, "upstream_api") as conn:
        session_id = session_of(conn, token)
    spend_refresh(request, session_id)
    with connect(request.app.state.settings, "upstream_api") as conn:
        pair = refresh(conn, token, request_id=request.state.request_id)
    if pair is None:
        raise ProblemError(
            401,
            "unauthorized",
            "The refresh token is wrong, used, expired or ended. Log in again.",
            headers=CHALLENGE,
        )
    return _shown(pair)


@router.post("/logout", status_code=204, summary="Log out", responses=documented(401, 429, 503))
def post_logout(request: Request, who: AuthenticatedPerson) -> None:
    """Ends the log-in with all its tokens."""
    with connect(request.app.state.settings, "upstream_api") as conn:
        log_out(conn, who, request_id=request.state.request_id)


@router.post(
    "/password",
    status_code=204,
    summary="Set a password, or take up an invitation",
    responses=documented(400, 401, 408, 413, 422, 429, 503),
)
def post_password(request: Request, body: NewPassword) -> None:
    """With a token that was given out once. Who has a password already takes up an invitation with it."""

    def count(email: str | None) -> None:
        if email is None:
            spend_address(request, "password")
        else:
            spend_account(request, email)

    try:
        set_password(
            partial(connect, request.app.state.settings, "upstream_api"), body.token.get_secret_value(),
            body.password.get_secret_value(), count=count, request_id=request.state.request_id,
        )  # fmt: skip
    except PasswordRefusedError as error:
        raise ProblemError(401, error.code, str(error), headers=CHALLENGE) from None


def _shown(pair: TokenPair) -> Tokens:
    return Tokens(
        access_token=pair.access_token,
        refresh_token=pair.refresh_token,
        expires_in=int(ACCESS_LIFE.total_seconds()),
        refresh_expires_in=int(REFRESH_LIFE.total_seconds()),
    )
