"""The span of an attempt: which uploads, looks and runs its message tells of. Not here: spans themselves, sending."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from upstream_pipelines.delivery.sending import Leased
from upstream_pipelines.observability.tracing import Attribute, Span, is_on, span, span_about, trace_of_look


def upload_ids(leased: Leased) -> list[str]:
    """The uploads that a message tells of."""
    return [data["upload_id"] for data in map(_data, leased.contents) if data.get("upload_id")]


def attempt_span(leased: Leased, requests: Mapping[str, str]) -> AbstractContextManager[Span]:
    """In the trace of what the first alert of the message is about, linked to those of the others.

    `requests`: those that brought uploads, by upload.
    """
    if not is_on():
        return span("attempt delivery")
    subjects = [_subject(leased, _data(content), requests) for content in leased.contents]
    return span_about(
        "attempt delivery", subjects, delivery_id=leased.delivery_id, attempt=leased.attempt, channel=leased.kind,
        alerts=len(leased.contents),
    )  # fmt: skip


def _data(content: Mapping[str, Any]) -> Mapping[str, Any]:
    data: Mapping[str, Any] = content.get("data") or {}
    return data


def _subject(leased: Leased, data: Mapping[str, Any], requests: Mapping[str, str]) -> dict[str, Attribute]:
    if upload_id := data.get("upload_id"):
        return {"upload_id": upload_id, "request_id": requests.get(upload_id)}
    if as_of := data.get("as_of"):
        return {"trace_of": trace_of_look(leased.customer_id, as_of)}
    # A test, a silence: nothing else has a trace that it could stand in.
    return {"trace_of": data.get("run_id") or str(leased.delivery_id)}
