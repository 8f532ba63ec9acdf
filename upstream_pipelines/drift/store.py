"""Drift in the database: making a look, keeping what it found.

The looks themselves are pure (detector.py); production and replay run the same code. Not here: statistics, counting
activity (counting.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal
from uuid import UUID

import pandas as pd
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from upstream_pipelines.alerts.notices import DriftNotice, drift_facts
from upstream_pipelines.alerts.outbox import grown_events
from upstream_pipelines.alerts.store import late_openings, write_drift_alerts
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.drift.breakdown import listed_codes
from upstream_pipelines.drift.charts import Charts
from upstream_pipelines.drift.data_trouble import Trouble, announcements
from upstream_pipelines.drift.detector import Detector
from upstream_pipelines.drift.event_chart import event_chart
from upstream_pipelines.drift.event_series import event_points
from upstream_pipelines.drift.events import Cause, Direction, DriftEvent
from upstream_pipelines.drift.explaining import OpenedWith, explain_rows, is_explained, opened_with
from upstream_pipelines.drift.explanation import facts_of, headline, sentences_of, title_of
from upstream_pipelines.drift.figures import figures_of
from upstream_pipelines.drift.reading import activity_columns
from upstream_pipelines.drift.rows import frame_of, plain_row
from upstream_pipelines.drift.settings import METHOD_VERSION, DriftSettings
from upstream_pipelines.drift.traced import look_span
from upstream_pipelines.drift.turns import Looks, looks_of, worthwhile_processes
from upstream_pipelines.drift.upload_troubles import read_troubles

QUERIES = load_queries(__package__)
_Told = tuple[dict[str, Any], Literal["open", "late", "resolved", "escalated"], Cause]
Show = Literal["always", "events", "news"]
SHOWN_EVENTS = 6  # charts of a look: 30 to 60 kB each in Dagster's event log


@dataclass(frozen=True)
class LooksMade:
    """What a span of looks found: records as `replay` has rows, with event_id and detail, and alerts written; and of the
    last look the figures by payer and a chart (PNG) of each live event by its id, as far as it is `shown`. `kept`: ids of
    the events in `records` that there are; what only a look at a past day shows is kept nowhere and cannot be asked for.
    `unwatched` payers are not looked at: there are too many (facts.WATCHED_PAYERS).
    """

    records: Sequence[Mapping[str, Any]]
    alerts: int
    figures: pd.DataFrame
    pictures: Mapping[str, bytes]
    kept: frozenset[str]
    first: date
    last: date
    shown: Literal["charts", "tables", "nothing"] = "charts"
    unwatched: int = 0

    def count(self, state: str) -> int:
        """Rows in a state, such as how many events opened."""
        return sum(record["state"] == state for record in self.records)

    @property
    def rows(self) -> pd.DataFrame:
        """The records as a frame."""
        return frame_of(self.records)


@dataclass(frozen=True)
class Subject:
    """Whose payers are looked at: id, the name people read, drift settings, and a page for alert links."""

    customer_id: int
    name: str
    settings: DriftSettings
    link: str | None = None


def look(conn: Connection, subject: Subject, days: Sequence[date], *, show: Show = "always") -> LooksMade:
    """Look at a customer on each of `days`, in order; each look is one transaction with its alerts.

    `show`: figures and charts of the last look. Charts take ten times as long as a look, so for "events" there are some
    only where an event is live or watched, and for "news" nothing is made where no look opened or resolved one.

    A day after the last look made goes on with the events as they stand. An earlier day is looked at again from
    the events as they stood before it; its results replace those kept for it, but the present events and their
    alerts stay as they are: a look back is for seeing, not for alarming again. The last day itself may be
    looked at again when more data came: what it finds then is the present, and told where it is news.
    """
    detector = Detector(*activity_columns(conn, subject.customer_id), subject.settings)
    troubles = read_troubles(conn, subject.customer_id, (days[0], days[-1]), subject.settings)
    records: list[dict[str, Any]] = []
    last: list[dict[str, Any]] = []
    known: list[DriftEvent] = []
    alerts = 0
    with looks_of(detector, days, worthwhile_processes(len(days))) as looks:
        for as_of in days:
            with look_span(conn, subject.customer_id, as_of) as traced:
                last, known, written = _look_once(conn, subject, detector, looks, as_of, troubles=troubles)
                traced.set(opened=sum(row["state"] == "open" for row in last), alerts=written)
            records += last
            alerts += written
    shown = _shown(records, last, show)
    charts = detector.charts(days[-1], known) if shown != "nothing" else None
    ids = sorted({str(row["event_id"]) for row in records if row["event_id"] is not None})
    explained = [row for row in last if is_explained(row)]
    return LooksMade(
        records=records,
        alerts=alerts,
        figures=figures_of(detector, charts) if charts else pd.DataFrame(),
        pictures=event_pictures(
            detector, charts, explained[:SHOWN_EVENTS], listed_codes(conn, subject.customer_id)
        )
        if charts
        else {},
        kept=frozenset(
            str(row[0])
            for row in conn.execute(QUERIES.select_known_ids, {"customer_id": subject.customer_id, "ids": ids})
        ),
        first=days[0],
        last=days[-1],
        shown=shown,
        unwatched=detector.facts.unwatched,
    )


def _shown(
    records: Sequence[Mapping[str, Any]], last: Sequence[Mapping[str, Any]], show: Show
) -> Literal["charts", "tables", "nothing"]:
    if show == "always" or any(row["state"] in {"open", "resolved"} for row in records):
        return "charts"
    if show == "news":
        return "nothing"
    return "charts" if any(row["state"] in {"watch", "updated"} for row in last) else "tables"


def _look_once(
    conn: Connection,
    subject: Subject,
    detector: Detector,
    looks: Looks,
    as_of: date,
    *,
    troubles: Sequence[Trouble],
) -> tuple[list[dict[str, Any]], list[DriftEvent], int]:
    """Returns: the records, the events that were handed to the look, and the number of alerts written."""
    key = {"customer_id": subject.customer_id, "as_of": as_of}
    used = {"method_version": METHOD_VERSION, "settings": Jsonb(subject.settings.model_dump(mode="json"))}
    with conn.transaction():
        # A second look at the same customer waits here; two of them must not both open an event.
        conn.execute(QUERIES.lock_customer, key)
        last = (conn.execute(QUERIES.select_last_look, key).fetchone() or (None,))[0]
        live = events_before(conn, key, last, subject.settings)
        result = looks.look(as_of, live, troubles)
        events = {str(event.event_id): event for event in result.events}
        conn.execute(QUERIES.delete_results, key)
        conn.execute(QUERIES.upsert_look, {**key, **used})
        rows = [plain_row(row) for row in result.records]
        explain_rows(conn, subject.customer_id, as_of, rows=rows, known=live, settings=subject.settings)
        explained = [{**record, "detail": row["detail"]} for record, row in zip(result.records, rows, strict=True)]
        rows = [{**row, "event": _event(events, row["event_id"])} for row in rows]
        present = last is None or as_of >= last
        if present:
            rows += _withdrawn(conn, key, list(events))
        conn.execute(QUERIES.insert_results, {**key, "rows": Jsonb(rows)})
        alerts = 0
        if present:
            states = [event.model_dump(mode="json") for event in result.events]
            conn.execute(QUERIES.upsert_events, {**key, **used, "rows": Jsonb(states)})
            used_by = opened_with(conn, subject.customer_id, [row["event_id"] for row in rows if row["event_id"]])
            told = _told(conn, subject.customer_id, rows, live)
            listed = listed_codes(conn, subject.customer_id)
            notices = list(_notices(detector, subject, as_of, told, live, used_by=used_by, listed=listed))
            alerts = write_drift_alerts(conn, subject.customer_id, notices)
    return explained, live, alerts


def events_before(
    conn: Connection, key: dict[str, Any], last: date | None, settings: DriftSettings
) -> list[DriftEvent]:
    """The events a look goes on with: the present ones, as they stood before the last look where that is made again;
    for an earlier day those that the looks kept have, which may be of a look back.
    """
    values = {**key, "memory_days": settings.memory_days}
    present = last is None or key["as_of"] >= last
    found = conn.execute(QUERIES.select_present_events if present else QUERIES.select_events_before, values)
    return [DriftEvent.model_validate(row[0]) for row in found]


def every_event(conn: Connection, customer_id: int) -> list[DriftEvent]:
    """All events a customer ever had, as they stand now."""
    values = {"customer_id": customer_id, "as_of": date.max, "memory_days": None}
    found = conn.execute(QUERIES.select_present_events, values)
    return [DriftEvent.model_validate(row[0]) for row in found]


def _withdrawn(conn: Connection, key: dict[str, Any], going: list[str]) -> list[dict[str, Any]]:
    """Rows of events that this look opened and, made again, does not find: closed before others may open."""
    with conn.cursor(row_factory=dict_row) as cursor:
        closed = cursor.execute(QUERIES.withdraw_events, {**key, "going": going}).fetchall()
    events = [DriftEvent.model_validate(row) for row in closed]
    return [
        {
            **plain_row(event.closing_row),
            "event": event.model_dump(mode="json"),
        }
        for event in events
    ]


def event_pictures(
    detector: Detector, charts: Charts, rows: Sequence[Mapping[Any, Any]], listed: frozenset[str]
) -> dict[str, bytes]:
    """A chart (PNG) of each of `rows`, found by the look of `charts`, by its event's id; `listed` codes may be named."""
    return {
        str(row["event_id"]): event_chart(event_points(detector, charts, row, listed), title_of(row))
        for row in rows
    }


