"""What the API's role writes with statements of its own is bounded, and is what the program can read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from upstream_pipelines.alerts.rule_changes import disable_rule, kept_rules
from upstream_pipelines.alerts.rules import MOST_NAMES, MOST_RULES, AlertRule
from upstream_pipelines.alerts.store import sync_rules
from upstream_pipelines.customers.audit import Actor, api_operator, operator, record
from upstream_pipelines.customers.flag_changes import replace_flags
from upstream_pipelines.customers.models import CustomerKey
from upstream_pipelines.customers.tokens import Caller, issue_token
from upstream_pipelines.db.engine import Connection, connect, customer_transaction
from upstream_pipelines.delivery.channels import new_secret
from upstream_pipelines.errors import ConfigurationError
from upstream_pipelines.settings import Settings

REFUSED = (psycopg.errors.CheckViolation, psycopg.errors.InsufficientPrivilege)


@pytest.fixture
def acme(pipeline: Connection) -> int:
    row = pipeline.execute(
        "INSERT INTO customers (slug, name) VALUES ('acme', 'Acme') RETURNING customer_id"
    ).fetchone()
    assert row is not None
    return int(row[0])


@pytest.fixture
def api(settings: Settings, acme: int) -> Iterator[Connection]:
    with connect(settings, "upstream_api") as conn:
        yield conn


_RULE = "INSERT INTO alert_rules (customer_id, name, kinds, directions) VALUES (%s, %s, '{drift}', '{worsening}')"


@pytest.mark.parametrize(
    "odd",
    [
        "name = repeat('x', 101)", "name = ''", "kinds = '{}'", "kinds = '{NULL}'", "directions = '{}'", "signals = '{}'",
        "payers = '{}'", "payers = '{NULL}'", "payers = '{{a},{b}}'", "payers = ARRAY['']", "payers = ARRAY[repeat('x', 201)]",
        "payers = ARRAY(SELECT 'p' || n FROM generate_series(1, 1001) AS n)", "cpt_groups = '{}'", "channels = '{NULL}'",
        "channels = ARRAY(SELECT 'p' || n FROM generate_series(1, 1001) AS n)", "minimum_severity = 'NaN'", "minimum_severity = 1.5",
        "minimum_confidence = 'NaN'", "minimum_effect = 'Infinity'", "minimum_effect = 'NaN'", "minimum_effect = -1",
        "minimum_dollars_per_month = 'Infinity'", "group_seconds = 0.5", "repeat_hours = 0.1", "repeat_hours = 2, cooldown_hours = 3",
        "time_zone = 'UTC', quiet_hours = '{}'", "time_zone = 'UTC', quiet_hours = '{\"from\": \"99:99\", \"to\": \"01:00\"}'",
        "time_zone = 'UTC', quiet_hours = '{\"from\": \"01:00\", \"to\": 5}'", "time_zone = 'UTC', quiet_hours = '[]'",
        "time_zone = 'UTC', quiet_hours = '{\"from\": \"01:00\", \"to\": \"01:00\"}'",
        "time_zone = 'UTC', quiet_hours = '{\"from\": \"00:00\", \"to\": \"24:00\"}'",
        "time_zone = 'UTC', quiet_hours = '{\"from\": \"01:00\", \"to\": \"02:00\", \"days\": []}'",
        "time_zone = 'UTC', quiet_hours = '{\"from\": \"01:00\", \"to\": \"02:00\", \"days\": [\"noday\"]}'",
        "time_zone = 'UTC', quiet_hours = '{\"from\": \"01:00\", \"to\": \"02:00\", \"more\": 1}'",
    ],
)  # fmt: skip
def test_a_rule_that_the_program_cannot_read_is_not_stored(acme: int, api: Connection, odd: str) -> None:
    with customer_transaction(api, acme):
        api.execute(_RULE, (acme, "r"))
    with pytest.raises(REFUSED), customer_transaction(api, acme):
        api.execute(f"UPDATE alert_rules SET {odd}")


def test_every_rule_that_the_program_takes_is_stored(acme: int, pipeline: Connection) -> None:
    rules = [
        AlertRule(name="x" * 100, payers=tuple(f"p{number}" for number in range(MOST_NAMES)), repeat_hours=4),
        *(
            AlertRule.model_validate({"name": str(number), "time_zone": "America/Argentina/ComodRivadavia", "quiet_hours": hours})
            for number, hours in enumerate(
                [
                    {"from": "00:00", "to": "24:00", "days": ["mon", "tue", "wed", "thu", "fri", "sat"]}, {"from": "9:05", "to": 0},
                    {"from": "23:59", "to": "00:00", "days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]},
                ]
            )
        ),
    ]  # fmt: skip
    sync_rules(pipeline, acme, rules)
    assert {one.rule for one in kept_rules(pipeline, acme)} == set(rules)


def test_a_file_with_more_rules_or_names_than_there_may_be_is_refused(acme: int, pipeline: Connection) -> None:
    with pytest.raises(ConfigurationError, match="100 at most"):
        sync_rules(pipeline, acme, [AlertRule(name=str(number)) for number in range(MOST_RULES + 1)])
    with pytest.raises(ValueError, match="1,000 of them at most"):
        AlertRule(name="r", payers=("p",) * (MOST_NAMES + 1))


def test_a_rule_of_an_earlier_file_with_more_names_is_read_and_switched_off(
    settings: Settings, acme: int, pipeline: Connection, api: Connection
) -> None:
    with connect(settings, "upstream_owner") as owner:
        owner.execute("ALTER TABLE alert_rules DISABLE TRIGGER bounded")
        pipeline.execute(_RULE, (acme, "r"))
        pipeline.execute(
            "UPDATE alert_rules SET payers = ARRAY(SELECT 'p' || n FROM generate_series(1, 5000) AS n)"
        )
        owner.execute("ALTER TABLE alert_rules ENABLE TRIGGER bounded")
    with customer_transaction(api, acme):
        (kept,) = kept_rules(api, acme)
        assert kept.rule is not None
        assert disable_rule(api, acme, kept.rule_id)


def test_the_api_makes_a_hundred_rules_and_channels_and_changes_those_there_are(
    acme: int, api: Connection
) -> None:
    many = """INSERT INTO alert_rules (customer_id, name, kinds, directions)
              SELECT %s, 'r' || n, '{drift}', '{worsening}' FROM generate_series(1, %s) AS n
                  ON CONFLICT (customer_id, name) DO UPDATE SET kinds = excluded.kinds"""
    with pytest.raises(psycopg.errors.CheckViolation, match="100 alert rules"), customer_transaction(api, acme):
        api.execute(many, (acme, MOST_RULES + 1))
    for _ in range(2):
        with customer_transaction(api, acme):
            api.execute(many, (acme, MOST_RULES))
    with pytest.raises(psycopg.errors.CheckViolation), customer_transaction(api, acme):
        api.execute(_RULE, (acme, "one more"))
    channels = """INSERT INTO alert_channels (customer_id, name, kind, configuration, secret)
                  SELECT %s, 'c' || n, 'webhook', '{"url": "https://example.org/"}', %s FROM generate_series(1, %s) AS n"""
    with pytest.raises(psycopg.errors.CheckViolation, match="100 alert channels"), customer_transaction(api, acme):
        api.execute(channels, (acme, new_secret(), 101))
    with customer_transaction(api, acme):
        api.execute(channels, (acme, new_secret(), 100))


@pytest.mark.parametrize(
    ("name", "url", "secret"),
    [
        ("n" * 101, "https://example.org/", None), ("a\nb", "https://example.org/", None), ("n", "h" * 2001, None),
        ("n", "https://example.org/", "x"), ("n", "https://example.org/", "whsec_====" + "A" * 40),
        ("n", "https://example.org/", "whsec_" + "A" * 28), ("n", "https://example.org/", "whsec_" + "A" * 92),
        ("n", "https://example.org/", ""),
    ],
)  # fmt: skip
def test_a_channel_that_could_never_be_sent_to_is_not_stored(
    acme: int, api: Connection, name: str, url: str, secret: str | None
) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege), customer_transaction(api, acme):
        api.execute(
            "INSERT INTO alert_channels (customer_id, name, kind, configuration, secret) VALUES (%s, %s, 'webhook', %s, %s)",
            (acme, name, Jsonb({"url": url}), new_secret() if secret is None else secret),
        )


def test_a_secret_is_replaced_by_one_that_can_be_signed_with_alone(acme: int, api: Connection) -> None:
    with customer_transaction(api, acme):
        api.execute(
            """INSERT INTO alert_channels (customer_id, name, kind, configuration, secret)
               VALUES (%s, 'hook', 'webhook', '{"url": "https://example.org/"}', %s)""",
            (acme, new_secret()),
        )
        assert api.execute("SELECT rotate_channel_secret('hook', %s, NULL)", (new_secret(),)).fetchone() == (True,)
    for secret in ("x", None):
        with pytest.raises(psycopg.errors.CheckViolation), customer_transaction(api, acme):
            api.execute("SELECT rotate_channel_secret('hook', %s, NULL)", (secret,))
    with pytest.raises(psycopg.errors.InsufficientPrivilege), customer_transaction(api, acme):
        api.execute("UPDATE alert_channels SET enabled = false, disabled_reason = repeat('x', 1001)")


@pytest.mark.parametrize(
    ("statement", "value"),
    [
        ("UPDATE customers SET name = %s", "x" * 201),
        ("UPDATE customers SET name = %s", "a\x1b[2J"),
        ("UPDATE customers SET configuration = %s", Jsonb([])),
        ("UPDATE customers SET configuration = %s", Jsonb({"a": "x" * 2_000_000})),
        (
            """INSERT INTO kept_answers (customer_id, principal, key_sha256, request_sha256, status, answer)
               SELECT customer_id, 'operator', repeat('a', 64), sha256('a'), 200, %s FROM customers""",
            "x" * 5_000_001,
        ),
    ],
    ids=["name", "name's characters", "configuration no object", "configuration", "answer"],
)
def test_names_configurations_and_answers_are_bounded(
    acme: int, api: Connection, statement: Any, value: Any
) -> None:
    with pytest.raises(psycopg.errors.CheckViolation), customer_transaction(api, acme):
        api.execute(statement, (value,))


def test_the_commands_configuration_has_no_bound_and_an_old_long_name_keeps_nobody_from_configuring(
    acme: int, pipeline: Connection, api: Connection
) -> None:
    pipeline.execute("INSERT INTO customers (slug, name) VALUES ('old', repeat('x', 300))")
    pipeline.execute("UPDATE customers SET configuration = %s", (Jsonb({"a": "x" * 2_000_000}),))
    row = pipeline.execute("SELECT customer_id FROM customers WHERE slug = 'old'").fetchone()
    assert row is not None
    with customer_transaction(api, row[0]):
        assert api.execute("UPDATE customers SET configuration = '{}'").rowcount == 1


def test_product_flags_over_http_are_the_operators_by_that_name_with_what_changed(
    settings: Settings, acme: int, pipeline: Connection, api: Connection
) -> None:
    """It could say that any account at the command line had done anything."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege), customer_transaction(api, acme):
        api.execute("SELECT set_product_flags('{}', 'root', 'sudo root', 'r', '{\"lie\": 1}')")
    key = CustomerKey(acme, "acme")
    with customer_transaction(api, acme):
        replace_flags(api, api_operator("r" * 32), key, {"drift": False, "csv_upload": False})
    with customer_transaction(api, acme):
        replace_flags(api, api_operator(None), key, {"drift": True, "alerts": False})
        api.execute("SELECT set_product_flags_over_api('{alerts,csv_upload}', 'nothing changed')")
    replace_flags(pipeline, operator(), key, {"csv_upload": True})
    acts = pipeline.execute(
        "SELECT actor_kind, actor_id, actor_name, action, entity_id, details FROM audit_log ORDER BY at"
    ).fetchall()
    who = ("operator", "api", "UPSTREAM_OPERATOR_TOKEN", "product_flags.replaced", "acme")
    assert acts[:2] == [
        (*who, {"on": [], "off": ["csv_upload", "drift"]}), (*who, {"on": ["drift"], "off": ["alerts"]}),
    ]  # fmt: skip
    assert acts[2][1:3] == (operator().id, operator().name)
    assert acts[2][5] == {"on": ["csv_upload"], "off": []}
    with pytest.raises(psycopg.errors.NoDataFound):
        api.execute("SELECT set_product_flags_over_api('{}', NULL)")


