"""Types raw cells as whole columns, with a verdict per row, field and reading rule.

Each column is typed once per distinct value and spread back over the rows: a column of 200,000 dates
holds some hundreds of days. Not here: dates (dates.py), codes
(code_cells.py), the rules on typed values (quality/).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from upstream_pipelines.claims.code_cells import split_modifiers, tidy_code, whole_numbers
from upstream_pipelines.claims.dates import BAD_FORM, UNKNOWN_ORDER, parse_dates
from upstream_pipelines.claims.fields import FIELDS, UNSPECIFIED_CPT, ClaimField, Kind
from upstream_pipelines.claims.mapping import ClaimMapping, DateOrder
from upstream_pipelines.claims.words import MISSING_WORDS, NO_WORDS, OUTCOME_WORDS, YES_WORDS
from upstream_pipelines.visible import visible

Mask = npt.NDArray[np.bool_]

NAMES = frozenset({"payer", "facility"})
"""Fields that stand in messages as they are: marks that turn or hide text are no part of them."""
NUMBERS = frozenset({"claim_id", "authorization_number"})
"""Texts that are numbers as a rule: what a spreadsheet makes of digits is no part of them."""
IDENTITY = frozenset({"claim_id", "cpt"})
"""Without one of these a line is another line: it is rejected where another field would be left empty."""
MONEY = pa.decimal128(14, 2)
UNITS = pa.decimal128(12, 3)
ARROW_TYPES: dict[Kind, pa.DataType] = {
    "text": pa.string(),
    "code": pa.string(),
    "outcome": pa.string(),
    "date": pa.date32(),
    "money": MONEY,
    "integer": pa.int32(),
    "quantity": UNITS,
    "flag": pa.bool_(),
}

_NUMBER = r"^(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,2})?$"
_THOUSANDS = r"^\d{1,3}(?:,\d{3})+(?:\.\d*)?$"
# 1.234,56 and 1234,56: one or two digits after the last comma cannot be thousands.
_DECIMAL_COMMA = r"^(?:\d+|\d{1,3}(?:\.\d{3})+),\d{1,2}$"
# 1.234 and 12.345.678: thousands where the column writes its decimals after a comma, a number with three decimals elsewhere.
_DOTTED = r"^\d{1,3}(?:\.\d{3})+$"
_SURE_COMMA = r",\d{1,2}$"
_SURE_POINT = r"\.\d{1,2}$"
_UNSEEN = r"[\x{FEFF}\x{200B}-\x{200F}\x{2060}\x{00AD}]"
_GUARDED = r"""^(?:="([^"]*)"|'([-+=@\d].*))$"""
_CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"


@dataclass
class TypedBlock:
    """Typed columns of a block, all fields in table order, and what could not be read.

    failures: (reading rule, field, rows). outcome_known: False where the word sent was not known.
    """

    columns: dict[str, pa.Array]
    outcome_known: pa.BooleanArray
    failures: list[tuple[str, str, Mask]] = field(default_factory=list)


def type_block(
    frame: pd.DataFrame, mapping: ClaimMapping, order: DateOrder | None, serial_dates: Collection[str] = ()
) -> TypedBlock:
    """Type the cells of a raw block's frame (columns: claim fields, arrow strings).

    order, serial_dates: how the whole upload writes its dates, see `RawBlock`.
    """
    rows = len(frame)
    typed = TypedBlock({}, pa.array(np.ones(rows, dtype=bool)))
    for name, definition in FIELDS.items():
        if name not in frame.columns:
            typed.columns[name] = pa.nulls(rows, ARROW_TYPES[definition.kind])
            continue
        encoded = _array(frame[name]).dictionary_encode()
        places = encoded.indices
        texts = _clean(encoded.dictionary)

        def spread(values: Any, places: pa.Array = places) -> pa.Array:
            return values.take(places)

        def note(rule: str, bad: Any, name: str = name, spread: Callable[[Any], pa.Array] = spread) -> None:
            if len(bad) and bad.any():
                mask = pc.fill_null(spread(pa.array(bad)), False).to_numpy(zero_copy_only=False)
                typed.failures.append((rule, name, mask))

        values = _type_column(definition, texts, mapping, (order, name in serial_dates), note)
        if name in NAMES:
            values = _clean(_visible_names(values))
        if definition.kind == "outcome":
            typed.outcome_known = pc.fill_null(spread(pc.not_equal(values, "")), True)
            values = pc.if_else(pc.equal(values, ""), "OTHER", values)
        typed.columns[name] = spread(values)
    typed.columns["cpt"], typed.columns["modifiers"] = split_modifiers(
        typed.columns["cpt"], typed.columns["modifiers"]
    )
    if mapping.no_cpt:
        typed.columns["cpt"] = pc.fill_null(typed.columns["cpt"], UNSPECIFIED_CPT)
    return typed


