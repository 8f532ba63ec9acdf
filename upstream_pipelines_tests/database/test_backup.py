"""A backup holds every row and every waiting file, and is read back into empty databases only."""

from __future__ import annotations

import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr
from sqlalchemy.engine import URL
from typer.testing import CliRunner

from upstream_pipelines.cli.main import app
from upstream_pipelines.customers.store import create_customer, get_customer
from upstream_pipelines.db.engine import Connection, connect, database_url, dispose_engines
from upstream_pipelines.db.migrate import dagster_url, migrate, require_current
from upstream_pipelines.errors import ConfigurationError, ConflictError
from upstream_pipelines.ingest.landing import customer_folder
from upstream_pipelines.ingest.merging import merge_staged
from upstream_pipelines.ingest.staging import stage_waiting
from upstream_pipelines.ingest.uploads import get_upload, register_landed_files, send_file
from upstream_pipelines.operations import archive, backup, programs
from upstream_pipelines.operations.backup import back_up, count_rows
from upstream_pipelines.operations.restore import restore
from upstream_pipelines.settings import Settings

HEADER = "claim_id,line_number,payer,cpt,submitted_date,decided_date,outcome,billed_amount\n"
FIRST = HEADER + "".join(f"A{n},1,Aetna,99213,2026-01-05,2026-01-20,PAID,100\n" for n in range(20))
SECOND = HEADER + "B1,1,Aetna,99213,2026-01-06,,PENDING,100\nB2,1,,99213,2026-01-06,,PENDING,100\n"


def _text(url: URL) -> str:
    return url.render_as_string(hide_password=False)


@pytest.fixture(scope="module")
def keeper(server_url: URL) -> Iterator[URL]:
    """A login such as a server of one's own gives: no superuser, and under row-level security."""
    name = f"keeper_{uuid.uuid4().hex}"
    with psycopg.connect(_text(server_url), autocommit=True) as admin:
        admin.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'p:w%@' CREATEROLE CREATEDB NOSUPERUSER").format(
                sql.Identifier(name)
            )
        )
        # The roles exist from the other tests; in a cluster of its own this login makes them itself.
        for role in ("upstream_owner", "upstream_pipeline", "upstream_api"):
            admin.execute(
                sql.SQL("GRANT {} TO {} WITH ADMIN OPTION").format(sql.Identifier(role), sql.Identifier(name))
            )
        yield server_url.set(username=name, password="p:w%@", database=name)
        dispose_engines()
        databases = admin.execute(
            "SELECT datname FROM pg_database WHERE datdba = (SELECT oid FROM pg_roles WHERE rolname = %s)", (name,)
        ).fetchall()
        for (database,) in databases:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database)))
        admin.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
        admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def fresh(keeper: URL, server_url: URL, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Settings]:
    """Makes settings with an empty database and home of their own."""

    def make() -> Settings:
        name = f"kept_{uuid.uuid4().hex}"
        with psycopg.connect(_text(server_url), autocommit=True) as admin:
            admin.execute(
                sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0").format(
                    sql.Identifier(name), sql.Identifier(keeper.username or "")
                )
            )
        home = tmp_path_factory.mktemp("home") / "home"
        return Settings(
            home=home,
            # Named, since a fixture of the module is made with whatever environment the test before it left.
            landing_zone=str(home / "landing"),
            database_url=SecretStr(_text(keeper.set(database=name))),
            dagster_database_name=f"{name}_d",
            landing_quiet_seconds=0,
        )

    return make


def _load(conn: Connection, settings: Settings, slug: str) -> None:
    customer = get_customer(conn, slug)
    register_landed_files(conn, settings, customer)
    stage_waiting(conn, settings, customer, source="csv", run_id="r")
    merge_staged(conn, settings, customer, "r")


def _checksums(conn: Connection) -> dict[str, str]:
    """Of each table, whatever the order of its rows."""
    summed = "SELECT coalesce(md5(string_agg(md5(t::text), '' ORDER BY md5(t::text))), '') FROM {} AS t"
    return {
        table: str(conn.execute(sql.SQL(summed).format(sql.Identifier(table))).fetchone())
        for table in count_rows(conn)
    }


def _take_functions_from_public(settings: Settings, server_url: URL) -> None:
    """What docs/operations.md asks an administrator for where the login is no superuser."""
    text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    (statement,) = re.findall(r"```sql\n(DO .*?)```", text, re.DOTALL)
    login = database_url(settings)
    with psycopg.connect(_text(server_url.set(database=login.database)), autocommit=True) as admin:
        admin.execute(statement.replace("THE_LOGIN", login.username or "").encode())


