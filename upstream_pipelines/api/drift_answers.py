"""Drift events as the API answers with them: typed, dollars as text. Not here: routes (drift.py), any computation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, Field

from upstream_pipelines.claims.listing import ClaimFilter
from upstream_pipelines.drift.event_pages import EventInFull, EventLook, Said
from upstream_pipelines.drift.explanation import facts_of, headline, sentences_of
from upstream_pipelines.drift.money import KINDS
from upstream_pipelines.drift.verdicts import Acceptance, KeptEvent


class EventsPage(BaseModel):
    """Events, those that live first; `next` is null on the last page."""

    events: list[KeptEvent]
    next: str | None


class Figures(BaseModel):
    """What the newest look that compares two periods found; in the signal's unit."""

    as_of: date
    baseline: float | None
    current: float | None
    effect: float | None
    p_value: float | None
    q_value: float | None
    severity: float | None
    n_baseline: int
    n_current: int
    maturity: float | None


class Money(BaseModel):
    """Dollars a month with the ends of a 95 % interval, and again under what they are; a gain where it is an improvement.

    Of a decision lag they are the dollars outstanding at any time, more than before.
    """

    per_month: Decimal | None
    low: Decimal | None
    high: Decimal | None
    lost: Decimal | None
    delayed: Decimal | None
    under_priced: Decimal | None
    not_submitted: Decimal | None
    lower_valued: Decimal | None
    gain: bool = False
    basis: str = ""
    within_denial_rate: bool = Field(
        default=False, description="Part of what the event of the payer's denial rate says."
    )


class Explanation(BaseModel):
    """Where the change comes from, in `unit`: its parts, and by what (procedure, facility, reason) who brings how much.

    A look of an earlier release may have less of it.
    """

    unit: str = ""
    before: float | None = None
    since: float | None = None
    change: float | None = None
    parts: dict[str, Any] = {}
    by: dict[str, list[dict[str, Any]]] = {}
    periods: dict[str, Any] | None = None


class LinesBehind(BaseModel):
    """The claim lines that an event is about, as they are now: how many, and the parameters of GET …/claims that list them.

    The figures count the first decision of a line as it was known on the day of the look; a line that was corrected since
    stands here as it is now.
    """

    count: int
    parameters: dict[str, str | list[str]]


class EventDetail(BaseModel):
    """An event in full. `figures`, `evidence` and what follows from them are null where no look compares two periods."""

    event: KeptEvent
    headline: str | None
    sentences: list[str]
    facts: dict[str, str]
    figures: Figures | None
    evidence: dict[str, Any] | None = Field(description="Change day and its interval, periods, thresholds.")
    explanation: Explanation | None
    money: Money | None
    looks: list[EventLook] = Field(description="The newest first.")
    accepted: Said | None
    claim_lines: LinesBehind | None


class Accepted(BaseModel):
    """People's word on an event; `already` where it had been said before, and then nothing changed."""

    event: KeptEvent
    accepted_on: date
    accepted_by: str
    note: str
    already: bool
    resolved_from_look: date = Field(description="The first day whose look resolves the event.")


def accepted(said: Acceptance) -> Accepted:
    """An acceptance as the answer."""
    return Accepted(
        # As it stands now: it was read before the word was kept.
        event=replace(said.event, accepted_on=said.accepted_on),
        accepted_on=said.accepted_on,
        accepted_by=said.accepted_by,
        note=said.note,
        already=said.before,
        resolved_from_look=said.first_look,
    )


def event_detail(full: EventInFull, lines: ClaimFilter | None, count: int | None) -> EventDetail:
    """An event with its evidence as the answer."""
    row = full.row
    detail: dict[str, Any] = dict(row["detail"]) if row is not None else {}
    explanation, money = detail.pop("explanation", None), detail.pop("money", None)
    notice = "resolved" if full.event.state == "resolved" else "open"
    return EventDetail(
        event=full.event,
        headline=headline(row, notice, full.event.cause) if row is not None else None,
        sentences=sentences_of(row) if row is not None else [],
        facts=dict(facts_of(row)) if row is not None else {},
        figures=Figures.model_validate(row) if row is not None else None,
        evidence=detail if row is not None else None,
        explanation=Explanation.model_validate(explanation) if explanation is not None else None,
        money=_money(money) if money is not None else None,
        looks=full.looks,
        accepted=full.said,
        claim_lines=None
        if lines is None or count is None
        else LinesBehind(count=count, parameters=_as_sent(lines)),
    )


def _money(money: Mapping[str, Any]) -> Money:
    amounts = {
        name: None if money.get(name) is None else Decimal(f"{money[name]:.2f}")
        for name in ("per_month", "low", "high", *KINDS)
    }
    return Money.model_validate({**money, **amounts})


def _as_sent(lines: ClaimFilter) -> dict[str, str | list[str]]:
    return {
        name: list(value) if isinstance(value, tuple) else str(value)
        for name, value in vars(lines).items()
        if value is not None
    }
