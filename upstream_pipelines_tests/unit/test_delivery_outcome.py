"""The retry schedule, Retry-After, and what is kept of an answer."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upstream_pipelines.delivery.deadline import DeadlineError, within
from upstream_pipelines.delivery.outcome import (
    ATTEMPTS,
    JITTER,
    SCHEDULE,
    judge_http,
    next_wait,
    random_jitter,
    read_retry_after,
)

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def test_eight_tries_with_the_promised_waits_between_them() -> None:
    waits = [next_wait(tries, None, lambda: 0.0) for tries in range(1, ATTEMPTS + 1)]
    assert waits == [*SCHEDULE, None]
    assert [wait.total_seconds() for wait in SCHEDULE] == [5, 300, 1800, 7200, 18000, 36000, 36000]


@given(st.integers(1, ATTEMPTS - 1))
def test_every_wait_is_within_20_percent(tries: int) -> None:
    wait = next_wait(tries, None, random_jitter)
    assert wait is not None
    assert abs(wait / SCHEDULE[tries - 1] - 1) <= JITTER + 1e-9


@given(st.integers(1, ATTEMPTS - 1), st.integers(0, 10**9), st.floats(-JITTER, JITTER))
def test_a_retry_after_is_never_undercut_and_never_longer_than_ten_hours(
    tries: int, asked: int, jitter: float
) -> None:
    wait = next_wait(tries, timedelta(seconds=asked), lambda: jitter)
    assert wait is not None
    assert min(asked, 36_000) <= wait.total_seconds() <= max(36_000, 36_000 * (1 + jitter) + 1)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120), (" 0 ", 0), ("Fri, 01 May 2026 12:01:00 GMT", 60), ("Fri, 01 May 2026 11:00:00 GMT", 0),
        ("-5", None), ("soon", None), ("1.5", None), ("", None), ("9" * 40, None), (None, None),
        ("Fri, 01 May 2026 12:01:00 +99999999999999999999", None),
    ],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: int | None) -> None:
    expected = None if seconds is None else timedelta(seconds=seconds)
    assert read_retry_after(value, NOW) == expected


@given(st.text(max_size=80))
def test_no_retry_after_header_breaks_the_worker(value: str) -> None:
    wait = read_retry_after(value, NOW)
    assert wait is None or wait >= timedelta(0)


@given(st.integers(100, 599))
def test_only_2xx_is_sent_and_only_410_is_final(status: int) -> None:
    outcome = judge_http(status, None, timedelta(seconds=9))
    expected = "sent" if 200 <= status < 300 else "dead" if status == 410 else "retry"
    assert outcome.state == expected
    assert (outcome.retry_after is not None) == (status in (429, 503))
    assert (outcome.disable is not None) == (status == 410)


def test_a_call_that_hangs_is_left_after_its_time() -> None:
    started = time.monotonic()
    with pytest.raises(DeadlineError):
        within(0.2, lambda _: time.sleep(1))
    assert time.monotonic() - started < 0.8


def test_a_call_in_time_gives_its_result_or_its_error() -> None:
    assert within(5, lambda _: 7) == 7
    with pytest.raises(ZeroDivisionError):
        within(5, lambda _: 1 // 0)