@pytest.fixture(scope="module")
def backed_up(fresh: Callable[[], Settings], tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Path]:
    """A platform with a file that is loaded, one that is registered, one that was dropped, and a backup of it."""
    settings = fresh()
    migrate(settings)
    with connect(settings, "upstream_pipeline") as conn:
        customer, _ = create_customer(conn, "acme", "Acme")
        (customer_folder(settings, "acme") / "first.csv").write_text(FIRST)
        _load(conn, settings, "acme")
        sent = tmp_path_factory.mktemp("sent") / "sent.csv"
        sent.write_text(HEADER + "C1,1,Aetna,99213,2026-01-07,,PENDING,100\n")
        send_file(conn, settings, customer, sent)
        (customer_folder(settings, "acme") / "second.csv").write_text(SECOND)
    with psycopg.connect(_text(dagster_url(settings)), autocommit=True) as dagster:
        dagster.execute("CREATE TABLE runs (id bigint PRIMARY KEY, run_id text)")
        dagster.execute("INSERT INTO runs VALUES (1, 'r')")
    folder = tmp_path_factory.mktemp("backup") / "today"
    back_up(settings, folder)
    return settings, folder


def test_a_backup_of_a_login_under_row_level_security_is_read_back_row_by_row(
    backed_up: tuple[Settings, Path], fresh: Callable[[], Settings]
) -> None:
    """Most likely wrong: pg_dump as the owner, whom forced row-level security shows nothing, gives empty tables."""
    old, folder = backed_up
    new = fresh()
    restore(new, folder)
    require_current(new)
    with connect(old, "upstream_pipeline") as before, connect(new, "upstream_pipeline") as after:
        counts, sums = count_rows(before), _checksums(before)
        assert counts["claims"] == counts["received_lines"] == 20
        assert count_rows(after) == counts
        # Where the landing zone lies is the one thing that differs.
        assert {name for name, value in _checksums(after).items() if value != sums[name]} == {"uploads"}
        assert after.execute(
            "SELECT count(*) FROM uploads WHERE location LIKE %s", (f"{new.landing_root}/%",)
        ).fetchone() == (2,)
    with psycopg.connect(_text(dagster_url(new))) as dagster:
        assert dagster.execute("SELECT id, run_id FROM runs").fetchall() == [(1, "r")]
    with connect(new, "upstream_api") as api:
        assert api.execute("SELECT count(*) FROM claims").fetchone() == (0,)
    with connect(new, "upstream_owner") as owner:
        assert owner.execute("SELECT count(*) FROM claims").fetchone() == (0,)
        assert owner.execute(
            "SELECT has_schema_privilege('upstream_pipeline', 'public', 'CREATE')"
        ).fetchone() == (False,)
    # What waited is read now, what was read adds nothing.
    with connect(new, "upstream_pipeline") as conn:
        _load(conn, new, "acme")
        assert conn.execute("SELECT count(*) FROM claims").fetchone() == (22,)
        assert conn.execute("SELECT array_agg(DISTINCT status ORDER BY status) FROM uploads").fetchone() == (
            ["partial", "success"],
        )
        (customer_folder(new, "acme") / "again.csv").write_text(FIRST)
        _load(conn, new, "acme")
        again = conn.execute("SELECT upload_id FROM uploads WHERE file_name = 'again.csv'").fetchone()
        assert again is not None
        assert get_upload(conn, get_customer(conn, "acme").customer_id, again[0])["duplicates"] == 20
        assert conn.execute("SELECT count(*) FROM claims").fetchone() == (22,)
    with pytest.raises(ConflictError, match="not empty"):
        restore(new, folder)


def test_a_backup_is_restored_where_an_administrator_has_taken_postgres_own_functions_from_all(
    backed_up: tuple[Settings, Path], fresh: Callable[[], Settings], server_url: URL, tmp_path: Path
) -> None:
    """The dump of such a database takes them again, which a login that is no superuser may not."""
    old, _ = backed_up
    _take_functions_from_public(old, server_url)
    back_up(old, tmp_path / "backup")
    for prepared in (True, False):
        new = fresh()
        if prepared:
            _take_functions_from_public(new, server_url)
        restore(new, tmp_path / "backup")
        with connect(new, "upstream_api") as api:
            open_to_all = api.execute(
                "SELECT has_function_privilege('pg_advisory_lock(bigint)', 'EXECUTE')"
            ).fetchone()
        assert open_to_all == (not prepared,)


