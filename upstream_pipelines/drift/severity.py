"""How much a change matters: its size against what is material, and the payer's share of the money.

Not here: how sure it is (scan.py), what it costs (money.py).
"""

from __future__ import annotations

from upstream_pipelines.drift.counts import RECENT_DAYS, View
from upstream_pipelines.drift.measures import Comparison
from upstream_pipelines.drift.settings import DriftSettings, Signal


def severity(signal: Signal, comparison: Comparison, view: View, payer: int, *, settings: DriftSettings) -> float:
    """0..1 from the size of the effect against what is material, weighed by the payer's share of billed dollars.

    Four times the material size gives a half; a payer of less than its even share of the money up to a half less.
    """
    unit = {
        "denial_rate": settings.minimum_rate_points,
        "authorization_denials": settings.minimum_authorization_points,
        "decision_lag": settings.minimum_lag_days,
        "allowed_amount": settings.minimum_price_change,
        "volume": settings.minimum_volume_change,
        "procedure_mix": settings.minimum_mix_change,
    }[signal]
    change = comparison.current if signal == "procedure_mix" else comparison.effect
    size = abs(change) / max(unit, 1e-9)
    by_effect = size / (size + 4.0)
    billed = view.billed_lately
    if billed.sum() <= 0:
        return by_effect
    share = billed[payer] / billed.sum()
    even = 1.0 / max(int((view.total[:, -RECENT_DAYS:].sum(axis=1) > 0).sum()), 1)
    return float(by_effect * (0.5 + 0.5 * min(share / even, 1.0)))
