"""What an alert is about, as the JSON that waits in the outbox: drift events and channels.

Not here: what else happens on the platform (occurrences.py), wording (content.py), SQL (store.py).
"""

from __future__ import annotations

import base64
import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Literal

from upstream_pipelines.alerts.rules import Facts, dollars_of

# Every channel of every matching rule carries the chart; mail systems fold or refuse far larger images.
_CHART_BASE64_BYTES = 200_000
NAMESPACE = uuid.UUID("5f1b7a3c-52f3-4c0e-9a53-0c7d3f0f3b11")


@dataclass(frozen=True)
class DriftNotice:
    """A drift event that opened, grew worse (escalated) or was resolved, as people are to be told.

    `cause` says who: "payer" those who watch payers, "data" those who watch the data.

    `baseline`, `current` and `effect` are in the unit of the signal: rates 0..1, days, price index
    with baseline 1, lines a week. `severity`, `maturity` and `confidence` are 0..1. `headline`, `sentences` and
    `facts` (name, value) are the words; `contributions` and `money` the figures behind them, as JSON.
    `chart_png` is a PNG, `link` a page for people. `late`: an opening of an event that goes on (`Entry.late`).
    """

    event_id: uuid.UUID
    notice: Literal["open", "resolved", "escalated"]
    payer: str
    cpt_group: str
    signal: str
    direction: Literal["worsening", "improving", "unclear"]
    severity: float | None
    effect: float | None
    baseline: float | None
    current: float | None
    n_baseline: int
    n_current: int
    maturity: float | None
    p_value: float | None
    q_value: float | None
    as_of: date
    change_date: date | None
    headline: str
    sentences: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    change_date_low: date | None = None
    change_date_high: date | None = None
    complete_to: date | None = None
    confidence: float | None = None
    contributions: Mapping[str, Any] | None = None
    money: Mapping[str, Any] | None = None
    chart_png: bytes | None = None
    link: str | None = None
    opened_method_version: str | None = None
    opened_settings: Mapping[str, Any] | None = None
    cause: Literal["payer", "data"] = "payer"
    late: bool = False


@dataclass(frozen=True)
class Entry:
    """One event on its way into the outbox: what it is matched by and what it will say.

    `ends`: whether a resolved notice will come for it. `at_once`: all there is to tell is known by now, so that it does
    not wait for others to join its message. `returns`: what ended may come back as the same event, and is told again.
    `late`: an opening for those rules alone that first want the event now (store.late_openings).
    """

    kind: Literal["drift", "quality", "silence", "run_failure"]
    notice: Literal["open", "resolved", "escalated"]
    subject_id: uuid.UUID
    fingerprint: str
    facts: Facts
    content: dict[str, Any]
    ends: bool = False
    at_once: bool = False
    returns: bool = False
    late: bool = False


def drift_subject(event_id: uuid.UUID, cause: Literal["payer", "data"]) -> uuid.UUID:
    """Whose alerts an event's are: that it is the data is another matter than that it is the payer."""
    return uuid.uuid5(NAMESPACE, f"data/{event_id}") if cause == "data" else event_id


def drift_facts(
    cause: Literal["payer", "data"],
    *,
    payer: str,
    cpt_group: str,
    signal: str,
    direction: str,
    severity: float | None,
    effect: float | None,
    detail: Mapping[str, Any],
) -> Facts:
    """What rules ask about a drift event; `detail`: of its row, for confidence and money."""
    return Facts(
        kind="quality" if cause == "data" else "drift", signal=signal, payer=payer, cpt_group=cpt_group,
        direction=direction, severity=severity, confidence=detail.get("confidence"), effect=effect,
        dollars=dollars_of(detail.get("money")),
    )  # fmt: skip


def drift_entry(notice: DriftNotice) -> Entry:
    """The outbox entry of a drift event.

    One of cause "data" is a matter of quality, and a subject of its own: who was told that it is the data has not
    been told that it is the payer, should it turn out so.
    """
    kind: Literal["drift", "quality"] = "quality" if notice.cause == "data" else "drift"
    return Entry(
        kind=kind,
        notice=notice.notice,
        subject_id=drift_subject(notice.event_id, notice.cause),
        fingerprint=fingerprint_of(kind, notice.payer, notice.cpt_group, notice.signal),
        facts=drift_facts(
            notice.cause, payer=notice.payer, cpt_group=notice.cpt_group, signal=notice.signal,
            direction=notice.direction, severity=notice.severity, effect=notice.effect,
            detail={"confidence": notice.confidence, "money": notice.money},
        ),
        content={
            "type": f"drift.event.{'opened' if notice.notice == 'open' else notice.notice}",
            **_chart(notice.chart_png),
            "words": {
                "headline": notice.headline,
                "sentences": list(notice.sentences),
                "facts": [list(fact) for fact in notice.facts],
            },
            "data": {
                "event_id": str(notice.event_id),
                "payer": notice.payer,
                "cpt_group": notice.cpt_group,
                "signal": notice.signal,
                "direction": notice.direction,
                "cause": notice.cause,
                "severity": _number(notice.severity),
                "effect": _number(notice.effect),
                "baseline": _number(notice.baseline),
                "current": _number(notice.current),
                "n_baseline": notice.n_baseline,
                "n_current": notice.n_current,
                "maturity": _number(notice.maturity),
                "p_value": _number(notice.p_value),
                "q_value": _number(notice.q_value),
                "as_of": notice.as_of.isoformat(),
                "change_date": _iso(notice.change_date),
                "change_date_low": _iso(notice.change_date_low),
                "change_date_high": _iso(notice.change_date_high),
                "complete_to": _iso(notice.complete_to),
                "confidence": _number(notice.confidence),
                "explanation": " ".join(notice.sentences),
                "contributions": notice.contributions,
                "money": notice.money,
                "opened_method_version": notice.opened_method_version,
                "opened_settings": notice.opened_settings,
                "link": notice.link,
            },
        },
        ends=True,
        at_once=True,
        returns=True,
        late=notice.late,
    )  # fmt: skip


def channel_disabled_content(channel: str, kind: str, reason: str, at: datetime) -> dict[str, Any]:
    """What the other channels say when one was disabled."""
    return {
        "type": "channel.disabled",
        "data": {"channel": channel, "kind": kind, "reason": reason, "disabled_at": at.isoformat(), "link": None},
    }


def channel_disabled_subject(channel_id: uuid.UUID, at: datetime) -> uuid.UUID:
    """One alert each time a channel is disabled."""
    return uuid.uuid5(NAMESPACE, f"channel/{channel_id}/{at.astimezone(UTC).isoformat()}")


def _chart(png: bytes | None) -> dict[str, Any]:
    if png is None:
        return {}
    text = base64.b64encode(png).decode()
    if len(text) > _CHART_BASE64_BYTES:
        # The message says so; refusing would roll back the drift event itself.
        return {"chart_omitted": True}
    return {"chart_png": text}


def _iso(day: date | None) -> str | None:
    return day.isoformat() if day is not None else None


def _number(value: float | None) -> float | None:
    """JSON has no NaN; statistics that could not be computed are null."""
    return float(value) if value is not None and math.isfinite(value) else None


def fingerprint_of(*parts: str) -> str:
    """Equal for the same trouble on another day; a unit separator keeps "a","b" apart from "ab"."""
    return "\x1f".join(part.casefold() for part in parts)
