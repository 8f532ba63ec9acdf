"""Reads the body of a webhook batch, `{"claims": [{...}, ...]}`, into the same raw blocks as a CSV file.

Not here: storing the body (inbox.py), what the cells mean (claims/normalise.py). Bodies are bounded by
the API (10 MiB by default), so they are read whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from upstream_pipelines.claims.dates import DateForms
from upstream_pipelines.claims.fields import fields_of_kind
from upstream_pipelines.claims.headers import describe_headers, match_headers, require_fields
from upstream_pipelines.claims.mapping import ClaimMapping
from upstream_pipelines.claims.raw_block import RawBlock
from upstream_pipelines.errors import FileRefusedError

MAX_CLAIMS = 100_000
# The body, its list, and a claim with a list of diagnosis codes and one of modifiers.
MAX_CONTAINERS = 2 + 3 * MAX_CLAIMS
# A claim is {"claims": [{"modifiers": ["25"]}]}: four levels. The rest is room for envelopes.
MAX_DEPTH = 8
# Each distinct name is a column of every claim: 500 columns of 100,000 cells are what memory bears.
MAX_NAMES = 500
# What the parser reads at one go, without letting another thread of the process on, is what stands between the ends of two
# objects. At most MAX_DEPTH objects are open there, so more names are more than MAX_NAMES in one of them; values, which are
# also those of lists, are twice as many as there may be claims; lists are far more than a claim has. The worst that is let
# through, a tenth of a second of it at one go: 100,000 claims of two lists, which Python's collector looks at, or 200,000
# numbers in a list. 700,000 names of one claim were a second, and a request of another customer meets that twenty times.
_MOST_NAMES_AT_ONCE = MAX_DEPTH * MAX_NAMES
_MOST_VALUES_AT_ONCE = 2 * MAX_CLAIMS
_MOST_LISTS_AT_ONCE = 10_000
# What JSON is built of, outside of its texts.
_MARKS = np.zeros(256, dtype=bool)
_MARKS[list(b"[]{},:")] = True
_STEPS = np.zeros(256, dtype=np.int8)
_STEPS[list(b"[{")] = 1
_STEPS[list(b"]}")] = -1
# A cell that no field accepts (control character): its row is rejected, with the reason of the field.
_NO_TEXT = "\x00"


class ClaimBatch:
    """A parsed batch: `detected` tells its names, `blocks` gives its claims. Claim 1 is the first of the list."""

    def __init__(self, claims: list[Any], mapping: ClaimMapping) -> None:
        shaped = np.array([isinstance(claim, dict) for claim in claims], dtype=bool)
        objects = [claim for claim in claims if isinstance(claim, dict)]
        names = list(dict.fromkeys(name for claim in objects for name in claim))
        match = match_headers(names, mapping)
        require_fields(match, names, mapping, batch=True)
        numbers = np.arange(1, len(claims) + 1, dtype=np.int64)
        self._numbers, self._ragged = numbers[shaped], numbers[~shaped]
        # As objects, so that pandas neither guesses types nor rounds; absent names become NaN.
        sent = pd.DataFrame(objects, columns=[names[place] for place in match.positions.values()], dtype=object)
        # A body holds at most 100,000 claims and its values have any JSON type: each is written as text once.
        self._table = pa.table(
            {
                field: pa.array(list(map(_cell, sent.iloc[:, place].tolist())), pa.string())
                for place, field in enumerate(match.positions)
            }
        )
        forms = DateForms()
        forms.look({field: self._table[field] for field in match.positions if field in fields_of_kind("date")})
        if mapping.date_order is None:
            forms.require_order()
        self._date_order = mapping.date_order or forms.order
        self._serial_dates = forms.serial_fields
        self._facts: dict[str, Any] = {
            "encoding": "utf-8",
            "format": "json",
            "date_order": self._date_order,
            **describe_headers(match, names),
        }

    @property
    def detected(self) -> dict[str, Any]:
        """Which name is which field, unused names, order of dates: names only, JSON-able."""
        return self._facts

    def blocks(self, rows: int = 65_000) -> Iterator[RawBlock]:
        """The claims in order, at most `rows` in a block's frame; claims that are no objects are ragged."""
        ragged = self._ragged
        for start in range(0, max(len(self._numbers), 1), rows):
            numbers = self._numbers[start : start + rows]
            last = start + rows >= len(self._numbers)
            mine = ragged if last else ragged[ragged < numbers[-1]]
            ragged = ragged[len(mine) :]
            frame: pd.DataFrame = self._table.slice(start, rows).to_pandas(types_mapper=pd.ArrowDtype)
            yield RawBlock(frame, numbers, mine, self._date_order, serial_dates=self._serial_dates)


def check_batch(body: bytes) -> int:
    """Number of claims in a body, before it is accepted.

    Raises:
        FileRefusedError: no JSON, not `{"claims": [...]}`, empty, too deep, or more than 100,000 claims.
    """
    return len(_parse(body))


