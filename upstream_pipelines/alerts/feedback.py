"""What people say about alerts: silences with an end, and judgements. Not here: what follows from them (life.py).

Nothing of it is about a patient: texts are short, and refused where they look like it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal, get_args
from uuid import UUID

from psycopg.rows import class_row, dict_row

from upstream_pipelines.alerts.outbox import QUERIES
from upstream_pipelines.alerts.rules import Kind, Signal
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.ids import id_pattern, the_one
from upstream_pipelines.errors import ConflictError, InvalidInputError, NotFoundError
from upstream_pipelines.notes import checked_note

Judgement = Literal["noise", "real", "needs_follow_up"]
_LARGEST = Decimal("999999999999.99")
# Each decision over an alert, and each list of them, reads all that hold.
MOST_SILENCES = 500
_CODES = {*get_args(Kind), *get_args(Signal)}


@dataclass(frozen=True)
class Silence:
    """No alert of one fingerprint, or of a payer, a signal or both, from `created_at` until `ends_at`, or `lifted_at`.

    Letter case of a payer does not count; `payer` is as the customer's claims spell it, in lower case where they have none of it.
    """

    silence_id: UUID
    fingerprint: str | None
    payer: str | None
    signal: str | None
    ends_at: datetime
    reason: str
    created_by: str
    created_at: datetime
    lifted_at: datetime | None

    @property
    def about(self) -> str:
        """What is silenced, in words."""
        if self.fingerprint is not None:
            parts = [part for part in self.fingerprint.split("\x1f") if part]
        else:
            parts = [part for part in (self.payer, self.signal) if part is not None]
        return ", ".join(part.replace("_", " ") if part in _CODES else part for part in parts)


@dataclass(frozen=True)
class Judged:
    """A judgement as it was kept."""

    alert_id: UUID
    judgement: Judgement
    recovered: Decimal | None
    note: str


def silence(
    conn: Connection,
    customer_id: int,
    *,
    ends_at: datetime,
    reason: str,
    created_by: str,
    alert: str | None = None,
    payer: str | None = None,
    signal: str | None = None,
    now: datetime | None = None,
) -> Silence:
    """Hold back alerts until `ends_at`: of the same trouble as `alert` (its id, or the beginning of it), or of a payer, a
    signal, or both.

    Raises:
        InvalidInputError: nothing or both is named, the end is not ahead, or the reason may be about a patient.
        NotFoundError, ConflictError: no alert, or more than one, whose id begins so.
        ConflictError: as many silences hold as may.
    """
    now = now or datetime.now(UTC)
    if (alert is None) == (payer is None and signal is None):
        raise InvalidInputError(
            "Say what to silence: either an alert's id, or a payer, a signal, or both of them."
        )
    if ends_at <= now:
        raise InvalidInputError("A silence needs an end that is still ahead. Give hours, or a later end.")
    with conn.transaction():
        conn.execute(QUERIES.lock_customer, {"customer_id": customer_id})
        made = conn.execute(
            QUERIES.insert_silence,
            {
                "customer_id": customer_id,
                "fingerprint": _alert(conn, customer_id, alert)["fingerprint"] if alert is not None else None,
                "payer": payer.casefold() if payer is not None else None,
                "signal": signal,
                "ends_at": ends_at,
                "reason": checked_note(reason, "reason"),
                "created_by": created_by,
                "now": now,
                "most": MOST_SILENCES,
            },
        ).fetchone()
        if made is None:
            raise ConflictError(
                f"{MOST_SILENCES} silences hold already, as many as may. Lift some, or silence a payer or a signal as a whole."
            )
        (kept,) = _silences(conn, customer_id, now, made[0])
        return kept


def silences(conn: Connection, customer_id: int, now: datetime | None = None) -> list[Silence]:
    """The silences that hold now, the one that ends first first."""
    return _silences(conn, customer_id, now or datetime.now(UTC), None)


def lift_silence(conn: Connection, customer_id: int, begins: str, now: datetime | None = None) -> Silence:
    """End a silence before its time, by its id or the beginning of it; what it held back is decided over again now.

    Raises:
        NotFoundError: no silence that holds begins so.
        ConflictError: more than one begins so.
    """
    now = now or datetime.now(UTC)
    with conn.transaction():
        conn.execute(QUERIES.lock_customer, {"customer_id": customer_id})
        found = [
            one for one in silences(conn, customer_id, now) if begins and str(one.silence_id).startswith(begins)
        ]
        if not found:
            raise NotFoundError(
                f"No silence that holds begins with {begins!r}. `upstream alerts silences SLUG` shows them."
            )
        if len(found) > 1:
            raise ConflictError(f"More than one silence begins with {begins}. Give more of its id.")
        conn.execute(
            QUERIES.lift_silence, {"customer_id": customer_id, "silence_id": found[0].silence_id, "now": now}
        )
    return found[0]


def judge(
    conn: Connection,
    customer_id: int,
    alert: str,
    judgement: Judgement,
    *,
    judged_by: str,
    recovered: Decimal | None = None,
    note: str = "",
    now: datetime | None = None,
) -> Judged:
    """Keep what an alert was worth: its id or the beginning of it, and the dollars that were recovered where it was real.

    All judgements are kept; the newest of an alert counts.

    Raises:
        InvalidInputError: dollars without "real", below 0 or too many, or a note that may be about a patient.
        NotFoundError, ConflictError: no alert, or more than one, whose id begins so.
    """
    if recovered is not None and judgement != "real":
        raise InvalidInputError(
            "Recovered dollars belong to a judgement `real`. Leave them out, or judge it real."
        )
    if recovered is not None and not 0 <= recovered <= _LARGEST:
        raise InvalidInputError("Recovered dollars are a number from 0 on, such as 12500 or 812.50.")
    found = _alert(conn, customer_id, alert)
    conn.execute(
        QUERIES.insert_judgement,
        {
            "customer_id": customer_id,
            "alert_id": found["alert_id"],
            "judgement": judgement,
            "recovered": recovered,
            "note": checked_note(note, "note"),
            "judged_by": judged_by,
            "now": now or datetime.now(UTC),
        },
    )
    return Judged(found["alert_id"], judgement, recovered, note.strip())


def _silences(conn: Connection, customer_id: int, now: datetime, silence_id: UUID | None) -> list[Silence]:
    with conn.cursor(row_factory=class_row(Silence)) as cursor:
        return cursor.execute(
            QUERIES.silences_of, {"customer_id": customer_id, "now": now, "silence_id": silence_id}
        ).fetchall()


def _alert(conn: Connection, customer_id: int, begins: str) -> dict[str, Any]:
    """The alert whose id begins so: alert_id, fingerprint."""
    with conn.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(
            QUERIES.alerts_beginning, {"customer_id": customer_id, "begins": id_pattern(begins)}
        ).fetchall()
    return the_one(found, "alert", begins, "upstream alerts list SLUG")
