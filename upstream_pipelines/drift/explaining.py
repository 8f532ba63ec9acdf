"""Explanation and money of the live events of a look, from the customer's claims; and the claim lines behind one.

Belongs here: reading what an event's row is explained with. Not here: the explanation itself (contributions.py), the
dollars (money.py). Only production explains: a replay has no claims at hand, only what was counted of them.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row

from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.drift.basis import is_compared
from upstream_pipelines.drift.breakdown import REACH_DAYS, periods_of, read_breakdown
from upstream_pipelines.drift.contributions import explain
from upstream_pipelines.drift.events import NEW_NORMALS, DriftEvent
from upstream_pipelines.drift.explanation import ENDINGS
from upstream_pipelines.drift.money import money_of
from upstream_pipelines.drift.settings import DriftSettings
from upstream_pipelines.drift.verdicts import KeptEvent, kept_event
from upstream_pipelines.errors import ConfigurationError, NotFoundError

QUERIES = load_queries(__package__)
EXPLAINED_STATES = frozenset({"open", "updated", "resolved"})
LINE_COLUMNS = (
    "claim_key", "claim_id", "line_number", "upload_id", "source_row_number", "submitted_date", "decided_date",
    "outcome",
)  # fmt: skip


@dataclass(frozen=True)
class OpenedWith:
    """The version of the method and the settings of the look that opened an event; later looks leave them."""

    method_version: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class StoredEvent:
    """An event with its newest row, as in a look."""

    event: KeptEvent
    row: dict[str, Any]
    opened_with: OpenedWith


def is_explained(row: Mapping[Any, Any]) -> bool:
    """Whether a row is an event's and compares two periods: one that was closed for want of data has none."""
    return row["state"] in EXPLAINED_STATES and is_compared(row)


def explain_rows(
    conn: Connection,
    customer_id: int,
    as_of: date,
    *,
    rows: Sequence[Mapping[str, Any]],
    known: Sequence[DriftEvent],
    settings: DriftSettings,
) -> None:
    """Put `explanation` and `money` (None where there is none to give) into the detail of each event's row.

    `rows` are all of a look, or all of some payers: what denials for authorization cost may be part of what the
    payer's denial rate does. `known` are the events handed to the look: a resolved one shortens the period before a
    later one.
    """
    for row in rows:
        if not is_explained(row):
            continue
        periods = periods_of(row["detail"], settings.baseline_days, _not_before(row, known))
        if row["signal"] == "procedure_mix":
            # It splits the row's own figure, which is that of the recent days.
            first = date.fromisoformat(row["detail"]["current_from"])
            periods = replace(periods, since_first=first, since_last=max(periods.since_last, first))
        breakdown = read_breakdown(
            conn, customer_id, row["payer"], periods, as_of, with_exposure=row["signal"] == "decision_lag"
        )
        row["detail"]["explanation"] = explain(breakdown, row)
        row["detail"]["money"] = money_of(breakdown, row)
    tell_what_is_within(rows)


def tell_what_is_within(rows: Iterable[Mapping[str, Any]]) -> None:
    """Mark the money of denials for authorization (`within_denial_rate`) where it is part of other money of the look.

    That needs an event of the payer's denial rate that goes the same way and costs as much: without one, or beside a
    smaller sum, these dollars are told nowhere else.
    """
    priced = {
        (row["payer"], row["signal"]): row["detail"]["money"]
        for row in rows
        if row["state"] in {"open", "updated"}
        and row.get("cause") != "data"
        and row["detail"].get("money")
        # The figures of a calm event are not told.
        and not row["detail"].get("calm_since")
    }
    for (payer, signal), money in priced.items():
        whole = priced.get((payer, "denial_rate"))
        if signal == "authorization_denials" and whole is not None and whole["gain"] == money["gain"]:
            money["within_denial_rate"] = bool(money["per_month"] <= whole["per_month"])


def _not_before(row: Mapping[str, Any], known: Sequence[DriftEvent]) -> date | None:
    """The day the latest earlier event of the same chart ended; for one that is the normal now, began."""
    ends = [
        event.started_on if event.memory.reason in NEW_NORMALS else event.resolved_on
        for event in known
        if event.state == "resolved"
        and event.memory.reason != "withdrawn"
        and (event.payer, event.cpt_group, event.signal) == (row["payer"], row["cpt_group"], row["signal"])
        and str(event.event_id) != str(row["event_id"])
        and event.started_on.isoformat() < row["detail"]["change_date"]
    ]
    return max((end for end in ends if end is not None), default=None)


def find_event(conn: Connection, customer_id: int, begins: str, *, slug: str = "SLUG") -> StoredEvent:
    """An event by its id, or by as much of its beginning as is unique, with its newest row that compares two periods.

    `slug` is the customer's, for what an error tells to type.

    Raises:
        ConfigurationError: no id is given.
        NotFoundError: no event of this customer begins so, or no look at it is kept.
        ConflictError: more than one begins so.
    """
    if not begins.strip():
        raise ConfigurationError(
            f"Give the id of an event, or its beginning. `upstream drift list {slug}` shows them."
        )
    event = kept_event(conn, customer_id, begins)
    row = newest_row(conn, customer_id, event.event_id)
    if row is None and event.reason is not None:
        raise NotFoundError(f"Event {event.event_id} compares no two periods. {ENDINGS[event.reason]}")
    if row is None:
        raise NotFoundError(
            f"No look at event {event.event_id} is kept any more. `upstream drift look {slug}` makes one."
        )
    return StoredEvent(event, row, opened_with(conn, customer_id, [event.event_id])[str(event.event_id)])


def newest_row(conn: Connection, customer_id: int, event_id: UUID) -> dict[str, Any] | None:
    """An event's newest row that compares two periods; None where no look that did is kept."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            QUERIES.select_event_row, {"customer_id": customer_id, "event_id": event_id}
        ).fetchone()


def opened_with(conn: Connection, customer_id: int, events: Sequence[UUID | str]) -> dict[str, OpenedWith]:
    """What events were opened with, by their ids as text."""
    values = {"customer_id": customer_id, "ids": [str(event) for event in events]}
    found = conn.execute(QUERIES.select_opened_with, values)
    return {str(event_id): OpenedWith(version, settings) for event_id, version, settings in found}


def event_lines(conn: Connection, customer_id: int, stored: StoredEvent) -> Generator[dict[str, Any]]:
    """The claim lines behind an event as it stood after its last look, read as they are needed: `LINE_COLUMNS`.

    Denials: the lines denied since the change. Decision lag: those decided since or still open. Allowed amount: those
    paid since. Volume and mix: those submitted since.
    """
    periods = periods_of(stored.row["detail"], 1)
    with conn.transaction(), conn.cursor("event_lines", row_factory=dict_row) as cursor:
        yield from cursor.execute(
            QUERIES.event_lines,
            {
                "customer_id": customer_id, "payer": stored.event.payer, "as_of": stored.row["as_of"],
                "signal": stored.event.signal, "by": periods.by, "reach": REACH_DAYS,
                "since_first": periods.since_first, "since_last": periods.since_last,
            },
        )  # fmt: skip


def short_id(event_id: UUID | str) -> str:
    """The beginning of an id that people are shown: unique among a customer's few events."""
    return str(event_id)[:8]
