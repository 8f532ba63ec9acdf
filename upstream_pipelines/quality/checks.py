"""The quality rules as pandera checks over typed claim lines. Not here: their names and grades (rules.py).

A check takes the frame of typed columns (claims/normalise.py, arrow dtypes) with the column
`outcome_known` beside them, and gives a verdict per row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pandera.pandas as pandera
import pyarrow as pa
import pyarrow.compute as pc

from upstream_pipelines.claims.codes import CPT_PATTERN
from upstream_pipelines.claims.fields import UNSPECIFIED_CPT
from upstream_pipelines.quality.phi import holds_person_as_payer, holds_phi
from upstream_pipelines.quality.rules import Rule

# 1 to 3 digits, or a letter and digits (A1, B7, P12, W1), after an optional group.
_CARC = r"^(?:(?:CO|PR|OA|PI|CR)-)?(?:\d{1,3}|[A-Z]\d{1,2})$"
_LARGEST_ALLOWED = Decimal(1_000_000)

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class RuleCheck:
    """A rule on one of its fields: the pandera check, and to which rows of a frame it applies at all."""

    rule: Rule
    field: str
    check: pandera.Check
    applies: Callable[[pd.DataFrame], Mask]

    def failing(self, frame: pd.DataFrame) -> Mask:
        """Rows that fail; a row to which the rule does not apply passes."""
        passing: Mask = self.check(frame).check_output.to_numpy()
        return ~passing


def check_for(rule: Rule, field: str, *, today: date, no_cpt: bool) -> RuleCheck:
    """The pandera check of a rule on one of its fields."""
    applies, holds = _parts(rule.name, field, today, no_cpt)

    def passes(frame: pd.DataFrame) -> pd.Series[bool]:
        return pd.Series(_flags(holds(frame)) | ~_flags(applies(frame)), index=frame.index)

    # ignore_na looks for empty rows in every column of the frame, which costs more than the check itself.
    check = pandera.Check(passes, name=rule.name, error=rule.reason, description=rule.description, ignore_na=False)
    return RuleCheck(rule, field, check, lambda frame: _flags(applies(frame)))


def _parts(name: str, field: str, today: date, no_cpt: bool) -> tuple[_Flags, _Flags]:
    """To which rows a rule applies, and where it holds (only looked at where it applies)."""
    if name == "decided_date_present":
        return lambda frame: pc.not_equal(_column(frame, "outcome"), "PENDING"), _filled(field)
    if name == "denied_has_reason_code":
        return lambda frame: pc.equal(_column(frame, "outcome"), "DENIED"), _filled(field)
    if name == "cpt_present" and no_cpt:
        return lambda frame: pa.nulls(len(frame), pa.bool_()), _filled(field)
    if name.endswith("_present"):
        return lambda frame: pa.array(np.ones(len(frame), dtype=bool)), _filled(field)
    if name == "outcome_known":
        return _filled(field), lambda frame: _column(frame, "outcome_known")
    if name == "cpt_form":
        return (
            lambda frame: pc.not_equal(_column(frame, field), UNSPECIFIED_CPT),
            lambda frame: _matches(_column(frame, field), CPT_PATTERN),
        )
    if name == "denial_code_form":
        return _filled(field), lambda frame: _matches(_column(frame, field), _CARC)
    if name == "allowed_amount_range":
        # Below zero is refused before any rule (amount_not_negative).
        return _filled(field), lambda frame: pc.less_equal(_column(frame, field), _LARGEST_ALLOWED)
    if name == "no_future_date":
        return _filled(field), lambda frame: pc.less_equal(_column(frame, field), pa.scalar(today, pa.date32()))
    if name == "phi_in_payer":
        return _filled(field), lambda frame: pa.array(~holds_person_as_payer(_column(frame, field)))
    if name.startswith("phi_in_"):
        return _filled(field), lambda frame: pa.array(~holds_phi(_column(frame, field)))
    earlier, later = {
        "decided_on_or_after_submitted": ("submitted_date", "decided_date"),
        "service_on_or_before_submitted": ("service_date", "submitted_date"),
        "payment_on_or_after_decided": ("decided_date", "payment_date"),
    }[name]
    return (
        lambda frame: pc.and_(_column(frame, earlier).is_valid(), _column(frame, later).is_valid()),
        lambda frame: pc.less_equal(_column(frame, earlier), _column(frame, later)),
    )


_Flags = Callable[[pd.DataFrame], Any]


def _filled(field: str) -> _Flags:
    return lambda frame: _column(frame, field).is_valid()


def _matches(texts: Any, pattern: str) -> Any:
    """Looked at once per distinct text: 200,000 lines hold some hundred codes."""
    encoded = texts.dictionary_encode()
    return pc.match_substring_regex(encoded.dictionary, pattern).take(encoded.indices)


def _flags(array: Any) -> Mask:
    flags: Mask = pc.fill_null(array, False).to_numpy(zero_copy_only=False)
    return flags


def _column(frame: pd.DataFrame, name: str) -> Any:
    array = pa.array(frame[name])
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
