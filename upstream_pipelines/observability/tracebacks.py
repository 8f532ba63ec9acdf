"""Turns an exception into text that is safe to log: where it happened, what kind, no claim's value.

No pattern finds a value in `could not convert string to float: '...'`, so messages are withheld
unless their class is one whose messages speak of the program and not of its data. Not here: redaction
by pattern, which the result passes through as well.
"""

from __future__ import annotations

import traceback

from upstream_pipelines.errors import UpstreamError

# Their messages name types, attributes, modules, threads. ValueError, KeyError, AssertionError and
# psycopg's errors are left out on purpose: theirs quote the data.
_SPEAK_OF_THE_PROGRAM = (
    UpstreamError,
    ImportError,
    AttributeError,
    NameError,
    TypeError,
    RuntimeError,
    MemoryError,
)
# The innermost frames say where; a framework's forty above them do not.
_FRAMES = 25
_CHAIN = 8


def safe_message(error: BaseException) -> str:
    """The error's message where its class promises that it holds no data; else what can be said instead."""
    if isinstance(error, OSError) and error.errno is not None:
        return f"[Errno {error.errno}] {error.strerror}"  # without the file name, which a customer chose
    if isinstance(error, _SPEAK_OF_THE_PROGRAM):
        return str(error)
    sqlstate = getattr(error, "sqlstate", None)
    if isinstance(sqlstate, str):
        return f"SQLSTATE {sqlstate}, message withheld"
    return "message withheld" if str(error) else ""


def format_error(error: BaseException) -> str:
    """Frames, classes and safe messages of an error and of what caused it, oldest first."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and len(chain) < _CHAIN and current not in chain:
        chain.append(current)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return "\nwhich led to:\n".join(_one(link) for link in reversed(chain))


def _one(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    lines = [f"  {frame.filename}:{frame.lineno} in {frame.name}: {frame.line}" for frame in frames]
    message = safe_message(error)
    lines.append(f"{name}: {message}" if message else name)
    if isinstance(error, BaseExceptionGroup):
        lines += [f"  | {line}" for part in error.exceptions[:_CHAIN] for line in format_error(part).splitlines()]
    return "\n".join(lines)
