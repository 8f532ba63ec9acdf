"""What transactions lock while they tell: not more than they need, and in one order. Not here: what is told."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from psycopg import errors

from upstream_pipelines.alerts import feedback
from upstream_pipelines.alerts.occurrences import run_failure_entry, run_recovered_entry
from upstream_pipelines.alerts.outbox import QUERIES, tell_what_waited
from upstream_pipelines.alerts.rules import DEFAULT_RULE
from upstream_pipelines.alerts.store import (
    enable_channel,
    sync_channels,
    sync_rules,
    write_entries,
    write_run_failure_alert,
)
from upstream_pipelines.db.engine import Connection, connect
from upstream_pipelines.delivery.channels import WebhookChannel
from upstream_pipelines.delivery.transactions import until_kept
from upstream_pipelines.drift.store import QUERIES as DRIFT_QUERIES
from upstream_pipelines.errors import ConflictError
from upstream_pipelines.settings import Settings

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOOK = WebhookChannel(kind="webhook", name="hook", url="https://example.org/hook")


@pytest.fixture
def acme(pipeline: Connection) -> int:
    row = pipeline.execute(
        "INSERT INTO customers (slug, name) VALUES ('acme', 'Acme') RETURNING customer_id"
    ).fetchone()
    assert row is not None
    sync_rules(pipeline, row[0], [DEFAULT_RULE])
    sync_channels(pipeline, row[0], [HOOK])
    return int(row[0])


def test_while_a_look_is_made_rows_that_refer_to_its_customer_can_be_written(
    pipeline: Connection, acme: int, settings: Settings
) -> None:
    """An upload that arrives, and a channel that is switched off, would wait for the whole look."""
    with connect(settings, "upstream_pipeline") as other, pipeline.transaction():
        pipeline.execute(DRIFT_QUERIES.lock_customer, {"customer_id": acme})
        other.execute("SET lock_timeout = '1s'")
        other.execute(
            """INSERT INTO alert_channels (customer_id, name, kind, configuration)
               VALUES (%s, 'bell', 'webhook', '{"url": "https://example.org/bell"}')""",
            (acme,),
        )


def test_silences_of_a_customer_are_made_one_after_the_other_so_that_no_more_hold_than_may(
    pipeline: Connection, acme: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most likely wrong: two at once, each of which counts those that are there before the other's is."""
    monkeypatch.setattr(feedback, "MOST_SILENCES", 1)
    (beta,) = pipeline.execute(
        "INSERT INTO customers (slug, name) VALUES ('beta', 'Beta') RETURNING customer_id"
    ).fetchone() or (0,)

    def make(conn: Connection, customer_id: int) -> None:
        feedback.silence(
            conn,
            customer_id,
            payer="Aetna",
            ends_at=NOW + timedelta(hours=1),
            reason="",
            created_by="ann",
            now=NOW,
        )

    with connect(settings, "upstream_pipeline") as other:
        other.execute("SET lock_timeout = '1s'")
        with pipeline.transaction():
            make(pipeline, acme)
            with pytest.raises(errors.LockNotAvailable):
                make(other, acme)
            make(other, beta)
        with pytest.raises(ConflictError, match="silences hold already"):
            make(other, acme)
    assert len(feedback.silences(pipeline, acme, NOW)) == 1


def test_events_that_end_lock_their_alerts_by_id_as_workers_do(
    pipeline: Connection, acme: int, settings: Settings
) -> None:
    """A worker that has the first and wants the second, and a writer the other way round, would wait for each other."""
    for run in ("r1", "r2"):
        assert write_run_failure_alert(pipeline, acme, run, f"job {run}", None, "KeyError", None, NOW) == 1
    found: list[tuple[uuid.UUID, uuid.UUID, uuid.UUID]] = pipeline.execute(
        "SELECT alert_id, rule_id, subject_id FROM alerts ORDER BY alert_id DESC"
    ).fetchall()
    (second, *_), (first, *_) = found
    locking = "SELECT 1 FROM alerts WHERE alert_id = %s FOR UPDATE"

    def end() -> None:
        with connect(settings, "upstream_pipeline") as own:
            own.execute(
                QUERIES.lock_events,
                {
                    "customer_id": acme,
                    "now": NOW,
                    "rule_ids": [rule_id for _, rule_id, _ in found],
                    "subject_ids": [subject_id for _, _, subject_id in found],
                },
            )

    thread = threading.Thread(target=end)
    with pipeline.transaction():
        pipeline.execute(locking, (first,))
        thread.start()
        thread.join(0.7)
        assert thread.is_alive()
        try:
            with pipeline.transaction():
                pipeline.execute(f"{locking} NOWAIT", (second,))
        except errors.LockNotAvailable:
            pytest.fail("the writer has the second alert and waits for the first")
    thread.join(20)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    "change",
    [
        lambda conn, acme: enable_channel(conn, acme, "hook", NOW),
        lambda conn, acme: sync_channels(conn, acme, [HOOK.model_copy(update={"url": "https://example.org/new"})]),
        lambda conn, acme: tell_what_waited(conn, acme, NOW),
    ],
    ids=["enabled", "configured", "told"],
)
def test_what_waited_is_locked_by_id_and_before_channels_as_workers_do(
    pipeline: Connection, acme: int, settings: Settings, change: Callable[[Connection, int], object]
) -> None:
    """A worker that has recorded an alert and judges its channel, and who enables that channel, would wait for each other."""
    pipeline.execute("UPDATE alert_channels SET enabled = false")
    for run in ("r1", "r2"):
        assert write_run_failure_alert(pipeline, acme, run, f"job {run}", None, "KeyError", None, NOW) == 1
    pipeline.execute("UPDATE alerts SET held_until = %s", (NOW,))
    # In another order than that of their ids they were written, too.
    first, second = (
        row[0] for row in pipeline.execute("SELECT alert_id FROM alerts ORDER BY alert_id").fetchall()
    )
    pipeline.execute("UPDATE alerts SET created_at = %s WHERE alert_id = %s", (NOW - timedelta(days=1), second))

    def make() -> None:
        with connect(settings, "upstream_pipeline") as own:
            change(own, acme)

    thread = threading.Thread(target=make)
    with pipeline.transaction():
        pipeline.execute("SELECT 1 FROM alerts WHERE alert_id = %s FOR UPDATE", (first,))
        thread.start()
        thread.join(0.7)
        assert thread.is_alive()
        try:
            with pipeline.transaction():
                pipeline.execute("SELECT 1 FROM alerts WHERE alert_id = %s FOR UPDATE NOWAIT", (second,))
                pipeline.execute("SELECT 1 FROM alert_channels FOR NO KEY UPDATE NOWAIT")
        except errors.LockNotAvailable:
            pytest.fail("it has what the worker wants next, and waits for what the worker has")
    thread.join(20)
    assert not thread.is_alive()


