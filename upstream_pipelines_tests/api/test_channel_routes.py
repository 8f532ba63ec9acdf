"""Channels over HTTP: webhooks made, their secrets replaced, channels tested, switched off and on; and what is refused."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import httpx
import psycopg
import pytest

from upstream_pipelines.alerts.rules import DEFAULT_RULE
from upstream_pipelines.alerts.store import (
    conservation,
    due_deliveries,
    list_alerts,
    sync_channels,
    sync_rules,
    write_quality_alert,
)
from upstream_pipelines.customers.roles import Role
from upstream_pipelines.customers.store import create_customer, get_customer
from upstream_pipelines.db.engine import Connection, connect, customer_transaction
from upstream_pipelines.delivery.channels import WebhookChannel
from upstream_pipelines.settings import Settings

LogIn = Callable[[str, Role], httpx.Client]
ACME = "/api/v1/customers/acme"
URL = "https://receiver.example.org/hook?key=ZEBRAFISH"


@pytest.fixture(scope="module")
def template(fill_template: Callable[[Callable[[Connection, Settings], None]], str]) -> str:
    """Acme, and beta with the channel `theirs` and an alert that is to go there in half a minute."""

    def load(conn: Connection, settings: Settings) -> None:
        for slug in ("acme", "beta"):
            customer, _ = create_customer(conn, slug, slug.title())
            sync_rules(conn, customer.customer_id, [DEFAULT_RULE])
        beta = get_customer(conn, "beta").customer_id
        sync_channels(conn, beta, [WebhookChannel(kind="webhook", name="theirs", url=URL)], settings)
        assert write_quality_alert(conn, beta, uuid.uuid4(), 71.0, ["payer_present"], None) == 1

    return fill_template(load)


def _stored(pipeline: Connection, slug: str) -> dict[str, Any]:
    """The customer's one channel as the database has it."""
    with pipeline.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        row = cursor.execute(
            "SELECT c.* FROM alert_channels AS c JOIN customers USING (customer_id) WHERE slug = %s", (slug,)
        ).fetchone()
    assert row is not None
    return row


def test_a_webhook_is_made_and_its_secret_is_shown_once(log_in: LogIn, pipeline: Connection) -> None:
    admin, viewer = log_in("acme", Role.ADMIN), log_in("acme", Role.VIEWER)
    made = admin.post(f"{ACME}/channels", json={"name": "hook", "url": URL})
    assert made.status_code == 201, made.text
    secret, channel_id = made.json()["secret"], made.json()["channel"]["channel_id"]
    stored = _stored(pipeline, "acme")
    assert (stored["secret"], stored["configuration"], stored["enabled"]) == (secret, {"url": URL}, True)
    one = admin.get(f"{ACME}/channels/{channel_id}")
    assert one.json() == made.json()["channel"]
    told = one.json()
    assert (told["name"], told["host"], told["secret_last_four"]) == ("hook", "receiver.example.org", secret[-4:])
    assert told["created_at"].endswith("Z")
    listed = viewer.get(f"{ACME}/channels")
    assert [channel["channel_id"] for channel in listed.json()] == [channel_id]
    for answer in (one, listed):
        assert secret not in answer.text
        assert "ZEBRAFISH" not in answer.text
    again = admin.post(f"{ACME}/channels", json={"name": "hook", "url": URL})
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    for wrong in (
        "http://receiver.example.org/", "https://10.0.0.1/ZEBRAFISH", "https://169.254.169.254/", "https://localhost/",
        "https://receiver.example.org:22/", "https://user:ZEBRAFISH@receiver.example.org/", "https://2130706433/", "no",
        "https://receiver.example.org/\u0000",
    ):  # fmt: skip
        answer = admin.post(f"{ACME}/channels", json={"name": "other", "url": wrong})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input"), wrong
        assert "ZEBRAFISH" not in answer.text
    assert admin.post(f"{ACME}/channels", json={"name": "a\u0000", "url": URL}).status_code == 422
    acts = admin.get(f"{ACME}/audit", params={"entity_kind": "channel"}).json()["acts"]
    assert [(act["action"], act["entity_id"]) for act in acts] == [("channel.made", channel_id)]


