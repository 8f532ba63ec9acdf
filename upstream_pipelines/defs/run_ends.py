"""How a failed run ended, as Dagster's event log tells it, and which customers a failed sweep was to look at.

Belongs here: reading the log and a run's configuration. Not here: when it is asked (sensors.py), what is told of it
(alerts/). Of errors the class alone is read: their messages may quote a claim.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import dagster as dg
from pydantic import ValidationError

from upstream_pipelines.alerts.runs import RunEnd, Sweep
from upstream_pipelines.defs.drift_assets import (
    DriftConfig,
    SweepConfig,
    is_present,
    look_at_customers,
    look_days,
    payer_drift,
)
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
    """The step that failed first and the class of its error; else the class of the run's own; else whether the process died,
    and whether it had begun at all.
    """
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
    record = instance.get_run_record_by_id(run.run_id)
    return RunEnd(
        None, None, process_died=died, never_began=not died and record is not None and record.start_time is None
    )


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
    if not is_present(last, record.create_timestamp.date()):
        return None
    if not 0 <= config.bucket < config.buckets:
        return None
    return Sweep(run.run_id, run.job_name, record.create_timestamp, config.bucket, config.buckets)


def looked_as_far(record: dg.RunRecord, failed: dg.RunRecord) -> bool:
    """Whether a run of payer_drift looked at what a failed one was to look at: at the present day where that was it, and at
    all of a span or of past days.
    """
    (first, last, present), (failed_first, failed_last, failed_present) = _days_of(record), _days_of(failed)
    if failed_present and failed_first == failed_last:
        return present
    return first <= failed_first and failed_last <= last


def _days_of(record: dg.RunRecord) -> tuple[date, date, bool]:
    """The first and the last day that a run of payer_drift was to look at, and whether it was to look at its own present."""
    began = record.create_timestamp.date()
    ops: Any = record.dagster_run.run_config.get("ops")
    given = ((ops or {}).get(payer_drift.op.name) or {}).get("config") or {}
    try:
        config = DriftConfig(**given)
        days = look_days(config.as_of or began.isoformat(), config.from_day)
    except (ValidationError, ConfigurationError):
        return began, began, True  # it looked at nothing; what comes next is a present look
    return days[0], days[-1], is_present(days[-1], began)


def _class_of(error: Any) -> str | None:
    """The class of an error as Dagster keeps it (a type that it does not export), of our code's where Dagster wrapped it."""
    while error is not None and error.cause is not None and (error.cls_name or "").startswith("Dagster"):
        error = error.cause
    return error.cls_name if error is not None else None
