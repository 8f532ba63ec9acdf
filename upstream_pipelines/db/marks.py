"""Pages of rows, and their marks: where in an order a page ended, as a text that a client hands back.

Not here: the order, which each query has with the comparison that goes on from a mark.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from datetime import date, datetime
from typing import Any, TypeVar

from upstream_pipelines.errors import InvalidInputError

Row = TypeVar("Row")


def page_of(
    rows: list[Row], limit: int, order: Callable[[Row], tuple[object, ...]]
) -> tuple[list[Row], str | None]:
    """The page of a query that asked for one row more than `limit`, and the mark of its last row, None at the end.

    `order` gives the values by which rows are ordered.
    """
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], mark_of(*order(rows[limit - 1]))


def mark_of(*values: object) -> str:
    """The mark of the values by which the last row of a page is ordered: days, instants, ids, whole numbers."""
    parts = (value.isoformat() if isinstance(value, date) else str(value) for value in values)
    return base64.urlsafe_b64encode(" ".join(parts).encode()).decode().rstrip("=")


def read_mark(mark: str, *kinds: Callable[[str], Any]) -> tuple[Any, ...]:
    """The values again, each read as its kind, such as `date.fromisoformat` or `UUID`.

    Raises:
        InvalidInputError: it is no mark of such a page; an instant without its zone is none either.
    """
    values: tuple[Any, ...] | None
    try:
        parts = base64.urlsafe_b64decode(mark.encode() + b"=" * (-len(mark) % 4)).decode().split(" ")
        values = tuple(kind(part) for kind, part in zip(kinds, parts, strict=True))
    except (ValueError, binascii.Error):
        values = None
    if values is None or any(isinstance(value, datetime) and value.tzinfo is None for value in values):
        raise InvalidInputError("This is no mark of a page. Take the one that the page before was answered with.")
    return values
