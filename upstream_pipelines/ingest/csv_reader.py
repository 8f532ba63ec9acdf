"""Reads a CSV stream of any size into blocks of raw rows: packing, encoding, delimiter, header, ragged rows.

Not here: finding the header (csv_header.py), which rows are none (csv_rows.py), what the cells mean
(claims/normalise.py), where the file lies (landing.py). Memory is bounded by the block: nothing is read twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv as arrow_csv

from upstream_pipelines.claims.dates import DateForms
from upstream_pipelines.claims.fields import fields_of_kind
from upstream_pipelines.claims.headers import describe_headers, require_fields
from upstream_pipelines.claims.mapping import ClaimMapping
from upstream_pipelines.claims.raw_block import RawBlock, RowNumbers
from upstream_pipelines.errors import FileRefusedError
from upstream_pipelines.ingest.csv_header import Header, find_header
from upstream_pipelines.ingest.csv_rows import RowShape, is_blank, is_note
from upstream_pipelines.ingest.text_stream import Utf8Stream, open_text
from upstream_pipelines.ingest.unpack import Packing, unpacked

# One row must fit into one block of arrow: 1 MiB is some 10,000 claim lines. Arrow reads 32 blocks ahead, so
# this is also what bounds memory (4 MiB blocks held 140 MB of a file of 400 MB).
_BLOCK_BYTES = 1024 * 1024
# Blocks held back until a day above 12 tells the order of day and month: a file in order of its dates has 80,000 lines of
# the first days of a month.
_BLOCKS_AHEAD = 8
# A stray quote costs the rows up to the next one. Some are set apart; with more the file is another than was meant.
_MOST_SWALLOWED = 100
# Arrow hands out no block before a good row; each left out is kept by itself until then: 1.5 million took 900 MB and a minute.
_MOST_LEFT_OUT = 100_000
# From which on a block is not added to: 65,000 rows of usual claims are 20 MB.
_MOST_BYTES = 64 * 1024 * 1024
# What a row is that has not as many cells as the header.
_MISSHAPEN, _BLANK, _NOTE = 0, 1, 2
_NO_TEXTS = pa.array([], pa.string())
_NO_CLAIMS = "The file has a header row and no claims. Check the export's filter; if there was nothing to send, send no file."


@dataclass(frozen=True)
class OpenedText:
    """A CSV file of which the beginning was read: what it is, before it is known whether its columns suffice."""

    text: Utf8Stream
    header: Header
    packing: Packing | None
    has_rows: bool

    @property
    def facts(self) -> dict[str, Any]:
        """Encoding, packing, delimiter, header → field, unused columns: JSON-able, no text that may be a patient's."""
        return {
            "encoding": self.text.encoding,
            **({"compression": self.packing} if self.packing else {}),
            "delimiter": self.header.delimiter,
            "header_line": self.header.line or None,
            "skipped_rows_above_header": self.header.skipped_rows,
            **describe_headers(self.header.match, self.header.cells),
        }


@dataclass(frozen=True)
class _Part:
    batch: pa.RecordBatch | None
    numbers: RowNumbers
    ragged: RowNumbers
    no_lines: RowNumbers


