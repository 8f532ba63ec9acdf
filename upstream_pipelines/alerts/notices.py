"""What an alert is about, as the JSON that waits in the outbox. Not here: wording (content.py), SQL (store.py)."""

from __future__ import annotations

import base64
import math
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Literal

from upstream_pipelines.alerts.rules import Facts

# Every channel of every matching rule carries the chart; mail systems fold or refuse far larger images.
_CHART_BASE64_BYTES = 200_000
_NAMESPACE = uuid.UUID("5f1b7a3c-52f3-4c0e-9a53-0c7d3f0f3b11")
_CLASS_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,199}")


@dataclass(frozen=True)
class DriftNotice:
    """A drift event that opened or was resolved, as people are to be told.

    `cause` says who: "payer" those who watch payers, "data" those who watch the data.

    `baseline`, `current` and `effect` are in the unit of the signal: rates 0..1, days, price index
    with baseline 1, lines a week. `severity`, `maturity` and `confidence` are 0..1. `headline`, `sentences` and
    `facts` (name, value) are the words; `contributions` and `money` the figures behind them, as JSON.
    `chart_png` is a PNG, `link` a page for people.
    """

    event_id: uuid.UUID
    notice: Literal["open", "resolved"]
    payer: str
    cpt_group: str
    signal: str
    direction: Literal["worsening", "improving"]
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


@dataclass(frozen=True)
class Entry:
    """One event on its way into the outbox: what it is matched by and what it will say."""

    kind: Literal["drift", "quality", "run_failure"]
    notice: Literal["open", "resolved"]
    subject_id: uuid.UUID
    fingerprint: str
    facts: Facts
    content: dict[str, Any]


def drift_entry(notice: DriftNotice) -> Entry:
    """The outbox entry of a drift event.

    One of cause "data" is a matter of quality, and a subject of its own: who was told that it is the data has not
    been told that it is the payer, should it turn out so.
    """
    kind: Literal["drift", "quality"] = "quality" if notice.cause == "data" else "drift"
    return Entry(
        kind=kind,
        notice=notice.notice,
        subject_id=uuid.uuid5(_NAMESPACE, f"data/{notice.event_id}") if notice.cause == "data" else notice.event_id,
        fingerprint=_fingerprint(kind, notice.payer, notice.cpt_group, notice.signal),
        facts=Facts(
            kind=kind, signal=notice.signal, payer=notice.payer, cpt_group=notice.cpt_group,
            direction=notice.direction, severity=notice.severity, effect=notice.effect,
        ),
        content={
            "type": f"drift.event.{'opened' if notice.notice == 'open' else 'resolved'}",
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
    )  # fmt: skip


def run_failure_entry(run_id: str, job_name: str, step: str | None, error_class: str, link: str | None) -> Entry:
    """The outbox entry of a failed run. The error's message is not taken: it may hold a claim's values."""
    return Entry(
        kind="run_failure",
        notice="open",
        subject_id=uuid.uuid5(_NAMESPACE, f"run/{run_id}"),
        fingerprint=_fingerprint("run_failure", job_name, step or ""),
        facts=Facts(kind="run_failure"),
        content={
            "type": "run.failed",
            "data": {
                "run_id": run_id,
                "job_name": job_name,
                "step": step,
                # Anything that is no class name may be a message in its place.
                "error_class": error_class if _CLASS_NAME.fullmatch(error_class) else "(not a class name)",
                "link": link,
            },
        },
    )


def quality_entry(
    upload_id: uuid.UUID,
    score: float,
    failed_rules: Sequence[str],
    link: str | None,
    rows: tuple[int, int] | None = None,
) -> Entry:
    """The outbox entry of an upload that failed rules of the severity error; `score` is 0..100, `rows` how many rows
    were rejected, and of how many.
    """
    return Entry(
        kind="quality",
        notice="open",
        subject_id=upload_id,
        fingerprint=_fingerprint("quality", *sorted(failed_rules)),
        facts=Facts(kind="quality"),
        content={
            "type": "upload.quality_failed",
            "data": {
                "upload_id": str(upload_id), "score": _number(score), "failed_rules": sorted(failed_rules), "link": link,
                **({} if rows is None else {"rejected_rows": rows[0], "rows": rows[1]}),
            },
        },
    )  # fmt: skip


def channel_disabled_content(channel: str, kind: str, reason: str, at: datetime) -> dict[str, Any]:
    """What the other channels say when one was disabled."""
    return {
        "type": "channel.disabled",
        "data": {"channel": channel, "kind": kind, "reason": reason, "disabled_at": at.isoformat(), "link": None},
    }


def channel_disabled_subject(channel_id: uuid.UUID, at: datetime) -> uuid.UUID:
    """One alert each time a channel is disabled."""
    return uuid.uuid5(_NAMESPACE, f"channel/{channel_id}/{at.astimezone(UTC).isoformat()}")


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


def _fingerprint(*parts: str) -> str:
    """Equal for the same trouble on another day; a unit separator keeps "a","b" apart from "ab"."""
    return "\x1f".join(part.casefold() for part in parts)
