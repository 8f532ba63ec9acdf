"""Reads a file as an upload would, and tells what would come of it; nothing is stored.

The readers, the judge and the rules are those of the ingest. Belongs here: what is told, and the mapping file made of it.
Not here: the command (cli/ingest.py), storing (staging.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, BinaryIO

import yaml

from upstream_pipelines.claims.fields import FIELDS, required_fields
from upstream_pipelines.claims.header_words import looks_like_column_name, shown_header, tidy_header
from upstream_pipelines.claims.headers import is_header_row, missing_fields
from upstream_pipelines.claims.judge import Judge, JudgedBlock
from upstream_pipelines.claims.mapping import ClaimMapping
from upstream_pipelines.claims.raw_block import ClaimSource
from upstream_pipelines.errors import FileRefusedError
from upstream_pipelines.ingest.csv_reader import OpenedText, open_beginning, open_rows
from upstream_pipelines.ingest.recognise import HEAD_BYTES, FileSource, source_of
from upstream_pipelines.ingest.remittance_reader import open_remittance
from upstream_pipelines.quality.rules import RULES


@dataclass(frozen=True)
class ColumnUse:
    """A column of the file: its place from 1, its header as far as it may be shown, the field it was taken for. `shown`: whether
    that is the header as the file writes it, and not the column's place, for it may be a person's name.
    """

    place: int
    header: str
    field: str | None
    shown: bool


@dataclass(frozen=True)
class Problem:
    """A rule that a row fails. Never a value of the row."""

    row: int
    field: str
    rule: str
    severity: str
    reason: str


@dataclass
class Preview:
    """What would come of a file.

    detected: as the upload would keep it. missing: required fields without a column. refusal: why the file would not be
    loaded and what to do, None where it would be. rows, accepted, rejected: of the rows looked at; whole: whether these
    are all. rules: rule → failing rows. problems: the first by row number.
    """

    source: FileSource
    detected: dict[str, Any] = field(default_factory=dict)
    columns: list[ColumnUse] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    refusal: str | None = None
    rows: int = 0
    accepted: int = 0
    rejected: int = 0
    whole: bool = True
    rules: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    opened: OpenedText | None = None


def preview(
    stream: BinaryIO, mapping: ClaimMapping, today: date, *, most_rows: int, most_problems: int = 20
) -> Preview:
    """Read the first `most_rows` rows of a file under a mapping; the stream must be able to seek.

    A refusal is part of the answer, not raised.
    """
    told = Preview(source_of(stream.read(HEAD_BYTES)))
    stream.seek(0)
    try:
        if told.source == "csv":
            told.opened = open_beginning(stream, mapping)
            _tell_columns(told, told.opened, mapping)
            read: ClaimSource = open_rows(told.opened, mapping)
        else:
            read = open_remittance(stream, today)
        told.detected = read.detected
        _judge(told, read, Judge(mapping, today), most_rows, most_problems)
        told.detected = read.detected
    except FileRefusedError as refusal:
        told.refusal = str(refusal)
    return told


def _tell_columns(told: Preview, opened: OpenedText, mapping: ClaimMapping) -> None:
    told.detected = opened.facts
    fields = {place: name for name, place in opened.header.match.positions.items()}
    for place, header in enumerate(opened.header.cells):
        tidy = tidy_header(header)
        shown = place in fields or not tidy or looks_like_column_name(header)
        name = (tidy or "(none)") if shown else shown_header(header, place)
        told.columns.append(ColumnUse(place + 1, name, fields.get(place), shown))
    told.missing = missing_fields(opened.header.match, mapping)


def _judge(told: Preview, read: ClaimSource, judge: Judge, most_rows: int, most_problems: int) -> None:
    size = min(most_rows, 50_000)
    for block in read.blocks(size):
        _note_rejections(told, judge.judge(block), most_problems)
        counters = judge.counters()
        told.rows, told.accepted, told.rejected = counters.rows, counters.accepted, counters.rejected
        if told.rows >= most_rows:
            told.whole = False
            break
    findings = judge.findings()
    for found in findings[findings["failing_rows"] > 0].to_dict("records"):
        told.rules[found["rule"]] = found["failing_rows"]
        if found["severity"] == "warning":
            told.problems.extend(
                Problem(row, found["field"], found["rule"], "warning", RULES[found["rule"]].reason)
                for row in found["sample_row_numbers"]
            )
    told.problems = sorted(told.problems, key=lambda problem: (problem.row, problem.rule))[:most_problems]


def _note_rejections(told: Preview, judged: JudgedBlock, most: int) -> None:
    """The first rejections; what is no claim line is counted under `rules` and is no problem."""
    if len(told.problems) < most:
        wrong = judged.rejected[judged.rejected["rule"] != "claim_line"].sort_values(["source_row_number", "rule"])
        told.problems.extend(
            Problem(row["source_row_number"], row["field"], row["rule"], "error", row["reason"])
            for row in wrong.head(most - len(told.problems)).to_dict("records")
        )


def mapping_file(told: Preview, mapping: ClaimMapping) -> str:
    """A YAML file for `upstream customers configure`: what was recognised, and by comments what is missing or open.

    Raises:
        FileRefusedError: the file is a remittance, or nothing of it could be read; neither has columns to map.
    """
    if told.opened is None:
        raise FileRefusedError(
            told.refusal
            if told.source == "csv" and told.refusal
            else "The file is a remittance (X12 835). It has no columns, so there is no mapping to write."
        )
    lines = [
        "# Made by `upstream ingest preview`. Correct it, try it with `upstream ingest preview FILE --mapping THIS_FILE`,",
        "# and keep it with `upstream customers configure SLUG --file THIS_FILE`. All keys: docs/guide/configuration.md.",
        *_columns(told, told.opened, mapping),
        "",
        *_date_order(told, mapping),
        "",
        "# Detected by itself; to be written only where that goes wrong.",
        f"# delimiter: {_yaml(told.opened.header.delimiter)}",
        f"# encoding: {told.opened.text.encoding.removesuffix(' with BOM').removesuffix('-le').removesuffix('-be')}",
    ]
    return "\n".join(lines) + "\n"


def _columns(told: Preview, opened: OpenedText, mapping: ClaimMapping) -> list[str]:
    named = {column.field: column.header for column in told.columns if column.field}
    required = required_fields(no_cpt=mapping.no_cpt)
    headed = is_header_row(opened.header.match, opened.header.cells)
    if mapping.no_header or not headed:
        named = named if mapping.no_header else {}  # a cell that says "paid" is no header
        lines = [
            "",
            f"# The file has no header row that is known: number its {len(told.columns)} columns from 1.",
            "no_header: true" if mapping.no_header else "# no_header: true",
        ]
    else:
        unused = [
            f"{column.place} ({column.header if column.shown else 'header not shown'})"
            for column in told.columns
            if column.field is None
        ]
        lines = ["", f"# Columns that are not used: {', '.join(unused) or 'none'}."]
    if mapping.no_cpt:
        lines.append("no_cpt: true")
    elif "cpt" in told.missing:
        lines.append("# no_cpt: true  # if the source has no procedure codes")
    lines.append("# Claim field: header of its column. Lines without the # count.")
    lines.append("columns:" if named else "# columns:")
    for name in FIELDS:
        if name in named:
            lines.append(f"  {_yaml({name: _as_written(named[name], mapping)})}")
        elif name in required:
            lines.append(f"#  {name}:  # required: no column was recognised")
        else:
            lines.append(f"#  {name}:")
    return lines


def _as_written(header: str, mapping: ClaimMapping) -> str | int:
    return int(header) if mapping.no_header else header


def _date_order(told: Preview, mapping: ClaimMapping) -> list[str]:
    order = mapping.date_order or told.detected.get("date_order")
    if order:
        return ["# Order of day and month in dates of digits, as the file tells it.", f"date_order: {order}"]
    return [
        "# Order of day and month in dates of digits, for where the dates themselves do not tell it. MDY if 03/04/2026 is 4 March, DMY if 3 April.",
        "# date_order: MDY",
    ]


def _yaml(value: str | Mapping[str, Any]) -> str:
    """One line of YAML."""
    written = yaml.safe_dump(value, allow_unicode=True, width=1000, default_flow_style=False)
    return written.removesuffix("\n...\n").rstrip("\n")