def _told(
    conn: Connection, customer_id: int, rows: Sequence[dict[str, Any]], known: Sequence[DriftEvent]
) -> list[_Told]:
    """What people are told of a look: events that opened, were resolved, changed their cause, grew a step worse, or are
    only now what a rule asks for.

    Returns: each with its row, the notice ("late": an opening of the last kind), and the cause, which says who is told.
    """
    before: dict[str | None, tuple[Cause, Direction]] = {
        str(event.event_id): (event.cause, event.direction) for event in known
    }
    told: list[_Told] = [
        (row, notice, cause)
        for row in rows
        for notice, cause in announcements(row, *before.get(row["event_id"], (None, None)))
    ]
    going = {
        (UUID(row["event_id"]), row["cause"]): row
        for row in rows
        if row["state"] == "updated" and before.get(row["event_id"], (None,))[0] == row["cause"]
    }
    severities = {event: row["severity"] for event, row in going.items() if row["severity"] is not None}
    grown = grown_events(conn, customer_id, severities)
    asked = ("payer", "cpt_group", "signal", "direction", "severity", "effect", "detail")
    facts = {event: drift_facts(event[1], **{name: row[name] for name in asked}) for event, row in going.items()}
    late = late_openings(conn, customer_id, facts)
    # One that opens (its direction became clear) opens for every rule that would want it late: told twice it would be written
    # twice, which the key refuses, and the look with it.
    opened = {(UUID(row["event_id"]), cause) for row, notice, cause in told if notice == "open"}
    told += [(row, "escalated", cause) for (event, cause), row in going.items() if event in grown]
    return told + [
        (row, "late", cause)
        for (event, cause), row in going.items()
        if event in late and (event, cause) not in opened
    ]


