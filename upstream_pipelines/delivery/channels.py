"""What a customer writes under `channels:`. Not here: storing them (alerts/store.py), sending.

Secret parts are `SecretStr`: they show as asterisks in a dump or a traceback and are stored apart
from the configuration.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from upstream_pipelines.delivery.address_guard import check_url
from upstream_pipelines.settings import Settings

# Good enough to catch a slip of the pen; whether the mailbox exists only its server knows.
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*")
_SECRET_PREFIX = "whsec_"  # noqa: S105  the prefix, not a secret
# An incoming webhook's URL is its password, so it may only go to Slack itself.
SLACK_HOSTS = ("hooks.slack.com", "hooks.slack-gov.com")

Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\r\n]+$")]


class EmailChannel(BaseModel):
    """Alerts by e-mail: one message, delivery kept per recipient."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["email"]
    name: Name
    recipients: Annotated[tuple[str, ...], Field(min_length=1, max_length=50)]

    @field_validator("recipients")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for number, address in enumerate(value, 1):
            if not _ADDRESS.fullmatch(address):
                raise ValueError(f"recipient {number} is not an e-mail address such as name@example.org")
        return tuple(dict.fromkeys(value))


class SlackChannel(BaseModel):
    """Alerts in Slack: through an incoming webhook, or with a bot token (then with the chart)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["slack"]
    name: Name
    webhook_url: SecretStr | None = None
    bot_token: SecretStr | None = None
    channel: Annotated[str, Field(pattern=r"^[#@]?[A-Za-z0-9._-]{1,80}$")] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.webhook_url is None) == (self.bot_token is None):
            raise ValueError("give either webhook_url, or bot_token with channel")
        if (self.bot_token is None) != (self.channel is None):
            raise ValueError("channel belongs to bot_token: give both or neither")
        return self


class WebhookChannel(BaseModel):
    """Alerts as signed HTTP requests (Standard Webhooks)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["webhook"]
    name: Name
    url: Annotated[str, Field(min_length=1, max_length=2000)]
    secret: SecretStr | None = None

    @field_validator("secret")
    @classmethod
    def _standard(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            secret_bytes(value.get_secret_value())
        return value


Channel = Annotated[EmailChannel | SlackChannel | WebhookChannel, Field(discriminator="kind")]


def new_secret() -> str:
    """A signing secret: `whsec_` and 32 random bytes in base64."""
    return _SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def secret_bytes(secret: str) -> bytes:
    """The key in a `whsec_` secret.

    Raises:
        ValueError: no such form, or a key outside of 24 to 64 bytes. The text is not repeated.
    """
    problem = "a webhook secret is whsec_ followed by 24 to 64 bytes in base64; leave it out to have one made"
    if not secret.startswith(_SECRET_PREFIX):
        raise ValueError(problem)
    try:
        key = base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError(problem) from None
    if not 24 <= len(key) <= 64:
        raise ValueError(problem)
    return key


def check_destination(
    channel: EmailChannel | SlackChannel | WebhookChannel, settings: Settings, where: str | None = None
) -> None:
    """The part of the address guard that needs no name resolution; `where` stands before what is wrong, instead of the
    channel's name.

    Raises:
        ConfigurationError: the URL of this channel can never be sent to; the message says why.
    """
    where = where or f"channel {channel.name}"
    if isinstance(channel, WebhookChannel):
        check_url(
            channel.url, where, ports=settings.webhook_ports, allow_loopback=settings.webhook_allow_loopback,
        )  # fmt: skip
    elif isinstance(channel, SlackChannel) and channel.webhook_url is not None:
        check_url(
            channel.webhook_url.get_secret_value(), where,
            ports=(443,), allow_loopback=settings.webhook_allow_loopback, hosts=SLACK_HOSTS,
        )  # fmt: skip
