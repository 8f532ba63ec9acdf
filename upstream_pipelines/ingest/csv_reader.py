"""Reads a CSV stream of any size into blocks of raw rows: encoding, delimiter, header, ragged rows.

Not here: what the cells mean (claims/normalise.py), where the file lies (landing.py). Memory is bounded
by the block: nothing seeks, nothing is read twice.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from upstream_pipelines.claims.dates import tell_date_order
from upstream_pipelines.claims.fields import fields_of_kind
from upstream_pipelines.claims.headers import HeaderMatch, describe_headers, match_headers, require_fields
from upstream_pipelines.claims.mapping import ClaimMapping, DateOrder
from upstream_pipelines.claims.raw_block import RawBlock, RowNumbers
from upstream_pipelines.errors import FileRefusedError
from upstream_pipelines.ingest.text_stream import Utf8Stream, open_text

# One row must fit into one block of arrow: 1 MiB is some 10,000 claim lines. Arrow reads 32 blocks ahead, so
# this is also what bounds memory (4 MiB blocks held 140 MB of a file of 400 MB).
_BLOCK_BYTES = 1024 * 1024
_NO_TEXTS = pa.array([], pa.string())
_DELIMITERS = (",", ";", "\t", "|")
# Exports put a title, a filter and an empty line above the header, seldom more.
_HEADER_ROWS = 10


@dataclass(frozen=True)
class _Header:
    delimiter: str
    headers: list[str]
    match: HeaderMatch
    skipped_rows: int
    data_offset: int


@dataclass(frozen=True)
class _Part:
    batch: pa.RecordBatch | None
    numbers: RowNumbers
    ragged: RowNumbers


class CsvFile:
    """An opened CSV file: `detected` tells what it is, `blocks` gives its rows once."""

    def __init__(self, text: Utf8Stream, header: _Header, mapping: ClaimMapping) -> None:
        self._text = text
        self._delimiter = header.delimiter
        # Columns are numbered: headers may repeat. All are read, also those of no field (see _swallowed).
        self._names = {f"c{position}": field for field, position in header.match.positions.items()}
        self._ragged: list[int] = []
        self._batches = self._open(header)
        # The first block decides the order of day and month for the whole file, whatever size of
        # block the caller asks for; a later block cannot contradict it half-way through.
        self._first = self._next_batch()
        self._date_order = mapping.date_order or self._tell_date_order()
        self._facts: dict[str, Any] = {
            "delimiter": header.delimiter,
            "skipped_rows_above_header": header.skipped_rows,
            "date_order": self._date_order,
            **describe_headers(header.match, header.headers),
        }

    @property
    def detected(self) -> dict[str, Any]:
        """Encoding, delimiter, header → field, unused columns, order of dates: names only, JSON-able."""
        return {"encoding": self._text.encoding, **self._facts}

    def blocks(self, rows: int = 50_000) -> Iterator[RawBlock]:
        """The rows in order, once, at most `rows` in a block's frame.

        Raises:
            FileRefusedError: a row is larger than 1 MiB or the text cannot be decoded; nothing of the
                file may be kept, since what follows is unknown.
        """
        held: list[_Part] = []
        for part in self._parts():
            held.append(part)
            if sum(len(each.numbers) + len(each.ragged) for each in held) >= rows:
                yield from self._cut(held, rows)
                held = []
        if held:
            yield from self._cut(held, rows)

    def _parts(self) -> Iterator[_Part]:
        """Arrow's blocks with the numbers of their rows. Arrow tells of a ragged row before or with its block."""
        number, batch = 1, self._first
        self._first = None
        while batch is not None:
            bad, self._ragged = np.sort(np.array(self._ragged, dtype=np.int64)), []
            numbers, later = _numbers(number, batch.num_rows, bad)
            swallowed = self._swallowed(batch)
            yield _Part(
                batch.filter(pa.array(~swallowed)) if swallowed.any() else batch,
                numbers[~swallowed],
                np.sort(np.concatenate([bad[~later], numbers[swallowed]])),
            )
            self._ragged[:0] = bad[later].tolist()
            number += batch.num_rows + int((~later).sum())
            batch = self._next_batch()
        if self._ragged:
            yield _Part(None, np.array([], dtype=np.int64), np.sort(np.array(self._ragged, dtype=np.int64)))

    def _swallowed(self, batch: pa.RecordBatch) -> npt.NDArray[np.bool_]:
        """Rows in which a stray quote took whole rows into one cell.

        Such a row can have the right number of cells: its first from one claim, its last from another,
        and the claims between are gone. The cell then holds a line break and as many delimiters as a row.
        """
        found = np.zeros(batch.num_rows, dtype=bool)
        if not self._text.quoted:
            return found
        for column in batch.columns:
            broken = pc.match_substring_regex(column, r"[\r\n]")
            if pc.any(broken).as_py():
                whole = pc.greater_equal(pc.count_substring(column, self._delimiter), batch.num_columns - 1)
                found |= pc.and_(broken, whole).to_numpy(zero_copy_only=False)
        return found

    def _cut(self, parts: list[_Part], rows: int) -> Iterator[RawBlock]:
        batches = [part.batch for part in parts if part.batch is not None]
        table = pa.Table.from_batches(batches) if batches else pa.table(dict.fromkeys(self._names, _NO_TEXTS))
        numbers = np.concatenate([part.numbers for part in parts])
        ragged = np.concatenate([part.ragged for part in parts])
        for start in range(0, max(table.num_rows, 1), rows):
            mine = numbers[start : start + rows]
            last = start + rows >= table.num_rows
            lost = ragged if last else ragged[ragged < mine[-1]]
            ragged = ragged[len(lost) :]
            yield RawBlock(self._frame(table.slice(start, rows)), mine, lost, self._date_order)

    def _frame(self, table: pa.Table) -> pd.DataFrame:
        renamed = table.select(list(self._names)).rename_columns(list(self._names.values()))
        frame: pd.DataFrame = renamed.to_pandas(types_mapper=pd.ArrowDtype)
        return frame

    def _open(self, header: _Header) -> arrow_csv.CSVStreamingReader | None:
        names = [f"c{position}" for position in range(len(header.headers))]
        try:
            return arrow_csv.open_csv(
                pa.PythonFile(self._text, mode="r"),
                # One thread: only then are the numbers of ragged rows known. Two cores gain nothing anyway,
                # since judging takes several times as long as parsing.
                read_options=arrow_csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES, column_names=names),
                parse_options=arrow_csv.ParseOptions(
                    delimiter=header.delimiter, newlines_in_values=True, invalid_row_handler=self._note_ragged
                ),
                convert_options=arrow_csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()),
                    strings_can_be_null=False,
                ),
            )
        except pa.ArrowInvalid:
            raise _unreadable(0) from None

    def _note_ragged(self, row: arrow_csv.InvalidRow) -> str:
        self._ragged.append(row.number)
        return "skip"

    def _next_batch(self) -> pa.RecordBatch | None:
        if self._batches is None:
            return None
        try:
            return self._batches.read_next_batch()
        except StopIteration:
            return None
        except pa.ArrowInvalid:
            # Arrow's own message quotes the row.
            raise _unreadable(max(self._ragged, default=0)) from None

    def _tell_date_order(self) -> DateOrder | None:
        if self._first is None:
            return None
        return tell_date_order(
            [self._first.column(name) for name, field in self._names.items() if field in fields_of_kind("date")]
        )


