"""The only place that assembles: one function builds everything, Dagster loads the result.

Belongs here: the list of what there is. Not here: any of it. Loading it reads no setting and connects to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from upstream_pipelines.defs import (
    alert_assets,
    anomaly_checks,
    arrival_check,
    checks,
    claims_assets,
    drift_assets,
    failure_sensor,
    jobs,
    placebo_check,
    report_assets,
    run_counts,
    schedules,
    sensors,
)
from upstream_pipelines.defs.resources import Platform


def build_definitions(resources: Mapping[str, Any] | None = None) -> dg.Definitions:
    """All assets, checks, jobs, sensors and schedules; `resources` replaces some by name (tests)."""
    return dg.Definitions(
        assets=[
            claims_assets.csv_claims,
            claims_assets.webhook_claims,
            claims_assets.remittances,
            claims_assets.claims,
            claims_assets.upload_quality,
            claims_assets.payer_activity,
            drift_assets.payer_drift,
            alert_assets.alerts,
            report_assets.drift_report,
        ],
        asset_checks=[
            checks.quality_rules,
            anomaly_checks.unusual_uploads,
            placebo_check.placebo_false_events,
            arrival_check.uploads_arrive,
            alert_assets.alerts_arrive,
        ],
        jobs=[
            jobs.ingest,
            jobs.drift,
            jobs.drift_sweep,
            jobs.placebo_night,
            jobs.cleanup_night,
            jobs.deliver_alerts,
            jobs.reports,
        ],
        sensors=[
            sensors.waiting_uploads,
            sensors.changed_names,
            sensors.due_alerts,
            sensors.waiting_reports,
            failure_sensor.failed_runs,
            sensors.silent_customers,
            run_counts.run_counts,
        ],
        schedules=[schedules.daily_drift, schedules.nightly_placebo, schedules.nightly_cleanup],
        resources={"platform": Platform(), **(resources or {})},
        # A trivial run costs 2.5 s in-process and 4 s multiprocess; parallelism is between runs.
        executor=dg.in_process_executor,
    )


defs = build_definitions()
