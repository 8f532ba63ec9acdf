"""Eighteen months of daily looks over a real-shaped practice in which nothing drifts."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from upstream_pipelines.drift import replay

FOLDER = os.environ.get("UPSTREAM_REAL_DATA", "")


@pytest.mark.skipif(not FOLDER, reason="UPSTREAM_REAL_DATA names no folder of real files")
def test_eighteen_months_of_daily_looks_open_at_most_one_event() -> None:
    claims = pd.read_csv(Path(FOLDER) / "rcm_analytics" / "claims_flat.csv", dtype={"cpt": str})
    rows = replay(claims, pd.date_range("2024-10-01", "2026-03-31", unit="s"))
    assert not rows.empty
    assert (rows["state"] == "open").sum() <= 1
