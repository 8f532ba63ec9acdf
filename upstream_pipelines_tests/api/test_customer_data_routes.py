"""What a customer has, over HTTP: claim lines, payers, drift events and what people say of them."""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from upstream_pipelines.customers.roles import Role
from upstream_pipelines.customers.store import create_customer, get_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.demo.generator import Change, as_known_on, synthetic_claims
from upstream_pipelines.drift.counting import refresh_activity
from upstream_pipelines.drift.settings import DriftSettings
from upstream_pipelines.drift.store import Subject, look
from upstream_pipelines.drift.verdicts import list_events
from upstream_pipelines.ingest.merging import merge_staged
from upstream_pipelines.ingest.staging import stage_waiting
from upstream_pipelines.ingest.uploads import send_file
from upstream_pipelines.settings import Settings

LogIn = Callable[[str, Role], httpx.Client]
ACME = "/api/v1/customers/acme"
TODAY = date(2026, 6, 1)
CHANGED = TODAY - timedelta(days=50)


def _load(conn: Connection, settings: Settings) -> None:
    """Acme, of whose payers Aetna pays 12 % less since CHANGED, looked at twice; a bad row; and beta without anything."""
    customer, _ = create_customer(conn, "acme", "Acme")
    create_customer(conn, "beta", "Beta")
    lines = as_known_on(synthetic_claims(3, TODAY, 250, Change("Aetna", CHANGED, price_factor=0.88)), TODAY)
    file = settings.home / "claims.csv"
    file.parent.mkdir()
    text = lines.to_csv(index=False, date_format="%Y-%m-%d")
    bad = dict.fromkeys(lines.columns, "") | {
        "payer": "Aetna",
        "outcome": "PENDING",
        "submitted_date": "2026-13-45",
    }
    file.write_text(text + ",".join(str(value) for value in bad.values()) + "\n")
    send_file(conn, settings, customer, file)
    stage_waiting(conn, settings, customer, source="csv", run_id="r")
    merge_staged(conn, settings, customer, "r")
    conn.execute(
        "INSERT INTO rejected_rows SELECT customer_id, upload_id, 5, 'payer', r, '=cmd()' FROM uploads,"
        " unnest(ARRAY['a', 'b']) AS r"
    )
    refresh_activity(conn, customer.customer_id)
    look(conn, Subject(customer.customer_id, "Acme", DriftSettings()), [TODAY - timedelta(days=1), TODAY])


@pytest.fixture(scope="module")
def template(fill_template: Callable[[Callable[[Connection, Settings], None]], str]) -> str:
    """The customers as `_load` leaves them."""
    return fill_template(_load)


def _pages(client: httpx.Client, path: str, key: str, **wanted: Any) -> list[dict[str, Any]]:
    """All pages of a list, each asked for with the mark of the one before."""
    found: list[dict[str, Any]] = []
    mark = None
    while True:
        answer = client.get(f"{ACME}/{path}", params=wanted | ({"after": mark} if mark else {}))
        assert answer.status_code == 200, answer.text
        found += answer.json()[key]
        mark = answer.json()["next"]
        if mark is None:
            return found


def _one(pipeline: Connection, statement: str, *values: object) -> Any:
    row = pipeline.execute(statement.encode(), values or None).fetchone()
    assert row is not None
    return row[0]


def test_claim_lines_come_in_pages_that_leave_none_out_and_repeat_none(
    log_in: LogIn, pipeline: Connection
) -> None:
    viewer = log_in("acme", Role.VIEWER)
    lines = _pages(viewer, "claims", "claims", limit=500, submitted_from="2026-05-20", payer="aetna")
    expected = _one(
        pipeline, "SELECT count(*) FROM claims WHERE submitted_date >= '2026-05-20' AND payer_name = 'Aetna'"
    )
    assert len({line["claim_key"] for line in lines}) == len(lines) == expected > 0
    order = [(line["submitted_date"], line["claim_key"]) for line in lines]
    assert order == sorted(order, reverse=True)
    few = _pages(viewer, "claims", "claims", limit=7, submitted_from="2026-05-27", payer="Aetna")
    assert few == [line for line in lines if line["submitted_date"] >= "2026-05-27"]
    assert len(few) > 7
    paid = next(line for line in lines if line["outcome"] == "PAID")
    assert isinstance(paid["allowed_amount"], str)
    assert paid["first_seen_at"].endswith("Z")


