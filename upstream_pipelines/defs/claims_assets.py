"""Assets from an upload to claims: csv_claims, webhook_claims, remittances, claims, upload_quality, payer_activity.

Each connects, calls one function of its domain and returns metadata. Not here: logic, checks (checks.py),
drift (drift_assets.py).
"""

from typing import Any

import dagster as dg

from upstream_pipelines.claims.contract import claim_line_columns
from upstream_pipelines.claims.merge import claim_totals, payer_summary
from upstream_pipelines.defs.partitions import customer_partitions
from upstream_pipelines.defs.resources import Platform
from upstream_pipelines.defs.tables import OWNERS, column_schema, evidence, markdown_table, uploads_table
from upstream_pipelines.drift.counting import activity_totals, refresh_activity
from upstream_pipelines.ingest.merging import merge_staged
from upstream_pipelines.ingest.recognise import SOURCES, Source
from upstream_pipelines.ingest.staging import stage_waiting
from upstream_pipelines.ingest.uploads import rejections, uploads_of_run
from upstream_pipelines.quality.payer_names import Suggestion, aliases_yaml
from upstream_pipelines.quality.store import latest_findings, load_report, note_payer_spellings


def _stage(context: dg.AssetExecutionContext, platform: Platform, source: Source) -> dg.MaterializeResult[None]:
    with platform.for_customer(context.partition_key) as (settings, conn, customer):
        staged = stage_waiting(conn, settings, customer, source=source, run_id=context.run.run_id)
        uploads = uploads_of_run(conn, customer.customer_id, context.run.run_id, [source])
        rejected = [
            (str(upload["upload_id"])[:8], item["rule"], item["field"], item["rows"], item["row_numbers"], item["reason"])
            for upload in uploads
            for item in rejections(conn, customer.customer_id, upload["upload_id"])
        ]  # fmt: skip
    metadata: dict[str, Any] = {
        "uploads": len(uploads),
        "ready for merge": len(staged.ready),
        "same bytes again": staged.duplicates,
        "refused": staged.failed,
        "dagster/row_count": sum(upload["rows"] or 0 for upload in uploads),
        "rejected rows": sum(upload["rejected"] for upload in uploads),
        "uploads of this run": uploads_table(uploads),
        "rejected": markdown_table(
            ("upload", "rule", "field", "rows", "first row numbers", "reason"),
            rejected[:100],
            "No row was rejected.",
        ),
    }
    return dg.MaterializeResult(metadata=metadata)


