"""One attempt: the words, the sender of the channel's kind, and what an unforeseen error leaves. Not here: the database."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from upstream_pipelines.alerts.content import Alert, build_message, build_payload
from upstream_pipelines.delivery.channels import secret_bytes
from upstream_pipelines.delivery.connections import Connections
from upstream_pipelines.delivery.email import send_email
from upstream_pipelines.delivery.outcome import NotSetUpError, Outcome
from upstream_pipelines.delivery.slack import send_slack
from upstream_pipelines.delivery.webhook import send_webhook
from upstream_pipelines.settings import Settings

_log = logging.getLogger(__name__)
# One whose asker died is sent by whichever worker comes by; later than this it would puzzle its reader.
TEST_LASTS = timedelta(minutes=5)


@dataclass(frozen=True)
class Leased:
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
    previous_secret: str | None
    contents: Sequence[Mapping[str, Any]]
    created: Sequence[datetime]
    is_test: bool
    """A test (trial.py) is alone in its message."""


@dataclass(frozen=True)
class Attempted:
    """A leased delivery and how its attempt ended."""

    leased: Leased
    outcome: Outcome
    latency_ms: int


class Sender:
    """Makes attempts in whatever thread calls it; each thread keeps its connections from one to the next."""

    def __init__(self, settings: Settings, clock: Callable[[], datetime]) -> None:
        self._settings = settings
        self._clock = clock
        self._local = threading.local()
        self._connections: list[Connections] = []

    def attempt(self, leased: Leased) -> Attempted:
        """Never raises: a delivery that cannot be sent must not stop the others."""
        began = time.monotonic()
        outcome = self._outcome(leased)
        return Attempted(leased, outcome, int((time.monotonic() - began) * 1000))

    def close(self) -> None:
        """Close the connections; no thread may be at work any more."""
        for connections in self._connections:
            connections.close()

    def _outcome(self, leased: Leased) -> Outcome:
        try:
            if leased.is_test and (leased.attempt > 1 or self._clock() > leased.created[0] + TEST_LASTS):
                return Outcome("dead", "not sent: a test is tried once, within 5 minutes; ask for another")
            alerts = [
                Alert(content, created.astimezone(UTC).isoformat())
                for content, created in zip(leased.contents, leased.created, strict=True)
            ]
            return self._send(leased, alerts)
        except NotSetUpError as error:
            return Outcome("retry", str(error))  # our own texts: they name the setting
        except Exception as error:  # noqa: BLE001
            # The message of an unforeseen error may hold anything, a secret URL among it, so the class is kept and
            # the place logged without it.
            frame = error.__traceback__
            while frame is not None and frame.tb_next is not None:
                frame = frame.tb_next
            place = (
                f"{frame.tb_frame.f_code.co_qualname}:{frame.tb_lineno}" if frame is not None else "unknown place"
            )
            _log.error("delivery %s attempt %d: unforeseen %s in %s", leased.delivery_id, leased.attempt,
                       type(error).__name__, place)  # fmt: skip
            return Outcome("retry", f"unforeseen error {type(error).__name__} in {place}")

    def _send(self, leased: Leased, alerts: Sequence[Alert]) -> Outcome:
        delivery_id, now = str(leased.delivery_id), self._clock()
        if leased.kind == "email":
            return send_email(
                self._settings,
                recipients=leased.configuration["recipients"],
                progress=leased.progress,
                delivery_id=delivery_id,
                message=build_message(alerts),
                now=now,
            )
        if leased.secret is None:
            raise NotSetUpError(f"Channel {leased.name} has no secret stored. Configure the channel again.")
        if leased.kind == "slack":
            return send_slack(
                self._settings,
                secret=leased.secret,
                channel=leased.configuration.get("channel"),
                delivery_id=delivery_id,
                message=build_message(alerts),
                now=now,
            )
        return send_webhook(
            self._settings,
            url=leased.configuration["url"],
            secrets=_signing(leased.name, leased.secret, leased.previous_secret),
            delivery_id=delivery_id,
            payload=build_payload(alerts),
            now=now,
            connections=self._kept(),
        )

    def _kept(self) -> Connections:
        kept: Connections | None = getattr(self._local, "connections", None)
        if kept is None:
            kept = self._local.connections = Connections(self._settings)
            self._connections.append(kept)
        return kept


def _signing(name: str, secret: str, previous: str | None) -> list[str]:
    """The secrets to sign with. The one before, where nobody can sign with it, is nobody's to verify by.

    Raises:
        NotSetUpError: nobody can sign with the present one.
    """
    if not _can_sign(secret):
        raise NotSetUpError(
            f"The secret of channel {name} is no webhook secret (whsec_ and 24 to 64 bytes in base64). Replace it: "
            "`upstream alerts rotate-secret`."
        )
    return [secret, *([previous] if previous and _can_sign(previous) else [])]


def _can_sign(secret: str) -> bool:
    try:
        secret_bytes(secret)
    except ValueError:
        return False
    return True
