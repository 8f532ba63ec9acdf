"""The worker's side of the outbox: which channels wait, leases, and what came of attempts. Not here: sending, turns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal
from uuid import UUID

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from upstream_pipelines.alerts.life import PRODUCT_OFF
from upstream_pipelines.alerts.notices import channel_disabled_content, channel_disabled_subject
from upstream_pipelines.alerts.outbox import QUERIES as ALERT_QUERIES
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.delivery.outcome import ATTEMPTS, GIVE_UP_AFTER, next_wait
from upstream_pipelines.delivery.sending import Attempted, Leased
from upstream_pipelines.delivery.traced import upload_ids
from upstream_pipelines.delivery.transactions import until_kept
from upstream_pipelines.delivery.turns import MOST_IN_FLIGHT, SLOW_SECONDS, Turn, Waiting

QUERIES = load_queries(__package__)
LEASE = timedelta(seconds=60)
# After a 429 or 503 the whole channel waits for as long as it asked, but is asked again by then: its 10,000 waiting
# deliveries would be as many refusals, and one wrong header would silence it for hours.
LONGEST_PAUSE = timedelta(minutes=5)
# Slack accepts one message a second per channel; more are answered 429. Counted from the end of one to the start of the
# next, of which there is one at a time.
SLACK_PACE = timedelta(seconds=1)
_LAST_CUSTOMER = 2**63 - 1

Ending = Literal["sent", "retrying", "dead", "lost"]


@dataclass(frozen=True)
class Found:
    """Channels that can be taken from now, and when the next one can that is only paused for a moment."""

    waiting: Sequence[Waiting]
    soon: datetime | None


class Outbox:
    """Reads and writes through one connection, for all customers or one."""

    def __init__(self, conn: Connection, customer_id: int | None, jitter: Callable[[], float]) -> None:
        self._conn = conn
        self._range = {"first": customer_id or 0, "last": customer_id or _LAST_CUSTOMER}
        self._jitter = jitter

    def transaction(self) -> AbstractContextManager[object]:
        """What is done inside is committed together, at its end; a lease counts from then on."""
        return self._conn.transaction()

    def find(self, now: datetime) -> Found:
        """Channels with due deliveries and room for more in flight, the longest due first."""
        rows = self._conn.execute(
            QUERIES.find_waiting, {**self._range, "now": now, "until": now + LEASE}
        ).fetchall()
        later = [not_before for *_, not_before in rows if not_before is not None and not_before > now]
        return Found(
            [
                Waiting(customer_id, channel_id, limit)
                for customer_id, channel_id, limit, not_before in rows
                if not_before is None or not_before <= now
            ],
            min(later, default=None),
        )

    def lease(
        self, turns: Sequence[Turn], under_way: Sequence[UUID], now: datetime
    ) -> tuple[list[Leased], dict[UUID, int]]:
        """Take what is due in these turns, but nothing that is `under_way` in this process: one that was stopped for longer
        than its lease would send it a second time beside the first.

        Returns: the leased deliveries, and the limits of the channels looked at.
        """
        when = {"now": now, "until": now + LEASE}
        # A pipeline: each wait for the database is also one for Python's lock, which the sending threads hold.
        with self._conn.pipeline(), self._conn.cursor(row_factory=class_row(Leased)) as rows:
            with self._conn.transaction():
                locked = self._conn.execute(
                    QUERIES.lock_channels,
                    {
                        **when,
                        "customer_ids": [turn.customer_id for turn in turns],
                        "channel_ids": [turn.channel_id for turn in turns],
                        "numbers": [turn.number for turn in turns],
                    },
                ).fetchall()
                if not locked:
                    return [], {}
                customer_ids, channel_ids, numbers, limits = (list(column) for column in zip(*locked, strict=True))
                rows.execute(
                    QUERIES.lease_due,
                    {
                        **when, "customer_ids": customer_ids, "channel_ids": channel_ids, "numbers": numbers,
                        "limits": limits, "most": sum(numbers), "under_way": list(under_way),
                    },
                )  # fmt: skip
            return rows.fetchall(), dict(zip(channel_ids, limits, strict=True))

    def requests_of(self, leased: Sequence[Leased]) -> dict[str, str]:
        """Requests that brought the uploads which deliveries tell of, by the upload's id."""
        of = [(one.customer_id, upload_id) for one in leased for upload_id in upload_ids(one)]
        which = {"customer_ids": [customer for customer, _ in of], "upload_ids": [upload for _, upload in of]}
        return dict(self._conn.execute(QUERIES.requests_of_uploads, which).fetchall()) if of else {}

    def record(self, attempts: Sequence[Attempted], now: datetime) -> tuple[list[Ending], dict[UUID, int]]:
        """Write what came of attempts in one transaction, each if its lease is still ours.

        Returns: how each ended, and the limits of channels whose limit may have changed.
        """
        ended = [self._ended(attempt, now) for attempt in attempts]
        which = {
            "customer_ids": [attempt.leased.customer_id for attempt in attempts],
            "delivery_ids": [attempt.leased.delivery_id for attempt in attempts],
        }
        judged = [_judged(*key, those, now) for key, those in _by_channel(attempts).items()]
        with self._conn.pipeline(), self._conn.transaction():
            self._conn.execute(ALERT_QUERIES.lock_alerts, which)
            recorded = self._conn.execute(QUERIES.record_outcomes, {"ended": Jsonb(ended), "now": now})
            self._conn.execute(ALERT_QUERIES.settle_alerts, which)
            if any(one["state"] != "retrying" for one in ended):
                self._conn.execute(ALERT_QUERIES.wake_ends, {**which, "now": now})
            channels = self._conn.execute(
                QUERIES.judge_channels, {"judged": Jsonb(judged), "now": now, "most": MOST_IN_FLIGHT}
            ).fetchall()
            ours = {row[0] for row in recorded}
            self._disable_failed(attempts, {channel_id: since for channel_id, _, since in channels}, now)
        endings: list[Ending] = [
            state["state"] if attempt.leased.delivery_id in ours else "lost"
            for attempt, state in zip(attempts, ended, strict=True)
        ]
        return endings, {channel_id: limit for channel_id, limit, _ in channels}

    def bury(self, now: datetime) -> int:
        """Make dead what is due and not to be sent: its channel is disabled, or its last worker died. Returns: number."""
        where = {**self._range, "now": now, "attempts": ATTEMPTS}
        buried = 0
        for owner, delivery_ids in self._conn.execute(QUERIES.doomed_deliveries, where).fetchall():
            key = {
                **where, "customer_id": owner, "delivery_ids": delivery_ids, "customer_ids": [owner] * len(delivery_ids),
            }  # fmt: skip
            buried += until_kept(partial(self._bury, key))
        return buried

    def _bury(self, key: Mapping[str, Any]) -> int:
        with self._conn.transaction():
            self._conn.execute(ALERT_QUERIES.lock_alerts, key)
            row = self._conn.execute(QUERIES.bury_doomed, key).fetchone()
            # Again: until it was dead, another alert could join a delivery that had not been tried.
            self._conn.execute(ALERT_QUERIES.lock_alerts, key)
            self._conn.execute(ALERT_QUERIES.settle_alerts, key)
            self._conn.execute(ALERT_QUERIES.wake_ends, key)
        return int(row[0]) if row is not None else 0

    def forget_secrets(self, now: datetime) -> None:
        """Delete earlier signing secrets whose overlap is over."""
        self._conn.execute(QUERIES.forget_secrets, {"now": now})

    def _ended(self, attempt: Attempted, now: datetime) -> dict[str, Any]:
        """An attempt as the database keeps it; `state` is what becomes of the delivery."""
        leased, outcome = attempt.leased, attempt.outcome
        tries = leased.attempt - int(leased.progress.get("tries_from", 0))
        again = outcome.state == "retry" and not leased.is_test
        wait = next_wait(tries, outcome.retry_after, self._jitter) if again else None
        state: Literal["sent", "retrying", "dead"] = (
            "retrying" if wait is not None else "sent" if outcome.state == "sent" else "dead"
        )
        progress = dict(outcome.progress)
        if state == "dead":
            last = "a test is tried once" if leased.is_test else f"last of {tries} tries"
            progress["reason"] = outcome.detail if outcome.state == "dead" else f"{last}: {outcome.detail}"
        return {
            "customer_id": leased.customer_id, "delivery_id": str(leased.delivery_id), "attempt": leased.attempt,
            "state": state, "due_at": (now + wait).isoformat() if wait is not None else None,
            "finished_at": None if wait is not None else now.isoformat(), "progress": progress,
            "outcome": {"sent": "sent", "retrying": "retry", "dead": "dead"}[state],
            "status_code": outcome.status_code, "latency_ms": attempt.latency_ms, "answer": outcome.answer,
            "detail": outcome.detail,
        }  # fmt: skip

    def _disable_failed(
        self, attempts: Sequence[Attempted], failing_since: Mapping[UUID, datetime | None], now: datetime
    ) -> None:
        """Disable the channels whose receivers said that they are gone, or failed for too long."""
        for (_, channel_id), those in _by_channel(attempts).items():
            reason = next((one.outcome.disable for one in those if one.outcome.disable is not None), None)
            since = failing_since.get(channel_id)
            if reason is None and since is not None and now - since >= GIVE_UP_AFTER:
                reason = f"every delivery failed for {GIVE_UP_AFTER.total_seconds() / 3600:.0f} hours"
            if reason is not None:
                self._disable(those[-1].leased, reason, now)

    def _disable(self, leased: Leased, reason: str, now: datetime) -> None:
        """Send nothing more there, and tell the customer by another channel; once, however many workers see it."""
        key: Mapping[str, Any] = {
            "customer_id": leased.customer_id, "channel_id": leased.channel_id, "rule_id": leased.rule_id, "now": now,
        }  # fmt: skip
        if self._conn.execute(QUERIES.disable_channel, {**key, "reason": reason}).rowcount == 0:
            return
        content = channel_disabled_content(leased.name, leased.kind, reason, now)
        self._conn.execute(
            ALERT_QUERIES.write_channel_trouble,
            {
                **key,
                "product_off": PRODUCT_OFF,
                "subject_id": channel_disabled_subject(leased.channel_id, now),
                "content": Jsonb({**content, "customer": leased.contents[0]["customer"]}),
            },
        )


