"""The quality rules as pandera checks over typed claim lines. Not here: their names and grades (rules.py).

A check takes the frame of typed columns (claims/normalise.py, arrow dtypes) with the column
`outcome_known` beside them, and gives a verdict per row; null is "the rule does not apply here".
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import pandas as pd
import pandera.pandas as pandera
import pyarrow as pa
import pyarrow.compute as pc

from upstream_pipelines.claims.fields import UNSPECIFIED_CPT
from upstream_pipelines.quality.phi import holds_phi
from upstream_pipelines.quality.rules import Rule

# CPT category I (99213), II and III (0001F, 0075T), proprietary tests (0001U); HCPCS level II (J1100).
_CPT = r"^(?:\d{5}|\d{4}[A-Z]|[A-Z]\d{4})$"
# 1 to 3 digits, or a letter and digits (A1, B7, P12, W1), after an optional group.
_CARC = r"^(?:(?:CO|PR|OA|PI|CR)-)?(?:\d{1,3}|[A-Z]\d{1,2})$"
_LARGEST_ALLOWED = Decimal(1_000_000)

Verdicts = Callable[[pd.DataFrame], Any]


def check_for(rule: Rule, field: str, *, today: date, no_cpt: bool) -> tuple[pandera.Check, Verdicts]:
    """The pandera check of a rule on one of its fields, and the verdicts behind it (arrow booleans, null: n/a)."""
    verdicts = _verdicts(rule.name, field, today, no_cpt)

    def passes(frame: pd.DataFrame) -> pd.Series[bool]:
        flags = pc.fill_null(verdicts(frame), True)
        return pd.Series(flags.to_numpy(zero_copy_only=False), index=frame.index)

    check = pandera.Check(
        passes,
        name=rule.name,
        error=rule.reason,
        description=rule.description,
        raise_warning=rule.severity != "error",
    )
    return check, verdicts


def _verdicts(name: str, field: str, today: date, no_cpt: bool) -> Verdicts:
    if name == "cpt_present" and no_cpt:
        return lambda frame: pa.nulls(len(frame), pa.bool_())
    if name == "decided_date_present":
        return lambda frame: _where(
            pc.not_equal(_column(frame, "outcome"), "PENDING"), _column(frame, field).is_valid()
        )
    if name == "denied_has_reason_code":
        return lambda frame: _where(
            pc.equal(_column(frame, "outcome"), "DENIED"), _column(frame, field).is_valid()
        )
    if name.endswith("_present"):
        return lambda frame: _column(frame, field).is_valid()
    if name == "outcome_known":
        return lambda frame: _where(_column(frame, field).is_valid(), _column(frame, "outcome_known"))
    if name == "cpt_form":
        return lambda frame: _where(
            pc.not_equal(_column(frame, field), UNSPECIFIED_CPT if no_cpt else ""),
            pc.match_substring_regex(_column(frame, field), _CPT),
        )
    if name == "denial_code_form":
        return lambda frame: pc.match_substring_regex(_column(frame, field), _CARC)
    if name == "allowed_amount_range":
        return lambda frame: pc.and_(
            pc.greater_equal(_column(frame, field), Decimal(0)),
            pc.less_equal(_column(frame, field), _LARGEST_ALLOWED),
        )
    if name == "no_future_date":
        return lambda frame: pc.less_equal(_column(frame, field), pa.scalar(today, pa.date32()))
    if name.startswith("phi_in_"):
        return lambda frame: _where(_column(frame, field).is_valid(), pa.array(~holds_phi(_column(frame, field))))
    earlier, later = {
        "decided_on_or_after_submitted": ("submitted_date", "decided_date"),
        "service_on_or_before_submitted": ("service_date", "submitted_date"),
        "payment_on_or_after_decided": ("decided_date", "payment_date"),
    }[name]
    return lambda frame: pc.less_equal(_column(frame, earlier), _column(frame, later))


def _where(applies: Any, holds: Any) -> Any:
    return pc.if_else(pc.fill_null(applies, False), holds, pa.scalar(None, pa.bool_()))


def _column(frame: pd.DataFrame, name: str) -> Any:
    array = pa.array(frame[name])
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
