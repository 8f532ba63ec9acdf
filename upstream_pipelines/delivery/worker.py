"""Takes due deliveries from the outbox, sends them, and keeps what came of it. Not here: how a channel sends.

At least once, normally once: a worker that dies between sending and recording leaves a lease that
runs out, and the row is sent again under the same id. Nothing is sent inside a transaction.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args
from uuid import UUID

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from upstream_pipelines.alerts.content import Alert, Message, build_message
from upstream_pipelines.alerts.notices import channel_disabled_content, channel_disabled_subject
from upstream_pipelines.alerts.store import QUERIES as ALERT_QUERIES
from upstream_pipelines.db.engine import Connection, connect
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.delivery.email import send_email
from upstream_pipelines.delivery.outcome import (
    ATTEMPTS,
    GIVE_UP_AFTER,
    NotSetUpError,
    Outcome,
    next_wait,
    random_jitter,
)
from upstream_pipelines.delivery.slack import send_slack
from upstream_pipelines.delivery.webhook import send_webhook
from upstream_pipelines.settings import Settings

QUERIES = load_queries(__package__)
LEASE = timedelta(seconds=60)
# Slack accepts one message a second per channel; more are answered 429.
_SLACK_SECONDS = 1.0
_log = logging.getLogger(__name__)

_Ending = Literal["sent", "retrying", "dead", "lost"]


@dataclass(frozen=True)
class DeliveryReport:
    """What one call did: attempts taken and how they ended.

    `lost`: attempts that ended after their lease, when another worker had the row.
    `buried`: deliveries that became dead without an attempt (channel disabled).
    """

    taken: int
    sent: int
    retrying: int
    dead: int
    lost: int
    buried: int
    seconds: float


@dataclass(frozen=True)
class _Leased:
    """A delivery under this worker's lease, with all that sending it needs."""

    customer_id: int
    delivery_id: UUID
    rule_id: UUID | None
    channel_id: UUID
    attempt: int
    progress: Mapping[str, Any]
    kind: str
    name: str
    configuration: Mapping[str, Any]
    secret: str | None
    contents: Sequence[Mapping[str, Any]]
    created: Sequence[datetime]


def utc_now() -> datetime:
    """The clock of production."""
    return datetime.now(UTC)


def deliver_due(
    settings: Settings,
    *,
    customer_id: int | None = None,
    clock: Callable[[], datetime] = utc_now,
    limit: int = 500,
    worker_threads: int = 8,
    jitter: Callable[[], float] = random_jitter,
) -> DeliveryReport:
    """Send what is due, of all customers or one, until nothing is due or `limit` attempts were made.

    Safe to run in several processes at once. A failed attempt is rescheduled, not raised.

    Raises:
        DatabaseUnavailableError: the outbox cannot be reached; leased rows come back by themselves.
    """
    started = time.monotonic()
    with connect(settings, "upstream_pipeline") as conn:
        buried = _bury(conn, customer_id, clock())
    worker = _Worker(settings, customer_id, clock, limit, jitter)
    with ThreadPoolExecutor(worker_threads, thread_name_prefix="deliver") as threads:
        for running in [threads.submit(worker.run) for _ in range(worker_threads)]:
            running.result()
    with connect(settings, "upstream_pipeline") as conn:
        buried += _bury(conn, customer_id, clock())  # of channels that were disabled meanwhile
    counts = {ending: worker.endings.count(ending) for ending in get_args(_Ending)}
    return DeliveryReport(taken=len(worker.endings), **counts, buried=buried, seconds=time.monotonic() - started)


