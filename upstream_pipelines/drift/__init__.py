"""Payer drift: a true, early alarm from day counts of claims. This module holds `replay` and imports nothing heavy.

Not here: Dagster (defs/), alerts. Parts: activity (aggregates), facts (what was known), factors and scan (evidence),
detector (a look), events (their life), figures, chart and explanation (for people).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

    from upstream_pipelines.drift.settings import DriftSettings


def replay(
    claims: pd.DataFrame,
    as_of_days: Iterable[Any],
    settings: DriftSettings | None = None,
    processes: Literal[1, 2] = 1,
) -> pd.DataFrame:
    """Look at one customer's history as production would have on each of `as_of_days`, in order.

    `claims` holds a row per line with what is known in the end (columns: see `activity.activity_from_claims`); at
    each look only what was decided, or seen, before that day counts. (Production lets what arrived on a customer's
    first day count from its own days on; leave first_seen_at out for such lines.) Days may be dates, timestamps or ISO text.
    Returns a row per event and look, and per payer and signal without enough data: as_of, payer, cpt_group, signal,
    direction, state, baseline, current, effect, p_value, q_value, severity, n_baseline, n_current, maturity.

    With `processes=2` a second process makes every second look: the same rows, sooner where there are many looks.

    Raises:
        ClaimsFrameError: the claims lack a column or hold something that is no date or number.
    """
    from upstream_pipelines.drift.turns import replay_looks

    return replay_looks(claims, as_of_days, settings, processes)
