"""The quality rules as asset checks of a customer's partition. Not here: the rules (quality/rules.py).

One multi_asset_check: as single checks fourteen cost a step each.
"""

import warnings
from collections.abc import Iterator
from typing import Any

import dagster as dg

from upstream_pipelines.defs.claims_assets import claims, upload_quality
from upstream_pipelines.defs.partitions import customer_partitions
from upstream_pipelines.defs.resources import Platform
from upstream_pipelines.defs.tables import evidence
from upstream_pipelines.quality.rules import DEFAULT_RULES
from upstream_pipelines.quality.store import latest_findings

with warnings.catch_warnings():
    # Partitioned checks are in preview; they are pinned with Dagster and covered by the end-to-end test.
    warnings.simplefilter("ignore", dg.PreviewWarning)
    _SPECS = [
        dg.AssetCheckSpec(
            name=rule.name,
            asset=claims,
            additional_deps=[upload_quality],
            description=rule.description,
            partitions_def=customer_partitions,
        )
        for rule in DEFAULT_RULES
    ]

CHECK_KEYS = [spec.key for spec in _SPECS]


@dg.multi_asset_check(name="quality_rules", specs=_SPECS)
def quality_rules(context: dg.AssetCheckExecutionContext, platform: Platform) -> Iterator[dg.AssetCheckResult]:
    """The customer's latest uploads against each rule, with row numbers as evidence."""
    with platform.for_customer(context.partition_key) as (_, conn, customer):
        findings = {finding["rule"]: finding for finding in latest_findings(conn, customer.customer_id)}
    for rule in DEFAULT_RULES:
        finding = findings.get(rule.name)
        severity = finding["severity"] if finding else rule.severity
        failing = finding["failing_rows"] if finding else 0
        metadata: dict[str, Any] = {
            "failing rows": failing,
            "checked rows": finding["checked_rows"] if finding else 0,
            "severity for this customer": severity if finding else "not checked",
        }
        if failing and finding:
            metadata["first row numbers"] = evidence(finding["samples"])
        yield dg.AssetCheckResult(
            check_name=rule.name,
            asset_key=claims.key,
            passed=failing == 0,
            severity=dg.AssetCheckSeverity.ERROR if severity == "error" else dg.AssetCheckSeverity.WARN,
            description=f"{failing:,} of {metadata['checked rows']:,} rows fail: {rule.description}"
            if failing
            else None,
            metadata=metadata,
        )
