"""The rows of a look, as records and as a frame. Not here: how they come about (detector.py)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from upstream_pipelines.drift.events import DriftEvent
from upstream_pipelines.drift.measures import Comparison
from upstream_pipelines.drift.settings import Signal

if TYPE_CHECKING:
    import pandas as pd

ROW_COLUMNS = [
    "as_of", "payer", "cpt_group", "signal", "direction", "state", "baseline", "current", "effect", "p_value",
    "q_value", "severity", "n_baseline", "n_current", "maturity", "cause", "event_id", "detail",
]  # fmt: skip


@dataclass(frozen=True)
class LookResult:
    """`records`: a row per event, watched chart and payer and signal without enough data. `events`: the new state of each
    event handed in that was not resolved, and of each opened now.
    """

    records: list[dict[str, Any]]
    events: list[DriftEvent]

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The records as a frame; made when asked for, since a year of looks needs but one."""
        return frame_of(self.records)


def frame_of(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows of looks as a frame of `ROW_COLUMNS`."""
    import pandas as pd

    frame = pd.DataFrame(rows, columns=ROW_COLUMNS)
    numbers = ["baseline", "current", "effect", "p_value", "q_value", "severity", "maturity"]
    counts = ["n_baseline", "n_current"]
    words = ["payer", "cpt_group", "signal", "direction", "state", "cause"]
    # Told, since a look without rows would else give columns of another type.
    return frame.astype(
        dict.fromkeys(numbers, "float64") | dict.fromkeys(counts, "int64") | dict.fromkeys(words, "str")
    )


def intervals_of(signal: Signal, found: Comparison) -> dict[str, float | None]:
    """The intervals of a comparison as they stand in a row's detail; that of the effect of a mix only, None: unknown."""
    (baseline_low, baseline_high), (current_low, current_high) = found.baseline_interval, found.current_interval
    return {
        "baseline_low": round(baseline_low, 6),
        "baseline_high": round(baseline_high, 6),
        "current_low": round(current_low, 6),
        "current_high": round(current_high, 6),
        **(_effect_interval(found) if signal == "procedure_mix" else {}),
    }


def _effect_interval(found: Comparison) -> dict[str, float | None]:
    low, high = found.effect_interval or (None, None)
    return {
        "effect_low": None if low is None else round(low, 6),
        "effect_high": None if high is None else round(high, 6),
    }


def plain_row(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row of a look as it is stored: without its day, missing values as None."""
    return {name: _plain(row.get(name)) for name in ROW_COLUMNS if name != "as_of"}


def _plain(value: Any) -> Any:
    """A value as JSON holds it: no NaN, no NumPy types, ids as text."""
    import pandas as pd

    if value is None or value is pd.NA:
        return None
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, dict):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return str(value)
