"""What an earlier program left behind is read by this one after the migrations."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path

import psycopg
import pytest
from alembic import command
from psycopg.types.json import Jsonb
from pydantic import SecretStr
from sqlalchemy.engine import URL

from upstream_pipelines.alerts.rule_changes import kept_rules
from upstream_pipelines.alerts.rules import DEFAULT_RULE
from upstream_pipelines.alerts.store import conservation
from upstream_pipelines.db import migrate as migrations
from upstream_pipelines.db.engine import Connection, connect, dispose_engines, engine
from upstream_pipelines.drift.counting import refresh_activity
from upstream_pipelines.drift.reading import read_activity
from upstream_pipelines.drift.settings import DriftSettings
from upstream_pipelines.drift.store import Subject, look
from upstream_pipelines.settings import Settings

EVENT = uuid.UUID(int=7)
MEMORY = {
    "by": "decision", "baseline": 0.1, "current_at_opening": 0.2, "shift_at_opening": 0.7, "evidence_at_opening": 6.0,
    "n_baseline": 900, "calm_since": None, "reason": None,
}  # fmt: skip
STATE = {
    "event_id": str(EVENT), "payer": "Aetna", "cpt_group": "ALL", "signal": "denial_rate", "direction": "worsening",
    "state": "updated", "started_on": "2026-03-02", "opened_on": "2026-04-01", "last_look": "2026-05-01",
    "resolved_on": None, "memory": MEMORY,
}  # fmt: skip


@pytest.fixture
def database_at(server_url: URL, tmp_path: Path) -> Iterator[Callable[[str], Settings]]:
    """Makes an empty database at a revision; dropped afterwards."""
    name = f"test_{uuid.uuid4().hex}"
    url = server_url.set(database=name)
    settings = Settings(home=tmp_path, database_url=SecretStr(url.render_as_string(hide_password=False)))

    def make(revision: str) -> Settings:
        with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as conn:
            migrations._ensure_roles(conn)
        with engine(settings, "upstream_owner").connect() as owner:
            config = migrations._config()
            config.attributes["connection"] = owner
            command.upgrade(config, revision)
            owner.commit()
        return settings

    with psycopg.connect(server_url.render_as_string(hide_password=False), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        try:
            yield make
        finally:
            dispose_engines()
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _customer(conn: Connection) -> int:
    row = conn.execute(
        "INSERT INTO customers (slug, name) VALUES ('acme', 'Acme') RETURNING customer_id"
    ).fetchone()
    assert row is not None
    return int(row[0])


def test_a_live_event_of_the_first_method_lives_on(database_at: Callable[[str], Settings]) -> None:
    """Its memory knows no interval of the change date; without one every look of that customer would fail."""
    settings = database_at("0002")
    with connect(settings, "upstream_pipeline") as conn:
        customer_id = _customer(conn)
        conn.execute(
            """INSERT INTO drift_events (customer_id, event_id, payer, cpt_group, signal, direction, state,
                                         started_on, opened_on, last_look, memory, method_version, settings)
               VALUES (%s, %s, 'Aetna', 'ALL', 'denial_rate', 'worsening', 'updated', '2026-03-02', '2026-04-01',
                       '2026-05-01', %s, '1', '{}')""",
            (customer_id, EVENT, Jsonb(MEMORY)),
        )
        conn.execute(
            "INSERT INTO drift_looks VALUES (%s, '2026-04-30', '1', '{}'), (%s, '2026-05-01', '1', '{}')",
            (customer_id, customer_id),
        )
        conn.execute(
            """INSERT INTO drift_results (customer_id, as_of, payer, cpt_group, signal, direction, state, event_id,
                                          n_baseline, n_current, event)
               VALUES (%s, '2026-04-30', 'Aetna', 'ALL', 'denial_rate', 'worsening', 'updated', %s, 900, 90, %s)""",
            (customer_id, EVENT, Jsonb(STATE)),
        )
    dispose_engines()
    migrations.migrate(settings)
    with connect(settings, "upstream_pipeline") as conn:
        subject = Subject(customer_id, "Acme", DriftSettings())
        for day in (date(2026, 5, 1), date(2026, 5, 2)):
            rows = look(conn, subject, [day]).rows
            assert [(row["event_id"], row["state"]) for row in rows.to_dict("records")] == (
                [(EVENT, "resolved")] if day == date(2026, 5, 1) else []
            )
        memory = conn.execute(
            "SELECT memory ->> 'change_low', cause, opened_method_version, opened_settings FROM drift_events"
        ).fetchone()
        assert memory == ("2026-03-02", "payer", "1", {})


def test_the_days_of_all_claims_are_counted_again_for_six_signals(database_at: Callable[[str], Settings]) -> None:
    """The migration runs as the tables' owner, whom row-level security shows no claim."""
    settings = database_at("0001")
    with connect(settings, "upstream_pipeline") as conn:
        customer_id = _customer(conn)
        conn.execute(
            """INSERT INTO uploads (customer_id, upload_id, source, file_name, sha256, byte_count)
               VALUES (%s, %s, 'csv', 'a.csv', '\\x00', 1)""",
            (customer_id, EVENT),
        )
        conn.execute(
            """INSERT INTO claims (customer_id, claim_key, row_hash, payer, payer_name, cpt, cpt_group, modifiers,
                                   submitted_date, decided_date, outcome, allowed_amount, source, upload_id,
                                   source_row_number, first_seen_at, decision_seen_at, updated_at)
               SELECT %s, gen_random_uuid(), gen_random_uuid(), 'Aetna', 'Aetna', '99213', 'OTHER', modifiers,
                      '2026-03-02', '2026-03-12', 'PAID', 90, 'csv', %s, number, now(), now(), now()
                 FROM (VALUES (1, NULL), (2, '25'), (3, '25')) AS lines (number, modifiers)""",
            (customer_id, EVENT),
        )
    dispose_engines()
    migrations.migrate(settings)
    with connect(settings, "upstream_pipeline") as conn:
        assert conn.execute("SELECT kind, day FROM touched_days ORDER BY kind").fetchall() == [
            ("decided", date(2026, 3, 12)),
            ("submitted", date(2026, 3, 2)),
        ]
        refresh_activity(conn, customer_id)
        _, prices, codes = read_activity(conn, customer_id)
    assert codes["lines"].tolist() == [3]
    assert sorted(zip(prices["modifiers"], prices["lines"], strict=True)) == [("", 1), ("25", 2)]


