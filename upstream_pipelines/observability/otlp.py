"""Makes spans with OpenTelemetry's SDK and sends them by OTLP over HTTP, so that neither can harm the work.

Not here: which trace a span belongs to, and what code calls (tracing.py, the one that imports this module: OpenTelemetry is
an extra).
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.util import Finalize
from typing import Any
from uuid import UUID

import requests
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace import Span as Made
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from upstream_pipelines.observability.redaction import redact
from upstream_pipelines.observability.tracing import Attribute, Caller, Place, Span

_log = logging.getLogger(__name__)

_TRACES_PATH = "/v1/traces"
# A batch leaves after so long. A process that ends sends what it has, and waits no longer than for one export.
_BATCH_MS = 2_000
_EXPORT_SECONDS = 2.0
# Spans that wait for the collector, some 5 MB; the oldest are dropped. They go as one batch: with a collector that hangs a
# process that ends would wait for each of several.
_MOST_WAITING = 2_048
# After an export that failed nothing is tried for so long, and what comes meanwhile is lost.
_PAUSE_SECONDS = 30.0
_SAY_EVERY_SECONDS = 300.0
# A span has to be named by a link; an upload that no request brought has none that is known.
_ANY_SPAN = 1


class Recorder:
    """Makes spans and has them sent, by a thread of its own."""

    def __init__(self, endpoint: str) -> None:
        exporter = Harmless(_exporter(endpoint))
        self._ids = _Ids()
        # Its own farewell waits 30 s for a collector that hangs; and at the exit of Python, to which a run that was forked
        # does not come.
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=Resource.create({"service.name": "upstream-pipelines"}),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                exporter,
                max_queue_size=_MOST_WAITING,
                schedule_delay_millis=_BATCH_MS,
                max_export_batch_size=_MOST_WAITING,
            )
        )
        self._tracer = self._provider.get_tracer("upstream_pipelines")
        self._ends_in: int | None = None

    def end_with_process(self) -> None:
        """Send what waits when this process ends; a process that was forked from another does not remember that it should."""
        if self._ends_in != os.getpid():
            self._ends_in = os.getpid()
            Finalize(None, self.close, exitpriority=0)

    @contextmanager
    def timed(
        self, name: str, place: Place, linked: Sequence[Place], attributes: Mapping[str, Attribute]
    ) -> Iterator[Span]:
        """A span of what is done inside."""
        # Work for one id is not inside that of another which happens to be under way: what is current counts for nothing.
        parent = Context() if place.parent_id is None else _inside(place.trace_id, place.parent_id)
        self._ids.tell(place.trace_id, None)
        made = self._tracer.start_span(
            name,
            parent,
            attributes=_shown(attributes),
            links=[Link(_context(one.trace_id, one.parent_id or _ANY_SPAN)) for one in linked],
        )
        try:
            yield _Timed(made)
        except BaseException as error:
            _fail(made, error)
            raise
        finally:
            made.end()

    def request(  # noqa: PLR0917  what record_request has worked out
        self,
        name: str,
        trace_id: int,
        own_id: int | None,
        caller: Caller | None,
        seconds: float,
        error: BaseException | None,
        attributes: Mapping[str, Attribute],
    ) -> None:
        """A span of a request that ended just now."""
        inside = caller is not None and caller.trace_id == trace_id
        end = time.time_ns()
        self._ids.tell(trace_id, own_id)
        made = self._tracer.start_span(
            name,
            _inside(caller.trace_id, caller.span_id) if caller is not None and inside else Context(),
            SpanKind.SERVER,
            attributes=_shown(attributes),
            links=[Link(_context(caller.trace_id, caller.span_id))] if caller is not None and not inside else [],
            start_time=end - int(seconds * 1e9),
        )
        if error is not None:
            _fail(made, error)
        made.end(end)

    def caller(self, traceparent: str) -> Caller | None:
        """The span that a `traceparent` names, if it has the form."""
        found = get_current_span(TraceContextTextMapPropagator().extract({"traceparent": traceparent}, Context()))
        context = found.get_span_context()
        return Caller(context.trace_id, context.span_id) if context.is_valid else None

    def flush(self) -> None:
        """Send what waits, now; returns when it is sent or lost."""
        self._provider.force_flush()

    def close(self) -> None:
        """Send what waits and make no more."""
        self._provider.shutdown()


class Harmless(SpanExporter):
    """An exporter around another: does not try a collector that has just failed, and says now and then how many spans were lost.

    Called by one thread at a time, which is not one that works.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._lost = 0
        self._try_at = self._say_at = float("-inf")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send, if the collector is to be tried now; what it does not take counts as lost."""
        if time.monotonic() >= self._try_at:
            if self._exporter.export(spans) is SpanExportResult.SUCCESS:
                return SpanExportResult.SUCCESS
            self._try_at = time.monotonic() + _PAUSE_SECONDS
        self._lost += len(spans)
        if time.monotonic() >= self._say_at:
            self._say_at = time.monotonic() + _SAY_EVERY_SECONDS
            _log.warning(
                "Spans that the collector of UPSTREAM_OTLP_ENDPOINT did not take, and that are lost: %d. It is tried again "
                "every %d s.", self._lost, _PAUSE_SECONDS,
            )  # fmt: skip
            self._lost = 0
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Close its connections."""
        self._exporter.shutdown()


