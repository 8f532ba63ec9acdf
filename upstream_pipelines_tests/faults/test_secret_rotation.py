"""A signing secret replaced: both sign for 24 hours, then one, on the worker's clock and over a socket."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook
from typer.testing import CliRunner

from upstream_pipelines.alerts.store import sync_channels
from upstream_pipelines.cli.main import app
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.delivery.channels import SlackChannel, WebhookChannel, new_secret
from upstream_pipelines.delivery.rotation import OVERLAP, rotate_secret
from upstream_pipelines.delivery.worker import deliver_due
from upstream_pipelines.errors import ConflictError, NotFoundError
from upstream_pipelines.settings import Settings


@pytest.fixture
def hook(receiver: Any) -> WebhookChannel:
    return WebhookChannel(kind="webhook", name="hook", url=receiver.url)


def _signed(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """By signature alone: the reference verifier also refuses what is not of this hour."""
    at = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
    return Webhook(secret).sign(headers["webhook-id"], at, body.decode()) in headers["webhook-signature"].split(
        " "
    )


def test_in_the_overlap_both_secrets_verify_and_after_it_only_the_new_one(
    loopback: Settings, pipeline: Connection, customer: int, receiver: Any, queue: Any, hook: WebhookChannel
) -> None:
    old = queue([hook])["hook"]
    now = datetime.now(UTC) + timedelta(seconds=1)
    new = rotate_secret(pipeline, customer, "hook", now=now)
    assert deliver_due(loopback, clock=lambda: now).sent == 1
    last = now + OVERLAP - timedelta(seconds=1)
    queue([hook])
    assert deliver_due(loopback, clock=lambda: last).sent == 1
    over = now + OVERLAP
    queue([hook])
    assert deliver_due(loopback, clock=lambda: over).sent == 1
    signed = [(_signed(new, headers, body), _signed(old, headers, body)) for _, headers, body in receiver.requests]
    assert signed == [(True, True), (True, True), (True, False)]
    assert receiver.requests[2][1]["webhook-signature"].count("v1,") == 1
    _, headers, body = receiver.requests[0]
    assert Webhook(old).verify(body, headers) == Webhook(new).verify(body, headers)
    # What is over is not kept: the database's backups would hold it for ever.
    kept = pipeline.execute("SELECT secret, previous_secret, previous_secret_until FROM alert_channels").fetchone()
    assert kept == (new, None, None)


def test_a_second_rotation_waits_for_the_first_unless_the_secret_leaked(
    pipeline: Connection, customer: int, queue: Any, hook: WebhookChannel
) -> None:
    queue([hook])
    now = datetime.now(UTC)
    second = rotate_secret(pipeline, customer, "hook", now=now)
    with pytest.raises(ConflictError, match="--at-once"):
        rotate_secret(pipeline, customer, "hook", now=now + OVERLAP - timedelta(seconds=1))
    third = rotate_secret(pipeline, customer, "hook", now=now, overlap=timedelta())
    assert len({second, third}) == 2
    assert pipeline.execute("SELECT secret, previous_secret FROM alert_channels").fetchone() == (third, None)
    rotate_secret(pipeline, customer, "hook", now=now)
    rotate_secret(pipeline, customer, "hook", now=now + OVERLAP)


def test_only_a_webhook_that_exists_is_rotated(pipeline: Connection, customer: int, loopback: Settings) -> None:
    team = SlackChannel(kind="slack", name="team", bot_token=SecretStr("xoxb-1"), channel="C1")
    sync_channels(pipeline, customer, [team], loopback)
    with pytest.raises(ConflictError, match="is slack and signs nothing"):
        rotate_secret(pipeline, customer, "team")
    with pytest.raises(NotFoundError, match="no channel nobody"):
        rotate_secret(pipeline, customer, "nobody")


def test_the_command_prints_the_new_secret_once_and_it_is_nowhere_else(
    loopback: Settings, pipeline: Connection, customer: int, queue: Any, hook: WebhookChannel, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    queue([hook])
    assert loopback.database_url is not None
    monkeypatch.setenv("UPSTREAM_DATABASE_URL", loopback.database_url.get_secret_value())
    monkeypatch.setenv("UPSTREAM_HOME", str(loopback.home))
    result = CliRunner().invoke(app, ["alerts", "rotate-secret", "acme", "hook"], catch_exceptions=False)
    row = pipeline.execute("SELECT secret FROM alert_channels").fetchone()
    assert row is not None
    (stored,) = row
    assert result.output.count("whsec_") == result.output.count(stored) == 1
    assert "24 hours" in result.output
    listed = CliRunner().invoke(app, ["alerts", "list", "acme", "--json"], catch_exceptions=False)
    assert "whsec_" not in listed.output


def test_a_secret_changed_in_the_customers_file_overlaps_too_and_a_changed_kind_forgets_it(
    loopback: Settings, pipeline: Connection, customer: int, queue: Any, hook: WebhookChannel
) -> None:
    old, new = queue([hook])["hook"], SecretStr(new_secret())
    sync_channels(pipeline, customer, [hook.model_copy(update={"secret": new})], loopback)
    query = (
        "SELECT secret, previous_secret, previous_secret_until > now() + interval '23 hours' FROM alert_channels"
    )
    assert pipeline.execute(query).fetchone() == (new.get_secret_value(), old, True)
    sync_channels(pipeline, customer, [hook.model_copy(update={"secret": new})], loopback)
    assert pipeline.execute(query).fetchone() == (new.get_secret_value(), old, True)
    team = SlackChannel(kind="slack", name="hook", bot_token=SecretStr("xoxb-1"), channel="C1")
    sync_channels(pipeline, customer, [team], loopback)
    assert pipeline.execute(query).fetchone() == ("xoxb-1", None, None)
