"""Connections: which server, as which role, for how long. psycopg 3 in SQLAlchemy's pool.

Not here: starting a server (embedded.py), making roles and tables (migrate.py), any query.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Lock
from typing import Any, Literal, cast
from uuid import UUID

import psycopg
from sqlalchemy import create_engine, event
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError, InvalidatePoolError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from upstream_pipelines.db import embedded
from upstream_pipelines.errors import ConfigurationError, DatabaseUnavailableError
from upstream_pipelines.settings import Settings

Role = Literal["upstream_owner", "upstream_pipeline", "upstream_api"]
Connection = psycopg.Connection[Any]
# Gives a connection each time it is asked for one: for what would hold it through something slow.
Connecting = Callable[[], AbstractContextManager[Connection]]


def database_url(settings: Settings) -> URL:
    """The product's database, without a driver.

    With no `UPSTREAM_DATABASE_URL` the embedded server is started (or joined) first.

    Raises:
        ConfigurationError: the variable holds no PostgreSQL URL.
        DatabaseUnavailableError: the embedded server does not start.
    """
    if settings.database_url is None:
        return embedded.join(settings.home)
    return parse_url(settings.database_url.get_secret_value(), "UPSTREAM_DATABASE_URL")


def parse_url(text: str, variable: str) -> URL:
    """Read a PostgreSQL URL; the error names the variable and never repeats the URL (it may hold a password)."""
    try:
        url = make_url(text)
    except ArgumentError:
        url = None
    if url is None or url.get_backend_name() != "postgresql" or not url.database:
        raise ConfigurationError(
            f"{variable} is not a PostgreSQL URL. Write it as postgresql://user:password@host:5432/database."
        )
    return url.set(drivername="postgresql")


REQUEST_SECONDS = 20  # that a statement of the API may take


def role_url(url: URL, role: Role | None) -> URL:
    """The same database with psycopg 3 and, as the session's own defaults, UTC, a look at the client, no JIT, and the role.

    As start-up options they survive RESET and the pool's rollbacks; a SET would not. UTC: a server of one's own may keep
    another zone, and instants that PostgreSQL writes into JSON are in the session's. The look at the client: a statement of a
    run that was killed would go on to its end, and keep the customer's lock until then. No JIT: where sorting is switched off
    for a statement, a PostgreSQL before 18 takes a sort that is left for endlessly dear, and compiles for a third of a second
    what takes a millisecond. A statement of a request ends after
    `REQUEST_SECONDS`: whoever finds a slow one would else hold all connections of the API with a few requests.
    """
    given = cast(str, url.query.get("options", ""))
    own = "-c timezone=UTC -c client_connection_check_interval=10s -c jit=off" + (
        "" if role is None else f" -c role={role}"
    )
    if role == "upstream_api":
        own += f" -c statement_timeout={REQUEST_SECONDS}s"
    url = url.set(drivername="postgresql+psycopg")
    return url.update_query_dict({"options": f"{given} {own}".strip()})


_LOGIN = re.compile(r'\b(user|role) "[^"]*"')

# A killed server takes longer to be back, and under load a connection lies idle for less.
_TRUSTED_SECONDS = 0.1
# By a digest of the URL as it is written (it may hold a password), and the role: to read a URL and to put a role into it takes
# longer than a look at a token.
_engines: dict[tuple[bytes, Role | None], Engine] = {}
_engines_lock = Lock()


def _engine(text: str, variable: str, role: Role | None) -> Engine:
    key = (hashlib.sha256(text.encode()).digest(), role)
    with _engines_lock:
        pool = _engines.get(key)
        if pool is None:
            url = role_url(parse_url(text, variable), role)
            # As many as are needed at once, and all of them kept: those beyond the pool's size are closed after each use, and
            # of 16 senders of batches most had to wait for a connection to be made.
            pool = create_engine(url, pool_size=20, max_overflow=0, pool_timeout=30, pool_use_lifo=True)
            event.listen(pool, "checkin", _note_use)
            event.listen(pool, "checkout", _ask_if_idle)
            _engines[key] = pool
        return pool


def _note_use(_connection: Any, record: ConnectionPoolEntry) -> None:
    record.info["used"] = time.monotonic()


def _ask_if_idle(connection: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:
    """After the server was restarted the first checkout must not fail, so what lay idle is asked first. Asked at each
    checkout, a webhook batch would pay for two more round trips beside its two.
    """
    if time.monotonic() - record.info.get("used", time.monotonic()) < _TRUSTED_SECONDS:
        return
    try:
        cast(Connection, connection).execute("SELECT 1")
        cast(Connection, connection).rollback()
    except psycopg.OperationalError as error:
        raise InvalidatePoolError from error


def engine(settings: Settings, role: Role | None) -> Engine:
    """SQLAlchemy engine (a pool) for a role; one per URL and process."""
    if role == "upstream_api" and settings.api_database_url is not None:
        return _engine(settings.api_database_url.get_secret_value(), "UPSTREAM_API_DATABASE_URL", role)
    if settings.database_url is not None:
        return _engine(settings.database_url.get_secret_value(), "UPSTREAM_DATABASE_URL", role)
    return _engine(embedded.join(settings.home).render_as_string(hide_password=False), "UPSTREAM_HOME", role)


def dispose_engines() -> None:
    """Close all pools; used where a process outlives its server or its database."""
    with _engines_lock:
        for pool in _engines.values():
            pool.dispose()
        _engines.clear()


def unavailable(url: URL, error: Exception, role: Role | None = None) -> DatabaseUnavailableError:
    """The error of a server that does not take a connection: where it is and why, without the login, and what to do."""
    where = f"{url.host or url.query.get('host') or 'localhost'}:{url.port or 5432}, database {url.database}"
    cause = error.orig if isinstance(error, OperationalError) and error.orig is not None else error
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    reason = _LOGIN.sub(r"the \1 of the URL", lines[0].removeprefix("connection failed: "))
    roles = f" and that `upstream migrate` has made the role {role}" if role else ""
    return DatabaseUnavailableError(
        f"PostgreSQL at {where}, cannot be used: {reason.rstrip('.')}. Check that the server runs, that "
        f"UPSTREAM_DATABASE_URL is right{roles}."
    )


@contextmanager
def connect(settings: Settings, role: Role) -> Iterator[Connection]:
    """A psycopg connection in the given role; transactions are the caller's (`conn.transaction()`).

    Raises:
        DatabaseUnavailableError: the server does not answer; the message says what to do.
    """
    pool = engine(settings, role)
    try:
        pooled = pool.raw_connection()
    except (OperationalError, psycopg.OperationalError) as error:
        raise unavailable(pool.url, error, role) from error
    try:
        conn = cast(Connection, pooled.driver_connection)
        conn.autocommit = True  # so that conn.transaction() is the real transaction, and its end the commit
        yield conn
    finally:
        driver = pooled.driver_connection
        if driver is not None and not cast(Connection, driver).closed:
            cast(Connection, driver).rollback()
            cast(Connection, driver).autocommit = False
        pooled.close()


def name_customer(conn: Connection, customer_id: int) -> None:
    """Say within a transaction, and to its end, whose it is: functions of the database act for its customer alone."""
    conn.execute("SELECT set_config('app.customer_id', %s, true)", (str(customer_id),))


@contextmanager
def as_customer(conn: Connection, customer_id: int) -> Iterator[None]:
    """The part of a transaction that is for another customer than the rest of it: one that an operator is signing up, whom the
    transaction does not know when it begins.
    """
    row = conn.execute("SELECT coalesce(current_setting('app.customer_id', true), '')").fetchone()
    assert row is not None
    name_customer(conn, customer_id)
    yield
    # Not after an error: then the transaction is over, and the setting with it.
    conn.execute("SELECT set_config('app.customer_id', %s, true)", (row[0],))


@contextmanager
def customer_transaction(conn: Connection, customer_id: int, person_id: UUID | None = None) -> Iterator[None]:
    """A transaction in which the API role sees this customer and no other, and writes the acts of that person."""
    with principal_transaction(conn, customer_id, person_id):
        yield


@contextmanager
def person_transaction(conn: Connection, person_id: UUID) -> Iterator[None]:
    """A transaction in which the API role sees this person, the customers it is a member of, and no claim of any."""
    with principal_transaction(conn, None, person_id):
        yield


@contextmanager
def principal_transaction(conn: Connection, customer_id: int | None, person_id: UUID | None) -> Iterator[None]:
    """A transaction of the API for whoever acts: a person in a customer, a person alone, or an operator (no person)."""
    with conn.transaction():
        # set_config(..., true) is SET LOCAL: a session-level SET would stay on the pooled connection.
        conn.execute(
            "SELECT set_config('app.customer_id', %s, true), set_config('app.person_id', %s, true)",
            ("" if customer_id is None else str(customer_id), str(person_id or "")),
        )
        yield


@contextmanager
def standing_still(conn: Connection) -> Iterator[None]:
    """A transaction for reading that sees one moment, however long it lasts. Not within another."""
    conn.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    try:
        # Some wait for another program in it (pg_dump) and say nothing meanwhile.
        conn.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        yield
    finally:
        if not conn.closed:
            conn.execute("ROLLBACK")
