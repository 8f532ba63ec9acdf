"""Rows as sent, by claim field, before any cell is read: what both readers give. Not here: reading files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from upstream_pipelines.claims.mapping import DateOrder

RowNumbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RawBlock:
    """Some rows of one upload.

    frame: a column a claim field, arrow strings, cells as sent; a field without a column is absent.
    row_numbers: number of each row of `frame`: 1 is the first row below the header, blank lines are
        not counted, a row with line breaks inside quotes counts once, one with whole rows inside them as all of these. A row of empty cells has a number and is no row:
        it is in none of the three.
    ragged: numbers of the rows with too many or too few cells, or inside the quotes of another; they are not in `frame`.
    no_lines: numbers of the rows that are no claim lines (a header again, a total, a note); not in `frame` either.
    date_order: order of day and month in the whole upload, None where it cannot be told.
    serial_dates: date fields whose cells are a spreadsheet's numbers of days.
    noted: rule → field and the rows of `frame` that fail it, for rules that only the reader can tell.
    beside: columns that the claim line has not, for the table `received_lines`, with a value a row of `frame`.
    """

    frame: pd.DataFrame
    row_numbers: RowNumbers
    ragged: RowNumbers
    date_order: DateOrder | None
    noted: Mapping[str, tuple[str, npt.NDArray[np.bool_]]] = field(default_factory=dict)
    beside: Mapping[str, pa.Array] = field(default_factory=dict)
    no_lines: RowNumbers = field(default_factory=lambda: np.array([], dtype=np.int64))
    serial_dates: frozenset[str] = frozenset()

    @property
    def apart(self) -> Mapping[str, RowNumbers]:
        """Numbers of the rows that are not in `frame`, by the rule that they fail."""
        return {"row_shape": self.ragged, "claim_line": self.no_lines}


class ClaimSource(Protocol):
    """What a loader needs from a reader: facts about the input (no values), then its rows."""

    @property
    def detected(self) -> dict[str, Any]:
        """JSON-able facts for people: encoding, delimiter, which header is which field. Header names only."""

    def blocks(self, rows: int = 65_000) -> Iterator[RawBlock]:
        """The rows in order, once, at most `rows` at a time."""
