"""The daily and the nightly schedules. Not here: what a sweep or a night does (drift_assets.py, placebo_check.py, cleaning.py)."""

from collections.abc import Iterator
from datetime import UTC

import dagster as dg

from upstream_pipelines.customers.store import count_active
from upstream_pipelines.defs.jobs import cleanup_night, drift_sweep, placebo_night
from upstream_pipelines.defs.resources import Platform
from upstream_pipelines.drift.placebo_store import due_customers

# A customer takes 0.05 to 0.1 s, a run 2.5 s to start (8 s on busy cores): of 50 customers a run starts for as long as it looks,
# and above 16 runs two cores have nothing left to share.
_CUSTOMERS_A_BUCKET = 250
_MOST_BUCKETS = 16


def sweep_buckets(customers: int) -> int:
    """How many runs look at so many customers."""
    return min(_MOST_BUCKETS, -(-customers // _CUSTOMERS_A_BUCKET))


@dg.schedule(
    job=drift_sweep,
    cron_schedule="0 6 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every day at 06:00 UTC: one run for each bucket of customers, with the day as `as_of`.",
)
def daily_drift(
    context: dg.ScheduleEvaluationContext, platform: Platform
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    as_of = context.scheduled_execution_time.astimezone(UTC).date().isoformat()
    with platform.connect() as (_, conn):
        customers = count_active(conn)
    if customers == 0:
        yield dg.SkipReason("There is no active customer yet. `upstream customers create` makes one.")
    buckets = sweep_buckets(customers)
    for bucket in range(buckets):
        yield dg.RunRequest(
            run_key=f"{as_of}/{bucket}/{buckets}",
            run_config={
                "ops": {"look_at_customers": {"config": {"as_of": as_of, "bucket": bucket, "buckets": buckets}}}
            },
            tags={"upstream/as_of": as_of, "upstream/bucket": f"{bucket + 1} of {buckets}"},
        )


@dg.schedule(
    job=placebo_night,
    # Before the drift sweep, which shows the rate beside its results.
    cron_schedule="0 2 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night at 02:00 UTC: false events on the customers' own shuffled histories, each customer once a "
    "week, within the setting placebo_looks_a_night.",
)
def nightly_placebo(
    context: dg.ScheduleEvaluationContext, platform: Platform
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    night = context.scheduled_execution_time.astimezone(UTC).date()
    with platform.connect() as (settings, conn):
        due = len(due_customers(conn, night, settings.placebo_looks_a_night))
    if not due:
        yield dg.SkipReason("It is no customer's turn to be measured.")
        return
    yield dg.RunRequest(
        run_key=night.isoformat(),
        run_config={"ops": {"measure_placebo": {"config": {"night": night.isoformat()}}}},
        tags={"upstream/night": night.isoformat(), "upstream/customers": str(due)},
    )


@dg.schedule(
    job=cleanup_night,
    # Between the placebo and the drift sweep.
    cron_schedule="0 4 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night at 04:00 UTC: retention, so that no log grows for ever; what goes after how many days the "
    "settings retain_* say.",
)
def nightly_cleanup(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    night = context.scheduled_execution_time.astimezone(UTC).date().isoformat()
    return dg.RunRequest(run_key=night, tags={"upstream/night": night})
