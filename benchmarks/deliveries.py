"""Times deliveries of waiting alerts to webhook receivers on this machine, with few and with many rows waiting.

`make bench` prints the table and writes benchmarks/deliveries.json. One worker process takes 1,000 of 1,000 to 100,000
waiting deliveries, to one receiver and to a hundred, and beside 100,000 rows of a receiver that is not to be sent to now. The
receivers are one process that answers 200; worker, receivers and PostgreSQL share the machine.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from psycopg.types.json import Jsonb
from pydantic import SecretStr

from upstream_pipelines.alerts.notices import DriftNotice, drift_entry
from upstream_pipelines.db import embedded
from upstream_pipelines.db.engine import Connection, connect
from upstream_pipelines.db.migrate import migrate
from upstream_pipelines.delivery.channels import new_secret
from upstream_pipelines.delivery.worker import deliver_due
from upstream_pipelines.settings import Settings

TAKEN = 1000
WAITING = (1000, 10_000, 100_000)
ENDPOINTS = (1, 100)

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
    conn.execute("ANALYZE alerts, deliveries, delivery_alerts, alert_channels")


def _empty(conn: Connection) -> None:
    conn.execute(
        "TRUNCATE customers, alert_rules, alert_channels, alerts, deliveries, delivery_alerts, delivery_attempts CASCADE"
    )


def _measure(settings: Settings, rows: int, endpoints: int, port: int, *, paused: int = 0) -> dict[str, Any]:
    with connect(settings, "upstream_owner") as owner:
        _empty(owner)
    with connect(settings, "upstream_pipeline") as conn:
        _fill(conn, "hook", rows, endpoints, port)
        if paused:
            _fill(conn, "paused", paused, 1, port, paused=True)
    processor = time.process_time()
    report = deliver_due(settings, limit=TAKEN)
    processor = time.process_time() - processor
    assert report.sent == TAKEN, report
    return {
        "waiting": rows + paused, "endpoints": endpoints, "paused": paused, "delivered": report.sent,
        "seconds": report.seconds, "a second": report.sent / report.seconds,
        "ms each": 1000 * report.seconds / report.sent, "worker processor ms each": 1000 * processor / report.sent,
    }  # fmt: skip


def main() -> None:
    results = []
    with tempfile.TemporaryDirectory() as folder, _receivers() as port:
        home = Path(folder) / "home"
        url = embedded.join(home).render_as_string(hide_password=False)
        settings = Settings(home=home, database_url=SecretStr(url), webhook_allow_loopback=True)
        migrate(settings)
        _measure(settings, TAKEN, 1, port)  # imports, prepared statements and caches
        for endpoints in ENDPOINTS:
            for rows in WAITING:
                results.append(_measure(settings, rows, endpoints, port))
                _tell(results[-1])
        results.append(_measure(settings, TAKEN, 1, port, paused=100_000))
        _tell(results[-1])
        embedded.leave(home)
    Path(__file__).with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")


def _tell(result: dict[str, Any]) -> None:
    beside = f", {result['paused']:,} of them not to be sent now" if result["paused"] else ""
    print(
        f"{result['waiting']:>9,} waiting, {result['endpoints']:>3} receivers{beside}: {result['a second']:6.0f} a second, "
        f"{result['ms each']:5.2f} ms each ({result['worker processor ms each']:.2f} ms of the worker's processor time)",
        flush=True,
    )


if __name__ == "__main__":
    if sys.argv[1:] == ["receivers"]:
        asyncio.run(_serve())
    else:
        main()
