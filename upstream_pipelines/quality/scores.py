"""Scores as people read them: 0..100, to the hundredth. Not here: what goes into an upload's score (report.py).

Loads nothing: the API tells scores too.
"""

from __future__ import annotations

_NOTHING = 1e-9  # rounding of the sums; a row of 10^9 is more


def rounded(share: float) -> float:
    """A share in percent to the hundredth, but to 100 only where nothing failed: 2 rows of 100,000 are something."""
    return round(share, 2) if share >= 100 - _NOTHING else min(round(share, 2), 99.99)


def score_of(checked_rows: int, failing_rows: int) -> float | None:
    """The share of a rule's rows that hold; None where it looked at none."""
    return rounded(100 * (1 - failing_rows / checked_rows)) if checked_rows else None
