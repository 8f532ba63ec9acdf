"""A test of a channel goes through the real sender, is kept like any delivery, and says what to do when it fails."""

from __future__ import annotations

from typing import Any

import pytest

from upstream_pipelines.alerts.store import conservation, list_alerts, sync_channels
from upstream_pipelines.customers.audit import operator
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.delivery.advice import advice_for
from upstream_pipelines.delivery.channels import EmailChannel, WebhookChannel
from upstream_pipelines.delivery.trial import TrialResult, try_channel
from upstream_pipelines.delivery.worker import deliver_due
from upstream_pipelines.errors import ConflictError, NotFoundError
from upstream_pipelines.settings import Settings


@pytest.fixture
def hook(loopback: Settings, pipeline: Connection, customer: int, receiver: Any) -> str:
    sync_channels(
        pipeline, customer, [WebhookChannel(kind="webhook", name="hook", url=receiver.url + "/hook")], loopback
    )
    return "hook"


def _try(conn: Connection, settings: Settings, customer: int, name: str) -> TrialResult:
    tested = try_channel(conn, settings, customer, name, actor=operator())
    counts = conservation(conn, customer)
    problems = ("missing_places", "unexpected_places", "empty_deliveries", "lost_attempts", "wrong_states")
    assert {name: counts[name] for name in problems} == dict.fromkeys(problems, 0)
    return tested


def test_a_test_arrives_signed_and_marked_and_is_kept_with_its_attempt(
    loopback: Settings, pipeline: Connection, customer: int, receiver: Any, hook: str, json_of: Any
) -> None:
    tested = _try(pipeline, loopback, customer, hook)
    assert (tested.sent, tested.advice) == (True, "")
    ((_, headers, body),) = receiver.requests
    assert json_of(body)["type"] == "test"
    assert json_of(body)["data"]["channel"] == "hook"
    assert {name.lower(): value for name, value in headers.items()}["webhook-id"] == str(tested.delivery_id)
    (alert,) = list_alerts(pipeline, customer)
    assert (alert["kind"], alert["rule"], alert["state"]) == ("test", None, "sent")
    assert [len(delivery["attempts"]) for delivery in alert["deliveries"]] == [1]


def test_a_test_that_fails_is_tried_once_and_says_what_to_do(
    loopback: Settings, pipeline: Connection, customer: int, receiver: Any, reply: Any, hook: str
) -> None:
    receiver.script = lambda handler, _: reply(handler, 401)
    tested = _try(pipeline, loopback, customer, hook)
    assert (tested.sent, tested.status_code, tested.detail) == (False, 401, "the receiver answered 401")
    assert "signing secret" in tested.advice
    (alert,) = list_alerts(pipeline, customer)
    (delivery,) = alert["deliveries"]
    assert (alert["state"], delivery["state"]) == ("failed", "dead")
    assert delivery["progress"]["reason"] == "a test is tried once: the receiver answered 401"
    assert deliver_due(loopback).taken == 0


def test_a_test_that_meets_410_switches_the_channel_off_and_tells_the_others(
    loopback: Settings, pipeline: Connection, customer: int, receiver: Any, reply: Any, json_of: Any
) -> None:
    """The trouble belongs to no rule, as the test does."""
    receiver.script = lambda handler, _: reply(handler, 410 if handler.path == "/gone" else 200)
    channels = [
        WebhookChannel(kind="webhook", name=name, url=f"{receiver.url}/{name}") for name in ("gone", "good")
    ]
    sync_channels(pipeline, customer, channels, loopback)
    tested = _try(pipeline, loopback, customer, "gone")
    assert "gone for good" in tested.advice
    deliver_due(loopback)
    assert [json_of(body)["type"] for path, _, body in receiver.requests if path == "/good"] == [
        "channel.disabled"
    ]
    with pytest.raises(
        ConflictError, match=r"switched off: the receiver answered 410 Gone.*upstream alerts enable"
    ):
        try_channel(pipeline, loopback, customer, "gone", actor=operator())


def test_a_missing_mail_server_is_named_with_the_setting(
    loopback: Settings, pipeline: Connection, customer: int
) -> None:
    sync_channels(
        pipeline, customer, [EmailChannel(kind="email", name="office", recipients=("a@example.org",))], loopback
    )
    tested = _try(pipeline, loopback, customer, "office")
    assert not tested.sent
    assert "UPSTREAM_SMTP_HOST" in tested.detail
    assert tested.advice == "The text above names what to set; then test again."


def _nobody_delivers(*_: object, **__: object) -> None:
    """As if another message held the channel."""


