"""The sections of procedure codes: the CPT groups of customers who have set none.

The classes of CPT (American Medical Association) by the ranges of its table of contents, and of HCPCS level II by
letter. Codes of a section are denied alike more than codes of several: without any group a clinic that images more
would look like a payer who denies more. Not here: a customer's own groups (mapping.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

SECTIONS: Mapping[str, str] = MappingProxyType(
    {
        "00*": "ANESTHESIA", "01*": "ANESTHESIA",
        **{f"{digit}*": "SURGERY" for digit in "123456"},
        "7*": "RADIOLOGY",
        "8*": "LABORATORY",
        "9*": "MEDICINE",
        "97*": "THERAPY",
        "992*": "VISITS", "993*": "VISITS", "994*": "VISITS",
        "D*": "DENTAL",
        "J*": "DRUGS",
        **{f"{letter}*": "SUPPLIES" for letter in "AEKLV"},
        **{f"{letter}*": "SERVICES" for letter in "GHQST"},
    }
)  # fmt: skip
"""Procedure code, or its beginning and `*`, to section; a longer pattern goes before a shorter one."""


def section_of(code: str) -> str:
    """The section of one code, OTHER where it is of none: the same as `group_of_code` of the database."""
    upper = code.upper()
    for length in range(len(upper), 0, -1):
        if (section := SECTIONS.get(f"{upper[:length]}*")) is not None:
            return section
    return "OTHER"
