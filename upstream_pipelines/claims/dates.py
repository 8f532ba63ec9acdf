"""Reads columns of dates in the many ways they are written. Not here: which dates are plausible (quality/)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from upstream_pipelines.claims.mapping import DateOrder

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

# Days that systems write for "none": never seen as the day of a claim. Year 9999 as a whole is one of them.
_SENTINELS = (0, 10101, 10000101, 18991230, 19000101)
_FIRST_YEAR = 1970

GOOD, BAD_FORM, UNKNOWN_ORDER = 0, 1, 2
#: Of twenty dates that tell the order, at most one may contradict it (a slip of the keyboard).
_AGREEMENT = 20

_Ints = npt.NDArray[np.int64]


def parse_dates(texts: pa.StringArray, order: DateOrder | None) -> tuple[pa.Date32Array, npt.NDArray[np.int8]]:
    """Type dates, null where missing or unreadable, with a verdict each: GOOD, BAD_FORM or UNKNOWN_ORDER.

    texts: trimmed, null where missing. Sentinel dates (0001-01-01, 1000-01-01, 1900-01-01, year 9999,
    all zeros) become null and are GOOD. Years before 1970 and of two digits are BAD_FORM.
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
    days = pa.array((starts + day - 1).astype(np.int32), mask=~real).cast(pa.date32())
    present = texts.is_valid().to_numpy(zero_copy_only=False)
    verdict = np.where(present & ~real & ~sentinel, BAD_FORM, GOOD).astype(np.int8)
    verdict[unknown & ~sentinel] = UNKNOWN_ORDER
    return days, verdict


def tell_date_order(columns: Sequence[Any]) -> DateOrder | None:
    """Order of day and month in date columns as sent (arrow string arrays); None where it cannot be told.

    Told by days above 12. Columns of one file are taken together: a file has one source.
    """
    day_first = month_first = 0
    for column in columns:
        texts = pc.utf8_trim_whitespace(pc.unique(column))
        found, (first, second, _) = _extract(texts, _YEAR_LAST, "aby")
        day_first += int((found & (first > 12) & (first <= 31) & (second <= 12)).sum())
        month_first += int((found & (second > 12) & (second <= 31) & (first <= 12)).sum())
    if day_first > _AGREEMENT * month_first:
        return "DMY"
    if month_first > _AGREEMENT * day_first:
        return "MDY"
    return None


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
