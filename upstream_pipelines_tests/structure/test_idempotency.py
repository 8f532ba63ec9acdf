"""Each route that changes something honours an Idempotency-Key, or stands here with the reason why it does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any, get_args, get_type_hints

from fastapi.routing import RouteContext, iter_route_contexts
from pydantic import BaseModel

from upstream_pipelines.api.app import create_app
from upstream_pipelines.api.once import READS, ShownOnce
from upstream_pipelines.settings import Settings

WITHOUT = {
    "POST /api/v1/auth/login": "nobody is known yet; a second log-in is another one",
    "POST /api/v1/auth/refresh": "a refresh token that comes twice ends the log-in: it may be a thief's",
    "POST /api/v1/auth/logout": "said again it is a 401, and the log-in has ended",
    "POST /api/v1/auth/password": "nobody is logged in; its token is good once",
    "POST /api/v1/customers/{slug}/uploads": "its own (api/uploads.py): a file is not held in memory to be compared",
    "DELETE /api/v1/customers/{slug}/membership": "who has left is told nothing of the customer, not even that",
    "POST /api/v1/ingest/webhook/": "a batch has its own (ingest/inbox.py): the key leads to the upload",
    "POST /api/v1/ingest/webhook": "the same",
    "POST /api/v1/uploads/": "the same as that of people",
    "POST /api/v1/uploads": "the same",
}
# Names of what is shown once, or is somebody's to know alone.
_SECRETS = ("token", "secret", "password")


def _changing() -> Iterator[tuple[str, RouteContext]]:
    for route in iter_route_contexts(create_app(Settings()).routes):
        for method in sorted((route.methods or set()) - READS):
            yield f"{method} {route.path}", route


def test_each_route_that_changes_something_honours_the_key_or_has_a_reason() -> None:
    seen = set()
    for name, route in _changing():
        seen.add(name)
        honours = getattr(route.endpoint, "honours_key", False)
        assert honours != (name in WITHOUT), f"{name}: APIRouter(route_class=OnceRoute)"
    assert set(WITHOUT) <= seen


def test_an_answer_with_a_secret_is_one_that_is_given_again_without() -> None:
    shown = set()
    for name, route in _changing():
        if not getattr(route.endpoint, "honours_key", False):
            continue
        model = get_type_hints(route.endpoint)["return"]
        found = set(_secrets(model))
        if found:
            assert issubclass(model, ShownOnce), name
            assert found <= set(model.secrets), name
            shown.add(model)
    assert len(shown) >= 3


def _secrets(kind: Any) -> Iterator[str]:
    """Fields of a model or dataclass, or one inside it, by whose names they are texts that nobody else may have."""
    if isinstance(kind, type) and (issubclass(kind, BaseModel) or is_dataclass(kind)):
        for name, annotation in get_type_hints(kind).items():
            if any(name == word or name.endswith(f"_{word}") for word in _SECRETS):
                yield name
            yield from _secrets(annotation)
    for inner in get_args(kind):
        yield from _secrets(inner)
