"""Many lines at once: blocks written while the next is judged, claims added in chunks, counts and versions as ever."""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from upstream_pipelines.claims import merge
from upstream_pipelines.claims.judge import Judge
from upstream_pipelines.customers.store import create_customer
from upstream_pipelines.db.engine import Connection, connect
from upstream_pipelines.errors import NotFoundError
from upstream_pipelines.ingest import line_writer, merging, staging
from upstream_pipelines.ingest.csv_reader import CsvFile
from upstream_pipelines.ingest.merging import merge_staged
from upstream_pipelines.ingest.staging import stage_waiting
from upstream_pipelines.ingest.uploads import get_upload, send_file
from upstream_pipelines.settings import Settings

HEADER = "claim_id,line_number,payer,cpt,submitted_date,decided_date,outcome,billed_amount\n"
Load = Callable[[str], dict[str, Any]]


@pytest.fixture
def load(pipeline: Connection, settings: Settings, tmp_path: Path) -> Load:
    """Takes text as a file of one customer through to claims; returns its upload."""
    customer, _ = create_customer(pipeline, "acme", "Acme")
    file = tmp_path / "file.csv"

    def through(text: str) -> dict[str, Any]:
        file.write_text(HEADER + text)
        upload_id = send_file(pipeline, settings, customer, file)
        stage_waiting(pipeline, settings, customer, source="csv", run_id="r")
        merge_staged(pipeline, settings, customer, "r")
        return get_upload(pipeline, customer.customer_id, upload_id)

    return through


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows a block and a chunk, and two connections for two new lines, so that a file of a dozen rows has seams."""
    blocks = CsvFile.blocks
    monkeypatch.setattr(CsvFile, "blocks", lambda self, rows=2: blocks(self, 2))
    monkeypatch.setattr(merge, "ADDED_ROWS", 2)
    monkeypatch.setattr(merge, "FEWEST_FOR_TWO", 2)


def _line(claim: str, outcome: str, billed: str) -> str:
    decided = "" if outcome == "PENDING" else "2026-02-01"
    return f"{claim},{1 if claim else ''},Aetna,99213,2026-01-05,{decided},{outcome},{billed}\n"


# Empty: a line without a claim number, which is told from its equals by its ordinal alone.
_FILES = st.lists(
    st.lists(
        st.tuples(st.sampled_from(["A", "B", "C", "D", ""]), st.sampled_from(["PAID", "DENIED", "PENDING"]),
                  st.sampled_from(["1", "2"])),
        min_size=1, max_size=9,
    ),
    min_size=1, max_size=4,
)  # fmt: skip


@pytest.mark.usefixtures("small_blocks")
@given(files=_FILES)
@hypothesis_settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_claims_counts_and_versions_are_those_of_the_rows_one_by_one(
    load: Load, pipeline: Connection, files: list[list[tuple[str, str, str]]]
) -> None:
    """Most likely wrong: of rows for one key in two chunks the first is kept, or the last is a second version."""
    for table in ("claim_history", "claims", "received_lines", "touched_days"):
        pipeline.execute(f"DELETE FROM {table}")
    pipeline.execute("UPDATE uploads SET sha256 = NULL")
    stored: dict[tuple[Any, ...], tuple[tuple[str, str], int]] = {}
    sent: set[str] = set()
    for rows in files:
        text = "".join(_line(*row) for row in rows)
        if text in sent:
            continue  # the same bytes again are not read at all
        sent.add(text)
        upload = load(text)
        latest: dict[tuple[Any, ...], tuple[str, str]] = {}
        ordinals: dict[tuple[str, ...], int] = {}
        for claim, *rest in rows:
            content = (rest[0], rest[1])
            ordinals[content] = ordinals.get(content, 0) + (claim == "")
            latest[(claim,) if claim else ("", *content, ordinals[content])] = content
        new = sum(key not in stored for key in latest)
        updated = sum(key in stored and stored[key][0] != content for key, content in latest.items())
        assert (upload["accepted"], upload["updated"], upload["duplicates"]) == (
            new + updated, updated, len(rows) - new - updated,
        )  # fmt: skip
        for key, content in latest.items():
            before = stored.get(key)
            if before is None or before[0] != content:
                stored[key] = (content, before[1] + 1 if before else 1)
    kept = pipeline.execute(
        "SELECT coalesce(claim_id, ''), outcome, billed_amount::int::text, version FROM claims"
    )
    assert sorted(kept.fetchall()) == sorted(
        (key[0], *content, version) for key, (content, version) in stored.items()
    )
    lost = pipeline.execute(
        """SELECT count(*) FROM claims AS c LEFT JOIN uploads AS u USING (customer_id, upload_id)
            WHERE u.upload_id IS NULL"""
    ).fetchone()
    assert lost == (0,)


@pytest.mark.usefixtures("small_blocks")
def test_a_block_is_written_while_the_next_one_is_judged(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first block is not written before the second is judged, and the file comes through all the same."""
    second_is_judged = threading.Event()
    judge, copy = Judge.judge, line_writer._copy
    judged: list[int] = []

    def watched(self: Judge, block: Any) -> Any:
        judged.append(len(block.frame))
        if len(judged) == 2:
            second_is_judged.set()
        return judge(self, block)

    def held(*arguments: Any) -> None:
        assert second_is_judged.wait(20)
        copy(*arguments)

    monkeypatch.setattr(Judge, "judge", watched)
    monkeypatch.setattr(line_writer, "_copy", held)
    upload = load("".join(_line(claim, "PAID", "1") for claim in "ABCDE"))
    assert (upload["status"], upload["accepted"]) == ("success", 5)


