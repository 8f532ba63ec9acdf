"""Reads columns of dates in the many ways they are written; tells for a whole file how its dates are written.

Not here: which dates are plausible (quality/).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from upstream_pipelines.claims.mapping import SET_BY, DateOrder
from upstream_pipelines.claims.words import MISSING_WORDS
from upstream_pipelines.errors import FileRefusedError

_TIME = (
    r"(?:[T ]+\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?: ?[AaPp]\.?[Mm]\.?)?(?: ?(?:Z|UTC|GMT|[+-]\d{2}:?\d{2}))?)?$"
)
_ORDINAL = r"(?:st|nd|rd|th|ST|ND|RD|TH)?"
# The time of day and its zone are left out: a date is the day its sender wrote.
_YEAR_FIRST = r"^(?P<y>\d{4})[-/.](?P<m>\d{1,2})[-/.](?P<d>\d{1,2})" + _TIME
_COMPACT = r"^(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})(?:\.0+)?$"
_YEAR_LAST = r"^(?P<a>\d{1,2})[-/.](?P<b>\d{1,2})[-/.](?P<y>\d{4})" + _TIME
_DAY_NAME = rf"^(?P<d>\d{{1,2}}){_ORDINAL}[-/ .]+(?P<m>[A-Za-z]{{3,9}})[-/ .,]+(?P<y>\d{{4}})" + _TIME
_NAME_DAY = rf"^(?P<m>[A-Za-z]{{3,9}})[-/ .]+(?P<d>\d{{1,2}}){_ORDINAL}[-/ .,]+(?P<y>\d{{4}})" + _TIME

_MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
           "november", "december")  # fmt: skip
_MONTH_NAMES = {name: number for number, full in enumerate(_MONTHS, 1) for name in (full, full[:3])} | {"sept": 9}

# Spreadsheets count days; day 1 is 1900-01-01, and the 29 February 1900 that never was has a number too.
_SERIAL = r"^(?P<n>\d{5})(?:\.\d+)?$"
_SERIAL_OF_1970 = 25569

# Days that systems write for "none": never seen as the day of a claim. Year 9999 as a whole is one of them, and what a
# spreadsheet shows for the number 0 (1/0/1900).
_SENTINELS = (0, 10101, 10000101, 17530101, 18991230, 18991231, 19000001, 19000100, 19000101)
_FIRST_YEAR = 1970

GOOD, BAD_FORM, UNKNOWN_ORDER = 0, 1, 2
#: Of twenty dates that tell the order, at most one may contradict it (a slip of the keyboard).
_AGREEMENT = 20

_Ints = npt.NDArray[np.int64]


def parse_dates(
    texts: pa.StringArray, order: DateOrder | None, *, serial: bool = False
) -> tuple[pa.Date32Array, npt.NDArray[np.int8]]:
    """Type dates, null where missing or unreadable, with a verdict each: GOOD, BAD_FORM or UNKNOWN_ORDER.

    texts: trimmed, null where missing. serial: whether five digits are a spreadsheet's number of a day. Sentinel dates
    (0001-01-01, 1000-01-01, 1753-01-01, 1900-01-01, year 9999, all zeros) become null and are GOOD. Years before 1970
    and of two digits are BAD_FORM.
    """
    year, month, day = (np.zeros(len(texts), dtype=np.int64) for _ in range(3))
    matched = np.zeros(len(texts), dtype=bool)
    for pattern in (_YEAR_FIRST, _COMPACT, _DAY_NAME, _NAME_DAY):
        found, parts = _extract(texts, pattern, "ymd")
        for target, part in zip((year, month, day), parts, strict=True):
            target[found] = part[found]
        matched |= found
    found, (first, second, last) = _extract(texts, _YEAR_LAST, "aby")
    day_first = np.full(len(texts), order == "DMY")
    unknown = np.zeros(len(texts), dtype=bool)
    if order not in ("MDY", "DMY"):
        day_first = first > 12
        unknown = found & (first <= 12) & (second <= 12) & (first != second)
    year[found] = last[found]
    month[found] = np.where(day_first, second, first)[found]
    day[found] = np.where(day_first, first, second)[found]
    matched |= found

    sentinel = matched & (np.isin(year * 10000 + month * 100 + day, _SENTINELS) | (year == 9999))
    real = matched & ~sentinel & ~unknown & (year >= _FIRST_YEAR) & (month >= 1) & (month <= 12) & (day >= 1)
    months = np.where(real, (year - 1970) * 12 + month - 1, 0).astype("datetime64[M]")
    starts, ends = (part.astype("datetime64[D]").astype(np.int64) for part in (months, months + 1))
    real &= day <= ends - starts
    numbers = starts + day - 1
    if serial:
        counted, (count,) = _extract(texts, _SERIAL, "n")
        counted &= count >= _SERIAL_OF_1970
        numbers, real = np.where(counted, count - _SERIAL_OF_1970, numbers), real | counted
    days = pa.array(numbers.astype(np.int32), mask=~real).cast(pa.date32())
    present = texts.is_valid().to_numpy(zero_copy_only=False)
    verdict = np.where(present & ~real & ~sentinel, BAD_FORM, GOOD).astype(np.int8)
    verdict[unknown & ~sentinel] = UNKNOWN_ORDER
    return days, verdict


# One 13/02/2026 among the first rows of a file sorted by day turned 84,000 lines around.
_TELLING = 3


class DateForms:
    """How the dates of one upload are written, told from the cells looked at so far.

    All columns are taken together for the order of day and month, since a file has one source; days above 12 tell it.
    """

    def __init__(self) -> None:
        self._day_first = self._month_first = 0
        self._rows = self._open_rows = 0
        self._forms: dict[str, _Forms] = {}

    def look(self, columns: Mapping[str, Any]) -> None:
        """Take further rows into account. columns: the date fields' cells as sent, arrow strings of one length."""
        dated = unclear = np.zeros(0, dtype=bool)
        for name, column in columns.items():
            encoded = _trimmed(column).dictionary_encode()
            texts, places = encoded.dictionary, encoded.indices
            found, (first, second, year) = _extract(texts, _YEAR_LAST, "aby")
            # A program writes its 12/31/9999 whatever the order of its dates, and a spreadsheet 1/0/1900 for a zero.
            found &= (year != 9999) & (year >= _FIRST_YEAR)
            self._day_first += int((found & (first > 12) & (first <= 31) & (second <= 12)).sum())
            self._month_first += int((found & (second > 12) & (second <= 31) & (first <= 12)).sum())
            either = found & (first <= 12) & (second <= 12) & (first != second) & (np.minimum(first, second) > 0)
            serial, _ = _extract(texts, _SERIAL, "n")
            self._forms.setdefault(name, _Forms()).add(len(texts), int(serial.sum()), int(found.sum()))
            here, open_here = (_spread(mask, places) for mask in (np.ones(len(texts), dtype=bool), either))
            dated, unclear = (here, open_here) if not dated.size else (dated | here, unclear | open_here)
        self._rows += int(dated.sum())
        self._open_rows += int(unclear.sum())

    @property
    def order(self) -> DateOrder | None:
        """Order of day and month; None where nothing tells it or the dates contradict each other."""
        if self._day_first > _AGREEMENT * self._month_first:
            return "DMY"
        if self._month_first > _AGREEMENT * self._day_first:
            return "MDY"
        return None

    @property
    def undecided(self) -> bool:
        """Whether further rows could tell: dates can be read either way, and so far none says which, or so few that they may
        be slips of the keyboard.
        """
        return self._open_rows > 0 and max(self._day_first, self._month_first) < _TELLING

    @property
    def serial_fields(self) -> frozenset[str]:
        """Fields whose columns hold numbers of days, as a spreadsheet exports them, and no date that could be turned.

        Where both stand in one column the spreadsheet has read a part of its texts, and often with day and month
        exchanged: those numbers are left unread. Half of the distinct cells: a procedure code in a shifted row has
        five digits as well.
        """
        return frozenset(name for name, forms in self._forms.items() if forms.serial)

    def require_order(self) -> None:
        """Refuse what can be read in two ways as a whole; a few such dates among others cost only their rows.

        Raises:
            FileRefusedError: more than half of the rows with a date have one whose day and month nothing tells apart.
                The message asks which it is and says where to answer.
        """
        if self.order is not None or 2 * self._open_rows <= self._rows:
            return
        why = (
            f"some dates have the day first ({self._day_first} distinct ones) and some the month "
            f"({self._month_first})"
            if self._day_first
            else "no date read has a day above 12"
        )
        raise FileRefusedError(
            f"Does 03/04/2026 mean 4 March or 3 April here? {self._open_rows} of {self._rows} rows can be read "
            f"either way, and {why}. Answer in the customer's mapping: `date_order: MDY` for 4 March, "
            f"`date_order: DMY` for 3 April; then send it again. {SET_BY}",
            code="date_order_unknown",
        )


