"""Finds personal data in columns of free text. Not here: the shapes themselves (phi_patterns.py)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from upstream_pipelines.phi_patterns import PATTERNS, PERSON_AS_PAYER

# No pattern matches without one of these; nearly all texts have none, and are decided by arrow alone.
_CANDIDATE = r"(?i)\d{2}|@|,|dob|d\.o\.b|birth|born|mrn|medical record|patient"

# After the comma of a payer stands its place or its product as often as a person's given name.
_NOT_A_GIVEN_NAME = re.compile(
    r", ?(?:alabama|alaska|arizona|arkansas|california|colorado|connecticut|delaware|florida|hawaii|idaho|illinois|"
    r"indiana|iowa|kansas|kentucky|louisiana|maine|maryland|massachusetts|michigan|minnesota|mississippi|missouri|"
    r"montana|nebraska|nevada|new|north|south|ohio|oklahoma|oregon|pennsylvania|rhode|tennessee|texas|utah|vermont|"
    r"west|wisconsin|wyoming|commercial|advantage|choice|gold|silver|bronze|platinum|select|complete|community|dual|"
    r"managed|network|open|access|premier|standard|basic|federal|state|exchange|marketplace|supplement|other|"
    r"duplicate|invalid|missing|incomplete|incorrect|denied|expired|required|not|no|see|resubmit|please)\b",
    re.IGNORECASE,
)


def kinds_in(text: str) -> list[str]:
    """Kinds of personal data in one text: ssn, phone, email, date_of_birth, mrn, person_name."""
    return [
        kind
        for kind, pattern in PATTERNS.items()
        if any(
            kind != "person_name" or not _NOT_A_GIVEN_NAME.search(match.group())
            for match in pattern.finditer(text)
        )
    ]


def holds_phi(texts: Any) -> npt.NDArray[np.bool_]:
    """Which texts of an arrow string array hold personal data; null holds none.

    Ten digits in a row (claim numbers, NPIs) and names such as Blue Cross are not personal data.
    """
    return _by_distinct(texts, _candidates, lambda text: bool(kinds_in(text)))


def holds_person_as_payer(texts: Any) -> npt.NDArray[np.bool_]:
    """Which payer names of an arrow string array are a person's, or hold personal data; null is none's."""
    return _by_distinct(
        texts,
        pc.is_valid,
        lambda name: bool(kinds_in(name)) or any(pattern.search(name) for pattern in PERSON_AS_PAYER),
    )


def _candidates(texts: Any) -> Any:
    return pc.fill_null(pc.match_substring_regex(texts, _CANDIDATE), False)


def _by_distinct(
    texts: Any, candidates: Callable[[Any], Any], judge: Callable[[str], bool]
) -> npt.NDArray[np.bool_]:
    """Judge each distinct text once, and only where it may be one at all."""
    encoded = texts.dictionary_encode()
    distinct = encoded.dictionary
    if not len(distinct):
        return np.zeros(len(texts), dtype=bool)
    places = np.flatnonzero(candidates(distinct).to_numpy(zero_copy_only=False))
    found = np.zeros(len(distinct), dtype=bool)
    found[places] = [judge(text) for text in distinct.take(pa.array(places)).to_pylist()]
    flags: npt.NDArray[np.bool_] = pc.fill_null(pa.array(found).take(encoded.indices), False).to_numpy(
        zero_copy_only=False
    )
    return flags
