"""Removes PHI and secrets from what is about to be logged. Not here: how a log line is written (logging.py).

A net below the rule, not the rule: nothing logs a claim's values in the first place. What a pattern
cannot know (a name in lower case, an address) is kept out by tracebacks.py, which withholds messages.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any
from uuid import UUID

from upstream_pipelines.observability.tracebacks import safe_message
from upstream_pipelines.phi_patterns import PATTERNS

# The order matters: what PostgreSQL adds to an error goes first, for it can hold anything and runs to
# the end of the text; then secrets, for the e-mail pattern would cut a URL's password in half.
_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"(?:\b(?:DETAIL|CONTEXT|LINE \d+):|\bKey \([^)]*\)=\(|\bFailing row contains\b).*", re.DOTALL),
        "[database detail]",
    ),
    (re.compile(r'(\binvalid (?:input )?(?:syntax|value) for [^:\n]{1,80}: )".*', re.DOTALL), r"\1[value]"),
    (re.compile(r'(\bout of range: )".*', re.DOTALL), r"\1[value]"),
    (re.compile(r'\bvalue ".*?" is out of range', re.DOTALL), "value [value] is out of range"),
    (re.compile(r"(://)[^\s/@]*(?::\S*)?@"), r"\1[login]@"),
    (re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]+", re.IGNORECASE), r"\1 [token]"),
    # 8 characters after upi_ are the prefix that lists show; more is the token.
    (re.compile(r"upi_[A-Za-z0-9_-]{9,}|up[ars]_[A-Za-z0-9_-]{43}|\bup[ars]_[A-Za-z0-9_-]{9,}"), "[token]"),
    (re.compile(r"\$argon2\w*\$[^\s\"']*"), "[hash]"),
    (re.compile(r"whsec_[A-Za-z0-9+/=_-]+"), "[secret]"),
    (re.compile(r"\bxox[a-z]-[A-Za-z0-9-]+"), "[token]"),
    (re.compile(r"hooks\.slack\.com/\S+"), "hooks.slack.com/[secret]"),
    *((pattern, f"[{kind}]") for kind, pattern in PATTERNS.items()),
    # A US date is no form that this product logs, but it is how claims write a birthday.
    (re.compile(r"\b\d{1,2}[/-]\d{1,2}[/-]\d{4}\b"), "[day]"),
)

# Whatever stands under such a name is not for a log, whatever it looks like.
_SECRET_NAME = re.compile(
    r"(?:^|_)(?:password|secret|token|authorization|cookie|body|claims?|row|values?|params)$", re.IGNORECASE
)
# Made by this program, in a form of its own.
_OWN_FIELDS = frozenset({"timestamp", "level"})
# A UUID, or its 32 digits: no rule changes one, and each line of a request has some.
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}", re.ASCII)
# Deeper than any record of ours; a value that contains itself must not end in a RecursionError.
_MAX_DEPTH = 6


def redact(text: str) -> str:
    """The text without PHI and secrets; claim numbers, NPIs, payer names, UUIDs and ISO times stay."""
    if _ID.fullmatch(text):
        return text
    return _redact_name(text) if _NAME.fullmatch(text) else _redact(text)


def _redact(text: str) -> str:
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text


# Loggers, routes, methods: the same few texts in each line of a request. Nothing with a digit or a space is remembered.
_NAME = re.compile(r"[A-Za-z_./{}-]{1,64}", re.ASCII)
_redact_name = lru_cache(maxsize=1024)(_redact)


@lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None


def redact_value(value: Any, depth: int = 0) -> Any:
    """A JSON-able copy of any value, redacted; objects become their redacted `str`."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"[{len(value)} bytes]"
    if isinstance(value, UUID | datetime | date | Decimal):
        return str(value)
    if isinstance(value, BaseException):
        return redact(f"{type(value).__name__}: {safe_message(value)}")
    if depth >= _MAX_DEPTH:
        return "[deeper]"
    if isinstance(value, Mapping):
        return {redact(str(name)): _redact_field(str(name), item, depth + 1) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact_value(item, depth + 1) for item in value]
    return redact(str(value))


def redact_event(_logger: Any, _method: str, event: Mapping[str, Any]) -> dict[str, Any]:
    """Structlog processor: the last one before rendering, over every field of the record."""
    return {name: value if name in _OWN_FIELDS else _redact_field(name, value, 0) for name, value in event.items()}


def _redact_field(name: str, value: Any, depth: int) -> Any:
    if _is_secret(name) and value is not None and not isinstance(value, bool | int | float):
        return "[removed]"
    return redact_value(value, depth)
