"""Who a request speaks for: the bearer ingestion token of a customer's system, or the access token of a person.

Each route says whom it is for by one dependency: `AuthenticatedCaller` and its like (an ingestion token),
`AuthenticatedPerson` or `ChangingOneself` (whoever is logged in), `require(Action...)`, for which `CanRead` and its like stand
(a member of the customer in the path whose role allows it), `CanOperate` and `CanSignUp` (the platform's operator), or
`CanReadOrOperate` and `CanSendOrOperate` (either). Routes without one stand on the list in the structural test. Not here: issuing
tokens, checking passwords, what roles allow.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Protocol
from uuid import UUID

from fastapi import Depends, Path, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.security.utils import get_authorization_scheme_param

from upstream_pipelines.api.problems import ProblemError
from upstream_pipelines.api.rate_limits import RateClass, limits_of, spend_address, spend_log_in
from upstream_pipelines.customers.audit import Actor, api_operator
from upstream_pipelines.customers.members import role_of
from upstream_pipelines.customers.models import CustomerKey
from upstream_pipelines.customers.roles import Action, Role, allowed
from upstream_pipelines.customers.sessions import LoggedIn, authenticate_person, still_runs
from upstream_pipelines.customers.store import active_customer
from upstream_pipelines.customers.tokens import Caller, authenticate
from upstream_pipelines.db.engine import Connection, connect, principal_transaction
from upstream_pipelines.settings import Settings

_ingestion = HTTPBearer(
    auto_error=False, scheme_name="ingestion_token", description="An ingestion token of the customer: `upi_...`."
)
_access = HTTPBearer(
    auto_error=False, scheme_name="access_token", description="The access token of a log-in: `upa_...`."
)
_operators = HTTPBearer(
    auto_error=False,
    scheme_name="operator_token",
    description="UPSTREAM_OPERATOR_TOKEN, of the platform's operator.",
)
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="upstream"'}


class Held(Protocol):
    """A transaction that outlives the route's use of it (once.py)."""

    def transaction(self, principal: Principal) -> AbstractContextManager[Connection]:
        """The transaction, opened where it is not open yet."""


@dataclass(frozen=True, kw_only=True)
class Principal:
    """Whoever asks for something to be changed: a person or, without `person_id`, an operator; in a customer or in none.

    The transaction is opened inside the route, in one thread, and is committed before the answer is made. A dependency
    that held it open would hold a connection while its route waits for a thread, and all threads may be waiting for one.
    Of a request with an Idempotency-Key it is `held` until the answer is kept, in that same thread.
    """

    customer_id: int | None
    person_id: UUID | None
    actor: Actor
    settings: Settings
    held: Held | None = None

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection as upstream_api in a transaction that sees this customer, or this person, and no other."""
        with self.held.transaction(self) if self.held is not None else self.own_transaction() as conn:
            yield conn

    @contextmanager
    def own_transaction(self) -> Iterator[Connection]:
        """The same, of nobody else."""
        with (
            connect(self.settings, "upstream_api") as conn,
            principal_transaction(conn, self.customer_id, self.person_id),
        ):
            yield conn


@dataclass(frozen=True, kw_only=True)
class Acting(Principal):
    """A member at work in a customer: who, and in which role."""

    customer_id: int
    person_id: UUID
    slug: str
    role: Role
    who: LoggedIn

    @property
    def customer(self) -> CustomerKey:
        """The customer, as the domain's functions take it."""
        return CustomerKey(self.customer_id, self.slug)

    def require_still(self, request: Request, conn: Connection, action: Action) -> None:
        """Ask again in the transaction of what is done; refused as it was at the beginning.

        The access token may have run out while the body came, for it lives for 30 minutes; the log-in must not have ended.
        """
        if not still_runs(conn, self.who):
            raise _no_log_in(request)
        active = active_customer(conn, self.slug) == self.customer_id
        _require_role(role_of(conn, self.customer_id, self.person_id) if active else None, action)


@dataclass(frozen=True, kw_only=True)
class Operating(Principal):
    """The platform's operator at work in a customer, of which no operator is a member."""

    customer_id: int
    slug: str

    @property
    def customer(self) -> CustomerKey:
        """The customer, as the domain's functions take it."""
        return CustomerKey(self.customer_id, self.slug)

    def require_still(self, _request: Request, conn: Connection, _action: Action) -> None:
        """Ask again whether the customer is active, as of a member."""
        if active_customer(conn, self.slug) != self.customer_id:
            raise _no_such_customer()


@dataclass(frozen=True)
class OrOperator:
    """The rule of a route that the platform's operator may use beside the members whose role allows the action."""

    action: Action

    def __str__(self) -> str:
        """As the structural test has it written down."""
        return f"{self.action} or operator"


@dataclass(frozen=True, kw_only=True)
class Oneself(Principal):
    """A person at work on their own log-in, in no customer."""

    person_id: UUID
    who: LoggedIn


