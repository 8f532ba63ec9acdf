"""The contract of the typed claim line as a pandera schema: what `received_lines` is given, nothing else passes.

Not here: how rows that break it are set apart (judge.py).
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import NamedTuple

import pandas as pd
import pandera.pandas as pandera
import pyarrow as pa

from upstream_pipelines.claims.fields import FIELDS, OUTCOMES
from upstream_pipelines.claims.keys import HASH_TYPE
from upstream_pipelines.claims.mapping import ClaimMapping
from upstream_pipelines.claims.normalise import ARROW_TYPES
from upstream_pipelines.quality.checks import check_for
from upstream_pipelines.quality.rules import active_rules

_PROVENANCE: dict[str, tuple[pa.DataType, str]] = {
    "source_row_number": (pa.int64(), "Row of the upload: 1 is the first below the header."),
    "line_key": (HASH_TYPE, "Identity of the claim line."),
    "key_is_natural": (pa.bool_(), "Whether claim id and line number made the key."),
    "row_hash": (HASH_TYPE, "Hash of the line's content."),
}
#: Columns of an accepted line, in the order of the table `received_lines` after customer, upload and source.
COLUMNS: tuple[str, ...] = (*_PROVENANCE, *FIELDS)
# Columns of the table that hold no NULL.
_NEVER_EMPTY = frozenset({"payer", "cpt", "submitted_date", "outcome", *_PROVENANCE})


class ClaimColumn(NamedTuple):
    """One column for people: name, type in words of the database, description."""

    name: str
    type: str
    description: str


def arrow_type(name: str) -> pa.DataType:
    """Arrow type of a column of the accepted frame."""
    return _PROVENANCE[name][0] if name in _PROVENANCE else ARROW_TYPES[FIELDS[name].kind]


def claim_line_columns() -> list[ClaimColumn]:
    """The claim line as a column schema, such as Dagster shows."""
    return [
        ClaimColumn(
            name,
            _database_type(arrow_type(name)),
            _PROVENANCE[name][1] if name in _PROVENANCE else FIELDS[name].description,
        )
        for name in COLUMNS
    ]


def _database_type(kind: pa.DataType) -> str:
    if pa.types.is_decimal(kind):
        return f"numeric({kind.precision}, {kind.scale})"
    names = {"string": "text", "bool": "boolean", "date32[day]": "date", "int32": "integer", "int64": "bigint"}
    return {**names, str(HASH_TYPE): "uuid"}[str(kind)]


def build_contract(mapping: ClaimMapping, today: date) -> pandera.DataFrameSchema:
    """Schema of accepted lines: types, nullability, outcomes, amounts, and the rules this customer has as errors."""
    rules = [rule for rule in active_rules(mapping.quality) if rule.severity == "error" and not rule.noted]
    return pandera.DataFrameSchema(
        {
            name: pandera.Column(
                pd.ArrowDtype(arrow_type(name)), _column_checks(name), nullable=name not in _NEVER_EMPTY
            )
            for name in COLUMNS
        },
        checks=[
            check_for(rule, field, today=today, no_cpt=mapping.no_cpt).check
            for rule in rules
            for field in rule.fields
        ],
        strict=True,
        ordered=True,
        name="claim_line",
    )


def _column_checks(name: str) -> list[pandera.Check]:
    if name == "outcome":
        return [pandera.Check.isin(OUTCOMES)]
    if name in FIELDS and FIELDS[name].kind == "money":
        return [pandera.Check.ge(Decimal(0))]
    if name == "source_row_number":
        return [pandera.Check.ge(1)]
    return []
