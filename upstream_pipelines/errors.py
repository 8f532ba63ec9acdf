"""The errors people meet. One base class; each message says what happened and what to do next.

Not here: errors of one domain (they live beside their code and derive from `UpstreamError`).
No message may carry a value from a claim: name the row, the field and the rule instead.
"""

from __future__ import annotations

from collections.abc import Mapping


class UpstreamError(Exception):
    """Base of every error this product raises on purpose.

    `code` is a stable machine-readable name; `exit_code` is what the `upstream` command ends with.
    """

    code = "error"
    exit_code = 1


class ConfigurationError(UpstreamError):
    """A setting or a customer's configuration is missing or wrong."""

    code = "configuration"
    exit_code = 2


class InvalidInputError(ConfigurationError):
    """Something that was typed or sent cannot be used; who sent it can put it right."""

    code = "invalid_input"


class ForbiddenError(UpstreamError):
    """Who asks is known and has not the right to it."""

    code = "forbidden"
    exit_code = 4


class NotFoundError(UpstreamError):
    """Something that was named does not exist."""

    code = "not_found"
    exit_code = 3


class ConflictError(UpstreamError):
    """The request contradicts what is already there."""

    code = "conflict"
    exit_code = 4


class AlertsUndecidedError(UpstreamError):
    """Held-back alerts of some customers could not be decided over (`failed`: class of the error by customer_id); of all others
    `told` were.
    """

    code = "alerts_undecided"

    def __init__(self, failed: Mapping[int, str], told: int) -> None:
        super().__init__(
            f"Alerts held back until now could not be decided over for {len(failed)} customers (customer_id: error): "
            f"{', '.join(f'{owner}: {name}' for owner, name in failed.items())}. They wait; look at the alert rules of these "
            "customers (`GET /alert-rules`). All others were told."
        )
        self.told = told


class DatabaseUnavailableError(UpstreamError):
    """PostgreSQL cannot be reached or started."""

    code = "database_unavailable"
    exit_code = 5


class AlreadyRunningError(UpstreamError):
    """A port is busy or a second copy runs on the same home."""

    code = "already_running"
    exit_code = 6


class FileRefusedError(UpstreamError):
    """A received file cannot be read as claims at all; nothing of it was loaded.

    `code` says of which kind the trouble is, for messages that cannot take the whole text.
    """

    code = "file_refused"
    exit_code = 7

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code
