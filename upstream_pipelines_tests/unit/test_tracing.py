"""Spans: nothing without an endpoint, ids that follow from ids, errors without their data, collectors that do not answer."""

from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator

import httpx
import pytest

from upstream_pipelines.api.app import create_app
from upstream_pipelines.errors import ConfigurationError
from upstream_pipelines.observability.logging import log_context
from upstream_pipelines.observability.tracing import (
    caller_of,
    configure_tracing,
    flush,
    record_request,
    require_tracing,
    span,
    span_about,
    trace_id_of,
)
from upstream_pipelines.settings import Settings
from upstream_pipelines_tests.unit.otlp_collector import Collector, collecting, stop_tracing

CANARY = "ZYZZYVA, QUENTIN"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as running:
        configure_tracing(Settings(otlp_endpoint=running.endpoint))
        yield running


def test_without_an_endpoint_nothing_of_opentelemetry_is_imported() -> None:
    """Of its interface without the SDK, which does nothing, a library may import something."""
    code = (
        "import sys; import upstream_pipelines.ingest.merging; from upstream_pipelines.api.app import create_app; "
        "from upstream_pipelines.settings import Settings; from upstream_pipelines.observability import tracing; "
        "tracing.configure_tracing(Settings()); create_app(Settings())\n"
        "with tracing.span('work', upload_id='1') as made: made.set(rows=1)\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))], tracing.is_on())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[] False"


def test_an_endpoint_without_the_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "upstream_pipelines.observability.otlp", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    for name in [name for name in sys.modules if name.startswith("opentelemetry.")]:
        monkeypatch.delitem(sys.modules, name)
    for function in (require_tracing, configure_tracing):
        with pytest.raises(ConfigurationError, match=r"pip install 'upstream-pipelines\[telemetry\]'"):
            function(Settings(otlp_endpoint="http://127.0.0.1:4318"))


@pytest.mark.parametrize(
    "endpoint", ["127.0.0.1:4318", "http://user:word@127.0.0.1:4318", "http://h/?key=1", "grpc://h"]
)
def test_an_endpoint_is_an_address_without_a_password(endpoint: str) -> None:
    with pytest.raises(ValueError, match="otlp_endpoint"):
        Settings(otlp_endpoint=endpoint)


def test_an_empty_endpoint_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_OTLP_ENDPOINT", "")
    assert Settings().otlp_endpoint is None


def test_a_trace_has_the_digits_of_its_request_and_else_those_of_a_digest() -> None:
    assert trace_id_of(TRACE) == trace_id_of(str(uuid.UUID(TRACE)).upper()) == int(TRACE, 16)
    for other in ("01ARZ3NDEKTSV4RRFFQ69G5FAV", "0" * 32, "look 1 2026-01-01"):
        assert 0 < trace_id_of(other) < 2**128
    assert trace_id_of("look 1 2026-01-01") != trace_id_of("look 1 2026-01-02")


def test_an_error_is_told_by_its_class_and_texts_are_redacted(collector: Collector) -> None:
    with (
        pytest.raises(ValueError, match="ZYZZYVA"),
        log_context(run_id="r1"),
        span("work", note="ssn 123-45-6789"),
    ):
        raise ValueError(CANARY)
    (made,) = collector.spans()
    assert made.failed
    assert made.attributes == {"run_id": "r1", "note": "ssn [ssn]", "error.type": "ValueError"}
    assert b"ZYZZYVA" not in collector.bytes()


def test_work_about_several_things_stands_with_the_first_and_is_linked_to_the_others(collector: Collector) -> None:
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    with span_about("send", [{"upload_id": first}, {"upload_id": second}, {"upload_id": first}], alerts=3):
        pass
    (made,) = collector.spans()
    assert made.trace_id == first.replace("-", "")
    assert made.parent_id == ""
    assert made.links == [second.replace("-", "")]
    assert made.attributes == {"upload_id": first, "alerts": 3}


@pytest.mark.parametrize(
    "headers",
    [
        [], [TRACEPARENT, TRACEPARENT], [f"00-{'0' * 32}-{SPAN}-01"], [f"00-{TRACE}-{'0' * 16}-01"], [f"ff-{TRACE}-{SPAN}-01"],
        [f"00-{TRACE.upper()}-{SPAN}-01"], [f"00-{TRACE}-{SPAN}"], [f"00-{TRACE}-{SPAN}-01-more"], [CANARY], ["x" * 9000],
    ],
)  # fmt: skip
def test_a_traceparent_of_another_form_is_as_none(collector: Collector, headers: list[str]) -> None:
    assert caller_of([TRACEPARENT]) is not None
    assert caller_of(headers) is None


async def _asked(*headers: tuple[str, str], path: str = "/api/v1/docs") -> httpx.Response:
    transport = httpx.ASGITransport(create_app(Settings()))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        return await client.get(path, headers=list(headers))


def test_a_request_joins_its_senders_trace_and_one_with_an_id_of_its_own_is_linked_to_it(
    collector: Collector,
) -> None:
    """The path that is asked for is nobody's route, and its query and words stay out."""
    path = f"/api/v1/{CANARY}?q={CANARY}"
    joined = asyncio.run(_asked(("traceparent", TRACEPARENT), ("tracestate", "zyzzyva=1"), path=path))
    own = uuid.uuid4()
    asyncio.run(_asked(("traceparent", TRACEPARENT), ("x-request-id", str(own))))
    first, second = collector.spans()
    assert joined.headers["x-request-id"] == first.trace_id == TRACE
    assert (first.parent_id, first.links) == (SPAN, [])
    assert first.name == "GET none"
    assert first.attributes["http.response.status_code"] == 404
    assert (second.trace_id, second.parent_id, second.links) == (own.hex, "", [TRACE])
    assert second.name == "GET /api/v1/docs"
    assert b"ZYZZYVA" not in collector.bytes().upper()


def test_a_request_that_failed_has_the_class_of_its_error(collector: Collector) -> None:
    record_request(
        "GET /x", request_id=TRACE, caller=None, seconds=0.25, error=KeyError(CANARY), upload_id=None, status=500
    )
    (made,) = collector.spans()
    assert made.failed
    assert made.attributes["error.type"] == "KeyError"
    assert made.milliseconds == pytest.approx(250, abs=1)
    assert b"ZYZZYVA" not in collector.bytes()


def test_a_collector_that_refuses_costs_its_spans_is_told_once_and_left_alone_for_a_while(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    collector.status = 400
    for _ in range(3):
        with span("work", run_id="r1"):
            pass
        flush()
    assert len(collector.bodies) == 1
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert "did not take, and that are lost: 1." in warning


def test_a_collector_that_never_answers_holds_up_no_work() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        configure_tracing(Settings(otlp_endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}"))
        try:
            with span("work", run_id="r1"):
                pass
            sending = threading.Thread(target=flush)
            sending.start()
            with silent.accept()[0]:
                for _ in range(100):
                    with span("work", run_id="r1"):
                        pass
                assert sending.is_alive()
                sending.join()
        finally:
            stop_tracing()