def read_batch(body: bytes, mapping: ClaimMapping) -> ClaimBatch:
    """Open a batch for reading.

    Raises:
        FileRefusedError: as `check_batch`, or a required field is in no claim. Names only, no values.
    """
    return ClaimBatch(_parse(body), mapping)


def _parse(body: bytes) -> list[Any]:
    _refuse_shape(body)
    try:
        # Numbers stay the text they were sent as: no amount passes through a float, no digit is lost.
        content = json.loads(
            body.decode("utf-8-sig"),
            parse_int=str,
            parse_float=str,
            parse_constant=str,
            object_hook=_let_others_on,
        )
    except UnicodeDecodeError:
        raise FileRefusedError("The body is not UTF-8. Send JSON in UTF-8.") from None
    except json.JSONDecodeError as error:
        raise FileRefusedError(
            f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}. Correct it there."
        ) from None
    claims = content.get("claims") if isinstance(content, Mapping) else None
    if not isinstance(claims, list):
        raise FileRefusedError('The body has no list of claims. Send {"claims": [{...}, ...]}.')
    if not claims:
        raise FileRefusedError("The list of claims is empty. Send at least one claim, or nothing.")
    if len(claims) > MAX_CLAIMS:
        raise FileRefusedError(f"The body holds {len(claims)} claims; at most {MAX_CLAIMS} a batch. Send several.")
    # Ends with the first name that is too many: the union of 800,000 kept other threads waiting for 0.16 s.
    names: set[str] = set()
    for claim in claims:
        if isinstance(claim, dict):
            names.update(claim)
            if len(names) > MAX_NAMES:
                raise FileRefusedError(
                    f"The claims use more than {MAX_NAMES} different names, which is the most. Check the export."
                )
    return claims


def _let_others_on(read: dict[str, Any]) -> dict[str, Any]:
    """Called at the end of each object: the parser is C and keeps all other threads of the process waiting until a function of
    Python is called.
    """
    return read


def _refuse_shape(body: bytes) -> None:
    """Refuse what no batch looks like, without parsing: the parser recurses, and makes an object of each value.

    Raises:
        FileRefusedError: too deep, or more objects, names or values than a batch can have.
    """
    content = np.frombuffer(body.replace(b"\\\\", b"").replace(b'\\"', b""), dtype=np.uint8)
    # Quotes are counted modulo 256: whether their number is odd stays true, in an eighth of the memory.
    inside = np.cumsum(content == ord('"'), dtype=np.uint8) & 1
    marks = content[_MARKS[content] & (inside == 0)]
    steps = _STEPS[marks]
    depth = int(np.cumsum(steps, dtype=np.int32).max(initial=0))
    if depth > MAX_DEPTH:
        raise FileRefusedError(f'The JSON is nested deeper than {MAX_DEPTH} levels. Send {{"claims": [{{...}}]}}.')
    # Two million empty lists took the parser 14 s and 400 MB.
    containers = int(np.count_nonzero(steps == 1))
    if containers > MAX_CONTAINERS:
        raise FileRefusedError(
            f"The body holds {containers} objects and lists; a batch has at most {MAX_CLAIMS} claims. Send several."
        )
    if len(marks) <= _MOST_NAMES_AT_ONCE:
        return  # a batch of 200 claims: none of what follows can be true
    ends = np.flatnonzero(marks == ord("}"))
    if _most_between(ends, marks == ord(":")) > _MOST_NAMES_AT_ONCE:
        raise FileRefusedError(f"An object holds more than {MAX_NAMES} names. Check the export.")
    if _most_between(ends, marks == ord("[")) > _MOST_LISTS_AT_ONCE:
        raise FileRefusedError(
            f"The body holds more than {_MOST_LISTS_AT_ONCE} lists and no object among them. A claim is an object: send "
            '{"claims": [{...}, ...]}.'
        )
    if _most_between(ends, marks == ord(",")) > _MOST_VALUES_AT_ONCE:
        raise FileRefusedError(
            f"A list holds more than {MAX_CLAIMS} values; a batch has at most {MAX_CLAIMS} claims. Send several."
        )


def _most_between(ends: npt.NDArray[np.intp], marked: npt.NDArray[np.bool_]) -> int:
    """The largest number of marked places between two ends that follow each other, the beginning, or the last place."""
    before = np.cumsum(marked, dtype=np.int32)
    return int(np.diff(before[ends], prepend=0, append=before[-1:]).max(initial=0))


def _cell(value: Any) -> str | None:
    """A JSON value as the text a CSV cell would hold; a list of texts is joined, anything deeper is no text."""
    if isinstance(value, str):
        # Half a surrogate pair ("\ud800") is valid JSON and not valid Unicode.
        return value if value.isascii() or _is_unicode(value) else _NO_TEXT
    if value is None or isinstance(value, float):
        return None  # null, or a name this claim does not have (pandas fills in NaN)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return _cell(" ".join(value))
    return _NO_TEXT


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