@dg.asset(
    partitions_def=customer_partitions,
    group_name="ingest",
    owners=OWNERS,
    kinds={"csv", "pandas", "postgres"},
    description="Claim lines of the customer's waiting CSV files, as sent: parsed, typed and judged against the "
    "claim contract. Append-only, by upload and row number; bad rows go to `rejected_rows` with field, rule and "
    "reason. A file that cannot be read at all is refused and says what to do.",
    metadata=column_schema(claim_line_columns()),
)
def csv_claims(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult[None]:
    return _stage(context, platform, "csv")


@dg.asset(
    partitions_def=customer_partitions,
    group_name="ingest",
    owners=OWNERS,
    kinds={"json", "pandas", "postgres"},
    description="Claim lines of the batches that the customer's systems posted to the webhook, under the same "
    "rules as files.",
    metadata=column_schema(claim_line_columns()),
)
def webhook_claims(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult[None]:
    return _stage(context, platform, "webhook")


@dg.asset(
    partitions_def=customer_partitions,
    group_name="ingest",
    owners=OWNERS,
    kinds={"x12", "pandas", "postgres"},
    description="Claim lines of the payers' remittances (X12 835) that wait for the customer, under the same rules as "
    "files: a line a service, with the payer's decision, amounts and denial code. Names and numbers of patients are not "
    "read. A file that is no 835, or was cut short, is refused and says what to do.",
    metadata=column_schema(claim_line_columns()),
)
def remittances(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult[None]:
    return _stage(context, platform, "x12_835")


@dg.asset(
    deps=[csv_claims, webhook_claims, remittances],
    partitions_def=customer_partitions,
    group_name="claims",
    owners=OWNERS,
    kinds={"postgres", "table"},
    description="The conformed truth: the latest version of each claim line, with canonical payer names and CPT "
    "groups; replaced versions stay in `claim_history`. Changed aliases and groups are applied to the stored lines "
    "without sending a file again; a sensor asks for that.",
    metadata=column_schema(claim_line_columns()),
)
def claims(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult[None]:
    with platform.for_customer(context.partition_key) as (settings, conn, customer):
        merged = merge_staged(conn, settings, customer, context.run.run_id)
        totals = claim_totals(conn, customer.customer_id)
        payers = payer_summary(conn, customer.customer_id)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": totals.lines,
            "uploads merged": merged.uploads,
            "new lines": merged.new,
            "updated lines": merged.updated,
            "duplicate lines": merged.duplicates,
            "lines renamed by changed aliases or groups": merged.renamed,
            "undecided lines": totals.undecided,
            "payers": markdown_table(
                ("payer", "lines", "paid", "denied", "pending", "first submitted", "last submitted"),
                payers,
                "No claims yet.",
            ),
        }
    )


@dg.asset(
    deps=[claims],
    partitions_def=customer_partitions,
    group_name="claims",
    owners=OWNERS,
    kinds={"pandera", "postgres"},
    description="A quality report for each upload: score, dimensions, failures by rule, missing and invalid values. "
    "The rules themselves are this customer's asset checks on `claims`. Payers that look like another spelling of a known "
    "one are listed with the aliases that would make them one.",
)
def upload_quality(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult[None]:
    with platform.for_customer(context.partition_key) as (_, conn, customer):
        uploads = uploads_of_run(conn, customer.customer_id, context.run.run_id, SOURCES)
        reports = [
            (upload, load_report(conn, customer.customer_id, upload["upload_id"]))
            for upload in uploads
            if upload["status"] != "failed" and upload["duplicate_of"] is None
        ]
        alike: dict[str, Suggestion] = {}
        for upload, _ in reports:
            alike |= {found.spelling: found for found in note_payer_spellings(conn, customer, upload["upload_id"])}
        findings = latest_findings(conn, customer.customer_id)
        aliases = customer.configuration.mapping.payer_aliases
    metadata: dict[str, Any] = {
        "reports": len(reports),
        "uploads": uploads_table(uploads),
        "scores": markdown_table(
            ("upload", "source", "score", "completeness", "validity", "consistency", "uniqueness", "timeliness"),
            (
                (
                    str(upload["upload_id"])[:8],
                    upload["source"],
                    report.score,
                    *(
                        report.dimensions[name]
                        for name in ("completeness", "validity", "consistency", "uniqueness", "timeliness")
                    ),
                )
                for upload, report in reports
            ),
            "No upload of this run could be judged.",
        ),
        "rules": markdown_table(
            ("rule", "field", "severity", "failing rows", "checked rows", "first row numbers"),
            (
                (
                    finding["rule"], finding["field"], finding["severity"], finding["failing_rows"],
                    finding["checked_rows"], evidence(finding["samples"]),
                )
                for finding in findings
            ),
            "No rule was checked yet.",
        ),
    }  # fmt: skip
    if alike:
        shown = [found for found in alike.values() if found.may_be_shown]
        command = f"`upstream customers aliases {context.partition_key}`"
        metadata["payers spelled otherwise"] = markdown_table(
            ("spelling", "looks like", "lines", "likeness"),
            ((found.spelling, found.payer, found.lines, found.likeness) for found in shown),
            f"Names of payers of few lines alone; {command} lists them.",
        )
        if len(shown) < len(alike):
            metadata["further spellings"] = dg.MetadataValue.md(
                f"{len(alike) - len(shown)} of payers of few lines; {command} lists them."
            )
        if shown:
            metadata["aliases to accept"] = dg.MetadataValue.text(aliases_yaml(shown, aliases))
    if reports:
        metadata["lowest score"] = min(report.score for _, report in reports)
    return dg.MaterializeResult(metadata=metadata)


@dg.asset(
    deps=[claims],
    partitions_def=customer_partitions,
    group_name="drift",
    owners=OWNERS,
    kinds={"postgres", "table"},
    description="Counts and sums per payer, CPT group, submitted day and decision age, and allowed amounts by code: "
    "the one input of drift. Only the days that an upload touched are counted again.",
    metadata=column_schema(
        [
            ("payer", "text", "Canonical payer name"),
            ("cpt_group", "text", "The customer's group of procedure codes"),
            ("submitted_day", "date", "Day the lines were submitted"),
            ("decision_age", "integer", "Days from submission to decision; empty while undecided"),
            ("submitted_known_day", "date", "Day from which a look may count the submission"),
            ("decision_known_day", "date", "Day from which a look may count the decision"),
            ("lines", "bigint", "Claim lines"),
            ("denied", "bigint", "Denied lines; contractual and patient responsibility codes are no denials"),
            ("denied_authorization", "bigint", "Denied for authorisation (CARC 15, 197, 198)"),
            ("billed", "numeric", "Billed amount, US dollars"),
            ("allowed", "numeric", "Allowed amount, US dollars"),
            ("paid", "numeric", "Paid amount, US dollars"),
        ]
    ),
)
def payer_activity(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult[None]:
    with platform.for_customer(context.partition_key) as (_, conn, customer):
        refreshed = refresh_activity(conn, customer.customer_id)
        totals = activity_totals(conn, customer.customer_id)
    return dg.MaterializeResult(
        metadata={
            "submitted days counted again": refreshed.submitted_days,
            "decided days counted again": refreshed.decided_days,
            "dagster/row_count": totals.rows,
            "lines": totals.lines,
            "payers": totals.payers,
            "first submitted day": str(totals.first_day or "none"),
            "last submitted day": str(totals.last_day or "none"),
        }
    )
