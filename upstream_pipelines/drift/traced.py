"""The span of a look, linked to the uploads that it may be the first to see. Not here: spans themselves, looks."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import date

from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.observability.tracing import Span, is_on, span, span_about, trace_of_look

QUERIES = load_queries(__package__)


def look_span(conn: Connection, customer_id: int, as_of: date) -> AbstractContextManager[Span]:
    """In a trace of its own: what a look finds is due to all uploads before it."""
    if not is_on():
        return span("look")
    brought = conn.execute(QUERIES.uploads_since_last_look, {"customer_id": customer_id}).fetchall()
    uploads = [{"upload_id": upload_id, "request_id": request_id} for upload_id, request_id in brought]
    return span_about("look", [{"trace_of": trace_of_look(customer_id, str(as_of))}, *uploads], as_of=str(as_of))
