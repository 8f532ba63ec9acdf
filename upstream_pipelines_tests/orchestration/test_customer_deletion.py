"""`upstream customers delete`, as typed: nothing of the customer is left in any table, folder or log; the others keep all."""

from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from psycopg import sql
from typer.testing import CliRunner

from upstream_pipelines.cli.main import app
from upstream_pipelines.customers.audit import operator
from upstream_pipelines.customers.store import set_status
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.migrate import dagster_url
from upstream_pipelines.defs.home import dagster_instance
from upstream_pipelines.errors import ConfigurationError, ConflictError, NotFoundError, UpstreamError
from upstream_pipelines.ingest.landing import customer_folder
from upstream_pipelines.ingest.uploads import LOCK_CLASS
from upstream_pipelines.operations import deletion
from upstream_pipelines.settings import Settings
from upstream_pipelines_tests.database.test_tenancy import _fill_every_table
from upstream_pipelines_tests.orchestration.conftest import with_dagster_of_its_own

GONE, KEPT = "gone-canary", "kept"


@dg.op
def _look_at_both(context: dg.OpExecutionContext) -> None:
    for slug in (KEPT, GONE):
        context.log_event(dg.AssetMaterialization("claims", partition=slug, metadata={"customer": slug}))
        evaluation: Any = dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey("claims"),
            check_name="c",
            passed=True,
            partition=slug,
            metadata={"customer": slug},
        )
        context.log_event(evaluation)


@dg.job
def _sweep() -> None:
    _look_at_both()


@pytest.fixture
def settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    return with_dagster_of_its_own(settings, monkeypatch)