@dataclass(frozen=True)
class TokenSent:
    """The ingestion token of a request, not looked up yet: a route does it where it has a thread already."""

    request: Request
    rate: RateClass
    token: str | None = field(repr=False)

    def found(self) -> Caller | None:
        """Whose token it is at the moment; None where it opens nothing."""
        if self.token is None:
            return None
        with connect(self.request.app.state.settings, "upstream_api") as conn:
            return authenticate(conn, self.token)

    def caller(self) -> Caller:
        """Whose token it is, and the request counted for it; without a connection, for Redis may not answer.

        Raises:
            ProblemError: 401, one and the same for a missing, wrong, expired or revoked token; 429, it has had its requests.
        """
        caller = self.found()
        if caller is None:
            raise no_token(self.request)
        limits_of(self.request).spend(self.request, self.rate, f"token {caller.token_id}")
        return caller


def token_sent(request: Request, rate: RateClass) -> TokenSent:
    """What a request has as `Authorization: Bearer`, of that class of requests."""
    scheme, token = get_authorization_scheme_param(request.headers.get("Authorization"))
    return TokenSent(request, rate, token if scheme.lower() == "bearer" and token else None)


def _token(rate: RateClass) -> Callable[..., Caller]:
    """The dependency of a route for customers' systems: the ingestion token's customer. Errors as for `TokenSent.caller`."""

    def caller_of(
        request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_ingestion)]
    ) -> Caller:
        return TokenSent(request, rate, None if credentials is None else credentials.credentials).caller()

    caller_of.rule = "token"  # type: ignore[attr-defined]
    return caller_of


def require_token_still(request: Request, conn: Connection) -> None:
    """Ask of the request's ingestion token again, in the transaction of what is done; refused as it was at the beginning."""
    _scheme, token = get_authorization_scheme_param(request.headers.get("Authorization"))
    if authenticate(conn, token) is None:
        raise no_token(request)


def no_token(request: Request) -> ProblemError:
    """The 401 of an ingestion token, and the request counted for its address."""
    return _refused(request, "Send a valid ingestion token as `Authorization: Bearer upi_...`. It may be wrong, expired or "
                    "revoked.")  # fmt: skip


def _require_person(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_access)]
) -> LoggedIn:
    """Whoever is logged in; one and the same 401 for a missing, wrong or expired token, an ended log-in, a disabled person."""
    return _logged_in(request, credentials, None, RateClass.READ)


_require_person.rule = "person"  # type: ignore[attr-defined]


def _require_oneself(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_access)]
) -> Oneself:
    """The same, who changes what only they know. Each request is a password tried, also one that is sent again with its
    Idempotency-Key: that answers whether the passwords in it are those of the first.
    """
    who = _logged_in(request, credentials, None, RateClass.WRITE)
    spend_log_in(request, who.email)
    actor = Actor("person", str(who.person_id), who.email, request.state.request_id)
    return Oneself(
        customer_id=None, person_id=who.person_id, actor=actor, settings=request.app.state.settings, who=who
    )


_require_oneself.rule = "person"  # type: ignore[attr-defined]


def _logged_in(
    request: Request, credentials: HTTPAuthorizationCredentials | None, slug: str | None, rate: RateClass
) -> LoggedIn:
    who = None
    if credentials is not None:
        with connect(request.app.state.settings, "upstream_api") as conn:
            who = authenticate_person(conn, credentials.credentials, slug)
    if who is None:
        raise _no_log_in(request)
    limits_of(request).spend(request, rate, f"person {who.person_id}")
    return who


def _no_log_in(request: Request) -> ProblemError:
    return _refused(request, "Log in at /api/v1/auth/login and send the access token as `Authorization: Bearer upa_...`. It "
                    "may be wrong, expired or ended.")  # fmt: skip


def _refused(request: Request, detail: str) -> ProblemError:
    # Counted after the look and not before: a sender with an ended token must not close the door for the others behind
    # its address, and nobody guesses 32 random bytes.
    spend_address(request, "refused")
    return ProblemError(401, "unauthorized", detail, headers=CHALLENGE)


def require(action: Action, rate: RateClass | None = None) -> Callable[..., Acting]:
    """The dependency of a route below /api/v1/customers/{slug}: `acting: Annotated[Acting, Depends(require(Action.READ))]`.

    401 without a log-in; 404, the same, for a customer that is unknown, disabled, or not the person's; 403 for a role
    that does not allow the action; 429 for too many. `rate` where it is not that of reading or of writing.
    """
    reads = action in {Action.READ, Action.AUDIT}
    of_class = rate or (RateClass.READ if reads else RateClass.WRITE)

    def member(
        request: Request,
        slug: Annotated[str, Path(description="The customer's slug.")],
        credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_access)],
    ) -> Acting:
        # PostgreSQL takes no NUL in a text; no customer has one in its slug.
        who = _logged_in(request, credentials, slug.replace("\0", " "), of_class)
        role = _require_role(who.role, action)
        assert who.customer_id is not None
        settings: Settings = request.app.state.settings
        actor = Actor("person", str(who.person_id), who.email, request.state.request_id)
        return Acting(
            customer_id=who.customer_id, person_id=who.person_id, actor=actor, settings=settings, slug=slug,
            role=role, who=who,
        )  # fmt: skip

    # What the structural test reads.
    member.rule = action  # type: ignore[attr-defined]
    return member


