"""An event computed again from the settings and method it was found with, and from what was known on that day.

Belongs here: making the look of the opening day once more and comparing. Nothing is written. Not here: looks that
count (store.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from psycopg.rows import dict_row

from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.drift.detector import Detector
from upstream_pipelines.drift.events import DriftEvent
from upstream_pipelines.drift.explaining import StoredEvent, explain_rows
from upstream_pipelines.drift.reading import activity_columns
from upstream_pipelines.drift.rows import plain_row
from upstream_pipelines.drift.settings import METHOD_VERSION, DriftSettings
from upstream_pipelines.drift.store import every_event
from upstream_pipelines.drift.upload_troubles import read_troubles
from upstream_pipelines.errors import ConflictError, NotFoundError

QUERIES = load_queries(__package__)
TOLERANCE = 1e-9  # relative: the database adds logarithms up in another order each time


@dataclass(frozen=True)
class Recomputed:
    """`row`: the event's row found now. `differences`: where it is not as stored, as path: (stored, now)."""

    as_of: date
    row: dict[str, Any]
    differences: dict[str, tuple[Any, Any]]


def recompute(conn: Connection, customer_id: int, stored: StoredEvent) -> Recomputed:
    """Make the look of the day the event opened again, from what is stored today and was known then.

    It comes out the same also after more data arrived. It may not where lines known then were corrected since (the
    correction replaces them) or payers were renamed; `differences` then says in what.

    Raises:
        NotFoundError: the look that opened the event was replaced by a look back.
        ConflictError: it was made by another version of the method.
    """
    event, used = stored.event, stored.opened_with
    if used.method_version != METHOD_VERSION:
        raise ConflictError(
            f"This event was found by version {used.method_version} of the method and this program has version "
            f"{METHOD_VERSION}. Compute it again with the release that found it."
        )
    key = {"customer_id": customer_id, "as_of": event.opened_on, "event_id": event.event_id}
    with conn.cursor(row_factory=dict_row) as cursor:
        before = cursor.execute(QUERIES.select_opening, key).fetchone()
    # A look back may have found the same event: in other figures, where it was made with something else.
    if before is None or (before["method_version"], before["settings"]) != (used.method_version, used.settings):
        raise NotFoundError(
            f"The look of {event.opened_on} that opened this event was made again since, as a look back from other "
            "events or settings, and what it found replaced this: there is nothing to compare with any more."
        )
    settings = DriftSettings.model_validate(used.settings)
    known = _known_then(conn, customer_id, event.opened_on, settings)
    troubles = read_troubles(conn, customer_id, (event.opened_on, event.opened_on), settings)
    detector = Detector(*activity_columns(conn, customer_id), settings)
    rows = [plain_row(row) for row in detector.look(event.opened_on, known, troubles).rows.to_dict("records")]
    found = [row for row in rows if row["event_id"] == str(event.event_id)]
    of_payer = [row for row in rows if row["payer"] == event.payer]
    explain_rows(conn, customer_id, event.opened_on, rows=of_payer, known=known, settings=settings)
    row = found[0] if found else {}
    return Recomputed(event.opened_on, row, _differences(before["row"], row))


def _known_then(conn: Connection, customer_id: int, as_of: date, settings: DriftSettings) -> list[DriftEvent]:
    """The events handed to the look that counted. From the events and not from the results: a look back leaves other
    events there.
    """
    oldest = as_of - timedelta(days=settings.memory_days)
    then = [event.before(as_of) for event in every_event(conn, customer_id)]
    return [
        event for event in then if event is not None and (event.resolved_on is None or event.resolved_on >= oldest)
    ]


def _differences(stored: Mapping[str, Any], now: Mapping[str, Any], path: str = "") -> dict[str, tuple[Any, Any]]:
    found: dict[str, tuple[Any, Any]] = {}
    for name in sorted({*stored, *now}):
        left, right, at = stored.get(name), now.get(name), f"{path}{name}"
        if isinstance(left, dict) and isinstance(right, dict):
            found |= _differences(left, right, f"{at}.")
        elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
            for number, (one, other) in enumerate(zip(left, right, strict=True)):
                found |= _differences({str(number): one}, {str(number): other}, f"{at}.")
        elif not _equal(left, right):
            found[at] = (left, right)
    return found


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, (int, float)) and isinstance(right, (int, float)):
        return math.isclose(left, right, rel_tol=TOLERANCE, abs_tol=1e-12)
    return bool(left == right)