def _delete(*words: str) -> str:
    result = CliRunner().invoke(app, ["customers", "delete", GONE, *words], env={"COLUMNS": "200"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def _rows(conn: Connection, customer_id: int) -> dict[str, int]:
    """Rows of the customer in every table that has any, by the catalogue."""
    tables = conn.execute(
        """SELECT table_name FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
            WHERE table_schema = 'public' AND column_name = 'customer_id' AND table_type = 'BASE TABLE'"""
    ).fetchall()
    assert len(tables) > 20
    count = sql.SQL("SELECT count(*) FROM {} WHERE customer_id = %s")
    counted = {
        name: conn.execute(count.format(sql.Identifier(name)), (customer_id,)).fetchone()[0]  # type: ignore[index]
        for (name,) in tables
    }
    return {name: rows for name, rows in counted.items() if rows and name not in deletion.STAYS}


def _named_in_dagster(settings: Settings, slug: str) -> set[str]:
    """Dagster's tables with a row that holds this text anywhere."""
    with psycopg.connect(dagster_url(settings).render_as_string(hide_password=False)) as conn:
        tables = conn.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
        ).fetchall()
        found = sql.SQL("SELECT count(*) FROM {} AS t WHERE t::text LIKE %s")
        return {
            name
            for (name,) in tables
            if conn.execute(found.format(sql.Identifier(name)), (f"%{slug}%",)).fetchone() != (0,)
        }


def test_nothing_of_a_deleted_customer_is_left_and_the_others_keep_all(
    settings: Settings, pipeline: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most likely wrong: a table of a later release, rows that refer to each other, a deletion that was killed."""
    ids = {}
    for slug in (GONE, KEPT):
        row = pipeline.execute(
            "INSERT INTO customers (slug, name) VALUES (%s, %s) RETURNING customer_id", (slug, slug)
        ).fetchone()
        assert row is not None
        ids[slug] = row[0]
        folder = customer_folder(settings, slug)
        for place in (".done/1", ".uploads/2", "."):
            (folder / place).mkdir(parents=True, exist_ok=True)
            (folder / place / "claims.csv").write_text("x")
    _fill_every_table(settings, (ids[GONE], ids[KEPT]))
    for _ in range(3):
        pipeline.execute(
            """INSERT INTO uploads (customer_id, source, sha256, byte_count, duplicate_of)
               SELECT customer_id, 'csv', 'x', 1, upload_id FROM uploads WHERE duplicate_of IS NULL"""
        )
    # Which the catalogue would give first, and whose originals may not go before them.
    pipeline.execute("UPDATE uploads SET error_code = 'moved behind' WHERE duplicate_of IS NOT NULL")
    pipeline.execute("DELETE FROM members")
    for email, of in (("gone@a.example", [GONE]), ("both@a.example", [GONE, KEPT])):
        person = pipeline.execute(
            "INSERT INTO people (email) VALUES (%s) RETURNING person_id", (email,)
        ).fetchone()
        assert person is not None
        pipeline.execute(
            """WITH s AS (INSERT INTO login_sessions (person_id) VALUES (%s) RETURNING session_id, person_id)
               INSERT INTO session_tokens (token_sha256, session_id, person_id, kind, expires_at)
               SELECT sha256(session_id::text::bytea), session_id, person_id, 'access', now() FROM s""",
            person,
        )
        for slug in of:
            pipeline.execute(
                "INSERT INTO members (customer_id, person_id, role) VALUES (%s, %s, 'owner')", (ids[slug], *person)
            )
    kept = _rows(pipeline, ids[KEPT])
    with dagster_instance(settings) as instance:
        instance.add_dynamic_partitions("customer", [GONE, KEPT])
        _sweep.execute_in_process(instance=instance)
        own = _sweep.execute_in_process(instance=instance, tags={"dagster/partition": GONE}).run_id
        assert {"event_logs", "asset_check_executions", "asset_keys", "run_tags"} < _named_in_dagster(
            settings, GONE
        )

        with pytest.raises(ConfigurationError, match=f"--yes {GONE}"):
            _delete("--yes", KEPT)
        with pytest.raises(ConflictError, match="is active"):
            _delete("--yes", GONE)
        set_status(pipeline, GONE, "disabled")
        pipeline.execute("SELECT pg_advisory_lock(%s, %s::int)", (LOCK_CLASS, ids[GONE]))
        with pytest.raises(ConflictError, match="at work"):
            _delete("--yes", GONE)
        pipeline.execute("SELECT pg_advisory_unlock(%s, %s::int)", (LOCK_CLASS, ids[GONE]))
        assert _rows(pipeline, ids[GONE]) == kept | {"members": 2}

        # One row a transaction, two a look-up, and killed in the middle.
        monkeypatch.setattr(deletion, "BATCH_ROWS", 1)
        monkeypatch.setattr(deletion, "_CHUNK_ROWS", 2)
        empty, tables = deletion._empty, iter(range(5))
        with monkeypatch.context() as killed:
            killed.setattr(deletion, "_empty", lambda *a: empty(*a) if next(tables, None) is not None else _kill())
            with pytest.raises(RuntimeError, match="killed"):
                _delete("--yes", GONE)
        left = _rows(pipeline, ids[GONE])
        assert 1 < len(left) < len(kept)
        assert "customers" in left

        said = _delete("--yes", GONE)
        assert "uploads" in said
        assert "nightly cleanup" in said
        assert _rows(pipeline, ids[GONE]) == {}
        assert pipeline.execute("SELECT email FROM people").fetchall() == [("both@a.example",)]
        assert pipeline.execute("SELECT count(*) FROM login_sessions").fetchone() == (1,)
        trail = pipeline.execute(
            "SELECT action FROM audit_log WHERE customer_id = %s AND entity_id = %s ORDER BY at", (ids[GONE], GONE)
        ).fetchall()
        assert trail == [("customer.deletion_begun",)] * 2 + [("customer.deleted",)]
        assert _rows(pipeline, ids[KEPT]) == kept
        landing = Path(settings.landing_root)
        assert [path.name for path in landing.iterdir()] == [KEPT]
        assert len([path for path in landing.rglob("*") if path.is_file()]) == 3
        assert _named_in_dagster(settings, GONE) == set()
        assert {"event_logs", "asset_check_executions", "asset_keys", "dynamic_partitions"} <= _named_in_dagster(
            settings, KEPT
        )
        assert instance.get_run_by_id(own) is None
        assert instance.get_dynamic_partitions("customer") == [KEPT]
    with pytest.raises(NotFoundError):
        _delete("--yes", GONE)


def _kill() -> int:
    raise RuntimeError("killed")


def test_a_customer_that_is_written_for_or_enabled_meanwhile_stays(
    settings: Settings, pipeline: Connection
) -> None:
    from upstream_pipelines.customers.store import create_customer, get_customer

    create_customer(pipeline, GONE, "Gone")
    set_status(pipeline, GONE, "disabled")
    customer = get_customer(pipeline, GONE)
    deletion.empty_customer(pipeline, operator(), settings, customer)
    pipeline.execute(
        "INSERT INTO alert_rules (customer_id, name, kinds) VALUES (%s, 'r', '{drift}')", (customer.customer_id,)
    )
    with pytest.raises(UpstreamError, match="delete it again"):
        deletion.delete_customer(pipeline, customer)
    deletion.empty_customer(pipeline, operator(), settings, customer)
    set_status(pipeline, GONE, "active")
    with pytest.raises(UpstreamError, match="was enabled"):
        deletion.delete_customer(pipeline, customer)
