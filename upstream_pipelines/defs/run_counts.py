"""The sensor that notes Dagster's runs in numbers, where the API and `upstream status` read them.

Not here: what is told of a failed run (sensors.py), the shape of the numbers (operations/status.py).
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

from upstream_pipelines.defs.jobs import (
    cleanup_night,
    deliver_alerts,
    drift,
    drift_sweep,
    ingest,
    placebo_night,
    reports,
)
from upstream_pipelines.defs.resources import Platform
from upstream_pipelines.operations.status import JobRuns, note_runs

JOBS = tuple(
    job.name for job in (ingest, drift, drift_sweep, placebo_night, cleanup_night, deliver_alerts, reports)
)
_STARTED = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
_QUEUED = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED]


@dg.sensor(
    # Five small questions a job; a scrape every 15 to 60 s is usual.
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Notes how many runs are queued, at work and failed, and how each job's last run went, for /metrics and "
    "`upstream status`. How long ago it did says whether the daemon lives.",
)
def run_counts(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SkipReason:
    now = datetime.now(UTC)
    counted = count_runs(context.instance, now)
    with platform.connect() as (_, conn):
        note_runs(conn, counted, now)
    active = sum(one.queued + one.started for one in counted)
    return dg.SkipReason(f"{active} runs are queued or at work; noted.")


def count_runs(instance: dg.DagsterInstance, now: datetime) -> list[JobRuns]:
    """Of each job, from Dagster's storage."""
    return [_count(instance, name, now) for name in JOBS]


def _count(instance: dg.DagsterInstance, job_name: str, now: datetime) -> JobRuns:
    last = _newest(instance, job_name)
    success = _newest(instance, job_name, [dg.DagsterRunStatus.SUCCESS])
    failed = dg.RunsFilter(
        job_name=job_name, statuses=[dg.DagsterRunStatus.FAILURE], updated_after=now - timedelta(days=1)
    )
    return JobRuns(
        job_name=job_name,
        queued=instance.get_runs_count(dg.RunsFilter(job_name=job_name, statuses=_QUEUED)),
        started=instance.get_runs_count(dg.RunsFilter(job_name=job_name, statuses=_STARTED)),
        failed=instance.get_runs_count(failed),
        last_run_id=last.dagster_run.run_id if last else None,
        last_status=last.dagster_run.status.value.lower() if last else None,
        last_started_at=_time(last.start_time) if last else None,
        last_ended_at=_time(last.end_time) if last else None,
        last_success_at=_time(success.end_time) if success else None,
    )


def _newest(
    instance: dg.DagsterInstance, job_name: str, statuses: Sequence[dg.DagsterRunStatus] = ()
) -> dg.RunRecord | None:
    wanted = dg.RunsFilter(job_name=job_name, statuses=list(statuses))
    return next(iter(instance.get_run_records(wanted, limit=1)), None)


def _time(seconds: float | None) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds is not None else None
