"""Rows as sent, by claim field, before any cell is read: what both readers give. Not here: reading files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from upstream_pipelines.claims.mapping import DateOrder

RowNumbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RawBlock:
    """Some rows of one upload.

    frame: a column a claim field, arrow strings, cells as sent; a field without a column is absent.
    row_numbers: number of each row of `frame`: 1 is the first row below the header, blank lines are
        not counted, a row with line breaks inside quotes counts once.
    ragged: numbers of the rows with too many or too few cells; they are not in `frame`.
    date_order: order of day and month in the whole upload, None where it cannot be told.
    """

    frame: pd.DataFrame
    row_numbers: RowNumbers
    ragged: RowNumbers
    date_order: DateOrder | None


class ClaimSource(Protocol):
    """What a loader needs from a reader: facts about the input (no values), then its rows."""

    @property
    def detected(self) -> dict[str, Any]:
        """JSON-able facts for people: encoding, delimiter, which header is which field. Header names only."""

    def blocks(self, rows: int = 50_000) -> Iterator[RawBlock]:
        """The rows in order, once, at most `rows` at a time."""
