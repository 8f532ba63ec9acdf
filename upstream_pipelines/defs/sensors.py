"""Sensors: they look and ask for runs, nothing else. One that sent something and then raised would send it
again at every tick. Not here: what the runs do.
"""

from datetime import UTC, datetime, timedelta

import dagster as dg

from upstream_pipelines.alerts.store import due_deliveries, write_run_failure_alert
from upstream_pipelines.customers.store import active_customers
from upstream_pipelines.defs.checks import CHECK_KEYS
from upstream_pipelines.defs.jobs import deliver_alerts, drift, ingest, ingest_assets
from upstream_pipelines.defs.partitions import customer_partitions
from upstream_pipelines.defs.resources import Platform
from upstream_pipelines.ingest.uploads import register_landed_files, request_customers_with_work
from upstream_pipelines.observability.tracebacks import safe_message

# A run costs 0.15 s to submit; fifty keep a tick well under its interval.
_REQUESTS_A_TICK = 50
_PARTITION_TAG = "dagster/partition"
# A delivery run that has not ended by then is taken for dead; its deliveries come back with their lease (60 s).
_DELIVERY_RUN_LIMIT = timedelta(minutes=5)
_ACTIVE = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]


@dg.sensor(
    job=ingest,
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Files that stand still in the landing zone, uploads of the API and webhook batches become runs, "
    "one a customer with work.",
)
def waiting_uploads(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SensorResult | dg.SkipReason:
    with platform.connect() as (settings, conn):
        customers = active_customers(conn)
        known = set(context.instance.get_dynamic_partitions(customer_partitions.name or ""))
        missing = [customer.slug for customer in customers if customer.slug not in known]
        for customer in customers:
            try:
                register_landed_files(conn, settings, customer)
            except OSError as error:
                # One customer's folder must not keep the others waiting; the tick's log names it.
                context.log.error("landing folder of %s: %s", customer.slug, safe_message(error))  # noqa: TRY400
        requested = request_customers_with_work(conn, _REQUESTS_A_TICK)
    if not requested and not missing:
        return dg.SkipReason(f"No upload is waiting for any of {len(customers)} active customers.")
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=work.run_key,
                partition_key=work.slug,
                # Only the source that has work: the other's latest materialisation stays what people see.
                asset_selection=ingest_assets(work.sources),
                asset_check_keys=CHECK_KEYS,
            )
            for work in requested
        ],
        dynamic_partitions_requests=[customer_partitions.build_add_request(missing)] if missing else [],
    )


@dg.sensor(
    job=deliver_alerts,
    # Half of it on average, and a run's start, lie between a drift event and its alert.
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Due rows of the alert outbox become a delivery run; one at a time.",
)
def due_alerts(context: dg.SensorEvaluationContext, platform: Platform) -> dg.RunRequest | dg.SkipReason:
    now = datetime.now(UTC)
    with platform.connect() as (_, conn):
        due = due_deliveries(conn, now)
    if due == 0:
        return dg.SkipReason("No delivery is due.")
    active = context.instance.get_runs_count(
        dg.RunsFilter(job_name="deliver_alerts", statuses=_ACTIVE, created_after=now - _DELIVERY_RUN_LIMIT)
    )
    if active:
        return dg.SkipReason(f"{due} deliveries are due and a delivery run is at work.")
    return dg.RunRequest(tags={"upstream/due": str(due)})


@dg.sensor(
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    jobs=[ingest, drift],
    description="Failed runs of a customer are written into the alert outbox, each once.",
)
def failed_runs(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SkipReason:
    # Not a run_failure_sensor: one that raises loses its alert. Here the cursor moves only after the outbox
    # has the alert, and the outbox knows each run once.
    since = datetime.fromisoformat(context.cursor) if context.cursor else datetime.now(UTC) - timedelta(hours=1)
    records = context.instance.get_run_records(
        dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=since), limit=200, ascending=True,
        order_by="update_timestamp",
    )  # fmt: skip
    written = 0
    with platform.connect() as (settings, conn):
        customers = {customer.slug: customer for customer in active_customers(conn)}
        for record in records:
            run = record.dagster_run
            slug = run.tags.get(_PARTITION_TAG)
            if slug is None:
                continue  # a sweep writes its customers' failures itself
            customer = customers.get(slug)
            if customer is None:
                continue  # a run of a partition that is no active customer any more
            written += write_run_failure_alert(
                conn, customer.customer_id, run.run_id, run.job_name, None, "RunFailure",
                f"{settings.ui_url}/runs/{run.run_id}",
            )  # fmt: skip
    if records:
        context.update_cursor(max(record.update_timestamp for record in records).isoformat())
    return dg.SkipReason(f"{len(records)} failed runs since the last tick, {written} alerts written.")
