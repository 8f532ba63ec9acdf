"""Finds where a CSV file's claims begin: the delimiter, the header row, what stands above it.

Not here: which header is which field (claims/headers.py), reading the rows (csv_reader.py).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace

from upstream_pipelines.claims.headers import HeaderMatch, match_headers
from upstream_pipelines.claims.mapping import ClaimMapping
from upstream_pipelines.errors import FileRefusedError

_DELIMITERS = (",", ";", "\t", "|")
# Exports put a title, a filter and an empty line above the header, seldom more.
_HEADER_ROWS = 10
# So many rows below the header say whether all of them end with one delimiter more, or less, than it.
_ROWS_BELOW = 20


@dataclass(frozen=True)
class Header:
    """Where the claims begin, and under which names.

    cells: the header row as sent; the numbers of the columns ("1", "2", ...) where the file has none. skipped_rows: rows
    above it. line: its line in the file, 0 where it has none. data_offset: characters before the first claim.
    """

    delimiter: str
    cells: list[str]
    match: HeaderMatch
    skipped_rows: int
    line: int
    data_offset: int


def find_header(sample: str, mapping: ClaimMapping, *, whole: bool) -> Header:
    """The row and the delimiter that recognise the most fields; among equals the earliest, widest row.

    sample: the file's first text. whole: whether it is all of it, so that its last row is complete.

    Raises:
        FileRefusedError: there is no row at all.
    """
    delimiters = (mapping.delimiter,) if mapping.delimiter else _DELIMITERS
    if mapping.no_header:
        return _without_header(sample, mapping, delimiters)
    best: tuple[tuple[int, int, int], Header] | None = None
    for delimiter in delimiters:
        for seen, row in enumerate(_rows(sample, delimiter, _HEADER_ROWS)):
            match = match_headers([cell.strip() for cell in row.cells], mapping)
            rank = (len(match.positions) + len(match.ambiguous), -seen, len(row.cells))
            if best is None or rank > best[0]:
                best = (rank, Header(delimiter, row.cells, match, seen, row.line, row.end))
    if best is None:
        raise FileRefusedError(
            "No header row was found in the first 256 KiB. Export the file as CSV with a header row.",
            code="columns_not_found",
        )
    return _as_wide_as_its_rows(best[1], sample, whole=whole)


def _without_header(sample: str, mapping: ClaimMapping, delimiters: tuple[str, ...]) -> Header:
    """The delimiter under which the most of the first rows have as many cells as the first."""
    widths = {}
    for delimiter in delimiters:
        found = [len(row.cells) for row in _rows(sample, delimiter, _HEADER_ROWS)]
        widths[delimiter] = found or [0]
    delimiter, found = max(
        widths.items(), key=lambda item: (item[1][0] > 1, item[1].count(item[1][0]), item[1][0])
    )
    names = [str(place) for place in range(1, found[0] + 1)]
    return Header(delimiter, names, match_headers(names, mapping), 0, 0, 0)


def _as_wide_as_its_rows(header: Header, sample: str, *, whole: bool) -> Header:
    """Some exports end each row with a delimiter, but not the header, or the header only."""
    below = list(_rows(sample[header.data_offset :], header.delimiter, _ROWS_BELOW + 1))
    if not whole and len(below) <= _ROWS_BELOW:
        below = below[:-1]
    width = len(header.cells)
    if below and all(len(row.cells) == width + 1 and not row.cells[-1].strip() for row in below):
        return replace(header, cells=[*header.cells, ""])
    if below and not header.cells[-1].strip() and all(len(row.cells) == width - 1 for row in below):
        return replace(header, cells=header.cells[:-1])
    return header


@dataclass(frozen=True)
class _Row:
    cells: list[str]
    line: int
    end: int


def _rows(sample: str, delimiter: str, most: int) -> Iterator[_Row]:
    """The first rows that have a cell with something in it, their first lines and where each ends, in characters."""
    ends = [0]
    reader = csv.reader(_counted(io.StringIO(sample, newline=""), ends), delimiter=delimiter)
    found = 0
    while found < most:
        line = len(ends)
        try:
            cells = next(reader, None)
        except csv.Error:
            return  # a cell of more than 131,072 characters: under this delimiter there is nothing to find here
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            found += 1
            yield _Row(cells, line, ends[-1])


def _counted(lines: io.StringIO, ends: list[int]) -> Iterator[str]:
    for line in lines:
        ends.append(ends[-1] + len(line))
        yield line
