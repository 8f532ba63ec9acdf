"""Uploads beside the customer's earlier ones: what is measured, kept, shown and told. What is usual: test_usual_uploads.py."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg.types.json import Jsonb
from typer.testing import CliRunner

from upstream_pipelines.alerts.content import wording_of
from upstream_pipelines.alerts.history import past_events
from upstream_pipelines.alerts.store import list_alerts, sync_channels
from upstream_pipelines.cli.main import app
from upstream_pipelines.customers.configuration import CustomerConfiguration
from upstream_pipelines.customers.models import Customer
from upstream_pipelines.customers.store import create_customer, get_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.defs.anomaly_checks import anomaly_state
from upstream_pipelines.delivery.channels import EmailChannel
from upstream_pipelines.ingest.merging import merge_staged
from upstream_pipelines.ingest.staging import stage_waiting
from upstream_pipelines.ingest.unusual import watch_days, watch_upload
from upstream_pipelines.ingest.uploads import send_file
from upstream_pipelines.quality.measured import latest_measures, measures_of_upload
from upstream_pipelines.quality.rules import STREAM_RULES
from upstream_pipelines.settings import Settings

NOW = datetime.now(UTC)
TODAY = NOW.date()
ROWS = 300
FIELDS = (
    "claim_id", "line_number", "payer", "cpt", "submitted_date", "decided_date", "outcome", "allowed_amount",
)  # fmt: skip
UNUSUAL = {"low", "high"}


@pytest.fixture
def acme(pipeline: Connection, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Customer:
    assert settings.database_url is not None
    monkeypatch.setenv("UPSTREAM_DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setenv("UPSTREAM_HOME", str(settings.home))
    customer, _ = create_customer(pipeline, "acme", "Acme")
    office = EmailChannel(kind="email", name="office", recipients=("a@example.org",))
    sync_channels(pipeline, customer.customer_id, [office])
    return customer


def _came(conn: Connection, customer: Customer, at: datetime, rows: int = ROWS, source: str = "csv") -> UUID:
    """An upload that was loaded, a fifth of it denied, with its report; the two together as an ingest leaves them."""
    upload_id = uuid4()
    key = {"customer_id": customer.customer_id, "upload_id": upload_id}
    conn.execute(
        """INSERT INTO uploads (customer_id, upload_id, source, byte_count, status, rows, accepted, duplicates, received_at,
                                finished_at)
           VALUES (%(customer_id)s, %(upload_id)s, %(source)s, 1, 'success', %(rows)s, %(rows)s - %(known)s, %(known)s,
                   %(at)s, %(at)s)""",
        {**key, "source": source, "rows": rows, "known": rows // 50, "at": at},
    )
    filled = dict.fromkeys(FIELDS, rows) | {"decided_date": rows * 9 // 10, "allowed_amount": rows * 9 // 10}
    outcomes = {"DENIED": rows // 5, "PENDING": rows // 10, "PAID": rows - rows // 5 - rows // 10}
    conn.execute(
        "INSERT INTO quality_reports (customer_id, upload_id, score, dimensions, summary) VALUES (%s, %s, 100, '{}', %s)",
        (customer.customer_id, upload_id, Jsonb({"read": rows, "filled": filled, "outcomes": outcomes})),
    )
    return upload_id


def _weekly_history(conn: Connection, settings: Settings, customer: Customer, weeks: int = 12) -> None:
    for number in range(weeks):
        at = NOW - timedelta(days=7 * (weeks - number))
        upload_id = _came(conn, customer, at, ROWS + 3 * (number % 5))
        assert watch_upload(conn, settings, customer, upload_id, source="csv", run_id="earlier") == []


def _send(
    conn: Connection, settings: Settings, customer: Customer, file: Path, lines: list[str], run_id: str = "run"
) -> UUID:
    file.write_text("\n".join([*lines, ""]))
    upload_id = send_file(conn, settings, customer, file)
    stage_waiting(conn, settings, customer, source="csv", run_id=run_id)
    merge_staged(conn, settings, customer, run_id)
    return upload_id


def _lines(rows: int, first: int = 0, *, denied: bool = False, amount: bool = True) -> list[str]:
    header = ",".join(FIELDS if amount else FIELDS[:-1])
    lines = []
    for number in range(first, first + rows):
        outcome = "denied" if denied or number % 5 == 0 else "pending" if number % 10 == 1 else "paid"
        decided = "" if outcome == "pending" else "2026-02-01"
        money = "" if outcome == "pending" else "80.00"
        lines.append(f"C{number},1,Aetna,99213,2026-01-05,{decided},{outcome}{f',{money}' if amount else ''}")
    return [header, *lines]


def _unusual(conn: Connection, customer: Customer, upload_id: UUID) -> list[tuple[str, str, str]]:
    return [
        (row["rule"], row["field"], row["state"])
        for row in measures_of_upload(conn, customer.customer_id, upload_id)
        if row["state"] in UNUSUAL
    ]


def _checks(conn: Connection, customer: Customer) -> dict[str, Any]:
    measures = latest_measures(conn, customer.customer_id)
    return {rule.name: anomaly_state(rule.name, measures) for rule in STREAM_RULES}


def _said(*words: str) -> str:
    result = CliRunner().invoke(app, ["uploads", "acme", *words], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.stdout


def test_half_a_file_all_denied_without_a_column_is_kept_shown_and_told_by_rule(
    pipeline: Connection, settings: Settings, acme: Customer, tmp_path: Path
) -> None:
    _weekly_history(pipeline, settings, acme)
    usual = _send(pipeline, settings, acme, tmp_path / "usual.csv", _lines(ROWS), "good")
    assert _unusual(pipeline, acme, usual) == []
    assert {name: state["passed"] for name, state in _checks(pipeline, acme).items()} == {
        rule.name: True for rule in STREAM_RULES
    }
    assert "as usual" in _said(str(usual))
    assert list_alerts(pipeline, acme.customer_id) == []

    wrong = _lines(120, 1000, denied=True, amount=False)
    bad = _send(pipeline, settings, acme, tmp_path / "jane-canary.csv", wrong, "bad")
    assert _unusual(pipeline, acme, bad) == [
        ("usual_empty_fields", "allowed_amount", "high"), ("usual_outcomes", "DENIED", "high"),
        ("usual_outcomes", "PAID", "low"), ("usual_volume", "", "low"),
    ]  # fmt: skip
    checks = _checks(pipeline, acme)
    assert [name for name, state in checks.items() if not state["passed"]] == [
        "usual_volume", "usual_empty_fields", "usual_outcomes",
    ]  # fmt: skip
    shown = checks["usual_empty_fields"]["metadata"]["unusual"].value
    assert "1, 2, 3, 4, 5, 6, 7, 8, 9, 10" in shown
    assert "100.0%" in shown
    told = {alert["content"]["data"]["rule"]: alert for alert in list_alerts(pipeline, acme.customer_id)}
    assert sorted(told) == ["usual_empty_fields", "usual_outcomes", "usual_volume"]
    volume = wording_of(told["usual_volume"]["content"])
    assert volume.headline == "An upload holds far fewer rows than usual"
    assert "120 rows, where 3" in volume.sentences[0]
    said = _said(str(bad)[:8])
    assert said.count("UNUSUAL") == 4
    # Where the file lies is for the operator alone, who asked for this upload.
    said = said.partition("The file:")[0]
    assert "canary" not in said + json.dumps([list(told.values()), str(checks)], default=str)
    assert {row["state"] for row in json.loads(_said(str(bad), "--json"))["measures"]} == {"usual", *UNUSUAL}
    # The dry run reads the same past, under the same fingerprints.
    events = past_events(pipeline, acme.customer_id, NOW - timedelta(days=1))
    stored = pipeline.execute("SELECT fingerprint FROM alerts ORDER BY fingerprint").fetchall()
    assert sorted(event.fingerprint for event in events) == [row[0] for row in stored]
    # The next ordinary one is measured by the others, not by what was wrong.
    again = _send(pipeline, settings, acme, tmp_path / "next.csv", _lines(ROWS, 5000), "next")
    assert _unusual(pipeline, acme, again) == []
    assert all(state["passed"] for state in _checks(pipeline, acme).values())


def test_an_old_file_sent_again_is_unusual_by_what_was_known_alone(
    pipeline: Connection, settings: Settings, acme: Customer, tmp_path: Path
) -> None:
    _weekly_history(pipeline, settings, acme)
    _send(pipeline, settings, acme, tmp_path / "a.csv", _lines(ROWS))
    resent = _send(
        pipeline, settings, acme, tmp_path / "b.csv", [*_lines(ROWS), "NEW,1,Aetna,99213,2026-01-05,,pending,"]
    )
    same = _send(pipeline, settings, acme, tmp_path / "c.csv", _lines(ROWS))
    assert _unusual(pipeline, acme, resent) == [("usual_known_rows", "", "high")]
    assert [row["rule"] for row in measures_of_upload(pipeline, acme.customer_id, same)] == ["usual_known_rows"]
    assert _unusual(pipeline, acme, same) == [("usual_known_rows", "", "high")]


def test_a_history_loaded_on_the_first_day_neither_alarms_nor_counts_later(
    pipeline: Connection, settings: Settings, acme: Customer
) -> None:
    first = NOW - timedelta(days=100)
    for number in range(12):
        size = 90_000 if number % 2 else 40
        upload_id = _came(pipeline, acme, first.replace(hour=0, minute=number), size)
        watch_upload(pipeline, settings, acme, upload_id, source="csv", run_id="bulk")
    assert {row["state"] for row in latest_measures(pipeline, acme.customer_id)} == {"first"}
    assert [state["passed"] for state in _checks(pipeline, acme).values()] == [True] * 4
    _weekly_history(pipeline, settings, acme, 9)
    half = _came(pipeline, acme, NOW, ROWS // 3)
    (found,) = watch_upload(pipeline, settings, acme, half, source="csv", run_id="run")
    (verdict,) = found.verdicts
    assert (found.rule, verdict.state) == ("usual_volume", "low")
    assert verdict.usual is not None
    assert (verdict.usual.history, round(verdict.usual.usual)) == (9, ROWS + 6)


def test_batches_are_judged_by_the_day_once_it_is_over(
    pipeline: Connection, settings: Settings, acme: Customer
) -> None:
    def day(back: int) -> datetime:
        return datetime.combine(TODAY - timedelta(days=7 * back), datetime.min.time(), UTC)

    batches = [
        [_came(pipeline, acme, day(back) + timedelta(hours=hour), 100, "webhook") for hour in range(hours)]
        for back, hours in zip(range(12, -1, -1), [*[3 + week % 2 for week in range(10)], 1, 1, 3], strict=True)
    ]
    waiting = batches[-2][0]
    pipeline.execute("UPDATE uploads SET status = 'received' WHERE upload_id = %s", (waiting,))
    (long_ago,) = watch_days(pipeline, settings, acme, TODAY, "run")
    assert (long_ago.rule, long_ago.day) == ("usual_volume", day(2).date())
    assert list_alerts(pipeline, acme.customer_id) == []
    assert measures_of_upload(pipeline, acme.customer_id, waiting) == []
    pipeline.execute("UPDATE uploads SET status = 'success' WHERE upload_id = %s", (waiting,))
    (found,) = watch_days(pipeline, settings, acme, TODAY, "run")
    assert (found.rule, found.day, found.verdicts[0].measure.amount) == (
        "usual_volume",
        day(1).date(),
        100,
    )
    assert watch_days(pipeline, settings, acme, TODAY, "run") == []
    # Whichever batch of a day is asked for, the day is shown; today's is not over.
    assert [{row["amount"] for row in measures_of_upload(pipeline, acme.customer_id, one) if row["rule"] == "usual_volume"}
            for one in (*batches[3], batches[-1][0])] == [{400}] * 4 + [set()]  # fmt: skip
    (alert,) = list_alerts(pipeline, acme.customer_id)
    assert f"A day of batches ({found.day})" in wording_of(alert["content"]).headline


def test_a_customer_grades_and_switches_off_each_and_reads_its_files_no_other_way(
    pipeline: Connection, settings: Settings, acme: Customer
) -> None:
    _weekly_history(pipeline, settings, acme)
    graded = acme.configuration.model_copy(
        update={"mapping": acme.configuration.mapping.model_copy(update={"quality": {"usual_volume": "info"}})}
    )
    assert graded.reading_sha256() == acme.configuration.reading_sha256()
    pipeline.execute("UPDATE customers SET configuration = %s", (Jsonb(graded.model_dump(mode="json")),))
    quiet = get_customer(pipeline, "acme")
    low = _came(pipeline, quiet, NOW - timedelta(minutes=2), 20)
    (found,) = watch_upload(pipeline, settings, quiet, low, source="csv", run_id="run")
    assert found.severity == "info"
    assert list_alerts(pipeline, acme.customer_id) == []
    off = {"mapping": {"quality": {"usual_volume": "off"}}}
    pipeline.execute("UPDATE customers SET configuration = %s", (Jsonb(off),))
    assert CustomerConfiguration.model_validate(off).mapping.quality == {"usual_volume": "off"}
    silent = get_customer(pipeline, "acme")
    lower = _came(pipeline, silent, NOW - timedelta(minutes=1), 20)
    assert watch_upload(pipeline, settings, silent, lower, source="csv", run_id="run") == []
    (volume,) = [
        row for row in measures_of_upload(pipeline, acme.customer_id, lower) if row["rule"] == "usual_volume"
    ]
    assert (volume["state"], volume["usual"]) == ("off", None)
