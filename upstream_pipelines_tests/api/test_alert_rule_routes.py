"""Alert rules over HTTP: made, replaced at the revision that was read, switched off, and heeded."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, get_args

import httpx
import psycopg
import pytest

from upstream_pipelines.alerts.rules import DEFAULT_RULE, Kind
from upstream_pipelines.alerts.store import stored_rules, sync_channels, sync_rules, write_quality_alert
from upstream_pipelines.customers.roles import Role
from upstream_pipelines.customers.store import get_customer
from upstream_pipelines.db.engine import Connection, connect, customer_transaction
from upstream_pipelines.delivery.channels import WebhookChannel
from upstream_pipelines.settings import Settings

LogIn = Callable[[str, Role], httpx.Client]
KINDS = get_args(Kind)
RULES = "/api/v1/customers/acme/alert-rules"
LARGE: dict[str, Any] = {
    "name": "large ones", "minimum_dollars_per_month": 5000, "channels": ["hook"], "payers": ["Aetna"],
    "quiet_hours": {"from": "20:00", "to": "07:00"}, "time_zone": "America/New_York",
}  # fmt: skip


@pytest.fixture
def customer(acme: httpx.Client, pipeline: Connection) -> int:
    """Acme, with a webhook and the rule that sign-up makes."""
    customer_id = get_customer(pipeline, "acme").customer_id
    sync_channels(
        pipeline, customer_id, [WebhookChannel(kind="webhook", name="hook", url="https://example.org/hook")]
    )
    sync_rules(pipeline, customer_id, [DEFAULT_RULE])
    return customer_id


def _names(client: httpx.Client, **wanted: Any) -> list[str]:
    return [rule["name"] for rule in client.get(RULES, params=wanted).json()]


def _sent(kept: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """What replaces a rule that was read."""
    rule = {name: value for name, value in kept.items() if name not in {"rule_id", "revision"}}
    return {"revision": kept["revision"], "rule": rule | changed}


def test_a_rule_is_made_replaced_switched_off_and_on_again_and_the_trail_has_it(
    customer: int, log_in: LogIn
) -> None:
    admin, viewer = log_in("acme", Role.ADMIN), log_in("acme", Role.VIEWER)
    made = admin.post(RULES, json=LARGE)
    assert made.status_code == 201, made.text
    kept = made.json()
    assert {name: kept[name] for name in LARGE} == {**LARGE, "quiet_hours": LARGE["quiet_hours"] | {"days": None}}
    path = f"{RULES}/{kept['rule_id']}"
    assert viewer.get(path).json() == kept
    assert _names(viewer) == ["default", "large ones"]
    larger = admin.put(path, json=_sent(kept, name="larger ones", minimum_dollars_per_month=9000.5))
    assert (larger.status_code, larger.json()["rule_id"]) == (200, kept["rule_id"]), larger.text
    assert larger.json()["minimum_dollars_per_month"] == 9000.5
    for body in (_sent(kept), _sent(larger.json(), name="default")):
        refused = admin.put(path, json=body)
        assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    same = admin.put(path, json=_sent(larger.json()))
    assert same.json() == larger.json()
    for _ in range(2):
        assert admin.delete(path).status_code == 204
    assert (_names(viewer), _names(viewer, with_off=True)) == (["default"], ["default", "larger ones"])
    off = viewer.get(path).json()
    assert off["enabled"] is False
    assert admin.post(RULES, json=LARGE | {"name": "larger ones"}).status_code == 409, "it is off, and there"
    assert admin.put(path, json=_sent(off, enabled=True)).json() == larger.json()
    assert _names(viewer) == ["default", "larger ones"]
    acts = admin.get("/api/v1/customers/acme/audit", params={"entity_kind": "alert_rule"}).json()["acts"]
    assert {act["entity_id"] for act in acts} == {kept["rule_id"]}, "a name may be a patient's, and stays for ever"
    assert [(act["action"], act["details"]) for act in reversed(acts)] == [
        ("alert_rule.made", {}),
        ("alert_rule.changed", {"changed": ["name", "minimum_dollars_per_month"]}),
        ("alert_rule.disabled", {}),
        ("alert_rule.changed", {"changed": ["enabled"]}),
    ]


def test_what_can_be_no_rule_is_refused_and_not_repeated(
    customer: int, log_in: LogIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, analyst = log_in("acme", Role.OWNER), log_in("acme", Role.ANALYST)
    wrong: tuple[dict[str, Any], ...] = (
        {"channels": ["ZEBRAFISH"]}, {"channels": []}, {"name": "ZEBRA\u0000FISH"}, {"name": ""}, {"payers": ["a\u0000b"]},
        {"kinds": ["ZEBRAFISH"]}, {"time_zone": None}, {"time_zone": "../ZEBRAFISH"}, {"zebra": "ZEBRAFISH"},
        {"kinds": ["drift", "drift"]}, {"signals": ["volume"] * 5000}, {"directions": ["unclear"] * 4}, {"repeat_hours": 1}, {"minimum_severity": 2}, {"quiet_hours": {"from": "20:00", "to": "20:00"}},
    )  # fmt: skip
    for change in wrong:
        answer = owner.post(RULES, json={**LARGE, **change})
        assert answer.status_code == 422, (change, answer.text)
        assert "ZEBRA" not in answer.text
    (default,) = owner.get(RULES).json()
    changed = owner.put(f"{RULES}/{default['rule_id']}", json=_sent(default, channels=["none"]))
    assert changed.status_code == 422
    assert owner.get(RULES).json() == [default]
    assert (
        analyst.post(RULES, json=LARGE).status_code
        == analyst.delete(f"{RULES}/{default['rule_id']}").status_code
        == 403
    )
    monkeypatch.setattr("upstream_pipelines.alerts.rule_changes.MOST_RULES", 1)
    assert owner.post(RULES, json=LARGE).status_code == 409


def test_what_is_told_is_decided_by_the_rules_as_they_were_changed(
    customer: int, log_in: LogIn, pipeline: Connection
) -> None:
    owner = log_in("acme", Role.OWNER)
    (default,) = owner.get(RULES).json()

    def told() -> int:
        return write_quality_alert(pipeline, customer, uuid.uuid4(), 71.0, ["payer_present"], None)

    assert told() == 1
    made = owner.post(RULES, json={"name": "data", "kinds": ["quality"]}).json()
    assert told() == 2
    owner.delete(f"{RULES}/{default['rule_id']}")
    assert told() == 1
    owner.put(f"{RULES}/{made['rule_id']}", json=_sent(made, kinds=["drift"]))
    assert told() == 0


def test_a_rule_of_another_customer_is_answered_like_one_that_nobody_has(
    customer: int, beta: httpx.Client, log_in: LogIn
) -> None:
    stranger, (default,) = log_in("beta", Role.OWNER), log_in("acme", Role.OWNER).get(RULES).json()
    for method, body in (("GET", None), ("PUT", _sent(default)), ("DELETE", None)):
        answers = [
            stranger.request(method, f"/api/v1/customers/beta/alert-rules/{rule_id}", json=body)
            for rule_id in (default["rule_id"], uuid.uuid4())
        ]
        assert [answer.status_code for answer in answers] == [404, 404]
        assert len({str(answer.json() | {"request_id": ""}) for answer in answers}) == 1


def test_the_api_role_stores_no_list_that_is_longer_than_it_can_be(
    customer: int, settings: Settings, pipeline: Connection
) -> None:
    days = '{"from": "20:00", "to": "07:00", "days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"%s]}'
    wrong: tuple[tuple[str, Any], ...] = (
        ("kinds", ["drift"] * 6), ("kinds", ["gossip"]), ("kinds", [["drift"], ["drift"]]), ("signals", ["volume"] * 7),
        ("signals", ["x"]), ("directions", ["unclear"] * 4), ("directions", ["up"]), ("time_zone", "../x"), ("time_zone", "a" * 65),
        ("time_zone", "/UTC"), ("time_zone", "a\n"), ("quiet_hours", days % ', "mon"'), ("quiet_hours", '{"days": "mon"}'),
        ("quiet_hours", '{"from": "%s"}' % ("x" * 200)),
    )  # fmt: skip
    set_one = "UPDATE alert_rules SET time_zone = 'UTC', {} = %s"
    with connect(settings, "upstream_api") as conn:
        for name, value in wrong:
            statement = set_one.format(name).replace("time_zone = 'UTC', time_zone", "time_zone")
            with pytest.raises(psycopg.errors.CheckViolation), customer_transaction(conn, customer):
                conn.execute(statement, (value,))
        with customer_transaction(conn, customer):
            conn.execute(set_one.format("quiet_hours"), (days % "",))
            conn.execute(
                "UPDATE alert_rules SET time_zone = 'America/Argentina/Buenos_Aires', kinds = %s", (list(KINDS),)
            )
    assert stored_rules(pipeline, customer)[0].kinds == KINDS


def test_a_rule_that_cannot_be_read_is_named_among_the_others_and_can_be_replaced_and_switched_off(
    customer: int, log_in: LogIn, settings: Settings, pipeline: Connection
) -> None:
    """It was a 500 for all of the customer's rules."""
    admin = log_in("acme", Role.ADMIN)
    for name in ("first", "second"):
        assert admin.post(RULES, json={"name": name}).status_code == 201
    with connect(settings, "upstream_owner") as owner:
        owner.execute("ALTER TABLE alert_rules DROP CONSTRAINT alert_rules_names")
    pipeline.execute("UPDATE alert_rules SET payers = '{}' WHERE name IN ('first', 'second')")
    listed = admin.get(RULES)
    assert listed.status_code == 200, listed.text
    default, first, second = listed.json()
    assert (default["name"], default["kinds"]) == ("default", list(DEFAULT_RULE.kinds))
    assert first == {
        "rule_id": first["rule_id"], "name": "first", "enabled": True, "revision": first["revision"], "readable": False,
    }  # fmt: skip
    path = f"{RULES}/{first['rule_id']}"
    assert admin.get(path).json() == first
    assert admin.post(RULES, json={"name": "third"}).status_code == 201
    assert admin.post(RULES, json={"name": "first"}).status_code == 409
    stale = admin.put(path, json={"revision": "0" * 16, "rule": LARGE})
    assert stale.status_code == 409, stale.text
    put = admin.put(path, json={"revision": first["revision"], "rule": LARGE})
    assert put.status_code == 200, put.text
    assert admin.get(path).json()["payers"] == ["Aetna"]
    assert admin.delete(f"{RULES}/{second['rule_id']}").status_code == 204
    assert _names(admin) == ["default", "large ones", "third"]
