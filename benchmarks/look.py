"""Times looks at one customer with 20 payers and 400 days, as ratios to the SQL aggregate pass they rest on.

`make bench` prints the table and writes benchmarks/look.json. The SQL pass counts the activity of every day anew; a look
is what the sweep does after the activity is read, without storing it. Of looks the least of six is taken, since other programs
of a machine can only add to it; processor time, of all processes together, stands beside wall time. A year's looks are made by
one process, and by two in turn as the product makes spans of many looks (drift/turns.py), with all it takes to start the second.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Literal, TypeVar

import pandas as pd
from pydantic import SecretStr

from upstream_pipelines.customers.store import create_customer
from upstream_pipelines.db import embedded
from upstream_pipelines.db.engine import connect
from upstream_pipelines.db.migrate import migrate
from upstream_pipelines.demo.generator import as_known_on, synthetic_claims
from upstream_pipelines.drift.counting import refresh_activity
from upstream_pipelines.drift.detector import Detector
from upstream_pipelines.drift.reading import activity_columns
from upstream_pipelines.drift.settings import DriftSettings
from upstream_pipelines.drift.store import Subject, look
from upstream_pipelines.drift.turns import replayed
from upstream_pipelines.ingest.merging import merge_staged
from upstream_pipelines.ingest.staging import stage_waiting
from upstream_pipelines.ingest.uploads import send_file
from upstream_pipelines.settings import Settings

DAYS = 400
SETS = 5  # of the generator's four payers
SINGLE_LOOKS = 40
YEAR = 365
REPEATS = 6
Result = TypeVar("Result")


def twenty_payers(today: date, days: int) -> pd.DataFrame:
    """Claims of 20 payers, about 45 lines a payer and weekday."""
    sets = []
    for seed in range(SETS):
        claims = as_known_on(synthetic_claims(seed, today, days), today)
        named = {"payer": claims["payer"] + f" {seed}", "claim_id": claims["claim_id"].astype(str) + f"-{seed}"}
        sets.append(claims.assign(**named))
    return pd.concat(sets, ignore_index=True)


def _processor_seconds() -> float:
    """Of this process and of those that it has started and that have ended."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def main() -> None:
    today = datetime.now(UTC).date()
    claims = twenty_payers(today, DAYS)
    seconds: dict[str, float] = {}
    processor: dict[str, float] = {}

    def timed(name: str, step: Callable[[], Result], times: int = 1) -> Result:
        wall, cpu = time.perf_counter(), _processor_seconds()
        result = step()
        taken = (time.perf_counter() - wall) / times, (_processor_seconds() - cpu) / times
        seconds[name], processor[name] = min(taken, (seconds.get(name, taken[0]), processor.get(name, taken[1])))
        return result

    def days_before(count: int) -> list[date]:
        return [today - timedelta(days=back) for back in range(count, 0, -1)]

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        url = embedded.join(home / "home")
        settings = Settings(home=home / "home", database_url=SecretStr(url.render_as_string(hide_password=False)))
        migrate(settings)
        file = home / "claims.csv"
        file.write_text(claims.to_csv(index=False, date_format="%Y-%m-%d"))
        with connect(settings, "upstream_pipeline") as conn:
            customer, _ = create_customer(conn, "bench", "Bench")
            send_file(conn, settings, customer, file)
            stage_waiting(conn, settings, customer, source="csv", run_id="bench")
            merge_staged(conn, settings, customer, "bench")
            timed("the SQL aggregate pass", lambda: refresh_activity(conn, customer.customer_id))
            frames = timed("read the activity", lambda: activity_columns(conn, customer.customer_id))
            subject = Subject(customer.customer_id, customer.name, DriftSettings())
            timed("a year looked back at, all stored", lambda: look(conn, subject, days_before(YEAR), show="news"))
        embedded.leave(home / "home")
    detector = timed("lay out its arrays", lambda: Detector(*frames))

    def looks(count: int, processes: Literal[1, 2] = 1) -> None:
        deque(
            replayed(detector, [today - timedelta(days=back) for back in range(count, 0, -1)], processes), maxlen=0
        )

    for _ in range(REPEATS):
        detector.look(today - timedelta(days=SINGLE_LOOKS + 1))
        timed("one look", lambda: looks(SINGLE_LOOKS), SINGLE_LOOKS)
        timed("a year of daily looks by one process", lambda: looks(YEAR))
        timed("a year of daily looks", lambda: looks(YEAR, 2))
    base = seconds["the SQL aggregate pass"]
    rows = sum(len(columns["payer"]) for columns in frames)
    print(f"{len(claims):,} claim lines of {4 * SETS} payers on {DAYS} days, {rows:,} rows of activity\n")
    print(f"{'step':37} {'seconds':>8} {'processor':>10} {'ratio':>7}")
    for name, value in seconds.items():
        print(f"{name:37} {value:8.3f} {processor[name]:10.3f} {value / base:7.3f}")
    result = {
        "lines": len(claims),
        "activity_rows": rows,
        "seconds": seconds,
        "processor_seconds": processor,
        "ratio_to_the_sql_pass": {name: value / base for name, value in seconds.items()},
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
