"""Reads what a report says: once, of one moment, in a few statements. Not here: how it looks, who asked for it (store.py).

Figures are those of the pages that show the same: events as drift explains them, payers as /payers has them, uploads and
rules as they were judged. Nothing of a single claim is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from psycopg.rows import dict_row

from upstream_pipelines.claims.payer_names import FEWEST_LINES_OF_A_NAME, unnamed_payers
from upstream_pipelines.customers.models import Customer
from upstream_pipelines.db.engine import Connection, standing_still
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.drift.explanation import ENDINGS, NAMES, headline, is_over, sentences_of
from upstream_pipelines.drift.units import brief_change, brief_figure, brief_money, number_of, since_text
from upstream_pipelines.quality.rules import RULES
from upstream_pipelines.quality.scores import rounded, score_of
from upstream_pipelines.reports.models import (
    EventPart,
    MonthPart,
    PayerPart,
    Period,
    ReportContent,
    RulePart,
    SourcePart,
    Sums,
    TooLittle,
    UploadPart,
)

QUERIES = load_queries(__package__)
# Of more the rest is one row: a payer of less than a hundredth of the lines is no news of a month.
MOST_PAYERS = 100
MOST_EVENTS = 100
MOST_UPLOADS = 200
MOST_RULES = 10
_UNKNOWN = "-"


def read_content(conn: Connection, customer: Customer, period: Period, made_at: datetime) -> ReportContent:
    """All that the report of a customer and period says, as it stands now (role upstream_pipeline)."""
    instants = {"since": _midnight(period.first), "before": _midnight(period.until)}
    values: dict[str, Any] = {
        "customer_id": customer.customer_id, **instants, "first": period.first, "until": period.until,
        "fewest": FEWEST_LINES_OF_A_NAME, "payers": MOST_PAYERS, "events": MOST_EVENTS,
    }  # fmt: skip
    with standing_still(conn), conn.cursor(row_factory=dict_row) as cursor:
        events = cursor.execute(QUERIES.events_of_period, values).fetchall()
        thin = cursor.execute(QUERIES.thin_of_period, values).fetchone()
        payers = cursor.execute(QUERIES.payers_of_period, values).fetchall()
        months = cursor.execute(QUERIES.months_of_period, values).fetchall()
        uploads = cursor.execute(QUERIES.uploads_of_period, {**values, "limit": MOST_UPLOADS}).fetchall()
        sources = cursor.execute(QUERIES.sources_of_period, values).fetchall()
        rules = cursor.execute(QUERIES.rules_of_period, {**values, "limit": MOST_RULES}).fetchall()
    return ReportContent(
        customer_slug=customer.slug,
        customer_name=customer.name,
        period=period,
        made_at=made_at.astimezone(UTC).replace(microsecond=0),
        events=tuple(_event(row, period) for row in events),
        events_found=events[0]["found"] if events else 0,
        events_began=events[0]["began"] if events else 0,
        too_little=TooLittle(thin["as_of"], thin["pairs"], thin["payers"]) if thin is not None else None,
        payers=tuple(PayerPart(_payer_name(row), _sums(row)) for row in payers),
        months=tuple(MonthPart(row["month"], _sums(row)) for row in months),
        uploads=tuple(
            sorted((UploadPart(**row) for row in uploads), key=lambda one: (one.received_at, one.upload_id), reverse=True)
        ),
        sources=tuple(
            SourcePart(**{**row, "score": None if row["score"] is None else rounded(row["score"])}) for row in sources
        ),
        rules=tuple(_rule(row) for row in rules),
    )  # fmt: skip


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _event(found: Mapping[str, Any], period: Period) -> EventPart:
    row: dict[str, Any] | None = found["row"]
    signal, cause, resolved = found["signal"], found["cause"], found["state"] == "resolved"
    ending = (ENDINGS[found["reason"]],) if resolved and found["reason"] is not None else ()
    named = {name: found[name] for name in ("event_id", "payer", "signal", "direction", "state", "cause", "started_on",
                                            "opened_on", "resolved_on")}  # fmt: skip
    named["began_in_period"] = found["opened_on"] >= period.first
    if row is None:
        # Closed for want of data, or its looks are kept no longer.
        return EventPart(
            **named, as_of=None, before=None, now=None, change=None, confidence=None, severity=None, dollars=None,
            dollars_low=None, dollars_high=None, outstanding=False, gain=False,
            headline=f"{found['payer']}: {NAMES[signal]} changed", sentences=ending, before_text=_UNKNOWN,
            now_text=_UNKNOWN, change_text=_UNKNOWN, since_text=found["started_on"].isoformat(), money_text=_UNKNOWN, over=resolved,
        )  # fmt: skip
    detail = row["detail"]
    # A change of the data costs nobody anything.
    money: Mapping[str, Any] = {} if cause == "data" else detail.get("money") or {}
    sentences = tuple(sentences_of(row))
    return EventPart(
        **named,
        as_of=date.fromisoformat(row["as_of"]),
        before=number_of(row["baseline"]),
        now=number_of(row["current"]),
        change=number_of(row["effect"]),
        confidence=number_of(detail.get("confidence")),
        severity=number_of(row["severity"]),
        dollars=_cents(money.get("per_month")),
        dollars_low=_cents(money.get("low")),
        dollars_high=_cents(money.get("high")),
        outstanding=money.get("delayed") is not None,
        gain=bool(money.get("gain", False)),
        headline=headline(row, "resolved" if resolved else "open", cause),
        # The last look that compares may be of a day before the end.
        sentences=sentences if row["state"] == "resolved" else sentences + ending,
        before_text=brief_figure(signal, row["baseline"]) or _UNKNOWN,
        now_text=brief_figure(signal, row["current"]) or _UNKNOWN,
        change_text=brief_change(row) or _UNKNOWN,
        since_text=since_text(detail, short=True) or _UNKNOWN,
        money_text=brief_money(money) or ("none" if cause == "data" else "not known"),
        over=resolved or is_over(row),
    )


def _cents(amount: Any) -> Decimal | None:
    return None if amount is None else Decimal(f"{amount:.2f}")


def _sums(row: Mapping[str, Any]) -> Sums:
    return Sums(**{field.name: row[field.name] for field in fields(Sums)})


def _payer_name(row: Mapping[str, Any]) -> str:
    match row["kind"]:
        case "few":
            return unnamed_payers(row["payers"])
        case "further":
            return f"({row['payers']:,} further payer{'s' if row['payers'] > 1 else ''})"
    return str(row["payer"])


def _rule(row: Mapping[str, Any]) -> RulePart:
    rule = RULES.get(row["rule"])
    # A rule of another release has no words here.
    description = rule.description if rule is not None else row["rule"].replace("_", " ")
    return RulePart(**row, description=description, score=score_of(row["checked_rows"], row["failing_rows"]))
