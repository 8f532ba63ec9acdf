"""A customer's three aggregate frames as arrays, and when each fact became known.

Belongs here: reading the frames, known days, lateness. Not here: what a look counts of them (counts.py), statistics.

Pandas is imported by the functions that read frames: the second process of looks (second_process.py) is handed facts, and would
take twice as long to begin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from upstream_pipelines.errors import UpstreamError

if TYPE_CHECKING:
    import pandas as pd

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

WATCHED_PAYERS = 500  # 1.5 MB of a look each (605 days by 122 ages, five times, in 32 bits); a file with claim numbers as payers has tens of thousands
COUNTED_GROUPS = (
    40  # CPT groups whose lines are counted each by itself, at 20 kB a payer; a customer may name thousands
)
SCATTER_DAYS = 28  # the days within which prices scatter around one mean (prices.py)
UNDECIDED = -1
NEVER = np.iinfo(np.int64).max
EPOCH = 719163  # date(1970, 1, 1).toordinal()


class DayError(UpstreamError):
    """What was given as a day is missing or is none."""

    code = "day"


@dataclass(frozen=True)
class Facts:
    """One customer's whole history as arrays, a value per row of the frames; days count from 1970-01-01.

    Rows stand in the order in which they became known, then by their keys: what a look may see of them is a prefix,
    and the same prefix in the same order whatever was loaded since. Undecided rows have age -1. `price_level` is the mean
    over a row's lines of the logarithm of the allowed amount, `price_total` and `price_squares` are their sums of it and
    of its square, as exact as the mean; `price_precision` is the root of its lines. A `cell` is a payer's stratum of prices, or code: those
    that there are, by payer and then by name, numbered from 0 (500 payers and 8,000 codes could have four million, and have few).
    `price_on` is the payer within its day, the days before the payers; `price_block` the cell within its `SCATTER_DAYS` days, the
    blocks before the cells. All four are of the rows alone, and would cost a look an eighth of its time. `code_cell_payer` has
    a value a cell. `unwatched` payers are not in any of these (see `_watched`).
    """

    payers: list[str]
    unwatched: int
    groups: list[str]
    payer: Ints
    group: Ints
    submitted: Ints
    age: Ints
    submitted_known: Ints
    decision_known: Ints
    submission_lateness: Ints
    decision_lateness: Ints
    lines: Floats
    denied: Floats
    denied_authorization: Floats
    billed: Floats
    allowed: Floats
    price_cells: int
    price_payer: Ints
    price_stratum: Ints
    price_code: Ints
    price_day: Ints
    price_known: Ints
    price_lines: Floats
    price_level: Floats
    price_total: Floats
    price_squares: Floats
    price_allowed: Floats
    price_cell: Ints
    price_precision: Floats
    price_on: Ints
    price_block: Ints
    code_names: list[str]
    code_payer: Ints
    code_code: Ints
    code_day: Ints
    code_known: Ints
    code_lines: Floats
    code_cell: Ints
    code_cell_payer: Ints


Columns = Mapping[str, Any]
"""The columns of a frame as arrays: texts as objects or a list, days as datetime64, numbers; an age is -1 where nothing was decided."""


def facts_from_frames(
    activity: pd.DataFrame | Columns, prices: pd.DataFrame | Columns, codes: pd.DataFrame | Columns
) -> Facts:
    """The frames of `activity_from_claims` as arrays, or the same three read from the database as columns: to make frames of a
    small customer's few thousand rows costs as much as a look at them.
    """
    import pandas as pd

    activity, prices, codes = (
        _columns_of(one) if isinstance(one, pd.DataFrame) else one for one in (activity, prices, codes)
    )
    (activity, prices, codes), unwatched = _watched([activity, prices, codes])
    of_payer = [_coded(columns["payer"]) for columns in (activity, prices, codes)]
    payers = sorted({name for _, names in of_payer for name in names})
    price_code, code_code, modifiers = _coded(prices["cpt"]), _coded(codes["cpt"]), _coded(prices["modifiers"])
    code_names = sorted({*price_code[1], *code_code[1]})
    groups, group_names = _numbered(*_counted_groups(activity))
    # A code is priced by its modifiers: the technical component of an image costs another sum than the whole.
    width = max(len(modifiers[1]), 1)
    pairs, stratum = np.unique(price_code[0] * width + modifiers[0], return_inverse=True)
    strata, stratum_names = _numbered(
        stratum, [f"{price_code[1][pair // width]} {modifiers[1][pair % width]}" for pair in pairs.tolist()]
    )
    columns: dict[str, Any] = {
        "payer": _positions(payers, of_payer[0]),
        "group": groups,
        "submitted": _day_numbers(activity["submitted_day"]),
        "age": np.asarray(activity["decision_age"], dtype=np.int64),
        "submitted_known": _day_numbers(activity["submitted_known_day"]),
        "decision_known": _day_numbers(activity["decision_known_day"], missing=NEVER),
        **{
            name: _numbers(activity[name])
            for name in ("lines", "denied", "denied_authorization", "billed", "allowed")
        },
    }
    columns |= _lateness(**{name: columns[name] for name in _TIMES})
    priced: dict[str, Any] = {
        "price_payer": _positions(payers, of_payer[1]),
        "price_stratum": strata,
        "price_code": _positions(code_names, price_code),
        "price_day": _day_numbers(prices["decided_day"]),
        "price_known": _day_numbers(prices["decision_known_day"]),
        "price_lines": _numbers(prices["lines"]),
        "price_level": _numbers(prices["sum_log_allowed"]) / _numbers(prices["lines"]),
        "price_allowed": _numbers(prices["allowed"]),
    }
    spread = _numbers(prices["sum_log_allowed_sq"]) / priced["price_lines"]
    # Not the sums given: those of a look are sums of lines times means.
    priced["price_total"], priced["price_squares"] = (
        priced["price_lines"] * values for values in (priced["price_level"], spread)
    )
    priced_cells, priced["price_cell"] = _cells(priced["price_payer"], priced["price_stratum"], len(stratum_names))
    priced["price_precision"] = np.sqrt(priced["price_lines"])
    priced["price_block"] = priced["price_day"] // SCATTER_DAYS * len(priced_cells) + priced["price_cell"]
    priced["price_on"] = priced["price_day"] * len(payers) + priced["price_payer"]
    coded: dict[str, Any] = {
        "code_payer": _positions(payers, of_payer[2]),
        "code_code": _positions(code_names, code_code),
        "code_day": _day_numbers(codes["submitted_day"]),
        "code_known": _day_numbers(codes["submitted_known_day"]),
        "code_lines": _numbers(codes["lines"]),
    }
    coded_cells, coded["code_cell"] = _cells(coded["code_payer"], coded["code_code"], len(code_names))
    return Facts(
        payers=payers,
        unwatched=unwatched,
        groups=group_names,
        price_cells=len(priced_cells),
        code_names=code_names,
        code_cell_payer=coded_cells // max(len(code_names), 1),
        **_sorted(columns, ("submitted_known", "decision_known", "payer", "group", "submitted", "age")),
        **_sorted(priced, ("price_known", "price_payer", "price_stratum", "price_day")),
        **_sorted(coded, ("code_known", "code_payer", "code_code", "code_day")),
    )


def _watched(frames: list[Columns]) -> tuple[list[Columns], int]:
    """The rows of the `WATCHED_PAYERS` payers that became known first, and how many payers are left out.

    Of those that became known on one day the ones with the most lines by its end, then by name: whatever is loaded later
    moves no payer out, and a look at a past day watches the same ones.
    """
    payer, names = _coded(frames[0]["payer"])
    if len(names) <= WATCHED_PAYERS:
        return frames, 0
    watched = {names[each] for each in _known_first(frames[0], payer, names)[:WATCHED_PAYERS].tolist()}
    kept: list[Columns] = []
    for columns in frames:
        codes, own = _coded(columns["payer"])
        rows = np.array([name in watched for name in own], dtype=bool)[codes]
        kept.append({name: np.asarray(values)[rows] for name, values in columns.items()})
    return kept, len(names) - WATCHED_PAYERS


def _known_first(activity: Columns, codes: Ints, names: list[str]) -> Ints:
    """The names' numbers in the order of the days on which they became known, then by their lines of that day, the most first."""
    known = _day_numbers(activity["submitted_known_day"])
    first = np.full(len(names), NEVER)
    np.minimum.at(first, codes, known)
    at_first = known == first[codes]
    lines = np.bincount(codes[at_first], _numbers(activity["lines"])[at_first], minlength=len(names))
    return np.lexsort((np.array(names), -lines, first)).astype(np.int64, copy=False)


