"""Parameters that many routes have: bounded texts, pages, and an id that is not there. Not here: what a route asks for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from pydantic import BaseModel, Field

from upstream_pipelines.api.problems import ProblemError
from upstream_pipelines.errors import NotFoundError

# PostgreSQL takes no NUL in a text, and no name or code has a control character.
TEXT = r"^[^\x00-\x1f\x7f]*$"
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=TEXT)]


class Page(BaseModel):
    """Which page of a list, and how long it is."""

    after: str | None = Field(default=None, max_length=200, description="`next` of the page before.")
    limit: int = Field(default=100, ge=1, le=500)


@contextmanager
def named(what: str) -> Iterator[None]:
    """Answers an id that is not the customer's like one that nobody has: 404, in words for callers of the API.

    The domain's own words name the command that lists what there is.
    """
    try:
        yield
    except NotFoundError as error:
        raise ProblemError(404, "not_found", f"There is no such {what} of this customer.") from error
