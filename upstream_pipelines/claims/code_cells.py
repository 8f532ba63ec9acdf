"""Brings codes and numbers of claims into one form: capitals, modifiers, and what spreadsheets make of digits.

Not here: the verdict on a code's form (quality/), which codes may be shown (codes.py), amounts and dates.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Mask = npt.NDArray[np.bool_]

# What spreadsheets and programs make of a number of digits: 1001.0, 1.23457E+11 (Excel, C), 1.234567893E9 (Java).
_ANY_FLOAT = r"^\d+(?:\.0+|(?:\.\d+)?[eE]\+?\d{1,3})$"
_ROUNDED = r"^\d(?:\.\d+)?[eE]\+\d{2,3}$"
# A double tells apart whole numbers of 15 digits, some of 16 and 17.
_DIGITS = range(1, 16)

_BETWEEN = r"[-\s,;:|/^]+"
# A modifier without a separator is taken for one only where it can be: 9921325 is 99213-25, 9921300 no code at all.
_MODIFIER = "(?:2[2-7]|3[23]|47|5[0-9]|6[236]|7[346-9]|8[0-2]|9[0-35-79]|[A-Z][A-Z0-9])"  # CPT's own; HCPCS begins with a letter
_CODE = r"\d{5}|\d{4}[A-Z]|[A-Z]\d{4}"


def whole_numbers(texts: pa.StringArray) -> tuple[pa.StringArray, Mask]:
    """Numbers of digits as they were before a program took them for quantities, and which were rounded.

    `1001.0` is 1001; `1.234567893E+09` is 1234567893, since all of its digits are there. `1.23457E+11` is rounded: what
    it was cannot be told, and a thousand numbers are written the same.
    """
    none = np.zeros(len(texts), dtype=bool)
    if not pc.any(pc.match_substring_regex(texts, _ANY_FLOAT)).as_py():
        return texts, none
    texts = pc.replace_substring_regex(texts, r"^(\d+)\.0+$", r"\1")
    for digits in _DIGITS:
        texts = pc.replace_substring_regex(texts, rf"^(\d)\.(\d{{{digits}}})0*[eE]\+0*{digits}$", r"\1\2")
        short = pc.extract_regex(texts, rf"^(?P<first>\d)\.(?P<rest>\d{{1,{digits}}})E0?{digits}$")
        padded = pc.utf8_rpad(pc.struct_field(short, "rest"), digits, "0")
        written = pc.binary_join_element_wise(pc.struct_field(short, "first"), padded, "")
        texts = pc.if_else(short.is_valid(), written, texts)
    rounded: Mask = pc.fill_null(pc.match_substring_regex(texts, _ROUNDED), False).to_numpy(zero_copy_only=False)
    return texts, rounded


def tidy_code(name: str, texts: pa.StringArray) -> pa.StringArray:
    """Codes in capitals, one separator, the group of a denial code before a hyphen."""
    codes = pc.utf8_upper(texts)
    if name == "denial_reason_code":
        return pc.replace_substring_regex(codes, r"^(CO|PR|OA|PI|CR)[\s:_-]*([A-Z]?\d+)(?:\.0+)?$", r"\1-\2")
    if name in ("modifiers", "diagnosis_codes"):
        codes = pc.utf8_trim_whitespace(pc.replace_substring_regex(codes, r"[\s,;:|/^]+", " "))
    if name == "modifiers":
        glued = pc.match_substring_regex(codes, rf"^{_MODIFIER}{{2,4}}$")
        return pc.if_else(glued, _in_twos(codes), codes)
    return codes


def split_modifiers(cpt: Any, sent: Any) -> tuple[Any, Any]:
    """Codes without the modifiers glued to them (99213-25, 9921325, 99213 25 59), and all modifiers of each line.

    cpt, sent: codes and modifiers of the lines, in capitals. Modifiers sent in their own column stay, once.
    """
    encoded = cpt.dictionary_encode()
    codes = encoded.dictionary
    apart = pc.extract_regex(
        codes, rf"^(?P<code>[A-Z0-9]{{5}}){_BETWEEN}(?P<modifiers>[A-Z0-9]{{2}}(?:{_BETWEEN}[A-Z0-9]{{2}})*)$"
    )
    glued = pc.extract_regex(codes, rf"^(?P<code>{_CODE})(?P<modifiers>{_MODIFIER}{{1,4}})$")
    if apart.null_count == len(codes) and glued.null_count == len(codes):
        return cpt, sent
    bare = _part(apart, "code", pc.struct_field(glued, "code"))
    bare = pc.if_else(pc.or_(apart.is_valid(), glued.is_valid()), bare, codes)
    spaced = pc.replace_substring_regex(pc.struct_field(apart, "modifiers"), _BETWEEN, " ")
    taken = pc.if_else(apart.is_valid(), spaced, _in_twos(pc.struct_field(glued, "modifiers")))
    taken = pc.if_else(pc.or_(apart.is_valid(), glued.is_valid()), taken, pa.scalar(None, pa.string()))
    taken = taken.take(encoded.indices)
    both = pc.binary_join_element_wise(taken, sent, " ")
    modifiers = pc.if_else(pc.fill_null(pc.equal(taken, sent), False), sent, pc.coalesce(both, taken, sent))
    return bare.take(encoded.indices), modifiers


def _part(match: Any, name: str, otherwise: Any) -> Any:
    return pc.if_else(match.is_valid(), pc.struct_field(match, name), otherwise)


def _in_twos(texts: Any) -> Any:
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(texts, r"([A-Z0-9]{2})", r"\1 "))
