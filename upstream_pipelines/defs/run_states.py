"""What Dagster's storage says of some runs, for `upstream trace`. Not here: why one failed (run_ends.py), printing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import dagster as dg

from upstream_pipelines.operations.timeline import RunState


def run_states(instance: dg.DagsterInstance, run_ids: Sequence[str]) -> Mapping[str, RunState]:
    """By run id; a run that Dagster does not know, or no longer, is left out."""
    if not run_ids:
        return {}
    records = instance.get_run_records(dg.RunsFilter(run_ids=list(run_ids)))
    return {
        record.dagster_run.run_id: RunState(
            record.dagster_run.job_name,
            record.dagster_run.status.value.lower(),
            _time(record.start_time),
            _time(record.end_time),
        )
        for record in records
    }


def _time(seconds: float | None) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds is not None else None
