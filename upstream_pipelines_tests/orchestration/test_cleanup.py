"""Retention: what is old goes, what is needed stays, in the product's tables and the landing zone. Dagster's: test_cleanup_dagster.py."""

import json
import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from upstream_pipelines.cli.main import app
from upstream_pipelines.customers.store import create_customer, get_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.defs.home import dagster_instance
from upstream_pipelines.defs.jobs import cleanup_night
from upstream_pipelines.defs.resources import Platform
from upstream_pipelines.ingest.landing import customer_folder
from upstream_pipelines.ingest.merging import merge_staged
from upstream_pipelines.ingest.staging import stage_waiting
from upstream_pipelines.ingest.uploads import register_landed_files
from upstream_pipelines.operations import cleanup
from upstream_pipelines.settings import Settings
from upstream_pipelines_tests.orchestration.conftest import with_dagster_of_its_own

HEADER = "claim_id,line_number,payer,cpt,submitted_date,decided_date,outcome\n"


@pytest.fixture
def settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    return with_dagster_of_its_own(settings, monkeypatch)


def _leave(settings: Settings, upload_id: object, folder_hours: int, file_hours: int) -> None:
    """A file as the API writes it before its upload is registered, so old."""
    folder = Path(settings.landing_root) / "acme" / ".uploads" / str(upload_id)
    folder.mkdir(parents=True)
    (folder / "march.csv").write_text(HEADER)
    for path, hours in ((folder / "march.csv", file_hours), (folder, folder_hours)):
        then = (datetime.now(UTC) - timedelta(hours=hours)).timestamp()
        os.utime(path, (then, then))


def _count(conn: psycopg.Connection, table: str) -> int:
    row = conn.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert row is not None
    return int(row[0])


