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

# At DEBUG the first logs every part of an uploaded file it sees, the others every socket and request line.
_QUIET = ("python_multipart", "urllib3", "asyncio", "slack_sdk")


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
    handler = _Handler(sys.stderr)
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
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("dagster").propagate = False
    logging.captureWarnings(capture=True)


@contextmanager
def log_context(
    *, request_id: str | None = None, run_id: str | None = None, upload_id: str | None = None
) -> Iterator[None]:
    """Put ids into every record written inside, in this task or thread and what it starts."""
    given = {"request_id": request_id, "run_id": run_id, "upload_id": upload_id}
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


class _Handler(logging.StreamHandler[Any]):
    """A stream handler whose own failures do not print the record: its arguments are not redacted yet."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (the standard library's name)
        kind = sys.exc_info()[0]
        self.stream.write(
            f'{{"level": "error", "logger": "logging", "event": "a record of {record.name} at line {record.lineno} '
            f'could not be written ({kind.__name__ if kind else "unknown"})"}}\n'
        )
