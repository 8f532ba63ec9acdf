"""How one attempt ended, and when the next one is due. Not here: making the attempt, the database."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from upstream_pipelines.errors import UpstreamError

# Attempt 1 is at once; these are the waits after attempts 1 to 7, together 27.6 hours.
SCHEDULE = tuple(
    timedelta(seconds=seconds) for seconds in (5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 10 * 3600)
)
ATTEMPTS = len(SCHEDULE) + 1
JITTER = 0.2
# A receiver that asks for more is asked again after the longest step of the schedule.
LONGEST_RETRY_AFTER = timedelta(hours=10)
# A receiver that failed for this long is taken as gone; its channel is disabled.
GIVE_UP_AFTER = timedelta(hours=120)


@dataclass(frozen=True)
class Outcome:
    """The end of an attempt.

    `detail` is a fixed text of ours (never an exception's message: it may hold a secret URL), `answer` the known words
    of what the receiver said (answers.py), `progress` what to keep for the next attempt.
    `receiver_failing`: the fault is the receiver's, which counts towards disabling its channel; a fault
    of our own settings does not. `disable`: why the channel is to be disabled at once.
    """

    state: Literal["sent", "retry", "dead"]
    detail: str
    status_code: int | None = None
    answer: str | None = None
    retry_after: timedelta | None = None
    receiver_failing: bool = False
    disable: str | None = None
    progress: Mapping[str, Any] = field(default_factory=dict)


class NotSetUpError(UpstreamError):
    """A channel cannot be used before an operator completes the settings."""

    code = "not_set_up"


def random_jitter() -> float:
    """A factor's deviation, so that deliveries that failed together do not return together."""
    return secrets.SystemRandom().uniform(-JITTER, JITTER)


def next_wait(tries: int, retry_after: timedelta | None, jitter: Callable[[], float]) -> timedelta | None:
    """How long to wait after the given number of tries; None when there is to be no other.

    A `Retry-After` is never undercut, whatever the jitter.
    """
    if tries >= ATTEMPTS:
        return None
    wait = SCHEDULE[tries - 1] * (1 + jitter())
    return max(wait, min(retry_after, LONGEST_RETRY_AFTER)) if retry_after is not None else wait


def read_retry_after(value: str | None, now: datetime) -> timedelta | None:
    """A `Retry-After` header: seconds or an HTTP date. Anything else is as if it were not there."""
    if value is None:
        return None
    text = value.strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return timedelta(seconds=int(text))
    try:
        instant = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # the second of a time zone of a thousand days
        return None
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    return max(instant - now, timedelta(0))


def judge_http(
    status: int, answer: str | None, retry_after: timedelta | None, receiver: str = "the receiver"
) -> Outcome:
    """What an HTTP status means for a delivery. Everything that is neither 2xx nor 410 is tried again."""
    if 200 <= status < 300:
        return Outcome("sent", "accepted", status, answer)
    if status == 410:
        gone = f"{receiver} answered 410 Gone"
        return Outcome("dead", gone, status, answer, disable=gone)
    detail = f"{receiver} answered {status}"
    if 300 <= status < 400:
        detail += "; redirects are not followed, set the final address"
    return Outcome(
        "retry",
        detail,
        status,
        answer,
        retry_after=retry_after if status in (429, 503) else None,
        receiver_failing=True,
    )
