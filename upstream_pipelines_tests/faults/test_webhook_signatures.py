"""What is sent over a socket verifies with the published vectors and with two packages that receivers use."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks
import svix.webhooks

from upstream_pipelines.delivery.channels import new_secret
from upstream_pipelines.delivery.webhook import send_webhook, sign
from upstream_pipelines.settings import Settings

PAYLOAD = {
    "type": "drift.event.opened",
    "timestamp": "2026-05-01T00:00:00+00:00",
    "data": {"payer": "Müller & Söhne"},
}
VERIFIERS: list[Callable[[str], Any]] = [standardwebhooks.Webhook, svix.webhooks.Webhook]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of a sender alone: no database is made for it."""
    return Settings(home=tmp_path)


def _send(settings: Settings, url: str, secrets: list[str], now: datetime | None = None) -> None:
    outcome = send_webhook(
        settings, url=url, secrets=secrets, delivery_id="5f0c", payload=PAYLOAD, now=now or datetime.now(UTC)
    )
    assert outcome.state == "sent"


@pytest.mark.parametrize(
    ("secret", "message_id", "timestamp", "body", "signature"),
    [
        (
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330,
            b'{"test": 2432232314}', "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        ),
        (
            "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1649367553,
            b'{"email":"test@example.com","username":"test_user"}',
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
        ),
    ],
)  # fmt: skip
def test_the_published_vectors_of_standard_webhooks_come_out(
    secret: str, message_id: str, timestamp: int, body: bytes, signature: str
) -> None:
    assert sign([secret], message_id, timestamp, body) == signature


@pytest.mark.parametrize("verifier", VERIFIERS)
def test_what_arrives_verifies_and_what_was_altered_does_not(
    loopback: Settings, receiver: Any, verifier: Callable[[str], Any]
) -> None:
    secret = new_secret()
    _send(loopback, receiver.url, [secret])
    ((_, headers, body),) = receiver.requests
    verifier(secret).verify(body, headers)
    assert json.loads(body) == PAYLOAD
    for altered, changed in (
        (body.replace(b"opened", b"closed"), {}),
        (body, {"webhook-id": "5f0d"}),
        (body, {"webhook-timestamp": str(int(headers["webhook-timestamp"]) + 1)}),
        (body, {"webhook-signature": "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc="}),
    ):
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            verifier(secret).verify(altered, {**headers, **changed})
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        verifier(new_secret()).verify(body, headers)


@pytest.mark.parametrize("verifier", VERIFIERS)
def test_with_two_secrets_each_verifies_alone(
    loopback: Settings, receiver: Any, verifier: Callable[[str], Any]
) -> None:
    old, new = new_secret(), new_secret()
    _send(loopback, receiver.url, [new, old])
    ((_, headers, body),) = receiver.requests
    assert len(headers["webhook-signature"].split(" ")) == 2
    for secret in (old, new):
        verifier(secret).verify(body, headers)


def test_a_message_recorded_and_sent_again_later_is_refused_by_its_time(loopback: Settings, receiver: Any) -> None:
    """The time that is signed is the attempt's, not the alert's: a retry after hours must verify, a replay not."""
    secret = new_secret()
    _send(loopback, receiver.url, [secret], datetime.now(UTC) - timedelta(hours=10))
    ((_, headers, body),) = receiver.requests
    with pytest.raises(standardwebhooks.WebhookVerificationError, match="too old"):
        standardwebhooks.Webhook(secret).verify(body, headers)
