"""Ids named by their beginning, as people type them. Not here: what is looked for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

from upstream_pipelines.errors import ConflictError, NotFoundError

Row = TypeVar("Row")
_BEGINS = re.compile(r"[0-9a-fA-F-]{1,36}")


def id_pattern(begins: str) -> str | None:
    """For LIKE: ids that begin so, in whichever case; None, which finds nothing, where no id does."""
    return f"{begins.casefold()}%" if _BEGINS.fullmatch(begins) else None


def the_one(found: Sequence[Row], what: str, begins: str, shown_by: str) -> Row:
    """The only row of those found; `what` they are, and the command that lists them.

    Raises:
        NotFoundError: there is none.
        ConflictError: there are more.
    """
    if not found:
        raise NotFoundError(f"There is no {what} {begins!r}. `{shown_by}` shows what a customer has.")
    if len(found) > 1:
        raise ConflictError(f"More than one {what} begins with {begins}. Give more of its id.")
    return found[0]
