"""One message marked as a test, through the real sender, kept as a delivery with its attempt like any other.

It belongs to no rule, keeps no quiet hours and is tried once, whoever sends it: one that came by itself an hour later would
puzzle its reader. Not here: writing the test (trial_message.py), how a channel sends, a test that is too late for that
(sending.py), what to do about a failure (advice.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from upstream_pipelines.alerts.outbox import QUERIES as ALERT_QUERIES
from upstream_pipelines.customers.audit import Actor, record
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.delivery.advice import advice_for
from upstream_pipelines.delivery.trial_message import ask_for_test
from upstream_pipelines.delivery.worker import deliver_due
from upstream_pipelines.settings import Settings

QUERIES = load_queries(__package__)
# Longer than a lease (60 s): a message to the same channel that is under way goes first.
_PATIENCE_SECONDS = 75.0
_POLL_SECONDS = 0.25


@dataclass(frozen=True)
class TrialResult:
    """What came of it; `detail` in words, `advice` what to do (empty where it was sent)."""

    delivery_id: UUID
    sent: bool
    detail: str
    advice: str
    status_code: int | None = None
    latency_ms: int | None = None
    answer: str | None = None


def try_channel(
    conn: Connection,
    settings: Settings,
    customer_id: int,
    name: str,
    *,
    actor: Actor,
    patience_seconds: float = _PATIENCE_SECONDS,
    deliver: Callable[..., object] = deliver_due,
) -> TrialResult:
    """Write the test, send what is due for this customer, and wait for the test's first attempt to end. `actor` asks for it.

    Raises:
        NotFoundError: there is no such channel.
        ProductOffError: alerts are off for the customer.
        ConflictError: it is switched off; the message says why, and how to switch it on.
    """
    with conn.transaction():
        asked = ask_for_test(conn, customer_id, name)
        record(conn, actor, "channel.tested", ("channel", asked.channel_id), customer_id=customer_id)
    key: dict[str, object] = {"customer_id": customer_id, "delivery_id": asked.delivery_id}
    end = time.monotonic() + patience_seconds
    while True:
        deliver(settings, customer_id=customer_id)
        row = conn.execute(QUERIES.test_attempt, key).fetchone()
        if row is not None and row[0] != "sending":
            return _conclude(key, asked.kind, row)
        if time.monotonic() >= end:
            return _give_up(conn, key, asked.slug)
        time.sleep(_POLL_SECONDS)


def _give_up(conn: Connection, key: dict[str, object], slug: str) -> TrialResult:
    """Nobody could send it in time: it is not to come by itself later."""
    busy = "a message to this channel is under way, or its receiver asked for a pause"
    those = {"customer_ids": [key["customer_id"]], "delivery_ids": [key["delivery_id"]]}
    with conn.transaction():
        conn.execute(ALERT_QUERIES.lock_alerts, those)
        ended = conn.execute(
            QUERIES.end_test, {**key, "now": datetime.now(UTC), "reason": f"a test is sent at once: {busy}"}
        ).rowcount
        conn.execute(ALERT_QUERIES.settle_alerts, those)
    return TrialResult(
        key["delivery_id"],  # type: ignore[arg-type]
        False,
        f"it was not sent: {busy}" if ended else "it is under way, and its receiver has not answered yet",
        "Test again in a few minutes."
        if ended
        else f"`upstream alerts list {slug}` shows what came of it, in a minute.",
    )


def _conclude(
    key: dict[str, object],
    kind: str,
    row: tuple[str, str, int | None, int | None, str | None],
) -> TrialResult:
    state, detail, status, latency_ms, answer = row
    sent = state == "sent"
    return TrialResult(
        delivery_id=key["delivery_id"],  # type: ignore[arg-type]
        sent=sent,
        detail=detail,
        advice="" if sent else advice_for(kind, status, detail),
        status_code=status,
        latency_ms=latency_ms,
        answer=answer,
    )
