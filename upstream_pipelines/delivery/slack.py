"""Slack through its own SDK: incoming webhook, or bot token with the chart. Not here: the blocks (alerts/content.py).

The SDK's requests go to Slack's hosts only (delivery/channels.py holds webhook URLs to them), so other than
for webhooks a proxy from the environment is used, which is how many networks reach Slack at all.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from http.client import HTTPException
from typing import Any

# Here and not in the functions: two threads that import the SDK at once meet it half imported.
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.webhook import WebhookClient

from upstream_pipelines.alerts.content import Message, escape_slack
from upstream_pipelines.delivery.answers import known_words
from upstream_pipelines.delivery.deadline import DeadlineError, within
from upstream_pipelines.delivery.outcome import Outcome, judge_http, read_retry_after
from upstream_pipelines.settings import Settings

TOTAL_SECONDS = 30.0
_TURN_SECONDS = 10
# Nobody can receive there, whatever the message, until someone acts: like a webhook's 410.
_GONE = frozenset(
    {
        "account_inactive", "channel_is_archived", "invalid_auth", "is_archived", "not_in_channel", "token_expired",
        "token_revoked",
    }
)  # fmt: skip
# Trying the same again gives the same; what has to be put right is in the code.
_FINAL = frozenset(
    {
        "channel_not_found", "invalid_blocks", "invalid_blocks_format", "missing_scope", "msg_too_long",
        "no_permission", "not_authed", "restricted_action",
    }
)  # fmt: skip
# These pass, by themselves or once somebody acts; kept so that people can look them up. A code that is none of all these may be
# anything that answers in Slack's name.
_PASSING = frozenset(
    {
        "access_denied", "fatal_error", "internal_error", "invalid_arguments", "is_inactive", "org_login_required",
        "rate_limited", "ratelimited", "request_timeout", "service_unavailable", "team_access_not_granted",
        "team_added_to_org", "user_is_restricted",
    }
)  # fmt: skip
# The SDK logs a failed request with its text; ours are kept with the attempt.
_LOGGER = logging.getLogger("upstream_pipelines.delivery.slack.sdk")


def send_slack(
    settings: Settings,
    *,
    secret: str,
    channel: str | None,
    delivery_id: str,
    message: Message,
    now: datetime,
    total_seconds: float = TOTAL_SECONDS,
) -> Outcome:
    """One attempt. `secret` is the webhook URL, or with `channel` the bot token.

    Slack's metadata carries the delivery's id, by which a message that came twice can be told.
    """
    metadata = {"event_type": "upstream_alert", "event_payload": {"delivery_id": delivery_id}}
    # A post that Slack took is sent, even when the charts after it never end.
    posted: list[Any] = []
    try:
        if channel is None:
            return within(total_seconds, lambda _: _by_webhook(secret, message, metadata, now))
        return within(total_seconds, lambda _: _by_token(settings, secret, channel, message, metadata, posted))
    except DeadlineError:
        if posted:
            return Outcome("sent", "accepted; the chart was not taken (time)", 200)
        return Outcome("retry", f"Slack did not answer within {total_seconds:g} s", receiver_failing=True)
    except SlackApiError as error:
        return _judge_api(error.response, now)
    except (SlackClientError, OSError, HTTPException) as error:  # urllib's URLError is an OSError
        return Outcome("retry", f"no connection to Slack ({type(error).__name__})", receiver_failing=True)


def _by_webhook(url: str, message: Message, metadata: dict[str, Any], now: datetime) -> Outcome:

    # No retry handlers: the SDK's own would send again inside of one attempt.
    client = WebhookClient(url, timeout=_TURN_SECONDS, retry_handlers=[], logger=_quiet())
    response = client.send(text=escape_slack(message.subject), blocks=list(message.blocks), metadata=metadata)
    said, answer = response.body.strip(), known_words(response.body.encode())
    headers = {name.lower(): value for name, value in response.headers.items()}
    status = response.status_code
    if status in (400, 403, 404) and said in _FINAL | _GONE | {"invalid_payload", "no_service", "invalid_token"}:
        return Outcome("dead", f"Slack answered {status}: {said}", status, answer, receiver_failing=True)
    return judge_http(status, answer, read_retry_after(headers.get("retry-after"), now), "Slack")


def _by_token(  # noqa: PLR0917  called in one place
    settings: Settings, token: str, channel: str, message: Message, metadata: dict[str, Any], accepted: list[Any]
) -> Outcome:
    """Post; put Slack's answer into `accepted` as soon as it is there; then the charts."""
    client = WebClient(
        token,
        base_url=_base(settings) or WebClient.BASE_URL,
        timeout=_TURN_SECONDS,
        retry_handlers=[],
        logger=_quiet(),
    )
    posted = client.chat_postMessage(
        channel=channel, text=escape_slack(message.subject), blocks=list(message.blocks), metadata=metadata
    )
    accepted.append(posted)
    detail = "accepted"
    if message.charts:
        try:
            # By the channel's id, which only the first answer tells; into the thread of the alert.
            client.files_upload_v2(
                channel=posted["channel"], thread_ts=posted["ts"],
                file_uploads=[
                    {"file": chart, "filename": f"chart{number}.png", "title": "Before and since"}
                    for number, chart in enumerate(message.charts, 1)
                ],
            )  # fmt: skip
        except SlackApiError as error:
            # The alert itself is there; sending it again for want of its picture would be worse.
            detail = f"accepted; the chart was not taken ({_code(error.response)})"
        except Exception as error:  # noqa: BLE001  whatever it is, and it is told: the alert is there
            detail = f"accepted; the chart was not taken ({type(error).__name__})"
    return Outcome("sent", detail, 200)


def _judge_api(response: Any, now: datetime) -> Outcome:
    code, status = _code(response), int(response.status_code)
    headers: Mapping[str, Any] = {name.lower(): value for name, value in response.headers.items()}
    detail = f"Slack answered {code}"
    if code in _GONE:
        return Outcome("dead", detail, status, code, disable=detail)
    if code in _FINAL:
        return Outcome("dead", detail, status, code, receiver_failing=True)
    wait = read_retry_after(str(headers["retry-after"]), now) if "retry-after" in headers else None
    return Outcome("retry", detail, status, code, retry_after=wait, receiver_failing=True)


def _code(response: Any) -> str:
    """Slack's error code; anything that is none of those known here is not repeated."""
    code = response.get("error") if isinstance(response.data, dict) else None
    return code if isinstance(code, str) and code in _GONE | _FINAL | _PASSING else "an unknown error"


def _base(settings: Settings) -> str | None:
    return settings.slack_base_url.rstrip("/") + "/" if settings.slack_base_url else None


def _quiet() -> logging.Logger:
    _LOGGER.setLevel(logging.CRITICAL)
    return _LOGGER