@dataclass
class _Forms:
    """Counts of the distinct cells of one column, and what they make of it."""

    texts: int = 0
    numbers: int = 0
    year_last: int = 0

    def add(self, texts: int, numbers: int, year_last: int) -> None:
        self.texts, self.numbers = self.texts + texts, self.numbers + numbers
        self.year_last += year_last

    @property
    def serial(self) -> bool:
        return 2 * self.numbers > self.texts and not self.year_last


def _trimmed(column: Any) -> pa.StringArray:
    """Cells as one array, null where they say that there is nothing."""
    texts = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    encoded = texts.dictionary_encode()
    distinct = pc.utf8_trim_whitespace(encoded.dictionary)
    missing = pc.is_in(pc.utf8_lower(distinct), value_set=pa.array(MISSING_WORDS))
    return pc.if_else(missing, pa.scalar(None, pa.string()), distinct).take(encoded.indices)


def _spread(mask: npt.NDArray[np.bool_], places: Any) -> npt.NDArray[np.bool_]:
    flags: npt.NDArray[np.bool_] = pc.fill_null(pa.array(mask).take(places), False).to_numpy(zero_copy_only=False)
    return flags


def _extract(texts: pa.StringArray, pattern: str, names: str) -> tuple[npt.NDArray[np.bool_], list[_Ints]]:
    """Which texts match, and the named parts as integers (0 where there is none)."""
    match = pc.extract_regex(texts, pattern)
    found = match.is_valid().to_numpy(zero_copy_only=False)
    parts = []
    for name in names:
        part = pc.struct_field(match, name)
        if name == "m":
            part = _month_numbers(part)
        # extract_regex gives empty strings under its nulls
        part = pc.if_else(match.is_valid(), part, "0")
        parts.append(pc.fill_null(part, "0").cast(pa.int64()).to_numpy(zero_copy_only=False))
    return found, parts


def _month_numbers(texts: pa.StringArray) -> pa.StringArray:
    """Month names as numbers in text; digits stay, unknown names become 0 (no month)."""
    place = pc.index_in(pc.utf8_lower(texts), value_set=pa.array(list(_MONTH_NAMES)))
    named = pc.take(pa.array([str(number) for number in _MONTH_NAMES.values()]), place)
    digits = pc.if_else(pc.match_substring_regex(texts, r"^\d+$"), texts, "0")
    return pc.coalesce(named, digits)
