"""A customer in the database one of whose payers pays less, and what was found and told of it. Not here: tests."""

from __future__ import annotations

from datetime import date, timedelta
from uuid import UUID

from upstream_pipelines.customers.configuration import parse_configuration
from upstream_pipelines.customers.store import configure_customer, create_customer, get_customer
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

TODAY = date(2026, 6, 1)
CHANGED = TODAY - timedelta(days=50)
SETTINGS = DriftSettings()


def on(back: int) -> date:
    return TODAY - timedelta(days=back)


def load(conn: Connection, settings: Settings) -> None:
    """A customer whose payer Aetna pays 12 % less since CHANGED; rules for payers, for data, and for both."""
    customer, _ = create_customer(conn, "acme", "Acme")
    rules = [
        {"name": "payers", "kinds": ["drift"], "signals": ["allowed_amount"]},
        {"name": "data", "kinds": ["quality"], "signals": ["allowed_amount"]},
        {"name": "both", "kinds": ["drift", "quality"], "signals": ["allowed_amount"]},
        {
            "name": "other payers",
            "kinds": ["drift", "quality"],
            "payers": ["Cigna"],
            "signals": ["allowed_amount"],
        },
    ]
    mail = [{"kind": "email", "name": "m", "recipients": ["a@b.example"]}]
    configure_customer(conn, customer, parse_configuration({"channels": mail, "alert_rules": rules}, "t"))
    lines = as_known_on(synthetic_claims(3, TODAY, 250, Change("Aetna", CHANGED, price_factor=0.88)), TODAY)
    file = settings.home / "claims.csv"
    file.parent.mkdir()
    file.write_text(lines.to_csv(index=False, date_format="%Y-%m-%d"))
    send_file(conn, settings, customer, file)
    stage_waiting(conn, settings, customer, source="csv", run_id="r")
    merge_staged(conn, settings, customer, "r")
    refresh_activity(conn, customer.customer_id)


def customer_of(conn: Connection) -> Subject:
    """The customer that `load` made."""
    return Subject(get_customer(conn, "acme").customer_id, "Acme", SETTINGS)


def opened_by(conn: Connection, subject: Subject, day: date) -> UUID:
    look(conn, subject, [day])
    (event,) = [event for event in list_events(conn, subject.customer_id) if event.signal == "allowed_amount"]
    assert event.state == "open"
    return event.event_id


def results(conn: Connection, event_id: UUID) -> list[tuple[date, str, str | None]]:
    rows = conn.execute(
        "SELECT as_of, state, detail ->> 'reason' FROM drift_results WHERE event_id = %s ORDER BY as_of",
        (event_id,),
    ).fetchall()
    return [(row[0], row[1], row[2]) for row in rows]


def told(conn: Connection) -> list[tuple[str, str, str]]:
    rows = conn.execute(
        """SELECT r.name, a.kind, a.notice FROM alerts AS a
             JOIN alert_rules AS r USING (customer_id, rule_id) ORDER BY 1, 2, 3"""
    ).fetchall()
    return [(row[0], row[1], row[2]) for row in rows]
