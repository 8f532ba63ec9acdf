"""Which procedure codes and modifiers may be shown: those of the form of CPT and HCPCS, and those a customer lists.

A source may write anything into these columns, a patient's name among it. Belongs here: the forms, and the words that
stand in place of others. Not here: the verdict on a code of another form (quality/), the groups (sections.py).
"""

from __future__ import annotations

import re
from collections.abc import Collection

from upstream_pipelines.claims.fields import UNSPECIFIED_CPT

# CPT category I (99213), II and III (0001F, 0075T), proprietary tests (0001U); HCPCS level II (J1100).
CPT_PATTERN = r"^(?:\d{5}|\d{4}[A-Z]|[A-Z]\d{4})$"
_CPT = re.compile(CPT_PATTERN.strip("^$"), re.ASCII)
_MODIFIERS = re.compile(r"[A-Z0-9]{2}(?: [A-Z0-9]{2}){0,3}")

OTHER_CODES = "other codes"
OTHER_MODIFIERS = "other modifiers"


def shown_code(code: str, listed: Collection[str] = ()) -> str:
    """The code as people may see it; `listed` are codes that the customer's own settings name, in capitals."""
    named = code == UNSPECIFIED_CPT or code in listed or _CPT.fullmatch(code)
    return code if named else OTHER_CODES


def shown_modifiers(modifiers: str) -> str:
    """A line's modifiers as people may see them: up to four of two characters."""
    return modifiers if not modifiers or _MODIFIERS.fullmatch(modifiers) else OTHER_MODIFIERS


def told_apart(texts: Collection[str], shown: dict[str, str]) -> dict[str, str]:
    """Each text as `shown`, those that may not be with a number behind it: what is unlike must not be compared as one."""
    hidden = sorted(text for text in texts if shown[text] != text)
    return shown | {text: f"{shown[text]} {number}" for number, text in enumerate(hidden, start=1)}


def code_name(cpt: str, modifiers: str = "") -> str:
    """A code with its modifiers, 99213-25, of what `told_apart` has left to show; all that has no name bears one."""
    if cpt.startswith(OTHER_CODES):
        return OTHER_CODES
    if modifiers.startswith(OTHER_MODIFIERS):
        return f"{cpt} with {OTHER_MODIFIERS}"
    return f"{cpt}-{modifiers}" if modifiers else cpt
