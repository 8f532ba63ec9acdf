"""How much is sent to whom at a time: a bad receiver delays nobody, a good one gets all it can take."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from upstream_pipelines.alerts.store import conservation, due_deliveries
from upstream_pipelines.db.engine import Connection, connect
from upstream_pipelines.delivery.channels import WebhookChannel
from upstream_pipelines.delivery.outbox import LONGEST_PAUSE, Outbox
from upstream_pipelines.delivery.turns import MOST_IN_FLIGHT, Turn
from upstream_pipelines.delivery.worker import DeliveryReport, deliver_due
from upstream_pipelines.settings import Settings


class Clock:
    def __init__(self) -> None:
        self.now = datetime.now(UTC) + timedelta(seconds=1)

    def __call__(self) -> datetime:
        return self.now


def _webhook(receiver: Any, name: str = "hook") -> WebhookChannel:
    return WebhookChannel(kind="webhook", name=name, url=f"{receiver.url}/{name}")


def _limits(conn: Connection) -> dict[str, int]:
    return dict(conn.execute("SELECT name, in_flight_limit FROM alert_channels").fetchall())


@pytest.fixture
def begin(loopback: Settings) -> Callable[..., tuple[threading.Thread, list[DeliveryReport]]]:
    """A worker in the background."""

    def start(**options: Any) -> tuple[threading.Thread, list[DeliveryReport]]:
        reports: list[DeliveryReport] = []
        thread = threading.Thread(target=lambda: reports.append(deliver_due(loopback, **options)))
        thread.start()
        return thread, reports

    return start


def _wait_until(reached: Callable[[], bool], seconds: float = 15) -> float:
    started = time.monotonic()
    while not reached():
        assert time.monotonic() - started < seconds
        time.sleep(0.01)
    return time.monotonic() - started


@pytest.mark.parametrize("proven", [False, True], ids=["a new receiver", "a receiver that was well till now"])
def test_a_receiver_that_hangs_delays_none_of_fifty_others(
    pipeline: Connection, customer: int, receiver: Any, queue: Any, reply: Any, begin: Any, proven: bool
) -> None:
    """It hangs for as long as it takes to serve the others, up to the 20 s of a whole attempt. A new one holds one
    thread; one that was well holds those it was trusted with, until the first second has passed.
    """
    go_on = threading.Event()
    seen: list[str] = []

    def script(handler: Any, _body: bytes) -> None:
        seen.append(handler.path)
        if handler.path == "/slow":
            go_on.wait(20)
        reply(handler, 200)

    receiver.script = script
    queue([_webhook(receiver, "slow"), *(_webhook(receiver, f"good{number}") for number in range(50))], 4)
    if proven:
        pipeline.execute("UPDATE alert_channels SET in_flight_limit = 16 WHERE name = 'slow'")
    thread, reports = begin(worker_threads=8)
    _wait_until(lambda: len(seen) - seen.count("/slow") == 200)
    assert seen.count("/slow") <= (4 if proven else 1)
    go_on.set()
    thread.join()
    assert reports[0].sent == 204
    counts = conservation(pipeline, customer)
    assert (counts["lost_attempts"], counts["wrong_states"], counts["missing_places"]) == (0, 0, 0)


def test_a_healthy_receiver_gets_several_at_a_time_and_one_again_once_it_fails(
    loopback: Settings, pipeline: Connection, receiver: Any, queue: Any, reply: Any
) -> None:
    def well(handler: Any, _body: bytes) -> None:
        time.sleep(0.05)
        reply(handler, 200)

    receiver.script = well
    queue([_webhook(receiver)], 150)
    started = time.monotonic()
    assert deliver_due(loopback).sent == 150
    assert time.monotonic() - started < 150 * 0.05 / 2  # one at a time would be 7.5 s of waiting alone
    assert 4 <= receiver.most_open <= MOST_IN_FLIGHT
    assert _limits(pipeline) == {"hook": MOST_IN_FLIGHT}
    receiver.script = lambda handler, _: reply(handler, 500)
    queue([_webhook(receiver)], 40)
    deliver_due(loopback, limit=20)
    assert _limits(pipeline) == {"hook": 1}
    receiver.most_open = 0
    deliver_due(loopback)
    assert receiver.most_open == 1


def test_a_slow_success_is_not_well(
    loopback: Settings, pipeline: Connection, receiver: Any, queue: Any, reply: Any
) -> None:
    def slow(handler: Any, _body: bytes) -> None:
        time.sleep(1.05)
        reply(handler, 200)

    receiver.script = slow
    queue([_webhook(receiver)], 2)
    pipeline.execute("UPDATE alert_channels SET in_flight_limit = 2")
    assert deliver_due(loopback).sent == 2
    assert _limits(pipeline) == {"hook": 1}


def test_a_429_storm_costs_a_request_a_pause_and_not_one_a_waiting_delivery(
    loopback: Settings, pipeline: Connection, customer: int, receiver: Any, queue: Any, reply: Any
) -> None:
    """Each of 300 waiting deliveries would otherwise be one more request, and lose one of its eight tries."""
    clock = Clock()
    receiver.script = lambda handler, _: reply(handler, 429, retry_after="60")
    queue([_webhook(receiver)], 300)
    assert deliver_due(loopback, clock=clock).retrying == 1
    clock.now += timedelta(seconds=59)
    assert deliver_due(loopback, clock=clock).taken == 0
    receiver.script = lambda handler, _: reply(handler, 503, retry_after="999999")
    clock.now += timedelta(seconds=1)
    assert deliver_due(loopback, clock=clock).taken == 1
    # Ten hours for the delivery that met it; the channel is asked again after five minutes.
    clock.now += LONGEST_PAUSE - timedelta(seconds=1)
    assert deliver_due(loopback, clock=clock).taken == 0
    receiver.script = None
    clock.now += timedelta(seconds=1)
    assert deliver_due(loopback, clock=clock).sent >= 298
    clock.now += timedelta(hours=13)
    deliver_due(loopback, clock=clock)
    assert pipeline.execute("SELECT DISTINCT state FROM deliveries").fetchall() == [("sent",)]
    assert conservation(pipeline, customer)["lost_attempts"] == 0
    assert len(receiver.requests) == 302


def test_workers_of_many_processes_together_keep_to_a_channels_limit(
    loopback: Settings, pipeline: Connection, customer: int, receiver: Any, queue: Any
) -> None:
    """Most likely wrong: two that ask at the same instant each see the channel free."""
    queue([_webhook(receiver)], 60)
    row = pipeline.execute("SELECT channel_id FROM alert_channels").fetchone()
    assert row is not None
    channel_id = row[0]
    for limit in (1, 5):
        pipeline.execute("UPDATE alert_channels SET in_flight_limit = %s", (limit,))
        pipeline.execute("UPDATE deliveries SET state = 'retrying', due_at = now() WHERE state = 'sending'")
        now = datetime.now(UTC) + timedelta(seconds=1)
        taken: list[int] = []
        barrier = threading.Barrier(6)

        def ask(now: datetime = now, taken: list[int] = taken, barrier: threading.Barrier = barrier) -> None:
            with connect(loopback, "upstream_pipeline") as conn:
                outbox = Outbox(conn, None, lambda: 0.0)
                barrier.wait()
                for _ in range(10):
                    leased, _ = outbox.lease([Turn(customer, channel_id, 3)], [], now)
                    taken.append(len(leased))

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(taken) == limit


def test_what_becomes_due_while_a_worker_waits_for_a_slow_receiver_is_sent_at_once(
    pipeline: Connection, receiver: Any, queue: Any, reply: Any, begin: Any
) -> None:
    go_on = threading.Event()
    seen: list[str] = []

    def script(handler: Any, _body: bytes) -> None:
        seen.append(handler.path)
        if handler.path == "/slow":
            go_on.wait(20)
        reply(handler, 200)

    receiver.script = script
    queue([_webhook(receiver, "slow")])
    thread, reports = begin()
    _wait_until(lambda: seen == ["/slow"])
    queue([_webhook(receiver, "slow"), _webhook(receiver, "good")])
    assert _wait_until(lambda: "/good" in seen) < 3
    go_on.set()
    thread.join()
    assert reports[0].sent == 3


def test_a_lease_is_committed_before_anything_is_sent_and_no_transaction_is_open_while_it_is(
    loopback: Settings, receiver: Any, queue: Any, reply: Any
) -> None:
    """Sent inside of the transaction, a rollback would leave no trace of it, and locks would last as long as receivers do."""
    seen: list[tuple[str, int, bool]] = []

    def script(handler: Any, _body: bytes) -> None:
        with connect(loopback, "upstream_pipeline") as conn:
            row = conn.execute(
                "SELECT d.state, (SELECT count(*) FROM delivery_attempts AS t WHERE t.delivery_id = d.delivery_id) "
                "FROM deliveries AS d WHERE d.delivery_id = %s",
                (handler.headers["webhook-id"],),
            ).fetchone()
            time.sleep(0.1)  # what began with this send has long ended
            stuck = conn.execute(
                "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() "
                "AND now() - xact_start > interval '0.09 seconds' AND pid <> pg_backend_pid()"
            ).fetchone()
        assert row is not None
        assert stuck is not None
        seen.append((row[0], row[1], stuck[0]))
        reply(handler, 200)

    receiver.script = script
    queue([_webhook(receiver, f"hook{number}") for number in range(4)], 5)
    assert deliver_due(loopback).sent == 20
    assert set(seen) == {("sending", 1, False)}


def test_what_waits_for_a_paused_channel_is_not_due_and_for_a_disabled_one_is(
    loopback: Settings, pipeline: Connection, receiver: Any, queue: Any
) -> None:
    """The sensor would start runs that find nothing to take; what is to be buried needs one."""
    queue([_webhook(receiver)], 3)
    clock = Clock()
    assert due_deliveries(pipeline, clock.now) == 3
    pipeline.execute("UPDATE alert_channels SET not_before = %s", (clock.now + timedelta(minutes=1),))
    assert due_deliveries(pipeline, clock.now) == 0
    assert deliver_due(loopback, clock=clock).taken == 0
    assert due_deliveries(pipeline, clock.now + timedelta(minutes=1)) == 3
    pipeline.execute("UPDATE alert_channels SET enabled = false")
    assert due_deliveries(pipeline, clock.now) == 3
    assert deliver_due(loopback, clock=clock).buried == 3


def test_what_was_sent_is_recorded_although_postgresql_ended_our_transaction_for_anothers(
    loopback: Settings, pipeline: Connection, customer: int, receiver: Any, queue: Any, reply: Any, begin: Any
) -> None:
    """Most likely wrong: the deadlock ends the worker, and the receiver gets the same again after the lease."""
    got, go = threading.Event(), threading.Event()

    def script(handler: Any, _body: bytes) -> None:
        got.set()
        go.wait(20)
        reply(handler, 200)

    receiver.script = script
    queue([_webhook(receiver)])
    thread, reports = begin()
    assert got.wait(20)
    blocked = "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
    with connect(loopback, "upstream_pipeline") as other, other.transaction():
        other.execute("SELECT 1 FROM alert_channels FOR NO KEY UPDATE")
        go.set()
        _wait_until(lambda: pipeline.execute(blocked, (other.info.backend_pid,)).fetchone() == (1,))
        # The worker has the alert and waits for the channel; it waited first, so it is the one to be ended.
        other.execute("SELECT 1 FROM alerts FOR UPDATE")
    thread.join()
    assert [report.sent for report in reports] == [1]
    assert len(receiver.requests) == 1
    assert pipeline.execute("SELECT state, attempt FROM deliveries").fetchall() == [("sent", 1)]
    assert conservation(pipeline, customer)["lost_attempts"] == 0
