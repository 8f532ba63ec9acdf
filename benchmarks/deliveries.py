"""Times deliveries of waiting alerts to webhook receivers on this machine, with few and with many rows waiting.

`make bench` prints the table and writes benchmarks/deliveries.json. One worker process takes 1,000 of 1,000 to 100,000
waiting deliveries, to one receiver and to a hundred, and beside 100,000 rows of a receiver that is not to be sent to now. The
receivers are one process that answers 200; worker, receivers and PostgreSQL share the machine.

The sizes are measured in turn, several times over, so that what else the machine does falls on all of them; told are the
median and the least and most. Pages of tables and indexes touched do not depend on it: they say whether the work grows.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
from psycopg.types.json import Jsonb
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from upstream_pipelines.alerts.notices import DriftNotice, drift_entry
from upstream_pipelines.db import embedded
from upstream_pipelines.db.engine import Connection, connect, dispose_engines
from upstream_pipelines.db.migrate import migrate
from upstream_pipelines.delivery.channels import new_secret
from upstream_pipelines.delivery.worker import deliver_due
from upstream_pipelines.settings import Settings

TAKEN = 1000
WAITING = (1000, 10_000, 100_000)
ENDPOINTS = (1, 100)
ROUNDS = 5
_TIMED = ("a second", "ms each", "worker processor ms each", "pages each")

_FILL = """
WITH owner AS (
    INSERT INTO customers (slug, name)
    SELECT %(name)s || '-' || n, 'Customer ' || n FROM generate_series(1, %(endpoints)s) AS n
    RETURNING customer_id
), rule AS (
    INSERT INTO alert_rules (customer_id, name, kinds) SELECT customer_id, 'default', ARRAY['drift'] FROM owner
    RETURNING customer_id, rule_id
), channel AS (
    INSERT INTO alert_channels (customer_id, name, kind, configuration, secret, not_before)
    SELECT customer_id, 'hook', 'webhook', %(configuration)s, %(secret)s,
           CASE WHEN %(paused)s THEN now() + interval '1 hour' END FROM owner
    RETURNING customer_id, channel_id
), alert AS (
    INSERT INTO alerts (customer_id, rule_id, kind, notice, fingerprint, subject_id, content, channel_ids, told_at)
    SELECT r.customer_id, r.rule_id, 'drift', 'open', gen_random_uuid()::text, gen_random_uuid(), %(content)s,
           ARRAY[c.channel_id], now()
      FROM rule AS r JOIN channel AS c USING (customer_id), generate_series(1, %(rows)s / %(endpoints)s)
    RETURNING customer_id, rule_id, alert_id, channel_ids
), message AS MATERIALIZED (
    SELECT *, gen_random_uuid() AS delivery_id FROM alert
), delivery AS (
    INSERT INTO deliveries (customer_id, delivery_id, rule_id, channel_id, due_at)
    SELECT customer_id, delivery_id, rule_id, channel_ids[1], now() FROM message
)
INSERT INTO delivery_alerts (customer_id, delivery_id, alert_id, channel_id)
SELECT customer_id, delivery_id, alert_id, channel_ids[1] FROM message
"""


async def _serve() -> None:
    """Answer every POST with 200 and `ok`; the port is printed first."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                )
                await reader.readexactly(length)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def _receivers() -> Iterator[int]:
    process = subprocess.Popen([sys.executable, __file__, "receivers"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


def _content() -> dict[str, Any]:
    """Of a drift alert as it is written, without the chart: 100,000 of those would be 4 GB."""
    notice = DriftNotice(
        event_id=uuid.UUID(int=7), notice="open", payer="Aetna", cpt_group="ALL", signal="denial_rate",
        direction="worsening", severity=0.7, effect=0.052, baseline=0.101, current=0.153, n_baseline=5000,
        n_current=900, maturity=0.72, p_value=1e-5, q_value=2e-4, as_of=date(2026, 5, 1),
        change_date=date(2026, 4, 2), headline="Aetna denies more: 10.1 % → 15.3 %",
        sentences=("Of the lines that Aetna decided since 2 April it denied 15.3 %, before that 10.1 %.",) * 4,
        facts=(("Before", "10.1 %"), ("Since", "15.3 %"), ("Lines", "900"), ("Complete to", "72 %")),
        chart_png=None, link="http://127.0.0.1:3020/runs",
    )  # fmt: skip
    return {**drift_entry(notice).content, "customer": {"slug": "bench", "name": "Bench"}}


def _fill(conn: Connection, name: str, rows: int, endpoints: int, port: int, *, paused: bool = False) -> None:
    conn.execute(
        _FILL,
        {
            "name": name, "rows": rows, "endpoints": endpoints, "paused": paused, "secret": new_secret(),
            "configuration": Jsonb({"url": f"http://127.0.0.1:{port}/{name}"}), "content": Jsonb(_content()),
        },
    )  # fmt: skip


@contextmanager
def _database(migrated: Settings) -> Iterator[Settings]:
    """A clone of the migrated database. Not the same one emptied: autovacuum sees it empty, and the keys of 100,000 rows
    are then checked by a plan for none, which takes hours.
    """
    assert migrated.database_url is not None
    url = make_url(migrated.database_url.get_secret_value())
    measured = url.set(database="measured").render_as_string(hide_password=False)
    dispose_engines()
    with psycopg.connect(
        url.set(database="postgres").render_as_string(hide_password=False), autocommit=True
    ) as admin:
        admin.execute("CREATE DATABASE measured TEMPLATE upstream")
        yield migrated.model_copy(update={"database_url": SecretStr(measured)})
        dispose_engines()
        admin.execute("DROP DATABASE measured WITH (FORCE)")


def _measure(migrated: Settings, rows: int, endpoints: int, port: int, *, paused: int = 0) -> dict[str, Any]:
    with _database(migrated) as settings:
        with connect(settings, "upstream_pipeline") as conn:
            _fill(conn, "hook", rows, endpoints, port)
            if paused:
                _fill(conn, "paused", paused, 1, port, paused=True)
            # The next rows are in memory, as in a database at work; filling 100,000 puts them out.
            conn.execute("SELECT count(content) FROM alerts")
        with connect(settings, "upstream_owner") as owner:
            owner.execute("ANALYZE alerts, deliveries, delivery_alerts, alert_channels")
        pages = _pages(settings)
        processor = time.process_time()
        report = deliver_due(settings, limit=TAKEN)
        processor = time.process_time() - processor
        pages = _pages(settings) - pages
    assert report.sent == TAKEN, report
    return {
        "waiting": rows + paused, "endpoints": endpoints, "paused": paused, "delivered": report.sent,
        "seconds": report.seconds, "a second": report.sent / report.seconds,
        "ms each": 1000 * report.seconds / report.sent, "worker processor ms each": 1000 * processor / report.sent,
        "pages each": pages / report.sent,
    }  # fmt: skip


def _pages(settings: Settings) -> int:
    """Pages of tables and indexes that were touched up to now, in memory or not."""
    dispose_engines()  # a connection that stays open tells what it did up to ten seconds late
    with connect(settings, "upstream_pipeline") as conn:
        row = conn.execute(
            """SELECT sum(heap_blks_hit + heap_blks_read + idx_blks_hit + idx_blks_read) FROM pg_statio_user_tables
                WHERE relname IN ('alerts', 'alert_channels', 'deliveries', 'delivery_alerts', 'delivery_attempts')"""
        ).fetchone()
    assert row is not None
    return int(row[0])


def main() -> None:
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, _receivers() as port:
        home = Path(folder) / "home"
        url = embedded.join(home).render_as_string(hide_password=False)
        settings = Settings(home=home, database_url=SecretStr(url), webhook_allow_loopback=True)
        migrate(settings)
        _measure(settings, TAKEN, 1, port)  # imports, prepared statements and caches
        cases = [(rows, endpoints, 0) for endpoints in ENDPOINTS for rows in WAITING]
        cases.append((TAKEN, 1, max(WAITING)))
        rounds = [
            [_measure(settings, rows, endpoints, port, paused=paused) for rows, endpoints, paused in cases]
            for _ in range(ROUNDS)
        ]
        embedded.leave(home)
    for measured in zip(*rounds, strict=True):
        results.append(_summary(measured))
        _tell(results[-1])
    Path(__file__).with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")


def _summary(measured: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One case of all rounds: median, least and most."""
    case = {name: measured[0][name] for name in ("waiting", "endpoints", "paused", "delivered")}
    for name in _TIMED:
        values = [one[name] for one in measured]
        case[name] = {"median": statistics.median(values), "least": min(values), "most": max(values)}
    return case


def _tell(case: dict[str, Any]) -> None:
    beside = f", {case['paused']:,} of them not to be sent now" if case["paused"] else ""
    each = case["ms each"]
    print(
        f"{case['waiting']:>9,} waiting, {case['endpoints']:>3} receivers{beside}: {case['a second']['median']:4.0f} a second, "
        f"{each['median']:.2f} ms each ({each['least']:.2f} to {each['most']:.2f}), "
        f"{case['worker processor ms each']['median']:.2f} ms of the worker's processor time, "
        f"{case['pages each']['median']:.0f} pages",
        flush=True,
    )


if __name__ == "__main__":
    if sys.argv[1:] == ["receivers"]:
        asyncio.run(_serve())
    else:
        main()
