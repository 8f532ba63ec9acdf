"""Two connections for one upload: whatever ends between their commits, no line is lost, doubled or counted as sent before."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any, LiteralString
from uuid import UUID

import psycopg
import pytest
from structlog.testing import capture_logs

from upstream_pipelines.claims import merge
from upstream_pipelines.db.engine import Connection, connect
from upstream_pipelines.db.second import SecondConnection
from upstream_pipelines.drift import counting
from upstream_pipelines.drift.counting import refresh_activity
from upstream_pipelines.ingest import line_writer
from upstream_pipelines.ingest.csv_reader import CsvFile
from upstream_pipelines.ingest.line_writer import LineWriter
from upstream_pipelines.ingest.merging import merge_staged
from upstream_pipelines.ingest.staging import MAX_ATTEMPTS, stage_waiting
from upstream_pipelines.ingest.uploads import get_upload
from upstream_pipelines_tests.database.ingested import Ingest, file_of, row

NAMES = [f"A{number}" for number in range(20)]
FILE = file_of(*(row(name) for name in NAMES), row("A3", "DENIED"), ",1,,99213,2026-01-05,,PAID,1,1")


class Died(BaseException):
    """As a process dies: nothing of the product catches it."""


@pytest.fixture
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large uploads of a few lines: blocks of two rows, and a second connection for two lines."""
    blocks = CsvFile.blocks
    monkeypatch.setattr(CsvFile, "blocks", lambda self, rows=2: blocks(self, 2))
    monkeypatch.setattr(merge, "FEWEST_FOR_TWO", 2)
    monkeypatch.setattr(counting, "FEWEST_FOR_TWO", 2)