def _require_role(role: Role | None, action: Action) -> Role:
    if role is None:
        raise ProblemError(404, "not_found", "You are a member of no customer of that slug.")
    if not allowed(role, action):
        raise ProblemError(403, "forbidden", f"Your role, {role}, does not allow this. Ask an admin or an owner.")
    return role


def _operator(
    request: Request, slug: str, credentials: HTTPAuthorizationCredentials | None, rate: RateClass
) -> Operating | None:
    """Who sends the operator's token, for the active customer of that slug; None for everybody else."""
    settings: Settings = request.app.state.settings
    if not _is_operator(settings, credentials):
        return None
    limits_of(request).spend(request, rate, "operator")
    with connect(settings, "upstream_api") as conn:
        customer_id = active_customer(conn, slug.replace("\0", " "))
    if customer_id is None:
        raise _no_such_customer()
    return Operating(
        customer_id=customer_id, person_id=None, actor=_operators_actor(request), settings=settings, slug=slug
    )  # fmt: skip


def _no_such_customer() -> ProblemError:
    return ProblemError(404, "not_found", "There is no active customer of that slug.")


def _is_operator(settings: Settings, credentials: HTTPAuthorizationCredentials | None) -> bool:
    if credentials is None or settings.operator_token is None:
        return False
    return hmac.compare_digest(
        credentials.credentials.encode(), settings.operator_token.get_secret_value().encode()
    )


def _operators_actor(request: Request) -> Actor:
    return api_operator(request.state.request_id)


def _require_operator_of_no_customer(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_operators)]
) -> Principal:
    """The platform's operator, where no customer is named; who is logged in is told whom to ask."""
    settings: Settings = request.app.state.settings
    if not _is_operator(settings, credentials):
        _logged_in(request, credentials, None, RateClass.WRITE)
        raise ProblemError(403, "forbidden", "This is the platform operator's to do. Ask them.")
    limits_of(request).spend(request, RateClass.WRITE, "operator")
    return Principal(customer_id=None, person_id=None, actor=_operators_actor(request), settings=settings)


def _require_operator(
    request: Request,
    slug: Annotated[str, Path(description="The customer's slug.")],
    credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_operators)],
) -> Operating:
    """The platform's operator; a member of the customer is told whom to ask, all others what they are told everywhere."""
    operating = _operator(request, slug, credentials, RateClass.WRITE)
    if operating is None:
        _require_reader(request, slug, credentials)
        raise ProblemError(403, "forbidden", "This is the platform operator's to set. Ask them.")
    return operating


def _require_reader_or_operator(
    request: Request,
    slug: Annotated[str, Path(description="The customer's slug.")],
    credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_access)],
    operators: Annotated[HTTPAuthorizationCredentials | None, Security(_operators)],
) -> Acting | Operating:
    """A member of the customer who may read, or the platform's operator."""
    return _operator(request, slug, operators, RateClass.READ) or _require_reader(request, slug, credentials)


def _require_sender_or_operator(
    request: Request,
    slug: Annotated[str, Path(description="The customer's slug.")],
    credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_access)],
    operators: Annotated[HTTPAuthorizationCredentials | None, Security(_operators)],
) -> Acting | Operating:
    """A member of the customer who may send files, or the platform's operator."""
    return _operator(request, slug, operators, RateClass.BULK) or _require_sender(request, slug, credentials)


_require_reader = require(Action.READ)
_require_sender = require(Action.WORK, RateClass.BULK)
# What the structural test reads.
_require_operator.rule = "operator"  # type: ignore[attr-defined]
_require_operator_of_no_customer.rule = "operator"  # type: ignore[attr-defined]
_require_reader_or_operator.rule = OrOperator(Action.READ)  # type: ignore[attr-defined]
_require_sender_or_operator.rule = OrOperator(Action.WORK)  # type: ignore[attr-defined]


AuthenticatedCaller = Annotated[Caller, Depends(_token(RateClass.READ))]
UploadingCaller = Annotated[Caller, Depends(_token(RateClass.BULK))]
AuthenticatedPerson = Annotated[LoggedIn, Depends(_require_person)]
ChangingOneself = Annotated[Oneself, Depends(_require_oneself)]
CanRead = Annotated[Acting, Depends(require(Action.READ))]
CanExport = Annotated[Acting, Depends(require(Action.READ, RateClass.BULK))]
CanReadOrOperate = Annotated[Acting | Operating, Depends(_require_reader_or_operator)]
CanOperate = Annotated[Operating, Depends(_require_operator)]
CanSignUp = Annotated[Principal, Depends(_require_operator_of_no_customer)]
CanWork = Annotated[Acting, Depends(require(Action.WORK))]
CanSendOrOperate = Annotated[Acting | Operating, Depends(_require_sender_or_operator)]
CanReport = Annotated[Acting, Depends(require(Action.WORK, RateClass.REPORT))]
CanManage = Annotated[Acting, Depends(require(Action.MANAGE))]
CanAudit = Annotated[Acting, Depends(require(Action.AUDIT))]
CanExportAudit = Annotated[Acting, Depends(require(Action.AUDIT, RateClass.BULK))]