def test_a_secret_is_replaced_and_both_sign_for_a_day_or_the_new_one_alone(
    log_in: LogIn, pipeline: Connection
) -> None:
    admin = log_in("acme", Role.ADMIN)
    made = admin.post(f"{ACME}/channels", json={"name": "hook", "url": URL}).json()
    path = f"{ACME}/channels/{made['channel']['channel_id']}"
    second = admin.post(f"{path}/rotate-secret")
    assert second.status_code == 200, second.text
    stored = _stored(pipeline, "acme")
    assert (stored["secret"], stored["previous_secret"]) == (second.json()["secret"], made["secret"])
    told = admin.get(path).json()
    assert told["secret_last_four"] == second.json()["secret"][-4:]
    assert told["both_sign_until"] == second.json()["channel"]["both_sign_until"] is not None
    early = admin.post(f"{path}/rotate-secret", json={"at_once": False})
    assert (early.status_code, early.json()["code"]) == (409, "conflict")
    third = admin.post(f"{path}/rotate-secret", json={"at_once": True}).json()
    stored = _stored(pipeline, "acme")
    assert (stored["secret"], stored["previous_secret"]) == (third["secret"], None)
    assert third["channel"]["both_sign_until"] is None
    assert len({made["secret"], second.json()["secret"], third["secret"]}) == 3
    acts = admin.get(f"{ACME}/audit", params={"action": "channel.secret_rotated"}).json()["acts"]
    assert [act["details"] for act in acts] == [{"at_once": True}, {"at_once": False}]
    assert {act["entity_id"] for act in acts} == {made["channel"]["channel_id"]}
    assert "whsec_" not in str(acts)
    pipeline.execute("UPDATE alert_channels SET kind = 'email', secret = NULL WHERE name = 'hook'")
    assert admin.post(f"{path}/rotate-secret").status_code == 409


def test_a_test_of_a_channel_waits_in_the_outbox_for_the_worker(log_in: LogIn, pipeline: Connection) -> None:
    admin = log_in("acme", Role.ADMIN)
    made = admin.post(f"{ACME}/channels", json={"name": "hook", "url": URL}).json()["channel"]
    asked = admin.post(f"{ACME}/channels/{made['channel_id']}/test")
    assert asked.status_code == 202, asked.text
    alert = admin.get(f"{ACME}/alerts/{asked.json()['alert_id']}").json()
    assert (alert["alert"]["kind"], alert["alert"]["state"]) == ("test", "pending")
    (delivery,) = alert["deliveries"]
    assert (delivery["delivery_id"], delivery["channel"]) == (asked.json()["delivery_id"], "hook")
    assert due_deliveries(pipeline) == 1
    counts = conservation(pipeline, get_customer(pipeline, "acme").customer_id)
    assert {name: counts[name] for name in ("missing_places", "empty_deliveries", "wrong_states")} == {
        "missing_places": 0, "empty_deliveries": 0, "wrong_states": 0,
    }  # fmt: skip
    admin.post(f"{ACME}/channels/{made['channel_id']}/disable")
    off = admin.post(f"{ACME}/channels/{made['channel_id']}/test")
    assert (off.status_code, off.json()["code"]) == (409, "conflict")
    acts = admin.get(f"{ACME}/audit", params={"entity_kind": "channel"}).json()["acts"]
    assert [act["action"] for act in acts] == ["channel.disabled", "channel.tested", "channel.made"]
    assert {act["entity_id"] for act in acts} == {made["channel_id"]}


def test_a_channel_is_switched_off_by_hand_and_on_again_with_what_waited_for_it(
    log_in: LogIn, pipeline: Connection, settings: Settings
) -> None:
    admin = log_in("acme", Role.ADMIN)
    customer_id = get_customer(pipeline, "acme").customer_id
    path = f"{ACME}/channels/{admin.post(f'{ACME}/channels', json={'name': 'hook', 'url': URL}).json()['channel']['channel_id']}"
    for _ in range(2):  # the second time nothing happens
        off = admin.post(f"{path}/disable").json()
        assert (off["enabled"], off["disabled_reason"]) == (False, None)
    assert off["disabled_at"].endswith("Z")
    assert write_quality_alert(pipeline, customer_id, uuid.uuid4(), 71.0, ["payer_present"], None) == 1
    assert list_alerts(pipeline, customer_id)[0]["held_by"] == "channel"
    # The customer's file is read while somebody has it off: it stays off.
    hook = WebhookChannel(kind="webhook", name="hook", url=URL)
    sync_channels(pipeline, customer_id, [hook], settings)
    assert not admin.get(path).json()["enabled"]
    pipeline.execute("UPDATE alert_channels SET failing_since = now() WHERE name = 'hook'")
    on = admin.post(f"{path}/enable").json()
    assert (on["enabled"], on["disabled_at"], on["failing_since"]) == (True, None, None)
    held = pipeline.execute("SELECT held_until <= now() FROM alerts WHERE customer_id = %s", (customer_id,))
    assert held.fetchone() == (True,)
    acts = admin.get(f"{ACME}/audit", params={"entity_kind": "channel", "limit": 2}).json()["acts"]
    assert [act["action"] for act in acts] == ["channel.enabled", "channel.disabled"]
    assert {act["entity_id"] for act in acts} == {on["channel_id"]}


