"""What Prometheus is told: the API's own requests, counted as they pass, and the platform's totals, read when asked.

Labels have values from closed sets: no customer, no address, no path that a client wrote. Not here: the route and who may
ask (monitoring.py), reading the totals (operations/totals.py).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import get_args

import psycopg
import sqlalchemy.exc
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from upstream_pipelines.alerts.rules import Kind, Signal
from upstream_pipelines.alerts.store import AlertState
from upstream_pipelines.db.engine import connect
from upstream_pipelines.errors import UpstreamError
from upstream_pipelines.ingest.recognise import SOURCES
from upstream_pipelines.operations.totals import Total, read_totals
from upstream_pipelines.settings import Settings

_log = logging.getLogger(__name__)

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
# A value that this release does not know: a row of a later one, or of another hand.
OTHER = "other"
# A receipt of 10 MiB takes half a second, a file of 2 GiB minutes.
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)
# Totals are at most so old: whatever number of scrapers asks, the database is asked twice a minute.
_TOTALS_SECONDS = 30.0


@dataclass(frozen=True)
class Figure:
    """A total as Prometheus is told it: name, help, and each label with the values it may have."""

    metric: str
    help: str
    labels: tuple[tuple[str, tuple[str, ...]], ...] = ()


_UPLOAD_STATES = ("received", "processing", "success", "partial", "failed")
_DIRECTIONS = ("worsening", "improving", "unclear")
_CHANNELS = ("email", "slack", "webhook")
_JOBS = ("ingest", "drift", "drift_sweep", "placebo_night", "cleanup_night", "deliver_alerts", "reports")
_RUN_STATES = ("queued", "started", "failed_last_day")

#: By the name that operations/totals.py reads.
FIGURES: dict[str, Figure] = {
    "customers": Figure("upstream_customers", "Customers.", (("status", ("active", "disabled")),)),
    "customers_failing": Figure(
        "upstream_customers_failing",
        "Active customers in trouble: newest upload refused, one waiting for 15 minutes, no look for 26 hours, a receiver fails, nothing "
        "comes, newest report failed, one waiting for 15 minutes.",
        (("why", ("upload", "waiting", "look", "channel", "silent", "report", "report_waiting", "names")),),
    ),
    "uploads_waiting": Figure(
        "upstream_uploads_waiting", "Uploads not loaded yet.", (("status", _UPLOAD_STATES), ("source", SOURCES))
    ),
    "upload_oldest_waiting_seconds": Figure(
        "upstream_upload_oldest_waiting_seconds", "How long the oldest upload that is not loaded yet has waited."
    ),
    "reports_waiting": Figure("upstream_reports_waiting", "Reports not made yet.", (("state", ("waiting", "running")),)),
    "report_oldest_waiting_seconds": Figure(
        "upstream_report_oldest_waiting_seconds", "How long ago the oldest report that is not made yet was asked for."
    ),
    "uploads_last_day": Figure(
        "upstream_uploads_last_day", "Uploads received in the last 24 hours.",
        (("status", _UPLOAD_STATES), ("source", SOURCES)),
    ),
    "claim_lines": Figure("upstream_claim_lines", "Claim lines stored, as PostgreSQL estimates it."),
    "drift_events_open": Figure(
        "upstream_drift_events_open", "Drift events that are open.",
        (("signal", get_args(Signal)), ("direction", _DIRECTIONS)),
    ),
    "alerts_last_day": Figure(
        "upstream_alerts_last_day", "Alerts written in the last 24 hours.",
        (("state", get_args(AlertState)), ("kind", (*get_args(Kind), "test"))),
    ),
    "deliveries_waiting": Figure(
        "upstream_deliveries_waiting", "Messages that are to be sent, now or later.", (("channel", _CHANNELS),)
    ),
    "deliveries_due": Figure("upstream_deliveries_due", "Messages that are due now.", (("channel", _CHANNELS),)),
    "delivery_oldest_due_seconds": Figure(
        "upstream_delivery_oldest_due_seconds", "How long the oldest message that is due has been so."
    ),
    "deliveries_dead": Figure(
        "upstream_deliveries_dead", "Messages that were given up and not sent again.", (("channel", _CHANNELS),)
    ),
    "runs": Figure(
        "upstream_runs", "Dagster runs: queued and started now, failed within 24 hours.",
        (("job", _JOBS), ("state", _RUN_STATES)),
    ),
    "run_last_success_seconds": Figure(
        "upstream_run_last_success_seconds", "Since the last run of the job that succeeded; drift_sweep is daily.",
        (("job", _JOBS),),
    ),
    "runs_noted_seconds": Figure(
        "upstream_runs_noted_seconds", "Since the daemon noted the runs; it does each minute while it lives."
    ),
}  # fmt: skip


class ApiMetrics:
    """The registry of one application and what is counted of its requests."""

    def __init__(self, settings: Settings) -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self.requests = Counter(
            "upstream_http_requests", "Requests answered, by class of status.", labels, registry=self.registry
        )
        self.seconds = Histogram(
            "upstream_http_request_seconds", "From the first byte read to the last byte sent.", ("method", "route"),
            buckets=_BUCKETS, registry=self.registry,
        )  # fmt: skip
        self.in_flight = Gauge(
            "upstream_http_requests_in_flight", "Requests not answered yet.", registry=self.registry
        )
        ProcessCollector(registry=self.registry)
        self.registry.register(TotalsCollector(settings))


class MetricsMiddleware:
    """Counts each request by the template of its route; plain ASGI, as the middleware beside it."""

    def __init__(self, app: ASGIApp, metrics: ApiMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, begun = 500, time.perf_counter()

        async def send_noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with self._metrics.in_flight.track_inprogress():
            try:
                await self._app(scope, receive, send_noting)
            finally:
                method = scope["method"] if scope["method"] in METHODS else OTHER
                # A path that is no route's is anything that a client wrote.
                route = getattr(scope.get("route"), "path", "none")
                self._metrics.requests.labels(method, route, f"{status // 100}xx").inc()
                self._metrics.seconds.labels(method, route).observe(time.perf_counter() - begun)


class TotalsCollector(Collector):
    """The platform's totals, read at a scrape and kept for a while; of several scrapes at once one reads.

    A database that does not answer must not hide the API's own figures: then `upstream_totals_up` is 0, the log says why, and
    it is not asked again before the while is over.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = Lock()
        self._read_at = float("-inf")
        self._totals: Sequence[Total] | None = None

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Names alone: to register a collector must not ask the database."""
        yield from (GaugeMetricFamily(figure.metric, figure.help) for figure in FIGURES.values())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The families, with what is known."""
        with self._lock:
            if time.monotonic() - self._read_at >= _TOTALS_SECONDS:
                self._totals = self._read()
                self._read_at = time.monotonic()
            totals = self._totals
        up = GaugeMetricFamily("upstream_totals_up", "1 where the database gave the totals, 0 where it did not.")
        up.add_metric((), float(totals is not None))
        yield up
        for name, figure in FIGURES.items():
            yield _family(figure, [one for one in totals or () if one.name == name])

    def _read(self) -> Sequence[Total] | None:
        try:
            with connect(self._settings, "upstream_api") as conn:
                return read_totals(conn)
        except (psycopg.Error, sqlalchemy.exc.SQLAlchemyError, UpstreamError) as error:
            _log.warning("totals cannot be read", extra={"error": error})
            return None


def _family(figure: Figure, totals: Sequence[Total]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(figure.metric, figure.help, labels=[name for name, _ in figure.labels])
    values: dict[tuple[str, ...], float] = {}
    for one in totals:
        given = (one.first, one.second)[: len(figure.labels)]
        labels = tuple(
            str(value) if value in allowed else OTHER
            for value, (_, allowed) in zip(given, figure.labels, strict=True)
        )
        values[labels] = values.get(labels, 0.0) + one.value
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family
