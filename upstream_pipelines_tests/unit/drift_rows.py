"""A row of an event as people are told of it, for tests of words. Not here: tests."""

from __future__ import annotations

from typing import Any

from upstream_pipelines.drift.explanation import describe

ROW: dict[str, Any] = {
    "as_of": "2026-05-01", "payer": "Alpha", "signal": "denial_rate", "direction": "worsening", "state": "open", "baseline": 0.1,
    "current": 0.153, "effect": 0.053, "q_value": 0.0004, "n_baseline": 4200, "n_current": 910, "maturity": 0.72,
    "severity": 0.5, "cause": "payer",
    "detail": {
        "change_date": "2026-03-05", "change_date_low": "2026-02-26", "change_date_high": "2026-03-11",
        "complete_to": "2026-04-30", "confidence": 0.9996, "waits_for": "persistence",
        "money": {"per_month": 12034.0, "low": 8112.0, "high": 15999.0, "delayed": None, "gain": False},
        "explanation": {
            "unit": "share of decided lines", "change": 0.055,
            "parts": {"rate": 0.05, "mix": 0.002, "maturity": 0.003},
            "by": {
                "cpt_group": [
                    {"name": "Imaging", "total": 0.04, "share": 0.3}, {"name": "Visits", "total": 0.012, "share": 0.7},
                ],
                "facility": [
                    {"name": "North", "total": 0.01, "share": 0.1}, {"name": "South", "total": 0.009, "share": 0.1},
                ],
                "denial_code": [
                    {"name": "CO-197", "total": 0.05, "share": 0.9}, {"name": "CO-16", "total": 0.002, "share": 0.1},
                ],
            },
        },
    },
}  # fmt: skip


def told(**changes: Any) -> str:
    return describe({**ROW, **changes}).replace("\N{NO-BREAK SPACE}", " ")


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")
