"""Telling: alerts decided over (life.py), put into messages (timing.py), and looked at again when their time has come.

All of a customer's decisions are made one after the other, under the lock of its row, which the caller holds. Not here:
matching rules (store.py), silences and judgements (feedback.py), sending (delivery/).
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfoNotFoundError

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
from upstream_pipelines.alerts.timing import MOST_IN_A_WEBHOOK, Lately, QuietHours, Rhythm, due_at
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.queries import load_queries

QUERIES = load_queries(__package__)
_log = logging.getLogger(__name__)


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
    `channel_ids`: those that are on, where it would go.
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


@dataclass(frozen=True)
class _Told:
    """An alert that is to go into messages."""

    alert_id: uuid.UUID
    rule_id: uuid.UUID
    channel_ids: Sequence[uuid.UUID]
    severity: float | None
    at_once: bool


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
    rows = []
    for one, (rule_id, entry), known in zip(asked, pairs, _look_up(conn, customer_id, asked, now), strict=True):
        if entry.notice == "escalated":
            if not known.live or not escalates(one.severity, known.past):
                continue
        elif (known.known if entry.returns else known.ever) or (entry.notice == "resolved" and not known.live):
            continue
        if known.addressed:
            verdict = decide(one.notice, one.severity, known.past, now, known.cooldown)
            step = max(known.step + 1, 1 if entry.notice == "escalated" else 0)
            rows.append((uuid.uuid4(), rule_id, entry, step, known.channel_ids, verdict))
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
                **_verdicts([row[4] for row in rows], [row[5] for row in rows]),
            },
        )
    ended = [(rule_id, entry.subject_id) for rule_id, entry in pairs if entry.notice == "resolved"]
    if ended:
        rule_ids, subject_ids = ([pair[number] for pair in ended] for number in (0, 1))
        conn.execute(
            QUERIES.close_events,
            {"customer_id": customer_id, "now": now, "rule_ids": rule_ids, "subject_ids": subject_ids},
        )
    told = [
        _Told(alert_id, rule_id, channel_ids, entry.facts.severity, entry.at_once)
        for alert_id, rule_id, entry, _, channel_ids, verdict in rows
        if verdict.held_by is None
    ]
    _place(conn, customer_id, told, now)
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
    """
    at = {"customer_id": customer_id, "now": now}
    held = [row[0] for row in conn.execute(QUERIES.customers_with_held, at)]
    repeating = {row[0] for row in conn.execute(QUERIES.reminders_due, at)}
    told = 0
    for owner in sorted({*held, *repeating}):
        with conn.transaction():
            conn.execute(QUERIES.lock_customer, {"customer_id": owner})
            # Read again under the lock: another worker may have told them meanwhile.
            told += _release(conn, owner, now) + _remind(conn, owner, now)
    return told


def _release(conn: Connection, customer_id: int, now: datetime) -> int:
    """Alerts held back until now: told, held back for another reason, or for good."""
    with conn.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(QUERIES.held_of, {"customer_id": customer_id, "now": now}).fetchall()
    asked = [
        _Asked(
            row["rule_id"], row["notice"], row["fingerprint"], row["subject_id"], row["severity"], row["over_at"]
        )
        for row in rows
    ]
    found = _look_up(conn, customer_id, asked, now)
    verdicts = [_verdict_again(row, one, known, now) for row, one, known in zip(rows, asked, found, strict=True)]
    conn.execute(
        QUERIES.release_held,
        {
            "customer_id": customer_id,
            "now": now,
            "notes": [f"Held back since {minute(row['created_at'])}: {row['reason']}." for row in rows],
            **_verdicts([known.channel_ids for known in found], verdicts),
            "alert_ids": [row["alert_id"] for row in rows],
        },
    )
    told = [
        _Told(row["alert_id"], one.rule_id, known.channel_ids, one.severity, at_once=True)
        for row, one, known, verdict in zip(rows, asked, found, verdicts, strict=True)
        if verdict.held_by is None
    ]
    _place(conn, customer_id, told, now)
    return len(told)


