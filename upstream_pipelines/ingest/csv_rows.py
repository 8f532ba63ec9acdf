"""Tells rows of a CSV file that are no claim lines: empty ones, the header again, totals, and what a quote swallowed.

Whole columns of a block at a time. Not here: reading the file (csv_reader.py), the verdict on claim lines (quality/).
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Mask = npt.NDArray[np.bool_]

# A total by payer stands beside the payer's name, so the word comes first in its row.
_TOTAL = (
    r"(?i)^\W*(?:(?:grand|sub|report|page|overall|file|batch)[\s-]*)?totals?\b|^\W*(?:records?|rows?|claims?|lines?)\s*"
    r"(?:count|total|:)|^\W*(?:count|sum)\b"
)
_NOTE = r"(?i)^\W*(?:page\s*\d|end of|report|generated|printed|exported|run (?:date|on|by)|as of\b)|^[\W_]{3,}$"
_TOTAL_ROW, _NOTE_ROW = re.compile(_TOTAL), re.compile(_NOTE)
_BREAK = re.compile(r"\r\n?|\n")
# Of a total cut short: the word, a sum, a count.
_MOST_CELLS = 3


@dataclass(frozen=True)
class RowShape:
    """What tells a claim line from other rows: the header as sent, and the columns without which there is none.

    columns: names of all columns in order. header: their headers as sent, empty where the file has none. required: names
    of the columns of payer, procedure code, submitted date and outcome; the last two must be there.
    """

    columns: list[str]
    header: list[str]
    submitted: str
    required: list[str]

    def apart(self, batch: pa.RecordBatch) -> tuple[Mask, Mask]:
        """Which rows are empty, and which are the header again or a total."""
        empty, other = (np.zeros(batch.num_rows, dtype=bool) for _ in range(2))
        submitted = batch.column(self.submitted)
        again = self.header[self.columns.index(self.submitted)] if self.header else None
        dateless = _blank(submitted)
        if again:
            dateless = dateless | _flags(pc.equal(pc.utf8_lower(submitted), again.lower()))
        looked_at = np.flatnonzero(dateless)
        if not looked_at.size:
            return empty, other
        rows = batch.take(pa.array(looked_at))
        cells = [_nothing_as_null(column) for column in rows.columns]
        first = pc.coalesce(*cells)
        empty[looked_at] = ~_flags(first.is_valid())
        total = _flags(pc.match_substring_regex(first, _TOTAL)) & _blank(rows.column(self.submitted))
        for name in self.required:
            column = rows.column(name)
            total &= _blank(column) | _flags(pc.match_substring_regex(column, _TOTAL))
        other[looked_at] = total | self._is_header(rows)
        return empty, other

    def _is_header(self, rows: pa.RecordBatch) -> Mask:
        same = np.full(rows.num_rows, bool(self.header))
        for name, header in zip(self.columns, self.header, strict=False):
            cells = pc.utf8_lower(pc.utf8_trim_whitespace(pc.replace_substring(rows.column(name), "\ufeff", "")))
            same &= _flags(pc.equal(cells, header.strip().lower()))
        return same

    def swallowed(self, batch: pa.RecordBatch, delimiter: str) -> npt.NDArray[np.int64]:
        """How many further rows a stray quote took into each row; 0 for nearly all.

        Such a row can have the right number of cells: its first from one claim, its last from another, and the claims
        between are gone. The cell then holds line breaks and as many delimiters as rows.
        """
        within = np.zeros(batch.num_rows, dtype=np.int64)
        for column in batch.columns:
            broken = pc.match_substring_regex(column, r"[\r\n]")
            if pc.any(broken).as_py():
                lines = pc.count_substring_regex(column, r"\r\n?|\n")
                rows = pc.divide(pc.count_substring(column, delimiter), max(batch.num_columns - 1, 1))
                within += pc.min_element_wise(lines, rows).to_numpy(zero_copy_only=False)
        return within

    def rows_within(self, text: str, delimiter: str) -> int:
        """How many further rows stand inside the quotes of a row of the wrong width."""
        if not _BREAK.search(text):
            return 0
        try:
            cells = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
        except csv.Error:
            cells = [text]  # a cell of more than 131,072 characters
        wide = max(len(self.columns) - 1, 1)
        return sum(min(len(_BREAK.findall(cell)), cell.count(delimiter) // wide) for cell in cells)


def is_blank(text: str, delimiter: str) -> bool:
    """Whether a row of the wrong width has nothing in it."""
    return not text.replace(delimiter, "").replace('"', "").strip()


def is_note(text: str, delimiter: str) -> bool:
    """Whether a row of the wrong width is a total or a note below the claims, told by its first words and its emptiness."""
    cells = [cell.strip(' "\r\n\t') for cell in text.split(delimiter)]
    filled = [cell for cell in cells if cell]
    if not 0 < len(filled) <= _MOST_CELLS:
        return False
    return bool(_TOTAL_ROW.search(filled[0]) or (len(filled) == 1 and _NOTE_ROW.search(filled[0])))


def _blank(column: Any) -> Mask:
    return _flags(pc.equal(pc.utf8_trim_whitespace(column), ""))


def _nothing_as_null(column: Any) -> Any:
    return pc.if_else(pc.equal(pc.utf8_trim_whitespace(column), ""), pa.scalar(None, pa.string()), column)


def _flags(array: Any) -> Mask:
    flags: Mask = pc.fill_null(array, False).to_numpy(zero_copy_only=False)
    return flags