def test_a_channel_that_is_busy_is_waited_for_and_then_the_test_is_given_up_and_not_sent_later(
    loopback: Settings, pipeline: Connection, customer: int, hook: str
) -> None:
    tested = try_channel(
        pipeline, loopback, customer, hook, actor=operator(), patience_seconds=0.5, deliver=_nobody_delivers
    )
    assert (tested.sent, tested.detail) == (
        False,
        "it was not sent: a message to this channel is under way, or its receiver asked for a pause",
    )
    assert deliver_due(loopback).taken == 0
    (alert,) = list_alerts(pipeline, customer)
    assert (alert["state"], alert["deliveries"][0]["state"]) == ("failed", "dead")


def test_a_test_that_is_under_way_when_its_asker_loses_patience_is_left_to_its_worker(
    loopback: Settings, pipeline: Connection, customer: int, hook: str
) -> None:
    def take(*_: object, **__: object) -> None:
        pipeline.execute(
            "UPDATE deliveries SET state = 'sending', attempt = 1, due_at = now() + interval '1 minute'"
        )

    tested = try_channel(pipeline, loopback, customer, hook, actor=operator(), patience_seconds=0.5, deliver=take)
    assert (tested.sent, tested.detail) == (False, "it is under way, and its receiver has not answered yet")
    assert pipeline.execute("SELECT state FROM deliveries").fetchone() == ("sending",)


class _KilledError(Exception):
    """The process that asked for a test is gone."""


def _ask_and_die(conn: Connection, settings: Settings, customer: int, name: str) -> None:
    def die(*_: object, **__: object) -> None:
        raise _KilledError

    with pytest.raises(_KilledError):
        try_channel(conn, settings, customer, name, actor=operator(), deliver=die)


def test_a_test_whose_asker_died_is_tried_once_by_the_worker_and_never_again(
    loopback: Settings, pipeline: Connection, customer: int, receiver: Any, reply: Any, hook: str
) -> None:
    """Most likely wrong: nobody is left to end it, and it comes again and again like an alert."""
    receiver.script = lambda handler, _: reply(handler, 500)
    _ask_and_die(pipeline, loopback, customer, hook)
    report = deliver_due(loopback)
    assert (report.taken, report.retrying, report.dead) == (1, 0, 1)
    (delivery,) = list_alerts(pipeline, customer)[0]["deliveries"]
    assert (delivery["state"], delivery["progress"]["reason"]) == (
        "dead",
        "a test is tried once: the receiver answered 500",
    )


@pytest.mark.parametrize(
    "late",
    [
        "UPDATE alerts SET created_at = created_at - interval '6 minutes'",
        "UPDATE deliveries SET state = 'sending', attempt = 1, due_at = now() - interval '1 second'",
    ],
    ids=["minutes later", "its worker died with it"],
)
def test_a_test_that_is_too_late_is_given_up_unsent(
    loopback: Settings, pipeline: Connection, customer: int, receiver: Any, hook: str, late: str
) -> None:
    _ask_and_die(pipeline, loopback, customer, hook)
    pipeline.execute(late)
    assert deliver_due(loopback).dead == 1
    assert receiver.requests == []
    (delivery,) = list_alerts(pipeline, customer)[0]["deliveries"]
    assert delivery["progress"]["reason"] == "not sent: a test is tried once, within 5 minutes; ask for another"


def test_an_unknown_channel_is_named(loopback: Settings, pipeline: Connection, customer: int) -> None:
    with pytest.raises(NotFoundError, match="no channel nowhere"):
        try_channel(pipeline, loopback, customer, "nowhere", actor=operator())


@pytest.mark.parametrize(
    ("kind", "status", "detail", "part"),
    [
        ("webhook", None, "destination not allowed", "public address"),
        ("webhook", None, "no TLS connection: the certificate or protocol was not accepted", "certificate"),
        ("webhook", None, "no answer within 20 s", "Check the URL"),
        ("webhook", 302, "the receiver answered 302; redirects are not followed, set the final address", "final address"),
        ("webhook", 404, "the receiver answered 404", "path"),
        ("webhook", 503, "the receiver answered 503", "receiver itself failed"),
        ("slack", 200, "Slack answered not_in_channel", "/invite"),
        ("slack", 200, "Slack answered invalid_auth", "new one"),
        ("slack", None, "no connection to Slack (URLError)", "HTTPS_PROXY"),
        ("slack", 429, "Slack answered 429", "Wait"),
        ("email", 535, "the mail server answered 535 (SMTPAuthenticationError)", "UPSTREAM_SMTP_PASSWORD"),
        ("email", 550, "accepted for 1 of 2 recipients, refused for good for 1", "recipients"),
        ("email", None, "no connection to the mail server (ConnectionRefusedError)", "UPSTREAM_SMTP_PORT"),
    ],
)  # fmt: skip
def test_each_failure_has_its_advice(kind: str, status: int | None, detail: str, part: str) -> None:
    assert part in advice_for(kind, status, detail)
