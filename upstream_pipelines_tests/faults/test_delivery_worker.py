"""The worker against real receivers: each delivery taken once, retried on time, never lost."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from upstream_pipelines.alerts.resending import resend
from upstream_pipelines.alerts.store import due_deliveries, list_alerts
from upstream_pipelines.customers.store import create_customer
from upstream_pipelines.db.engine import Connection, connect
from upstream_pipelines.delivery import sending
from upstream_pipelines.delivery.channels import EmailChannel, new_secret
from upstream_pipelines.delivery.outbox import Outbox
from upstream_pipelines.delivery.outcome import SCHEDULE
from upstream_pipelines.delivery.turns import Turn
from upstream_pipelines.delivery.worker import DeliveryReport, deliver_due
from upstream_pipelines.settings import Settings
from upstream_pipelines_tests.faults.outbox_watched import Clock, webhook, whole


def _only(conn: Connection, customer: int) -> dict[str, Any]:
    """The one delivery there is."""
    (alert,) = list_alerts(conn, customer)
    (delivery,) = alert["deliveries"]
    assert isinstance(delivery, dict)
    return {**delivery, "alert_state": alert["state"]}


def test_an_alert_reaches_its_receiver_and_is_kept_as_sent(
    loopback: Settings, pipeline: Connection, customer: int, receiver: Any, queue: Any
) -> None:
    secrets = queue([webhook(receiver)])
    assert due_deliveries(pipeline) == 1
    report = deliver_due(loopback)
    assert (report.taken, report.sent, report.retrying, report.dead) == (1, 1, 0, 0)
    assert secrets["hook"].startswith("whsec_")
    delivery = _only(pipeline, customer)
    assert (delivery["state"], delivery["alert_state"]) == ("sent", "sent")
    assert [(a["outcome"], a["status_code"], a["answer"]) for a in delivery["attempts"]] == [("sent", 200, "ok")]
    assert due_deliveries(pipeline) == 0
    assert deliver_due(loopback).taken == 0
    whole(pipeline, customer)


def test_four_workers_take_each_of_500_deliveries_once(
    loopback: Settings, pipeline: Connection, customer: int, receiver: Any, queue: Any
) -> None:
    """Most likely wrong: two workers that both see a row as due, or an alert whose last two deliveries end at
    the same moment and that stays pending for ever.
    """
    queue([webhook(receiver, f"hook{number}") for number in range(5)], 100)
    reports: list[DeliveryReport] = []
    threads = [
        threading.Thread(target=lambda: reports.append(deliver_due(loopback, worker_threads=3))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ids = Counter(headers["webhook-id"] for _, headers, _ in receiver.requests)
    assert len(ids) == 500
    assert set(ids.values()) == {1}
    assert sum(report.sent for report in reports) == 500
    assert {alert["state"] for alert in list_alerts(pipeline, customer)} == {"sent"}
    assert whole(pipeline, customer)["deliveries"] == 500


def test_a_failing_receiver_is_tried_on_the_promised_schedule_and_then_given_up(
    loopback: Settings, pipeline: Connection, customer: int, receiver: Any, queue: Any, reply: Any
) -> None:
    receiver.script = lambda handler, _: reply(handler, 500, b"no")
    queue([webhook(receiver)])
    clock = Clock()
    start, times = clock.now, []
    while due_deliveries(pipeline, clock.now):
        times.append(clock.now - start)
        assert deliver_due(loopback, clock=clock, jitter=lambda: 0.0).taken == 1
        delivery = _only(pipeline, customer)
        if delivery["state"] == "dead":
            break
        due = datetime.fromisoformat(delivery["due_at"])
        assert due_deliveries(pipeline, due - timedelta(seconds=1)) == 0
        clock.now = due
    steps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert steps == list(SCHEDULE)
    assert (delivery["state"], delivery["attempt"], delivery["alert_state"]) == ("dead", 8, "failed")
    assert delivery["progress"]["reason"] == "last of 8 tries: the receiver answered 500"
    assert len({headers["webhook-id"] for _, headers, _ in receiver.requests}) == 1
    assert len({body for _, _, body in receiver.requests}) == 1
    whole(pipeline, customer)


def test_a_dead_delivery_can_be_resent_and_starts_its_schedule_again(
    loopback: Settings, pipeline: Connection, customer: int, receiver: Any, queue: Any, reply: Any
) -> None:
    receiver.script = lambda handler, _: reply(handler, 500)
    queue([webhook(receiver)])
    clock = Clock()
    for _ in range(8):
        deliver_due(loopback, clock=clock)
        clock.now += timedelta(hours=13)
    dead = _only(pipeline, customer)
    assert dead["state"] == "dead"
    resend(pipeline, customer, str(dead["delivery_id"]), clock.now)
    assert _only(pipeline, customer)["alert_state"] == "pending"
    assert deliver_due(loopback, clock=clock).retrying == 1
    receiver.script = None
    clock.now += timedelta(minutes=1)
    assert deliver_due(loopback, clock=clock).sent == 1
    assert _only(pipeline, customer)["alert_state"] == "sent"
    whole(pipeline, customer)


def test_a_retry_after_is_honoured_up_to_ten_hours(
    loopback: Settings, pipeline: Connection, customer: int, receiver: Any, queue: Any, reply: Any
) -> None:
    queue([webhook(receiver)])
    clock = Clock()
    for asked, given in (("120", 120), ("999999", 36_000)):
        receiver.script = lambda handler, _, asked=asked: reply(handler, 429, retry_after=asked)
        deliver_due(loopback, clock=clock, jitter=lambda: -0.2)
        due = datetime.fromisoformat(_only(pipeline, customer)["due_at"])
        assert due - clock.now == timedelta(seconds=given)
        clock.now = due


def test_a_missing_mail_server_is_a_retry_that_says_what_to_set(
    loopback: Settings, pipeline: Connection, customer: int, queue: Any
) -> None:
    queue([EmailChannel(kind="email", name="office", recipients=("a@example.org",))])
    assert deliver_due(loopback).retrying == 1
    (attempt,) = _only(pipeline, customer)["attempts"]
    assert "UPSTREAM_SMTP_HOST" in attempt["detail"]
    assert pipeline.execute("SELECT failing_since FROM alert_channels").fetchone() == (None,)


def test_a_secret_that_nobody_can_sign_with_is_a_retry_that_says_what_to_do_and_one_before_it_is_left_out(
    loopback: Settings, pipeline: Connection, customer: int, receiver: Any, queue: Any
) -> None:
    """It was an unforeseen ValueError, and the message dead in the end without a word of why."""
    queue([webhook(receiver)])
    clock = Clock()
    set_secret = "UPDATE alert_channels SET secret = %s, previous_secret = %s, previous_secret_until = %s"
    pipeline.execute(set_secret, ("SMITH-JOHN", None, None))
    assert deliver_due(loopback, clock=clock).retrying == 1
    (attempt,) = _only(pipeline, customer)["attempts"]
    assert attempt["detail"].startswith("The secret of channel hook is no webhook secret")
    assert "rotate-secret" in attempt["detail"]
    assert "SMITH" not in repr(list_alerts(pipeline, customer))
    pipeline.execute(set_secret, (new_secret(), "SMITH-JOHN", clock.now + timedelta(days=1)))
    clock.now += timedelta(hours=1)
    assert deliver_due(loopback, clock=clock).sent == 1
    ((_, headers, _),) = receiver.requests
    assert headers["webhook-signature"].count("v1,") == 1


def test_an_unforeseen_error_is_kept_by_its_class_and_the_other_deliveries_go_on(
    loopback: Settings,
    pipeline: Connection,
    customer: int,
    receiver: Any,
    queue: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its message may hold a claim's value: the canary must be in no column."""

    def broken(*_: object, **__: object) -> None:
        raise ValueError("CANARY 123-45-6789")

    monkeypatch.setattr(sending, "send_email", broken)
    queue([EmailChannel(kind="email", name="office", recipients=("a@example.org",)), webhook(receiver)])
    report = deliver_due(loopback)
    assert (report.sent, report.retrying) == (1, 1)
    kept = repr(list_alerts(pipeline, customer))
    assert "unforeseen error ValueError" in kept
    assert "CANARY" not in kept
    assert "6789" not in repr(pipeline.execute("SELECT * FROM delivery_attempts").fetchall())


