"""CSV that people open: no cell is a formula, also where a spreadsheet cuts at other signs than commas."""

from __future__ import annotations

import ast
import csv
import io
from decimal import Decimal
from pathlib import Path

import pytest

import upstream_pipelines
from upstream_pipelines.csv_lines import CsvLines


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Aetna", "Aetna,-1,,2.50"), ("A;B", "A;B,-1,,2.50"), ("A-B", "A-B,-1,,2.50"), ("x;=1+1", '"x;=1+1",-1,"",2.50'),
        ("x; @SUM(A1)", '"x; @SUM(A1)",-1,"",2.50'), ("x\t+1", '"x\t+1",-1,"",2.50'), ("x\n-1", '"x\n-1",-1,"",2.50'),
        ("x;\uff1d1", '"x;\uff1d1",-1,"",2.50'), ("=1+1", '"\'=1+1",-1,"",2.50'),
    ],
)  # fmt: skip
def test_a_text_that_is_or_hides_a_formula_stands_in_quotes(text: str, line: str) -> None:
    written = io.StringIO(newline="")
    CsvLines(written).write((text, -1, None, Decimal("2.50")))
    assert written.getvalue() == f"{line}\r\n"
    ((cell, *_),) = csv.reader(io.StringIO(written.getvalue(), newline=""))
    assert cell.removeprefix("'") == text


def test_everything_that_writes_csv_for_people_writes_it_so() -> None:
    """The demo writes files of claims, and an export is for programs: PostgreSQL writes it."""
    package = Path(upstream_pipelines.__file__).parent
    writers = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and (ast.unparse(node) in {"csv.writer", "csv.DictWriter"} or node.attr == "to_csv")
    }
    assert writers == {"csv_lines.py", "demo/story.py"}
