"""Identity and content hash of claim lines, for whole columns. Not here: ordinals among equal lines (merge.py).

Both are 128 bits: the same text under two keys of pandas' string hash (SipHash). Among 10^9 lines of a customer two
different ones collide with a chance of about 10^-21. The text is built from typed values, so neither
the file's format, nor its order of columns, nor the size of blocks changes a key; aliases and groups
are applied later and do not either. The two keys below are part of the stored data: never change them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from upstream_pipelines.claims.fields import FIELDS

# Above, 32 MB of them and as many to sort them, nobody counts whether one came twice.
MOST_SEEN = 4_000_000
#: Of the columns line_key and row_hash.
HASH_TYPE = pa.binary(16)
_HASH_KEYS = ("upstream-claim-1", "upstream-claim-2")  # 16 bytes each, as SipHash wants
# Between cells, and for a missing one: control characters that text_form keeps out of the cells.
_BETWEEN, _MISSING = "\x1f", "\x1e"
_ODD = np.uint64(0x9E3779B97F4A7C15)


def line_keys(columns: Mapping[str, Any]) -> tuple[pa.FixedSizeBinaryArray, pa.BooleanArray]:
    """Key of each line as the bytes of a uuid, and whether it is natural.

    columns: typed arrays by field. Natural: claim id and line number are there. With a claim id alone
    the procedure, its modifiers and the service date stand for the line number. Without a claim id the
    key is the line's whole content.
    """
    identified = columns["claim_id"].is_valid()
    natural = pc.and_(identified, columns["line_number"].is_valid())
    # The first letter keeps the three kinds apart: no content can be read as another's key. The longer
    # ones are joined only where a line needs them; joining all cells takes a tenth of the whole judging.
    text = _join("n", columns, ("claim_id", "line_number"))
    if not _all(natural):
        text = pc.if_else(natural, text, _join("p", columns, ("claim_id", "cpt", "modifiers", "service_date")))
    if not _all(identified):
        text = pc.if_else(identified, text, _join("c", columns, tuple(FIELDS)))
    return hash_texts(text), natural


def row_hashes(columns: Mapping[str, Any]) -> pa.FixedSizeBinaryArray:
    """Hash of each line's whole content, as the bytes of a uuid: equal hashes mean nothing changed."""
    return hash_texts(_join("r", columns, tuple(FIELDS)))


def hash_texts(texts: Any) -> pa.FixedSizeBinaryArray:
    """128-bit hash of each text, as the bytes of a uuid. No text may be null."""
    # As bytes: of str, pandas' hash makes them anew under each key, which is half of the time.
    plain = texts.cast(pa.binary()).to_numpy(zero_copy_only=False)
    halves = np.empty((len(plain), 2), dtype=">u8")
    for half, key in enumerate(_HASH_KEYS):
        halves[:, half] = pd.util.hash_array(plain, hash_key=key, categorize=False)
    return pa.FixedSizeBinaryArray.from_buffers(HASH_TYPE, len(plain), [None, pa.py_buffer(halves)])


class SeenKeys:
    """Whether a key came twice, among blocks of keys. By 64 bits of each, 8 bytes a key; two different ones may pass for one."""

    def __init__(self) -> None:
        self._parts: list[npt.NDArray[np.uint64]] = []
        self._keys = 0

    def add(self, keys: pa.FixedSizeBinaryArray) -> None:
        """keys: of `line_keys`."""
        self._keys += len(keys)
        if self._keys > MOST_SEEN:
            self._parts.clear()
        else:
            halves = np.frombuffer(keys.buffers()[1], dtype=np.uint64).reshape(-1, 2)
            self._parts.append(halves[:, 0] * _ODD + halves[:, 1])

    def repeat(self) -> bool | None:
        """None: there were too many to know."""
        if self._keys > MOST_SEEN:
            return None
        seen = np.concatenate([np.zeros(0, dtype=np.uint64), *self._parts])
        seen.sort()
        return bool((seen[1:] == seen[:-1]).any())


def _all(flags: pa.BooleanArray) -> bool:
    return bool(pc.all(flags, min_count=0).as_py())


def _join(kind: str, columns: Mapping[str, Any], names: tuple[str, ...]) -> pa.StringArray:
    return pc.binary_join_element_wise(kind, *(_cells(columns[name]) for name in names), _BETWEEN)


def _cells(column: Any) -> Any:
    """The cells as text; one text for a column without a value, of which most files have ten of the 22."""
    if column.null_count == len(column) > 0:
        return _MISSING
    texts = column.cast(pa.string())
    return pc.fill_null(texts, _MISSING) if texts.null_count else texts