def _fill(conn: Connection, settings: Settings) -> None:
    """Two of each kind, one older than it is kept and one not; the old files are those of the first two uploads."""
    customer, _ = create_customer(conn, "acme", "Acme")
    for name in ("old", "new"):
        (customer_folder(settings, "acme") / f"{name}.csv").write_text(
            f"{HEADER}{name},1,Aetna,99213,2026-01-05,,PENDING\nB,1,,99213,2026-01-05,,PENDING\n"
        )
        (customer_folder(settings, "acme") / f"{name}-refused.csv").write_text(f"a,b\n{name},2\n")
    register_landed_files(conn, settings, customer)
    stage_waiting(conn, settings, customer, source="csv", run_id="r")
    merge_staged(conn, settings, customer, "r")
    assert _count(conn, "rejected_rows") == 2
    conn.execute(
        """INSERT INTO uploads (customer_id, source, sha256, byte_count, status, file_name)
           SELECT %s, 'webhook', 'x', 1, status, name
             FROM (VALUES ('success', 'old'), ('success', 'new'), ('received', 'old waiting')) AS v (status, name)""",
        (customer.customer_id,),
    )
    conn.execute(
        """INSERT INTO webhook_inbox (customer_id, upload_id, body, body_sha256)
           SELECT customer_id, upload_id, 'x', 'x' FROM uploads WHERE source = 'webhook'"""
    )
    conn.execute(
        "UPDATE uploads SET finished_at = now() - CASE WHEN file_name LIKE 'old%' THEN 401 ELSE 1 END * interval '1 day'"
        " WHERE status <> 'received'"
    )
    conn.execute(
        """UPDATE ingestion_tokens SET expires_at = now() - interval '91 days';
           INSERT INTO ingestion_tokens (customer_id, token_sha256, prefix, revoked_at)
           SELECT customer_id, sha256('1'), 'upi_1', now() - interval '89 days' FROM customers
           UNION ALL SELECT customer_id, sha256('2'), 'upi_2', NULL FROM customers"""
    )
    conn.execute(
        """INSERT INTO kept_answers (customer_id, principal, key_sha256, request_sha256, status, kept_at)
           SELECT customer_id, 'operator', encode(sha256(days::text::bytea), 'hex'), sha256('x'), 204,
                  now() - days * interval '1 day'
             FROM customers, (VALUES (6), (8)) AS v (days)"""
    )
    # Messages that ended 401 days ago: of an event that is over as long, of one that goes on, of one that ended lately, of
    # one whose end is owed to a channel that is off, and one that is not sent yet.
    conn.execute(
        """WITH channel AS (
               INSERT INTO alert_channels (customer_id, name, kind, configuration)
               SELECT customer_id, 'hook', 'webhook', '{}' FROM customers RETURNING customer_id, channel_id
           ), written AS (
               INSERT INTO alerts (customer_id, rule_id, kind, notice, fingerprint, subject_id, state, content, channel_ids,
                                   ends, over_at, created_at, told_at)
               SELECT r.customer_id, r.rule_id, 'drift', 'open', of, gen_random_uuid(), 'sent', '{}', ARRAY[c.channel_id],
                      true, now() - over, now() - interval '401 days', now() - interval '401 days'
                 FROM alert_rules AS r, channel AS c,
                      (VALUES ('over', interval '401 days'), ('goes on', NULL), ('ended lately', '9 days'), ('owed', '401 days'),
                       ('waits', '401 days'))
                      AS v (of, over)
               RETURNING customer_id, alert_id, fingerprint
           ), queued AS (
               INSERT INTO deliveries (customer_id, delivery_id, channel_id, state, attempt, finished_at, created_at)
               SELECT w.customer_id, w.alert_id, c.channel_id, CASE WHEN fingerprint = 'waits' THEN 'retrying' ELSE 'sent' END,
                      1, CASE WHEN fingerprint <> 'waits' THEN now() - interval '401 days' END, now() - interval '401 days'
                 FROM written AS w, channel AS c RETURNING customer_id, delivery_id, channel_id
           ), places AS (
               INSERT INTO delivery_alerts SELECT customer_id, delivery_id, delivery_id, channel_id FROM queued
           )
           INSERT INTO delivery_attempts (customer_id, delivery_id, attempt, started_at)
           SELECT customer_id, delivery_id, 1, now() - interval '401 days' FROM queued"""
    )
    conn.execute(
        """INSERT INTO alerts (customer_id, rule_id, kind, notice, fingerprint, subject_id, state, content, channel_ids, ends,
                               over_at, created_at, told_at, owed_to)
           SELECT customer_id, rule_id, kind, 'resolved', fingerprint, subject_id, state, content, '{}', ends,
                  over_at, created_at, told_at, channel_ids FROM alerts WHERE fingerprint = 'owed'"""
    )
    # Who left 31 days ago and lately, who is a member and an invited one; each with log-ins, of which two are long over.
    conn.execute(
        """INSERT INTO people (email, created_at)
           SELECT name || '@example.org', now() - CASE WHEN name <> 'new' THEN 99 ELSE 1 END * interval '1 day'
             FROM unnest('{left,lately,member,asked,new}'::text[]) AS name;
           INSERT INTO members (customer_id, person_id, role, joined_at, invitation_sha256, invitation_expires_at)
           SELECT c.customer_id, p.person_id, 'viewer', v.joined, sha256(v.of::bytea), v.until
             FROM customers AS c, people AS p,
                  (VALUES ('member', now(), now()), ('asked', NULL, now()), ('new', NULL, now() - interval '31 days'))
                  AS v (of, joined, until) WHERE p.email LIKE v.of || '@%';
           WITH s AS (INSERT INTO login_sessions (person_id, started_at, ended_at, ending)
                      SELECT person_id, now() - age * interval '1 day', now() - over * interval '1 day',
                             CASE WHEN over > 0 THEN 'logout' END
                        FROM people, (VALUES (90, 31), (60, NULL), (31, 29), (2, NULL)) AS v (age, over)
                       WHERE email LIKE 'member@%' OR (email LIKE 'left@%' AND age = 2)
                      RETURNING session_id, person_id, started_at)
           INSERT INTO session_tokens (token_sha256, session_id, person_id, kind, expires_at)
           SELECT sha256(session_id::text::bytea), session_id, person_id, 'refresh', started_at + interval '1 day' FROM s"""
    )
    # Two reports of two files each, one made long ago, and one that waits.
    conn.execute(
        """INSERT INTO report_runs (customer_id, report_id, period_from, period_until, actor_kind, actor_id, state, started_at,
                                    ended_at)
           SELECT customer_id, gen_random_uuid(), '2026-01-01', '2026-02-01', 'operator', 'x', state, at, at
             FROM customers, (VALUES ('success', now() - interval '401 days'), ('success', now() - interval '399 days'),
                                     ('waiting', NULL)) AS v (state, at);
           INSERT INTO report_files (customer_id, report_id, format, content)
           SELECT customer_id, report_id, format, 'x' FROM report_runs, unnest('{csv,pdf}'::text[]) AS format
            WHERE state = 'success'"""
    )
    # No role of the product may say when an act was.
    assert settings.database_url is not None
    with psycopg.connect(settings.database_url.get_secret_value(), autocommit=True) as admin:
        admin.execute(
            """INSERT INTO audit_log (customer_id, at, actor_kind, actor_id, action, entity_kind, entity_id)
               SELECT c.customer_id, now() - days * interval '1 day', 'operator', 'x', 'member.removed', 'person', p.person_id
                 FROM customers AS c, people AS p, (VALUES ('left', 31), ('lately', 29)) AS v (of, days)
                WHERE p.email LIKE v.of || '@%'"""
        )