_SCRIPT = """
import sys
from pydantic import SecretStr
from upstream_pipelines.delivery.worker import deliver_due
from upstream_pipelines.settings import Settings
deliver_due(Settings(database_url=SecretStr(sys.stdin.read()), webhook_allow_loopback=True))
"""


def test_a_worker_killed_after_sending_leaves_a_row_that_comes_back_after_the_lease_under_the_same_id(
    loopback: Settings, pipeline: Connection, customer: int, receiver: Any, queue: Any
) -> None:
    """At least once, with an id to deduplicate on; never lost."""
    got = threading.Event()

    def hold(_handler: object, _body: bytes) -> None:
        got.set()
        receiver.closing.wait(20)

    receiver.script = hold
    queue([webhook(receiver)])
    url = loopback.database_url
    assert isinstance(url, SecretStr)
    process = subprocess.Popen([sys.executable, "-c", _SCRIPT], stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(url.get_secret_value().encode())
    process.stdin.close()
    assert got.wait(30)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    receiver.script = None
    assert _only(pipeline, customer)["state"] == "sending"
    assert deliver_due(loopback).taken == 0  # the lease still holds
    clock = Clock()
    clock.now += timedelta(seconds=61)
    assert due_deliveries(pipeline, clock.now) == 1
    assert deliver_due(loopback, clock=clock).sent == 1
    first, second = (headers["webhook-id"] for _, headers, _ in receiver.requests)
    assert first == second
    assert [a["outcome"] for a in _only(pipeline, customer)["attempts"]] == ["abandoned", "sent"]
    whole(pipeline, customer)


def test_an_attempt_that_ends_after_its_lease_changes_nothing_of_the_next_one(
    loopback: Settings, pipeline: Connection, customer: int, receiver: Any, queue: Any, reply: Any
) -> None:
    """The attempt number is the fence: the late worker's outcome must not end the newer attempt, which is under way."""
    came, let_go = ([threading.Event(), threading.Event()] for _ in range(2))

    def script(handler: Any, _body: bytes) -> None:
        attempt = sum(event.is_set() for event in came)
        came[attempt].set()
        let_go[attempt].wait(20)
        reply(handler, (500, 200)[attempt])

    receiver.script = script
    queue([webhook(receiver)])
    clock = Clock()
    reports: list[DeliveryReport] = []
    workers = []
    for attempt in range(2):
        of = Clock() if attempt == 0 else clock
        workers.append(threading.Thread(target=lambda of=of: reports.append(deliver_due(loopback, clock=of))))
        workers[attempt].start()
        assert came[attempt].wait(20)
        clock.now += timedelta(seconds=61)
    let_go[0].set()
    workers[0].join()
    assert reports[0].lost == 1
    assert _only(pipeline, customer)["state"] == "sending"
    let_go[1].set()
    workers[1].join()
    delivery = _only(pipeline, customer)
    assert delivery["state"] == "sent"
    assert [a["outcome"] for a in delivery["attempts"]] == ["abandoned", "sent"]
    assert delivery["attempts"][0]["detail"].startswith("ended after its lease")
    whole(pipeline, customer)


def test_a_process_that_stood_still_for_longer_than_its_lease_sends_nothing_twice(
    loopback: Settings, pipeline: Connection, customer: int, receiver: Any, queue: Any, reply: Any
) -> None:
    clock = Clock()

    def script(handler: Any, _body: bytes) -> None:
        clock.now += timedelta(seconds=61)
        time.sleep(0.6)  # the worker looks for more meanwhile
        reply(handler, 200)

    receiver.script = script
    queue([webhook(receiver)])
    pipeline.execute("UPDATE alert_channels SET in_flight_limit = 16")
    assert deliver_due(loopback, clock=clock).sent == 1
    assert len(receiver.requests) == 1
    whole(pipeline, customer)


def test_nobodys_messages_wait_for_a_customer_who_is_being_looked_at(
    loopback: Settings, pipeline: Connection, customer: int, receiver: Any, queue: Any
) -> None:
    queue([webhook(receiver)])
    busy, _ = create_customer(pipeline, "busy", "Busy")
    held = pipeline.execute(
        """INSERT INTO alerts (customer_id, rule_id, kind, notice, fingerprint, subject_id, state, content, channel_ids,
                               held_by, held_until, reason)
           SELECT customer_id, rule_id, 'drift', 'open', 'f', gen_random_uuid(), 'suppressed', '{}', '{}', 'cooldown',
                  now() - interval '1 minute', 'cooldown' FROM alert_rules WHERE customer_id = %s LIMIT 1""",
        (busy.customer_id,),
    )
    assert held.rowcount == 1
    with connect(loopback, "upstream_pipeline") as look, look.transaction():
        look.execute("SELECT 1 FROM customers WHERE slug = 'busy' FOR NO KEY UPDATE")
        # Would it wait, the test would hang until its time is over.
        assert deliver_due(loopback).sent == 1


def test_a_delivery_that_kills_its_worker_every_time_is_given_up_after_eight(
    loopback: Settings, pipeline: Connection, customer: int, receiver: Any, queue: Any
) -> None:
    queue([webhook(receiver)])
    clock = Clock()
    killed = Outbox(pipeline, None, lambda: 0.0)
    for _ in range(8):
        (waiting,) = killed.find(clock.now).waiting
        leased, _ = killed.lease([Turn(waiting.customer_id, waiting.channel_id, 1)], [], clock.now)
        assert len(leased) == 1
        clock.now += timedelta(seconds=61)
    assert deliver_due(loopback, clock=clock).buried == 1
    assert receiver.requests == []
    assert _only(pipeline, customer)["state"] == "dead"
    whole(pipeline, customer)


def test_the_limit_is_the_number_of_attempts(
    loopback: Settings, pipeline: Connection, receiver: Any, queue: Any
) -> None:
    """Most likely wrong: a thread that finds nothing to take uses one up."""
    queue([webhook(receiver)], 20)
    assert deliver_due(loopback, limit=12).taken == 12
    assert due_deliveries(pipeline) == 8


def test_a_hanging_receiver_holds_one_thread_and_the_other_channels_go_on(
    loopback: Settings, pipeline: Connection, receiver: Any, queue: Any, reply: Any
) -> None:
    good_done = threading.Event()
    seen: list[str] = []

    def script(handler: Any, _body: bytes) -> None:
        if handler.path == "/slow":
            good_done.wait(20)
        reply(handler, 200)
        seen.append(handler.path)
        if seen.count("/good") == 20:
            good_done.set()

    receiver.script = script
    queue([webhook(receiver, "slow"), webhook(receiver, "good")], 20)
    started = time.monotonic()
    assert deliver_due(loopback, worker_threads=2).sent == 40
    assert time.monotonic() - started < 15
