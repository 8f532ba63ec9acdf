"""Times a drift event to its receipt by a webhook receiver, through the whole platform as `upstream up` runs it.

`make bench` prints the table and writes benchmarks/receipt.json. Daemon, webserver, code server, API, PostgreSQL and the
receiver share this machine. The clock starts with the transaction that writes event and alert (`created_at`, which the
message carries), so a little before its commit; it ends when the receiver has the request. At the defaults; asked for are

- runs one after another: the `drift` run of one customer, and nothing else waits;
- a sweep: one run that looks at all these customers, as the daily schedule asks for it;
- a full queue: backfills, a sweep and the runs in between them, together more than may run at once.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import socket
import statistics
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from dagster_graphql import DagsterGraphQLClient

from upstream_pipelines.cli.supervisor import Platform, running_platform, sole_copy
from upstream_pipelines.customers.configuration import parse_configuration
from upstream_pipelines.customers.store import configure_customer, create_customer
from upstream_pipelines.db.engine import connect
from upstream_pipelines.db.migrate import migrate
from upstream_pipelines.defs.home import dagster_instance
from upstream_pipelines.defs.partitions import customer_partitions
from upstream_pipelines.demo.generator import Change, as_known_on, synthetic_claims
from upstream_pipelines.drift.counting import refresh_activity
from upstream_pipelines.ingest.merging import merge_staged
from upstream_pipelines.ingest.staging import stage_waiting
from upstream_pipelines.ingest.uploads import send_file
from upstream_pipelines.settings import Settings, read_settings

CUSTOMERS = 10  # of each part
BACKFILLS = 4
BACKFILL_DAYS = 200
DAYS = 280
# Far more than any receipt should take; a part that hangs ends here, with what is missing.
_WAIT_SECONDS = 900.0
_ENDED = {"SUCCESS", "FAILURE", "CANCELED"}


class Receipts:
    """Seconds from an alert's writing to its receipt, by customer."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def keep(self, slug: str, body: dict[str, Any], now: float) -> None:
        """Of each opened drift event in the message, the first receipt."""
        alerts = body["data"]["alerts"] if body["type"] == "alerts.grouped" else [body]
        for alert in alerts:
            if alert["type"] == "drift.event.opened":
                self.seconds.setdefault(slug, now - datetime.fromisoformat(alert["timestamp"]).timestamp())


