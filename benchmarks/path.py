"""Times the whole path of seeded claims, as ratios to a bare COPY of the same rows into the same indexed table.

`make bench` prints the table and writes benchmarks/path.json; `--lines 1000000` (the default) says how many. `--memory
1000000 10000000` measures the peak memory of files of so many lines, and writes benchmarks/path_memory.json. Ratios within
one run, since machines are noisy: COPY and ingest are timed in five turns, and what is told of each is the mean. Belongs here: what
one file costs.
Not here: deliveries, looks and receipts of many customers (the other benchmarks).
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import psycopg
from psycopg import sql
from pydantic import SecretStr
from sqlalchemy import Engine, MetaData, create_engine
from sqlalchemy.ext.automap import automap_base
from sqlalchemy.orm import Session

from upstream_pipelines.customers.models import Customer
from upstream_pipelines.customers.store import create_customer
from upstream_pipelines.db import embedded
from upstream_pipelines.db.engine import Connection, connect
from upstream_pipelines.db.migrate import migrate
from upstream_pipelines.demo.generator import as_known_on, synthetic_claims
from upstream_pipelines.drift.counting import refresh_activity
from upstream_pipelines.drift.settings import DriftSettings
from upstream_pipelines.drift.store import Subject, look
from upstream_pipelines.ingest.merging import merge_staged
from upstream_pipelines.ingest.staging import stage_waiting
from upstream_pipelines.ingest.uploads import send_file
from upstream_pipelines.settings import Settings

DAYS = 700
LOOKS = 60
TURNS = 5
#: to_sql and the ORM take minutes for a million lines; both are linear.
SLOW_LINES = 5_000
_TABLES = "claims, received_lines, touched_days, payer_activity, payer_prices, payer_codes"


def claim_lines(count: int, today: date) -> pd.DataFrame:
    """`count` seeded claim lines of 700 days, by submitted date as an export has them; about 98 bytes a line."""
    parts: list[pd.DataFrame] = []
    while sum(map(len, parts)) < count:
        parts.append(as_known_on(synthetic_claims(len(parts) + 1, today, DAYS), today))
    lines = pd.concat(parts, ignore_index=True).sort_values("submitted_date", kind="stable", ignore_index=True)
    # Spread over all the days: of fewer lines, there are fewer a day.
    lines = lines.iloc[np.linspace(0, len(lines) - 1, count).astype(int)].reset_index(drop=True)
    number = np.arange(count)
    lines["claim_id"] = "D" + pd.Series(number // 2 + 1).astype(str).str.zfill(8)
    lines["line_number"] = number % 2 + 1
    return lines


@dataclass
class Bench:
    """One server, and the seconds of each step on it, once for each turn."""

    settings: Settings
    seconds: dict[str, list[float]] = field(default_factory=dict)
    customers: int = 0

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds.setdefault(name, []).append(time.perf_counter() - started)

    @property
    def url(self) -> str:
        assert self.settings.database_url is not None
        return self.settings.database_url.get_secret_value()

    def new_customer(self, conn: Connection) -> Customer:
        self.customers += 1
        customer, _ = create_customer(conn, f"bench-{self.customers}", "Bench")
        return customer

    def ingest(self, conn: Connection, customer: Customer, file: Path, name: str = "") -> None:
        """The whole path of one file, timed as a whole and by step."""
        steps: dict[str, Callable[[], object]] = {
            "read, judge, stage": lambda: stage_waiting(
                conn, self.settings, customer, source="csv", run_id="bench"
            ),
            "merge into claims": lambda: merge_staged(conn, self.settings, customer, "bench"),
            "count activity": lambda: refresh_activity(conn, customer.customer_id),
        }
        send_file(conn, self.settings, customer, file)
        self.checkpoint()
        with self.timed(name):
            for step, run in steps.items():
                with self.timed(f"{name}, {step}"):
                    run()

    def empty(self) -> None:
        with psycopg.connect(self.url, autocommit=True) as admin:
            admin.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(_TABLES)))

    def checkpoint(self) -> None:
        """Before whatever is timed, which would else pay for the pages that the step before has left to be written: 256 MB."""
        with psycopg.connect(self.url, autocommit=True) as admin:
            admin.execute("CHECKPOINT")

    def bare_copy(self, rows: Path, name: str, tables: Sequence[str] = ("bare",), *, keep: bool = False) -> None:
        """COPY of the finished claims into a table like claims: columns, checks, key and indexes, nothing else. With several
        tables as many at once. Autovacuum would look through them while the next step is timed, and they are dropped before it.
        """
        create = sql.SQL("CREATE TABLE {} (LIKE claims INCLUDING ALL) WITH (autovacuum_enabled = off)")
        with psycopg.connect(self.url, autocommit=True) as admin:
            for table in map(sql.Identifier, tables):
                admin.execute(create.format(table))
            self.checkpoint()
            with self.timed(name), ThreadPoolExecutor(len(tables)) as threads:
                list(threads.map(lambda table: self._copy(rows, table), tables))
            for table in map(sql.Identifier, () if keep else tables):
                admin.execute(sql.SQL("DROP TABLE {}").format(table))

    def _copy(self, rows: Path, table: str) -> None:
        statement = sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(table))
        with psycopg.connect(self.url, autocommit=True) as admin, admin.cursor() as cursor:
            with cursor.copy(statement) as copy, rows.open("rb") as content:
                while part := content.read(1 << 20):
                    copy.write(part)

    def export(self, rows: Path, lines: int) -> None:
        """The first `lines` claims as COPY text, in the order of their file."""
        query = sql.SQL("COPY (SELECT * FROM claims ORDER BY source_row_number LIMIT {}) TO STDOUT").format(lines)
        with psycopg.connect(self.url) as admin, rows.open("wb") as content:
            with admin.cursor() as cursor, cursor.copy(query) as copy:
                for part in copy:
                    content.write(part)


def _slow_loaders(bench: Bench, rows: Path) -> None:
    """What most loaders do: pandas' to_sql, and an ORM object a row, into the same table as the bare COPY."""
    bench.bare_copy(rows, f"bare COPY, {SLOW_LINES:,} lines", keep=True)
    engine: Engine = create_engine(bench.url.replace("postgresql://", "postgresql+psycopg://"))
    lines = pd.read_sql("SELECT * FROM bare", engine)
    metadata = MetaData()
    metadata.reflect(engine, only=["bare"])
    types = {column.name: column.type for column in metadata.tables["bare"].columns}
    with psycopg.connect(bench.url, autocommit=True) as admin:
        admin.execute("TRUNCATE bare")
    with bench.timed(f"to_sql, {SLOW_LINES:,} lines"):
        lines.to_sql("bare", engine, if_exists="append", index=False, dtype=types)
    with psycopg.connect(bench.url, autocommit=True) as admin:
        admin.execute("TRUNCATE bare")
    base = automap_base(metadata=metadata)
    base.prepare()
    records = lines.astype(object).where(lines.notna(), None).to_dict("records")
    with bench.timed(f"ORM, an object a row, {SLOW_LINES:,} lines"), Session(engine) as session:
        for record in records:
            session.add(base.classes.bare(**record))
            session.flush()
        session.commit()
    engine.dispose()


