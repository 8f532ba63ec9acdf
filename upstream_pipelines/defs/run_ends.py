"""How a failed run ended, as Dagster's event log tells it, and which customers a failed sweep was to look at.

Belongs here: reading the log and the run's configuration. Not here: when it is asked (sensors.py), what is told of it
(alerts/). Of errors the class alone is read: their messages may quote a claim.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import dagster as dg
from pydantic import ValidationError

from upstream_pipelines.alerts.runs import RunEnd, Sweep
from upstream_pipelines.defs.drift_assets import SweepConfig, look_at_customers, look_days
from upstream_pipelines.defs.orphans import PROCESS_GONE
from upstream_pipelines.errors import ConfigurationError

# The code server writes this when a run's process is no more: its own name before it, exit code or signal after it.
_CRASHED = "Run execution process for {run_id} "
_READ = {
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.RUN_FAILURE,
    dg.DagsterEventType.ENGINE_EVENT,
}


def read_end(instance: dg.DagsterInstance, run: dg.DagsterRun) -> RunEnd:
    """The step that failed first and the class of its error; else the class of the run's own; else whether the process died."""
    entries = instance.all_logs(run.run_id, of_type=_READ)
    events = [entry.dagster_event for entry in entries if entry.dagster_event is not None]
    for event in events:
        if event.event_type == dg.DagsterEventType.STEP_FAILURE:
            return RunEnd(event.step_key, _class_of(event.step_failure_data.error))
    for event in events:
        if event.event_type == dg.DagsterEventType.RUN_FAILURE and event.event_specific_data is not None:
            error_class = _class_of(event.job_failure_data.error)
            if error_class is not None:
                return RunEnd(None, error_class)
    crashed = _CRASHED.format(run_id=run.run_id)
    messages = [event.message or "" for event in events]
    died = any(message == PROCESS_GONE or crashed in message for message in messages)
    return RunEnd(None, None, process_died=died)


def read_sweep(record: dg.RunRecord) -> Sweep | None:
    """A sweep's run with the bucket that it was given; what its configuration leaves out is as the op has it. None where a
    person's configuration names no bucket or day there can be, or past days alone: nobody's present look is missing then.
    """
    run = record.dagster_run
    ops: Any = run.run_config.get("ops")
    given = ((ops or {}).get(look_at_customers.name) or {}).get("config") or {}
    try:
        config = SweepConfig(**given)
        last = look_days(config.as_of, config.from_day)[-1]
    except (ValidationError, ConfigurationError):
        return None
    if last < record.create_timestamp.date() - timedelta(days=1):
        return None
    if not 0 <= config.bucket < config.buckets:
        return None
    return Sweep(run.run_id, run.job_name, record.create_timestamp, config.bucket, config.buckets)


def _class_of(error: Any) -> str | None:
    """The class of an error as Dagster keeps it (a type that it does not export), of our code's where Dagster wrapped it."""
    while error is not None and error.cause is not None and (error.cls_name or "").startswith("Dagster"):
        error = error.cause
    return error.cls_name if error is not None else None