@contextmanager
def _receiver(receipts: Receipts) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receipts.keep(self.path.rpartition("/")[2], json.loads(body), time.time())
            self.send_response(204)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_arguments: Any) -> None:
            """The table is what is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def _sign_up(settings: Settings, slugs: list[str], today: date, port: int, folder: Path) -> None:
    """Customers with one payer that denies more since two months; their claims are loaded."""
    claims = as_known_on(
        synthetic_claims(7, today, DAYS, Change("Aetna", today - timedelta(days=60), denial_rate=0.30)), today
    )
    file = folder / "claims.csv"
    file.write_text(claims[claims["payer"] == "Aetna"].to_csv(index=False, date_format="%Y-%m-%d"))
    with connect(settings, "upstream_pipeline") as conn:
        for slug in slugs:
            customer, _ = create_customer(conn, slug, slug)
            hook = {"kind": "webhook", "name": "hook", "url": f"http://127.0.0.1:{port}/{slug}"}
            configure_customer(conn, customer, parse_configuration({"channels": [hook]}, slug))
            send_file(conn, settings, customer, file)
            stage_waiting(conn, settings, customer, source="csv", run_id="bench")
            merge_staged(conn, settings, customer, "bench")
            refresh_activity(conn, customer.customer_id)


class _Bench:
    """The running platform, and how runs are asked of it."""

    def __init__(self, settings: Settings, platform: Platform, receipts: Receipts, today: date) -> None:
        self._platform, self._receipts, self._today = platform, receipts, today
        self._client = DagsterGraphQLClient(settings.ui_host, port_number=settings.ui_port)
        self._settings = settings

    def drift(self, slug: str, days: int = 0) -> str:
        """Ask for a customer's run, of today or of so many days up to today. Returns: its id."""
        config = {"as_of": self._today.isoformat(), "from_day": (self._today - timedelta(days=days)).isoformat()}
        return self._client.submit_job_execution(
            "drift", run_config={"ops": {"payer_drift": {"config": config}}}, tags={"dagster/partition": slug}
        )

    def sweep(self) -> str:
        """Ask for the run that the daily schedule asks for."""
        config = {"as_of": self._today.isoformat()}
        return self._client.submit_job_execution(
            "drift_sweep", run_config={"ops": {"look_at_customers": {"config": config}}}
        )

    def activate(self, slugs: list[str], status: str) -> None:
        """A sweep looks at active customers only."""
        with connect(self._settings, "upstream_pipeline") as conn:
            conn.execute("UPDATE customers SET status = %s WHERE slug = ANY (%s)", (status, slugs))

    def received(self, slugs: list[str]) -> None:
        """Wait until each of these has its alert."""
        self._wait(lambda: set(slugs) <= set(self._receipts.seconds), f"the alerts of {', '.join(slugs)}")

    def ended(self, runs: list[str]) -> None:
        """Wait until these runs are over."""
        self._wait(
            lambda: all(self._client.get_run_status(run).value in _ENDED for run in runs), "the runs to end"
        )

    def partitions(self, slugs: list[str]) -> None:
        """Wait until a sensor has made the customers' partitions."""
        with dagster_instance(self._settings) as instance:
            self._wait(
                lambda: set(slugs) <= set(instance.get_dynamic_partitions(customer_partitions.name or "")),
                "the partitions",
            )

    def _wait(self, done: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + _WAIT_SECONDS
        while not done():
            self._platform.watch()
            if time.monotonic() > end:
                raise SystemExit(f"Waited {_WAIT_SECONDS:.0f} s for {what}. Read {self._settings.home / 'logs'}.")
            time.sleep(0.5)


def _one_after_another(bench: _Bench, slugs: list[str]) -> None:
    phases = random.Random(1)
    for slug in slugs:
        time.sleep(phases.uniform(0, 5))  # else each begins at the same moment of the sensor's interval
        run = bench.drift(slug)
        bench.received([slug])
        bench.ended([run])


def _by_a_sweep(bench: _Bench, slugs: list[str]) -> None:
    bench.activate(slugs, "active")
    bench.ended([bench.sweep()])
    bench.received(slugs)


def _in_a_full_queue(bench: _Bench, slugs: list[str], others: list[str]) -> None:
    """All at once: a backfill, then runs whose customers wait for their alert, and so on; a sweep is the last."""
    bench.activate([*slugs, *others], "active")
    runs = []
    for number, other in enumerate(others):
        runs += [bench.drift(other, BACKFILL_DAYS), *(bench.drift(slug) for slug in slugs[number :: len(others)])]
    runs.append(bench.sweep())
    bench.received(slugs)
    bench.ended(runs)


def main() -> None:
    warnings.simplefilter("ignore", DeprecationWarning)  # Dagster's own client and its transport
    today = datetime.now(UTC).date()
    receipts = Receipts()
    parts = {name: [f"{name}-{number}" for number in range(CUSTOMERS)] for name in ("runs", "sweep", "full")}
    backfilled = [f"backfill-{number}" for number in range(BACKFILLS)]
    with tempfile.TemporaryDirectory() as folder, _receiver(receipts) as port:
        os.environ |= {
            "UPSTREAM_HOME": str(Path(folder) / "home"),
            "UPSTREAM_API_PORT": _free_port(),
            "UPSTREAM_UI_PORT": _free_port(),
            "UPSTREAM_WEBHOOK_ALLOW_LOOPBACK": "true",
        }
        settings = read_settings()
        with sole_copy(settings):
            migrate(settings)
            everyone = [*itertools.chain(*parts.values()), *backfilled]
            _sign_up(settings, everyone, today, port, Path(folder))
            with running_platform(settings, lambda text: print(text, flush=True)) as platform:
                bench = _Bench(settings, platform, receipts, today)
                bench.partitions(everyone)
                bench.activate([*parts["sweep"], *parts["full"], *backfilled], "disabled")
                _one_after_another(bench, parts["runs"])
                _tell("runs one after another", parts["runs"], receipts)
                _by_a_sweep(bench, parts["sweep"])
                _tell("a sweep", parts["sweep"], receipts)
                _in_a_full_queue(bench, parts["full"], backfilled)
                _tell("a full queue", parts["full"], receipts)
    results = {name: sorted(receipts.seconds[slug] for slug in slugs) for name, slugs in parts.items()}
    Path(__file__).with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")


def _tell(name: str, slugs: list[str], receipts: Receipts) -> None:
    seconds = [receipts.seconds[slug] for slug in slugs]
    print(
        f"{name:<24} {len(seconds):>3} events: median {statistics.median(seconds):5.1f} s, worst {max(seconds):5.1f} s",
        flush=True,
    )


if __name__ == "__main__":
    main()
