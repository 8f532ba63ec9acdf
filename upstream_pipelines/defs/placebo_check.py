"""The placebo beside the results: measured at night for a part of the customers, shown as a check of payer_drift.

Not here: the measurement (drift/placebo.py), whose turn it is (drift/placebo_store.py), the schedule (schedules.py).
"""

import warnings
from datetime import UTC, date, datetime
from functools import partial
from typing import Any

import dagster as dg

from upstream_pipelines.alerts.apart import write_apart
from upstream_pipelines.alerts.runs import take_back_failures
from upstream_pipelines.alerts.store import write_run_failure_alert
from upstream_pipelines.customers.store import get_customer
from upstream_pipelines.defs.drift_assets import not_told, payer_drift
from upstream_pipelines.defs.partitions import customer_partitions
from upstream_pipelines.defs.resources import Platform
from upstream_pipelines.drift.placebo_store import FalseEventRate, due_customers, measure, published_rate
from upstream_pipelines.errors import UpstreamError
from upstream_pipelines.observability.tracebacks import format_error

CHECK_NAME = "placebo_false_events"


class PlaceboConfig(dg.Config):
    """Which night is measured."""

    night: str | None = None
    """YYYY-MM-DD; decides whose turn it is and how weeks are shuffled. Default: today (UTC)."""


def is_within_budget(rate: FalseEventRate, false_events_per_year: float) -> bool:
    """Whether the customer's budget lies within what was measured: only a rate surely above it is a failure."""
    return rate.low is None or rate.low <= false_events_per_year


def placebo_metadata(rate: FalseEventRate, false_events_per_year: float) -> dict[str, Any]:
    """What people see of a customer's rate."""
    measured: dict[str, Any] = {"false events on your own shuffled history": rate.text}
    if rate.per_year is not None:
        measured |= {"a year": rate.per_year, "a year, low": rate.low, "a year, high": rate.high}
    return measured | {
        "events": rate.events, "daily looks": rate.looks, "measurements of the last 90 days": rate.measurements,
        "days of the one history that is reshuffled": rate.days, "budget a year": false_events_per_year,
    }  # fmt: skip


def _description(rate: FalseEventRate, budget: float) -> str | None:
    if is_within_budget(rate, budget):
        return None
    return (
        f"Measured {rate.text}; the budget is {budget:g}. Events of this customer are to be doubted more than usual: "
        "its weeks scatter in a way the detector does not expect. Set drift.false_events_per_year lower to raise the "
        "threshold, and look for weeks that are unlike others (`upstream drift label`)."
    )


with warnings.catch_warnings():
    # Partitioned checks are in preview; they are pinned with Dagster and covered by tests.
    warnings.simplefilter("ignore", dg.PreviewWarning)

    @dg.asset_check(
        name=CHECK_NAME,
        asset=payer_drift,
        partitions_def=customer_partitions,
        description="False events a year that the detector opens on reshuffles of this customer's one history, weeks in "
        "another order, where nothing can have changed. Days on which the detector alarms are left out first, which "
        "makes the rate a little too good; the interval is that of the history's days, not of all nights together. "
        "Measured at night; warns when the rate is surely above the customer's budget.",
    )
    def placebo_false_events(context: dg.AssetCheckExecutionContext, platform: Platform) -> dg.AssetCheckResult:
        """The rate as it was measured last."""
        with platform.for_customer(context.partition_key) as (_, conn, customer):
            rate = published_rate(conn, customer.customer_id, datetime.now(UTC).date())
            budget = customer.configuration.drift.false_events_per_year
        return dg.AssetCheckResult(
            passed=is_within_budget(rate, budget),
            severity=dg.AssetCheckSeverity.WARN,
            description=_description(rate, budget),
            metadata=placebo_metadata(rate, budget),
        )


@dg.op(tags={"dagster/kind": "scipy"})
def measure_placebo(context: dg.OpExecutionContext, config: PlaceboConfig, platform: Platform) -> None:
    """Measure the customers whose turn it is; one that fails does not stop the others.

    A customer already measured that night is not measured again, so a re-execution does only those that failed.
    """
    night = date.fromisoformat(config.night) if config.night else datetime.now(UTC).date()
    failed: list[str] = []
    untold: list[tuple[str, int, partial[int]]] = []
    with platform.connect() as (settings, conn):
        due = due_customers(conn, night, settings.placebo_looks_a_night)
        link = f"{settings.ui_url}/runs/{context.run_id}"
        for customer_id, slug in due:
            try:
                drift = get_customer(conn, slug).configuration.drift
                measure(conn, customer_id, drift, night)
                rate = published_rate(conn, customer_id, night)
            except Exception as error:  # noqa: BLE001  one customer's trouble is not the others'; reported below
                failed.append(slug)
                what = str(error) if isinstance(error, UpstreamError) else format_error(error)
                context.log.error("customer %s: %s", slug, what)  # noqa: TRY400  exc_info would log the data
                write = partial(
                    write_run_failure_alert, conn, customer_id, f"{context.run_id}/{slug}", context.job_name,
                    context.op.name, type(error).__name__, link,
                )  # fmt: skip
                if write_apart(conn, customer_id, write) is None:
                    untold.append((slug, customer_id, write))
                continue
            back = partial(take_back_failures, conn, customer_id, context.job_name, context.run_id, link)
            if write_apart(conn, customer_id, back) is None:
                untold.append((slug, customer_id, back))
            budget = drift.false_events_per_year
            evaluation = dg.AssetCheckEvaluation(
                asset_key=payer_drift.key,
                check_name=CHECK_NAME,
                passed=is_within_budget(rate, budget),
                severity=dg.AssetCheckSeverity.WARN,
                description=_description(rate, budget),
                metadata=placebo_metadata(rate, budget),
                partition=slug,
            )
            # It logs evaluations too; only its annotation has not heard of them.
            context.log_event(evaluation)  # type: ignore[arg-type]
            context.log.info("customer %s: %s", slug, rate.text)
        # Once more, when all others had their turn.
        still = [slug for slug, customer_id, write in untold if write_apart(conn, customer_id, write) is None]
    if failed or still:
        raise dg.Failure(
            description=f"{len(failed)} of {len(due)} customers could not be measured: {', '.join(failed) or 'none'}. The others "
            f"are done. The log names each error; re-execute this run once the cause is gone.{not_told(still)}",
            allow_retries=False,
        )
