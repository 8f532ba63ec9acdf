"""Whether a customer still sends, as a check of payer_activity. Not here: how long is too long (ingest/cadence.py), the
alert (sensors.py).
"""

import warnings
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg

from upstream_pipelines.db.engine import Connection
from upstream_pipelines.defs.claims_assets import payer_activity
from upstream_pipelines.defs.partitions import customer_partitions
from upstream_pipelines.defs.resources import Platform
from upstream_pipelines.ingest.cadence import FEWEST_GAPS, is_silent
from upstream_pipelines.ingest.missed_uploads import Arrivals, read_arrivals

CHECK_NAME = "uploads_arrive"


def arrival_state(arrivals: Arrivals, today: date) -> dict[str, Any]:
    """What the check says of a customer: `passed`, `description`, `metadata`."""
    cadence = arrivals.cadence
    quiet_days = (today - arrivals.last_day).days
    metadata: dict[str, Any] = {
        "last upload": str(arrivals.last_day) if arrivals.has_sent else "none yet",
        "days since": quiet_days,
    }
    if cadence is None:
        return {
            "passed": True,
            "description": f"Not known yet: {FEWEST_GAPS + 1} days with uploads in half a year teach a habit; "
            "cadence_days in the customer's configuration sets one.",
            "metadata": metadata,
        }
    metadata |= {
        "usual days between uploads": cadence.usual_days,
        "silent after days": cadence.limit_days,
        "known from": "cadence_days in the configuration"
        if cadence.gaps is None
        else f"{cadence.gaps} gaps of the last half year",
    }
    silent = is_silent(cadence, arrivals.last_day, today)
    return {
        "passed": not silent,
        "description": f"Nothing has come for {quiet_days} days, and {cadence.limit_days} are allowed. Look at the export "
        "and at the way it is sent; if this is the new habit, set cadence_days in the customer's configuration."
        if silent
        else None,
        "metadata": metadata,
    }


def evaluate_arrivals(conn: Connection, customer_id: int, today: date) -> dict[str, Any]:
    """The same, read for one customer."""
    (arrivals,) = read_arrivals(conn, today, customer_id)
    return arrival_state(arrivals, today)


with warnings.catch_warnings():
    # Partitioned checks are in preview; they are pinned with Dagster and covered by tests.
    warnings.simplefilter("ignore", dg.PreviewWarning)

    @dg.asset_check(
        name=CHECK_NAME,
        asset=payer_activity,
        partitions_def=customer_partitions,
        description="Uploads arrive as often as the customer's configuration says (cadence_days) or as its own history "
        "teaches. A payer's change in days without uploads is seen only once claims arrive again.",
    )
    def uploads_arrive(context: dg.AssetCheckExecutionContext, platform: Platform) -> dg.AssetCheckResult:
        """As of today."""
        with platform.for_customer(context.partition_key) as (_, conn, customer):
            state = evaluate_arrivals(conn, customer.customer_id, datetime.now(UTC).date())
        return dg.AssetCheckResult(severity=dg.AssetCheckSeverity.WARN, **state)