def _type_column(
    definition: ClaimField,
    texts: pa.StringArray,
    mapping: ClaimMapping,
    dates: tuple[DateOrder | None, bool],
    note: Callable[[str, Mask], None],
) -> pa.Array:
    """Type the distinct values of one column; `note` takes a reading rule and the values that fail it."""
    if definition.kind == "date":
        days, verdict = parse_dates(texts, dates[0], serial=dates[1])
        note("date_form", verdict == BAD_FORM)
        note("date_order_known", verdict == UNKNOWN_ORDER)
        return days
    if definition.kind == "money":
        cents, bad = parse_amounts(texts, digits=14, scale=2)
        note("amount_form", bad)
        negative = _flags(pc.less(cents, pa.scalar(0, MONEY)))
        note("amount_not_negative", negative)
        return pc.if_else(pa.array(~negative), cents, pa.scalar(None, MONEY))
    if definition.kind == "quantity":
        units, bad = parse_amounts(texts, digits=12, scale=3)
        bad |= _flags(pc.less(units, pa.scalar(0, UNITS)))
        note("units_form", bad)
        return pc.if_else(pa.array(~bad), units, pa.scalar(None, UNITS))
    if definition.kind == "integer":
        whole = pc.replace_substring_regex(texts, r"\.0+$", "")
        good = _flags(pc.match_substring_regex(whole, r"^\d{1,9}$"))
        note("line_number_form", _flags(texts.is_valid()) & ~good)
        return pc.if_else(pa.array(good), whole, pa.scalar(None, pa.string())).cast(pa.int32())
    if definition.kind == "flag":
        flags, bad = _parse_flags(texts)
        note("flag_form", bad)
        return flags
    if definition.kind == "code" or definition.name in NUMBERS:
        texts, rounded = whole_numbers(texts)
        note("id_written_in_full" if definition.name in IDENTITY else "code_written_in_full", rounded)
        texts = pc.if_else(pa.array(~rounded), texts, pa.scalar(None, pa.string()))
    bad = _flags(pc.greater(pc.utf8_length(texts), definition.max_length))
    bad |= _flags(pc.match_substring_regex(texts, _CONTROL))
    note("text_form", bad)
    texts = pc.if_else(pa.array(~bad), texts, pa.scalar(None, pa.string()))
    if definition.kind == "outcome":
        return _parse_outcomes(texts, mapping)
    return tidy_code(definition.name, texts) if definition.kind == "code" else texts


def parse_amounts(texts: pa.StringArray, *, digits: int, scale: int) -> tuple[pa.Decimal128Array, Mask]:
    """Amounts as decimal(digits, scale), null where missing or unreadable, and which are unreadable.

    Understood: `$`, USD, thousands separators, a decimal comma (1.000 is a thousand where others of the column have one),
    (1.23), 1.23-, -1.23, 1.5E3. More decimals than `scale` are rounded to the nearest: spreadsheets write
    177.10000000000002.
    """
    negative = np.zeros(len(texts), dtype=bool)
    bare = texts
    # Nearly every file writes plain numbers throughout; the six passes of the other forms take longer than the rest.
    if not pc.all(pc.match_substring_regex(texts, _NUMBER)).as_py():
        bare, negative = _strip_amounts(texts)
    good = _flags(pc.match_substring_regex(bare, _NUMBER))
    numbers = pc.if_else(pa.array(good), bare, "0").cast(pa.float64()).to_numpy(zero_copy_only=False)
    # A double holds every amount below 10^13 to the cent, so scaling and rounding once is exact.
    scaled = np.rint(np.nan_to_num(numbers, posinf=1e300) * 10.0**scale)
    good &= scaled < 10.0**digits
    whole = np.where(good, np.where(negative, -scaled, scaled), 0.0).astype(np.int64)
    return _decimals(whole, ~good, digits, scale), _flags(texts.is_valid()) & ~good