def _by_channel(attempts: Iterable[Attempted]) -> dict[tuple[int, UUID], list[Attempted]]:
    """Attempts of each channel, in the order they ended."""
    by_channel: dict[tuple[int, UUID], list[Attempted]] = {}
    for attempt in attempts:
        by_channel.setdefault((attempt.leased.customer_id, attempt.leased.channel_id), []).append(attempt)
    return by_channel


def _judged(customer_id: int, channel_id: UUID, attempts: Sequence[Attempted], now: datetime) -> dict[str, Any]:
    """What a channel's attempts, in the order they ended, say of its receiver."""
    outcomes = [attempt.outcome for attempt in attempts]
    states = Counter(outcome.state for outcome in outcomes)
    # A mail that some have and others never can have is dead, but its channel reaches people.
    reached = states["sent"] > 0 or any(outcome.progress.get("accepted") for outcome in outcomes)
    quick = states["sent"] == len(outcomes) and all(one.latency_ms < SLOW_SECONDS * 1000 for one in attempts)
    pauses = [min(outcome.retry_after, LONGEST_PAUSE) for outcome in outcomes if outcome.retry_after is not None]
    if attempts[-1].leased.kind == "slack":
        pauses.append(SLACK_PACE)
    return {
        "customer_id": customer_id, "channel_id": str(channel_id), "any_sent": reached,
        "failing": outcomes[-1].state != "sent" and outcomes[-1].receiver_failing,
        "quick": len(outcomes) if quick else 0,
        "pause_until": (now + max(pauses)).isoformat() if pauses else None,
    }  # fmt: skip