def test_each_filter_of_claims_leaves_what_it_says(log_in: LogIn, pipeline: Connection) -> None:
    viewer = log_in("acme", Role.VIEWER)
    upload = _one(pipeline, "SELECT upload_id FROM uploads")
    wanted: dict[str, tuple[dict[str, Any], str]] = {
        "denied": ({"outcome": "DENIED"}, "outcome = 'DENIED'"),
        "code": ({"denial_code": "197"}, "denial_reason_code LIKE '%197'"),
        "codes": ({"denial_code": ["197", "co-16"]}, "denial_reason_code ~ '(197|CO-?16)$'"),
        "cpt": ({"cpt": "99213"}, "cpt = '99213'"),
        "decided": (
            {"decided_from": "2026-05-25", "decided_to": "2026-05-26"},
            "decided_date BETWEEN '2026-05-25' AND '2026-05-26'",
        ),
        "submitted": (
            {"submitted_from": "2026-05-01", "submitted_to": "2026-05-01"},
            "submitted_date = '2026-05-01'",
        ),
        "upload": ({"upload_id": str(upload), "submitted_from": "2026-05-29"}, "submitted_date >= '2026-05-29'"),
        "no upload": ({"upload_id": str(uuid4())}, "false"),
        "no group": ({"cpt_group": "none such"}, "false"),
    }
    for name, (parameters, where) in wanted.items():
        lines = _pages(viewer, "claims", "claims", **{"submitted_from": "2026-05-01", "limit": 500, **parameters})
        expected = _one(pipeline, f"SELECT count(*) FROM claims WHERE submitted_date >= '2026-05-01' AND {where}")
        assert len(lines) == expected, name
        assert expected or where == "false", name


def test_what_cannot_be_asked_of_claims_is_refused(log_in: LogIn) -> None:
    viewer = log_in("acme", Role.VIEWER)
    for query in ("limit=501", "limit=0", "after=x", "payer=%00", "cpt=9*", "denial_code=.*", "outcome=paid",
                  "submitted_from=soon", "upload_id=1", "payer=" + "x" * 201):  # fmt: skip
        assert viewer.get(f"{ACME}/claims?{query}").status_code == 422, query
    for query in ("submitted_from=2026-02-01&submitted_to=2026-01-01", "submitted_from=2000-01-01"):
        answer = viewer.get(f"{ACME}/payers?{query}")
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input"), query
    assert viewer.get(f"{ACME}/payers?submitted_to=0001-01-01").status_code in {200, 422}


def test_payers_by_month_add_up_to_the_claims(log_in: LogIn, pipeline: Connection) -> None:
    viewer = log_in("acme", Role.VIEWER)
    months = viewer.get(
        f"{ACME}/payers", params={"submitted_from": "2025-06-01", "submitted_to": "2026-06-01"}
    ).json()
    assert sum(month["lines"] for month in months) == _one(
        pipeline, "SELECT count(*) FROM claims WHERE submitted_date >= '2025-06-01'"
    )
    (may,) = [month for month in months if (month["payer"], month["month"]) == ("Aetna", "2026-05-01")]
    allowed = _one(
        pipeline,
        "SELECT sum(allowed_amount)::text FROM claims WHERE payer_name = 'Aetna' AND submitted_date >= '2026-05-01'"
        " AND submitted_date < '2026-06-01'",
    )
    assert may["allowed"] == allowed
    assert may["denied_share"] == pytest.approx(may["denied"] / may["decided"], abs=1e-6)
    largest = viewer.get(
        f"{ACME}/payers", params={"submitted_from": "2025-06-01", "submitted_to": "2026-06-01", "limit": 1}
    ).json()
    assert {month["payer"] for month in largest} == {months[0]["payer"]}


def _event(pipeline: Connection) -> UUID:
    (event,) = [
        event
        for event in list_events(pipeline, get_customer(pipeline, "acme").customer_id)
        if event.signal == "allowed_amount"
    ]
    return event.event_id


