"""An OpenTelemetry collector on loopback, for tests: takes OTLP over HTTP and reads it with the protocol's own classes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from upstream_pipelines.observability import tracing


@dataclass(frozen=True)
class Sent:
    """A span as it arrived; `links`: ids of the traces that it is linked to."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    failed: bool
    attributes: dict[str, Any]
    links: list[str]
    milliseconds: float


@dataclass
class Collector:
    """What arrived so far, as bytes; `status` is what it answers."""

    endpoint: str
    bodies: list[bytes] = field(default_factory=list)
    status: int = 200

    def bytes(self) -> bytes:
        """All that this process has sent, or has to send."""
        tracing.flush()
        return b"".join(self.bodies)

    def spans(self) -> list[Sent]:
        """All spans that this process has made, in the order in which they ended."""
        tracing.flush()
        return [
            _read(span)
            for body in self.bodies
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run one; on the way out the process is as if there had been none."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/traces":
                collector.bodies.append(body)
            self.send_response(collector.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = Collector(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield collector
    finally:
        stop_tracing()
        server.shutdown()
        server.server_close()


def stop_tracing() -> None:
    """Make no more spans."""
    if tracing._recorder is not None:
        tracing._recorder.close()
        tracing._recorder = None


def _read(span: Any) -> Sent:
    return Sent(
        span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(),
        span.status.code == Status.STATUS_CODE_ERROR,
        {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes},
        [link.trace_id.hex() for link in span.links],
        (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6,
    )  # fmt: skip
