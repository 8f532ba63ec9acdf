"""Whether the latest uploads are like the customer's earlier ones, as checks of upload_quality. Not here: what is usual
(quality/usual.py), alerts (ingest/unusual.py).

One multi_asset_check: see checks.py.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from upstream_pipelines.defs.claims_assets import upload_quality
from upstream_pipelines.defs.partitions import customer_partitions
from upstream_pipelines.defs.resources import Platform
from upstream_pipelines.defs.tables import markdown_table
from upstream_pipelines.quality.measured import figure, latest_measures, seen
from upstream_pipelines.quality.rules import STREAM_RULES
from upstream_pipelines.quality.usual import LEAST_HISTORY

with warnings.catch_warnings():
    # Partitioned checks are in preview; they are pinned with Dagster and covered by tests.
    warnings.simplefilter("ignore", dg.PreviewWarning)
    _SPECS = [
        dg.AssetCheckSpec(
            name=rule.name,
            asset=upload_quality,
            description=f"{rule.description} Compared with the customer's earlier uploads of the same source, batches by the day.",
            partitions_def=customer_partitions,
        )
        for rule in STREAM_RULES
    ]


def anomaly_state(rule: str, measures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the check of a rule says of the latest measures (`latest_measures`): `passed`, `description`, `metadata`."""
    mine = [measure for measure in measures if measure["rule"] == rule]
    unusual = [measure for measure in mine if measure["state"] in {"low", "high"}]
    compared = {measure["upload_id"] for measure in mine if measure["usual"] is not None}
    metadata: dict[str, Any] = {
        "uploads or days of batches": len({measure["upload_id"] for measure in mine}),
        "compared": len(compared),
        "unusual": markdown_table(
            ("upload", "source", "day", "field", "seen", "usual", "from", "to", "compared with", "first row numbers"),
            (
                (
                    str(one["upload_id"])[:8], one["source"], one["day"] if one["whole_day"] else None,
                    one["field"] or None, *(figure(rule, value) for value in (seen(one), one["usual"], one["low"], one["high"])), one["history"],
                    ", ".join(map(str, one["sample_row_numbers"])) or None,
                )
                for one in unusual
            ),
            "Nothing.",
        ),
    }  # fmt: skip
    return {
        "passed": not unusual,
        "description": _description(unusual, compared=bool(compared)),
        "metadata": metadata,
    }


def _description(unusual: Sequence[Mapping[str, Any]], *, compared: bool) -> str | None:
    if unusual:
        fields = sorted({one["field"] for one in unusual} - {""})
        return (
            f"Unlike this customer's earlier uploads{': ' if fields else ''}{', '.join(fields)}. `upstream uploads` with the "
            "upload's id says more."
        )
    if not compared:
        return (
            f"Too little history, or switched off: {LEAST_HISTORY} uploads after a source's first day teach what is usual, "
            "of the rows of a daily sender four on the same day of the week."
        )
    return None


@dg.multi_asset_check(name="unusual_uploads", specs=_SPECS)
def unusual_uploads(context: dg.AssetCheckExecutionContext, platform: Platform) -> Iterator[dg.AssetCheckResult]:
    """The latest uploads of each source beside what is usual, with bounds and row numbers as evidence."""
    with platform.for_customer(context.partition_key) as (_, conn, customer):
        measures = latest_measures(conn, customer.customer_id)
    for rule in STREAM_RULES:
        yield dg.AssetCheckResult(
            check_name=rule.name,
            asset_key=upload_quality.key,
            severity=dg.AssetCheckSeverity.WARN,
            **anomaly_state(rule.name, measures),
        )