OLDER = {
    "rejected rows": 1, "webhook bodies": 1, "messages with their attempts": 1, "expired tokens": 1, "ended log-ins": 2,
    "answers kept for idempotency keys": 1, "expired invitations": 1, "people who left": 1, "files that were read": 2,
    "files of reports": 2, "files of no upload": 1,
}  # fmt: skip


def test_what_is_old_goes_and_what_is_needed_stays(
    settings: Settings, pipeline: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most likely wrong: the message of an event that goes on, whose end is told where its opening arrived."""
    _fill(pipeline, settings)
    # What a killed API left, what was left lately, what is being written still, and what waits to be read.
    (waiting,) = pipeline.execute("SELECT upload_id FROM uploads WHERE status = 'received'").fetchall()
    stray, lately, writing = uuid4(), uuid4(), uuid4()
    for upload_id, folder_hours, file_hours in (
        (stray, 25, 25), (lately, 23, 23), (writing, 25, 1), (waiting[0], 999, 999),
    ):  # fmt: skip
        _leave(settings, upload_id, folder_hours, file_hours)
    now = datetime.now(UTC)
    kept = {
        table: _count(pipeline, table)
        for table in ("claims", "received_lines", "alerts", "uploads", "quality_findings", "report_runs")
    }
    dry, nothing = cleanup.clean_up(pipeline, settings, now, dry_run=True)
    assert {one.kind: one.older for one in dry} == OLDER
    assert nothing == cleanup.Left()
    assert cleanup.clean_up(pipeline, settings, now, dry_run=True) == (dry, nothing)
    monkeypatch.setattr(cleanup, "BATCH_ROWS", 1)
    assert cleanup.clean_up(pipeline, settings, now) == (dry, nothing)
    assert [one.older for one in cleanup.clean_up(pipeline, settings, now)[0]] == [0] * len(OLDER)
    uploads = Path(settings.landing_root) / "acme" / ".uploads"
    assert {folder.name for folder in uploads.iterdir()} == {str(one) for one in (lately, writing, waiting[0])}
    assert {table: _count(pipeline, table) for table in kept} == kept
    assert {table: _count(pipeline, table) for table in ("rejected_rows", "webhook_inbox", "ingestion_tokens", "report_files")} == {
        "rejected_rows": 1, "webhook_inbox": 2, "ingestion_tokens": 2, "report_files": 2,
    }  # fmt: skip
    assert _count(pipeline, "kept_answers") == 1
    people = pipeline.execute("SELECT array_agg(split_part(email, '@', 1) ORDER BY email) FROM people").fetchone()
    assert people == (["asked", "lately", "member", "new"],)
    assert (_count(pipeline, "login_sessions"), _count(pipeline, "session_tokens")) == (2, 2)
    for table in ("deliveries", "delivery_attempts", "delivery_alerts"):
        left = pipeline.execute(
            f"SELECT fingerprint FROM alerts WHERE alert_id IN (SELECT delivery_id FROM {table}) ORDER BY 1"
        ).fetchall()
        assert left == [("ended lately",), ("goes on",), ("owed",), ("waits",)], table
    files = {path.name for path in Path(settings.landing_root).rglob("*") if path.is_file()}
    assert files == {"new.csv", "new-refused.csv", "march.csv"}
    names = pipeline.execute("SELECT file_name FROM uploads WHERE location IS NOT NULL ORDER BY 1").fetchall()
    assert names == [("new-refused.csv",), ("new.csv",)]
    # The same bytes are known without their file.
    (customer_folder(settings, "acme") / "again.csv").write_text(
        f"{HEADER}old,1,Aetna,99213,2026-01-05,,PENDING\nB,1,,99213,2026-01-05,,PENDING\n"
    )
    customer = get_customer(pipeline, "acme")
    register_landed_files(pipeline, settings, customer)
    stage_waiting(pipeline, settings, customer, source="csv", run_id="r")
    assert pipeline.execute("SELECT duplicates FROM uploads WHERE file_name = 'again.csv'").fetchone() == (2,)


def test_nothing_goes_where_the_settings_say_for_ever(settings: Settings, pipeline: Connection) -> None:
    _fill(pipeline, settings)
    for_ever = settings.model_copy(
        update={name: 0 for name in type(settings).model_fields if name.startswith("retain_")}
    )
    gone = {one.kind: one.older for one in cleanup.clean_up(pipeline, for_ever, datetime.now(UTC))[0] if one.older}
    assert gone == {"answers kept for idempotency keys": 1}, "for which there is no setting"
    assert {one.older for one in cleanup.clean_up(pipeline, for_ever, datetime.now(UTC), dry_run=True)[0]} == {0}
    assert (_count(pipeline, "deliveries"), _count(pipeline, "report_files")) == (5, 4)


def _unreadable(settings: Settings, pipeline: Connection) -> None:
    """Beside the old of everything: a customer whose `.uploads` is a file, and in acme's a folder that leads to itself. Rights would
    not do: the tests may run as root.
    """
    _fill(pipeline, settings)
    create_customer(pipeline, "und", "Und")
    (customer_folder(settings, "und") / ".uploads").write_text("no folder")
    _leave(settings, uuid4(), 25, 25)
    loop = Path(settings.landing_root) / "acme" / ".uploads" / str(uuid4())
    loop.symlink_to(loop)


UNREAD = "2 folders of the landing zone could not be read"


def test_a_folder_that_cannot_be_read_is_told_as_that_and_holds_up_no_other(
    settings: Settings, pipeline: Connection
) -> None:
    """Most likely wrong: one folder costs the customer all of them, or it is told as a file that could not be deleted."""
    _unreadable(settings, pipeline)
    now = datetime.now(UTC)
    dry, left = cleanup.clean_up(pipeline, settings, now, dry_run=True)
    assert {one.kind: one.older for one in dry} == OLDER
    assert left == cleanup.Left(unread=Counter(acme=1, und=1))
    assert left.text.startswith(UNREAD)
    assert "of acme, und" in left.text
    assert "deleted, " not in left.text
    assert "could not be deleted" not in left.text
    assert cleanup.clean_up(pipeline, settings, now) == (dry, left)
    with pytest.raises(cleanup.FilesLeftError, match=UNREAD):
        left.require_none()


def test_files_that_cannot_be_deleted_hold_up_nothing_and_are_tried_again(
    settings: Settings, pipeline: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fill(pipeline, settings)
    _leave(settings, uuid4(), 25, 25)

    def refuse(*_: object) -> int:
        raise PermissionError

    now = datetime.now(UTC)
    with monkeypatch.context() as patch:
        patch.setattr(cleanup, "delete_folder", refuse)
        cleaned, left = cleanup.clean_up(pipeline, settings, now)
    no_files = {"files that were read": 0, "files of no upload": 0}
    assert {one.kind: one.older for one in cleaned} == OLDER | no_files
    assert left == cleanup.Left(undeleted=Counter(acme=3))
    assert left.text == "3 files of the landing zone could not be deleted (of acme). Let this account write there."
    again, left = cleanup.clean_up(pipeline, settings, now)
    assert {one.kind: one.older for one in again if one.older} == {name: OLDER[name] for name in no_files}
    assert left == cleanup.Left()


def test_a_message_names_some_of_many_customers() -> None:
    text = cleanup.Left(unread=Counter({f"c{number:04}": 2 for number in range(2_000)})).text
    assert "4000 folders" in text
    assert "of c0000, c0001, c0002, c0003, c0004 and 1995 more customers" in text
    assert len(text) < 400


def test_the_command_tells_and_records_what_it_did_before_it_ends_with_what_it_could_not_do(
    settings: Settings, pipeline: Connection
) -> None:
    """Most likely wrong: thousands of rows are gone, and neither the trail nor the screen has them."""
    _unreadable(settings, pipeline)
    acts = "SELECT details FROM audit_log WHERE action = 'platform.cleaned_up'"

    said = CliRunner().invoke(app, ["cleanup", "--dry-run"])
    assert said.exit_code == 0, said.output
    assert "Older than they are kept" in said.stdout
    assert UNREAD in " ".join(said.stderr.split())
    as_json = CliRunner().invoke(app, ["cleanup", "--dry-run", "--json"])
    older = {one["kind"]: one["older"] for one in json.loads(as_json.stdout)}
    assert {kind: older[kind] for kind in OLDER} == OLDER
    assert UNREAD in " ".join(as_json.stderr.split())
    assert pipeline.execute(acts).fetchall() == []

    said = CliRunner().invoke(app, ["cleanup"])
    assert isinstance(said.exception, cleanup.FilesLeftError)
    assert UNREAD in str(said.exception)
    assert "Cleaned up" in said.stdout
    assert "rejected rows" in said.stdout
    ((details,),) = pipeline.execute(acts).fetchall()
    assert details.items() >= (OLDER | {"folders not read": 2}).items()
    as_json = CliRunner().invoke(app, ["cleanup", "--json"])
    assert isinstance(as_json.exception, cleanup.FilesLeftError)
    assert {one["deleted"] for one in json.loads(as_json.stdout)} == {True}


def test_the_nightly_run_fails_with_what_it_did_beside_what_it_could_not_do(
    settings: Settings, platform: Platform, pipeline: Connection
) -> None:
    """Most likely wrong: a step that fails has no output, so what hangs on it is lost."""
    _unreadable(settings, pipeline)
    with dagster_instance(settings) as instance:
        result = cleanup_night.execute_in_process(
            instance=instance, resources={"platform": platform}, raise_on_error=False
        )
    assert not result.success
    (failure,) = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert failure.user_failure_data is not None
    assert failure.user_failure_data.description is not None
    assert failure.user_failure_data.description.startswith(UNREAD)
    shown = {kind: value.value for kind, value in failure.user_failure_data.metadata.items()}
    assert shown.items() >= (OLDER | {"folders not read": 2}).items()


@pytest.mark.parametrize(("name", "days"), [("retain_webhook_bodies_days", 6), ("retain_deliveries_days", 59)])
def test_nothing_can_be_kept_shorter_than_what_still_asks_for_it(name: str, days: int) -> None:
    with pytest.raises(ValidationError, match="for ever"):
        Settings(**{name: days})  # type: ignore[arg-type]
    Settings(**{name: days + 1})  # type: ignore[arg-type]