def test_events_are_listed_and_told_in_full(log_in: LogIn, pipeline: Connection) -> None:
    viewer = log_in("acme", Role.VIEWER)
    event_id = str(_event(pipeline))
    events = _pages(viewer, "drift/events", "events", limit=1)
    assert event_id in {event["event_id"] for event in events}
    assert len(events) == len({event["event_id"] for event in events})
    for wanted, there in (
        ({"payer": "AETNA", "signal": "allowed_amount", "state": "live", "direction": "worsening"}, True),
        ({"state": "resolved"}, False), ({"payer": "Cigna"}, False), ({"since": "2026-06-02"}, False),
        ({"since": "2026-05-31"}, True),
    ):  # fmt: skip
        found = {event["event_id"] for event in _pages(viewer, "drift/events", "events", **wanted)}
        assert (event_id in found) == there, wanted

    told = viewer.get(f"{ACME}/drift/events/{event_id}").json()
    assert told["headline"].startswith("Aetna")
    assert told["sentences"]
    assert told["facts"]["Before"]
    assert told["figures"]["effect"] == pytest.approx(-0.12, abs=0.02)
    assert told["evidence"]["change_date"]
    assert "money" not in told["evidence"]
    assert told["money"]["per_month"] == told["money"]["under_priced"]
    assert float(told["money"]["low"]) < float(told["money"]["per_month"]) < float(told["money"]["high"])
    assert told["explanation"]["by"]["procedure"]
    assert [look["as_of"] for look in told["looks"]] == ["2026-06-01", "2026-05-31"]
    assert told["accepted"] is None
    lines = _pages(viewer, "claims", "claims", limit=500, **told["claim_lines"]["parameters"])
    assert len(lines) == told["claim_lines"]["count"] > 0
    assert {line["outcome"] for line in lines} == {"PAID"}


def test_an_event_is_accepted_once_and_by_whom_is_in_the_trail(log_in: LogIn, pipeline: Connection) -> None:
    analyst, owner = log_in("acme", Role.ANALYST), log_in("acme", Role.OWNER)
    path = f"{ACME}/drift/events/{_event(pipeline)}/acceptance"
    about = analyst.post(path, json={"note": "John Smith, DOB 1980-02-03"})
    assert (about.status_code, about.json()["code"]) == (422, "invalid_input")
    assert "Smith" not in about.text
    first = analyst.post(path, json={"note": "new contract"}).json()
    assert (first["already"], first["accepted_by"], first["note"]) == (
        False,
        "analyst@acme.example",
        "new contract",
    )
    assert first["event"]["accepted_on"] == first["accepted_on"]
    again = owner.post(path, json={"note": "another"}).json()
    assert (again["already"], again["note"]) == (True, "new contract")
    acts = owner.get(f"{ACME}/audit", params={"action": "drift_event.accepted"}).json()["acts"]
    assert [act["actor_name"] for act in acts] == ["analyst@acme.example"]
    told = analyst.get(f"{ACME}/drift/events/{_event(pipeline)}").json()
    assert told["accepted"]["accepted_by"] == "analyst@acme.example"
    pipeline.execute("UPDATE drift_events SET state = 'resolved', resolved_on = last_look")
    over = owner.post(path, json={})
    assert (over.status_code, over.json()["code"]) == (409, "conflict")
    assert str(_event(pipeline)) not in over.text


def test_days_are_labelled_listed_and_taken_back_by_an_admin(log_in: LogIn, pipeline: Connection) -> None:
    admin, analyst = log_in("acme", Role.ADMIN), log_in("acme", Role.ANALYST)
    days = {"label": "code set", "first_day": "2026-10-01", "last_day": "2026-10-02", "signals": ["volume"]}
    assert analyst.post(f"{ACME}/drift/labels", json=days).status_code == 403
    made = admin.post(f"{ACME}/drift/labels", json=days)
    assert made.status_code == 201
    assert (
        made.json() == analyst.get(f"{ACME}/drift/labels").json() == [days | {"kind": "calendar", "payers": None}]
    )
    taken = admin.post(f"{ACME}/drift/labels", json=days)
    assert (taken.status_code, "code set" in taken.text) == (409, False)
    for wrong in (
        {"label": "a\nb"},
        {"label": "x", "last_day": "2026-09-01"},
        {"label": "x", "signals": ["none"]},
    ):
        assert admin.post(f"{ACME}/drift/labels", json=days | wrong).status_code == 422, wrong
    calendar = get_customer(pipeline, "acme").configuration.drift.calendar
    assert [(label.label, label.signals) for label in calendar] == [("code set", ("volume",))]
    assert admin.delete(f"{ACME}/drift/labels", params={"label": "none"}).status_code == 404
    assert admin.delete(f"{ACME}/drift/labels", params={"label": "code set"}).json() == []
    acts = admin.get(f"{ACME}/audit", params={"action": "days.labelled"}).json()["acts"]
    assert [act["details"] for act in acts] == [{"labels": 0}, {"labels": 1}]


