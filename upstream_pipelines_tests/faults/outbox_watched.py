"""What tests of the delivery worker share: a clock that is set by hand, a webhook at a receiver, the outbox counted whole."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from upstream_pipelines.alerts.store import conservation
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.delivery.channels import WebhookChannel


class Clock:
    """A clock that is set by hand; real time at the start, so that new rows are due."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC) + timedelta(seconds=1)

    def __call__(self) -> datetime:
        return self.now


def webhook(receiver: Any, name: str = "hook") -> WebhookChannel:
    return WebhookChannel(kind="webhook", name=name, url=f"{receiver.url}/{name}")


def whole(conn: Connection, customer: int) -> dict[str, int]:
    counts = conservation(conn, customer)
    for name in ("missing_places", "unexpected_places", "empty_deliveries", "lost_attempts", "wrong_states"):
        assert counts[name] == 0, counts
    return counts
