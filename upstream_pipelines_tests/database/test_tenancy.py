"""Row-level security is the database's own: the API role with raw SQL sees one customer, in every table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import date
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql

from upstream_pipelines.db.engine import Connection, connect, customer_transaction, person_transaction
from upstream_pipelines.settings import Settings

# A column the API role may not read ends a SELECT *, so the tables with column grants name one it may.
_COUNT = sql.SQL("SELECT count(customer_id) FROM {} WHERE customer_id = %s")


def _tenant_tables(conn: Connection, *kinds: str) -> list[str]:
    """Tables and views with a customer; `kinds` as in pg_class.relkind, all kinds if none is given."""
    rows = conn.execute(
        """SELECT c.relname FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
            WHERE a.attname = 'customer_id' AND c.relkind = ANY(%s)
              AND c.relnamespace = 'public'::regnamespace ORDER BY 1""",
        (list(kinds or ("r", "p", "v", "m")),),
    ).fetchall()
    return [row[0] for row in rows]


@pytest.fixture
def two_customers(pipeline: Connection) -> tuple[int, int]:
    """Two customers with a row each in every tenant table, written with the triggers off."""
    ids = [
        pipeline.execute(
            "INSERT INTO customers (slug, name) VALUES (%s, %s) RETURNING customer_id", (slug, slug)
        ).fetchone()[0]  # type: ignore[index]
        for slug in ("alpha", "beta")
    ]
    return ids[0], ids[1]


def _fill_every_table(settings: Settings, customers: tuple[int, int]) -> None:
    """A row for each customer in every tenant table, whatever its columns: made from the catalogue."""
    sample = {
        "bigint": 1, "integer": 1, "smallint": 1, "text": "x", "uuid": "00000000-0000-0000-0000-000000000001",
        "bytea": b"x" * 32, "jsonb": "{}", "date": date(2026, 1, 1), "double precision": 0.5,
        "boolean": True, "numeric": 1, "timestamp with time zone": "2026-01-01T00:00:00Z", "ARRAY": [],
    }  # fmt: skip
    allowed = {
        "source": "csv", "status": "received", "outcome": "PAID", "kind": None, "severity": "info",
        "unknown_dollars": "tell", "basis": "setting", "direction": "worsening", "state": None, "cause": "payer", "notice": "open", "judgement": "real",
        "ends_at": "2027-01-01T00:00:00Z", "role": "viewer", "actor_kind": "operator", "action": "a.b",
    }  # fmt: skip
    special = {
        ("touched_days", "kind"): "submitted", ("alert_channels", "kind"): "email", ("alerts", "kind"): "drift",
        ("drift_events", "state"): "open", ("drift_results", "state"): "open", ("alerts", "state"): "pending",
        ("deliveries", "state"): "pending", ("quality_findings", "severity"): "info",
        ("drift_results", "severity"): 0.5, ("delivery_attempts", "outcome"): "sent",
        ("upload_runs", "step"): "read",
        ("alert_rules", "kinds"): ["drift"], ("alert_rules", "directions"): ["worsening"], ("alert_rules", "group_seconds"): 30,
        ("upload_measures", "state"): "first",
        ("kept_answers", "principal"): "operator", ("kept_answers", "key_sha256"): "0" * 64, ("kept_answers", "status"): 201,
        ("report_runs", "state"): "waiting", ("report_runs", "period_until"): date(2026, 1, 2), ("report_files", "format"): "html",
    }  # fmt: skip
    # Columns that may be null where others are not.
    also: dict[str, dict[str, object]] = {"alert_silences": {"payer": "x"}, "alerts": {"rule_id": sample["uuid"]}}
    with connect(settings, "upstream_pipeline") as lookup:
        tables = [name for name in _tenant_tables(lookup, "r", "p") if name != "customers"]
    url = settings.database_url
    assert url is not None
    with psycopg.connect(url.get_secret_value(), autocommit=True) as conn:
        conn.execute("SET session_replication_role = replica")  # foreign keys are not this test's subject
        for table in tables:
            columns = conn.execute(
                """SELECT column_name, data_type FROM information_schema.columns
                    WHERE table_name = %s AND table_schema = 'public' AND column_name <> 'customer_id'
                      AND is_nullable = 'NO' ORDER BY ordinal_position""",
                (table,),
            ).fetchall()
            for customer in customers:
                values: dict[str, object] = {"customer_id": customer, **also.get(table, {})}
                for name, kind in columns:
                    values[name] = special.get((table, name)) or allowed.get(name) or sample[kind]
                    if name == "token_sha256":
                        values[name] = bytes([customer % 256]) * 32
                conn.execute(
                    sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                        sql.Identifier(table),
                        sql.SQL(", ").join(map(sql.Identifier, values)),
                        sql.SQL(", ").join(sql.Placeholder() * len(values)),
                    ),
                    list(values.values()),
                )


@contextmanager
def _api(settings: Settings) -> Iterator[Connection]:
    with connect(settings, "upstream_api") as conn:
        yield conn


def test_customer_a_sees_no_row_of_customer_b_in_any_table(
    settings: Settings, two_customers: tuple[int, int], pipeline: Connection
) -> None:
    """Most likely wrong: a new table without a policy, or a policy for one role only."""
    _fill_every_table(settings, two_customers)
    alpha, beta = two_customers
    tables = _tenant_tables(pipeline)
    assert len(tables) >= 21
    with _api(settings) as conn:
        for table in tables:
            with customer_transaction(conn, alpha):
                own = conn.execute(_COUNT.format(sql.Identifier(table)), (alpha,)).fetchone()
                other = conn.execute(_COUNT.format(sql.Identifier(table)), (beta,)).fetchone()
            assert own == (1,), table
            assert other == (0,), table


def test_every_tenant_table_has_row_level_security_forced(pipeline: Connection) -> None:
    """The owner of a table passes by its policies unless FORCE is set."""
    rows = pipeline.execute(
        """SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity FROM pg_class AS c
            WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace
              AND c.relname <> 'alembic_version'"""
    ).fetchall()
    assert rows
    assert [row for row in rows if not (row[1] and row[2])] == []


def test_the_owner_itself_sees_no_claim(settings: Settings, two_customers: tuple[int, int]) -> None:
    with connect(settings, "upstream_owner") as conn:
        assert conn.execute("SELECT count(*) FROM customers").fetchone() == (0,)


def test_without_a_customer_the_api_sees_nothing_before_and_after_a_transaction(
    settings: Settings, two_customers: tuple[int, int]
) -> None:
    """After a SET LOCAL transaction the setting is '' and not NULL; a plain cast would raise there."""
    with _api(settings) as conn:
        assert conn.execute("SELECT count(*) FROM customers").fetchone() == (0,)
        with customer_transaction(conn, two_customers[0]):
            assert conn.execute("SELECT count(*) FROM customers").fetchone() == (1,)
        assert conn.execute("SELECT current_setting('app.customer_id', true)").fetchone() == ("",)
        assert conn.execute("SELECT count(*) FROM customers").fetchone() == (0,)


def test_the_customer_does_not_stay_on_a_pooled_connection(
    settings: Settings, two_customers: tuple[int, int]
) -> None:
    with _api(settings) as conn:
        first = conn.execute("SELECT pg_backend_pid()").fetchone()
        with customer_transaction(conn, two_customers[0]):
            conn.execute("SELECT 1")
    with _api(settings) as conn:
        assert conn.execute("SELECT pg_backend_pid()").fetchone() == first
        assert conn.execute("SELECT count(*) FROM customers").fetchone() == (0,)


def test_reset_role_does_not_leave_the_api_role(settings: Settings) -> None:
    """The role is a start-up option, so RESET goes back to it; after a SET ROLE it would be the login."""
    with _api(settings) as conn:
        conn.execute("RESET ROLE")
        assert conn.execute("SELECT current_user").fetchone() == ("upstream_api",)
        conn.execute("RESET ALL")
        assert conn.execute("SELECT current_user").fetchone() == ("upstream_api",)


def test_the_api_role_writes_no_row_for_another_customer(
    settings: Settings, two_customers: tuple[int, int]
) -> None:
    alpha, beta = two_customers
    statement = "INSERT INTO uploads (customer_id, source, sha256, byte_count) VALUES (%s, 'csv', 'x', 1)"
    with _api(settings) as conn:
        with customer_transaction(conn, alpha):
            conn.execute(statement, (alpha,))
        with pytest.raises(psycopg.errors.InsufficientPrivilege), customer_transaction(conn, alpha):
            conn.execute(statement, (beta,))


def test_the_api_role_reads_no_token_hash_and_no_channel_secret(
    settings: Settings, two_customers: tuple[int, int]
) -> None:
    with _api(settings) as conn:
        for statement in ("SELECT token_sha256 FROM ingestion_tokens", "SELECT secret FROM alert_channels"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), customer_transaction(conn, two_customers[0]):
                conn.execute(statement)


def test_answers_kept_for_people_operators_and_tokens_are_each_their_own(
    settings: Settings, two_customers: tuple[int, int], pipeline: Connection
) -> None:
    """Most likely wrong: a person's transaction, which has the customer of the tokens too, reads or changes what they were answered,
    or a token's what a person was.
    """
    alpha, beta = two_customers
    ann, bob = uuid4(), uuid4()
    token = f"token {uuid4()}"
    kept = [
        (customer, principal)
        for customer in (None, alpha, beta)
        for principal in ("operator", f"person {ann}", f"person {bob}", token)
    ]
    statement = (
        "INSERT INTO kept_answers (customer_id, principal, key_sha256, request_sha256, status)"
        " VALUES (%s, %s, %s, sha256('x'), 201)"
    )
    for customer, principal in kept:
        pipeline.execute(statement, (customer, principal, "0" * 64))
    own: dict[tuple[int | None, UUID | None], set[tuple[int | None, str]]] = {
        (None, None): {(None, "operator")},
        (None, ann): {(None, f"person {ann}")},
        (alpha, None): {(alpha, "operator"), (alpha, token)},
        (alpha, ann): {(alpha, f"person {ann}")},
        (beta, None): {(beta, "operator"), (beta, token)},
        (beta, bob): {(beta, f"person {bob}")},
    }
    with _api(settings) as conn:
        for (customer, person), seen in own.items():
            with _acting(conn, customer, person):
                assert set(conn.execute("SELECT customer_id, principal FROM kept_answers")) == seen
            with _acting(conn, customer, person):
                changed = conn.execute("UPDATE kept_answers SET status = 299 RETURNING customer_id, principal")
                assert set(changed) == seen
            for row in kept:
                may = _acting(conn, customer, person)
                refused = pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security")
                with nullcontext() if row in seen else refused, may:
                    conn.execute(statement, (*row, "1" * 64))
            pipeline.execute("DELETE FROM kept_answers WHERE key_sha256 = %s", ("1" * 64,))


@contextmanager
def _acting(conn: Connection, customer_id: int | None, person_id: UUID | None) -> Iterator[None]:
    """A transaction of the API for the customer, the person, both, or neither."""
    with ExitStack() as stack:
        if customer_id is not None:
            stack.enter_context(customer_transaction(conn, customer_id, person_id))
        elif person_id is not None:
            stack.enter_context(person_transaction(conn, person_id))
        else:
            stack.enter_context(conn.transaction())
        yield


def test_workers_can_lock_rows_under_the_pipeline_policy(
    settings: Settings, two_customers: tuple[int, int]
) -> None:
    """A policy for SELECT alone makes FOR UPDATE SKIP LOCKED return nothing, silently."""
    with connect(settings, "upstream_pipeline") as conn, conn.transaction():
        rows = conn.execute("SELECT customer_id FROM customers FOR UPDATE SKIP LOCKED").fetchall()
        assert len(rows) == 2


def test_foreign_keys_between_tenant_tables_carry_the_customer(pipeline: Connection) -> None:
    """A single-column foreign key tells one customer whether another's id exists."""
    rows = pipeline.execute(
        """SELECT conrelid::regclass::text, conname FROM pg_constraint
            WHERE contype = 'f' AND connamespace = 'public'::regnamespace
              -- People belong to no customer.
              AND EXISTS (SELECT 1 FROM pg_attribute WHERE attrelid = confrelid AND attname = 'customer_id')
              AND NOT EXISTS (SELECT 1 FROM unnest(conkey) AS k JOIN pg_attribute AS a
                               ON a.attrelid = conrelid AND a.attnum = k WHERE a.attname = 'customer_id')"""
    ).fetchall()
    assert rows == []