@pytest.mark.parametrize("first", ["the end", "the arrival"])
def test_an_end_that_is_written_while_its_opening_arrives_is_told(
    pipeline: Connection, acme: int, settings: Settings, first: str
) -> None:
    """Neither sees what the other has not committed: the end would wait for an arrival that is over."""
    failed = run_failure_entry("r1", "ingest", None, "KeyError", None)
    write_entries(pipeline, acme, [failed], NOW)
    found = pipeline.execute("SELECT customer_id, delivery_id FROM deliveries").fetchall()
    which = {"customer_ids": [row[0] for row in found], "delivery_ids": [row[1] for row in found]}

    def end(conn: Connection) -> None:
        write_entries(conn, acme, [run_recovered_entry(failed.content["data"], "r2", None)], NOW)

    def arrive(conn: Connection) -> None:
        """As Outbox.record does."""
        with conn.transaction():
            conn.execute(QUERIES.lock_alerts, which)
            conn.execute("UPDATE deliveries SET state = 'sent', finished_at = %s", (NOW,))
            conn.execute(QUERIES.settle_alerts, which)
            conn.execute(QUERIES.wake_ends, {**which, "now": NOW})

    one, other = (end, arrive) if first == "the end" else (arrive, end)

    def meanwhile() -> None:
        with connect(settings, "upstream_pipeline") as own:
            other(own)

    thread = threading.Thread(target=meanwhile)
    with pipeline.transaction():
        one(pipeline)
        thread.start()
        thread.join(0.7)
    thread.join(20)
    tell_what_waited(pipeline, acme, NOW)
    held = pipeline.execute("SELECT held_by, owed_to FROM alerts WHERE notice = 'resolved'").fetchall()
    assert held == [(None, [])]


def test_messages_of_earlier_openings_are_locked_too_before_an_end_is_written(
    pipeline: Connection, acme: int, settings: Settings
) -> None:
    """One of them that arrives meanwhile would wake an end that it cannot see yet."""
    write_entries(pipeline, acme, [run_failure_entry("r1", "ingest", None, "KeyError", None)], NOW)
    pipeline.execute("UPDATE alerts SET over_at = %s", (NOW,))
    pairs = pipeline.execute("SELECT rule_id, subject_id FROM alerts").fetchall()
    which = {"customer_id": acme, "rule_ids": [row[0] for row in pairs], "subject_ids": [row[1] for row in pairs]}
    free = "SELECT count(*) FROM (SELECT FROM alerts FOR UPDATE SKIP LOCKED) AS a"
    with connect(settings, "upstream_pipeline") as worker:
        assert worker.execute(free).fetchone() == (len(pairs),)
        with pipeline.transaction():
            pipeline.execute(QUERIES.lock_events, which)
            assert worker.execute(free).fetchone() == (0,)


def test_a_worker_does_not_wait_for_an_end_out_of_the_order_of_all(
    pipeline: Connection, acme: int, settings: Settings
) -> None:
    """Who has it may wait for alerts of the worker: it gives its transaction up, and locks all in order the next time."""
    failure = run_failure_entry("x", "job x", None, "KeyError", None)
    write_entries(pipeline, acme, [failure], NOW)
    write_entries(pipeline, acme, [run_recovered_entry(failure.content["data"], "y", None)], NOW)
    (delivery,) = pipeline.execute("SELECT delivery_id FROM deliveries").fetchone() or (None,)
    which = {"customer_ids": [acme], "delivery_ids": [delivery], "now": NOW}
    tries: list[int] = []

    def record() -> None:
        tries.append(len(tries))
        with pipeline.transaction():
            if len(tries) > 1:
                other.rollback()
            pipeline.execute("UPDATE deliveries SET state = 'sent', finished_at = %s", (NOW,))
            pipeline.execute(QUERIES.wake_ends, which)

    with connect(settings, "upstream_pipeline") as other:
        other.autocommit = False
        other.execute("SELECT 1 FROM alerts WHERE notice = 'resolved' FOR UPDATE")
        until_kept(record)
    assert tries == [0, 1]
    assert pipeline.execute("SELECT held_until FROM alerts WHERE notice = 'resolved'").fetchone() == (NOW,)
