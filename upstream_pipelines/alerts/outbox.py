"""Telling: alerts decided over (life.py), and looked at again when their time has come.

All of a customer's decisions are made one after the other, under the lock of its row, which the caller holds. Not here:
matching rules (store.py), the messages (placing.py), silences and judgements (feedback.py), sending (delivery/).
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from psycopg.errors import LockNotAvailable
from psycopg.rows import dict_row

from upstream_pipelines.alerts.life import (
    JUDGEMENTS_TO_HOLD,
    NOISE_LASTS,
    Notice,
    Past,
    Verdict,
    channels_off,
    decide,
    escalates,
    minute,
)
from upstream_pipelines.alerts.notices import Entry, drift_subject
from upstream_pipelines.alerts.placing import Told, place
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.errors import AlertsUndecidedError

QUERIES = load_queries(__package__)
# Waited for customers in all: a look has one for 0.1 s, 0.2 s at most; of a look back over 200 days each has it anew.
_LOCK_SECONDS = 2.0


@dataclass(frozen=True)
class _Asked:
    """What a decision is about: a notice of an event under a rule; `over_at`: of an event that is over, since when."""

    rule_id: uuid.UUID
    notice: Notice
    fingerprint: str
    subject_id: uuid.UUID
    severity: float | None
    over_at: datetime | None = None


@dataclass(frozen=True)
class _Known:
    """What the database knows of it. `known`: such a notice is written already, `ever`: or was before the event ended;
    `step`: the last one's, -1 where there is none; `live`: the event is open; `addressed`: it has a channel, on or off;
    `channel_ids`: those that are on, where it would go. Of an ending, `owed_to`: where it has to go later; `came_back`: the
    event opened again since.
    """

    past: Past
    cooldown: timedelta
    rule_enabled: bool
    known: bool
    ever: bool
    step: int
    live: bool
    addressed: bool
    channel_ids: list[uuid.UUID]
    owed_to: list[uuid.UUID]
    came_back: bool


def write_pairs(
    conn: Connection,
    customer_id: int,
    pairs: Sequence[tuple[uuid.UUID, Entry]],
    common: Mapping[str, Any],
    now: datetime,
) -> int:
    """Write the (rule id, entry) pairs, told or held back, with `common` in their contents.

    Pairs without a channel on or off, notices that are written already and escalations that are none are left out. What is written
    together does not hold back each other: it goes in one message. Returns: number of alerts written.
    """
    asked = [
        _Asked(rule_id, entry.notice, entry.fingerprint, entry.subject_id, entry.facts.severity)
        for rule_id, entry in pairs
    ]
    ended = [(rule_id, entry.subject_id) for rule_id, entry in pairs if entry.notice == "resolved"]
    ending = {
        "customer_id": customer_id,
        "now": now,
        "rule_ids": [rule_id for rule_id, _ in ended],
        "subject_ids": [subject_id for _, subject_id in ended],
    }
    if ended:
        # A worker that records what came of their messages does it before this, and is seen, or after, and sees the end.
        conn.execute(QUERIES.lock_events, ending)
    rows = []
    for one, (rule_id, entry), known in zip(asked, pairs, _look_up(conn, customer_id, asked, now), strict=True):
        if entry.notice == "escalated":
            if not known.rule_enabled or not known.live or not escalates(one.severity, known.past):
                continue
        elif (known.known if entry.returns else known.ever) or (entry.notice == "resolved" and not known.live):
            continue
        if known.addressed:
            verdict = decide(one.notice, one.severity, known.past, now, known.cooldown)
            step = max(known.step + 1, 1 if entry.notice == "escalated" else 0)
            rows.append((uuid.uuid4(), rule_id, entry, step, known.channel_ids, known.owed_to, verdict))
    if rows:
        conn.execute(
            QUERIES.insert_alerts,
            {
                "customer_id": customer_id,
                "now": now,
                "alert_ids": [row[0] for row in rows],
                "rule_ids": [row[1] for row in rows],
                "kinds": [entry.kind for _, _, entry, *_ in rows],
                "notices": [entry.notice for _, _, entry, *_ in rows],
                "steps": [row[3] for row in rows],
                "fingerprints": [entry.fingerprint for _, _, entry, *_ in rows],
                "subject_ids": [entry.subject_id for _, _, entry, *_ in rows],
                "severities": [entry.facts.severity for _, _, entry, *_ in rows],
                "ends": [entry.ends for _, _, entry, *_ in rows],
                "contents": [json.dumps({**row[2].content, **common, "alert_id": str(row[0])}) for row in rows],
                **_verdicts([row[4] for row in rows], [row[5] for row in rows], [row[6] for row in rows]),
            },
        )
    if ended:
        conn.execute(QUERIES.close_events, ending)
    told = [
        Told(alert_id, rule_id, channel_ids, entry.facts.severity, entry.at_once)
        for alert_id, rule_id, entry, _, channel_ids, _, verdict in rows
        if verdict.held_by is None
    ]
    place(conn, customer_id, told, now)
    return len(rows)


def grown_events(
    conn: Connection,
    customer_id: int,
    severities: Mapping[tuple[uuid.UUID, Literal["payer", "data"]], float],
    now: datetime | None = None,
) -> set[uuid.UUID]:
    """Which of the going-on drift events, by id and cause, have to be told again: under some rule they grew a step worse.

    Asked before the words and pictures of a notice are made. The decision itself is made when the notice is written.
    """
    if not severities:
        return set()
    events = {drift_subject(*event): event for event in severities}
    key = {"customer_id": customer_id, "subject_ids": list(events)}
    asked = [
        _Asked(rule_id, "escalated", fingerprint, subject, severities[events[subject]])
        for subject, rule_id, fingerprint in conn.execute(QUERIES.grown_events, key).fetchall()
    ]
    found = _look_up(conn, customer_id, asked, now or datetime.now(UTC))
    return {
        events[one.subject_id][0]
        for one, known in zip(asked, found, strict=True)
        if escalates(one.severity, known.past)
    }


def tell_what_waited(conn: Connection, customer_id: int | None, now: datetime) -> int:
    """Decide again over alerts whose time of being held back has ended, and repeat what its rule wants repeated; of all
    active customers or one, each customer in a transaction of its own. Returns: number of alerts told.

    Who is not free is waited for, together two seconds, then left for the next call: nobody's messages wait for others' looks.

    Raises:
        AlertsUndecidedError: it failed for some customers, after all others had their turn.
    """
    at = {"customer_id": customer_id, "now": now}
    held = [row[0] for row in conn.execute(QUERIES.customers_with_held, at)]
    repeating = {row[0] for row in conn.execute(QUERIES.reminders_due, at)}
    told, end = 0, time.monotonic() + _LOCK_SECONDS
    failed: dict[int, str] = {}
    for owner in sorted({*held, *repeating}):
        try:
            with conn.transaction():
                left = max(1, round(1000 * (end - time.monotonic())))  # 0 would be for ever
                conn.execute(QUERIES.wait_at_most, {"milliseconds": left})
                conn.execute(QUERIES.lock_customer, {"customer_id": owner})
                # Read again under the lock: another worker may have told them meanwhile.
                released = _release(conn, owner, now) + _remind(conn, owner, now)
        except LockNotAvailable:
            continue
        except Exception as error:
            if conn.closed:
                raise
            # Without its words, which may quote a row.
            failed[owner] = type(error).__name__
            continue
        told += released
    if failed:
        raise AlertsUndecidedError(failed, told)
    return told


def _release(conn: Connection, customer_id: int, now: datetime) -> int:
    """Alerts held back until now: told, held back for another reason, or for good; and ends that were told to some, now to
    others that they are owed to.
    """
    with conn.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(QUERIES.held_of, {"customer_id": customer_id, "now": now}).fetchall()
    asked = [
        _Asked(
            row["rule_id"], row["notice"], row["fingerprint"], row["subject_id"], row["severity"], row["over_at"]
        )
        for row in rows
    ]
    decided = list(zip(rows, asked, _look_up(conn, customer_id, asked, now), strict=True))
    held = [(*one, _verdict_again(*one, now)) for one in decided if one[0]["held_by"] is not None]
    conn.execute(
        QUERIES.release_held,
        {
            "customer_id": customer_id,
            "now": now,
            "notes": [f"Held back since {minute(row['created_at'])}: {row['reason']}." for row, *_ in held],
            **_verdicts(
                [known.channel_ids for _, _, known, _ in held],
                [[] if known.came_back else known.owed_to for _, _, known, _ in held],
                [verdict for *_, verdict in held],
            ),
            "alert_ids": [row["alert_id"] for row, *_ in held],
        },
    )
    told = [
        Told(row["alert_id"], one.rule_id, known.channel_ids, one.severity, at_once=True)
        for row, one, known, verdict in held
        if verdict.held_by is None
    ]
    place(conn, customer_id, told, now)
    following = [one for one in decided if one[0]["held_by"] is None]
    return len(told) + (_follow(conn, customer_id, following, now) if following else 0)


def _follow(
    conn: Connection, customer_id: int, ends: Sequence[tuple[Mapping[str, Any], _Asked, _Known]], now: datetime
) -> int:
    """Ends that some were told already, to the channels that can be told now. Returns: how many went to any."""
    goes = [
        known.channel_ids if known.past.event_told and not known.came_back and not known.past.product_off else []
        for _, _, known in ends
    ]
    pairs = [(row["alert_id"], to) for (row, *_), channels in zip(ends, goes, strict=True) for to in channels]
    resent = {
        (alert_id, channel_id)
        for alert_id, channel_id in conn.execute(
            QUERIES.retell_ends,
            {
                "customer_id": customer_id,
                "now": now,
                "alert_ids": [alert_id for alert_id, _ in pairs],
                "channel_ids": [channel_id for _, channel_id in pairs],
            },
        )
    }
    told = [
        Told(
            row["alert_id"], one.rule_id, [to for to in channels if (row["alert_id"], to) not in resent], one.severity,
            at_once=True,
        )
        for (row, one, _), channels in zip(ends, goes, strict=True)
    ]  # fmt: skip
    place(conn, customer_id, told, now)
    conn.execute(
        QUERIES.settle_ends,
        {
            "customer_id": customer_id,
            "alert_ids": [row["alert_id"] for row, *_ in ends],
            "channel_ids": _ids(goes),
            "owed_to": _ids([_still_owed(known) for *_, known in ends]),
        },
    )
    return sum(bool(channels) for channels in goes)


def _still_owed(known: _Known) -> list[uuid.UUID]:
    """Of an end that some were told: who is to hear of it later. While alerts are off that is also who could hear of it now."""
    if known.came_back:
        return []
    return [*known.owed_to, *(known.channel_ids if known.past.product_off and known.past.event_told else [])]


def _verdict_again(row: Mapping[str, Any], one: _Asked, known: _Known, now: datetime) -> Verdict:
    if row["notice"] == "resolved":
        if not known.came_back:
            return decide(one.notice, one.severity, known.past, now, known.cooldown)
        why = "its event opened again"
    elif row["over_at"] is not None:
        why = "its event was over by then"
    elif known.past.event_told:
        why = "its event was told as it grew worse"
    elif not known.rule_enabled:
        why = "its rule was switched off"
    else:
        return decide(one.notice, one.severity, known.past, now, known.cooldown)
    # Once: what no channel could be told is asked about again whenever a channel or a rule changes.
    reason = row["reason"] if row["reason"].endswith(why) else f"{row['reason']}; {why}"
    return Verdict(row["held_by"], None, reason)


def _remind(conn: Connection, customer_id: int, now: datetime) -> int:
    due = conn.execute(QUERIES.reminders_due, {"customer_id": customer_id, "now": now}).fetchall()
    if not due:
        return 0
    rows = conn.execute(
        QUERIES.insert_reminders,
        {
            "customer_id": customer_id,
            "now": now,
            "alert_ids": [alert_id for _, alert_id, _, _ in due],
            "new_ids": [uuid.uuid4() for _ in due],
            "steps": [step + 1 for _, _, _, step in due],
            "notes": [
                f"This goes on. It was last told at {minute(told_at)}; the figures are of that day."
                for _, _, told_at, _ in due
            ],
        },
    ).fetchall()
    told = [
        Told(alert_id, rule_id, channel_ids, severity, at_once=True)
        for alert_id, rule_id, severity, channel_ids in rows
    ]
    place(conn, customer_id, told, now)
    return len(told)


def _look_up(conn: Connection, customer_id: int, asked: Sequence[_Asked], now: datetime) -> list[_Known]:
    if not asked:
        return []
    with conn.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(
            QUERIES.pasts_of,
            {
                "customer_id": customer_id,
                "now": now,
                "noise_lasts": NOISE_LASTS,
                "judgements": JUDGEMENTS_TO_HOLD,
                "rule_ids": [one.rule_id for one in asked],
                "notices": [one.notice for one in asked],
                "fingerprints": [one.fingerprint for one in asked],
                "subject_ids": [one.subject_id for one in asked],
                "overs": [one.over_at for one in asked],
            },
        ).fetchall()
    return [
        _Known(
            past=Past(
                last_told=row["last_told"],
                highest=row["highest"],
                event_told=row["event_told"],
                event_under_way=row["event_under_way"],
                event_highest=row["event_highest"],
                noise_until=row["noise_until"],
                silenced_until=row["silenced_until"],
                silence_reason=row["silence_reason"] or "",
                channels_off=None if row["channel_ids"] else channels_off(row["off_names"], row["off_since"]),
                product_off=row["product_off"],
            ),
            cooldown=timedelta(hours=row["cooldown_hours"]),
            rule_enabled=row["enabled"],
            known=row["known"],
            ever=row["ever"],
            step=row["step"],
            live=row["live"],
            addressed=bool(row["channel_ids"] or row["off_names"]),
            channel_ids=row["channel_ids"],
            owed_to=row["owed_to"],
            came_back=row["came_back"],
        )
        for row in rows
    ]


def _verdicts(
    channel_ids: Sequence[Sequence[uuid.UUID]], owed_to: Sequence[Sequence[uuid.UUID]], verdicts: Sequence[Verdict]
) -> dict[str, Any]:
    """Parameters of the statements that keep decisions."""
    return {
        "channel_ids": _ids(channel_ids),
        "owed_to": _ids(owed_to),
        "held_by": [verdict.held_by for verdict in verdicts],
        "held_until": [verdict.until for verdict in verdicts],
        "reasons": [verdict.reason for verdict in verdicts],
    }


def _ids(channels: Sequence[Sequence[uuid.UUID]]) -> list[str]:
    """Of each alert its channels as JSON: an array of arrays of different lengths is none of SQL's."""
    return [json.dumps([str(channel) for channel in those]) for those in channels]
