"""The jobs. Not here: what asks for them (sensors.py, schedules.py)."""

from collections.abc import Collection

import dagster as dg

from upstream_pipelines.defs.alert_assets import deliver
from upstream_pipelines.defs.anomaly_checks import unusual_uploads
from upstream_pipelines.defs.arrival_check import uploads_arrive
from upstream_pipelines.defs.checks import quality_rules
from upstream_pipelines.defs.claims_assets import (
    claims,
    csv_claims,
    payer_activity,
    remittances,
    upload_quality,
    webhook_claims,
)
from upstream_pipelines.defs.cleaning import clean
from upstream_pipelines.defs.drift_assets import look_at_customers, payer_drift
from upstream_pipelines.defs.placebo_check import measure_placebo, placebo_false_events
from upstream_pipelines.defs.report_assets import drift_report
from upstream_pipelines.defs.run_queue import DELIVERY_JOB, WORK

ingest = dg.define_asset_job(
    "ingest",
    selection=dg.AssetSelection.assets(
        csv_claims, webhook_claims, remittances, claims, upload_quality, payer_activity
    )
    | dg.AssetSelection.checks(quality_rules, unusual_uploads, uploads_arrive),
    description="Takes all waiting uploads of one customer: read, judge, merge, report, count again. For changed aliases and groups "
    "the claims are named and counted again alone.",
    tags=WORK,
)


def ingest_assets(sources: Collection[str]) -> list[dg.AssetKey]:
    """The job's assets for uploads of these sources (csv, webhook, x12_835)."""
    staged = {"csv": csv_claims, "webhook": webhook_claims, "x12_835": remittances}
    return [
        *(asset.key for source, asset in staged.items() if source in sources),
        *(asset.key for asset in (claims, upload_quality, payer_activity)),
    ]


def names_assets() -> list[dg.AssetKey]:
    """The job's assets for changed aliases and groups: no upload is read."""
    return [claims.key, payer_activity.key]


drift = dg.define_asset_job(
    "drift",
    selection=dg.AssetSelection.assets(payer_drift)
    | dg.AssetSelection.checks(placebo_false_events, uploads_arrive),
    description="Looks at one customer's payers; past days by config. Shows the false events measured beside it.",
    tags=WORK,
)


reports = dg.define_asset_job(
    "reports",
    selection=dg.AssetSelection.assets(drift_report),
    description="Makes the reports of one customer that were asked for; asked for by a sensor.",
    tags=WORK,
)


@dg.job(description="Looks at every active customer; one run a bucket of customers, asked for daily.", tags=WORK)
def drift_sweep() -> None:
    look_at_customers()


@dg.job(
    description="Measures false events on the shuffled histories of the customers whose turn it is; asked for at night.",
    tags=WORK,
)
def placebo_night() -> None:
    measure_placebo()


@dg.job(
    description="Takes away what is older than the settings keep it, logs of Dagster's runs among it; asked for at night.",
    tags=WORK,
)
def cleanup_night() -> None:
    clean()


@dg.job(
    name=DELIVERY_JOB,
    description="Sends due alerts by e-mail, Slack and signed webhook; asked for by a sensor.",
    tags={"dagster/priority": "10"},
)
def deliver_alerts() -> None:
    deliver()
