"""`upstream drift explain, lines`: an event explained, computed again, and the claim lines behind it.

Not here: looks (drift.py), what people say of events (drift_events.py).
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from upstream_pipelines.cli.new_file import new_file
from upstream_pipelines.cli.operator import audited
from upstream_pipelines.cli.output import (
    Json,
    out,
    print_fields,
    print_json,
    print_table,
    progress,
    short_command_settings,
)
from upstream_pipelines.csv_lines import CsvLines
from upstream_pipelines.customers.store import get_customer
from upstream_pipelines.db.engine import connect
from upstream_pipelines.db.migrate import prepare
from upstream_pipelines.errors import ConflictError

Slug = Annotated[str, typer.Argument(help="The customer's slug.")]
Event = Annotated[str, typer.Argument(help="The event's id, or the beginning of it.")]


def explain(
    slug: Slug,
    event: Event,
    *,
    recompute: Annotated[
        bool, typer.Option("--recompute", help="Compute the day it opened again, and say what differs.")
    ] = False,
    json: Json = False,
) -> None:
    """What an event is, where it comes from and what it costs; with --recompute, whether it comes out the same."""
    from upstream_pipelines.drift.explaining import find_event
    from upstream_pipelines.drift.explanation import facts_of, sentences_of
    from upstream_pipelines.drift.recompute import recompute as compute_again

    settings = short_command_settings()
    prepare(settings)
    with connect(settings, "upstream_pipeline") as conn:
        customer_id = get_customer(conn, slug).customer_id
        stored = find_event(conn, customer_id, event, slug=slug)
        with progress("Computing …", quiet=json):
            again = compute_again(conn, customer_id, stored) if recompute else None
    if json:
        document: dict[str, Any] = {
            "event": vars(stored.event),
            "row": stored.row,
            "opened_with": vars(stored.opened_with),
        }
        if again is not None:
            document["recomputed"] = {
                "as_of": again.as_of, "same": not again.differences, "row": again.row,
                "differences": {path: list(pair) for path, pair in again.differences.items()},
            }  # fmt: skip
        print_json(document)
    else:
        for sentence in sentences_of(stored.row):
            out.print(sentence, markup=False)
        print_fields(f"Event {stored.event.event_id}", dict(facts_of(stored.row)))
        _print_sources(stored.row["detail"].get("explanation"))
        out.print(f"The claim lines behind it: `upstream drift lines {slug} {str(stored.event.event_id)[:8]}`.")
    if again is None:
        return
    if again.differences:
        raise ConflictError(
            f"Computed again as of {again.as_of} the event differs in {', '.join(sorted(again.differences)[:8])}: "
            "lines known then were corrected since, or payers were renamed. --json has both values."
        )
    if not json:
        out.print(f"Computed again as of {again.as_of}: the same event and explanation.")


def _print_sources(told: Mapping[str, Any] | None) -> None:
    from upstream_pipelines.drift.grounds import DIMENSIONS, PARTS
    from upstream_pipelines.drift.units import part_text

    if told is None:
        return
    unit = told["unit"]
    rows = [("part", PARTS[name], part_text(unit, value)) for name, value in told["parts"].items()]
    rows += [
        (DIMENSIONS[dimension], entry["name"], part_text(unit, entry["total"]))
        for dimension, entries in told["by"].items()
        for entry in entries
    ]
    print_table(
        f"Where a change of {part_text(unit, told['change'])} comes from", ("by", "what", "contributes"), rows
    )


def lines(
    slug: Slug,
    event: Event,
    file: Annotated[
        Path | None, typer.Option("--csv", help="Write them to this new file, for your account only.")
    ] = None,
) -> None:
    """The claim lines behind an event, as CSV: ids and where each came from, no amounts and no names."""
    from upstream_pipelines.drift.explaining import event_lines, find_event

    settings = short_command_settings()
    prepare(settings)
    with connect(settings, "upstream_pipeline") as conn:
        customer = get_customer(conn, slug)
        stored = find_event(conn, customer.customer_id, event, slug=slug)
        note = partial(audited, conn, customer, "claim_lines.exported", ("drift_event", stored.event.event_id))
        with closing(event_lines(conn, customer.customer_id, stored)) as rows:
            if file is None:
                _to_pipe(_noted(note, rows))
                return
            count = _to_file(_noted(note, rows), file)
    out.print(f"{count:,} claim lines written to {file}.")


def _noted(note: Callable[[], None], rows: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The lines, written down before the first one leaves: whoever ends the command has what it told until then."""
    note()
    yield from rows


def _to_pipe(rows: Iterable[Mapping[str, Any]]) -> None:
    try:
        _write(rows, sys.stdout)
        sys.stdout.flush()
    except BrokenPipeError:
        # `head` has what it wanted. What is still in the buffer must go nowhere when Python flushes it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _to_file(rows: Iterable[Mapping[str, Any]], file: Path) -> int:
    with new_file(file) as content, io.TextIOWrapper(content, encoding="utf-8", newline="") as target:
        return _write(rows, target)


def _write(rows: Iterable[Mapping[str, Any]], target: TextIO) -> int:
    from upstream_pipelines.drift.explaining import LINE_COLUMNS

    written = CsvLines(target)
    written.write(LINE_COLUMNS)
    count = 0
    for row in rows:
        written.write(row[name] for name in LINE_COLUMNS)
        count += 1
    return count
