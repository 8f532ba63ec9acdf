"""Times what has to stay quick with ten thousand customers: the sensors' ticks, the daily sweep, the UI's questions.

`make bench` prints the table and writes benchmarks/scale.json; `--customers 100 1000` measures fewer. Each customer has 20
payers with claims on nearly each weekday of 120 days: activity and uploads are clones of a few customers that went through the
whole ingest, whose claims alone are there, for a look reads them only where an event has to be explained. The sweep is the runs that
the daily schedule asks for, each in a process of its own that begins with Dagster's import, two at a time, on a real Dagster
storage; the daemon's queue is not part of it. Ticks are of sensors that find nothing to do.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import psycopg
from pydantic import SecretStr
from sqlalchemy.engine import URL

from upstream_pipelines.customers.store import create_customer
from upstream_pipelines.db import embedded
from upstream_pipelines.db.engine import Connection, connect
from upstream_pipelines.db.migrate import migrate
from upstream_pipelines.defs import sensors
from upstream_pipelines.defs.home import dagster_instance
from upstream_pipelines.defs.jobs import drift_sweep
from upstream_pipelines.defs.partitions import customer_partitions
from upstream_pipelines.defs.resources import Platform
from upstream_pipelines.defs.schedules import sweep_buckets
from upstream_pipelines.demo.generator import as_known_on, synthetic_claims
from upstream_pipelines.drift.counting import refresh_activity
from upstream_pipelines.ingest.merging import merge_staged
from upstream_pipelines.ingest.staging import stage_waiting
from upstream_pipelines.ingest.uploads import send_file
from upstream_pipelines.settings import Settings

STEPS = (100, 1_000, 10_000)
TEMPLATES = 4
DAYS = 120
SETS = 5  # of the generator's four payers
LINES_KEPT = 0.035  # of the generator's 45 lines a payer and weekday: about 1.6, as a small practice has
CLONED = {
    "payer_activity": "submitted_day",
    "payer_prices": "decided_day",
    "payer_codes": "submitted_day",
    "uploads": "received_at",
}
"""Tables whose rows are cloned, each in the order in which its rows come: day by day, each day those of all customers."""
TICKS = 5
TOGETHER = 2  # runs at once: the machine's cores
SENSORS = (sensors.waiting_uploads, sensors.due_alerts, sensors.failed_runs)


def small_practice(seed: int, today: date) -> pd.DataFrame:
    """Claims of 20 payers, at least one on nearly every weekday each."""
    parts = []
    random = np.random.default_rng(seed)
    for number in range(SETS):
        claims = as_known_on(synthetic_claims(100 * seed + number, today, DAYS), today)
        claims = claims[random.random(len(claims)) < LINES_KEPT]
        named = {
            "payer": claims["payer"] + f" {number}",
            "claim_id": claims["claim_id"].astype(str) + f"-{number}",
        }
        parts.append(claims.assign(**named))
    return pd.concat(parts, ignore_index=True)


def load_templates(conn: Connection, settings: Settings, folder: Path, today: date) -> int:
    """Sign up the customers whose rows the others get, through the whole ingest. Returns: their lines."""
    lines = 0
    for seed in range(TEMPLATES):
        customer, _ = create_customer(conn, f"practice-{seed:05}", "A practice")
        claims = small_practice(seed, today)
        lines += len(claims)
        file = folder / f"{seed}.csv"
        file.write_text(claims.to_csv(index=False, date_format="%Y-%m-%d"))
        send_file(conn, settings, customer, file)
        stage_waiting(conn, settings, customer, source="csv", run_id="bench")
        merge_staged(conn, settings, customer, "bench")
        refresh_activity(conn, customer.customer_id)
    return lines


def grow(conn: Connection, settings: Settings, until: int) -> None:
    """Clone customers until there are so many, with their activity, uploads and landing folders."""
    have = conn.execute("SELECT count(*) FROM customers").fetchone()
    assert have is not None
    template = "(n %% %(templates)s)"
    arguments = {"have": have[0], "until": until, "templates": TEMPLATES}
    with conn.transaction():
        conn.execute(
            "INSERT INTO customers (slug, name, configuration, applied_mapping_sha256) "
            "SELECT 'practice-' || lpad(n::text, 5, '0'), 'A practice', t.configuration, t.applied_mapping_sha256 "
            "  FROM generate_series(%(have)s, %(until)s - 1) AS n "
            f"  JOIN customers AS t ON t.slug = 'practice-' || lpad({template}::text, 5, '0') ORDER BY n",
            arguments,
        )
        for table, came in CLONED.items():
            columns = [
                row[0]
                for row in conn.execute(
                    "SELECT column_name FROM information_schema.columns WHERE table_schema = 'public' "
                    "AND table_name = %s AND column_name <> 'customer_id' AND is_generated = 'NEVER'",
                    (table,),
                )
            ]
            named = ", ".join(columns)
            conn.execute(
                f"INSERT INTO {table} (customer_id, {named}) "
                f"SELECT c.customer_id, {', '.join(f't.{name}' for name in columns)} "
                "  FROM generate_series(%(have)s, %(until)s - 1) AS n "
                "  JOIN customers AS c ON c.slug = 'practice-' || lpad(n::text, 5, '0') "
                f"  JOIN customers AS o ON o.slug = 'practice-' || lpad({template}::text, 5, '0') "
                f"  JOIN {table} AS t ON t.customer_id = o.customer_id ORDER BY t.{came}, c.customer_id",
                arguments,
            )
    for number in range(until):
        (Path(settings.landing_root) / f"practice-{number:05}").mkdir(parents=True, exist_ok=True)


def bucket_of_a_sweep(bucket: int, buckets: int, as_of: str) -> None:
    """What a run of the sweep does, in the process of this call; its environment names the home."""
    with warnings.catch_warnings(), dg.DagsterInstance.get() as instance:
        warnings.simplefilter("ignore")
        config = {"as_of": as_of, "bucket": bucket, "buckets": buckets}
        drift_sweep.execute_in_process(
            run_config={"ops": {"look_at_customers": {"config": config}}},
            instance=instance,
            resources={"platform": Platform()},
        )


def sweep(customers: int, today: date) -> float:
    """Seconds until all runs of a sweep have ended, two at a time."""
    buckets = sweep_buckets(customers)
    command = [sys.executable, __file__, "--as-of", today.isoformat(), "--buckets", str(buckets), "--bucket"]

    def run(bucket: int) -> None:
        subprocess.run([*command, str(bucket)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    started = time.perf_counter()
    with ThreadPoolExecutor(TOGETHER) as pool:
        list(pool.map(run, range(buckets)))
    return time.perf_counter() - started


def median_seconds(step: Callable[[], Any]) -> float:
    """The median of some calls, after one that does not count."""
    step()
    taken = []
    for _ in range(TICKS):
        started = time.perf_counter()
        step()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def tick(sensor: dg.SensorDefinition, instance: dg.DagsterInstance) -> Callable[[], Any]:
    """A tick of a sensor as the daemon asks for it, with the cursor of the tick before."""
    cursor: list[str | None] = [None]

    def once() -> None:
        resources = {"platform": Platform()}
        with dg.build_sensor_context(instance=instance, cursor=cursor[0], resources=resources) as context:
            result = sensor(context)
            cursor[0] = getattr(result, "cursor", None) or context.cursor

    return once


def measure(conn: Connection, instance: dg.DagsterInstance, customers: int, today: date) -> dict[str, float]:
    """Seconds of each thing at this many customers."""
    found = {f"tick of {sensor.name}": median_seconds(tick(sensor, instance)) for sensor in SENSORS}
    key = dg.AssetKey("payer_drift")
    found["sweep"] = sweep(customers, today)
    found["sweep, a customer"] = found["sweep"] / customers
    looked = conn.execute("SELECT count(DISTINCT customer_id) FROM drift_results").fetchone()
    assert looked is not None
    assert looked[0] == customers, f"{looked[0]} of {customers} customers were looked at"
    found["partitions of an asset (UI)"] = median_seconds(lambda: instance.get_materialized_partitions(key))
    found["alerts of one customer"] = median_seconds(
        lambda: conn.execute(
            "SELECT * FROM alerts WHERE customer_id = 1 ORDER BY created_at DESC LIMIT 50"
        ).fetchall()
    )
    return found


def vacuum(url: URL) -> None:
    """As autovacuum would have done by the time that many customers had come one by one."""
    with closing(psycopg.connect(url.render_as_string(hide_password=False), autocommit=True)) as conn:
        conn.execute("VACUUM ANALYZE")


def run(steps: Sequence[int]) -> dict[str, Any]:
    """Measure at each number of customers, in one database that grows."""
    today = datetime.now(UTC).date()
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = embedded.join(folder / "home")
        settings = Settings(
            home=folder / "home", database_url=SecretStr(url.render_as_string(hide_password=False))
        )
        migrate(settings)
        with dagster_instance(settings) as instance, connect(settings, "upstream_pipeline") as conn:
            lines = load_templates(conn, settings, folder, today)
            for customers in steps:
                started = time.perf_counter()
                grow(conn, settings, customers)
                slugs = [f"practice-{number:05}" for number in range(customers)]
                instance.add_dynamic_partitions(customer_partitions.name or "", slugs)
                vacuum(url)
                print(f"{customers:,} customers after {time.perf_counter() - started:.0f} s", flush=True)
                results[str(customers)] = measure(conn, instance, customers, today)
                for what, seconds in results[str(customers)].items():
                    print(f"    {what:32} {1000 * seconds:12,.1f} ms", flush=True)
        embedded.leave(folder / "home")
    return {"lines_a_customer": lines / TEMPLATES, "seconds": results}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, nargs="+", default=list(STEPS))
    parser.add_argument("--bucket", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--buckets", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--as-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bucket is not None:
        bucket_of_a_sweep(arguments.bucket, arguments.buckets, arguments.as_of)
        return
    result = run(arguments.customers)
    steps = list(result["seconds"])
    print(f"\n{result['lines_a_customer']:,.0f} lines a customer, 20 payers, {DAYS} days; milliseconds")
    print(f"{'':32}" + "".join(f"{int(step):>12,}" for step in steps) + "  customers")
    for what in result["seconds"][steps[0]]:
        print(f"{what:32}" + "".join(f"{1000 * result['seconds'][step][what]:12,.1f}" for step in steps))
    if len(steps) == len(STEPS):
        Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    main()
