"""/api/v1/customers/{slug}/channels: where alerts go; webhooks made, their secrets replaced, channels tested, off and on.

Not here: what a change wakes (alerts/), sending (delivery/), e-mail and Slack channels, which the configuration makes.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, Field

from upstream_pipelines.alerts.channel_changes import ChannelInFull, add_webhook, channel_in_full, disable_channel
from upstream_pipelines.alerts.overview import ChannelState, channel_states
from upstream_pipelines.alerts.store import enable_channel
from upstream_pipelines.api.authentication import CanManage, CanRead
from upstream_pipelines.api.once import OnceRoute, ShownOnce
from upstream_pipelines.api.parameters import TEXT, named
from upstream_pipelines.api.problems import documented
from upstream_pipelines.customers.audit import record
from upstream_pipelines.delivery.rotation import OVERLAP, rotate_secret
from upstream_pipelines.delivery.trial_message import ask_for_test

router = APIRouter(prefix="/api/v1/customers/{slug}", tags=["alerts"], route_class=OnceRoute)


class NewWebhook(BaseModel):
    """A webhook to be: what people call it, and where its signed requests go."""

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=TEXT)]
    url: Annotated[str, Field(min_length=1, max_length=2000, description="https, at a public address.")]


class IssuedSecret(ShownOnce):
    """A channel with its new signing secret, which is not shown again."""

    secrets = ("secret",)
    instead = (
        "The secret was in the first answer alone. Replace it: POST /channels/{channel_id}/rotate-secret with a new "
        'Idempotency-Key and {"at_once": true}.'
    )

    channel: ChannelInFull
    secret: str | None = Field(description="`whsec_...`, as Standard Webhooks has it.")


class Rotation(BaseModel):
    """How the old secret ends."""

    at_once: bool = Field(default=False, description="For one that leaked: it signs no more from now on.")


class AskedForTest(BaseModel):
    """A test that is due now; `GET /alerts/{alert_id}` shows what came of it."""

    delivery_id: UUID
    alert_id: UUID


@router.get("/channels", summary="Channels", responses=documented(401, 403, 404, 422, 429, 503))
def read_channels(acting: CanRead) -> list[ChannelState]:
    """Each channel as it is: on or off and why, since when it fails, what waits for it; no address and no secret."""
    with acting.transaction() as conn:
        return channel_states(conn, acting.customer_id, datetime.now(UTC))


@router.get("/channels/{channel_id}", summary="A channel", responses=documented(401, 403, 404, 422, 429, 503))
def read_channel(acting: CanManage, channel_id: UUID) -> ChannelInFull:
    """With the host of a webhook's address, the last four letters of its secret, and until when the one before signs too."""
    with acting.transaction() as conn, named("channel"):
        return channel_in_full(conn, acting.customer_id, channel_id)


@router.post(
    "/channels",
    status_code=201,
    summary="Make a webhook channel",
    responses=documented(400, 401, 403, 404, 408, 409, 413, 422, 429, 503),
)
def post_channel(acting: CanManage, body: NewWebhook) -> IssuedSecret:
    """It is on at once; rules without channels of their own go there too. Its secret is shown in this answer alone."""
    with acting.transaction() as conn:
        channel_id, secret = add_webhook(conn, acting.customer_id, body.name, body.url, acting.settings)
        record(conn, acting.actor, "channel.made", ("channel", channel_id), customer_id=acting.customer_id)
        return IssuedSecret(channel=channel_in_full(conn, acting.customer_id, channel_id), secret=secret)


@router.post(
    "/channels/{channel_id}/rotate-secret",
    summary="Replace a webhook's signing secret",
    responses=documented(400, 401, 403, 404, 408, 409, 413, 422, 429, 503),
)
def post_rotation(acting: CanManage, channel_id: UUID, body: Rotation | None = None) -> IssuedSecret:
    """Both secrets sign for 24 hours, unless the old one is to end at once. 409 while an earlier one still signs, or where
    the channel is no webhook.
    """
    at_once = body is not None and body.at_once
    with acting.transaction() as conn, named("channel"):
        name = channel_in_full(conn, acting.customer_id, channel_id).name
        secret = rotate_secret(
            conn, acting.customer_id, name, overlap=timedelta() if at_once else OVERLAP, reads_secrets=False
        )
        record(conn, acting.actor, "channel.secret_rotated", ("channel", channel_id), customer_id=acting.customer_id,
               details={"at_once": at_once})  # fmt: skip
        return IssuedSecret(channel=channel_in_full(conn, acting.customer_id, channel_id), secret=secret)


@router.post(
    "/channels/{channel_id}/test",
    status_code=202,
    summary="Test a channel",
    responses=documented(401, 403, 404, 409, 422, 429, 503),
)
def post_test(acting: CanManage, channel_id: UUID) -> AskedForTest:
    """A message marked as a test, tried once, within five minutes. 409 where the channel is off."""
    with acting.transaction() as conn, named("channel"):
        name = channel_in_full(conn, acting.customer_id, channel_id).name
        asked = ask_for_test(conn, acting.customer_id, name)
        record(conn, acting.actor, "channel.tested", ("channel", channel_id), customer_id=acting.customer_id)
    return AskedForTest(delivery_id=asked.delivery_id, alert_id=asked.alert_id)


@router.post(
    "/channels/{channel_id}/disable",
    summary="Switch a channel off",
    responses=documented(401, 403, 404, 422, 429, 503),
)
def post_off(acting: CanManage, channel_id: UUID) -> ChannelInFull:
    """What is due there is given up; what comes goes to the other channels, or is held back where none is on."""
    with acting.transaction() as conn, named("channel"):
        if disable_channel(conn, acting.customer_id, channel_id):
            record(conn, acting.actor, "channel.disabled", ("channel", channel_id), customer_id=acting.customer_id)
        return channel_in_full(conn, acting.customer_id, channel_id)


@router.post(
    "/channels/{channel_id}/enable",
    summary="Switch a channel on",
    responses=documented(401, 403, 404, 422, 429, 503),
)
def post_on(acting: CanManage, channel_id: UUID) -> ChannelInFull:
    """Whatever it was off for; its receiver counts as well. What was held back for want of a channel is decided over again."""
    with acting.transaction() as conn, named("channel"):
        name = channel_in_full(conn, acting.customer_id, channel_id).name
        enable_channel(conn, acting.customer_id, name)
        record(conn, acting.actor, "channel.enabled", ("channel", channel_id), customer_id=acting.customer_id)
        return channel_in_full(conn, acting.customer_id, channel_id)
