"""What Dagster's storage holds of one customer, taken away: runs, their logs, materialisations, check results, the key.

Not here: the customer's own rows and files (operations/deletion.py). What stays, until the nightly cleanup takes it: lines of
runs of all customers that name this one (sweeps, deliveries), and ticks of sensors, which Dagster purges itself.
"""

from __future__ import annotations

from typing import LiteralString

import dagster as dg

from upstream_pipelines.db.migrate import connect_as_login, dagster_url
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.defs.partitions import customer_partitions
from upstream_pipelines.defs.run_tags import PARTITION
from upstream_pipelines.errors import ConflictError
from upstream_pipelines.settings import Settings

QUERIES = load_queries(__package__)

_BATCH = 5_000
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def require_no_run(instance: dg.DagsterInstance, slug: str) -> None:
    """A key must not go while a run of it is queued or at work.

    Raises:
        ConflictError: one is.
    """
    if count := instance.get_runs_count(dg.RunsFilter(tags={PARTITION: slug}, statuses=UNFINISHED)):
        raise ConflictError(
            f"{count} runs of customer {slug} are queued or at work. Wait for their end, or end them in the Dagster UI."
        )


def forget_partition(instance: dg.DagsterInstance, settings: Settings, slug: str) -> dict[str, int]:
    """Delete runs, events, check results and the key of a customer's partition. Killed, it is simply called again.

    Dagster's own `wipe_asset_partitions` is not implemented for PostgreSQL. Returns: how many of each.
    """
    runs = 0
    while found := instance.get_runs(dg.RunsFilter(tags={PARTITION: slug}), limit=100):
        for run in found:
            instance.compute_log_manager.delete_logs(prefix=[run.run_id])
            instance.delete_run(run.run_id)
        runs += len(found)
    events = _in_batches(settings, QUERIES.forget_partition_events, slug)
    checks = _in_batches(settings, QUERIES.forget_partition_checks, slug)
    with connect_as_login(dagster_url(settings)) as conn:
        conn.execute(QUERIES.forget_last_events)
    instance.delete_dynamic_partition(customer_partitions.name or "", slug)
    return {"runs": runs, "asset events": events, "check results": checks}


def _in_batches(settings: Settings, statement: LiteralString, slug: str) -> int:
    count = 0
    with connect_as_login(dagster_url(settings)) as conn:
        while True:
            row = conn.execute(statement, {"slug": slug, "limit": _BATCH}).fetchone()
            assert row is not None
            deleted = int(row[0])
            count += deleted
            if deleted < _BATCH:
                return count
