"""Notices customers that went silent and those that send again, and puts both into the alert outbox.

Belongs here: reading when customers sent, keeping a silence from its notice to its end. Not here: how long is too long
(cadence.py), who hears of it (alerts/).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from psycopg.rows import class_row

from upstream_pipelines.alerts.apart import write_apart
from upstream_pipelines.alerts.occurrences import sends_again_entry, silence_entry
from upstream_pipelines.alerts.store import write_entries
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.ingest.cadence import HISTORY_DAYS, LEAST_LIMIT_DAYS, Cadence, cadence_of, is_silent
from upstream_pipelines.ingest.uploads import QUERIES


@dataclass(frozen=True)
class Arrivals:
    """When a customer sent: its days (UTC) of the last `HISTORY_DAYS`, the last one of all, and a silence that goes on.

    `last_day` is the day of sign-up where nothing ever came (`has_sent` is false then).
    """

    customer_id: int
    slug: str
    cadence_days: int | None
    days: Sequence[date]
    last_day: date
    has_sent: bool
    silence_id: UUID | None
    silent_since_day: date | None

    @property
    def cadence(self) -> Cadence | None:
        """What is expected of it."""
        return cadence_of(self.days, self.cadence_days)


@dataclass(frozen=True)
class Watched:
    """What one watch did, in customers; `untold`: their alert could not be written, and the next watch looks at them again."""

    customers: int
    noticed: int
    ended: int
    untold: int = 0


def watch(conn: Connection, now: datetime, link: Callable[[str], str]) -> Watched:
    """Look at every active customer: who is silent for too long is told of once, and once again when it sends.

    Each customer is a transaction of its own with its alert. `link`: a page for people, by the customer's slug.
    """
    today = now.astimezone(UTC).date()
    noticed = ended = 0
    untold: set[int] = set()
    arrivals = read_arrivals(conn, today)
    for one in arrivals:
        cadence = one.cadence
        silent = cadence is not None and is_silent(cadence, one.last_day, today)
        if one.silence_id is not None and (not silent or one.last_day != one.silent_since_day):
            ending = "sent again" if one.last_day != one.silent_since_day else "no longer expected"
            done = write_apart(conn, one.customer_id, partial(_end, conn, one, now, ending, link(one.slug)))
            if done is None:
                untold.add(one.customer_id)
                continue
            ended += done
            one = replace(one, silence_id=None)  # noqa: PLW2901  the silence that went on is over
        if silent and cadence is not None and one.silence_id is None:
            done = write_apart(conn, one.customer_id, partial(_notice, conn, one, cadence, now, link(one.slug)))
            if done is None:
                untold.add(one.customer_id)
            noticed += done or 0
    return Watched(len(arrivals), noticed, ended, len(untold))


def read_arrivals(conn: Connection, today: date, customer_id: int | None = None) -> list[Arrivals]:
    """When active customers sent, of all or of one (active or not).

    Of all, only those have their days that may have gone silent: the last of them is over `LEAST_LIMIT_DAYS` ago.
    """
    since = datetime.combine(today - timedelta(days=HISTORY_DAYS), datetime.min.time(), UTC)
    quiet_since = today - timedelta(days=LEAST_LIMIT_DAYS + 1)
    with conn.cursor(row_factory=class_row(Arrivals)) as cursor:
        return cursor.execute(
            QUERIES.arrivals, {"since": since, "customer_id": customer_id, "quiet_since": quiet_since}
        ).fetchall()


def end_silences_that_are_over(conn: Connection, now: datetime, link: Callable[[str], str]) -> int:
    """Take back the silences of customers that sent since. Reads those alone; for often. Returns: how many."""
    over = conn.execute(QUERIES.silences_that_are_over).fetchall()
    today = now.astimezone(UTC).date()
    # One that could not be told is among them again at the next call.
    return sum(
        write_apart(conn, customer_id, partial(_end, conn, one, now, "sent again", link(one.slug))) or 0
        for (customer_id,) in over
        for one in read_arrivals(conn, today, customer_id)
    )


def _notice(conn: Connection, one: Arrivals, cadence: Cadence, now: datetime, link: str) -> int:
    silence: dict[str, Any] = {
        "customer_id": one.customer_id, "last_day": one.last_day, "basis": cadence.basis,
        "usual_days": cadence.usual_days, "limit_days": cadence.limit_days, "gaps": cadence.gaps,
    }  # fmt: skip
    with conn.transaction():
        row = conn.execute(QUERIES.notice_silence, {**silence, "now": now}).fetchone()
        if row is None:
            return 0  # another watch was first
        about = {
            **silence, "days_silent": (now.astimezone(UTC).date() - one.last_day).days, "has_sent": one.has_sent,
        }  # fmt: skip
        write_entries(conn, one.customer_id, [silence_entry(row[0], about, link)], now)
    return 1


def _end(conn: Connection, one: Arrivals, now: datetime, ending: str, link: str) -> int:
    with conn.transaction():
        row = conn.execute(
            QUERIES.end_silence, {"customer_id": one.customer_id, "now": now, "ending": ending}
        ).fetchone()
        if row is None:
            return 0
        silence_id, last_day = row
        about = {"last_day": last_day, "ended_on": one.last_day, "ending": ending}
        write_entries(conn, one.customer_id, [sends_again_entry(silence_id, about, link)], now)
    return 1
