"""Days and instants as they are typed. Not here: how they are shown (output.py)."""

from __future__ import annotations

from datetime import UTC, datetime

from upstream_pipelines.errors import ConfigurationError


def instant(text: str, option: str) -> datetime:
    """A day or an instant, in UTC where it names no zone.

    Raises:
        ConfigurationError: it is none; the message names the option.
    """
    try:
        typed = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"{option} is a day or an instant: 2026-06-01 or 2026-06-01T08:00.") from None
    return typed if typed.tzinfo is not None else typed.replace(tzinfo=UTC)