class _Noting(requests.Session):
    """Notes the status of the last answer, 0 where there was none, and then why. The exporter follows nothing that points
    elsewhere.
    """

    def __init__(self) -> None:
        super().__init__()
        self.status, self.trouble = 0, ""

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        try:
            answer = super().send(request, **kwargs)
        except requests.RequestException as error:
            self.status, self.trouble = 0, type(error).__name__
            raise
        self.status = answer.status_code
        return answer


def try_collector(endpoint: str) -> tuple[str, int, str]:
    """Send an export of no spans, as spans go: with the headers, certificates and proxy of the exporter.

    Returns: the address, the status that was answered, and where it is 0, for nothing answered, the class of the error.
    """
    with _Noting() as session:
        _exporter(endpoint, session).export([])
    return _address(endpoint), session.status, session.trouble


def _exporter(endpoint: str, session: requests.Session | None = None) -> OTLPSpanExporter:
    # Its lines come with each failed batch and quote what the collector answered; `Harmless` says it once in a while.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
    return OTLPSpanExporter(endpoint=_address(endpoint), timeout=_EXPORT_SECONDS, session=session)


def _address(endpoint: str) -> str:
    return endpoint.rstrip("/").removesuffix(_TRACES_PATH) + _TRACES_PATH


class _Ids(RandomIdGenerator):
    """Gives the next span of a thread the ids that it was told."""

    def __init__(self) -> None:
        self._told = threading.local()

    def tell(self, trace_id: int, span_id: int | None) -> None:
        self._told.trace_id, self._told.span_id = trace_id, span_id

    def generate_trace_id(self) -> int:
        return int(self._told.trace_id)

    def generate_span_id(self) -> int:
        return self._told.span_id or super().generate_span_id()

    def is_trace_id_random(self) -> bool:
        return False


class _Timed:
    def __init__(self, made: Made) -> None:
        self._made = made

    def set(self, **attributes: Attribute) -> None:
        self._made.set_attributes(_shown(attributes))


def _context(trace_id: int, span_id: int) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _inside(trace_id: int, span_id: int) -> Context:
    return set_span_in_context(NonRecordingSpan(_context(trace_id, span_id)), Context())


def _shown(attributes: Mapping[str, Attribute]) -> dict[str, str | int | float | bool]:
    """Texts pass through the redactor, as those of logs do: a net below the rule that no value of a claim is told here."""
    return {name: _plain(value) for name, value in attributes.items() if value is not None}


def _plain(value: str | float | UUID) -> str | int | float | bool:
    if isinstance(value, UUID):
        return str(value)
    return redact(value) if isinstance(value, str) else value


def _fail(made: Made, error: BaseException) -> None:
    made.set_attribute("error.type", type(error).__qualname__)
    made.set_status(Status(StatusCode.ERROR))
