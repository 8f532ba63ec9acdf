"""Spans for an OpenTelemetry collector (UPSTREAM_OTLP_ENDPOINT): what code calls, and which trace a span belongs to.

Not here: making and sending them (otlp.py, which alone imports OpenTelemetry and is imported when there is an endpoint); what
is traced.

What belongs together shares a trace whose id follows from ids that the database has already: that of the request, else of the
upload, else of the run. So nothing has to be handed from the request to the run that works for it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Protocol, Self
from uuid import UUID

import structlog

from upstream_pipelines.errors import ConfigurationError
from upstream_pipelines.settings import Settings

if TYPE_CHECKING:
    from upstream_pipelines.observability.otlp import Recorder

Attribute = str | int | float | bool | UUID | None
# The digits of a UUID or of a trace's own id: it is found in the tracing system by typing the id.
_TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}")
# In order: the id that a span's trace is of.
_IDS = ("request_id", "upload_id", "run_id")


class Span(Protocol):
    """A piece of work that is timed."""

    def set(self, **attributes: Attribute) -> None:
        """Say more of it; None says nothing."""


@dataclass(frozen=True)
class Place:
    """A trace, and the span in it under which something hangs: that of the request that brought an upload."""

    trace_id: int
    parent_id: int | None


@dataclass(frozen=True)
class Caller:
    """The span of a sender in which it made a request."""

    trace_id: int
    span_id: int

    @property
    def request_id(self) -> str:
        """An id for the request that puts it, and all that follows from it, into the sender's trace."""
        return f"{self.trace_id:032x}"


class _Off:
    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def set(self, **attributes: Attribute) -> None:
        pass


_OFF = _Off()
_recorder: Recorder | None = None
# Sensors ask for their connections in threads.
_configuring = Lock()


def require_tracing(settings: Settings) -> None:
    """Make sure that spans can be made if they are asked for.

    Raises:
        ConfigurationError: there is an endpoint, and the extra is not installed.
    """
    if settings.otlp_endpoint is not None:
        try:
            import upstream_pipelines.observability.otlp  # noqa: F401
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"UPSTREAM_OTLP_ENDPOINT is set and {error.name} is not installed. Install the extra: "
                "pip install 'upstream-pipelines[telemetry]', or leave the variable out."
            ) from None


def try_collector(settings: Settings) -> tuple[str, int, str]:
    """Send the collector an export of no spans.

    Returns: the address that it went to, the status that was answered, and where it is 0, for nothing answered, the class of the error.

    Raises:
        ConfigurationError: there is no endpoint, or the extra is not installed.
    """
    if settings.otlp_endpoint is None:
        raise ConfigurationError("UPSTREAM_OTLP_ENDPOINT is not set.")
    require_tracing(settings)
    from upstream_pipelines.observability import otlp

    return otlp.try_collector(settings.otlp_endpoint)


def configure_tracing(settings: Settings) -> None:
    """Make spans from now on, if the settings have an endpoint. Safe to call again: the first endpoint of a process counts.

    Raises:
        ConfigurationError: as `require_tracing`.
    """
    global _recorder  # noqa: PLW0603  the one switch that `span` looks at
    if settings.otlp_endpoint is None:
        return
    require_tracing(settings)
    from upstream_pipelines.observability.otlp import Recorder

    with _configuring:
        if _recorder is None:
            _recorder = Recorder(settings.otlp_endpoint)
        _recorder.end_with_process()


def is_on() -> bool:
    """Whether spans are made, for what would be looked up for them alone."""
    return _recorder is not None


def span(name: str, *, trace_of: str | None = None, **attributes: Attribute) -> AbstractContextManager[Span]:
    """Time what is done inside. What `log_context` holds are attributes too. Without an endpoint it costs half a microsecond,
    1.2 times what `with nullcontext()` does.

    `trace_of`: what the trace is of, where that is no id of a request, an upload or a run. An error that comes out is recorded
    by its class alone, for its message may quote a claim.
    """
    if _recorder is None:
        return _OFF
    known = _bound() | attributes
    return _recorder.timed(name, _place({**known, "trace_of": trace_of}), [], known)


def span_about(
    name: str, subjects: Sequence[Mapping[str, Attribute]], **attributes: Attribute
) -> AbstractContextManager[Span]:
    """As `span`, of work about several things, each given by its ids (`trace_of` among them): the trace is that of the first,
    and those of the others are linked.
    """
    if _recorder is None:
        return _OFF
    first, *others = subjects or [{}]
    known = _bound() | attributes | {name: value for name, value in first.items() if name != "trace_of"}
    place = _place({**known, **first})
    linked = dict.fromkeys(_place(other) for other in others)
    return _recorder.timed(name, place, [one for one in linked if one.trace_id != place.trace_id], known)


def trace_of_look(customer_id: int, as_of: str) -> str:
    """What the trace of a look is of, and that of the messages about what it found."""
    return f"look {customer_id} {as_of}"


def caller_of(traceparent: Sequence[str]) -> Caller | None:
    """The sender's span from a request's `traceparent` headers; None where there is not exactly one, of the form that W3C
    Trace Context asks for, or where no spans are made. The sender's `tracestate` is not read: it may hold anything.
    """
    return _recorder.caller(traceparent[0]) if _recorder is not None and len(traceparent) == 1 else None


def record_request(
    name: str,
    *,
    request_id: str,
    caller: Caller | None,
    seconds: float,
    error: BaseException | None,
    upload_id: UUID | None,
    **attributes: Attribute,
) -> None:
    """The span of a request that ended just now and took so many seconds. The spans of the upload that it brought hang under
    it. A `caller` in another trace than the request's is linked.
    """
    if _recorder is None:
        return
    trace_id = trace_id_of(request_id)
    own_id = _request_span_id(request_id, str(upload_id)) if upload_id is not None else None
    known = {"request_id": request_id, "upload_id": upload_id, **attributes}
    _recorder.request(name, trace_id, own_id, caller, seconds, error, known)


def flush() -> None:
    """Send what waits, now."""
    if _recorder is not None:
        _recorder.flush()


def trace_id_of(subject: str) -> int:
    """The id of the trace of a request, an upload, a run or something else: its digits, if they are those of a trace."""
    plain = subject.replace("-", "").lower()
    return int(plain if _TRACE_ID.fullmatch(plain) else hashlib.sha256(subject.encode()).hexdigest()[:32], 16)


def _bound() -> dict[str, Attribute]:
    bound = structlog.contextvars.get_contextvars()
    return {name: bound.get(name) for name in (*_IDS, "customer")}


def _place(ids: Mapping[str, Attribute]) -> Place:
    if ids.get("trace_of"):
        return Place(trace_id_of(str(ids["trace_of"])), None)
    request_id, upload_id = ids.get("request_id"), ids.get("upload_id")
    subject = next((ids[name] for name in _IDS if ids.get(name)), "")
    parent_id = _request_span_id(str(request_id), str(upload_id)) if request_id and upload_id else None
    return Place(trace_id_of(str(subject)), parent_id)


def _request_span_id(request_id: str, upload_id: str) -> int:
    """Of both ids: a sender may give many requests one id."""
    return int.from_bytes(hashlib.sha256(f"{request_id} {upload_id}".encode()).digest()[:8], "big") or 1
