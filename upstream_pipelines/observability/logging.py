"""How this product logs: one JSON object a line on standard error, redacted, with the ids of the moment.

structlog's loggers and the standard library's go the same way. Dagster keeps its own handlers: its
records belong to its event log. Not here: what is redacted (redaction.py), what is logged.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import structlog

from upstream_pipelines.observability.redaction import redact_event
from upstream_pipelines.observability.tracebacks import format_error
from upstream_pipelines.settings import Settings

_QUIET = {
    # At DEBUG they log every socket, request line and message.
    "urllib3": logging.WARNING,
    "slack_sdk": logging.WARNING,
    "asyncio": logging.WARNING,
    # Two lines for each look at the schema's revision: every sensor tick and every /health.
    "alembic.runtime.migration": logging.WARNING,
    # A warning for every malformed byte of an upload; the answer to its sender says it once.
    "python_multipart": logging.ERROR,
    # Fifty lines a report on the tables of a font; and letters of payers' names that a font has not.
    "fontTools": logging.ERROR,
    "fpdf": logging.ERROR,
    "matplotlib": logging.ERROR,
}


def configure_logging(settings: Settings) -> None:
    """Send every record of this process through the redactor to standard error. Safe to call again."""
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        stamp,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = _Handler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],  # ours last, so that none is overwritten
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _render_error,
                redact_event,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        )
    )
    root = logging.getLogger()
    # All of them, not only ours: a handler that someone else left would write records unredacted.
    root.handlers = [handler]
    root.setLevel(settings.log_level)
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(level)
    # Its lines hold paths with their query strings; the API writes a line of its own for each request.
    logging.getLogger("uvicorn.access").disabled = True
    logging.getLogger("dagster").propagate = False
    logging.captureWarnings(capture=True)


@contextmanager
def log_context(
    *,
    request_id: str | None = None,
    run_id: str | None = None,
    upload_id: str | None = None,
    customer: str | None = None,
) -> Iterator[None]:
    """Put ids, and a customer's slug, into every record and span made inside, in this task or thread and what it starts."""
    given = {"request_id": request_id, "run_id": run_id, "upload_id": upload_id, "customer": customer}
    with structlog.contextvars.bound_contextvars(**{name: id_ for name, id_ in given.items() if id_ is not None}):
        yield


def _render_error(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace `exc_info` and `stack_info` by text in which messages are withheld (tracebacks.py)."""
    info = event.pop("exc_info", None)
    event.pop("stack_info", None)
    if info is True:
        info = sys.exc_info()
    error = info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        event["exception"] = format_error(error)
    return event


class _Handler(logging.Handler):
    """Writes to what standard error is at the moment; its own failures do not print the unredacted record."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 (whatever an argument's __str__ raises; logging must not)
            line = (
                f'{{"level": "error", "logger": "logging", "event": "a record of {record.name}, line {record.lineno}, '
                f'could not be written: {type(error).__name__}"}}'
            )
        sys.stderr.write(f"{line}\n")