def test_a_delivery_that_waited_during_the_upgrade_is_a_message_of_one_alert(
    database_at: Callable[[str], Settings],
) -> None:
    """Most likely wrong: rows that row-level security hides from the migration stay behind."""
    settings = database_at("0006")
    with connect(settings, "upstream_pipeline") as conn:
        customer_id = _customer(conn)
        conn.execute(
            """WITH rule AS (
                   INSERT INTO alert_rules (customer_id, name, kinds) VALUES (%(c)s, 'default', '{drift}') RETURNING rule_id
               ), channel AS (
                   INSERT INTO alert_channels (customer_id, name, kind, configuration)
                   VALUES (%(c)s, 'hook', 'webhook', '{}'), (%(c)s, 'office', 'email', '{}') RETURNING channel_id
               ), written AS (
                   INSERT INTO alerts (customer_id, rule_id, kind, notice, fingerprint, subject_id, state, content, channel_ids)
                   SELECT %(c)s, rule_id, 'drift', notice, 'f', %(event)s, 'pending',
                          '{"type": "drift.event.opened", "data": {"severity": 0.7}}',
                          ARRAY(SELECT channel_id FROM channel)
                     FROM rule, unnest(ARRAY['open', 'resolved']) AS n (notice)
                   RETURNING alert_id
               ), queued AS (
                   INSERT INTO deliveries (customer_id, alert_id, channel_id, state, attempt)
                   SELECT %(c)s, alert_id, channel_id, 'retrying', 1 FROM written, channel
                   RETURNING delivery_id
               )
               INSERT INTO delivery_attempts (customer_id, delivery_id, attempt, started_at, outcome)
               SELECT %(c)s, delivery_id, 1, '2026-05-01T10:00:00Z', 'retry' FROM queued""",
            {"c": customer_id, "event": EVENT},
        )
    dispose_engines()
    migrations.migrate(settings)
    with connect(settings, "upstream_pipeline") as conn:
        counts = conservation(conn, customer_id)
        assert counts == {**dict.fromkeys(counts, 0), "alerts": 2, "expected_places": 4, "deliveries": 4}
        assert conn.execute(
            "SELECT DISTINCT severity, ends, told_at = created_at, over_at IS NOT NULL, held_by FROM alerts"
        ).fetchall() == [(0.7, True, True, True, None)]
        assert conn.execute(
            "SELECT DISTINCT rule_id IS NOT NULL, first_tried_at AT TIME ZONE 'UTC' FROM deliveries"
        ).fetchall() == [(True, datetime(2026, 5, 1, 10))]


