"""Lines of CSV that people may open in a spreadsheet: no cell is a formula, nor becomes one where it is cut.

Belongs here: what every CSV of the product is written by. Not here: which columns there are, files for programs (operations/export.py).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from typing import Any, TextIO

from upstream_pipelines.visible import FORMULA_SIGNS, guarded

_SIGNS = "".join(map(re.escape, FORMULA_SIGNS))
# Where a spreadsheet takes semicolons or tabs for separators as well, as LibreOffice does when it is told to, what follows one is a
# cell of its own, unless the text stands in quotes.
_TO_QUOTE = re.compile(rf"^'?[{_SIGNS}]|[;\t\r\n]\s*[{_SIGNS}]")


class CsvLines:
    """Writes rows into a text file. Texts that begin like a formula have an apostrophe before them; in a row with a text that begins
    so, or goes on so after a semicolon, a tab or a line break, all texts stand in quotes.
    """

    def __init__(self, target: TextIO) -> None:
        self._plain = csv.writer(target)
        # By row: Python's writer quotes single cells by their separators alone.
        self._quoted = csv.writer(target, quoting=csv.QUOTE_NONNUMERIC)

    def write(self, cells: Iterable[Any]) -> None:
        """One row: texts, numbers, or None for an empty cell."""
        row = [guarded(cell) if isinstance(cell, str) else cell for cell in cells]
        quoted = any(isinstance(cell, str) and _TO_QUOTE.search(cell) for cell in row)
        (self._quoted if quoted else self._plain).writerow(row)