class CsvFile:
    """An opened CSV file: `detected` tells what it is, `blocks` gives its rows once."""

    def __init__(self, opened: OpenedText, mapping: ClaimMapping) -> None:
        self._opened, self._text = opened, opened.text
        header = opened.header
        self._delimiter = header.delimiter
        # Columns are numbered: headers may repeat. All are read, also those of no field (see RowShape.swallowed).
        self._names = {f"c{position}": field for field, position in header.match.positions.items()}
        places = {field: name for name, field in self._names.items()}
        self._shape = RowShape(
            columns=[f"c{position}" for position in range(len(header.cells))],
            header=[] if mapping.no_header else header.cells,
            submitted=places["submitted_date"],
            required=[places[field] for field in ("payer", "cpt", "outcome") if field in places],
        )
        # What arrow left out, as it tells of it: number of the row, what it is, how many rows more are in it.
        self._left_out: list[tuple[int, int, int]] = []
        self._unclosed_at = 0
        self._misshapen = False
        self._rows_within = 0
        self._empty = 0
        self._batches = self._open()
        # The order of day and month is decided once for the whole file, whatever size of block the caller asks for.
        self._ahead: deque[pa.RecordBatch] = deque()
        self._forms = self._look_at_dates()
        self._date_order = mapping.date_order or self._forms.order
        if mapping.date_order is None:
            self._forms.require_order()

    @property
    def detected(self) -> dict[str, Any]:
        """What the file is: see `OpenedText.facts`; order of dates, fields with a spreadsheet's dates, empty rows."""
        return {
            **self._opened.facts,
            "date_order": self._date_order,
            **({"spreadsheet_dates": sorted(self._forms.serial_fields)} if self._forms.serial_fields else {}),
            **({"empty_rows": self._empty} if self._empty else {}),
        }

    def blocks(self, rows: int = 65_000) -> Iterator[RawBlock]:
        """The rows in order, once, at most `rows` in a block's frame.

        Raises:
            FileRefusedError: a row is larger than 1 MiB, a quote takes many rows into one, the text cannot be decoded or
                unpacked, or there is no row at all; nothing of the file may be kept, since what follows is unknown.
        """
        held: list[_Part] = []
        total = 0
        for part in self._parts():
            wide = sum(each.batch.nbytes for each in held if each.batch is not None) >= _MOST_BYTES
            # Cut before there are too many: judging a block costs 40 ms beside its rows, a rest of 3,000 as much as a full one.
            if held and (wide or sum(len(each.numbers) + len(each.ragged) for each in (*held, part)) > rows):
                yield from self._cut(held, rows)
                held = []
            held.append(part)
            total += len(part.numbers) + len(part.ragged) + len(part.no_lines)
        if not total:
            raise FileRefusedError(_NO_CLAIMS, code="no_claims")
        if held:
            yield from self._cut(held, rows)

    def _parts(self) -> Iterator[_Part]:
        """Arrow's blocks with the numbers of their rows. Arrow tells of a row it leaves out before or with its block."""
        number, batch = 1, self._next_batch()
        while batch is not None or self._left_out:
            bad = np.array(sorted(self._left_out), dtype=np.int64).reshape(-1, 3)
            good, later = _numbers(number, 0 if batch is None else batch.num_rows, bad[:, 0])
            later &= batch is not None
            bad, self._left_out = bad[~later], [tuple(row) for row in bad[later].tolist()]
            yield self._part(batch, good, bad)
            number += len(good) + len(bad)
            batch = self._next_batch()

    def _part(self, batch: pa.RecordBatch | None, good: RowNumbers, bad: RowNumbers) -> _Part:
        """One of arrow's blocks, its rows parted. good, bad: numbers as arrow counts, and what is known of the bad.

        Numbers count what the file holds: a row in which a quote took others counts as all of them.
        """
        swallowed, within, empty, other = self._tell_apart(batch, good)
        broken = np.concatenate(
            [bad[bad[:, 1] == _MISSHAPEN][:, ::2], np.stack([good, within], axis=1)[swallowed]]
        )
        broken = broken[broken[:, 0].argsort()]
        before = np.concatenate([[0], np.cumsum(broken[:, 1])]) + self._rows_within

        def counted(numbers: RowNumbers) -> RowNumbers:
            shifted: RowNumbers = numbers + before[np.searchsorted(broken[:, 0], numbers)]
            return shifted

        first, sizes = counted(broken[:, 0]), broken[:, 1] + 1
        ragged = np.repeat(first, sizes) + np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        notes = np.concatenate([bad[bad[:, 1] == _NOTE, 0], good[other]])
        out = swallowed | empty | other
        if batch is not None:
            # A column of no field may be the widest of all.
            batch = batch.select(list(self._names))
        part = _Part(
            batch.filter(pa.array(~out)) if batch is not None and out.any() else batch,
            counted(good[~out]),
            ragged,
            counted(np.sort(notes)),
        )
        self._rows_within = int(before[-1])
        self._empty += int(empty.sum()) + int((bad[:, 1] == _BLANK).sum())
        return part

    def _tell_apart(self, batch: pa.RecordBatch | None, numbers: RowNumbers) -> tuple[Any, Any, Any, Any]:
        """Rows that a quote made of several and how many more, empty ones, and the header again or totals."""
        if batch is None:
            none = np.zeros(0, dtype=bool)
            return none, numbers, none, none
        within = np.zeros(batch.num_rows, dtype=np.int64)
        if self._text.quoted:
            within = self._shape.swallowed(batch, self._delimiter)
            if within.max(initial=0) > _MOST_SWALLOWED:
                raise _unclosed(int(numbers[within.argmax()]) + self._rows_within)
        empty, other = self._shape.apart(batch)
        return within > 0, within, empty, other & (within == 0)

    def _cut(self, parts: list[_Part], rows: int) -> Iterator[RawBlock]:
        batches = [part.batch for part in parts if part.batch is not None]
        table = pa.Table.from_batches(batches) if batches else pa.table(dict.fromkeys(self._names, _NO_TEXTS))
        numbers, ragged, no_lines = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("numbers", "ragged", "no_lines")
        )
        for start in range(0, max(table.num_rows, 1), rows):
            mine = numbers[start : start + rows]
            last = start + rows >= table.num_rows
            lost, ragged = _before(ragged, None if last else mine[-1])
            none, no_lines = _before(no_lines, None if last else mine[-1])
            yield RawBlock(
                self._frame(table.slice(start, rows)), mine, lost, self._date_order,
                no_lines=none, serial_dates=self._forms.serial_fields,
            )  # fmt: skip

    def _frame(self, table: pa.Table) -> pd.DataFrame:
        renamed = table.select(list(self._names)).rename_columns(list(self._names.values()))
        frame: pd.DataFrame = renamed.to_pandas(types_mapper=pd.ArrowDtype)
        return frame

    def _open(self) -> arrow_csv.CSVStreamingReader | None:
        names = self._shape.columns
        try:
            return arrow_csv.open_csv(
                pa.PythonFile(self._text, mode="r"),
                # One thread: only then are the numbers of ragged rows known. Two cores gain nothing anyway,
                # since judging takes several times as long as parsing.
                read_options=arrow_csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES, column_names=names),
                parse_options=arrow_csv.ParseOptions(
                    delimiter=self._delimiter, newlines_in_values=True, invalid_row_handler=self._note_left_out
                ),
                convert_options=arrow_csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()),
                    strings_can_be_null=False,
                ),
            )
        except pa.ArrowInvalid:
            raise self._refusal() from None

    def _note_left_out(self, row: arrow_csv.InvalidRow) -> str:
        if len(self._left_out) >= _MOST_LEFT_OUT:
            self._misshapen = True
            return "error"
        within = 0
        if is_blank(row.text, self._delimiter):
            kind = _BLANK
        elif is_note(row.text, self._delimiter):
            kind = _NOTE
        else:
            kind, within = _MISSHAPEN, self._shape.rows_within(row.text, self._delimiter)
        if within > _MOST_SWALLOWED:
            self._unclosed_at = self._unclosed_at or row.number
        self._left_out.append((row.number, kind, within))
        return "skip"

    def _refusal(self) -> FileRefusedError:
        """Why arrow did not go on."""
        if self._misshapen:
            return FileRefusedError(
                f"More than {_MOST_LEFT_OUT:,} rows one after the other have another number of cells than the header's "
                f"{len(self._shape.columns)}. Check delimiter, quoting and the number of columns, and send it again."
            )
        return _unreadable(max(self._left_out, default=(0, 0, 0))[0])

    def _next_batch(self) -> pa.RecordBatch | None:
        return self._ahead.popleft() if self._ahead else self._read_batch()

    def _read_batch(self) -> pa.RecordBatch | None:
        if self._batches is None:
            return None
        try:
            batch = self._batches.read_next_batch()
        except StopIteration:
            batch = None
        except pa.ArrowInvalid:
            # Arrow's own message quotes the row.
            raise self._refusal() from None
        if self._unclosed_at:
            raise _unclosed(self._unclosed_at + self._rows_within)
        return batch

    def _look_at_dates(self) -> DateForms:
        """How the dates are written, told by as many blocks as it takes."""
        forms = DateForms()
        dated = {field: name for name, field in self._names.items() if field in fields_of_kind("date")}
        while len(self._ahead) < _BLOCKS_AHEAD and (batch := self._read_batch()) is not None:
            self._ahead.append(batch)
            forms.look({field: batch.column(name) for field, name in dated.items()})
            if not forms.undecided:
                break
        return forms


