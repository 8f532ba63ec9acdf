"""Brings a database up to date: the roles, Dagster's own database, then Alembic's migrations.

Not here: the tables themselves (migrations/versions/).
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import LiteralString

import psycopg
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy.engine import URL
from sqlalchemy.exc import OperationalError

from upstream_pipelines.db.engine import Role, connect, database_url, engine, unavailable
from upstream_pipelines.errors import DatabaseUnavailableError
from upstream_pipelines.settings import Settings

_ROLES: tuple[LiteralString, ...] = ("upstream_owner", "upstream_pipeline", "upstream_api")


def migrate(settings: Settings) -> str:
    """Make roles and databases where missing and run all migrations. Safe to run again and at once.

    Returns: the revision the schema is at now.
    """
    url = database_url(settings)
    with connect_as_login(url) as conn:
        # One migration at a time, whoever starts it; 7305 is no more than a number of our own.
        conn.execute("SELECT pg_advisory_lock(7305)")
        _ensure(conn, settings)
        with engine(settings, "upstream_owner").connect() as owner:
            config = _config()
            config.attributes["connection"] = owner
            command.upgrade(config, "head")
            owner.commit()
    return head_revision()


def ensure_roles_and_databases(settings: Settings) -> None:
    """What a backup of the database does not hold and needs: the roles, and Dagster's own database. No table is made."""
    with connect_as_login(database_url(settings)) as conn:
        _ensure(conn, settings)


def _ensure(conn: psycopg.Connection, settings: Settings) -> None:
    _ensure_roles(conn)
    _take_from_public(conn)
    _ensure_database(conn, settings.dagster_database_name)


def prepare(settings: Settings) -> None:
    """Make sure a command can work: migrate the embedded server's or an empty database; check any other.

    Raises:
        DatabaseUnavailableError: a server of one's own is at another revision; migrating that is for people.
    """
    if settings.database_url is None or current_revision(settings) is None:
        migrate(settings)
    else:
        require_current(settings)


@lru_cache(maxsize=1)
def head_revision() -> str:
    """The newest revision this program knows. Read once: each sensor's tick and each run asks, and it is in the code."""
    return str(ScriptDirectory.from_config(_config()).get_current_head())


def known_revisions() -> set[str]:
    """The revisions from which this program can go on."""
    return {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def current_revision(settings: Settings, role: Role | None = None) -> str | None:
    """The revision the database is at, None before the first migration.

    Raises:
        DatabaseUnavailableError: the server does not answer.
    """
    pool = engine(settings, role)
    try:
        with pool.connect() as conn:
            return MigrationContext.configure(conn).get_current_revision()
    except OperationalError as error:
        raise unavailable(pool.url, error, role) from error


def dagster_url(settings: Settings) -> URL:
    """Dagster's own database, on the same server."""
    return database_url(settings).set(database=settings.dagster_database_name)


def require_current(settings: Settings) -> None:
    """Raise when the schema is not the one this program was written for."""
    revision = current_revision(settings)
    if revision != head_revision():
        raise DatabaseUnavailableError(
            f"The database schema is at revision {revision or 'none'}, this program needs {head_revision()}. "
            "Run `upstream migrate`."
        )
    with connect(settings, "upstream_pipeline") as conn:
        conn.execute("SELECT 1")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    return config


def connect_as_login(url: URL) -> psycopg.Connection:
    """As the login of the URL itself, which owns the database and may become each role; each statement commits.

    Raises:
        DatabaseUnavailableError: the server does not answer.
    """
    try:
        return psycopg.connect(url.render_as_string(hide_password=False), autocommit=True, connect_timeout=10)
    except psycopg.OperationalError as error:
        raise unavailable(url, error) from error


def _ensure_roles(conn: psycopg.Connection) -> None:
    """Roles that no one logs in as: the session's user switches to them (see db/engine.py)."""
    try:
        with conn.transaction():
            for role in _ROLES:
                name = sql.Identifier(role)
                if not conn.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone():
                    conn.execute(sql.SQL("CREATE ROLE {} NOLOGIN NOSUPERUSER NOBYPASSRLS").format(name))
                conn.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(name))
            # The owner hands one function to the pipeline role (see the first migration). Without
            # INHERIT FALSE the pipeline's policies would hold for the owner, and it would see all claims.
            conn.execute("GRANT upstream_pipeline TO upstream_owner WITH INHERIT FALSE, SET TRUE")
            conn.execute("ALTER SCHEMA public OWNER TO upstream_owner")
            conn.execute("GRANT USAGE ON SCHEMA public TO upstream_pipeline, upstream_api")
    except psycopg.errors.InsufficientPrivilege as error:
        raise DatabaseUnavailableError(
            "The login of UPSTREAM_DATABASE_URL may not make the roles upstream_owner, upstream_pipeline and "
            "upstream_api. Give it CREATEROLE and ownership of the database, or make the roles and grant them "
            "to it beforehand."
        ) from error


# Open to every login of any PostgreSQL: large objects, which no row-level security holds and nobody looks for, and the advisory locks
# that runs and migrations hold (two numbers, or for a session). What is left to the API's role is what a request holds its
# Idempotency-Key with, pg_try_advisory_xact_lock(bigint), whose locks are others than those of two numbers.
_OPEN_FUNCTIONS: LiteralString = """
    SELECT p.oid::regprocedure::text
      FROM pg_proc AS p
     WHERE p.pronamespace = 'pg_catalog'::regnamespace
       AND (p.proname LIKE 'lo\\_%' OR p.proname IN ('loread', 'lowrite')
            OR (p.proname ~ '^pg_(try_)?advisory_(xact_)?lock(_shared)?$'
                AND p.oid <> 'pg_catalog.pg_try_advisory_xact_lock(bigint)'::regprocedure))
       AND has_function_privilege('public', p.oid, 'EXECUTE')
     ORDER BY 1
"""


def _take_from_public(conn: psycopg.Connection) -> None:
    """Keep functions of PostgreSQL itself from the API's role, in this database. Only a superuser can; with any other login they stay as
    they are (docs/operations.md has the statements).
    """
    if not conn.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user AND rolsuper").fetchone():
        return
    for (function,) in conn.execute(_OPEN_FUNCTIONS).fetchall():
        # As PostgreSQL writes a function's name and types, which has no quotes to be closed.
        named = sql.SQL(function)
        conn.execute(sql.SQL("REVOKE EXECUTE ON FUNCTION {} FROM PUBLIC").format(named))
        if "advisory" in function:
            conn.execute(sql.SQL("GRANT EXECUTE ON FUNCTION {} TO upstream_pipeline").format(named))


def _ensure_database(conn: psycopg.Connection, name: str) -> None:
    if conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
        return
    try:
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except psycopg.errors.InsufficientPrivilege as error:
        raise DatabaseUnavailableError(
            f"The login of UPSTREAM_DATABASE_URL may not make the database {name} for Dagster's storage. "
            "Give it CREATEDB, or make that database and let it own it."
        ) from error