def test_a_file_that_a_run_moves_while_the_backup_is_made_is_in_it(
    fresh: Callable[[], Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dumped database does not know its rows, and the landing zone has it no longer. By command, which leaves acts behind."""
    settings, new = fresh(), fresh()
    migrate(settings)
    with connect(settings, "upstream_pipeline") as conn:
        create_customer(conn, "acme", "Acme")
        dropped = customer_folder(settings, "acme")
        (dropped / "known.csv").write_text(FIRST)
        register_landed_files(conn, settings, get_customer(conn, "acme"))
        (dropped / "unknown.csv").write_text(SECOND)
    counted = backup.count_rows

    def meanwhile(conn: Connection) -> dict[str, int]:
        counts = counted(conn)
        with connect(settings, "upstream_pipeline") as other:
            _load(other, settings, "acme")
        return counts

    monkeypatch.setattr(backup, "count_rows", meanwhile)

    def said(of: Settings, *words: str) -> dict[str, Any]:
        assert of.database_url is not None
        monkeypatch.setenv("UPSTREAM_DATABASE_URL", of.database_url.get_secret_value())
        monkeypatch.setenv("UPSTREAM_DAGSTER_DATABASE_NAME", of.dagster_database_name)
        monkeypatch.setenv("UPSTREAM_HOME", str(of.home))
        result = CliRunner().invoke(app, [*words, "--json"])
        assert result.exit_code == 0, result.output
        # After what the run of `meanwhile` logged.
        printed: dict[str, Any] = json.loads(result.stdout[result.stdout.index("{") :])
        return printed

    made = said(settings, "backup", str(tmp_path / "b"))
    assert made["claims"] == 0
    assert not list(Path(settings.landing_root).glob("*/*.csv"))
    said(new, "restore", str(tmp_path / "b"), "--sha256", made["manifest_sha256"])
    for of, last in ((settings, "platform.backed_up"), (new, "platform.restored")):
        with connect(of, "upstream_pipeline") as conn:
            acts = conn.execute(
                "SELECT action, details ->> 'manifest_sha256' FROM audit_log ORDER BY at"
            ).fetchall()
            assert acts == [("platform.backup_begun", None), (last, made["manifest_sha256"])]
    with connect(new, "upstream_pipeline") as conn:
        _load(conn, new, "acme")
        assert conn.execute("SELECT count(*) FROM claims").fetchone() == (21,)
        assert conn.execute("SELECT count(*) FROM uploads WHERE status = 'failed'").fetchone() == (0,)


def test_nobody_else_can_read_a_backup_and_one_of_a_newer_release_is_refused(
    backed_up: tuple[Settings, Path], fresh: Callable[[], Settings], tmp_path: Path
) -> None:
    settings, folder = backed_up
    assert folder.stat().st_mode & 0o077 == 0
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) == 5
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    with pytest.raises(ConflictError, match="not empty"):
        back_up(settings, folder)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    facts = json.loads((folder / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**facts, "revision": "9999"}))
    with pytest.raises(ConflictError, match="does not know"):
        restore(fresh(), copy)


def test_a_backup_takes_no_file_that_a_run_would_not_take_in(
    backed_up: tuple[Settings, Path], tmp_path: Path
) -> None:
    """Most likely wrong: a link or a noted path by which a customer, or the API's login, gets any file of this account."""
    settings, _ = backed_up
    secret = tmp_path / "secret.csv"
    secret.write_text("canary")
    dropped = Path(settings.landing_root) / "acme"
    (dropped / "link.csv").symlink_to(secret)
    os.mkfifo(dropped / "pipe.csv")
    (dropped / ".done").mkdir(exist_ok=True)
    began = datetime.now(UTC)
    with connect(settings, "upstream_pipeline") as conn:
        added = conn.execute(
            """INSERT INTO uploads (customer_id, source, file_name, location, byte_count)
               SELECT customer_id, 'csv', 'x', unnest(%s::text[]), 1 FROM customers RETURNING upload_id""",
            ([str(secret), f"{dropped}/link.csv", f"{dropped}/pipe.csv", f"{dropped}/..", "/"],),
        ).fetchall()
        (dropped / ".done" / str(added[0][0])).symlink_to(tmp_path)
        backup._copy_waiting(settings, backup._Moment({}, [], began), tmp_path / "copied")
        conn.execute("DELETE FROM uploads WHERE upload_id = ANY (%s)", ([row[0] for row in added],))
    for link in ("link.csv", "pipe.csv", f".done/{added[0][0]}"):
        (dropped / link).unlink()
    copied = [path for path in (tmp_path / "copied").rglob("*") if not path.is_dir()]
    assert [path.name for path in copied] == ["second.csv"]


def test_a_backup_that_is_not_as_it_was_made_is_refused_before_anything_is_restored(tmp_path: Path) -> None:
    """Most likely wrong: a file that the manifest does not list, or a manifest that lists no dump."""
    folder = tmp_path / "b"
    (folder / "landing/acme").mkdir(parents=True)
    for name in ("upstream.dump", "dagster.dump", "landing/acme/x.csv"):
        (folder / name).write_text(name)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    manifest = archive.Manifest(
        "t", "p", "r", 18, {}, {name: archive.sha256_of(folder / name) for name in names}, "/l", True
    )
    archive.write_manifest(folder, manifest)
    digest = archive.manifest_sha256(folder)
    assert archive.read_manifest(folder, f"{digest.upper()}\n") == manifest

    def refused(match: str, sha256: str | None = None) -> None:
        with pytest.raises(ConfigurationError, match=match) as raised:
            archive.read_manifest(folder, sha256)
        assert "name another" in str(raised.value).lower() or sha256 or "release" in str(raised.value)
        assert "canary" not in str(raised.value)

    refused("another SHA-256", "0" * 64)
    for make in (Path.touch, lambda path: path.symlink_to(folder / "upstream.dump"), os.mkfifo):
        make(folder / "landing/acme/more.csv")
        refused(r"more\.csv' in it is neither|more\.csv' is in it and not")
        (folder / "landing/acme/more.csv").unlink()
    (folder / "landing/acme/x.csv").write_text("changed")
    refused(r"x\.csv' of .* was changed")
    (folder / "landing/acme/x.csv").write_text("landing/acme/x.csv")
    written = folder / "manifest.json"
    facts = json.loads(written.read_text())
    files = facts["files"]
    for changed, match in (
        ({"files": {}}, r"lists no dagster\.dump"),
        ({"files": {**files, "landing/../upstream.dump": files["upstream.dump"]}}, "missing or was changed"),
        ({"files": {**files, "\x1b[2J": ""}}, r"'\\x1b\[2J' of .* is missing"),
        ({"files": ["canary"]}, r"cannot be read \(files\)"),
        ({"canary": 1}, "cannot be read"),
        ({"format": 2}, "of format 2"),
        ({"format": "canary"}, r"cannot be read \(format\)"),
    ):
        written.write_text(json.dumps({**facts, **changed}))
        refused(match)
    for text in ("{", "[]", "\ud800", "[" * 100_000, ""):
        written.write_bytes(text.encode("utf-8", "surrogatepass"))
        refused("cannot be read")
    written.unlink()
    refused("did not come to its end")


def test_a_login_that_row_level_security_hides_rows_from_is_refused(
    backed_up: tuple[Settings, Path], keeper: URL, server_url: URL, tmp_path: Path
) -> None:
    """It may become the pipeline's role, so the platform works; its dump would be empty."""
    settings, _ = backed_up
    role = sql.Identifier(keeper.username or "")
    with psycopg.connect(_text(server_url), autocommit=True) as admin:
        inherits = sql.SQL("GRANT upstream_pipeline TO {} WITH INHERIT {} GRANTED BY {}")
        grantors = admin.execute(
            """SELECT g.rolname FROM pg_auth_members AS m JOIN pg_roles AS g ON g.oid = m.grantor
                WHERE m.member = %s::regrole AND m.roleid = 'upstream_pipeline'::regrole""",
            (keeper.username,),
        ).fetchall()
        for switch in (sql.SQL("FALSE"), sql.SQL("TRUE")):
            for (grantor,) in grantors:
                admin.execute(inherits.format(role, switch, sql.Identifier(grantor)))
            if switch.as_string(admin) == "FALSE":
                with pytest.raises(ConfigurationError, match="hides rows"):
                    back_up(settings, tmp_path / "b")


def test_a_pg_dump_older_than_the_server_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "pg_dump"
    old.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 15.4 (Debian)'\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert programs.find_program("pg_dump", 15) == programs.Program(old, 15)
    assert programs.find_program("pg_dump", 17).major == 18
    assert programs.find_program("pg_dump", 17, 18).major == 18
    with pytest.raises(ConfigurationError, match="PostgreSQL 16, and an archive made with it"):
        programs.find_program("pg_dump", 16)
    with pytest.raises(ConfigurationError, match=r"19 or newer is needed: .*pg_dump is of version 15"):
        programs.find_program("pg_dump", 19)


def test_the_password_is_on_no_command_line_and_a_refused_row_is_not_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = tmp_path / "pg_restore"
    spy.write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\n'
        'echo \'pg_restore: error: COPY failed for table "claims": ERROR:  bad date: "SMITH"\' >&2\n'
        "echo 'CONTEXT:  COPY claims, line 1: \"JOHN SMITH\"' >&2\nexit 1\n"
    )
    spy.chmod(0o755)
    url = URL.create("postgresql", "u", "s3cret:%", "localhost", 5, "d")
    with pytest.raises(programs.ProgramFailedError) as raised:
        programs.run_program(programs.Program(spy, 18), url, "x")
    assert 'COPY failed for table "claims"' in str(raised.value)
    assert "SMITH" not in str(raised.value)
    assert "host=localhost" in (tmp_path / "arguments").read_text()
    assert "s3cret" not in (tmp_path / "arguments").read_text()
