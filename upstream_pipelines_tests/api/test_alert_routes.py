"""Alerts, what they were worth, silences, messages sent again, rules, channels and ingestion tokens over HTTP."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import httpx
import psycopg
import pytest

from upstream_pipelines.alerts import feedback
from upstream_pipelines.alerts.rules import DEFAULT_RULE
from upstream_pipelines.alerts.store import list_alerts, sync_channels, sync_rules, write_quality_alert
from upstream_pipelines.customers.roles import Role
from upstream_pipelines.customers.store import get_customer
from upstream_pipelines.db.engine import Connection, connect, customer_transaction
from upstream_pipelines.delivery.channels import WebhookChannel
from upstream_pipelines.settings import Settings

LogIn = Callable[[str, Role], httpx.Client]
ACME = "/api/v1/customers/acme"


@pytest.fixture
def told(acme: httpx.Client, beta: httpx.Client, pipeline: Connection) -> dict[str, Any]:
    """The newest of three alerts of acme; beta has one as well."""
    for slug, count in (("acme", 3), ("beta", 1)):
        customer_id = get_customer(pipeline, slug).customer_id
        hook = WebhookChannel(kind="webhook", name="hook", url="https://example.org/hook?key=ZEBRAFISH")
        sync_channels(pipeline, customer_id, [hook])
        sync_rules(pipeline, customer_id, [DEFAULT_RULE])
        for _ in range(count):
            assert write_quality_alert(pipeline, customer_id, uuid.uuid4(), 71.0, ["payer_present"], None) == 1
    alerts = list_alerts(pipeline, get_customer(pipeline, "acme").customer_id)
    return next(alert for alert in alerts if alert["deliveries"])


def _foreign(pipeline: Connection) -> dict[str, Any]:
    return list_alerts(pipeline, get_customer(pipeline, "beta").customer_id)[0]


def test_alerts_are_listed_in_pages_and_told_in_full(
    told: dict[str, Any], log_in: LogIn, pipeline: Connection
) -> None:
    viewer = log_in("acme", Role.VIEWER)
    first = viewer.get(f"{ACME}/alerts", params={"limit": 2}).json()
    rest = viewer.get(f"{ACME}/alerts", params={"limit": 2, "after": first["next"]}).json()
    assert len({alert["alert_id"] for alert in first["alerts"] + rest["alerts"]}) == 3
    assert rest["next"] is None
    for wanted, count in (({"kind": "drift"}, 0), ({"kind": "quality"}, 3), ({"state": "failed"}, 0),
                          ({"since": "2999-01-01"}, 0), ({"since": "2020-01-01T00:00:00Z"}, 3)):  # fmt: skip
        assert len(viewer.get(f"{ACME}/alerts", params=wanted).json()["alerts"]) == count, wanted
    pipeline.execute(
        """INSERT INTO delivery_attempts (customer_id, delivery_id, attempt, started_at, outcome, status_code, detail)
           SELECT customer_id, delivery_id, 1, now(), 'retry', 503, 'not ready' FROM deliveries WHERE delivery_id = %s""",
        (told["deliveries"][0]["delivery_id"],),
    )
    full = viewer.get(f"{ACME}/alerts/{told['alert_id']}").json()
    assert full["alert"]["headline"]
    assert full["alert"]["created_at"].endswith("Z")
    assert full["sentences"]
    (delivery,) = full["deliveries"]
    assert (delivery["channel"], delivery["attempts"][0]["status_code"]) == ("hook", 503)


def test_what_an_alert_was_worth_is_kept_with_who_said_so(
    told: dict[str, Any], log_in: LogIn, pipeline: Connection
) -> None:
    analyst, owner = log_in("acme", Role.ANALYST), log_in("acme", Role.OWNER)
    path = f"{ACME}/alerts/{told['alert_id']}/feedback"
    kept = analyst.post(path, json={"judgement": "real", "recovered": "12500.50", "note": "paid again"})
    assert (kept.status_code, kept.json()["recovered"]) == (201, "12500.50")
    for wrong in ({"judgement": "noise", "recovered": "1"}, {"judgement": "good"}, {"judgement": "real", "recovered": -1},
                  {"judgement": "real", "note": "ZEBRAFISH dob 1980-02-03"}, {"judgement": "real", "recovered": "NaN"},
                  {"judgement": "real", "note": "two\nlines"}, {"judgement": "real", "note": "member id 1234567"}):  # fmt: skip
        answer = analyst.post(path, json=wrong)
        assert answer.status_code == 422, wrong
        assert "ZEBRAFISH" not in answer.text
    assert analyst.post(path, json={"judgement": "needs_follow_up"}).status_code == 201
    full = owner.get(f"{ACME}/alerts/{told['alert_id']}").json()
    assert [(one["judgement"], one["recovered"], one["judged_by"]) for one in full["judgements"]] == [
        ("real", "12500.50", "analyst@acme.example"), ("needs_follow_up", None, "analyst@acme.example"),
    ]  # fmt: skip
    assert full["alert"]["judgement"] == "needs_follow_up"
    acts = owner.get(f"{ACME}/audit", params={"action": "alert.judged"}).json()["acts"]
    assert [act["details"]["judgement"] for act in acts] == ["needs_follow_up", "real"]


def test_a_dead_message_is_sent_again_and_no_other(
    told: dict[str, Any], log_in: LogIn, pipeline: Connection
) -> None:
    admin, analyst = log_in("acme", Role.ADMIN), log_in("acme", Role.ANALYST)
    delivery_id = told["deliveries"][0]["delivery_id"]
    path = f"{ACME}/deliveries/{delivery_id}/resend"
    early = admin.post(path)
    assert (early.status_code, delivery_id in early.text) == (409, False)
    pipeline.execute(
        "UPDATE deliveries SET state = 'dead', finished_at = now(), progress = '{\"reason\": \"x\"}' WHERE delivery_id = %s",
        (delivery_id,),
    )
    pipeline.execute("UPDATE alerts SET state = 'failed' WHERE alert_id = %s", (told["alert_id"],))
    assert analyst.post(path).status_code == 403
    assert admin.post(path).json() == {"delivery_id": delivery_id, "state": "retrying"}
    full = admin.get(f"{ACME}/alerts/{told['alert_id']}").json()
    assert (full["alert"]["state"], full["deliveries"][0]["state"]) == ("pending", "retrying")
    acts = admin.get(f"{ACME}/audit", params={"action": "delivery.resent"}).json()["acts"]
    assert [act["entity_id"] for act in acts] == [delivery_id]


def test_messages_are_listed_in_pages_by_state_channel_and_alert_without_addresses(
    told: dict[str, Any], log_in: LogIn, pipeline: Connection
) -> None:
    viewer, path = log_in("acme", Role.VIEWER), f"{ACME}/deliveries"
    pipeline.execute(
        """WITH dead AS (
               INSERT INTO deliveries (customer_id, delivery_id, channel_id, state, attempt, created_at, finished_at)
               SELECT customer_id, gen_random_uuid(), channel_id, 'dead', 1, now() - n * interval '1 day', now()
                 FROM deliveries, generate_series(1, 2) AS n WHERE delivery_id = %s
               RETURNING customer_id, delivery_id
           )
           INSERT INTO delivery_attempts (customer_id, delivery_id, attempt, started_at, outcome, status_code, detail)
           SELECT customer_id, delivery_id, 1, now(), 'dead', 410, 'gone' FROM dead""",
        (told["deliveries"][0]["delivery_id"],),
    )
    whole = viewer.get(path).json()["deliveries"]
    assert [one["state"] for one in whole[-2:]] == ["dead", "dead"]
    assert [one["created_at"] for one in whole] == sorted((one["created_at"] for one in whole), reverse=True)
    assert (whole[-1]["attempts"][0]["status_code"], whole[-1]["alert_ids"]) == (410, [])
    paged: list[dict[str, Any]] = []
    mark = None
    for _ in whole:
        page = viewer.get(path, params={"limit": 1} | ({"after": mark} if mark else {})).json()
        paged, mark = paged + page["deliveries"], page["next"]
    assert (paged, mark) == (whole, None)
    first = next(one for one in whole if one["delivery_id"] == told["deliveries"][0]["delivery_id"])
    assert (first["channel"], first["channel_kind"], told["alert_id"] in first["alert_ids"]) == (
        "hook",
        "webhook",
        True,
    )
    living = len(whole) - 2
    for wanted, count in (({"state": "dead"}, 2), ({"state": "pending"}, living), ({"channel_id": first["channel_id"]}, len(whole)),
                          ({"channel_id": str(uuid.uuid4())}, 0), ({"alert_id": told["alert_id"]}, 1),
                          ({"alert_id": _foreign(pipeline)["alert_id"]}, 0), ({"since": "2999-01-01"}, 0)):  # fmt: skip
        assert len(viewer.get(path, params=wanted).json()["deliveries"]) == count, wanted
    assert viewer.get(path, params={"state": "gone"}).status_code == 422
    assert viewer.get(path, params={"after": "no mark"}).status_code == 422
    assert "ZEBRAFISH" not in viewer.get(path).text
    theirs = log_in("beta", Role.VIEWER).get("/api/v1/customers/beta/deliveries").json()["deliveries"]
    assert not {one["delivery_id"] for one in theirs} & {one["delivery_id"] for one in whole}


def test_silences_are_made_listed_and_ended_and_are_not_more_than_may_be(
    told: dict[str, Any], log_in: LogIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = log_in("acme", Role.ADMIN)
    one = admin.post(
        f"{ACME}/silences", json={"payer": "Aetna", "signal": "volume", "hours": 2, "reason": "known outage"}
    ).json()
    assert (one["about"], one["created_by"], one["reason"]) == (
        "aetna, volume",
        "admin@acme.example",
        "known outage",
    )
    same = admin.post(f"{ACME}/silences", json={"alert_id": told["alert_id"], "hours": 1}).json()
    assert [silence["silence_id"] for silence in admin.get(f"{ACME}/silences").json()] == [
        same["silence_id"],
        one["silence_id"],
    ]
    for wrong in ({"hours": 1}, {"payer": "A", "hours": 0}, {"payer": "A", "hours": 9000}, {"payer": "A"},
                  {"payer": "A", "alert_id": told["alert_id"], "hours": 1}, {"signal": "none", "hours": 1}):  # fmt: skip
        assert admin.post(f"{ACME}/silences", json=wrong).status_code == 422, wrong
    monkeypatch.setattr(feedback, "MOST_SILENCES", 2)
    full = admin.post(f"{ACME}/silences", json={"payer": "Cigna", "hours": 1})
    assert (full.status_code, full.json()["code"]) == (409, "conflict")
    assert admin.delete(f"{ACME}/silences/{one['silence_id']}").status_code == 204
    assert admin.delete(f"{ACME}/silences/{one['silence_id']}").status_code == 404
    assert [silence["silence_id"] for silence in admin.get(f"{ACME}/silences").json()] == [same["silence_id"]]
    acts = admin.get(f"{ACME}/audit", params={"entity_kind": "silence"}).json()["acts"]
    assert [act["action"] for act in acts] == ["silence.ended", "silence.made", "silence.made"]


def test_a_silence_names_the_payer_as_the_claims_do(
    told: dict[str, Any], log_in: LogIn, pipeline: Connection
) -> None:
    """Letter case does not count, so that it is kept in lower case; the newest claims are those of the newest day."""
    admin = log_in("acme", Role.ADMIN)
    pipeline.execute(
        """INSERT INTO payer_activity (customer_id, payer, cpt_group, submitted_day, submitted_known_day, lines, denied,
                                       denied_authorization, billed, allowed, paid)
           SELECT customer_id, p, 'OTHER', d::date, d::date, 1, 0, 0, 1, 0, 0
             FROM customers, (VALUES ('AETNA', '2026-05-01'), ('Aetna', '2026-05-02'), ('UnitedHealth', '2026-05-01')) AS v (p, d)
            WHERE slug = 'acme'"""
    )
    pipeline.execute(
        """INSERT INTO drift_events (customer_id, event_id, payer, cpt_group, signal, direction, state, started_on, opened_on,
                                     last_look, memory, method_version, settings, opened_method_version, opened_settings)
           SELECT customer_id, gen_random_uuid(), 'unitedHealth', 'ALL', 'denial_rate', 'worsening', 'updated', '2026-03-02',
                  '2026-04-01', '2026-05-01', '{}', 1, '{}', 1, '{}' FROM customers WHERE slug = 'acme'"""
    )
    wanted = {"AETNA": "Aetna", "unitedhealth": "unitedHealth", "Nobody": "nobody"}
    made = [admin.post(f"{ACME}/silences", json={"payer": payer, "hours": 1}).json() for payer in wanted]
    assert [(one["payer"], one["about"]) for one in made] == [(name, name) for name in wanted.values()]
    assert {one["payer"] for one in admin.get(f"{ACME}/silences").json()} == set(wanted.values())


def test_rules_and_channels_are_shown_without_addresses_and_secrets(told: dict[str, Any], log_in: LogIn) -> None:
    viewer = log_in("acme", Role.VIEWER)
    (rule,) = viewer.get(f"{ACME}/alert-rules").json()
    assert rule["name"] == DEFAULT_RULE.name
    answer = viewer.get(f"{ACME}/channels")
    (channel,) = answer.json()
    assert (channel["name"], channel["kind"], channel["enabled"]) == ("hook", "webhook", True)
    assert "ZEBRAFISH" not in answer.text
    assert "whsec" not in answer.text


def test_a_token_is_shown_once_works_and_ends_when_it_is_revoked(
    acme: httpx.Client, anonymous: httpx.Client, log_in: LogIn
) -> None:
    admin, analyst = log_in("acme", Role.ADMIN), log_in("acme", Role.ANALYST)
    assert analyst.get(f"{ACME}/tokens").status_code == 403
    made = admin.post(f"{ACME}/tokens", json={"label": "practice system", "expires_at": "2999-01-01T00:00:00"})
    assert made.status_code == 201
    token, token_id = made.json()["token"], made.json()["info"]["token_id"]
    assert made.json()["info"]["expires_at"] == "2999-01-01T00:00:00Z"
    listed = admin.get(f"{ACME}/tokens")
    assert [one["label"] for one in listed.json()] == ["practice system", "test"]
    assert token not in listed.text

    def ask() -> int:
        path = f"/api/v1/uploads/{uuid.uuid4()}"
        return anonymous.get(path, headers={"Authorization": f"Bearer {token}"}).status_code

    assert ask() == 404
    assert admin.delete(f"{ACME}/tokens/{token_id}").status_code == 204
    assert ask() == 401
    past = admin.post(f"{ACME}/tokens", json={"expires_at": "2020-01-01T00:00:00Z"})
    assert (past.status_code, past.json()["code"]) == (422, "invalid_input")
    acts = admin.get(f"{ACME}/audit", params={"entity_kind": "token"}).json()["acts"]
    assert [act["action"] for act in acts] == ["token.revoked", "token.issued"]
    assert token not in str(acts)


def test_what_another_customer_has_is_answered_like_what_nobody_has(
    told: dict[str, Any], log_in: LogIn, pipeline: Connection
) -> None:
    owner, stranger = log_in("acme", Role.OWNER), log_in("beta", Role.OWNER)
    foreign = _foreign(pipeline)
    token_id = stranger.post("/api/v1/customers/beta/tokens", json={}).json()["info"]["token_id"]
    silence = {"payer": "Aetna", "hours": 1}
    silence_id = stranger.post("/api/v1/customers/beta/silences", json=silence).json()["silence_id"]
    routes: tuple[tuple[str, str, str, dict[str, Any] | None], ...] = (
        ("GET", "alerts/{}", foreign["alert_id"], None),
        ("POST", "alerts/{}/feedback", foreign["alert_id"], {"judgement": "noise"}),
        ("POST", "deliveries/{}/resend", foreign["deliveries"][0]["delivery_id"], None),
        ("DELETE", "silences/{}", silence_id, None),
        ("DELETE", "tokens/{}", token_id, None),
    )
    for method, path, theirs, body in routes:
        answers = [
            owner.request(method, f"{ACME}/{path.format(one)}", json=body) for one in (theirs, uuid.uuid4())
        ]
        assert [answer.status_code for answer in answers] == [404, 404], path
        assert len({str(answer.json() | {"request_id": ""}) for answer in answers}) == 1, path
    of_alert = [
        owner.post(f"{ACME}/silences", json={"alert_id": str(one), "hours": 1})
        for one in (foreign["alert_id"], uuid.uuid4())
    ]
    assert [answer.status_code for answer in of_alert] == [404, 404]
    assert stranger.get("/api/v1/customers/beta/silences").json()[0]["silence_id"] == silence_id
    revoked = [one["revoked_at"] for one in stranger.get("/api/v1/customers/beta/tokens").json()]
    assert revoked == [None, None]


def test_the_role_of_the_api_writes_for_the_customer_of_its_transaction_and_no_other(
    told: dict[str, Any], pipeline: Connection, settings: Settings
) -> None:
    """Whatever a route forgets, the database keeps customers apart, and what the pipeline alone says from the API."""
    own, other = (get_customer(pipeline, slug).customer_id for slug in ("acme", "beta"))
    foreign = _foreign(pipeline)
    of_another = (
        (
            "INSERT INTO alert_feedback (customer_id, alert_id, judgement, note, judged_by, judged_at)"
            " VALUES (%(other)s, %(alert)s, 'noise', '', 'x', now())"
        ),
        (
            "INSERT INTO alert_silences (customer_id, payer, ends_at, reason, created_by, created_at)"
            " VALUES (%(other)s, 'a', now() + interval '1 day', '', 'x', now())"
        ),
        (
            "INSERT INTO drift_acceptances (customer_id, event_id, accepted_on, accepted_by, note)"
            " VALUES (%(other)s, gen_random_uuid(), now(), 'x', '')"
        ),
        "INSERT INTO alert_rules (customer_id, name, kinds) VALUES (%(other)s, 'x', '{drift}')",
    )
    never = (
        "UPDATE deliveries SET attempt = 0", "UPDATE alerts SET content = '{}'", "UPDATE customers SET status = 'active'",
        "UPDATE alert_feedback SET note = ''", "DELETE FROM alert_silences", "UPDATE drift_acceptances SET note = ''",
        "DELETE FROM alert_rules", "UPDATE alert_rules SET customer_id = 0",
    )  # fmt: skip
    with connect(settings, "upstream_api") as conn:
        for statement in (*of_another, *never):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), customer_transaction(conn, own):
                conn.execute(statement.encode(), {"other": other, "alert": foreign["alert_id"]})
        for statement in (
            "UPDATE deliveries SET state = 'dead' WHERE customer_id = %(other)s",
            "UPDATE alerts SET held_until = NULL WHERE customer_id = %(other)s",
            "UPDATE customers SET configuration = '{}' WHERE customer_id = %(other)s",
            "UPDATE alert_rules SET enabled = false WHERE customer_id = %(other)s",
        ):
            with customer_transaction(conn, own):
                assert conn.execute(statement.encode(), {"other": other}).rowcount == 0, statement
