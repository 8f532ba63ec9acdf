"""The sensor of failed runs: it puts them into the alert outbox and takes them back. Not here: how a run ended (run_ends.py), what is
told (alerts/), the other sensors (sensors.py).

One customer's trouble is its own: what could not be written for it is kept in the cursor and tried again at the next ticks.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Self

import dagster as dg

from upstream_pipelines.alerts.apart import write_apart
from upstream_pipelines.alerts.runs import RunFailure, open_run_failures, write_recovery, write_sweep_failure
from upstream_pipelines.alerts.store import write_run_failure_alert
from upstream_pipelines.customers.flags import customers_without
from upstream_pipelines.customers.store import active_customers, customers_of_bucket
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.defs.jobs import drift, drift_sweep, ingest, reports
from upstream_pipelines.defs.resources import Platform
from upstream_pipelines.defs.run_ends import looked_as_far, read_end, read_sweep
from upstream_pipelines.defs.run_tags import PARTITION
from upstream_pipelines.settings import Settings

# Customers asked about dead sweeps in a tick: 7 to 28 ms each, and Dagster ends a tick after 60 s.
_MOST_TOLD = 1000
# Runs of which something is owed that are tried again in a tick; the others wait for theirs.
_MOST_AGAIN = 50
_ENDED = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS]


@dg.sensor(
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    jobs=[ingest, drift, drift_sweep, reports],
    description="Failed runs of a customer are written into the alert outbox, each once; when a later run of the same work "
    "succeeds they are taken back. Of a sweep that died: for each customer that it did not come to.",
)
def failed_runs(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SkipReason:
    # Not a run_failure_sensor: one that raises loses its alert. Here the cursor moves only after the outbox has the alert, or
    # remembers for whom it has not, and the outbox knows each run once.
    read = _FailuresRead.of(context.cursor)
    since = read.since or datetime.now(UTC) - timedelta(hours=1)
    new = context.instance.get_run_records(
        dg.RunsFilter(statuses=_ENDED, updated_after=since), limit=200, ascending=True, order_by="update_timestamp"
    )
    again = _again(context.instance, read.owed)
    records = {record.dagster_run.run_id: record for record in (*again, *new)}
    if not records and not read.owed:
        return dg.SkipReason("0 failed runs since the last tick, 0 alerts written, 0 taken back.")
    with platform.connect() as (settings, conn):
        telling = _Telling(context, settings, conn, read)
        telling.failures([record for record in records.values() if _failed(record)])
        # A failure that is told only now may have been made up for long ago.
        late = [one for record in again if _failed(record) for one in _successes_since(context.instance, record)]
        successes = {
            record.dagster_run.run_id: record for record in (*records.values(), *late) if not _failed(record)
        }
        telling.recoveries(list(successes.values()))
        telling.sweeps(list(records.values()), {record.dagster_run.run_id for record in new})
    waiting = {
        run_id: whom for run_id, whom in list(read.owed.items())[_MOST_AGAIN:] if run_id not in telling.owed
    }
    owed = {**waiting, **{run_id: sorted(whom) for run_id, whom in telling.owed.items()}}
    # Those records are read again where somebody is left; the outbox knows each run of a customer once.
    if telling.unfinished:
        kept = _FailuresRead(since, telling.told_to, owed)
    else:
        kept = _FailuresRead(max((record.update_timestamp for record in new), default=since), {}, owed)
    context.update_cursor(kept.text())
    failures = sum(_failed(record) for record in new)
    untold = f" Of {len(owed)} runs some could not be told; they are tried again." if owed else ""
    return dg.SkipReason(
        f"{failures} failed runs since the last tick, {telling.written} alerts written, {telling.taken_back} taken back.{untold}"
    )


class _Telling:
    """One tick's writing, each customer apart from the others. `owed`: customers for whom it failed, by run."""

    def __init__(
        self, context: dg.SensorEvaluationContext, settings: Settings, conn: Connection, read: "_FailuresRead"
    ) -> None:
        self._context = context
        self._settings = settings
        self._conn = conn
        self._read = read
        self.written = self.taken_back = 0
        self.owed: dict[str, set[int]] = {}
        self.told_to: dict[str, int] = {}
        self.unfinished = False

    def failures(self, records: Sequence[dg.RunRecord]) -> None:
        """Runs of one customer that failed."""
        customers = {customer.slug: customer for customer in active_customers(self._conn)}
        for record in records:
            run = record.dagster_run
            customer = customers.get(run.tags.get(PARTITION, ""))
            if customer is None:
                continue  # a job of no customer, or a partition that is no customer now
            end = read_end(self._context.instance, run)
            write = partial(
                write_run_failure_alert, self._conn, customer.customer_id, run.run_id, run.job_name, end.step,
                end.error_class, self._link(run.run_id), process_died=end.process_died, never_began=end.never_began,
            )  # fmt: skip
            self.written += self._apart(run.run_id, customer.customer_id, write)

    def recoveries(self, successes: Sequence[dg.RunRecord]) -> None:
        """Failures that these runs made up for."""
        for failure in open_run_failures(self._conn) if successes else []:
            success = _recovery(self._context.instance, failure, successes)
            if success is not None:
                run_id = success.dagster_run.run_id
                write = partial(write_recovery, self._conn, failure, run_id, self._link(run_id))
                self.taken_back += self._apart(run_id, failure.customer_id, write)

    def sweeps(self, records: Sequence[dg.RunRecord], new: set[str]) -> None:
        """Customers that failed sweeps did not come to. A sweep writes its customers' failures itself, while it lives."""
        left = _MOST_TOLD
        for record in records:
            run = record.dagster_run
            if not _failed(record) or run.job_name != drift_sweep.name:
                continue
            sweep = read_sweep(record)
            if sweep is None:
                self._context.log.warning("run %s: it was to make no present look", run.run_id)
                continue
            after = self._read.told_to.get(run.run_id, 0)
            owed = set(self._read.owed.get(run.run_id, []))
            if left <= 0:
                self._owe(run.run_id, owed)
                if run.run_id in new:
                    self.told_to[run.run_id], self.unfinished = after, True
                continue
            off = customers_without(self._conn, "drift")
            bucket = [
                one.customer_id
                for one in customers_of_bucket(self._conn, sweep.bucket, sweep.buckets)
                if one.customer_id not in off
            ]
            # Of one that was read before, those alone that it could not tell.
            asked = [one for one in bucket if one in owed or (run.run_id in new and one > after)]
            told = write_sweep_failure(
                self._conn, asked, sweep, read_end(self._context.instance, run), link=self._link(run.run_id), most=left,
            )  # fmt: skip
            self.written, left = self.written + told.written, left - told.asked
            self._owe(run.run_id, told.untold)
            if told.stopped is not None:
                self._owe(run.run_id, {one for one in owed if one > told.stopped})
            if run.run_id in new:
                self.unfinished |= told.stopped is not None
                self.told_to[run.run_id] = max(after, told.stopped or max(bucket, default=0))

    def _apart(self, run_id: str, customer_id: int, write: partial[int]) -> int:
        done = write_apart(self._conn, customer_id, write)
        if done is None:
            self._owe(run_id, [customer_id])
        return done or 0

    def _owe(self, run_id: str, customers: Collection[int]) -> None:
        if customers:
            self._context.log.error(
                "run %s: alerts of customers %s are owed, and tried again",
                run_id,
                ", ".join(map(str, sorted(customers))),
            )
            self.owed.setdefault(run_id, set()).update(customers)

    def _link(self, run_id: str) -> str:
        return f"{self._settings.ui_url}/runs/{run_id}"