def test_a_token_is_written_into_the_trail_for_a_file_that_came_with_it_alone(
    acme: int, pipeline: Connection, api: Connection
) -> None:
    issue_token(pipeline, acme, label="x")
    row = pipeline.execute("SELECT token_id, prefix FROM ingestion_tokens").fetchone()
    assert row is not None
    actor = Caller(acme, row[0], "acme", row[1]).actor("r")
    upload: UUID = uuid4()
    csv: dict[str, Any] = {"source": "csv"}
    with customer_transaction(api, acme):
        api.execute(
            """INSERT INTO uploads (customer_id, upload_id, source, sha256, byte_count, request_id, token_id)
               VALUES (%s, %s, 'csv', 'x', 1, 'r', %s)""",
            (acme, upload, row[0]),
        )
        record(api, actor, "upload.accepted", ("upload", upload), customer_id=acme, details=csv)
    for who, action, entity, details in (
        (actor, "customer.deleted", ("customer", "acme"), {}),
        (actor, "upload.accepted", ("upload", uuid4()), csv),
        (actor, "upload.accepted", ("upload", "none"), csv),
        (actor, "upload.accepted", ("upload", upload), {**csv, "lie": 1}),
        (Actor("token", str(uuid4()), row[1], "r"), "upload.accepted", ("upload", upload), csv),
        (Actor("token", actor.id, "first token", "r"), "upload.accepted", ("upload", upload), csv),
        (Actor("token", actor.id, row[1], "another"), "upload.accepted", ("upload", upload), csv),
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege), customer_transaction(api, acme):
            record(api, who, action, entity, customer_id=acme, details=details)
    assert pipeline.execute("SELECT count(*) FROM audit_log").fetchone() == (1,)