def test_an_event_of_another_customer_is_answered_like_one_that_nobody_has(
    log_in: LogIn, pipeline: Connection
) -> None:
    stranger = log_in("beta", Role.OWNER)
    answers = []
    for event_id in (_event(pipeline), uuid4()):
        path = f"/api/v1/customers/beta/drift/events/{event_id}"
        both = (stranger.get(path), stranger.post(f"{path}/acceptance", json={}))
        answers += [(answer.status_code, answer.json() | {"request_id": ""}) for answer in both]
    assert len({str(answer) for answer in answers}) == 1
    assert answers[0][0] == 404
    assert stranger.get("/api/v1/customers/beta/claims").json() == {"claims": [], "next": None}
    assert stranger.get("/api/v1/customers/beta/drift/events").json() == {"events": [], "next": None}


def test_uploads_are_listed_and_told_in_full_with_their_rejected_rows(
    log_in: LogIn, pipeline: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = log_in("acme", Role.VIEWER)
    pipeline.execute(
        "INSERT INTO uploads (customer_id, source, byte_count, status, received_at) SELECT customer_id, s, 1, 'received',"
        " '2026-01-01Z'::timestamptz FROM customers, unnest(ARRAY['csv', 'csv', 'webhook']) AS s WHERE slug = 'acme'"
    )
    uploads = _pages(viewer, "uploads", "uploads", limit=2)
    assert len({upload["upload_id"] for upload in uploads}) == len(uploads) == 4
    assert [upload["status"] for upload in uploads] == ["partial", "received", "received", "received"]
    for wanted, count in (({"state": "received", "source": "csv"}, 2), ({"since": "2026-01-02T00:00:00"}, 1)):
        assert len(_pages(viewer, "uploads", "uploads", **wanted)) == count, wanted

    path = f"{ACME}/uploads/{uploads[0]['upload_id']}"
    told = viewer.get(path).json()
    assert told["upload"]["rejected"] == 1
    assert {measure["state"] for measure in told["measures"]} == {"first"}
    assert 99 < told["quality"]["score"] < 100
    broken = [
        finding for finding in told["findings"] if finding["failing_rows"] and finding["severity"] == "error"
    ]
    assert "submitted_date" in {finding["field"] for finding in broken}
    assert all(finding["failing_rows"] == len(finding["sample_row_numbers"]) == 1 for finding in broken)
    waiting = viewer.get(f"{ACME}/uploads/{uploads[1]['upload_id']}").json()
    assert (waiting["quality"], waiting["findings"], waiting["measures"]) == (None, [], [])

    monkeypatch.setattr("upstream_pipelines.api.customer_uploads._ROWS", 2)
    page = viewer.get(f"{path}/rejected.csv")
    assert page.headers["content-type"] == "text/csv; charset=utf-8"
    header, *rows = list(csv.reader(page.text.splitlines()))
    assert header == ["row_number", "field", "rule", "reason"]
    assert rows[:2] == [["5", "payer", "a", "'=cmd()"], ["5", "payer", "b", "'=cmd()"]]
    assert "submitted_date" in {row[1] for row in rows[2:]}
    assert len(rows) == _one(pipeline, "SELECT count(*) FROM rejected_rows") > 2
    assert "2026-13-45" not in page.text
    acts = (
        log_in("acme", Role.OWNER).get(f"{ACME}/audit", params={"action": "rejected_rows.exported"}).json()["acts"]
    )
    assert [(act["entity_id"], act["actor_name"]) for act in acts] == [
        (uploads[0]["upload_id"], "viewer@acme.example")
    ]

    stranger = log_in("beta", Role.OWNER)
    theirs = [
        stranger.get(f"/api/v1/customers/beta/uploads/{upload_id}{rest}")
        for upload_id in (uploads[0]["upload_id"], uuid4())
        for rest in ("", "/rejected.csv")
    ]
    assert len({str((answer.status_code, answer.json() | {"request_id": ""})) for answer in theirs}) == 1
    assert theirs[0].status_code == 404