class _Worker:
    """The state that one call's threads share."""

    def __init__(
        self,
        settings: Settings,
        customer_id: int | None,
        clock: Callable[[], datetime],
        limit: int,
        jitter: Callable[[], float],
    ) -> None:
        self.endings: list[_Ending] = []
        self._settings = settings
        self._customer_id = customer_id
        self._clock = clock
        self._left = limit
        self._jitter = jitter
        self._lock = threading.Lock()
        # One lease at a time in a process (about 2 ms each): two at the same instant would both find the same
        # channel free, and one hanging receiver would hold two threads.
        self._lease_lock = threading.Lock()
        self._slack_free_at: dict[UUID, float] = {}

    def run(self) -> None:
        """Take and send until nothing is due or the limit is reached."""
        while self._may_take():
            leased = self._lease()
            if leased is None:
                with self._lock:
                    self._left += 1  # nothing was taken: another thread may still use it
                return
            began = time.monotonic()
            outcome = self._attempt(leased)
            ending = self._record(leased, outcome, int((time.monotonic() - began) * 1000))
            with self._lock:
                self.endings.append(ending)

    def _may_take(self) -> bool:
        with self._lock:
            if self._left == 0:
                return False
            self._left -= 1
            return True

    def _lease(self) -> _Leased | None:
        with (
            self._lease_lock,
            connect(self._settings, "upstream_pipeline") as conn,
            conn.cursor(row_factory=class_row(_Leased)) as rows,
        ):
            now = self._clock()  # inside the lock: a moment read earlier would miss a lease taken since
            return rows.execute(
                QUERIES.lease_next, {"now": now, "until": now + LEASE, "customer_id": self._customer_id}
            ).fetchone()

    def _attempt(self, leased: _Leased) -> Outcome:
        try:
            message = build_message(
                [
                    Alert(content, created.astimezone(UTC).isoformat())
                    for content, created in zip(leased.contents, leased.created, strict=True)
                ]
            )
            return self._send(leased, message)
        except NotSetUpError as error:
            return Outcome("retry", str(error))  # our own texts: they name the setting
        except Exception as error:  # noqa: BLE001
            # One delivery that cannot be sent must not stop the others. The message of an unforeseen error may
            # hold anything, a secret URL among it, so the class is kept and the place logged without it.
            frame = error.__traceback__
            while frame is not None and frame.tb_next is not None:
                frame = frame.tb_next
            place = (
                f"{frame.tb_frame.f_code.co_qualname}:{frame.tb_lineno}" if frame is not None else "unknown place"
            )
            _log.error("delivery %s attempt %d: unforeseen %s in %s", leased.delivery_id, leased.attempt,
                       type(error).__name__, place)  # fmt: skip
            return Outcome("retry", f"unforeseen error {type(error).__name__} in {place}")

    def _send(self, leased: _Leased, message: Message) -> Outcome:
        delivery_id, now = str(leased.delivery_id), self._clock()
        if leased.kind == "email":
            return send_email(
                self._settings,
                recipients=leased.configuration["recipients"],
                progress=leased.progress,
                delivery_id=delivery_id,
                message=message,
                now=now,
            )
        if leased.secret is None:
            raise NotSetUpError(f"Channel {leased.name} has no secret stored. Configure the channel again.")
        if leased.kind == "slack":
            self._wait_for_slack(leased.channel_id)
            return send_slack(
                self._settings,
                secret=leased.secret,
                channel=leased.configuration.get("channel"),
                delivery_id=delivery_id,
                message=message,
                now=now,
            )
        return send_webhook(
            self._settings,
            url=leased.configuration["url"],
            secrets=leased.secret.split(),
            delivery_id=delivery_id,
            payload=message.payload,
            now=now,
        )

    def _wait_for_slack(self, channel_id: UUID) -> None:
        with self._lock:
            now = time.monotonic()
            free_at = max(now, self._slack_free_at.get(channel_id, now))
            self._slack_free_at[channel_id] = free_at + _SLACK_SECONDS
        time.sleep(free_at - now)

    def _record(self, leased: _Leased, outcome: Outcome, latency_ms: int) -> _Ending:
        """Write the outcome in one transaction, if the lease is still ours."""
        now = self._clock()
        tries = leased.attempt - int(leased.progress.get("tries_from", 0))
        wait = next_wait(tries, outcome.retry_after, self._jitter) if outcome.state == "retry" else None
        state: Literal["sent", "retrying", "dead"] = (
            "retrying" if wait is not None else "sent" if outcome.state == "sent" else "dead"
        )
        progress = dict(outcome.progress)
        if state == "dead":
            progress["reason"] = (
                outcome.detail if outcome.state == "dead" else f"last of {tries} tries: {outcome.detail}"
            )
        key: dict[str, Any] = {
            "customer_id": leased.customer_id, "delivery_id": leased.delivery_id, "attempt": leased.attempt,
            "channel_id": leased.channel_id, "rule_id": leased.rule_id, "delivery_ids": [leased.delivery_id], "now": now,
        }  # fmt: skip
        with connect(self._settings, "upstream_pipeline") as conn, conn.transaction():
            conn.execute(ALERT_QUERIES.lock_alerts, key)
            recorded = conn.execute(
                QUERIES.record_outcome,
                {
                    **key,
                    "state": state,
                    "due_at": now + wait if wait is not None else None,
                    "finished_at": None if wait is not None else now,
                    "progress": json.dumps(progress),
                },
            ).rowcount
            conn.execute(
                QUERIES.finish_attempt,
                {
                    **key,
                    "outcome": {"sent": "sent", "retrying": "retry", "dead": "dead"}[state],
                    "status_code": outcome.status_code,
                    "latency_ms": latency_ms,
                    "answer": outcome.answer,
                    "detail": outcome.detail,
                },
            )
            if recorded == 0:
                return "lost"
            conn.execute(ALERT_QUERIES.settle_alerts, key)
            self._judge_channel(conn, leased, outcome, key)
        return state

    def _judge_channel(self, conn: Connection, leased: _Leased, outcome: Outcome, key: Mapping[str, Any]) -> None:
        """Keep since when a receiver fails; disable it when it said so or failed for too long, and tell."""
        reason = outcome.disable
        if outcome.state == "sent":
            conn.execute(QUERIES.receiver_well, key)
        elif outcome.receiver_failing:
            row = conn.execute(QUERIES.receiver_failing, key).fetchone()
            if row is not None and key["now"] - row[0] >= GIVE_UP_AFTER:
                reason = f"every delivery failed for {GIVE_UP_AFTER.total_seconds() / 3600:.0f} hours"
        if reason is None or conn.execute(QUERIES.disable_channel, {**key, "reason": reason}).rowcount == 0:
            return
        content = channel_disabled_content(leased.name, leased.kind, reason, key["now"])
        conn.execute(
            ALERT_QUERIES.write_channel_trouble,
            {
                **key,
                "subject_id": channel_disabled_subject(leased.channel_id, key["now"]),
                "content": Jsonb({**content, "customer": leased.contents[0]["customer"]}),
            },
        )


def _bury(conn: Connection, customer_id: int | None, now: datetime) -> int:
    """Make dead what is due on disabled channels, customer by customer. Returns: number of deliveries."""
    where = {"customer_id": customer_id, "now": now, "attempts": ATTEMPTS}
    buried = 0
    for owner, delivery_ids in conn.execute(QUERIES.doomed_deliveries, where).fetchall():
        key = {**where, "customer_id": owner, "delivery_ids": delivery_ids}
        with conn.transaction():
            conn.execute(ALERT_QUERIES.lock_alerts, key)
            row = conn.execute(QUERIES.bury_doomed, key).fetchone()
            # Again: until it was dead, another alert could join a delivery that had not been tried.
            conn.execute(ALERT_QUERIES.lock_alerts, key)
            conn.execute(ALERT_QUERIES.settle_alerts, key)
        buried += int(row[0]) if row is not None else 0
    return buried