def _failed(record: dg.RunRecord) -> bool:
    return record.dagster_run.status == dg.DagsterRunStatus.FAILURE


def _again(instance: dg.DagsterInstance, owed: Mapping[str, Sequence[int]]) -> Sequence[dg.RunRecord]:
    """Runs of which something is owed; one whose record was pruned is nobody's news any more."""
    wanted = list(owed)[:_MOST_AGAIN]
    return instance.get_run_records(dg.RunsFilter(run_ids=wanted, statuses=_ENDED)) if wanted else []


def _successes_since(instance: dg.DagsterInstance, record: dg.RunRecord) -> Sequence[dg.RunRecord]:
    """Runs that may have made up for a failed one; the last ones, for any later one does."""
    run = record.dagster_run
    if PARTITION not in run.tags:
        return []
    return instance.get_run_records(
        dg.RunsFilter(
            job_name=run.job_name, statuses=[dg.DagsterRunStatus.SUCCESS], updated_after=record.update_timestamp,
            tags={PARTITION: run.tags[PARTITION]},
        ),
        limit=20,
    )  # fmt: skip


@dataclass(frozen=True)
class _FailuresRead:
    """How far failed runs are read: until when (None: never); of dead sweeps, by run, the customer told last; and of runs that were
    read, for which customers something could not be written.
    """

    since: datetime | None
    told_to: Mapping[str, int]
    owed: Mapping[str, Sequence[int]]

    @classmethod
    def of(cls, cursor: str | None) -> Self:
        """From the sensor's cursor; one of an earlier release is an instant alone, or without what is owed."""
        if not cursor:
            return cls(None, {}, {})
        if not cursor.startswith("{"):
            return cls(datetime.fromisoformat(cursor), {}, {})
        kept = json.loads(cursor)
        return cls(datetime.fromisoformat(kept["since"]), kept["told_to"], kept.get("owed", {}))

    def text(self) -> str:
        """The cursor."""
        assert self.since is not None
        kept = {"since": self.since.isoformat(), "told_to": dict(self.told_to), "owed": dict(self.owed)}
        return json.dumps(kept)


def _recovery(
    instance: dg.DagsterInstance, failure: RunFailure, successes: Sequence[dg.RunRecord]
) -> dg.RunRecord | None:
    """The run that did what the failed one had left: of the same job and customer, later, and of all its assets."""
    candidates = [
        record
        for record in successes
        if record.dagster_run.job_name == failure.job_name
        and record.dagster_run.tags.get(PARTITION) == failure.slug
    ]
    if not candidates:
        return None
    failed = instance.get_run_record_by_id(failure.run_id)
    if failed is None:
        return candidates[0]  # its record was pruned; job and customer are all that is known of it
    return next((record for record in candidates if _did_the_work_of(record, failed)), None)


def _did_the_work_of(record: dg.RunRecord, failed: dg.RunRecord) -> bool:
    if record.update_timestamp <= failed.update_timestamp or record.create_timestamp < failed.create_timestamp:
        return False
    again, assets, wanted = (
        record.dagster_run,
        record.dagster_run.asset_selection,
        failed.dagster_run.asset_selection,
    )
    if failed.dagster_run.run_id in {again.parent_run_id, again.root_run_id}:
        return True  # "re-execute from failure" runs only the steps that were left
    return (assets is None or (wanted is not None and wanted <= assets)) and looked_as_far(record, failed)