def _counted_groups(activity: Columns) -> _Coded:
    """The CPT group of each row; those that became known last, beyond `COUNTED_GROUPS`, are one."""
    codes, names = _coded(activity["cpt_group"])
    if len(names) <= COUNTED_GROUPS:
        return codes, names
    order = _known_first(activity, codes, names)
    place = np.empty(len(names), dtype=np.int64)
    place[order] = np.minimum(np.arange(len(names)), COUNTED_GROUPS - 1)
    return place[codes], [names[each] for each in order[:COUNTED_GROUPS].tolist()]


def _cells(payer: Ints, within: Ints, width: int) -> tuple[Ints, Ints]:
    """The pairs that there are, as payer times `width` plus the other, in order; and of each row the number of its pair."""
    pairs, cell = np.unique(payer * max(width, 1) + within, return_inverse=True)
    return pairs, cell.astype(np.int64, copy=False)


TEXTS = frozenset({"payer", "cpt", "modifiers", "cpt_group"})
_TIMES = ("submitted", "age", "submitted_known", "decision_known")


def _sorted(columns: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    order = np.lexsort([columns[name] for name in reversed(keys)])
    return {name: values[order] for name, values in columns.items()}


def _lateness(submitted: Ints, age: Ints, submitted_known: Ints, decision_known: Ints) -> dict[str, Ints]:
    """Days by which a line, and its decision, missed the file it should have been in; -1 where unknowable.

    A weekly file is not late: its lines simply become known together. A fact is late when something became known
    on its day or after it, and it did not: by 1 for a nightly file, which leaves its own day out. Facts older than
    the source's first day came with the first load and say nothing about its habits.
    """
    decided = age != UNDECIDED
    known_days = np.unique(np.concatenate([submitted_known, decision_known[decided]]))

    def late(day: Ints, known: Ints, which: Bools) -> Ints:
        result = np.full(len(day), -1, dtype=np.int64)
        if len(known_days) > 1:
            before = np.searchsorted(known_days, known) - 1
            usable = which & (before >= 0) & (day > known_days[0])
            result[usable] = np.maximum(known_days[before[usable]] - day[usable] + 1, 0)
        return result

    everything = np.ones(len(age), dtype=bool)
    return {
        "submission_lateness": late(submitted, submitted_known, everything),
        "decision_lateness": late(submitted + age, decision_known, decided),
    }


_Coded = tuple[Ints, list[str]]


def _coded(texts: Any) -> _Coded:
    """Each text as a number, and the texts by number: all that follows handles the few distinct ones."""
    import pandas as pd

    codes, names = pd.factorize(np.asarray(texts, dtype=object))
    if (codes < 0).any():
        raise ValueError(
            "A payer, code, group or modifier is missing. Give a text, an empty one where there is none."
        )
    return codes.astype(np.int64), [str(name) for name in names]


def _numbered(codes: Ints, names: list[str]) -> _Coded:
    """The same with the names in order."""
    ordered = sorted(set(names))
    return _positions(ordered, (codes, names)), ordered


def _positions(ordered: list[str], coded: _Coded) -> Ints:
    codes, names = coded
    place = {name: position for position, name in enumerate(ordered)}
    return np.array([place[name] for name in names], dtype=np.int64)[codes]


def _day_numbers(values: Any, missing: int = 0) -> Ints:
    stamps = np.asarray(values).astype("datetime64[D]")
    return np.where(np.isnat(stamps), missing, stamps.astype(np.int64))


def _numbers(values: Any) -> Floats:
    return np.asarray(values, dtype=np.float64)


def _columns_of(frame: pd.DataFrame) -> dict[str, Any]:
    import pandas as pd

    made: dict[str, Any] = {}
    for name in map(str, frame.columns):
        values = frame[name]
        if name in TEXTS:
            made[name] = values.astype("str").to_numpy(dtype=object)
        elif name.endswith("day"):
            days = values if values.dtype.kind == "M" else pd.to_datetime(values)
            made[name] = days.to_numpy(dtype="datetime64[D]")
        else:
            known = values if pd.api.types.is_numeric_dtype(values.dtype) else values.astype("Float64")
            numbers = known.to_numpy(dtype="float64", na_value=np.nan)
            made[name] = np.where(np.isnan(numbers), UNDECIDED, numbers) if name == "decision_age" else numbers
    return made


def day_number(value: Any) -> int:
    """A date, timestamp or ISO text as days since 1970-01-01.

    Raises:
        DayError: it is none of these, or missing. Text of another form is no date: 05/02/2026 has two readings.
    """
    if type(value) is date:
        return value.toordinal() - EPOCH

    import pandas as pd

    try:
        day = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        day = None
    if not isinstance(day, date | np.datetime64) or pd.isna(day):
        raise DayError("A day is missing or is no date. Give a date, a timestamp or ISO text such as 2026-05-01.")
    stamp = pd.Timestamp(day)
    if stamp.tzinfo is not None:
        stamp = stamp.tz_convert("UTC").tz_localize(None)
    return stamp.toordinal() - EPOCH


def day_of(number: int) -> date:
    """The date of so many days since 1970-01-01: the inverse of `day_number`."""
    return date.fromordinal(EPOCH + number)
