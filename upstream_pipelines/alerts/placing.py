"""Alerts that are told, put into messages (timing.py): one that still waits, or a new one. Not here: whether they are told
(outbox.py), sending (delivery/).
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg.rows import dict_row

from upstream_pipelines.alerts.timing import MOST_IN_A_WEBHOOK, Lately, QuietHours, Rhythm, due_at
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.queries import load_queries

QUERIES = load_queries(__package__)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Told:
    """An alert that is to go into messages."""

    alert_id: uuid.UUID
    rule_id: uuid.UUID
    channel_ids: Sequence[uuid.UUID]
    severity: float | None
    at_once: bool


def place(conn: Connection, customer_id: int, told: Sequence[Told], now: datetime) -> None:
    """Put told alerts into messages: of each rule and channel one, the one that still waits or a new one; more where a
    webhook's would grow too large.
    """
    carried: dict[tuple[uuid.UUID, uuid.UUID], list[Told]] = {}
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
    alerts: Sequence[Told], row: Mapping[str, Any]
) -> tuple[uuid.UUID | None, Sequence[Told], list[Sequence[Told]]]:
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
        except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
            # A name of no zone is any of them.
            # A message at night is better than none, and than a drift look that fails for the want of it.
            # By its id: a name is free text that may be a patient's.
            _log.error("rule %s: its quiet hours are not kept, for they or their time zone cannot be read (%s). Change the rule; "
                       "if others' zones are not known either, install tzdata.", row["rule_id"], type(error).__name__)  # fmt: skip
    return Rhythm(
        group=timedelta(seconds=row["group_seconds"]), update=timedelta(minutes=row["update_minutes"]), quiet=quiet
    )
