"""payer_drift, for one customer from the UI and, as a sweep, for all of them.

Not here: statistics (drift/), the schedule that asks for the sweep (schedules.py).
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import dagster as dg

from upstream_pipelines.alerts.apart import write_apart
from upstream_pipelines.alerts.runs import take_back_failures
from upstream_pipelines.alerts.store import write_run_failure_alert
from upstream_pipelines.customers.flags import customers_without, require
from upstream_pipelines.customers.models import Customer, CustomerKey
from upstream_pipelines.customers.store import count_active, customers_of_bucket, get_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.defs.arrival_check import CHECK_NAME as ARRIVAL_CHECK
from upstream_pipelines.defs.arrival_check import evaluate_arrivals
from upstream_pipelines.defs.claims_assets import payer_activity
from upstream_pipelines.defs.drift_tables import drift_metadata
from upstream_pipelines.defs.partitions import customer_partitions
from upstream_pipelines.defs.resources import Platform
from upstream_pipelines.defs.tables import OWNERS, column_schema
from upstream_pipelines.drift.placebo_store import published_rate
from upstream_pipelines.drift.shortage import unwatched_text
from upstream_pipelines.drift.store import LooksMade, Show, Subject, look
from upstream_pipelines.errors import ConfigurationError, UpstreamError
from upstream_pipelines.ingest.unusual import watch_days
from upstream_pipelines.observability.logging import log_context
from upstream_pipelines.observability.tracebacks import format_error
from upstream_pipelines.settings import Settings

# Above this many customers a sweep materialises only those with news: figures, pictures and the event of the others take
# ten times as long as their looks.
_MATERIALISE_ALL_UP_TO = 500


class DriftConfig(dg.Config):
    """Which day drift is looked at; past days may be looked at again."""

    as_of: str | None = None
    """Day of the look, YYYY-MM-DD; facts from before that day count. Default: today (UTC)."""
    from_day: str | None = None
    """First day of a span; a look is made for each day from here to `as_of`."""


class SweepConfig(DriftConfig):
    """The part of all customers that one run looks at."""

    bucket: int = 0
    buckets: int = 1


def look_days(as_of: str | None, from_day: str | None) -> list[date]:
    """The days to look at, in order.

    Raises:
        ConfigurationError: no date, or the span is turned round.
    """
    last = _day(as_of) if as_of else datetime.now(UTC).date()
    first = _day(from_day) if from_day else last
    if last > datetime.now(UTC).date():
        # The looks of every day until then would count as looks back, and alarm nobody.
        raise ConfigurationError(f"The day {last} has not come yet (UTC). Give today or a past day.")
    if first > last:
        raise ConfigurationError(f"The first day {first} is after the last day {last}. Turn them round.")
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def is_present(last: date, began: date) -> bool:
    """Whether looks until that day are those of a run that began then, also where it waited over midnight; else of past days."""
    return last >= began - timedelta(days=1)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(
            f"{text!r} is no day of the calendar. Write days as YYYY-MM-DD, such as 2026-03-31."
        ) from None


def partition_link(settings: Settings, slug: str) -> str:
    """Where a person sees this customer's drift in the Dagster UI."""
    return f"{settings.ui_url}/assets/payer_drift?view=partitions&partition={slug}"


def look_at(
    conn: Connection,
    settings: Settings,
    customer: Customer,
    days: Sequence[date],
    *,
    show: Show = "always",
    run_id: str | None = None,
) -> LooksMade:
    """Make the looks of one customer; by a run, or by a command."""
    link = partition_link(settings, customer.slug)
    subject = Subject(customer.customer_id, customer.name, customer.configuration.drift, link)
    with log_context(run_id=run_id, customer=customer.slug):
        return look(conn, subject, days, show=show)


def metadata_of(conn: Connection, customer: Customer, made: LooksMade) -> dict[str, Any]:
    """What people see of looks, as far as they are shown."""
    rate = published_rate(conn, customer.customer_id, made.last)
    return {**drift_metadata(customer, made), "false events on your own shuffled history": rate.text}


@dg.asset(
    deps=[payer_activity],
    partitions_def=customer_partitions,
    group_name="drift",
    owners=OWNERS,
    kinds={"scipy", "postgres"},
    description="What changed in how payers treat this customer's claims: denial rate, decision lag, allowed amount, "
    "volume, procedure mix and authorization denials, by CUSUM on a factored model of the claim's history, confirmed "
    "at equal maturity. Each event is explained (rate or mix; by CPT group, denial code, facility) and priced in "
    "dollars. Events have a life (watch, open, updated, resolved); alerts are written in the same transaction. Give "
    "`as_of` (and `from_day`) in the run's config to look at past days.",
    metadata=column_schema(
        [
            ("as_of", "date", "Day of the look; facts from before it count"),
            ("payer", "text", "Canonical payer name"),
            (
                "signal",
                "text",
                "denial_rate, decision_lag, allowed_amount, volume, procedure_mix or authorization_denials",
            ),
            ("direction", "text", "worsening, improving or unclear, for the provider"),
            ("state", "text", "watch, open, updated, resolved or not_enough_data"),
            ("baseline", "double", "Before the change, in the unit of the signal"),
            ("current", "double", "Since the change, at equal maturity"),
            ("effect", "double", "Difference (rates, days) or relative change (amounts, volume, dollars a line)"),
            ("q_value", "double", "False discovery rate over the customer's charts"),
            ("severity", "double", "0..1, from the size of the change"),
            (
                "detail",
                "jsonb",
                "Change date with its interval, confidence, explanation (parts that add up) and money a month",
            ),
            (
                "maturity",
                "double",
                "How complete the current figure is, 0..1: of a denial rate, the share of its lines that is decided",
            ),
        ]
    ),
)
def payer_drift(
    context: dg.AssetExecutionContext, config: DriftConfig, platform: Platform
) -> dg.MaterializeResult[None]:
    days = look_days(config.as_of, config.from_day)
    with platform.for_customer(context.partition_key) as (settings, conn, customer):
        require(conn, customer, "drift")
        made = look_at(conn, settings, customer, days, run_id=context.run.run_id)
        metadata = metadata_of(conn, customer, made)
    return dg.MaterializeResult(metadata=metadata)


