"""A drift row in one or two plain sentences, for alerts and reports.

Belongs here: wording. No claim values and nothing of a single line, only sums. Not here: figures (figures.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from upstream_pipelines.drift.data_trouble import data_sentences
from upstream_pipelines.drift.settings import RATE_SIGNALS

_SUBJECT = {
    "denial_rate": "denial rate",
    "decision_lag": "median decision time",
    "allowed_amount": "allowed amount for the same procedures",
    "volume": "number of lines submitted a week",
    "procedure_mix": "mix of submitted procedures",
    "authorization_denials": "rate of denials for authorisation",
}
_REASON = {
    "too_few_lines": "too few decided claim lines",
    "open_lines_not_in_source": "the source sends no claims that are still open",
}
_WAITS = {
    "evidence": "the evidence is not strong enough yet",
    "effect": "the change is too small to matter",
    "persistence": "a single week carries most of the evidence",
    "other_denials": "denials for other reasons changed alike, so that it is the denial rate that changed",
    "matured_cohorts": "claims old enough to be fully decided do not confirm it yet",
}

ENDINGS = {
    "back_at_baseline": "is over: the last weeks are back at the baseline",
    "became_the_normal": "has lasted so long that it is the new normal",
    "accepted_as_normal": "was accepted as the new normal",
    "payer_gone": "is closed: no claims bear this payer's name any more",
    "withdrawn": "is withdrawn: with what has arrived since, that day shows no such change",
}
"""What follows "This change", by the reason in a resolved row's detail (events.Ending)."""


def describe(row: Mapping[str, Any]) -> str:
    """Say what changed, from what to what, since when, how sure and how complete, on how many lines.

    `row` is a row of a look (`LookResult.rows`), or the same read back from the database.
    """
    detail: Mapping[str, Any] = row.get("detail") or {}
    subject = f"{row['payer']}: {_SUBJECT[row['signal']]}"
    if row["state"] == "not_enough_data":
        return _too_little(subject, row["signal"], detail)
    change = f"{subject} {_movement(row)}"
    if detail.get("change_date"):
        change += f" since about {_day(detail['change_date'])}"
    if row["state"] == "resolved":
        return f"{change}. This change {ENDINGS[detail.get('reason') or 'back_at_baseline']}."
    basis = f"{int(row['n_current']):,} decided lines against {int(row['n_baseline']):,} before"
    maturity = _number(row.get("maturity"))
    complete = "" if maturity is None else f"; {maturity:.0%} complete"
    sentence = f"{change} ({row['direction']}). Based on {basis}{complete}{_certainty(row)}."
    if row["state"] == "watch" and detail.get("waits_for") in _WAITS:
        sentence += f" Only watched: {_WAITS[detail['waits_for']]}."
    return " ".join(part for part in (sentence, data_sentences(detail)) if part)


def figure_text(signal: str, value: Any) -> str | None:
    """A baseline or current value as people read it; None where there is none."""
    number = _number(value)
    if number is None:
        return None
    if signal in RATE_SIGNALS or signal == "procedure_mix":
        return f"{number:.1%}"
    if signal == "volume":
        return f"{number:,.0f} lines a week"
    return f"{number:.1f} days" if signal == "decision_lag" else f"{number:.1%} of before"


def _movement(row: Mapping[str, Any]) -> str:
    baseline, current, effect = (_number(row.get(name)) for name in ("baseline", "current", "effect"))
    if baseline is None or current is None or effect is None:
        return "changed"
    verb = "rose" if effect > 0 else "fell"
    if row["signal"] in RATE_SIGNALS:
        return f"{verb} from {baseline:.1%} to {current:.1%}"
    if row["signal"] == "procedure_mix":
        return f"moved: {current:.0%} of the lines went to other codes"
    if row["signal"] == "decision_lag":
        return f"{verb} from {baseline:.0f} to {current:.0f} days"
    return f"{verb} by {abs(effect):.1%}"


def _certainty(row: Mapping[str, Any]) -> str:
    q = _number(row.get("q_value"))
    if q is None:
        return ""
    return (
        "; chance of a false alarm among today's charts under 0.1 %"
        if q < 0.001
        else (f"; chance of a false alarm among today's charts about {q:.1%}")
    )


def _too_little(subject: str, signal: str, detail: Mapping[str, Any]) -> str:
    sentence = f"{subject} cannot be judged: {_REASON.get(detail.get('reason', ''), 'not enough data')}."
    if detail.get("reason") == "open_lines_not_in_source":
        return sentence
    needed, about = detail.get("lines_needed"), detail.get("about_date")
    if needed:
        sentence += f" About {int(needed):,} more decided lines are needed"
        sentence += f", by about {_day(about)} at the present pace." if about else "; none come at present."
    smallest = _number(detail.get("smallest_detectable"))
    if smallest is not None:
        size = {
            "denial_rate": f"{100 * smallest:.0f} points",
            "authorization_denials": f"{100 * smallest:.0f} points",
            "volume": f"{smallest:.0%}",
            "decision_lag": f"{smallest:.0f} days",
            "allowed_amount": f"{smallest:.0%}",
        }[signal]
        sentence += f" The smallest change visible then is {size}."
    return sentence


def _number(value: Any) -> float | None:
    if value is None:
        return None
    number = float(value)
    return number if number == number else None  # noqa: PLR0124  nan, without importing anything


def _day(value: Any) -> str:
    day = value if isinstance(value, date) else date.fromisoformat(str(value))
    return f"{day:%B} {day.day}, {day.year}"
