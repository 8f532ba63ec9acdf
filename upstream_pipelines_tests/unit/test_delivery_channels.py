"""What a customer may write under `channels:`, and that secrets do not show."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, TypeAdapter, ValidationError

from upstream_pipelines.delivery.channels import (
    Channel,
    SlackChannel,
    WebhookChannel,
    check_destination,
    new_secret,
    secret_bytes,
)
from upstream_pipelines.errors import ConfigurationError
from upstream_pipelines.settings import Settings

CHANNEL: TypeAdapter[Any] = TypeAdapter(Channel)


def test_the_kind_decides_the_form() -> None:
    channel = CHANNEL.validate_python({"kind": "email", "name": "office", "recipients": ["a@x.org", "a@x.org"]})
    assert channel.recipients == ("a@x.org",)


@pytest.mark.parametrize(
    "content",
    [
        {"kind": "email", "name": "x", "recipients": []},
        {"kind": "email", "name": "x", "recipients": ["no address"]},
        {"kind": "email", "name": "x", "recipients": ["a@x.org\r\nBcc: b@x.org"]},
        {"kind": "email", "name": "x", "recipients": ["a@x.org, b@x.org"]},
        {"kind": "email", "name": "x\r\ny", "recipients": ["a@x.org"]},
        {"kind": "slack", "name": "x"},
        {"kind": "slack", "name": "x", "bot_token": "xoxb"},
        {"kind": "slack", "name": "x", "webhook_url": "https://hooks.slack.com/x", "channel": "C1"},
        {
            "kind": "slack",
            "name": "x",
            "webhook_url": "https://hooks.slack.com/x",
            "bot_token": "t",
            "channel": "C1",
        },
        {"kind": "webhook", "name": "x", "url": "https://x.org", "secret": "whsec_c2hvcnQ="},
        {"kind": "webhook", "name": "x", "url": "https://x.org", "secret": "plain"},
        {"kind": "webhook", "name": "x", "url": "https://x.org", "colour": "red"},
        {"kind": "pager", "name": "x"},
    ],
)
def test_what_cannot_be_used_is_refused(content: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CHANNEL.validate_python(content)


def test_no_secret_shows_in_a_dump_or_a_repr() -> None:
    slack = SlackChannel(kind="slack", name="x", webhook_url=SecretStr("https://hooks.slack.com/services/CANARY"))
    hook = WebhookChannel(kind="webhook", name="x", url="https://x.org", secret=SecretStr(new_secret()))
    assert hook.secret is not None
    for text in (
        repr(slack),
        str(slack.model_dump()),
        slack.model_dump_json(),
        repr(hook),
        hook.model_dump_json(),
    ):
        assert "CANARY" not in text
        assert hook.secret.get_secret_value() not in text


@given(st.binary(max_size=80))
def test_a_secret_holds_24_to_64_bytes(key: bytes) -> None:
    secret = "whsec_" + base64.b64encode(key).decode()
    if 24 <= len(key) <= 64:
        assert secret_bytes(secret) == key
    else:
        with pytest.raises(ValueError, match="24 to 64 bytes"):
            secret_bytes(secret)


def test_a_made_secret_is_32_bytes_and_never_the_same() -> None:
    assert len(secret_bytes(new_secret())) == 32
    assert new_secret() != new_secret()


def test_a_slack_url_goes_to_slack_only() -> None:
    """The URL is sent by an SDK that knows no address guard, so its host is held to Slack's."""
    settings = Settings()
    for url in ("https://hooks.slack.com.evil.example/x", "https://evil.example/x", "http://hooks.slack.com/x"):
        channel = SlackChannel(kind="slack", name="team", webhook_url=SecretStr(url))
        with pytest.raises(ConfigurationError, match="channel team"):
            check_destination(channel, settings)
    good = SlackChannel(kind="slack", name="team", webhook_url=SecretStr("https://hooks.slack.com/services/x"))
    check_destination(good, settings)