def _verdict_again(row: Mapping[str, Any], one: _Asked, known: _Known, now: datetime) -> Verdict:
    if row["notice"] == "resolved":
        return decide(one.notice, one.severity, known.past, now, known.cooldown)
    if row["over_at"] is not None:
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
        _Told(alert_id, rule_id, channel_ids, severity, at_once=True)
        for alert_id, rule_id, severity, channel_ids in rows
    ]
    _place(conn, customer_id, told, now)
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
                event_highest=row["event_highest"],
                noise_until=row["noise_until"],
                silenced_until=row["silenced_until"],
                silence_reason=row["silence_reason"] or "",
                channels_off=None if row["channel_ids"] else channels_off(row["off_names"], row["off_since"]),
            ),
            cooldown=timedelta(hours=row["cooldown_hours"]),
            rule_enabled=row["enabled"],
            known=row["known"],
            ever=row["ever"],
            step=row["step"],
            live=row["live"],
            addressed=bool(row["channel_ids"] or row["off_names"]),
            channel_ids=row["channel_ids"],
        )
        for row in rows
    ]


def _place(conn: Connection, customer_id: int, told: Sequence[_Told], now: datetime) -> None:
    """Put told alerts into messages: of each rule and channel one, the one that still waits or a new one; more where a
    webhook's would grow too large.
    """
    carried: dict[tuple[uuid.UUID, uuid.UUID], list[_Told]] = {}
    for alert in told:
        for channel_id in alert.channel_ids:
            carried.setdefault((alert.rule_id, channel_id), []).append(alert)
    if not carried:
        return
    places = sorted(carried)  # in one order, so that two writers do not wait for each other
    with conn.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(
            QUERIES.rhythms_of,
            {
                "customer_id": customer_id,
                "now": now,
                "most_in_webhook": MOST_IN_A_WEBHOOK,
                "rule_ids": [rule_id for rule_id, _ in places],
                "channel_ids": [channel_id for _, channel_id in places],
            },
        ).fetchall()
    rhythms = {row["rule_id"]: _rhythm(row) for row in rows}
    messages, links = [], []
    for row in rows:
        alerts = carried[row["rule_id"], row["channel_id"]]
        lately = Lately(row["tried_at"], row["highest"])
        # Equal ones are due together, and there may be hundreds; the highest severity decides for all of a kind.
        kinds = {(alert.at_once, alert.severity) for alert in alerts}
        due = min(
            due_at(now, rhythms[row["rule_id"]], lately, at_once=at_once, severity=severity)
            for at_once, severity in kinds
        )
        waiting, joining, parts = _shared_out(alerts, row)
        for delivery_id, part in [
            *([(waiting, joining)] if joining else []),
            *((uuid.uuid4(), part) for part in parts),
        ]:
            messages.append((delivery_id, row["rule_id"], row["channel_id"], due, delivery_id == waiting))
            links += [(delivery_id, alert.alert_id) for alert in part]
    conn.execute(
        QUERIES.place_alerts,
        {
            "customer_id": customer_id,
            "now": now,
            "delivery_ids": [message[0] for message in messages],
            "rule_ids": [message[1] for message in messages],
            "channel_ids": [message[2] for message in messages],
            "dues": [message[3] for message in messages],
            "joined": [message[4] for message in messages],
            "link_deliveries": [link[0] for link in links],
            "link_alerts": [link[1] for link in links],
        },
    )


def _shared_out(
    alerts: Sequence[_Told], row: Mapping[str, Any]
) -> tuple[uuid.UUID | None, Sequence[_Told], list[Sequence[_Told]]]:
    """Alerts of a rule for a channel, as its messages have room: the message that waits, those that join it, and the others
    by message.
    """
    most = row["most"] or len(alerts)
    waiting: uuid.UUID | None = row["delivery_id"]
    joining = 0 if waiting is None else row["room"] or most
    return waiting, alerts[:joining], [alerts[at : at + most] for at in range(joining, len(alerts), most)]


def _rhythm(row: Mapping[str, Any]) -> Rhythm:
    quiet = None
    if row["quiet_hours"] is not None:
        try:
            quiet = QuietHours.read(row["quiet_hours"], row["time_zone"])
        except ZoneInfoNotFoundError:
            # A message at night is better than none, and than a drift look that fails for the want of it.
            _log.error(
                "rule %s: this machine knows no time zone %s; its quiet hours are not kept. Install tzdata.",
                row["name"],
                row["time_zone"],
            )
    return Rhythm(
        group=timedelta(seconds=row["group_seconds"]), update=timedelta(minutes=row["update_minutes"]), quiet=quiet
    )


def _verdicts(channel_ids: Sequence[Sequence[uuid.UUID]], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Parameters of the statements that keep decisions."""
    return {
        "channel_ids": [json.dumps([str(channel) for channel in channels]) for channels in channel_ids],
        "held_by": [verdict.held_by for verdict in verdicts],
        "held_until": [verdict.until for verdict in verdicts],
        "reasons": [verdict.reason for verdict in verdicts],
    }
