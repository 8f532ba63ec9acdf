"""Sensors: they look, ask for runs, and put what they saw into the alert outbox, nothing else. One that sent something
and then raised would send it again at every tick; the outbox knows each thing once. Not here: failed runs (failure_sensor.py), what the runs do.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from functools import partial

import dagster as dg

from upstream_pipelines.alerts.store import due_deliveries
from upstream_pipelines.claims.naming import ask_for_new_names, customers_with_new_names
from upstream_pipelines.customers.flags import customers_without
from upstream_pipelines.customers.store import active_customers
from upstream_pipelines.defs.anomaly_checks import unusual_uploads
from upstream_pipelines.defs.arrival_check import uploads_arrive
from upstream_pipelines.defs.checks import CHECK_KEYS
from upstream_pipelines.defs.drift_assets import partition_link
from upstream_pipelines.defs.jobs import (
    deliver_alerts,
    ingest,
    ingest_assets,
    names_assets,
    reports,
)
from upstream_pipelines.defs.partitions import KnownKeys, customer_partitions
from upstream_pipelines.defs.resources import Platform
from upstream_pipelines.defs.run_tags import NAMES_TAGS, PARTITION, report_tags, upload_tags
from upstream_pipelines.ingest.landing_watch import LandingWatch
from upstream_pipelines.ingest.missed_uploads import end_silences_that_are_over, watch
from upstream_pipelines.ingest.uploads import (
    LOCK_CLASS,
    Work,
    leave_to_run,
    register_landed_files,
    request_customers_with_work,
)
from upstream_pipelines.observability.tracebacks import safe_message
from upstream_pipelines.reports.store import request_customers_with_reports

# A run costs 0.15 s to submit; fifty keep a tick well under its interval.
_REQUESTS_A_TICK = 50
# A delivery run that has not ended by then is taken for dead; its deliveries come back with their lease (60 s).
_DELIVERY_RUN_LIMIT = timedelta(minutes=5)
# Silence is told in days; a watch reads the days of every customer's uploads.
_SILENCE_EVERY = timedelta(hours=1)
# Of this process, by landing zone: what was found empty, and who has a key.
_WATCHED: dict[str, LandingWatch] = {}
_KEYS: dict[str, KnownKeys] = {}
_QUEUED = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED]
_ACTIVE = [*_QUEUED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]


def _in_line(instance: dg.DagsterInstance, job: str, slugs: Sequence[str] = ()) -> set[str]:
    """Customers with a run of the job in the queue, of all or of some: it takes what waits when it begins, and a second would
    begin for nothing. Each costs 2.5 s of a core, at the very time when the queue is long.
    """
    return {run.tags[PARTITION] for run in _runs(instance, job, _QUEUED, slugs)}


def _runs(
    instance: dg.DagsterInstance, job: str, statuses: list[dg.DagsterRunStatus], slugs: Sequence[str]
) -> list[dg.DagsterRun]:
    of = {PARTITION: list(slugs)} if slugs else {}
    found = instance.get_runs(dg.RunsFilter(job_name=job, statuses=statuses, tags=of))
    return [run for run in found if PARTITION in run.tags]


def _not_taken(instance: dg.DagsterInstance, asked: Sequence[Work]) -> list[Work]:
    """Work that no run takes: one for changed names reads no upload, one for batches no file.

    A run takes what waits when it begins to read, which may be half a minute after its start where much starts, and between
    its steps it holds no lock. So one at work takes what was asked for before, and what comes while that is unread: a customer
    has one run at a time, and another could begin no earlier than its end. It takes nothing that comes later.
    """
    taken: dict[str, list[tuple[bool, AbstractSet[dg.AssetKey] | None]]] = {}
    for run in _runs(instance, ingest.name, _ACTIVE, [work.slug for work in asked]):
        if run.parent_run_id is not None:
            continue  # re-executed, perhaps from where it failed: the steps that load may be done already
        at_work = run.status == dg.DagsterRunStatus.STARTED
        taken.setdefault(run.tags[PARTITION], []).append((at_work, run.asset_selection))
    return [
        work
        for work in asked
        if not any(
            (not at_work or work.again or work.unread)
            and (assets is None or set(ingest_assets(work.sources)) <= assets)
            for at_work, assets in taken.get(work.slug, [])
        )
    ]


def _added(missing: Sequence[str]) -> list[dg.AddDynamicPartitionsRequest]:
    """What gives these customers a key."""
    return [customer_partitions.build_add_request(missing)] if missing else []


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
        keys = _KEYS.setdefault(settings.landing_root, KnownKeys())
        missing = keys.missing(context.instance, (customer.slug for customer in customers))
        watch = _WATCHED.setdefault(settings.landing_root, LandingWatch())
        due = set(watch.due(settings, (customer.slug for customer in customers)))
        untaken = customers_without(conn, "csv_upload")
        for customer in customers:
            if customer.slug not in due:
                continue
            try:
                if customer.customer_id in untaken:
                    left = watch.newly_left(settings, customer.slug)
                    if left is not None:
                        context.log.warning(
                            "landing folder of %s: %s files are left where they are, csv_upload is off. `upstream customers "
                            "flags %s --on csv_upload` has them taken.", customer.slug, left, customer.slug,
                        )  # fmt: skip
                    continue
                watch.taken_again(customer.slug)
                register_landed_files(conn, settings, customer)
                watch.looked(settings, customer.slug)
            except OSError as error:
                # One customer's folder must not keep the others waiting; the tick's log names it.
                context.log.error("landing folder of %s: %s", customer.slug, safe_message(error))  # noqa: TRY400
        with conn.transaction():
            asked = request_customers_with_work(conn, _REQUESTS_A_TICK)
            # Dagster is asked only where there is work; others are looked at again in 30 s, should their run be lost.
            requested = _not_taken(context.instance, asked) if asked else []
            taken = [work.slug for work in asked if work not in requested]
            if taken:
                leave_to_run(conn, taken)
    if asked and not requested and not missing:
        return dg.SkipReason(
            f"{len(asked)} customers have a run that takes their uploads, in the queue or at work."
        )
    if not requested and not missing:
        return dg.SkipReason(f"No upload is waiting for any of {len(customers)} active customers.")
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=work.run_key,
                partition_key=work.slug,
                # Only the source that has work: the other's latest materialisation stays what people see.
                asset_selection=ingest_assets(work.sources),
                asset_check_keys=[*CHECK_KEYS, *unusual_uploads.check_keys, *uploads_arrive.check_keys],
                tags=upload_tags(work.upload_ids, work.request_ids, work.count),
            )
            for work in requested
        ],
        dynamic_partitions_requests=_added(missing),
    )


@dg.sensor(
    job=ingest,
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Changed payer aliases and CPT groups become runs that give them to the stored claims and count activity again, one "
    "a customer; where an upload waits its run does that.",
)
def changed_names(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SensorResult | dg.SkipReason:
    with platform.connect() as (settings, conn):
        due = customers_with_new_names(conn, LOCK_CLASS, _REQUESTS_A_TICK)
        if not due:
            return dg.SkipReason("No changed alias or group waits to be applied.")
        # Dagster is asked only now, and of these alone: at a burst of uploads its queue is thousands long.
        in_line = _in_line(context.instance, ingest.name, due)
        asked = ask_for_new_names(conn, [slug for slug in due if slug not in in_line])
        keys = _KEYS.setdefault(settings.landing_root, KnownKeys())
    if not asked:
        return dg.SkipReason(f"{len(due)} customers have a run in the queue that applies their changed names.")
    missing = keys.missing(context.instance, (work.slug for work in asked))
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=work.run_key,
                partition_key=work.slug,
                asset_selection=names_assets(),
                # They tell of uploads, of which this run has none.
                asset_check_keys=[],
                tags=NAMES_TAGS,
            )
            for work in asked
        ],
        dynamic_partitions_requests=_added(missing),
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
    job=reports,
    # Somebody waits for it; a tick that finds nothing is one look at a small index.
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Reports that were asked for and are not made yet become runs, one a customer; also those that a killed run had "
    "begun.",
)
def waiting_reports(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SensorResult | dg.SkipReason:
    # The queued alone: a run that was killed stays "started" for hours, and its customer must not wait for that.
    in_line = _in_line(context.instance, reports.name)
    with platform.connect() as (settings, conn):
        requested = request_customers_with_reports(conn, _REQUESTS_A_TICK, in_line)
        keys = _KEYS.setdefault(settings.landing_root, KnownKeys())
    if not requested:
        return dg.SkipReason("No report is waiting.")
    missing = keys.missing(context.instance, (work.slug for work in requested))
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=work.run_key,
                partition_key=work.slug,
                run_config={"ops": {"drift_report": {"config": {"only_waiting": True}}}},
                tags=report_tags(work.report_ids, work.request_ids, work.count),
            )
            for work in requested
        ],
        dynamic_partitions_requests=_added(missing),
    )


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Customers that sent no upload for longer than expected are written into the alert outbox (looked for once "
    "an hour), and those that send again are taken back (within a minute).",
)
def silent_customers(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SkipReason:
    # Written here and not in a run: it is one statement and, on a few days a year, an alert. The database knows each
    # silence once, and the cursor moves only after it does.
    now = datetime.now(UTC)
    with platform.connect() as (settings, conn):
        link = partial(partition_link, settings)
        if context.cursor and now - datetime.fromisoformat(context.cursor) < _SILENCE_EVERY:
            ended = end_silences_that_are_over(conn, now, link)
            return dg.SkipReason(f"{ended} customers send again.")
        watched = watch(conn, now, link)
    context.update_cursor(now.isoformat())
    # Who could not be told is looked at again with the others in an hour: the database keeps no silence without its alert.
    untold = f" {watched.untold} could not be told and are tried again." if watched.untold else ""
    return dg.SkipReason(
        f"{watched.customers} customers watched, {watched.noticed} went silent, {watched.ended} are so no longer.{untold}"
    )