@pytest.mark.parametrize("odd", ["\x1b[2J", "a\nb", "\u202e", "\u200b", "\x9b", "\u2028", "\ufeff"])
def test_what_turns_or_breaks_the_text_around_it_is_not_in_the_trail(acme: int, api: Connection, odd: str) -> None:
    ann = uuid4()
    for name, entity, request_id in ((odd, "1", "r"), ("ann", odd, "r"), ("ann", "1", odd)):
        with pytest.raises(psycopg.errors.CheckViolation), customer_transaction(api, acme, ann):
            record(api, Actor("person", str(ann), name, request_id), "a.b", ("person", entity), customer_id=acme)
    with customer_transaction(api, acme, ann):
        record(
            api, Actor("person", str(ann), "Zoë <zoe@example.org>", "r"), "a.b", ("person", "1"), customer_id=acme
        )


@pytest.mark.parametrize(
    "call",
    [
        "lo_creat(-1)", "lo_create(0)", "lo_from_bytea(0, 'x')", "lo_import('/etc/passwd')", "pg_advisory_lock(7306, 2)",
        "pg_try_advisory_lock(7306, 2)", "pg_try_advisory_xact_lock(7306, 2)", "pg_advisory_xact_lock_shared(7306, 2)",
        "pg_advisory_lock(7305)", "pg_try_advisory_lock_shared(7305)", "pg_advisory_xact_lock(7305)",
    ],
)  # fmt: skip
def test_the_api_makes_no_large_object_and_takes_no_lock_of_a_run(acme: int, api: Connection, call: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        api.execute(f"SELECT {call}")


def test_runs_take_their_locks_and_requests_hold_their_keys(pipeline: Connection, api: Connection) -> None:
    with pipeline.transaction(), api.transaction():
        pipeline.execute("SELECT pg_advisory_lock(7306, 1), pg_advisory_unlock(7306, 1)")
        assert api.execute("SELECT pg_try_advisory_xact_lock(hashtextextended('key', 1))").fetchone() == (True,)