@pytest.mark.usefixtures("small_blocks")
def test_a_block_that_cannot_be_written_ends_the_attempt_and_leaves_nothing(
    load: Load, pipeline: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, calls = line_writer._copy, iter(range(100))

    def fails_later(*arguments: Any) -> None:
        if next(calls) == 1:
            raise psycopg.OperationalError("the connection is lost")
        copy(*arguments)

    monkeypatch.setattr(line_writer, "_copy", fails_later)
    with pytest.raises(psycopg.OperationalError, match="lost"):
        load("".join(_line(claim, "PAID", "1") for claim in "ABCDEFG"))
    assert pipeline.execute("SELECT count(*) FROM received_lines").fetchone() == (0,)
    assert pipeline.execute("SELECT status FROM uploads").fetchone() == ("processing",)


def test_lines_of_an_upload_that_is_deleted_meanwhile_are_not_kept(
    load: Load, pipeline: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No foreign key looks for it any more: once a row it took longer than all indexes together."""

    def forget(conn: Connection, *_rest: object) -> None:
        conn.execute("DELETE FROM upload_runs")
        conn.execute("DELETE FROM uploads")

    monkeypatch.setattr(staging, "save_report", forget)
    with pytest.raises(NotFoundError, match="deleted while it was read"):
        load(_line("A", "PAID", "1"))
    assert pipeline.execute("SELECT count(*) FROM received_lines").fetchone() == (0,)


@pytest.fixture
def estimated_lines(pipeline: Connection) -> Callable[[], float]:
    """How many claims the planner expects; -1 where the table was never analyzed."""
    return lambda: pipeline.execute("SELECT reltuples FROM pg_class WHERE relname = 'claims'").fetchone()[0]  # type: ignore[index]


def test_lines_staged_by_a_program_that_did_not_count_them_keep_their_keys(
    load: Load, pipeline: Connection, settings: Settings, tmp_path: Path
) -> None:
    """Most likely wrong: where nobody counted, none is taken for a line without a claim number, and all of these get one key."""
    load(_line("", "PAID", "1") * 2 + _line("A", "PAID", "1"))
    claims = "SELECT claim_key, version FROM claims ORDER BY claim_key"
    expected = pipeline.execute(claims).fetchall()
    for table in ("claims", "received_lines", "touched_days"):
        pipeline.execute(f"DELETE FROM {table}")
    customer, _ = create_customer(pipeline, "older", "Older")
    file = tmp_path / "older.csv"
    file.write_text(HEADER + _line("", "PAID", "1") * 2 + _line("A", "PAID", "1"))
    send_file(pipeline, settings, customer, file)
    stage_waiting(pipeline, settings, customer, source="csv", run_id="r")
    counted = pipeline.execute("UPDATE uploads SET unnatural_lines = NULL WHERE customer_id = %s RETURNING rows",
                               [customer.customer_id]).fetchone()  # fmt: skip
    assert counted == (3,)
    merge_staged(pipeline, settings, customer, "r")
    assert pipeline.execute(claims).fetchall() == expected


def test_an_upload_of_which_a_line_is_missing_is_not_finished(
    pipeline: Connection, settings: Settings, tmp_path: Path
) -> None:
    """Most likely wrong: what is missing counts as a duplicate, and nobody hears of it."""
    customer, _ = create_customer(pipeline, "acme", "Acme")
    file = tmp_path / "file.csv"
    file.write_text(HEADER + _line("A", "PAID", "1") + _line("B", "PAID", "1"))
    upload_id = send_file(pipeline, settings, customer, file)
    stage_waiting(pipeline, settings, customer, source="csv", run_id="r")
    pipeline.execute("DELETE FROM received_lines WHERE source_row_number = 1")
    with pytest.raises(psycopg.errors.CheckViolation):
        merge_staged(pipeline, settings, customer, "r")
    assert get_upload(pipeline, customer.customer_id, upload_id)["status"] == "processing"
    assert pipeline.execute("SELECT count(*) FROM claims").fetchone() == (0,)


def test_after_a_large_merge_the_planner_knows_of_the_new_lines(
    load: Load, estimated_lines: Callable[[], float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would read each of a million lines by index to count activity. A small merge is not worth the look."""
    load(_line("A", "PAID", "1"))
    assert estimated_lines() == -1
    monkeypatch.setattr(merging, "_ANALYZE_FROM", 2)
    load("".join(_line(claim, "PAID", "1") for claim in "BCD"))
    assert estimated_lines() == 4


def test_a_statement_of_a_killed_run_ends_soon_and_with_it_the_lock_of_its_customer(settings: Settings) -> None:
    for role in ("upstream_pipeline", "upstream_api"):
        with connect(settings, role) as conn:
            assert conn.execute("SHOW client_connection_check_interval").fetchone() == ("10s",)


def test_no_statement_is_compiled_whatever_the_server_does_by_itself(settings: Settings) -> None:
    """Before PostgreSQL 18 a sort that is left where sorting is switched off would have each count of a customer compiled."""
    for role in ("upstream_pipeline", "upstream_api"):
        with connect(settings, role) as conn:
            found = conn.execute("SELECT setting, source FROM pg_settings WHERE name = 'jit'").fetchone()
            assert found == ("off", "client")


def test_a_statement_of_a_request_ends_and_one_of_a_run_may_take_its_time(settings: Settings) -> None:
    with connect(settings, "upstream_pipeline") as conn:
        assert conn.execute("SHOW statement_timeout").fetchone() == ("0",)
    with connect(settings, "upstream_api") as conn:
        assert conn.execute("SHOW statement_timeout").fetchone() == ("20s",)


def test_only_the_pipeline_may_ask_for_the_look(settings: Settings) -> None:
    with connect(settings, "upstream_api") as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.execute("SELECT analyze_claims()")


def test_each_line_is_looked_up_by_its_key_also_of_a_customer_whom_the_statistics_do_not_know(
    load: Load, pipeline: Connection, settings: Settings
) -> None:
    """The planner expects one claim of such a customer: by the index of days, each line would read all of them."""
    load("".join(_line(f"A{number}", "PAID", "1") for number in range(400)))
    pipeline.execute("SELECT analyze_claims()")
    newcomer, _ = create_customer(pipeline, "new", "New")
    key = {"customer_id": newcomer.customer_id, "upload_id": uuid.uuid4(), "aliases": None, **merge.ALL_KEYS}
    for name in ("place_remittances", "settle_stored"):
        if name == "settle_stored":
            pipeline.execute("CREATE TEMP TABLE placed (source_row_number bigint, place integer, claim_key uuid)")
        plan = "\n".join(row[0] for row in pipeline.execute("EXPLAIN " + getattr(merge.QUERIES, name), key))
        assert re.findall(r"using (\w+) on claims k\b", plan) == ["claims_pkey"], plan
