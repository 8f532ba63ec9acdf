"""When a channel is switched off: gone, or failing for five days; and who is told of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from upstream_pipelines.db.engine import Connection
from upstream_pipelines.delivery import sending
from upstream_pipelines.delivery.channels import EmailChannel
from upstream_pipelines.delivery.outcome import Outcome
from upstream_pipelines.delivery.worker import deliver_due
from upstream_pipelines.settings import Settings
from upstream_pipelines_tests.faults.outbox_watched import Clock, webhook, whole


def test_410_disables_the_channel_buries_its_deliveries_and_tells_by_another_channel(
    loopback: Settings, pipeline: Connection, customer: int, receiver: Any, queue: Any, reply: Any, json_of: Any
) -> None:
    receiver.script = lambda handler, _: reply(handler, 410 if handler.path == "/gone" else 200)
    queue([webhook(receiver, "gone"), webhook(receiver, "good")], 3)
    report = deliver_due(loopback, worker_threads=1)
    assert (report.dead, report.buried) == (1, 2)
    assert [path for path, _, _ in receiver.requests].count("/gone") == 1
    assert pipeline.execute("SELECT name, disabled_reason FROM alert_channels WHERE NOT enabled").fetchall() == [
        ("gone", "the receiver answered 410 Gone")
    ]
    told = [json_of(body) for path, _, body in receiver.requests if path == "/good"]
    trouble = [body for body in told if body["type"] == "channel.disabled"]
    assert [body["data"]["channel"] for body in trouble] == ["gone"]
    reasons = [
        row[0]
        for row in pipeline.execute(
            "SELECT progress ->> 'reason' FROM deliveries WHERE state = 'dead' AND attempt = 0"
        )
    ]
    assert reasons == ["channel disabled: the receiver answered 410 Gone"] * 2
    whole(pipeline, customer)


def test_120_hours_of_failures_disable_a_channel_and_one_success_starts_the_count_anew(
    loopback: Settings, pipeline: Connection, customer: int, receiver: Any, queue: Any, reply: Any
) -> None:
    clock = Clock()
    receiver.script = lambda handler, _: reply(handler, 500)
    queue([webhook(receiver)])
    deliver_due(loopback, clock=clock)
    clock.now += timedelta(hours=119)
    receiver.script = None
    deliver_due(loopback, clock=clock)  # well again
    receiver.script = lambda handler, _: reply(handler, 500)
    queue([webhook(receiver)])
    deliver_due(loopback, clock=clock)
    clock.now += timedelta(hours=119)
    deliver_due(loopback, clock=clock)
    assert pipeline.execute("SELECT enabled FROM alert_channels").fetchone() == (True,)
    clock.now += timedelta(hours=1)
    deliver_due(loopback, clock=clock)
    row = pipeline.execute("SELECT enabled, disabled_reason FROM alert_channels").fetchone()
    assert row == (False, "every delivery failed for 120 hours")
    whole(pipeline, customer)


def test_a_failure_long_after_the_last_one_is_no_120_hours_of_failures(
    loopback: Settings, pipeline: Connection, customer: int, receiver: Any, queue: Any, reply: Any
) -> None:
    """Between them nothing was sent: a receiver that was dead weeks ago may be well but for this moment."""
    clock = Clock()
    receiver.script = lambda handler, _: reply(handler, 500)
    queue([webhook(receiver)])
    deliver_due(loopback, clock=clock)
    pipeline.execute("UPDATE deliveries SET state = 'dead', finished_at = now()")
    pipeline.execute("UPDATE alerts SET state = 'failed'")
    clock.now += timedelta(days=8)
    queue([webhook(receiver)])
    assert deliver_due(loopback, clock=clock).retrying == 1
    clock.now += timedelta(minutes=1)
    receiver.script = None
    assert deliver_due(loopback, clock=clock).sent == 1
    assert pipeline.execute("SELECT enabled, failing_since FROM alert_channels").fetchone() == (True, None)
    whole(pipeline, customer)


@pytest.mark.parametrize("some_reached", [False, True])
def test_an_email_channel_that_reaches_nobody_for_120_hours_is_switched_off_and_the_others_are_told(
    loopback: Settings, pipeline: Connection, receiver: Any, queue: Any, json_of: Any,
    monkeypatch: pytest.MonkeyPatch, some_reached: bool,
) -> None:  # fmt: skip
    """Most likely wrong: a mail that one has and the other never gets is dead, and counts as if nobody had it."""
    nobody = Outcome("dead", "refused for good for 2", receiver_failing=True, progress={"accepted": []})
    one = Outcome("dead", "refused for good for 1", progress={"accepted": ["a@example.org"]})
    answers = iter([nobody, one if some_reached else nobody, one if some_reached else nobody])
    monkeypatch.setattr(sending, "send_email", lambda *_, **__: next(answers))
    office = EmailChannel(kind="email", name="office", recipients=("a@example.org", "b@example.org"))
    clock = Clock()
    for wait in (0, 60, 60):
        clock.now += timedelta(hours=wait)
        queue([office, webhook(receiver)])
        deliver_due(loopback, clock=clock)
    off = pipeline.execute("SELECT name, disabled_reason FROM alert_channels WHERE NOT enabled").fetchall()
    told = [
        body["data"]["channel"]
        for *_, got in receiver.requests
        if (body := json_of(got))["type"] == "channel.disabled"
    ]
    assert off == ([] if some_reached else [("office", "every delivery failed for 120 hours")])
    assert told == ([] if some_reached else ["office"])