@pytest.fixture
def by_two(few_are_many: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the first two blocks are written at the same time."""
    copy, enter = line_writer._copy, LineWriter.__enter__
    both = threading.Barrier(2)
    written: list[int] = []

    def begin(self: LineWriter) -> LineWriter:
        written.clear()
        return enter(self)

    def together(*arguments: Any) -> None:
        written.append(1)
        if len(written) <= 2:
            both.wait(20)
        copy(*arguments)

    monkeypatch.setattr(LineWriter, "__enter__", begin)
    monkeypatch.setattr(line_writer, "_copy", together)


def _read(ingest: Ingest) -> None:
    stage_waiting(ingest.conn, ingest.settings, ingest.customer, source="csv", run_id="r")


def _merge(ingest: Ingest) -> None:
    merge_staged(ingest.conn, ingest.settings, ingest.customer, "r")


def _count_days(ingest: Ingest) -> None:
    refresh_activity(ingest.conn, ingest.customer.customer_id)


def _dies_between_the_commits(step: Callable[[Ingest], None], ingest: Ingest) -> None:
    commit = SecondConnection.commit

    def commit_and_die(self: SecondConnection) -> None:
        assert self._conn is not None
        commit(self)
        raise Died

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SecondConnection, "commit", commit_and_die)
        with pytest.raises(Died):
            step(ingest)


def _one(conn: Connection, query: LiteralString) -> Any:
    row = conn.execute(query).fetchone()
    assert row is not None
    return row[0]


def _assert_whole(ingest: Ingest, upload_id: UUID) -> None:
    upload = get_upload(ingest.conn, ingest.customer.customer_id, upload_id)
    counts = {name: upload[name] for name in ("rows", "accepted", "updated", "rejected", "duplicates")}
    assert counts == {"rows": 22, "accepted": 20, "updated": 0, "rejected": 1, "duplicates": 1}
    assert _one(ingest.conn, "SELECT count(*) FROM received_lines") == 21
    assert _one(ingest.conn, "SELECT count(DISTINCT source_row_number) FROM rejected_rows") == 1
    assert ingest.claims("claim_id, outcome, version") == sorted(
        (name, "DENIED" if name == "A3" else "PAID", 1) for name in NAMES
    )
    refresh_activity(ingest.conn, ingest.customer.customer_id)
    assert _one(ingest.conn, "SELECT sum(lines) FROM payer_activity") == 20
    assert _one(ingest.conn, "SELECT count(*) FROM uploads WHERE added_by_two") == 0


@pytest.mark.usefixtures("by_two")
def test_an_upload_of_whose_lines_one_half_alone_was_kept_is_read_again(ingest: Ingest) -> None:
    upload_id = ingest.send(FILE)
    for _ in range(2):
        _dies_between_the_commits(_read, ingest)
        assert 0 < _one(ingest.conn, "SELECT count(*) FROM received_lines") < 21
        assert _one(ingest.conn, "SELECT count(*) FROM uploads WHERE staged_at IS NULL") == 1
    ingest.run()
    _assert_whole(ingest, upload_id)


@pytest.mark.usefixtures("by_two")
def test_an_upload_that_is_given_up_leaves_no_line_of_one_half(ingest: Ingest) -> None:
    ingest.send(FILE)
    for _ in range(MAX_ATTEMPTS):
        _dies_between_the_commits(_read, ingest)
    _read(ingest)
    assert _one(ingest.conn, "SELECT error_code FROM uploads") == "attempts_used_up"
    assert _one(ingest.conn, "SELECT count(*) FROM received_lines") == 0


@pytest.mark.usefixtures("by_two")
def test_an_upload_of_whose_lines_one_half_alone_was_added_is_merged_as_if_it_had_not_been(ingest: Ingest) -> None:
    """Most likely wrong: the half counts as sent before, or its days are not counted."""
    upload_id = ingest.send(FILE)
    _read(ingest)
    for _ in range(2):
        _dies_between_the_commits(_merge, ingest)
        assert 0 < len(ingest.claims()) < 20
        assert _one(ingest.conn, "SELECT count(*) FROM uploads WHERE added_by_two AND status = 'processing'") == 1
        assert _one(ingest.conn, "SELECT count(*) FROM touched_days") == 0
    ingest.run()
    _assert_whole(ingest, upload_id)


@pytest.mark.usefixtures("by_two")
def test_lines_of_other_uploads_stay_where_a_half_is_taken_back(ingest: Ingest) -> None:
    ingest.load(file_of(row("A3"), row("B1"), row("B2")))
    upload_id = ingest.send(FILE)
    _read(ingest)
    _dies_between_the_commits(_merge, ingest)
    ingest.run()
    upload = get_upload(ingest.conn, ingest.customer.customer_id, upload_id)
    assert (upload["accepted"], upload["updated"], upload["duplicates"]) == (20, 1, 1)
    assert ingest.claims("claim_id, version") == sorted(
        [*((name, 2 if name == "A3" else 1) for name in NAMES), ("B1", 1), ("B2", 1)]
    )


@pytest.mark.usefixtures("by_two")
def test_an_older_upload_does_not_meet_the_half_of_a_younger_one(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lines would count as sent before, though what they were compared with is taken back."""
    older = ingest.send(FILE)
    younger = ingest.send(file_of(*(row(name) for name in NAMES)))
    ingest.conn.execute("UPDATE uploads SET status = 'failed' WHERE upload_id = %s", (older,))
    _read(ingest)
    _dies_between_the_commits(_merge, ingest)
    ingest.conn.execute("UPDATE uploads SET status = 'received' WHERE upload_id = %s", (older,))
    ingest.run()
    counts = [get_upload(ingest.conn, ingest.customer.customer_id, one) for one in (older, younger)]
    assert [(one["accepted"], one["duplicates"]) for one in counts] == [(20, 1), (1, 19)]
    assert ingest.claims("claim_id, version") == sorted((name, 2 if name == "A3" else 1) for name in NAMES)


@pytest.mark.usefixtures("by_two")
def test_days_of_which_one_half_alone_was_counted_are_counted_again(ingest: Ingest) -> None:
    days = [f"2026-01-{day:02}" for day in range(5, 15)]
    ingest.load(file_of(*(row(f"D{day}").replace("2026-01-05", day) for day in days)))
    _dies_between_the_commits(_count_days, ingest)
    assert 0 < _one(ingest.conn, "SELECT sum(lines) FROM payer_activity") < 10
    refresh_activity(ingest.conn, ingest.customer.customer_id)
    assert _one(ingest.conn, "SELECT sum(lines) FROM payer_activity") == 10
    assert _one(ingest.conn, "SELECT count(*) FROM touched_days") == 0


@pytest.mark.usefixtures("by_two")
def test_what_goes_wrong_in_the_second_is_raised_in_the_first_and_nothing_is_kept(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload_id = ingest.send(FILE)
    _read(ingest)
    add = merge._add

    def fails_in_second(conn: Connection, *rest: Any) -> Any:
        added = add(conn, *rest)
        if conn is not ingest.conn:
            raise psycopg.OperationalError("the second is lost")
        return added

    with monkeypatch.context() as patch:
        patch.setattr(merge, "_add", fails_in_second)
        with pytest.raises(psycopg.OperationalError, match="second is lost"):
            _merge(ingest)
    assert ingest.claims() == []
    ingest.run()
    _assert_whole(ingest, upload_id)


def test_the_second_is_stopped_when_the_first_fails_whatever_it_still_had_to_do(ingest: Ingest) -> None:
    """Each of its statements waits for a lock of the first, so that it would never end."""
    ingest.conn.execute("SELECT pg_advisory_lock(77, 1)")
    waiting: LiteralString = "SELECT count(*) FROM pg_locks WHERE classid = 77 AND objid = 1 AND NOT granted"
    goes_on: list[str] = []

    def wait_for_it(conn: Connection) -> None:
        for number in range(3):
            with contextlib.suppress(psycopg.errors.QueryCanceled):
                conn.execute("SELECT pg_advisory_lock(77, 1)")
            conn.rollback()
            goes_on.append(f"after {number}")

    def fail_meanwhile() -> None:
        with SecondConnection(ingest.conn) as second:
            assert second.opens()
            second.start(wait_for_it)
            while not _one(ingest.conn, waiting):
                time.sleep(0.01)
            raise ValueError("of the first")

    with pytest.raises(ValueError, match="of the first"):
        fail_meanwhile()
    assert goes_on == ["after 0", "after 1", "after 2"]
    assert _one(ingest.conn, waiting) == 0


def test_the_second_is_where_and_what_the_first_is(ingest: Ingest) -> None:
    asked: LiteralString = "SELECT current_user, session_user, current_database(), current_setting('TimeZone')"
    with SecondConnection(ingest.conn) as second:
        assert second.opens()
        found = second.start(lambda conn: conn.execute(asked).fetchone()).result()
        assert second._conn is not None
    assert found == ingest.conn.execute(asked).fetchone()
    with SecondConnection(ingest.conn) as second:
        second.commit()
        assert second._conn is None


@pytest.mark.usefixtures("few_are_many")
def test_where_postgresql_takes_no_second_connection_the_first_does_all(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise psycopg.OperationalError("FATAL: remaining connection slots are reserved")

    monkeypatch.setattr("upstream_pipelines.db.second.psycopg.connect", refuse)
    upload_id = ingest.send(FILE)
    with capture_logs() as logs:
        ingest.run()
        _assert_whole(ingest, upload_id)
    assert "no second connection to PostgreSQL, one does all" in {entry["event"] for entry in logs}


@pytest.mark.usefixtures("by_two")
def test_a_server_that_ends_idle_transactions_ends_none_that_waits_for_the_second(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow_in_second(work: Callable[..., Any]) -> Callable[..., Any]:
        def slow(conn: Connection, *rest: Any, **named: Any) -> Any:
            if conn is not ingest.conn:
                time.sleep(0.5)
            return work(conn, *rest, **named)

        return slow

    upload_id = ingest.send(FILE)
    _read(ingest)
    ingest.conn.execute("SET idle_in_transaction_session_timeout = 100")
    monkeypatch.setattr(merge, "_add", slow_in_second(merge._add))
    _merge(ingest)
    monkeypatch.setattr(counting, "_count", slow_in_second(counting._count))
    _assert_whole(ingest, upload_id)


def _table_locks(conn: Connection, pid: int) -> dict[str, int]:
    """How strong a lock the backend holds on each table that is there for all."""
    modes = ["AccessShareLock", "RowShareLock", "RowExclusiveLock"]
    rows = conn.execute(
        """SELECT c.relname, l.mode FROM pg_locks AS l JOIN pg_class AS c ON c.oid = l.relation
            WHERE l.pid = %s AND l.granted AND c.relkind IN ('r', 'v') AND c.relnamespace = 'public'::regnamespace""",
        (pid,),
    )
    held: dict[str, int] = {}
    for table, mode in rows:
        held[table] = max(held.get(table, 0), modes.index(mode) + 1)
    return held


@pytest.mark.usefixtures("by_two")
def test_the_first_holds_every_table_of_the_second_before_that_is_given_anything(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A migration that waits for the second would keep the first waiting, and that the second: for ever."""
    start, commit = SecondConnection.start, SecondConnection.commit
    first: list[dict[str, int]] = []
    missed: list[set[str]] = []

    def note_first(self: SecondConnection, work: Any) -> Any:
        if self._started is None:
            first.append(_table_locks(watcher, self._first.info.backend_pid))
        return start(self, work)

    def compare(self: SecondConnection) -> None:
        assert self._conn is not None
        second = _table_locks(watcher, self._conn.info.backend_pid)
        assert second
        missed.append({table for table, mode in second.items() if first[-1].get(table, 0) < mode})
        commit(self)

    with connect(ingest.settings, "upstream_pipeline") as watcher:
        monkeypatch.setattr(SecondConnection, "start", note_first)
        monkeypatch.setattr(SecondConnection, "commit", compare)
        ingest.send(FILE)
        _read(ingest)
        _merge(ingest)
        _count_days(ingest)
        ingest.send(file_of(*(row(f"B{name}", "DENIED") for name in NAMES)))
        _read(ingest)
        _merge(ingest)
    assert missed == [set()] * 5


def test_one_count_of_a_customer_waits_for_another(ingest: Ingest) -> None:
    """Its look would be made without the days that the other counts."""
    ingest.load(file_of(row("A")))
    with connect(ingest.settings, "upstream_pipeline") as other, other.transaction():
        refresh_activity(other, ingest.customer.customer_id)
        ingest.conn.execute("SET lock_timeout = '200ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            _count_days(ingest)
    assert _one(ingest.conn, "SELECT sum(lines) FROM payer_activity") == 1


def test_the_second_does_not_wait_for_ever_and_may_be_idle(ingest: Ingest) -> None:
    """Behind a REINDEX that waits for the first it would wait for the first, which waits for it."""
    asked: LiteralString = (
        "SELECT current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout')"
    )
    with SecondConnection(ingest.conn) as second:
        assert second.opens()
        assert second.start(lambda conn: conn.execute(asked).fetchone()).result() == ("1min", "0")


def test_the_second_commits_nothing_where_the_first_is_lost(ingest: Ingest) -> None:
    """What the first held, such as the days to count, may be another run's by then."""
    with connect(ingest.settings, "upstream_pipeline") as first, SecondConnection(first) as second:
        assert second.opens()
        second.start(lambda conn: conn.execute("UPDATE customers SET name = 'Other'")).result()
        assert ingest.settings.database_url is not None
        with psycopg.connect(ingest.settings.database_url.get_secret_value()) as admin:
            admin.execute("SELECT pg_terminate_backend(%s, 5000)", (first.info.backend_pid,))
        with pytest.raises(psycopg.OperationalError):
            second.commit()
    assert ingest.customer.name != "Other"


def test_where_the_second_cannot_be_told_to_stop_what_went_wrong_is_raised_and_no_thread_is_left(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest.conn.execute("SELECT pg_advisory_lock(77, 2)")

    def refuse(*_: Any, **__: Any) -> None:
        raise psycopg.OperationalError("cancellation failed")

    def fail_meanwhile() -> None:
        with SecondConnection(ingest.conn) as second:
            assert second.opens()
            second.start(lambda conn: conn.execute("SELECT pg_advisory_lock(77, 2)"))
            raise ValueError("of the first")

    monkeypatch.setattr(psycopg.Connection, "cancel_safe", refuse)
    with pytest.raises(ValueError, match="of the first") as raised:
        fail_meanwhile()
    assert raised.value.__notes__ == ["The second connection could not be told to stop either: OperationalError."]
    assert not [one.name for one in threading.enumerate() if one.name.startswith("second connection")]


def test_days_that_a_merge_is_noting_are_left_to_its_own_count(ingest: Ingest) -> None:
    """Counted without its lines, which are not to be seen yet, they would be no longer noted."""
    ingest.load(file_of(row("A")))
    upload_id = ingest.send(file_of(row("B")))
    _read(ingest)
    with connect(ingest.settings, "upstream_pipeline") as other:
        with SecondConnection(other) as second, other.transaction():
            merge.merge_upload(other, second, ingest.customer, upload_id)
            _count_days(ingest)
        _count_days(ingest)
    assert _one(ingest.conn, "SELECT sum(lines) FROM payer_activity") == 2
    assert _one(ingest.conn, "SELECT count(*) FROM touched_days") == 0