def open_csv(stream: BinaryIO, mapping: ClaimMapping) -> CsvFile:
    """Open a CSV file for reading; the stream need not seek.

    Raises:
        FileRefusedError: it is empty, not a text file, has no recognisable header, lacks a required
            column or has a header and nothing else. The message says what to do.
    """
    text, sample = open_text(stream, mapping.encoding)
    header = _find_header(sample, mapping)
    require_fields(header.match, header.headers, mapping)
    text.skip(header.data_offset)
    if text.ended and not sample[header.data_offset :].strip():
        raise FileRefusedError(
            "The file has a header row and no claims. Check the export's filter; if there was nothing to send, "
            "send no file."
        )
    return CsvFile(text, header, mapping)


def _find_header(sample: str, mapping: ClaimMapping) -> _Header:
    """The row and the delimiter that recognise the most fields; among equals the earliest, widest row."""
    delimiters = (mapping.delimiter,) if mapping.delimiter else _DELIMITERS
    best: tuple[tuple[int, int, int], _Header] | None = None
    for delimiter in delimiters:
        lines = io.StringIO(sample, newline="")
        offsets = [0]
        reader = csv.reader(_counted(lines, offsets), delimiter=delimiter)
        seen = 0
        try:
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    continue
                headers = [cell.strip() for cell in cells]
                match = match_headers(headers, mapping)
                rank = (len(match.positions) + len(match.ambiguous), -seen, len(headers))
                if best is None or rank > best[0]:
                    best = (rank, _Header(delimiter, headers, match, seen, offsets[-1]))
                seen += 1
                if seen == _HEADER_ROWS:
                    break
        except csv.Error:
            continue  # a cell of more than 131,072 characters: under this delimiter there is no header here
    if best is None:
        raise FileRefusedError(
            "No header row was found in the first 256 KiB. Export the file as CSV with a header row."
        )
    return best[1]


def _counted(lines: io.StringIO, offsets: list[int]) -> Iterator[str]:
    for line in lines:
        offsets.append(offsets[-1] + len(line))
        yield line


def _numbers(first: int, count: int, bad: RowNumbers) -> tuple[RowNumbers, Any]:
    """Numbers of the next `count` good rows from `first` on, around the ragged ones, and which of those come later."""
    good_before = bad - first - np.arange(bad.size)
    numbers = first + np.arange(count) + np.searchsorted(good_before, np.arange(count), side="right")
    return numbers.astype(np.int64), good_before >= count


def _unreadable(near: int) -> FileRefusedError:
    return FileRefusedError(
        "The rows cannot be told apart"
        + (f" after data row {near}" if near else "")
        + ": a row is larger than 1 MiB, most often because a quote is opened and never closed. "
        "Correct the quoting and send the file again."
    )
