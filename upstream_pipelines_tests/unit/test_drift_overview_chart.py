"""The overview chart of a look: what stands beside its intervals."""

from __future__ import annotations

import pandas as pd
import pytest
from matplotlib.figure import Figure as Picture

from upstream_pipelines.drift.chart import drift_chart
from upstream_pipelines.drift.figures import Figure
from upstream_pipelines.drift.settings import RATE_SIGNALS, SIGNALS


def _figures() -> pd.DataFrame:
    values = (0.1, 0.09, 0.11, 0.2, 0.18, 0.22, 900, 60, 0.02)
    return pd.DataFrame([vars(Figure("Aetna", signal, *values, "as they come")) for signal in SIGNALS])


def test_the_share_decided_stands_beside_rates_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Volume, mix, prices and times are counted as they come: 2 % decided beside them would make them look incomplete."""
    drawn: list[Picture] = []
    monkeypatch.setattr(Picture, "savefig", lambda picture, *_, **__: drawn.append(picture))
    drift_chart(_figures(), "Acme")
    panels = {axes.get_title(): [text.get_text() for text in axes.texts] for axes in drawn[0].axes}
    assert len(panels) == len(SIGNALS)
    beside = {title for title, texts in panels.items() if "2%" in texts}
    assert beside == {"Denial rate, %", "Denied for authorization, %"}
    assert len(beside) == len(RATE_SIGNALS)
    assert "of rates" in drawn[0].legends[0].get_texts()[1].get_text()
