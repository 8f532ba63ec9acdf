"""Text as it looks: without characters that nobody sees but that turn, hide or break what stands around them.

Belongs here: which characters those are, and a cell that would be a formula. Not here: the escapes of a markup (HTML, Slack, markdown), personal data.
"""

from __future__ import annotations

import re
import unicodedata

# What a spreadsheet takes for a formula where a cell begins with it.
# The wide forms are taken for the narrow ones where Chinese or Japanese is written.
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_SUSPECT = re.compile(r"[^\x20-\x7e\n]")


def guarded(text: str) -> str:
    """The text as a cell of a CSV file that a spreadsheet may open: no formula, for an apostrophe stands before one."""
    return f"'{text}" if text.startswith(FORMULA_SIGNS) else text


def visible(text: str) -> str:
    """The text without format characters (marks of direction, joiners, soft hyphens) and control characters.

    Line feeds stay, other breaks become a space.
    """
    if not _SUSPECT.search(text):
        return text
    return "".join(_seen(letter) for letter in text)


def _seen(letter: str) -> str:
    if letter == "\n":
        return letter
    if letter in "\t\r\x85" or unicodedata.category(letter) in {"Zl", "Zp"}:
        return " "
    return "" if unicodedata.category(letter) in {"Cf", "Cc", "Cs"} else letter
