"""The quality report of one upload: score, dimensions, what failed. Not here: storing it (store.py).

Each dimension is the share of passed looks of its rules, in percent: a look is one rule on one row to
which it applies; a warning counts a third of an error, info counts nothing. Uniqueness is the share of
rows that were not duplicates. The score is the weighted mean of the dimensions times the share of rows
that were not rejected: an upload with no usable row scores 0, however well-formed the rest of its cells.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict

from upstream_pipelines.claims.judge import Counters
from upstream_pipelines.quality.rules import RULES
from upstream_pipelines.quality.scores import rounded

#: Completeness and validity decide what drift can be computed at all; together more than half.
WEIGHTS = {"completeness": 0.3, "validity": 0.3, "consistency": 0.2, "uniqueness": 0.1, "timeliness": 0.1}
_LOOK_WEIGHTS = {"error": 1.0, "warning": 1 / 3, "info": 0.0}


class QualityReport(BaseModel):
    """score and each dimension 0..100; summary holds counts and names of rules and fields, never a value."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    score: float
    dimensions: dict[str, float]
    summary: dict[str, Any]


def build_report(
    findings: pd.DataFrame, counters: Counters, *, rows: int, accepted: int, rejected: int, duplicates: int
) -> QualityReport:
    """Build the report of an upload.

    findings, counters: the judge's. rows, accepted, rejected, duplicates: as the upload ends, so
    accepted leaves out the duplicates that the merge found.

    Raises:
        ValueError: the counts do not add up.
    """
    if rows != accepted + rejected + duplicates:
        raise ValueError(
            f"{rows} rows are not {accepted} accepted, {rejected} rejected and {duplicates} duplicates"
        )
    looks = findings.assign(
        dimension=findings["rule"].map(lambda name: RULES[name].dimension),
        weight=findings["severity"].map(_LOOK_WEIGHTS),
    )
    looks["checked"] = looks["checked_rows"] * looks["weight"]
    looks["failed"] = looks["failing_rows"] * looks["weight"]
    sums = looks.groupby("dimension")[["checked", "failed"]].sum()
    sums = sums[sums["checked"] > 0]
    # A dimension that nothing was looked at for has no fault to show.
    shares = (100 * (1 - sums["failed"] / sums["checked"])).to_dict()
    dimensions: dict[str, float] = {name: float(shares.get(name, 100.0)) for name in WEIGHTS}
    failures = findings[findings["failing_rows"] > 0]
    return _scored(
        dimensions,
        {
            "rows": rows,
            "accepted": accepted,
            "rejected": rejected,
            "duplicates": duplicates,
            "warned": counters.warned,
            "failures": [
                {
                    "rule": finding["rule"],
                    "field": finding["field"],
                    "severity": finding["severity"],
                    "rows": finding["failing_rows"],
                    "description": RULES[finding["rule"]].description,
                    "advice": RULES[finding["rule"]].reason,
                }
                for finding in failures.to_dict("records")
            ],
            "missing": {name: count for name, count in counters.missing.items() if count},
            "invalid_dates": counters.invalid_dates,
            "invalid_values": counters.invalid_values,
            "phi": counters.phi,
            # What the next uploads are compared with (anomaly_store.py).
            "read": counters.read,
            "filled": {name: count for name, count in counters.filled.items() if count},
            "outcomes": counters.outcomes,
        },
    )


def with_duplicates(report: QualityReport, duplicates: int) -> QualityReport:
    """The same report once the merge has told how many of its accepted rows were duplicates."""
    accepted = report.summary["accepted"] + report.summary["duplicates"] - duplicates
    return _scored(report.dimensions, {**report.summary, "accepted": accepted, "duplicates": duplicates})


def _scored(dimensions: dict[str, float], summary: dict[str, Any]) -> QualityReport:
    rows = summary["rows"]
    shares = {**dimensions, "uniqueness": 100 * (1 - summary["duplicates"] / rows) if rows else 100.0}
    mean = sum(WEIGHTS[name] * share for name, share in shares.items())
    usable = 1 - summary["rejected"] / rows if rows else 1.0
    return QualityReport(
        score=rounded(mean * usable),
        dimensions={name: rounded(share) for name, share in shares.items()},
        summary=summary,
    )
