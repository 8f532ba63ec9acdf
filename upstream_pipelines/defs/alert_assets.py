"""alerts: what was told to whom, per customer, with the check that somebody is reached; and the run that sends.

Not here: tables (alert_tables.py), sending (delivery/), the sensor that asks for the run (sensors.py).
"""

import shlex
import warnings
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from upstream_pipelines.alerts.overview import Overview, attempts_since, customers_told_since, overview
from upstream_pipelines.defs.alert_tables import alert_metadata, attempts_table, channels_table
from upstream_pipelines.defs.drift_assets import payer_drift
from upstream_pipelines.defs.partitions import customer_partitions
from upstream_pipelines.defs.resources import Platform
from upstream_pipelines.defs.tables import OWNERS, column_schema
from upstream_pipelines.delivery.worker import deliver_due
from upstream_pipelines.observability.logging import log_context

CHECK_NAME = "alerts_arrive"
# 20 ms each; the others' tables are brought up to date when something is sent to them next, or from the UI.
_CUSTOMERS_SHOWN = 50


@dg.asset(
    deps=[payer_drift],
    partitions_def=customer_partitions,
    group_name="alerts",
    owners=OWNERS,
    kinds={"postgres"},
    description="What this customer was told, through which channels and with which attempts; what was held back and why; "
    "what was given up and how to send it again. Brought up to date by each run that sends something, and by "
    "materialising it: that reads, and sends nothing.",
    metadata=column_schema(
        [
            ("created_at", "timestamptz", "When the alert was written"),
            ("rule", "text", "The rule that wanted it; none for a test"),
            ("kind", "text", "drift, quality, silence, run_failure, delivery_trouble or test"),
            ("notice", "text", "open, escalated, reminder or resolved"),
            ("state", "text", "pending, sent, failed (some message was given up) or suppressed (held back)"),
            ("reason", "text", "Why it was held back"),
        ]
    ),
)
def alerts(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult[None]:
    with platform.for_customer(context.partition_key) as (_, conn, customer):
        seen = overview(conn, customer.customer_id, datetime.now(UTC))
    return dg.MaterializeResult(metadata=alert_metadata(customer.slug, seen))


def _trouble(slug: str, seen: Overview) -> str | None:
    """What keeps alerts from people, in words with what to do; None where nothing does."""
    if not any(channel.enabled for channel in seen.channels):
        return (
            "No channel is on, so nobody hears of anything. Name channels in the customer's file "
            "(`upstream customers configure`), or switch one on again "
            f"(`upstream alerts enable {slug} CHANNEL`)."
        )
    wrong = [
        f"{channel.name} ({channel.disabled_reason or 'off'})" if not channel.enabled
        else f"{channel.name} ({channel.dead} given up in the last week)"
        for channel in seen.channels
        if channel.is_in_trouble
    ]  # fmt: skip
    if not wrong:
        return None
    # One that is off cannot be tested: it is enabled first.
    steps = "".join(
        f" {channel.name}: "
        + (
            ""
            if channel.enabled
            else f"`upstream alerts enable {slug} {shlex.quote(channel.name)}` switches it on; "
        )
        + f"`upstream alerts test {slug} {shlex.quote(channel.name)}` says what is wrong with it; "
        f"`upstream alerts resend {slug} --channel {shlex.quote(channel.name)}` sends what was given up."
        for channel in seen.channels
        if channel.is_in_trouble
    )
    return f"Channels in trouble: {', '.join(wrong)}.{steps}"


with warnings.catch_warnings():
    # Partitioned checks are in preview; they are pinned with Dagster and covered by tests.
    warnings.simplefilter("ignore", dg.PreviewWarning)

    @dg.asset_check(
        name=CHECK_NAME,
        asset=alerts,
        partitions_def=customer_partitions,
        description="Somebody can be reached: at least one channel is on, none was switched off by its receiver, and no "
        "message of the last week was given up.",
    )
    def alerts_arrive(context: dg.AssetCheckExecutionContext, platform: Platform) -> dg.AssetCheckResult:
        """The customer's channels as they are."""
        with platform.for_customer(context.partition_key) as (_, conn, customer):
            seen = overview(conn, customer.customer_id, datetime.now(UTC))
        trouble = _trouble(customer.slug, seen)
        return dg.AssetCheckResult(
            passed=trouble is None,
            severity=dg.AssetCheckSeverity.WARN,
            description=trouble,
            metadata={"channels": channels_table(seen.channels)},
        )


@dg.op(tags={"dagster/kind": "smtp"})
def deliver(context: dg.OpExecutionContext, platform: Platform) -> None:
    """Send what is due in the alert outbox, until nothing is; then show each customer's asset `alerts` as it is now."""
    began = datetime.now(UTC)
    with platform.connect() as (settings, conn):
        with log_context(run_id=context.run_id):
            report = deliver_due(settings)
        attempts = attempts_since(conn, began)
        now = datetime.now(UTC)
        for customer_id, slug in customers_told_since(conn, began, _CUSTOMERS_SHOWN):
            seen = overview(conn, customer_id, now)
            context.log_event(
                dg.AssetMaterialization(asset_key=alerts.key, partition=slug, metadata=alert_metadata(slug, seen))
            )
            trouble = _trouble(slug, seen)
            evaluation: Any = dg.AssetCheckEvaluation(
                asset_key=alerts.key,
                check_name=CHECK_NAME,
                passed=trouble is None,
                severity=dg.AssetCheckSeverity.WARN,
                description=trouble,
                metadata={"channels": channels_table(seen.channels)},
                partition=slug,
            )
            context.log_event(evaluation)  # its annotation has not heard of evaluations
    context.add_output_metadata(
        {
            "taken": report.taken,
            "sent": report.sent,
            "to be tried again": report.retrying,
            "dead": report.dead,
            "given up unsent (channel off)": report.buried,
            "seconds": report.seconds,
            "attempts": attempts_table(attempts),
        }
    )
