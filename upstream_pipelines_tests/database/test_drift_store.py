"""Looks in the database: the same as a replay, once alarmed, never twice, and nothing half written."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from psycopg.errors import CheckViolation

from upstream_pipelines.alerts.rules import AlertRule
from upstream_pipelines.alerts.store import sync_channels, sync_rules
from upstream_pipelines.customers.configuration import parse_configuration
from upstream_pipelines.customers.models import Customer
from upstream_pipelines.customers.store import configure_customer, create_customer, get_customer
from upstream_pipelines.db.engine import Connection, connect
from upstream_pipelines.delivery.channels import WebhookChannel
from upstream_pipelines.demo.generator import Change, as_known_on, synthetic_claims
from upstream_pipelines.drift import replay, store
from upstream_pipelines.drift.counting import refresh_activity
from upstream_pipelines.drift.data_trouble import announcements
from upstream_pipelines.drift.settings import DriftSettings
from upstream_pipelines.drift.store import Subject, look
from upstream_pipelines.drift.units import day_text, short_day
from upstream_pipelines.ingest.merging import merge_staged
from upstream_pipelines.ingest.staging import stage_waiting
from upstream_pipelines.ingest.uploads import send_file
from upstream_pipelines.settings import Settings

TODAY = date(2026, 6, 1)
DAYS = [TODAY - timedelta(days=back) for back in range(40, -1, -4)]


@pytest.fixture(scope="module")
def claims() -> pd.DataFrame:
    return as_known_on(
        synthetic_claims(3, TODAY, 250, Change("Aetna", TODAY - timedelta(days=50), denial_rate=0.3)), TODAY
    )


@pytest.fixture(scope="module")
def template(fill_template: Callable[[Callable[[Connection, Settings], None]], str], claims: pd.DataFrame) -> str:
    """A customer with these claims."""

    def load(conn: Connection, settings: Settings) -> None:
        customer, _ = create_customer(conn, "acme", "Acme")
        mail = [{"kind": "email", "name": "m", "recipients": ["a@b.example"]}]
        configure_customer(conn, customer, parse_configuration({"channels": mail}, "t"))
        file = settings.home / "claims.csv"
        file.parent.mkdir()
        file.write_text(claims.to_csv(index=False, date_format="%Y-%m-%d"))
        send_file(conn, settings, customer, file)
        _load(conn, settings, customer)

    return fill_template(load)


@pytest.fixture
def subject(pipeline: Connection) -> Subject:
    return Subject(get_customer(pipeline, "acme").customer_id, "Acme", DriftSettings())


def _load(conn: Connection, settings: Settings, customer: Customer) -> None:
    stage_waiting(conn, settings, customer, source="csv", run_id="r")
    merge_staged(conn, settings, customer, "r")
    refresh_activity(conn, customer.customer_id)


def _count(conn: Connection, table: str) -> int:
    row = conn.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert row is not None
    return int(row[0])


def _comparable(rows: pd.DataFrame) -> list[dict[str, Any]]:
    kept = rows.drop(columns=[name for name in ("event_id", "detail") if name in rows.columns]).copy()
    for name in kept.select_dtypes("float").columns:
        kept[name] = kept[name].round(9)
    kept["as_of"] = kept["as_of"].astype(str).str[:10]
    return [
        {str(name): None if pd.isna(value) else value for name, value in row.items()}
        for row in kept.to_dict("records")
    ]


@pytest.mark.parametrize("processes", [1, 2])
def test_production_finds_what_a_replay_of_the_same_lines_finds(
    pipeline: Connection,
    subject: Subject,
    claims: pd.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
    processes: int,
) -> None:
    monkeypatch.setattr(store, "worthwhile_processes", lambda _: processes)
    made = look(pipeline, subject, DAYS)
    replayed = replay(claims, DAYS)
    assert (replayed["state"] == "open").sum() == 1
    assert _comparable(made.rows) == _comparable(replayed)


def test_looks_made_one_by_one_find_what_looks_made_together_find(pipeline: Connection, subject: Subject) -> None:
    """One a day from the schedule and a span by hand must agree; the events pass through the database in between."""
    one_by_one = pd.concat([look(pipeline, subject, [day]).rows for day in DAYS], ignore_index=True)
    for table in ("drift_results", "drift_looks", "drift_events"):
        pipeline.execute(f"DELETE FROM {table}")
    together = look(pipeline, subject, DAYS).rows
    assert _comparable(one_by_one) == _comparable(together)
    assert list(one_by_one["event_id"].astype(str)) == list(together["event_id"].astype(str))


def test_an_event_alarms_once_however_often_its_day_is_looked_at(pipeline: Connection, subject: Subject) -> None:
    first = look(pipeline, subject, DAYS)
    assert (first.count("open"), first.alerts) == (1, 1)
    again = look(pipeline, subject, DAYS)
    assert (again.count("open"), again.alerts) == (1, 0)
    assert _count(pipeline, "alerts") == 1
    assert _count(pipeline, "deliveries") == 1
    assert pipeline.execute("SELECT state FROM drift_events").fetchall() == [("updated",)]


def test_an_alert_of_a_past_look_says_of_which_day_its_figures_are_and_that_the_page_goes_on(
    pipeline: Connection, subject: Subject
) -> None:
    """A replay writes the alert of each day: its figures are of that day, and the page it links to has today's."""
    made = look(pipeline, subject, DAYS)
    content = pipeline.execute("SELECT content FROM alerts").fetchone()
    opened = next(row["as_of"] for row in made.records if row["state"] == "open")
    assert content is not None
    assert opened < TODAY
    words, day = content[0]["words"], day_text(opened)
    assert words["headline"].endswith(f", as of {short_day(opened)}")
    said = f"Figures as of {day}; the event goes on being counted, and its page has the newest."
    assert said in words["sentences"]
    assert said in content[0]["data"]["explanation"]
    assert f"as of {day}, on" in dict(words["facts"])["Now"]