def open_beginning(stream: BinaryIO, mapping: ClaimMapping) -> OpenedText:
    """Read the beginning of a CSV file: its packing, encoding, delimiter and header.

    Raises:
        FileRefusedError: it is empty, not a text file, cannot be unpacked, or has no row at all.
    """
    source = unpacked(stream)
    text, sample = open_text(source, mapping.encoding)
    header = find_header(sample, mapping, whole=text.ended)
    text.skip(header.data_offset)
    return OpenedText(text, header, source.packing, not text.ended or bool(sample[header.data_offset :].strip()))


def open_rows(opened: OpenedText, mapping: ClaimMapping) -> CsvFile:
    """Go on to the rows of a file whose beginning was read under the same mapping.

    Raises:
        FileRefusedError: it lacks a required column, has a header and nothing else, or dates that can be read in two ways.
            The message says what to do.
    """
    require_fields(opened.header.match, opened.header.cells, mapping)
    if not opened.has_rows:
        raise FileRefusedError(_NO_CLAIMS, code="no_claims")
    return CsvFile(opened, mapping)


def open_csv(stream: BinaryIO, mapping: ClaimMapping) -> CsvFile:
    """Open a CSV file for reading; the stream need not seek, unless it is a zip archive.

    Raises:
        FileRefusedError: as `open_beginning` and `open_rows`.
    """
    return open_rows(open_beginning(stream, mapping), mapping)


