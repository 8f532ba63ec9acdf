"""`upstream ingest preview`: what would come of a file, before anything is loaded. Not here: loading it (uploads.py)."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from upstream_pipelines.claims.mapping import ClaimMapping
from upstream_pipelines.cli.output import (
    Json,
    err,
    out,
    print_fields,
    print_json,
    print_table,
    short_command_settings,
)
from upstream_pipelines.customers.configuration import CustomerConfiguration, read_configuration_file
from upstream_pipelines.customers.store import get_customer
from upstream_pipelines.db.engine import connect
from upstream_pipelines.db.migrate import prepare
from upstream_pipelines.errors import ConfigurationError, FileRefusedError

app = typer.Typer(help="What a file is, before it is loaded.", no_args_is_help=True)


_HIDDEN = "(not shown)"
_WHY_HIDDEN = (
    "A header is shown where it is made of words that head columns of claims files; any other may be a patient's name, or a claim "
    "where the file has no header row. Look at that column in the file; a mapping may name it as the file does."
)


@app.command("preview")
def preview(
    file: Annotated[Path, typer.Argument(help="A CSV file, or an X12 835 remittance; packed or not.")],
    *,
    customer: Annotated[
        str | None, typer.Option(help="Read it under this customer's mapping; without it no database is needed.")
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option(help="Try this YAML file, over the customer's mapping where one is given.")
    ] = None,
    write_mapping: Annotated[
        Path | None, typer.Option(help="Write a YAML file to correct, for `upstream customers configure`.")
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="How many rows to read.")] = 100_000,
    json: Json = False,
) -> None:
    """Show what was detected, which column is which field and the first problems. Loads nothing, shows no value."""
    from upstream_pipelines.ingest import preview as reading

    chosen = _mapping(customer, mapping)
    if not file.is_file():
        raise ConfigurationError(f"{file} is not a file. Give the path of a CSV file or a remittance.")
    try:
        with file.open("rb") as stream:
            told = reading.preview(stream, chosen, datetime.now(UTC).date(), most_rows=rows)
    except PermissionError:
        raise ConfigurationError(f"{file} may not be read by this account. Give it the right to.") from None
    if write_mapping is not None:
        _write(write_mapping, reading.mapping_file(told, chosen))
    if json:
        shown = {name: value for name, value in vars(told).items() if name != "opened"}
        print_json(
            shown
            | {"columns": [asdict(column) for column in told.columns]}
            | {"problems": [asdict(problem) for problem in told.problems]}
        )
    else:
        _print(told)
        if write_mapping is not None:
            out.print(f"Mapping written to {write_mapping}: correct it there.")
    if told.refusal is not None:
        if not json:
            err.print("[bold red]this file would be refused[/]: ", end="")
            err.print(told.refusal, markup=False)
        raise typer.Exit(FileRefusedError.exit_code)


def _mapping(slug: str | None, file: Path | None) -> ClaimMapping:
    present = CustomerConfiguration()
    if slug is not None:
        settings = short_command_settings()
        prepare(settings)
        with connect(settings, "upstream_pipeline") as conn:
            present = get_customer(conn, slug).configuration
    return read_configuration_file(file, present).stored.mapping if file is not None else present.mapping


def _write(path: Path, content: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as target:
            target.write(content)
    except FileExistsError:
        raise ConfigurationError(f"{path} is there already. Give another name, or remove it first.") from None
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be written ({type(error).__name__}). Give a file in a folder of yours."
        ) from None


def _print(told: Any) -> None:
    facts = {name.replace("_", " "): value for name, value in told.detected.items() if not isinstance(value, dict)}
    facts = {
        name: ", ".join(map(str, value)) if isinstance(value, list) else value for name, value in facts.items()
    }
    facts.pop("unused columns", None)
    counts = {"rows read": told.rows, "accepted": told.accepted, "rejected": told.rejected}
    print_fields("Detected", {"format": told.source, **facts})
    if told.columns:
        print_table(
            "Columns",
            ("column", "header", "field"),
            (
                (column.place, column.header if column.shown else _HIDDEN, column.field or "not used")
                for column in told.columns
            ),
        )
        if not all(column.shown for column in told.columns):
            out.print(_WHY_HIDDEN)
    if told.missing:
        out.print(f"Required fields without a column: {', '.join(told.missing)}")
    if told.rows:
        print_fields("Rows" if told.whole else "Rows (the first)", counts)
    if told.rules:
        print_table("Rules that rows fail", ("rule", "rows"), told.rules.items())
    if told.problems:
        print_table(
            "First problems",
            ("row", "field", "rule", "grade", "reason"),
            (
                (problem.row, problem.field, problem.rule, problem.severity, problem.reason)
                for problem in told.problems
            ),
        )
