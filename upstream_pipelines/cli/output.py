"""How the command speaks: tables and progress for people, JSON for machines, errors with what to do next.

Not here: what is said.
"""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from upstream_pipelines.settings import Settings, read_settings
from upstream_pipelines.visible import visible

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]

err = Console(stderr=True, highlight=False)
# A pipe or a log has no width of its own; 80 columns would fold every table. Names come from customers' files: "[/ppo]"
# in one is no markup, and ":x:" no picture.
out = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 140)


_SHORT = 9  # characters


def short_command_settings(log_level: str = "WARNING") -> Settings:
    """Settings for a command that ends: its log is for trouble only, unless UPSTREAM_LOG_LEVEL says otherwise."""
    os.environ.setdefault("UPSTREAM_LOG_LEVEL", log_level)
    return read_settings()


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(value, default=_plain, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    match value:
        case uuid.UUID():
            return str(value)
        case datetime() | date():
            return value.isoformat()
        case Decimal():
            return float(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def print_table(title: str, headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table for people; None as a dash, numbers with thousands separators, instants in UTC, a `Text` in its own colours."""
    table = Table(title=Text(title, style="bold"), title_justify="left")
    cells = [[value if isinstance(value, Text) else Text(_shown(value)) for value in row] for row in rows]
    for number, header in enumerate(headers):
        # Where the table is too wide it is the long texts that are folded, not the ids, days and figures.
        short = all(len(row[number]) <= _SHORT for row in cells)
        table.add_column(header, overflow="fold", no_wrap=short)
    for row in cells:
        table.add_row(*row)
    out.print(table)


def _shown(value: Any) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.4g}"
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%d %H:%MZ")
        case list():
            return ", ".join(_shown(str(part)) for part in value)
        case _:
            return visible(str(value))


def print_fields(title: str, fields: Mapping[str, Any]) -> None:
    """Names and values under each other."""
    table = Table(title=Text(title, style="bold"), title_justify="left", show_header=False)
    for name, value in fields.items():
        table.add_row(Text(name), Text(_shown(value)))
    out.print(table)


@contextmanager
def progress(text: str, *, quiet: bool) -> Iterator[None]:
    """A spinner on standard error while something runs; nothing where the output is for machines."""
    if quiet or not err.is_terminal:
        yield
        return
    with err.status(Text(text)):
        yield
