"""Signed webhooks (Standard Webhooks) over a hardened connection. Not here: the payload (alerts/content.py)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import requests
from requests_hardened.ip_filter import InvalidIPAddress
from urllib3.exceptions import HTTPError

from upstream_pipelines.delivery.address_guard import DestinationNotAllowedError, check_url
from upstream_pipelines.delivery.answers import known_words
from upstream_pipelines.delivery.channels import secret_bytes
from upstream_pipelines.delivery.connections import Connections
from upstream_pipelines.delivery.deadline import Breaker, DeadlineError, within
from upstream_pipelines.delivery.outcome import Outcome, judge_http, read_retry_after
from upstream_pipelines.errors import ConfigurationError
from upstream_pipelines.settings import Settings

TOTAL_SECONDS = 20.0
_ANSWER_BYTES = 16 * 1024


def sign(secrets: Sequence[str], delivery_id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` header: one `v1,` signature per secret, so that two overlap in a rotation."""
    signed = b".".join((delivery_id.encode(), str(timestamp).encode(), body))
    digests = (hmac.new(secret_bytes(secret), signed, hashlib.sha256).digest() for secret in secrets)
    return " ".join("v1," + base64.b64encode(digest).decode() for digest in digests)


def send_webhook(
    settings: Settings,
    *,
    url: str,
    secrets: Sequence[str],
    delivery_id: str,
    payload: Mapping[str, Any],
    now: datetime,
    connections: Connections | None = None,
    total_seconds: float = TOTAL_SECONDS,
) -> Outcome:
    """One attempt, ended after `total_seconds` of wall-clock time whatever the receiver does.

    `connections` are the calling thread's, kept between its deliveries; without them the one made is closed again. At most 16 KiB of the answer are read, as they come (never decompressed). Redirects, proxies and
    .netrc are not followed. `webhook-id` is the delivery's id, the same on every attempt.
    """
    body = json.dumps(payload, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()
    timestamp = int(now.timestamp())
    headers = {
        "content-type": "application/json",
        "accept-encoding": "identity",
        "user-agent": "Upstream-Pipelines",
        "webhook-id": delivery_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(secrets, delivery_id, timestamp, body),
    }
    try:
        # Again, and not at configuration alone: the ports and schemes allowed may have become fewer since.
        check_url(url, "", ports=settings.webhook_ports, allow_loopback=settings.webhook_allow_loopback)
    except ConfigurationError:
        return _failed("destination not allowed")
    kept = connections or Connections(settings)
    # A status is the receiver's decision, even when the body after it never ends.
    heard: list[tuple[int, str | None]] = []
    answer = "(the answer did not end)"
    try:
        answer = within(total_seconds, lambda breaker: _post(kept, url, headers, body, breaker, heard=heard))
    except DeadlineError:
        kept.abandon()
        if not heard:
            return _failed(f"no answer within {total_seconds:g} s")
    except (DestinationNotAllowedError, InvalidIPAddress):
        return _failed("destination not allowed")
    except requests.exceptions.SSLError:
        return _failed("no TLS connection: the certificate or protocol was not accepted")
    except requests.exceptions.Timeout:
        return _failed("no answer in time")
    except (requests.exceptions.RequestException, HTTPError, OSError) as error:
        if not heard:
            return _failed(f"no connection ({type(error).__name__})")
    finally:
        if connections is None:
            kept.close()
    status, retry_after = heard[0]
    return judge_http(status, answer, read_retry_after(retry_after, now))


def _failed(detail: str) -> Outcome:
    return Outcome("retry", detail, receiver_failing=True)


def _post(
    connections: Connections,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    breaker: Breaker,
    *,
    heard: list[tuple[int, str | None]],
) -> str:
    """Post; put status and Retry-After into `heard` as soon as they are there; return the answer's start."""
    with connections.post(url, body, headers, breaker, TOTAL_SECONDS) as response:
        if breaker.is_cut:  # then these headers ended because the socket was shut, not because they were whole
            raise DeadlineError
        heard.append((response.status_code, response.headers.get("retry-after")))
        if response.headers.get("content-encoding", "identity") != "identity":
            return "(a compressed answer, not read)"
        return known_words(response.raw.read(_ANSWER_BYTES, decode_content=False))
