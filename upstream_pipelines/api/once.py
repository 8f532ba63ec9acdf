"""Idempotency-Key on every route that changes something: `APIRouter(route_class=OnceRoute)` honours it, no route does it itself.

The route's own function runs as ever; its transaction is held open until its answer is made, which is kept in that same
transaction. Not here: what a kept answer is (customers/idempotency.py), batches of the webhook, whose key is theirs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import wraps
from typing import Annotated, Any, ClassVar, Self, get_args

from fastapi import Header, Request, Response
from pydantic import BaseModel, Field, SecretStr, StringConstraints, TypeAdapter

from upstream_pipelines.api.authentication import Principal
from upstream_pipelines.api.bodies import JsonRoute
from upstream_pipelines.api.problems import documented
from upstream_pipelines.customers.idempotency import FirstAnswer, KeyedRequest, first_answer, hold_key, keep_answer
from upstream_pipelines.db.engine import Connection

READS = frozenset({"GET", "HEAD", "OPTIONS"})
# Of an answer that is given again; the same of a batch of the webhook.
REPLAYED = {"Idempotent-Replayed": "true"}
_REQUEST = "keyed_request"
Key = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[\x21-\x7e]+$")]
IdempotencyKey = Annotated[
    Key | None,
    Header(
        description="Makes it safe to send the request again: for 7 days the same key and request get the first answer, and "
        "nothing is done twice.",
    ),
]


class ShownOnce(BaseModel):
    """An answer with a secret, which is shown in it alone: given again for its Idempotency-Key it has none, and says so."""

    # Which fields those are (`str | None`), and what who lost them does.
    secrets: ClassVar[tuple[str, ...]]
    instead: ClassVar[str]

    not_shown_again: str | None = Field(
        default=None,
        exclude_if=lambda said: said is None,
        description="Only in an answer that is given again for its Idempotency-Key, where the secret is null: what to do.",
    )

    def without_secrets(self) -> Self:
        """As it is kept and given again."""
        return self.model_copy(update={**dict.fromkeys(self.secrets), "not_shown_again": self.instead})


class OnceRoute(JsonRoute):
    """A `JsonRoute` that honours an Idempotency-Key where its method changes something.

    One of the function's parameters is the `Principal`. It changes things by `Principal.transaction` alone;
    of the headers that it sets `Location` is kept.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        if set(options.get("methods") or {"GET"}) - READS:
            endpoint = _honouring(endpoint, options.get("status_code") or 200)
            options["responses"] = documented(409, 422) | (options.get("responses") or {})
        super().__init__(path, endpoint, **options)


class _AnsweredBeforeError(Exception):
    """Another request with the key was answered between the look for one and the act."""

    def __init__(self, first: FirstAnswer) -> None:
        super().__init__()
        self.first = first


class _HeldTransaction:
    """The transaction of one keyed request, from the route's first use of it until its answer is kept."""

    def __init__(self, asked: KeyedRequest, stack: ExitStack) -> None:
        self._asked = asked
        self._stack = stack
        self._conn: Connection | None = None

    @contextmanager
    def transaction(self, principal: Principal) -> Iterator[Connection]:
        """Opened with the key held, and not closed by the route: an error inside takes back what was done there."""
        if self._conn is None:
            conn = self._stack.enter_context(principal.own_transaction())
            first = hold_key(conn, self._asked)
            if first is not None:
                raise _AnsweredBeforeError(first)
            self._conn = conn
        with self._conn.transaction():
            yield self._conn

    def keep(self, answer: FirstAnswer) -> None:
        """Keep the answer; what was done is committed with it when the stack is left."""
        # A route that answers without having done anything in its transaction has nothing that could be done twice.
        if self._conn is not None:
            keep_answer(self._conn, self._asked, answer)


def _honouring(endpoint: Callable[..., Any], status: int) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(endpoint):
        raise TypeError(f"{endpoint.__name__}: a transaction is held in one thread, so the route is no coroutine.")
    signature = inspect.signature(endpoint, eval_str=True)
    parameters = signature.parameters
    (who,) = [name for name, one in parameters.items() if _is(one.annotation, Principal)]
    # FastAPI gives the request to one parameter alone.
    own_request = next((name for name, one in parameters.items() if _is(one.annotation, Request)), None)
    own_response = next((name for name, one in parameters.items() if _is(one.annotation, Response)), None)
    has_secret = any(_takes_a_secret(one.annotation) for one in parameters.values())
    answers: TypeAdapter[Any] = TypeAdapter(signature.return_annotation)

    @wraps(endpoint)
    def once(*, idempotency_key: str | None, **arguments: Any) -> Any:
        keyed_request = arguments[own_request] if own_request is not None else arguments.pop(_REQUEST)
        if idempotency_key is None:
            return endpoint(**arguments)
        principal: Principal = arguments[who]
        asked = KeyedRequest.of(
            principal.customer_id,
            principal.person_id,
            idempotency_key,
            _request(keyed_request),
            has_secret=has_secret,
        )
        # Before the route's own work: a password that was changed does not fit a second time.
        with principal.own_transaction() as conn:
            first = first_answer(conn, asked)
        if first is not None:
            return _response(first, REPLAYED)
        try:
            with ExitStack() as stack:
                held = _HeldTransaction(asked, stack)
                value = answers.validate_python(
                    endpoint(**{**arguments, who: replace(principal, held=held)}), from_attributes=True
                )
                location = arguments[own_response].headers.get("location") if own_response is not None else None
                kept = value.without_secrets() if isinstance(value, ShownOnce) else value
                held.keep(_answer(answers, kept, status, location))
        except _AnsweredBeforeError as other:
            return _response(other.first, REPLAYED)
        return _response(_answer(answers, value, status, location))

    # FastAPI reads from it what to ask the request for.
    once.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[
            *parameters.values(),
            *(
                []
                if own_request
                else [inspect.Parameter(_REQUEST, inspect.Parameter.KEYWORD_ONLY, annotation=Request)]
            ),
            inspect.Parameter(
                "idempotency_key", inspect.Parameter.KEYWORD_ONLY, annotation=IdempotencyKey, default=None
            ),
        ]
    )
    # What the structural test reads.
    once.honours_key = True  # type: ignore[attr-defined]
    return once


def _is(annotation: Any, base: type) -> bool:
    """Whether it is that class or one below it, alone or as `Annotated[...]` and `... | None` have it."""
    return (isinstance(annotation, type) and issubclass(annotation, base)) or any(
        _is(one, base) for one in get_args(annotation)
    )


def _takes_a_secret(annotation: Any) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return any(_is(field.annotation, SecretStr) for field in annotation.model_fields.values())
    return any(_takes_a_secret(one) for one in get_args(annotation))


def _request(request: Request) -> bytes:
    """What makes it the same request: method, address and body."""
    body: bytes = request.state.body
    return f"{request.method} {request.url.path}?{request.url.query}\n".encode() + body


def _answer(answers: TypeAdapter[Any], value: Any, status: int, location: str | None) -> FirstAnswer:
    body = None if status == 204 else answers.dump_json(value, by_alias=True).decode()
    return FirstAnswer(status, body, location)


def _response(first: FirstAnswer, headers: Mapping[str, str] | None = None) -> Response:
    told = {"Location": first.location} if first.location is not None else {}
    return Response(
        first.answer, status_code=first.status, headers={**told, **(headers or {})},
        media_type=None if first.answer is None else "application/json",
    )  # fmt: skip
