"""What happened to a customer lately, as rules would have been asked: events, failures and silences that the database keeps.

Belongs here: reading the past for the dry run. Not here: what the rules make of it (dry_run.py).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any, Literal

from psycopg.rows import dict_row

from upstream_pipelines.alerts.notices import fingerprint_of
from upstream_pipelines.alerts.occurrences import refusal_fingerprint, unusual_fingerprint
from upstream_pipelines.alerts.outbox import QUERIES
from upstream_pipelines.alerts.rules import Facts, Kind, dollars_of
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.drift.data_trouble import announcements
from upstream_pipelines.drift.units import direction_text

# When the daily schedule looks (defs/schedules.py): the time of a look that was made later, for a past day.
_LOOK_AT = time(6, tzinfo=UTC)


@dataclass(frozen=True)
class PastEvent:
    """Something that was news at `at`, or (notice "update") went on: only its severity may be news then.

    `subject` is the event's own id, `fingerprint` that of its kind of trouble; `about` says what it is without a value
    of a claim. `ends`: whether an end is told of such events.
    """

    at: datetime
    notice: Literal["open", "resolved", "update"]
    subject: str
    fingerprint: str
    facts: Facts
    about: str
    ends: bool = True

    @property
    def at_once(self) -> bool:
        """Whether it waits for no others: a look tells all of its events together."""
        return self.facts.signal is not None


def past_events(conn: Connection, customer_id: int, since: datetime) -> list[PastEvent]:
    """All that rules could have been asked about since then, oldest first."""
    key = {"customer_id": customer_id, "since": since, "since_day": since.date()}
    with conn.cursor(row_factory=dict_row) as cursor:
        found = [event for row in cursor.execute(QUERIES.past_drift, key).fetchall() for event in _drift(row)]
        found += [_upload(row) for row in cursor.execute(QUERIES.past_uploads, key).fetchall()]
        found += [_unusual(row) for row in cursor.execute(QUERIES.past_unusual, key).fetchall()]
        found += [
            event
            for row in cursor.execute(QUERIES.past_silences, key).fetchall()
            for event in _silence(row, since)
        ]
        found += [_told(row) for row in cursor.execute(QUERIES.past_told, key).fetchall()]
    # An end goes before an opening of the same instant, as one look tells them.
    return sorted(found, key=lambda event: (event.at, event.notice != "resolved"))


def _drift(row: dict[str, Any]) -> Iterator[PastEvent]:
    """What a look told of an event; the end is told to those who watch payers and to those who watch data."""
    detail = row["detail"]
    news: list[tuple[Literal["open", "resolved", "update"], str]] = [
        *announcements(row, row["cause_before"], row["direction_before"])
    ]
    if row["state"] == "updated":
        news.append(("update", row["cause"]))
    for notice, cause in news:
        kind: Kind = "quality" if cause == "data" else "drift"
        yield PastEvent(
            at=_looked_at(row["as_of"], row["made_at"]),
            notice=notice,
            subject=f"{kind}/{row['event_id']}",
            fingerprint=fingerprint_of(kind, row["payer"], row["cpt_group"], row["signal"]),
            facts=Facts(
                kind=kind, signal=row["signal"], payer=row["payer"], cpt_group=row["cpt_group"],
                direction=row["direction"], severity=row["severity"], confidence=detail.get("confidence"),
                effect=row["effect"], dollars=dollars_of(detail.get("money")),
            ),
            about=f"{row['payer']}: {row['signal'].replace('_', ' ')} ({direction_text(row)})",
        )  # fmt: skip


def _looked_at(as_of: date, made_at: datetime) -> datetime:
    return made_at if made_at.astimezone(UTC).date() == as_of else datetime.combine(as_of, _LOOK_AT)


def _upload(row: dict[str, Any]) -> PastEvent:
    code, rules = row["error_code"], row["failed_rules"]
    if code is not None:
        fingerprint, about = refusal_fingerprint(row["source"], code, rules), f"upload refused: {code}"
    else:
        fingerprint, about = fingerprint_of("quality", *sorted(rules)), f"upload failed: {', '.join(rules)}"
    return PastEvent(
        row["finished_at"], "open", f"upload/{row['upload_id']}", fingerprint, Facts("quality"), about, ends=False,
    )  # fmt: skip


def _unusual(row: dict[str, Any]) -> PastEvent:
    return PastEvent(
        row["judged_at"], "open", f"unusual/{row['upload_id']}/{row['rule']}",
        unusual_fingerprint(row["source"], row["rule"]), Facts("quality"), f"upload unusual: {row['rule']}", ends=False,
    )  # fmt: skip


def _silence(row: dict[str, Any], since: datetime) -> Iterator[PastEvent]:
    about = f"no upload since {row['last_day']}"
    common = (f"silence/{row['silence_id']}", fingerprint_of("silence"), Facts("silence"), about)
    if row["noticed_at"] >= since:
        yield PastEvent(row["noticed_at"], "open", *common)
    if row["ended_at"] is not None:
        yield PastEvent(row["ended_at"], "resolved", *common)


def _told(row: dict[str, Any]) -> PastEvent:
    """A failed run or a switched-off channel, which are kept as alerts alone."""
    subject: uuid.UUID = row["subject_id"]
    data = row["data"]
    about = (
        f"run failed: {data.get('job_name')}"
        if row["kind"] == "run_failure"
        else f"channel off: {data.get('channel')}"
    )
    return PastEvent(
        row["at"], row["notice"], f"{row['kind']}/{subject}", row["fingerprint"], Facts(row["kind"]), about,
        ends=row["kind"] == "run_failure",
    )  # fmt: skip