def _strip_amounts(texts: pa.StringArray) -> tuple[pa.StringArray, Mask]:
    """Amounts without signs, currency and separators, and which were negative."""
    # White space of every kind: French spreadsheets part thousands by a narrow one. The minus has a sign of its own.
    bare = pc.replace_substring_regex(pc.utf8_upper(texts), r"US\$|USD|[\s\pZ$]", "")
    bare = pc.replace_substring_regex(bare, "[\u2212\u2013]", "-")
    negative = _flags(pc.match_substring_regex(bare, r"^(?:\(.*\)|-.*|.*-)$"))
    bare = pc.replace_substring_regex(bare, r"^\((.*)\)$", r"\1")
    bare = pc.replace_substring_regex(bare, r"^[+-](.*)$|^(.*)-$", r"\1\2")
    # What one cell leaves open the others of its column tell: 1.000 is a thousand beside 1.234,56, and 1,500 is 1.5.
    if _any(bare, _SURE_COMMA) and not _any(bare, _SURE_POINT):
        dotted = pc.match_substring_regex(bare, _DOTTED)
        bare = pc.if_else(
            dotted,
            pc.replace_substring(bare, ".", ""),
            pc.replace_substring_regex(bare, r"^(\d+),(\d{3})$", r"\1.\2"),
        )
    bare = pc.if_else(pc.match_substring_regex(bare, _THOUSANDS), pc.replace_substring(bare, ",", ""), bare)
    comma = pc.match_substring_regex(bare, _DECIMAL_COMMA)
    swapped = pc.replace_substring(pc.replace_substring(bare, ".", ""), ",", ".")
    return pc.if_else(comma, swapped, bare), negative


def _any(texts: pa.StringArray, pattern: str) -> bool:
    return bool(pc.any(pc.match_substring_regex(texts, pattern)).as_py())


def _decimals(whole: npt.NDArray[np.int64], null: Mask, digits: int, scale: int) -> pa.Decimal128Array:
    """Decimals from counts of their smallest unit: 16 bytes each, low half and sign."""
    words = np.empty((len(whole), 2), dtype="<i8")
    words[:, 0] = whole
    words[:, 1] = whole >> 63
    kind = pa.decimal128(digits, scale)
    array = pa.Array.from_buffers(kind, len(whole), [None, pa.py_buffer(words.tobytes())])
    return pc.if_else(pa.array(null), pa.scalar(None, kind), array)


def _parse_flags(texts: pa.StringArray) -> tuple[pa.BooleanArray, Mask]:
    words = pc.utf8_lower(texts)
    yes = _flags(pc.is_in(words, value_set=pa.array(YES_WORDS)))
    no = _flags(pc.is_in(words, value_set=pa.array(NO_WORDS)))
    return pa.array(yes, mask=~(yes | no)), _flags(texts.is_valid()) & ~yes & ~no


def _parse_outcomes(texts: pa.StringArray, mapping: ClaimMapping) -> pa.StringArray:
    """Outcomes of the words sent; an empty string where the word is not known."""
    words = {**OUTCOME_WORDS, **{_outcome_word(sent): outcome for sent, outcome in mapping.outcomes.items()}}
    bare = pc.utf8_trim_whitespace(pc.replace_substring_regex(pc.utf8_lower(texts), r"[^\pL\pN]+", " "))
    place = pc.index_in(bare, value_set=pa.array(list(words)))
    known = pc.take(pa.array(list(words.values())), place)
    return pc.if_else(texts.is_valid(), pc.fill_null(known, ""), pa.scalar(None, pa.string()))


def _outcome_word(sent: str) -> str:
    bare = pc.replace_substring_regex(pc.utf8_lower(pa.array([sent])), r"[^\pL\pN]+", " ")
    return str(pc.utf8_trim_whitespace(bare)[0].as_py())


def _clean(texts: pa.StringArray) -> pa.StringArray:
    """Trimmed; null for the ways of writing nothing: empty, `~`, N/A, NULL, none, -.

    Taken off is what keeps a spreadsheet from reading digits as a number: `="00100"` and `'00100`.
    """
    # Marks that nobody sees (of byte order, where files were joined; spaces without width) would make another claim of one.
    trimmed = pc.utf8_trim_whitespace(pc.replace_substring_regex(texts, _UNSEEN, ""))
    if pc.any(pc.or_(pc.starts_with(trimmed, '="'), pc.starts_with(trimmed, "'"))).as_py():
        trimmed = pc.utf8_trim_whitespace(pc.replace_substring_regex(trimmed, _GUARDED, r"\1\2"))
    missing = pc.is_in(pc.utf8_lower(trimmed), value_set=pa.array(MISSING_WORDS))
    return pc.if_else(missing, pa.scalar(None, pa.string()), trimmed)


def _visible_names(texts: pa.StringArray) -> pa.StringArray:
    """The names as `visible` leaves them; most files have none that it changes."""
    odd = pc.match_substring_regex(texts, r"[^\x20-\x7e]")
    if not pc.any(odd).as_py():
        return texts
    return pa.array([name and visible(name) for name in texts.to_pylist()], pa.string())


def _array(series: Any) -> pa.Array:
    array = pa.array(series)
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _flags(array: Any) -> Mask:
    """A boolean arrow array as numpy, null as False; writable."""
    flags: Mask = pc.fill_null(array, False).to_numpy(zero_copy_only=False).copy()
    return flags