def test_an_event_that_grew_a_step_since_it_was_told_is_told_again_once(
    pipeline: Connection, subject: Subject
) -> None:
    days = [TODAY - timedelta(days=1), TODAY]
    opened = look(pipeline, subject, DAYS[:-1])
    assert opened.alerts == 1
    row = pipeline.execute("SELECT severity FROM alerts").fetchone()
    assert row is not None
    assert row[0] > 0.25
    assert look(pipeline, subject, days[:1]).alerts == 0
    pipeline.execute("UPDATE alerts SET severity = 0.05")  # as if it had been small when it was told
    grown = look(pipeline, subject, days[1:])
    assert grown.alerts == 1
    content = pipeline.execute("SELECT content FROM alerts WHERE notice = 'escalated'").fetchone()
    assert content is not None
    assert content[0]["type"] == "drift.event.escalated"
    assert content[0]["words"]["headline"].startswith("Grown since it was told: Aetna denies more")
    assert content[0]["chart_png"]
    assert look(pipeline, subject, days[1:]).alerts == 0
    assert pipeline.execute("SELECT notice, step FROM alerts ORDER BY step").fetchall() == [
        ("open", 0),
        ("escalated", 1),
    ]


def test_a_look_back_changes_neither_the_present_events_nor_the_outbox(
    pipeline: Connection, subject: Subject
) -> None:
    look(pipeline, subject, [TODAY])
    before = pipeline.execute("SELECT event_id, state, last_look FROM drift_events").fetchall()
    assert len(before) == 1
    look(pipeline, subject, DAYS[:-1])
    assert pipeline.execute("SELECT event_id, state, last_look FROM drift_events").fetchall() == before
    assert _count(pipeline, "alerts") == 1


def test_a_look_whose_alert_cannot_be_written_leaves_no_event_behind(
    pipeline: Connection, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Event and alert are one transaction: an event without its alert would never be told."""

    def fail(*_arguments: object) -> int:
        raise RuntimeError("killed")

    monkeypatch.setattr(store, "write_drift_alerts", fail)
    with pytest.raises(RuntimeError, match="killed"):
        look(pipeline, subject, [TODAY])
    for table in ("drift_events", "drift_looks", "drift_results", "alerts"):
        assert _count(pipeline, table) == 0
    monkeypatch.undo()
    assert look(pipeline, subject, [TODAY]).alerts == 1


def test_what_arrives_after_the_first_day_counts_from_the_day_it_was_seen(
    pipeline: Connection, settings: Settings, subject: Subject, tmp_path: Path
) -> None:
    """A look at a past day must not know what came later; the first day's load is history and does count."""
    pipeline.execute("UPDATE uploads SET received_at = received_at - interval '30 days'")
    pipeline.execute("UPDATE claims SET first_seen_at = first_seen_at - interval '30 days'")
    with connect(settings, "upstream_pipeline") as conn:
        customer = get_customer(conn, "acme")
        late = tmp_path / "late.csv"
        header = "claim_id,line_number,payer,cpt,submitted_date,decided_date,outcome\n"
        late.write_text(header + "LATE,1,Aetna,99213,2026-05-04,2026-05-20,DENIED\n")
        send_file(conn, settings, customer, late)
        _load(conn, settings, customer)
        rows = conn.execute(
            """SELECT submitted_known_day = current_date, decision_known_day = current_date, sum(lines)::int
                 FROM payer_activity WHERE submitted_day = '2026-05-04' AND decision_age = 16 AND payer = 'Aetna'
                GROUP BY 1, 2 ORDER BY 1"""
        ).fetchall()
    assert (True, True, 1) in rows


def test_an_event_may_be_neither_worse_nor_better_yet_and_nothing_else(
    pipeline: Connection, subject: Subject
) -> None:
    look(pipeline, subject, DAYS)
    pipeline.execute("UPDATE drift_events SET direction = 'unclear'")
    assert [event.direction for event in store.every_event(pipeline, subject.customer_id)] == ["unclear"]
    with pytest.raises(CheckViolation):
        pipeline.execute("UPDATE drift_events SET direction = 'sideways'")


def test_an_event_that_becomes_clear_and_is_wanted_late_the_same_day_is_told_once(
    pipeline: Connection, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told twice it would be written twice under a rule with a minimum, which the key refuses, and the look with it."""
    sync_channels(
        pipeline, subject.customer_id, [WebhookChannel(kind="webhook", name="h", url="https://example.org/h")]
    )
    look(pipeline, subject, DAYS[:-1])
    sync_rules(pipeline, subject.customer_id, [AlertRule(name="large", minimum_effect=0.001)])
    found: list[Any] = []

    def became_clear(row: Any, cause: Any, direction: Any) -> Any:
        if row["state"] == "updated":
            found.append(direction)
            direction = "unclear"
        return announcements(row, cause, direction)

    monkeypatch.setattr("upstream_pipelines.drift.store.announcements", became_clear)
    look(pipeline, subject, DAYS[-1:])
    assert found == ["worsening"]
    told = pipeline.execute(
        "SELECT a.notice, a.step FROM alerts AS a JOIN alert_rules AS r USING (customer_id, rule_id) WHERE r.name = 'large'"
    ).fetchall()
    assert told == [("open", 0)]
