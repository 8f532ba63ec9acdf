"""Told or held back: the decision by itself, against what is promised of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upstream_pipelines.alerts.life import (
    NOISE_LASTS,
    PRODUCT_OFF,
    STEP,
    TOLD,
    Notice,
    Past,
    channels_off,
    decide,
    escalates,
    minute,
    rises,
)

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
COOLDOWN = timedelta(hours=4)
HOUR = timedelta(hours=1)

severities = st.none() | st.floats(0, 1)
instants = st.none() | st.timedeltas(-40 * 24 * HOUR, 40 * 24 * HOUR).map(lambda away: NOW + away)
pasts = st.builds(
    Past,
    last_told=st.none() | st.timedeltas(timedelta(0), 40 * 24 * HOUR).map(lambda ago: NOW - ago),
    highest=severities,
    event_told=st.booleans(),
    event_highest=severities,
    noise_until=instants,
    silenced_until=instants,
    silence_reason=st.sampled_from(["", "code-set release"]),
    channels_off=st.sampled_from([None, "channel hook is switched off"]),
    product_off=st.booleans(),
)
notices = st.sampled_from(get_args(Notice))


def _decide(past: Past, severity: float | None = 0.5, notice: Notice = "open") -> str | None:
    return decide(notice, severity, past, NOW, COOLDOWN).held_by


def test_what_has_no_past_is_told() -> None:
    assert decide("open", 0.5, Past(), NOW, COOLDOWN) is TOLD


def test_told_lately_waits_for_the_end_of_the_cooldown_and_says_so() -> None:
    verdict = decide("open", 0.5, Past(last_told=NOW - HOUR, highest=0.5), NOW, COOLDOWN)
    assert (verdict.held_by, verdict.until) == ("cooldown", NOW + 3 * HOUR)
    assert verdict.reason == "the same was told at 2026-05-01 11:00 UTC; waits until 2026-05-01 15:00 UTC"


@pytest.mark.parametrize(("ago", "held"), [(4 * HOUR - timedelta(seconds=1), "cooldown"), (4 * HOUR, None)])
def test_the_cooldown_ends_to_the_second(ago: timedelta, held: str | None) -> None:
    assert _decide(Past(last_told=NOW - ago, highest=0.5)) == held


def test_a_silence_holds_back_until_its_end_with_its_reason() -> None:
    past = Past(silenced_until=NOW + HOUR, silence_reason="code-set release")
    verdict = decide("open", 0.5, past, NOW, COOLDOWN)
    assert (verdict.held_by, verdict.until) == ("silence", NOW + HOUR)
    assert verdict.reason == "silenced until 2026-05-01 13:00 UTC: code-set release"
    assert _decide(Past(silenced_until=NOW)) is None


def test_two_judgements_noise_hold_back_for_good_and_say_until_when_others_are() -> None:
    verdict = decide("open", 0.5, Past(noise_until=NOW + HOUR), NOW, COOLDOWN)
    assert (verdict.held_by, verdict.until) == ("noise", None)
    assert "not told before 2026-05-01 13:00 UTC" in (verdict.reason or "")
    assert _decide(Past(noise_until=NOW)) is None


@pytest.mark.parametrize(
    "held",
    [Past(last_told=NOW - HOUR), Past(silenced_until=NOW + HOUR), Past(noise_until=NOW + HOUR)],
    ids=["cooldown", "silence", "noise"],
)
def test_a_higher_severity_breaks_through(held: Past) -> None:
    past = Past(**{**vars(held), "highest": 0.5})
    assert _decide(past, 0.69) is not None
    assert _decide(past, 0.7) is None
    assert _decide(past, None) is not None


def test_where_nothing_was_told_nothing_breaks_through_a_silence() -> None:
    """What is silenced before it begins stays silent, however severe: there is nothing that it is worse than."""
    assert _decide(Past(silenced_until=NOW + HOUR), 1.0) == "silence"


def test_an_ending_goes_where_the_opening_was_told_and_nowhere_else() -> None:
    told = Past(event_told=True, silenced_until=NOW + HOUR, last_told=NOW, noise_until=NOW + HOUR)
    assert _decide(told, notice="resolved") is None
    untold = decide("resolved", 0.9, Past(highest=0.1), NOW, COOLDOWN)
    assert (untold.held_by, untold.until, untold.reason) == ("opening", None, "its opening was not told")


def test_while_no_channel_is_on_nothing_breaks_through_and_nothing_escalates() -> None:
    off = Past(
        last_told=NOW - HOUR, highest=0.1, event_told=True, event_highest=0.1, channels_off="channel a is off"
    )
    for notice in get_args(Notice):
        verdict = decide(notice, 0.9, off, NOW, COOLDOWN)
        assert (verdict.held_by, verdict.until, verdict.reason) == ("channel", None, "channel a is off")
    assert not escalates(0.9, off)
    assert _decide(Past(channels_off="channel a is off"), notice="resolved") == "opening"


def test_while_alerts_are_switched_off_whatever_would_be_told_is_held_back_for_that_before_all_else() -> None:
    off = Past(
        last_told=NOW - HOUR, highest=0.1, event_told=True, event_highest=0.1, silenced_until=NOW + HOUR,
        channels_off="channel a is off", product_off=True,
    )  # fmt: skip
    for notice in get_args(Notice):
        verdict = decide(notice, 0.9, off, NOW, COOLDOWN)
        assert (verdict.held_by, verdict.until, verdict.reason) == ("product", None, PRODUCT_OFF)
    assert not escalates(0.9, off)
    assert _decide(Past(product_off=True), notice="resolved") == "opening"


def test_channels_that_are_off_are_named_with_the_time_since_when_none_is_on() -> None:
    assert channels_off(["hook"], NOW) == "channel hook is switched off since 2026-05-01 12:00 UTC"
    assert channels_off(["bell", "hook"], None) == "channels bell, hook are switched off"


def test_an_event_escalates_by_a_step_over_what_was_told_of_it() -> None:
    told = Past(event_told=True, event_highest=0.3, highest=0.9)
    assert escalates(0.5, told)
    assert not escalates(0.49, told)
    assert not escalates(0.5, Past(event_told=True, event_highest=0.31))
    assert _decide(Past(**{**vars(told), "silenced_until": NOW + HOUR}), 0.5, "escalated") is None


def test_an_event_that_was_held_back_escalates_over_what_was_told_of_its_fingerprint() -> None:
    assert escalates(0.9, Past(highest=0.6))
    assert not escalates(0.9, Past())


@pytest.mark.parametrize("tenths", range(9))
def test_two_tenths_more_are_a_step_whatever_their_binary_form(tenths: int) -> None:
    """0.3 is less than 0.1 + 0.2, and 0.6 less than 0.4 + 0.2; 0.7 is just 0.5 + 0.2."""
    assert rises((tenths + 2) / 10, tenths / 10)
    assert not rises((tenths + 2) / 10 - 1e-6, tenths / 10)


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_step_is_a_fifth(highest: float, more: float) -> None:
    assert rises(highest + STEP, highest)
    assert rises(highest + STEP + more, highest)
    assert not rises(highest + STEP - max(more, 1e-6), highest)


@given(notices, severities, pasts)
def test_a_suppression_never_renews_itself(notice: Notice, severity: float | None, past: Past) -> None:
    """What was held back leaves no trace in the past, so that each hold ends when its own cause does: at its end, asked
    again with the same past, it is told or held by another cause that ends later, and never by the same one again.
    """
    now, causes = NOW, []
    while (
        verdict := decide(notice, severity, past, now, COOLDOWN)
    ).held_by is not None and verdict.until is not None:
        assert verdict.until > now
        causes.append(verdict.held_by)
        now = verdict.until
    assert len(causes) == len(set(causes))
    assert verdict.held_by in {None, "noise", "opening", "channel", "product"}
    assert (verdict.held_by == "product") <= past.product_off
    assert (verdict.held_by == "channel") <= (past.channels_off is not None)
    if verdict.held_by == "noise":
        assert past.noise_until is not None
        assert decide(notice, severity, past, past.noise_until + NOISE_LASTS, COOLDOWN).held_by is None


@given(notices, severities, pasts)
def test_whoever_is_held_back_is_told_why_and_a_told_one_has_no_reason(
    notice: Notice, severity: float | None, past: Past
) -> None:
    verdict = decide(notice, severity, past, NOW, COOLDOWN)
    assert (verdict.held_by is None) == (verdict.reason is None)
    assert verdict.until is None or verdict.held_by in {"silence", "cooldown"}


@given(st.sampled_from(["open", "reminder"]), st.floats(0, 1), st.floats(0, 1), pasts)
def test_more_severe_is_never_held_back_where_less_severe_is_told(
    notice: Notice, severity: float, more: float, past: Past
) -> None:
    if decide(notice, severity, past, NOW, COOLDOWN).held_by is None:
        assert decide(notice, severity + more, past, NOW, COOLDOWN).held_by is None


def test_instants_are_told_in_utc() -> None:
    assert minute(datetime.fromisoformat("2026-05-01T08:00:00-04:00")) == "2026-05-01 12:00 UTC"