def test_channels_of_another_customer_are_not_found_and_stay_as_they_are(
    log_in: LogIn, pipeline: Connection
) -> None:
    owner, before = log_in("acme", Role.OWNER), _stored(pipeline, "beta")
    for method, end in (
        ("GET", ""),
        ("POST", "/rotate-secret"),
        ("POST", "/test"),
        ("POST", "/disable"),
        ("POST", "/enable"),
    ):
        answers = [
            owner.request(method, f"{ACME}/channels/{one}{end}") for one in (before["channel_id"], uuid.uuid4())
        ]
        assert [answer.status_code for answer in answers] == [404, 404], end
        assert len({str(answer.json() | {"request_id": ""}) for answer in answers}) == 1, end
    assert _stored(pipeline, "beta") == before


def test_the_role_of_the_api_reads_no_secret_and_writes_nothing_else_of_a_channel(
    pipeline: Connection, settings: Settings
) -> None:
    """Whatever a route forgets: the database lets it make webhooks and tests for the customer of its transaction alone."""
    own, other = (get_customer(pipeline, slug).customer_id for slug in ("acme", "beta"))
    theirs = _stored(pipeline, "beta")
    (told,) = pipeline.execute("SELECT alert_id, delivery_id FROM delivery_alerts").fetchall()
    values = {"own": own, "other": other, "channel": theirs["channel_id"], "alert": told[0], "delivery": told[1]}
    insert = "INSERT INTO alert_channels (customer_id, name, kind, configuration, secret) VALUES "
    alert = (
        "INSERT INTO alerts (customer_id, alert_id, kind, notice, fingerprint, subject_id, content, channel_ids, created_at)"
        " VALUES (%(own)s, gen_random_uuid(), {}, 'open', 'x', gen_random_uuid(), '{{}}', '{{}}', now())"
    )
    never = (
        "SELECT secret FROM alert_channels", "SELECT previous_secret FROM alert_channels", "UPDATE alert_channels SET secret = ''",
        "UPDATE alert_channels SET configuration = '{}'", "UPDATE alert_channels SET name = ''", "DELETE FROM alert_channels",
        f"{insert} (%(other)s, 'x', 'webhook', '{{}}', 'x')", f"{insert} (%(own)s, 'x', 'slack', '{{}}', 'x')",
        f"{insert} (%(own)s, 'x', 'webhook', '{{\"url\": \"x\", \"n\": 1e5000}}', 'x')",
        alert.format("'quality'"), alert.format("'test'"),
        "INSERT INTO deliveries (customer_id, channel_id) VALUES (%(own)s, %(channel)s)",
    )  # fmt: skip
    # Another alert than a test is put into no message: its customer's own one here.
    for_beta = (
        "INSERT INTO delivery_alerts (customer_id, delivery_id, alert_id, channel_id)"
        " VALUES (%(other)s, %(delivery)s, %(alert)s, %(channel)s)"
    )
    unreadable = (
        '{"tries_from": "x"}',
        '{"tries_from": 1.5}',
        '{"tries_from": 999}',
        '{"accepted": 1}',
        "[]",
        '{"accepted": [1e5000]}',
        '{"x": 1}',
        '{"reason": 1}',
        '{"asked_again": "x"}',
        '{"refused": 5}',
    )
    with connect(settings, "upstream_api") as conn:
        for progress in unreadable:
            with pytest.raises(psycopg.errors.CheckViolation), customer_transaction(conn, other):
                conn.execute("UPDATE deliveries SET progress = %s", (progress,))
        for table, column in (
            ("deliveries", "due_at"), ("deliveries", "finished_at"), ("alert_channels", "failing_since"),
            ("alerts", "held_until"),
        ):  # fmt: skip
            for instant in ("infinity", "-infinity", "0044-03-15 BC"):
                with pytest.raises(psycopg.errors.CheckViolation), customer_transaction(conn, other):
                    conn.execute(f"UPDATE {table} SET {column} = %s::text::timestamptz".encode(), (instant,))
        for customer_id, statement in (*((own, one) for one in never), (own, for_beta), (other, for_beta)):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), customer_transaction(conn, customer_id):
                conn.execute(statement.encode(), values)
        for statement in (
            "UPDATE alert_channels SET enabled = false WHERE customer_id = %(other)s",
            "SELECT 1 WHERE rotate_channel_secret('theirs', 'whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA', NULL)",
            "SELECT 1 WHERE write_channel_test(%(channel)s, gen_random_uuid(), gen_random_uuid())",
        ):
            with customer_transaction(conn, own):
                assert conn.execute(statement.encode(), values).rowcount == 0, statement
        assert conn.execute(
            "SELECT rotate_channel_secret('theirs', 'whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA', NULL)"
        ).fetchone() == (False,)
    assert _stored(pipeline, "beta") == theirs
