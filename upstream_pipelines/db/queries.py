"""Loads SQL: each domain package keeps named statements in `queries.sql`, each migration its own in a file beside it.

A statement starts with `-- name: some_name`; the comment lines below it say what it is for and
which index serves it. Not here: any SQL.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, LiteralString

_NAME = re.compile(r"^-- name: ([a-z][a-z0-9_]*)\s*$", re.MULTILINE)


class Queries:
    """The named statements of one package, as attributes typed `LiteralString`."""

    def __init__(self, package: str, statements: dict[str, LiteralString]) -> None:
        self._package = package
        self._statements = statements

    def __getattr__(self, name: str) -> LiteralString:
        try:
            return self._statements[name]
        except KeyError:
            raise AttributeError(f"no query named {name!r} in {self._package}/queries.sql") from None

    def names(self) -> list[str]:
        """Names of all statements."""
        return sorted(self._statements)


@cache
def load_queries(package: str) -> Queries:
    """Read `queries.sql` of a package, given as its dotted name (`__package__`)."""
    text = files(package).joinpath("queries.sql").read_text(encoding="utf-8")
    parts = _NAME.split(text)
    names, bodies = parts[1::2], parts[2::2]
    if len(set(names)) != len(names):
        raise ValueError(f"{package}/queries.sql names a statement twice")
    # The text comes from a file of this package, never from input: that is what LiteralString asks for.
    statements: dict[str, Any] = {name: body.strip() for name, body in zip(names, bodies, strict=True)}
    return Queries(package, statements)


def execute_beside(migration: str) -> None:
    """Run the statements of a migration (its `__file__`), which stand in the .sql file beside it, to be read as SQL."""
    from alembic import op

    statements = Path(migration).with_suffix(".sql").read_text(encoding="utf-8")
    # The driver itself: SQLAlchemy always passes parameters, and then a % in the SQL is a placeholder.
    op.get_bind().connection.cursor().execute(statements)