def _look_in_sweep(
    context: dg.OpExecutionContext,
    conn: Connection,
    settings: Settings,
    customer: CustomerKey,
    days: Sequence[date],
    *,
    show: bool,
) -> None:
    """All of a sweep that is one customer's; `show` it in the UI even where there is no news."""
    subject = get_customer(conn, customer.slug)
    made = look_at(conn, settings, subject, days, show="events" if show else "news", run_id=context.run_id)
    # Yesterday's batches, where none has come today yet that would have them measured.
    watch_days(conn, settings, subject, datetime.now(UTC).date(), context.run_id)
    # A silent customer has no run of its own that would show it.
    state = evaluate_arrivals(conn, customer.customer_id, datetime.now(UTC).date())
    if show or not state["passed"]:
        evaluation: Any = dg.AssetCheckEvaluation(
            asset_key=payer_activity.key, check_name=ARRIVAL_CHECK, severity=dg.AssetCheckSeverity.WARN,
            partition=customer.slug, **state,
        )  # fmt: skip
        context.log_event(evaluation)  # its annotation has not heard of evaluations
    if made.shown != "nothing":
        metadata = metadata_of(conn, subject, made)
        context.log_event(
            dg.AssetMaterialization(asset_key="payer_drift", partition=customer.slug, metadata=metadata)
        )
    # Last: what fails above must not end with its own trouble taken back. A look at past days makes up for no present one.
    if is_present(days[-1], datetime.now(UTC).date()):
        link = f"{settings.ui_url}/runs/{context.run_id}"
        take_back_failures(conn, customer.customer_id, context.job_name, context.run_id, link)
    if made.unwatched:
        context.log.warning("customer %s: %s", customer.slug, unwatched_text(made.unwatched))
    if made.shown != "nothing":
        # Dagster connects anew for each line: an eighth of what a customer costs in a sweep of thousands.
        context.log.info("customer %s: %s opened, %s alerts", customer.slug, made.count("open"), made.alerts)


def not_told(slugs: Sequence[str]) -> str:
    """What a run's failure says of customers for whom its own alert could not be written."""
    return (
        f" No alert of it could be written for {', '.join(slugs)}: look at their alert rules, and tell them yourself."
        if slugs
        else ""
    )


@dg.op(tags={"dagster/kind": "scipy"})
def look_at_customers(context: dg.OpExecutionContext, config: SweepConfig, platform: Platform) -> None:
    """Look at every active customer of the bucket whose drift is on; one that fails does not stop the others.

    The run fails at its end when any customer failed, names them, and has written a run failure alert
    for each. A re-execution from the UI takes the same bucket; looks already made are made again with the
    same result, so only the failed customers change.
    """
    days = look_days(config.as_of, config.from_day)
    failed: list[str] = []
    untold: list[tuple[CustomerKey, partial[int]]] = []
    with platform.connect() as (settings, conn):
        off = customers_without(conn, "drift")
        bucket = customers_of_bucket(conn, config.bucket, config.buckets)
        customers = [customer for customer in bucket if customer.customer_id not in off]
        if len(customers) < len(bucket):
            left_out = [customer.slug for customer in bucket if customer.customer_id in off]
            context.log.info("left out, for drift is off: %s", ", ".join(left_out))
        show = count_active(conn) <= _MATERIALISE_ALL_UP_TO
        link = f"{settings.ui_url}/runs/{context.run_id}"
        for customer in customers:
            try:
                _look_in_sweep(context, conn, settings, customer, days, show=show)
            except Exception as error:  # noqa: BLE001  one customer's trouble is not the others'; reported below
                failed.append(customer.slug)
                what = str(error) if isinstance(error, UpstreamError) else format_error(error)
                context.log.error("customer %s: %s", customer.slug, what)  # noqa: TRY400  exc_info would log the data
                write = partial(
                    write_run_failure_alert, conn, customer.customer_id, f"{context.run_id}/{customer.slug}",
                    context.job_name, context.op.name, type(error).__name__, link,
                )  # fmt: skip
                if write_apart(conn, customer.customer_id, write) is None:
                    untold.append((customer, write))
        # Once more, when all others had their turn. The sensor of failed runs tries again those that were not looked at.
        still = [
            customer.slug for customer, write in untold if write_apart(conn, customer.customer_id, write) is None
        ]
    context.log.info("%s of %s customers looked at", len(customers) - len(failed), len(customers))
    if failed:
        raise dg.Failure(
            description=f"{len(failed)} of {len(customers)} customers failed: {', '.join(failed)}. The others are "
            "done. The log names each error; materialise payer_drift for these customers, or re-execute this run."
            f"{not_told(still)}",
            allow_retries=False,
        )
