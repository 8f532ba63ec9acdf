"""Ids named by their beginning, as people type them. Not here: what is looked for, and the errors when it is not there."""

from __future__ import annotations

import re

_BEGINS = re.compile(r"[0-9a-fA-F-]{1,36}")


def id_pattern(begins: str) -> str | None:
    """For LIKE: ids that begin so, in whichever case; None, which finds nothing, where no id does."""
    return f"{begins.casefold()}%" if _BEGINS.fullmatch(begins) else None