def _numbers(first: int, count: int, bad: RowNumbers) -> tuple[RowNumbers, Any]:
    """Numbers of the next `count` good rows from `first` on, around the ragged ones, and which of those come later."""
    good_before = bad - first - np.arange(bad.size)
    numbers = first + np.arange(count) + np.searchsorted(good_before, np.arange(count), side="right")
    return numbers.astype(np.int64), good_before >= count


def _before(numbers: RowNumbers, last: int | None) -> tuple[RowNumbers, RowNumbers]:
    """Those of rows before this one (all for None), and the others."""
    count = len(numbers) if last is None else int((numbers < last).sum())
    return numbers[:count], numbers[count:]


def _unreadable(near: int) -> FileRefusedError:
    return FileRefusedError(
        "The rows cannot be told apart"
        + (f" after data row {near}" if near else "")
        + ": a row is larger than 1 MiB, most often because a quote is opened and never closed. "
        "Correct the quoting and send the file again.",
        code="quoting_broken",
    )


def _unclosed(near: int) -> FileRefusedError:
    return FileRefusedError(
        f"At data row {near} a quote is opened and not closed: more than {_MOST_SWALLOWED} of the rows below it would be "
        "one cell. Correct the quoting there (double the quotes within a cell) and send the file again.",
        code="quoting_broken",
    )