def _peak_of_child(home: Path, file: Path) -> int:
    """Peak memory in MB of a process that does nothing but the ingest of one file."""
    command = [sys.executable, __file__, "--peak-of", str(file), "--home", str(home)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout.strip().splitlines()[-1])


def memory(home: Path, counts: Sequence[int]) -> dict[str, int]:
    """Peak memory in MB of the ingest of files of so many lines, each a process of its own, by the number of lines."""
    assert not any(count % min(counts) for count in counts), "Give multiples of the smallest number of lines."
    lines = claim_lines(min(counts), datetime.now(UTC).date())
    bench, peaks = _open(home / "home"), {}
    for count in counts:
        file = home / f"{count}.csv"
        for part in range(count // len(lines)):
            # Other claims of the same days: as many again, of a larger customer.
            numbered = lines.assign(claim_id=f"P{part}" + lines["claim_id"])
            numbered.to_csv(file, index=False, date_format="%Y-%m-%d", mode="a", header=part == 0)
        peaks[str(count)] = _peak_of_child(home / "home", file)
        file.unlink()
        bench.empty()
        print(f"{f'peak memory of {count:,} lines, MB':56} {peaks[str(count)]:8}", flush=True)
    embedded.leave(home / "home")
    return peaks


def _open(home: Path) -> Bench:
    url = embedded.join(home)
    settings = Settings(home=home, database_url=SecretStr(url.render_as_string(hide_password=False)))
    migrate(settings)
    return Bench(settings)


def measure(home: Path, count: int) -> dict[str, object]:
    """Everything, on a server of its own under `home`."""
    today = datetime.now(UTC).date()
    lines = claim_lines(count, today)
    file, part, other, rows = (home / name for name in ("all.csv", "part.csv", "other.csv", "claims.copy"))
    lines.to_csv(file, index=False, date_format="%Y-%m-%d")
    lines.iloc[: count // 4].to_csv(part, index=False, date_format="%Y-%m-%d")
    other.write_bytes(file.read_bytes() + b"\n")  # the same lines, and other bytes
    bench = _open(home / "home")
    peaks = {str(count // 4): _peak_of_child(home / "home", part), str(count): _peak_of_child(home / "home", file)}
    bench.empty()
    with connect(bench.settings, "upstream_pipeline") as conn:
        bench.ingest(conn, bench.new_customer(conn), file, "first, unmeasured")
    bench.export(rows, count)
    with connect(bench.settings, "upstream_pipeline") as conn:
        for _ in range(TURNS):
            bench.empty()
            bench.bare_copy(rows, "bare COPY")
            # What a second processor is worth here: 1 where it is one of its own, more where both share a core, or with others.
            bench.bare_copy(rows, "two bare COPYs at once", ("bare", "bare_too"))
            customer = bench.new_customer(conn)
            bench.ingest(conn, customer, file, "whole ingest")
        bench.ingest(conn, customer, file, "the same file again")
        bench.ingest(conn, customer, other, "the same lines in other bytes")
        days = [today - timedelta(days=back) for back in range(LOOKS, 0, -1)]
        with bench.timed(f"{LOOKS} daily looks"):
            look(conn, Subject(customer.customer_id, customer.name, DriftSettings()), days)
    bench.export(rows, SLOW_LINES)
    _slow_loaders(bench, rows)
    embedded.leave(home / "home")
    turns = {name: taken for name, taken in bench.seconds.items() if not name.startswith("first")}
    seconds = {name: statistics.fmean(taken) for name, taken in turns.items()}
    base, small = seconds["bare COPY"], seconds[f"bare COPY, {SLOW_LINES:,} lines"]
    ratios = {name: value / (small if f"{SLOW_LINES:,}" in name else base) for name, value in seconds.items()}
    return {
        "lines": count,
        "bytes": file.stat().st_size,
        "seconds": seconds,
        "ratio_to_bare_copy": ratios,
        "seconds_by_turn": {name: taken for name, taken in turns.items() if len(taken) > 1},
        "peak_megabytes": peaks,
    }


def main() -> None:
    """Measure, print one table, write the figures beside this file."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--lines", type=int, default=1_000_000)
    options.add_argument(
        "--memory", type=int, nargs="+", metavar="LINES", help="only the peak memory of such files"
    )
    options.add_argument("--peak-of", type=Path, help=argparse.SUPPRESS)
    options.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.peak_of is not None:
        bench = _open(chosen.home)
        bench.customers = time.time_ns()  # beside those of other processes
        with connect(bench.settings, "upstream_pipeline") as conn:
            bench.ingest(conn, bench.new_customer(conn), chosen.peak_of)
        # Not ru_maxrss: that of a child begins with what its parent held.
        (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        print(int(peak) // 1024)
        return
    if chosen.memory:
        with tempfile.TemporaryDirectory() as folder:
            peaks = memory(Path(folder), chosen.memory)
        Path(__file__).with_name("path_memory.json").write_text(json.dumps(peaks, indent=2) + "\n")
        return
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), chosen.lines)
    seconds, ratios, peaks = result["seconds"], result["ratio_to_bare_copy"], result["peak_megabytes"]
    assert isinstance(seconds, dict)
    assert isinstance(ratios, dict)
    assert isinstance(peaks, dict)
    print(f"{chosen.lines:,} claim lines\n\n{'step':56} {'seconds':>8} {'ratio':>7}")
    for name, value in seconds.items():
        print(f"{name:56} {value:8.2f} {ratios[name]:7.2f}")
    for count, peak in peaks.items():
        print(f"{f'peak memory of {int(count):,} lines, MB':56} {peak:8}")
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
