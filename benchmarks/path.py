"""Times the stages of the path on seeded claims, as ratios to a bare COPY of the same file in the same run.

`make bench` prints the table and writes benchmarks/path.json. Ratios, since machines are noisy.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import SecretStr

from upstream_pipelines.customers.store import create_customer
from upstream_pipelines.db import embedded
from upstream_pipelines.db.engine import connect
from upstream_pipelines.db.migrate import migrate
from upstream_pipelines.demo.generator import as_known_on, synthetic_claims
from upstream_pipelines.drift.settings import DriftSettings
from upstream_pipelines.drift.store import Subject, look, refresh_activity
from upstream_pipelines.ingest.merging import merge_staged
from upstream_pipelines.ingest.staging import stage_waiting
from upstream_pipelines.ingest.uploads import send_file
from upstream_pipelines.settings import Settings

DAYS = 700
LOOKS = 60


def main() -> None:
    today = datetime.now(UTC).date()
    claims = as_known_on(synthetic_claims(1, today, DAYS), today)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        url = embedded.join(home / "home")
        settings = Settings(home=home / "home", database_url=SecretStr(url.render_as_string(hide_password=False)))
        migrate(settings)
        file = home / "claims.csv"
        file.write_text(claims.to_csv(index=False, date_format="%Y-%m-%d"))
        seconds: dict[str, float] = {}

        def timed(name: str, step: Callable[[], object]) -> None:
            started = time.perf_counter()
            step()
            seconds[name] = time.perf_counter() - started

        with connect(settings, "upstream_pipeline") as conn:
            customer, _ = create_customer(conn, "bench", "Bench")
            conn.execute(
                "CREATE TEMP TABLE bare (claim_id text, line_number int, payer text, cpt text, service_date date, "
                "submitted_date date, decided_date date, outcome text, billed_amount numeric, allowed_amount numeric, "
                "paid_amount numeric, denial_reason_code text, provider_npi text, PRIMARY KEY (claim_id, line_number))"
            )

            def bare_copy() -> None:
                statement = "COPY bare FROM STDIN (FORMAT csv, HEADER)"
                with conn.cursor() as cursor, cursor.copy(statement) as copy:
                    copy.write(file.read_bytes())

            timed("bare COPY into a keyed table", bare_copy)
            send_file(conn, settings, customer, file)
            timed(
                "read, judge, stage", lambda: stage_waiting(conn, settings, customer, source="csv", run_id="bench")
            )
            timed("merge into claims", lambda: merge_staged(conn, settings, customer, "bench"))
            timed("count activity", lambda: refresh_activity(conn, customer.customer_id))
            send_file(conn, settings, customer, file)
            timed(
                "the same file again",
                lambda: stage_waiting(conn, settings, customer, source="csv", run_id="bench"),
            )
            days = [today - timedelta(days=back) for back in range(LOOKS, 0, -1)]
            subject = Subject(customer.customer_id, customer.name, DriftSettings())
            timed(f"{LOOKS} daily looks", lambda: look(conn, subject, days))
        embedded.leave(home / "home")
    base = seconds["bare COPY into a keyed table"]
    print(f"{len(claims):,} claim lines\n")
    print(f"{'stage':32} {'seconds':>8} {'ratio':>7}")
    for name, value in seconds.items():
        print(f"{name:32} {value:8.2f} {value / base:7.1f}")
    result = {
        "lines": len(claims),
        "seconds": seconds,
        "ratio_to_bare_copy": {name: value / base for name, value in seconds.items()},
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
