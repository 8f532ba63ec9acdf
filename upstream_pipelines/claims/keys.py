"""Identity and content hash of claim lines, for whole columns. Not here: ordinals among equal lines (merge.py).

Both are 128 bits: two independent SipHash-2-4 of the same text. Among 10^9 lines of a customer two
different ones collide with a chance of about 10^-21. The text is built from typed values, so neither
the file's format, nor its order of columns, nor the size of blocks changes a key; aliases and groups
are applied later and do not either. The two keys below are part of the stored data: never change them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from upstream_pipelines.claims.fields import FIELDS

_HASH_KEYS = ("upstream-claim-1", "upstream-claim-2")  # 16 bytes each, as SipHash wants
# Between cells, and for a missing one: control characters that text_form keeps out of the cells.
_BETWEEN, _MISSING = "\x1f", "\x1e"


def line_keys(columns: Mapping[str, Any]) -> tuple[pa.StringArray, pa.BooleanArray]:
    """Key of each line as uuid text, and whether it is natural.

    columns: typed arrays by field. Natural: claim id and line number are there. With a claim id alone
    the procedure, its modifiers and the service date stand for the line number. Without a claim id the
    key is the line's whole content.
    """
    claim_id, line_number = columns["claim_id"], columns["line_number"]
    natural = pc.and_(claim_id.is_valid(), line_number.is_valid())
    # The first letter keeps the three kinds apart: no content can be read as another's key.
    by_number = _join("n", columns, ("claim_id", "line_number"))
    by_procedure = _join("p", columns, ("claim_id", "cpt", "modifiers", "service_date"))
    by_content = _join("c", columns, tuple(FIELDS))
    text = pc.if_else(natural, by_number, pc.if_else(claim_id.is_valid(), by_procedure, by_content))
    return hash_texts(text), natural


def row_hashes(columns: Mapping[str, Any]) -> pa.StringArray:
    """Hash of each line's whole content, as uuid text: equal hashes mean nothing changed."""
    return hash_texts(_join("r", columns, tuple(FIELDS)))


def hash_texts(texts: Any) -> pa.StringArray:
    """128-bit hash of each text, written as a uuid. No text may be null."""
    plain = texts.to_numpy(zero_copy_only=False)
    halves = np.empty((len(plain), 2), dtype=">u8")
    for half, key in enumerate(_HASH_KEYS):
        halves[:, half] = pd.util.hash_array(plain, hash_key=key, categorize=False)
    digits = np.frombuffer(halves.tobytes().hex().encode(), dtype=np.uint8).reshape(-1, 32)
    written = np.full((len(plain), 36), ord("-"), dtype=np.uint8)
    written[:, [place for place in range(36) if place not in (8, 13, 18, 23)]] = digits
    offsets = np.arange(len(plain) + 1, dtype=np.int32) * 36
    return pa.StringArray.from_buffers(
        len(plain), pa.py_buffer(offsets.tobytes()), pa.py_buffer(written.tobytes())
    )


def _join(kind: str, columns: Mapping[str, Any], names: tuple[str, ...]) -> pa.StringArray:
    cells = [pc.fill_null(columns[name].cast(pa.string()), _MISSING) for name in names]
    return pc.binary_join_element_wise(kind, *cells, _BETWEEN)