def _notices(
    detector: Detector,
    subject: Subject,
    as_of: date,
    told: Sequence[_Told],
    known: Sequence[DriftEvent],
    *,
    used_by: Mapping[str, OpenedWith],
    listed: frozenset[str],
) -> Iterator[DriftNotice]:
    """What is told, with its words and pictures. Few a year, so a loop. `used_by`: what events were opened with;
    `listed`: codes that may be named.
    """
    if not told:
        return
    # Stored rows are without their day, and words name it.
    told = [({**row, "as_of": as_of}, about, cause) for row, about, cause in told]
    drawn = {row["event_id"]: row for row, _, _ in told if is_explained(row)}
    charts = detector.charts(as_of, known) if drawn else None
    pictures = event_pictures(detector, charts, list(drawn.values()), listed) if charts else {}
    for row, about, cause in told:
        detail = row["detail"]
        notice = "open" if about == "late" else about
        yield DriftNotice(
            event_id=UUID(row["event_id"]),
            notice=notice,
            cause=cause,
            late=about == "late",
            headline=headline(row, notice, cause),
            sentences=tuple(sentences_of(row, in_alert=True)),
            facts=tuple(facts_of(row)),
            change_date=_day(detail.get("change_date")),
            change_date_low=_day(detail.get("change_date_low")),
            change_date_high=_day(detail.get("change_date_high")),
            complete_to=_day(detail.get("complete_to")),
            confidence=detail.get("confidence"),
            contributions=detail.get("explanation"),
            money=detail.get("money"),
            chart_png=pictures.get(row["event_id"]),
            link=subject.link,
            as_of=as_of,
            opened_method_version=used_by[row["event_id"]].method_version,
            opened_settings=used_by[row["event_id"]].settings,
            **{
                name: row[name]
                for name in (
                    "payer", "cpt_group", "signal", "direction", "severity", "effect", "baseline", "current",
                    "n_baseline", "n_current", "maturity", "p_value", "q_value",
                )
            },
        )  # fmt: skip


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None


def _event(events: dict[str, DriftEvent], event_id: Any) -> dict[str, Any] | None:
    event = events.get(str(event_id))
    return event.model_dump(mode="json") if event is not None else None
