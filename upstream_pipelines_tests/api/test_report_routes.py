"""Reports over HTTP: asked for, made, downloaded, and their figures those of the routes that show the same."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pandas as pd
import pytest

from upstream_pipelines.api.reports import MEDIA_TYPES
from upstream_pipelines.customers.roles import Role
from upstream_pipelines.customers.store import get_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.reports.making import MadeReport, make_waiting
from upstream_pipelines.settings import Settings
from upstream_pipelines_tests.api.test_customer_data_routes import _load

LogIn = Callable[[str, Role], httpx.Client]
ACME = "/api/v1/customers/acme"
PERIOD = {"from": "2026-04-01", "until": "2026-06-01"}


@pytest.fixture(scope="module")
def template(fill_template: Callable[[Callable[[Connection, Settings], None]], str]) -> str:
    """Acme with claims, an event and an upload with a bad row; beta with nothing."""
    return fill_template(_load)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"rate_limit_report": "6/day"})


def _make(pipeline: Connection, slug: str = "acme") -> list[MadeReport]:
    return make_waiting(pipeline, get_customer(pipeline, slug), "run")


def _refused(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_a_report_is_asked_for_followed_and_downloaded(log_in: LogIn, pipeline: Connection) -> None:
    analyst, viewer, owner = (log_in("acme", role) for role in (Role.ANALYST, Role.VIEWER, Role.OWNER))
    assert viewer.post(f"{ACME}/reports", json=PERIOD).status_code == 403
    asked = analyst.post(f"{ACME}/reports", json=PERIOD)
    assert asked.status_code == 202, asked.text
    waiting = asked.json()
    path = asked.headers["Location"]
    assert path == f"{ACME}/reports/{waiting['report_id']}"
    assert (waiting["from"], waiting["until"], waiting["state"], waiting["files"]) == (
        *PERIOD.values(),
        "waiting",
        [],
    )
    assert waiting["requested_by"] == "analyst@acme.example"
    assert owner.post(f"{ACME}/reports", json=PERIOD).json()["report_id"] == waiting["report_id"]
    early = viewer.get(f"{path}/files/pdf")
    assert (_refused(early), waiting["report_id"] in early.text) == ((409, "conflict"), False)
    _make(pipeline)
    made = viewer.get(path).json()
    assert (made["state"], made["attempts"], made["error_code"]) == ("success", 1, None)
    for file in made["files"]:
        got = viewer.get(f"{path}/files/{file['format']}")
        assert got.status_code == 200
        assert got.headers["content-type"] == MEDIA_TYPES[file["format"]]
        name = f"acme-report-2026-04-01-to-2026-05-31.{file['format']}"
        assert got.headers["content-disposition"] == f'attachment; filename="{name}"'
        assert got.headers["x-content-type-options"] == "nosniff"
        assert (len(got.content), hashlib.sha256(got.content).hexdigest()) == (file["byte_count"], file["sha256"])
    assert viewer.get(f"{path}/files/docx").status_code == 422

    later = owner.post(f"{ACME}/reports", json=PERIOD).json()
    assert later["report_id"] != waiting["report_id"]
    first = viewer.get(f"{ACME}/reports", params={"limit": 1}).json()
    second = viewer.get(f"{ACME}/reports", params={"limit": 1, "after": first["next"]}).json()
    assert [page["reports"][0]["report_id"] for page in (first, second)] == [
        later["report_id"],
        waiting["report_id"],
    ]
    assert (second["next"], second["reports"]) == (None, [made])
    assert [run["report_id"] for run in viewer.get(f"{ACME}/reports?state=waiting").json()["reports"]] == [
        later["report_id"]
    ]
    acts = owner.get(f"{ACME}/audit", params={"entity_id": waiting["report_id"]}).json()["acts"]
    assert [act["action"] for act in acts] == ["report.exported"] * 4 + ["report.requested"] * 2
    assert {act["details"].get("format") for act in acts[:4]} == set(MEDIA_TYPES)
    assert [act["details"] for act in acts[4:]] == [PERIOD | {"again": True}, PERIOD]
    pipeline.execute("DELETE FROM report_files")
    assert _refused(viewer.get(f"{path}/files/pdf")) == (404, "not_found")

    stranger = log_in("beta", Role.OWNER)
    for rest in ("", "/files/pdf"):
        theirs, nobodys = (
            stranger.get(f"/api/v1/customers/beta/reports/{number}{rest}")
            for number in (waiting["report_id"], "00000000-0000-0000-0000-000000000000")
        )
        assert _refused(theirs) == _refused(nobodys) == (404, "not_found")
        assert theirs.json()["detail"] == nobodys.json()["detail"]
    assert stranger.get("/api/v1/customers/beta/reports").json() == {"reports": [], "next": None}


def test_a_period_that_cannot_be_is_refused_and_so_are_too_many(log_in: LogIn, pipeline: Connection) -> None:
    analyst = log_in("acme", Role.ANALYST)
    today = datetime.now(UTC).date()
    for wrong in (
        {"from": "2026-05-01", "until": "2026-05-01"}, {"from": "2026-05-01", "until": "2026-04-01"},
        {"from": "2025-01-01", "until": "2026-05-01"}, {"from": f"{today}", "until": f"{today + timedelta(days=2)}"},
    ):  # fmt: skip
        answer = analyst.post(f"{ACME}/reports", json=wrong)
        assert _refused(answer) == (422, "invalid_input"), wrong
        assert len(answer.json()["detail"]) > 40
    assert _refused(analyst.post(f"{ACME}/reports", json={"from": "soon", "until": "later"})) == (
        422,
        "invalid_request",
    )
    assert analyst.post(f"{ACME}/reports", json=PERIOD).status_code == 202
    assert _refused(analyst.post(f"{ACME}/reports", json=PERIOD)) == (429, "too_many_requests")
    assert pipeline.execute("SELECT count(*) FROM report_runs").fetchone() == (1,)


def _section(frame: pd.DataFrame, name: str) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = [{str(key): value for key, value in row.items()}
                                  for row in frame[frame["section"] == name].to_dict("records")]  # fmt: skip
    return rows


def test_the_figures_of_a_report_are_those_of_the_routes_that_show_the_same(
    log_in: LogIn, pipeline: Connection
) -> None:
    """Most likely wrong: another day at an end of the period, another way to count a denial."""
    # A payer of too few lines for a name, and on the days beside the period lines and uploads that are none of it.
    pipeline.execute(
        "INSERT INTO payer_activity (customer_id, payer, cpt_group, submitted_day, submitted_known_day, lines, denied,"
        " denied_authorization, billed, allowed, paid)"
        " SELECT customer_id, payer, 'x', day, day, 10, 0, 0, 1, 1, 1 FROM customers, (VALUES ('Jane Doe', date '2026-05-04'),"
        " ('Aetna', '2026-03-31'), ('Aetna', '2026-06-01')) AS v (payer, day) WHERE slug = 'acme'"
    )
    pipeline.execute("UPDATE uploads SET received_at = '2026-05-31T23:59:59Z'")
    pipeline.execute(
        "INSERT INTO uploads (customer_id, source, byte_count, status, received_at) SELECT customer_id, 'csv', 1, 'received', at"
        " FROM customers, (VALUES ('2026-06-01Z'::timestamptz), ('2026-03-31T23:59:59Z')) AS v (at) WHERE slug = 'acme'"
    )
    viewer, analyst = log_in("acme", Role.VIEWER), log_in("acme", Role.ANALYST)
    report_id = analyst.post(f"{ACME}/reports", json=PERIOD).json()["report_id"]
    (made,) = _make(pipeline)
    assert made.trouble is None
    text = viewer.get(f"{ACME}/reports/{report_id}/files/csv").content
    frame = pd.read_csv(io.BytesIO(text), dtype=str, keep_default_na=False)

    months: list[dict[str, Any]] = viewer.get(
        f"{ACME}/payers", params={"submitted_from": "2026-04-01", "submitted_to": "2026-05-31"}
    ).json()
    by_payer: dict[str, dict[str, Any]] = {}
    for month in months:
        sums = by_payer.setdefault(
            month["payer"], dict.fromkeys(("lines", "decided", "denied", "billed", "allowed", "paid"), 0)
        )
        for name in sums:
            sums[name] += Decimal(str(month[name]))
    unnamed = by_payer.pop("Jane Doe")
    assert unnamed["lines"] == 10
    payers = {row["payer"]: row for row in _section(frame, "payers")}
    assert list(payers) == [*by_payer, "(1 payer with fewer than 11 lines)"]
    for payer, sums in by_payer.items():
        assert {name: Decimal(payers[payer][name]) for name in sums} == sums, payer
        assert float(payers[payer]["denied_share"]) == pytest.approx(
            float(sums["denied"] / sums["decided"]), abs=1e-6
        )
    assert {row["month"]: row["lines"] for row in _section(frame, "months")} == {
        day: str(sum(month["lines"] for month in months if month["month"] == day)) for day in ("2026-04-01", "2026-05-01")
    }  # fmt: skip

    events = viewer.get(f"{ACME}/drift/events").json()["events"]
    inside = [event for event in events if event["opened_on"] <= "2026-05-31"]
    told = _section(frame, "events")
    assert [row["event_id"] for row in told] == [event["event_id"] for event in inside]
    assert told
    for row in told:
        page = viewer.get(f"{ACME}/drift/events/{row['event_id']}").json()
        assert [float(row[name]) for name in ("before", "now", "change", "severity")] == [
            page["figures"][name] for name in ("baseline", "current", "effect", "severity")
        ]
        assert [row[f"dollars{end}"] for end in ("", "_low", "_high")] == [
            page["money"][name] for name in ("per_month", "low", "high")
        ]
        assert float(row["confidence"]) == page["evidence"]["confidence"]
        assert (row["headline"], row["as_of"]) == (" ".join(page["headline"].split()), page["figures"]["as_of"])
        assert [row[name] for name in ("payer", "signal", "direction", "state", "started_on")] == [
            page["event"][name] for name in ("payer", "signal", "direction", "state", "started_on")
        ]

    _, upload, _ = viewer.get(f"{ACME}/uploads").json()["uploads"]
    (listed,), (source,) = _section(frame, "uploads"), _section(frame, "sources")
    assert {name: listed[name] for name in ("rows", "accepted", "rejected", "duplicates")} == {
        name: str(upload[name]) for name in ("rows", "accepted", "rejected", "duplicates")
    }
    (judged,) = viewer.get(f"{ACME}/quality/uploads").json()["uploads"]
    assert float(listed["score"]) == float(source["score"]) == judged["score"]
    broken = {rule["rule"]: rule for rule in judged["rules"] if rule["failing_rows"]}
    rules = _section(frame, "rules")
    assert {row["rule"] for row in rules} == set(broken)
    for row in rules:
        rule = broken[row["rule"]]
        assert (row["grade"], int(row["failing_rows"]), float(row["score"])) == (
            rule["severity"], rule["failing_rows"], rule["score"],
        )  # fmt: skip
    for file in made.run.files:
        content = viewer.get(f"{ACME}/reports/{report_id}/files/{file.format}").content
        assert b"Jane Doe" not in content
    assert "claims.csv" not in text.decode()
    assert date.fromisoformat(told[0]["opened_on"]) == date(2026, 5, 31)
