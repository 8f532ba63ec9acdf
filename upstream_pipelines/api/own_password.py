"""PUT /api/v1/me/password: a person changes their own password. Not here: the first one and resets (auth.py)."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, SecretStr

from upstream_pipelines.api.authentication import CHALLENGE, ChangingOneself
from upstream_pipelines.api.familiar import LatelyLoggedIn
from upstream_pipelines.api.once import OnceRoute
from upstream_pipelines.api.problems import ProblemError, documented
from upstream_pipelines.api.rate_limits import account_of, address_of
from upstream_pipelines.customers.own_password import change_password
from upstream_pipelines.db.engine import connect

router = APIRouter(tags=["log-in"], route_class=OnceRoute)

# No password is longer; what is longer is not read into a hash.
_MOST = 4000


class PasswordChange(BaseModel):
    """The password that one has, and the one that is to hold."""

    current_password: SecretStr = Field(max_length=_MOST)
    new_password: SecretStr = Field(max_length=_MOST)


@router.put(
    "/api/v1/me/password",
    status_code=204,
    summary="Change one's password",
    responses=documented(400, 401, 408, 413, 422, 429, 503),
)
def put_password(request: Request, oneself: ChangingOneself, body: PasswordChange) -> None:
    """All other log-ins end; this one goes on with its tokens. A wrong current password is a 401 like that of a log-in, and is
    counted as one.
    """
    who = oneself.who
    familiar: LatelyLoggedIn = request.app.state.familiar
    changed = change_password(
        partial(connect, oneself.settings, "upstream_api"), oneself.transaction, who, oneself.actor,
        current=body.current_password.get_secret_value(), new=body.new_password.get_secret_value(),
        familiar=(account_of(who.email), address_of(request)) in familiar,
    )  # fmt: skip
    if not changed:
        raise ProblemError(401, "unauthorized", "The current password is wrong.", headers=CHALLENGE)