def test_the_old_default_rule_hears_of_everything_and_a_rule_that_was_changed_stays(
    database_at: Callable[[str], Settings],
) -> None:
    settings = database_at("0006")
    written = {
        "first": "'default', '{drift,run_failure}', NULL, true",
        "second": "'default', '{drift,quality,run_failure}', NULL, true",
        "narrowed": "'default', '{drift,run_failure}', '{office}', true",
        "chosen": "'default', '{run_failure,drift}', NULL, true",
        "off": "'default', '{drift,run_failure}', NULL, false",
        "named": "'mine', '{drift,run_failure}', NULL, true",
        "twice": "'mine', '{drift,drift,drift,quality,drift,quality}', NULL, true",
    }
    with connect(settings, "upstream_pipeline") as conn:
        for slug, values in written.items():
            conn.execute(
                f"""WITH c AS (INSERT INTO customers (slug, name) VALUES ('{slug}', 'C') RETURNING customer_id)
                    INSERT INTO alert_rules (customer_id, name, kinds, channels, enabled)
                    SELECT customer_id, {values} FROM c"""
            )
    dispose_engines()
    migrations.migrate(settings)
    with connect(settings, "upstream_pipeline") as conn:
        rows = conn.execute(
            "SELECT slug FROM alert_rules JOIN customers USING (customer_id) WHERE 'silence' = ANY (kinds)"
        )
        assert {slug for (slug,) in rows} == {"first", "second"}
        default = conn.execute(
            "SELECT kinds FROM alert_rules JOIN customers USING (customer_id) WHERE slug = 'first'"
        ).fetchone()
        assert default == (list(DEFAULT_RULE.kinds),)
        twice = conn.execute(
            "SELECT kinds FROM alert_rules JOIN customers USING (customer_id) WHERE slug = 'twice'"
        ).fetchone()
        assert twice is not None
        assert sorted(twice[0]) == ["drift", "quality"]


def test_rules_that_no_program_could_read_are_mended_so_that_they_tell_more_and_not_less(
    database_at: Callable[[str], Settings],
) -> None:
    """As a statement by hand could store them before they were bounded; others stay as they are."""
    settings = database_at("0027")
    written = {
        "payers": "payers = '{}', channels = '{NULL}', cpt_groups = '{{a},{b}}'",
        "long": "payers = ARRAY[repeat('p', 300), 'Aetna', NULL], name = repeat('n', 5000)",
        "nothing": "kinds = '{}', directions = '{}', signals = '{}', name = ''",
        "numbers": "minimum_severity = 'NaN', minimum_confidence = 7, minimum_effect = 'Infinity', minimum_dollars_per_month = -1",
        "rhythm": "group_seconds = 0.5, repeat_hours = 0.01, cooldown_hours = 3",
        "quiet": """time_zone = 'UTC', quiet_hours = '{"from": "99:99", "to": 5}'""",
        "fine": """payers = '{Aetna}', time_zone = 'UTC', quiet_hours = '{"from": "20:00", "to": "07:00", "days": null}'""",
        "many": "payers = ARRAY(SELECT 'p' || n FROM generate_series(1, 5000) AS n)",
    }
    with connect(settings, "upstream_pipeline") as conn:
        for slug, values in written.items():
            conn.execute(
                f"""WITH c AS (INSERT INTO customers (slug, name) VALUES ('{slug}', repeat('x', 300)) RETURNING customer_id)
                    INSERT INTO alert_rules (customer_id, name, kinds) SELECT customer_id, 'r', '{{drift}}' FROM c"""
            )
            conn.execute(
                f"UPDATE alert_rules SET {values} WHERE customer_id = (SELECT max(customer_id) FROM customers)"
            )
        conn.execute(
            """INSERT INTO audit_log (actor_kind, actor_id, actor_name, action, entity_kind, entity_id)
               VALUES ('operator', 'x', E'\\x1b[2J', 'a.b', 'c', 'd')"""
        )
    dispose_engines()
    migrations.migrate(settings)
    with connect(settings, "upstream_pipeline") as conn:
        numbers = dict(conn.execute("SELECT slug, customer_id FROM customers").fetchall())
        read = {slug: kept_rules(conn, number)[0] for slug, number in numbers.items()}
    rules = {slug: one.rule for slug, one in read.items() if one.rule is not None}
    assert set(rules) == set(written), "and all can be read"
    assert (rules["payers"].payers, rules["payers"].channels) == (None, None)
    assert set(rules["payers"].cpt_groups or ()) == {"a", "b"}
    assert set(rules["long"].payers or ()) == {"p" * 200, "Aetna"}
    assert rules["nothing"].kinds == DEFAULT_RULE.kinds
    assert rules["nothing"].signals is None
    assert rules["numbers"] == DEFAULT_RULE.model_copy(update={"name": "r", "kinds": ("drift",)})
    assert (rules["rhythm"].repeat_hours, rules["rhythm"].group_seconds) == (3, 0)
    assert rules["quiet"].quiet_hours is None
    assert rules["fine"].quiet_hours is not None
    assert len(rules["many"].payers or ()) == 5000
