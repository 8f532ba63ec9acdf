"""Retention in Dagster's own storage, which has none but for ticks, and the nightly job. Not here: that of the product's tables
(operations/cleanup.py), the schedule (schedules.py).
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, LiteralString

import dagster as dg
import psycopg

from upstream_pipelines.db.migrate import connect_as_login, dagster_url
from upstream_pipelines.defs.forgetting import QUERIES, UNFINISHED
from upstream_pipelines.defs.resources import Platform
from upstream_pipelines.operations.cleanup import BATCH_ROWS, Cleaned, clean_up, in_batches, oldest_kept
from upstream_pipelines.settings import Settings

# Each run is deleted by Dagster, in some 10 ms.
_BATCH_RUNS = 500


def clean_dagster(
    instance: dg.DagsterInstance, settings: Settings, now: datetime, *, dry_run: bool = False
) -> list[Cleaned]:
    """Delete log lines, replaced asset events and check results, and empty runs, in batches. `dry_run`: count them."""
    steps = (
        ("log lines of runs", settings.retain_run_logs_days, QUERIES.count_log_lines, QUERIES.prune_log_lines),
        ("replaced asset events", settings.retain_asset_events_days, QUERIES.count_asset_events, QUERIES.prune_asset_events),
        ("replaced check results", settings.retain_asset_events_days, QUERIES.count_check_results, QUERIES.prune_check_results),
    )  # fmt: skip
    cleaned = []
    with connect_as_login(dagster_url(settings)) as conn:
        for kind, days, count, prune in steps:
            before = oldest_kept(now, days)
            older = 0
            if before is not None:
                older = _count(conn, count, before) if dry_run else _prune(instance, conn, prune, before)
            cleaned.append(Cleaned(kind, days, older))
        before = oldest_kept(now, settings.retain_run_logs_days)
        runs = 0
        if before is not None:
            runs = _count(conn, QUERIES.count_runs, before) if dry_run else _delete_runs(instance, conn, before)
        return [*cleaned, Cleaned("runs that made no asset", settings.retain_run_logs_days, runs)]


def _parameters(before: datetime) -> dict[str, Any]:
    # Dagster's columns are UTC without saying so.
    return {
        "before": before.astimezone(UTC).replace(tzinfo=None), "unfinished": [status.value for status in UNFINISHED],
    }  # fmt: skip


def _count(conn: psycopg.Connection, statement: LiteralString, before: datetime) -> int:
    row = conn.execute(statement, _parameters(before)).fetchone()
    assert row is not None
    return int(row[0])


def _prune(
    instance: dg.DagsterInstance, conn: psycopg.Connection, statement: LiteralString, before: datetime
) -> int:
    after = 0

    def batch() -> int:
        nonlocal after
        row = conn.execute(statement, {**_parameters(before), "after": after, "limit": BATCH_ROWS}).fetchone()
        assert row is not None
        count, last, runs = row
        after = last or after
        _delete_captured(instance, runs or ())
        return int(count)

    return in_batches(batch, BATCH_ROWS)


def _delete_runs(instance: dg.DagsterInstance, conn: psycopg.Connection, before: datetime) -> int:
    def batch() -> int:
        found = conn.execute(QUERIES.runs_to_delete, {**_parameters(before), "limit": _BATCH_RUNS}).fetchall()
        for (run_id,) in found:
            instance.delete_run(run_id)
        return len(found)

    return in_batches(batch, _BATCH_RUNS)


def _delete_captured(instance: dg.DagsterInstance, runs: Sequence[str]) -> None:
    """What the runs printed, which Dagster keeps in files."""
    for run_id in runs:
        instance.compute_log_manager.delete_logs(prefix=[run_id])


@dg.op(tags={"dagster/kind": "postgres"})
def clean(context: dg.OpExecutionContext, platform: Platform) -> None:
    """Delete what is older than the settings keep it: of the product's tables, the landing zone, and Dagster's logs."""
    now = datetime.now(UTC)
    with platform.connect() as (settings, conn):
        of_dagster = clean_dagster(context.instance, settings, now)
        cleaned, left = clean_up(conn, settings, now)
    counts = {one.kind: one.older for one in (*of_dagster, *cleaned)} | left.counts
    if left.text:
        # A step that fails has no output: what was deleted stands with its failure.
        raise dg.Failure(
            description=f"{left.text} All else was done; the next night, or `upstream cleanup`, tries these again.",
            metadata=counts,
            allow_retries=False,
        )
    context.add_output_metadata(counts)
