"""`upstream drift list, accept, label, placebo`, as typed."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb
from typer.testing import CliRunner

from upstream_pipelines.cli.drift import _told
from upstream_pipelines.cli.main import app
from upstream_pipelines.customers.store import create_customer, get_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.drift.settings import METHOD_VERSION
from upstream_pipelines.errors import ConfigurationError, ConflictError, NotFoundError, UpstreamError
from upstream_pipelines.settings import Settings

EVENT = UUID("11111111-2222-4333-8444-555555555555")
MEMORY = {
    "by": "decision", "baseline": 0.1, "current_at_opening": 0.2, "shift_at_opening": 0.7, "evidence_at_opening": 6.0,
    "n_baseline": 900, "change_low": "2026-02-20", "change_high": "2026-03-10",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _acme(pipeline: Connection, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.database_url is not None
    monkeypatch.setenv("UPSTREAM_DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setenv("UPSTREAM_HOME", str(settings.home))
    customer, _ = create_customer(pipeline, "acme", "Acme")
    pipeline.execute(
        """INSERT INTO drift_events (customer_id, event_id, payer, cpt_group, signal, direction, state, started_on,
                                     opened_on, last_look, memory, method_version, settings, opened_method_version,
                                     opened_settings)
           VALUES (%s, %s, 'Aetna', 'ALL', 'denial_rate', 'worsening', 'updated', '2026-03-02', '2026-04-01',
                   '2026-05-01', %s, %s, '{}', %s, '{}')""",
        (customer.customer_id, EVENT, Jsonb(MEMORY), METHOD_VERSION, METHOD_VERSION),
    )


def typed(*words: str) -> Any:
    """What a command printed as JSON; its error is raised."""
    result = CliRunner().invoke(app, ["drift", *words, "--json"])
    if result.exception is not None and isinstance(result.exception, UpstreamError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_labelled_days_are_added_listed_and_taken_back(pipeline: Connection) -> None:
    assert typed("label", "acme") == []
    release = typed("label", "acme", "--label", "code set", "--from", "2026-10-01")
    assert release == [
        {"label": "code set", "kind": "calendar", "first_day": "2026-10-01", "last_day": "2026-10-01", "payers": None,
         "signals": None},
    ]  # fmt: skip
    both = typed("label", "acme", "--label", "outage", "--from", "2026-03-02", "--to", "2026-03-20", "--payer", "Aetna",
                 "--payer", "Cigna", "--signal", "volume", "--incident")  # fmt: skip
    assert both[1] == {
        "label": "outage", "kind": "incident", "first_day": "2026-03-02", "last_day": "2026-03-20",
        "payers": ["Aetna", "Cigna"], "signals": ["volume"],
    }  # fmt: skip
    assert [days.label for days in get_customer(pipeline, "acme").configuration.drift.calendar] == [
        "code set",
        "outage",
    ]
    assert [days["label"] for days in typed("label", "acme", "--remove", "code set")] == ["outage"]
    with pytest.raises(NotFoundError, match="lists them"):
        typed("label", "acme", "--remove", "code set")


def test_the_days_of_an_event_become_an_incident_of_its_payer_and_signal() -> None:
    (days,) = typed("label", "acme", "--event", "1111", "--incident")
    assert (days["first_day"], days["payers"], days["signals"]) == ("2026-03-02", ["Aetna"], ["denial_rate"])
    assert date.fromisoformat(days["last_day"]) == datetime.now(UTC).date()
    assert (days["kind"], days["label"]) == ("incident", "event 11111111")


@pytest.mark.parametrize(
    "words",
    [
        ("--label", "x"),
        ("--from", "2026-03-02"),
        ("--label", "x", "--from", "soon"),
        ("--label", "x", "--from", "2026-03-02", "--to", "2026-03-01"),
        ("--label", "x", "--from", "2026-03-02", "--signal", "denials"),
        ("--incident",),
        ("--payer", "Aetna"),
        ("--signal", "volume"),
        ("--to", "2026-03-02"),
        ("--label", "two\nlines", "--from", "2026-03-02"),
        ("--label", "\x1b[31mred", "--from", "2026-03-02"),
        ("--label", "", "--from", "2026-03-02"),
        ("--label", "a\tb", "--event", "1111"),
        ("--label", "", "--event", "1111"),
    ],
)
def test_days_that_cannot_be_labelled_are_refused_and_nothing_is_stored(
    pipeline: Connection, words: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigurationError, match="cannot be labelled"):
        typed("label", "acme", *words)
    assert get_customer(pipeline, "acme").configuration.drift.calendar == ()


@pytest.mark.parametrize(
    "words",
    [
        ("--event", "1111", "--from", "2026-03-02"),
        ("--event", "1111", "--payer", "Aetna"),
        ("--remove", "x", "--label", "y"),
        ("--remove", "x", "--event", "1111"),
        ("--remove", "x", "--incident"),
    ],
)
def test_options_of_a_label_that_exclude_each_other_are_refused(
    pipeline: Connection, words: tuple[str, ...]
) -> None:
    """One of them would be ignored without a word."""
    with pytest.raises(ConfigurationError, match="--"):
        typed("label", "acme", *words)
    assert get_customer(pipeline, "acme").configuration.drift.calendar == ()


def test_a_label_is_there_once_or_taking_it_back_would_take_both() -> None:
    typed("label", "acme", "--label", "outage", "--from", "2026-03-02")
    for words in (("--from", "2026-05-02"), ("--event", "1111")):
        with pytest.raises(ConflictError, match="already"):
            typed("label", "acme", "--label", "outage", *words)
    assert [days["first_day"] for days in typed("label", "acme")] == ["2026-03-02"]


def test_a_label_says_that_a_look_is_needed_and_which_payer_has_no_claims(pipeline: Connection) -> None:
    pipeline.execute(
        """INSERT INTO payer_activity (customer_id, payer, cpt_group, submitted_day, submitted_known_day, lines, denied,
                                       denied_authorization, billed, allowed, paid)
           SELECT customer_id, 'Aetna', 'OTHER', '2026-03-02', '2026-03-02', 1, 0, 0, 0, 0, 0 FROM customers"""
    )
    words = ["--label", "outage", "--from", "2026-03-02", "--payer", "AETNA", "--payer", "Etna"]
    made = CliRunner().invoke(app, ["drift", "label", "acme", *words])
    assert made.exit_code == 0
    assert "'Etna'" in made.stderr
    assert "AETNA" not in made.stderr
    assert "`upstream drift acme` makes one now" in made.stdout
    assert "makes one now" not in CliRunner().invoke(app, ["drift", "label", "acme"]).stdout


def test_an_event_is_accepted_by_the_beginning_of_its_id(pipeline: Connection) -> None:
    accepted = typed("accept", "acme", "1111", "--note", "new contract")
    assert (accepted["event_id"], accepted["note"]) == (str(EVENT), "new contract")
    row = pipeline.execute(
        "SELECT event_id, accepted_on, note, accepted_by <> '' FROM drift_acceptances"
    ).fetchone()
    assert row == (EVENT, datetime.now(UTC).date(), "new contract", True)
    again = typed("accept", "acme", "1111", "--note", "something else")
    assert (again["already"], again["note"]) == (True, "new contract")
    shown = CliRunner().invoke(app, ["drift", "accept", "acme", "1111", "--note", "something else"]).stdout
    assert "Already accepted" in shown
    assert "new contract" in shown
    (listed,) = typed("list", "acme")["events"]
    assert listed["accepted_on"] == datetime.now(UTC).date().isoformat()
    pipeline.execute("UPDATE drift_events SET state = 'resolved', resolved_on = '2026-05-02'")
    with pytest.raises(ConflictError):
        typed("accept", "acme", "1111")
    with pytest.raises(NotFoundError):
        typed("accept", "acme", "2222")


def test_the_list_shows_events_and_how_far_to_trust_them() -> None:
    listed = typed("list", "acme")
    assert [(event["payer"], event["state"], event["cause"]) for event in listed["events"]] == [
        ("Aetna", "updated", "payer")
    ]
    assert listed["false_events"]["measurements"] == 0


def test_a_placebo_of_a_customer_without_claims_says_that_there_is_nothing_to_shuffle() -> None:
    made = typed("placebo", "acme")
    assert (made["looks"], made["events"], made["published"]["per_year"]) == (0, 0, None)
    with pytest.raises(ConfigurationError, match="YYYY-MM-DD"):
        typed("placebo", "acme", "--night", "tonight")


def test_a_slug_alone_is_a_look() -> None:
    """The event is of a payer that no claim names any more: each look of that day says so."""
    (row,) = typed("acme", "--as-of", "2026-05-02")
    assert (row["state"], row["detail"]["reason"], row["cause"]) == ("resolved", "payer_gone", "payer")
    assert typed("list", "acme")["events"][0]["state"] == "resolved"
    assert typed("look", "acme", "--as-of", "2026-05-03") == []


def test_the_table_of_a_look_shows_only_ids_that_can_be_asked_for() -> None:
    """A look back finds events under ids of its own; `explain` would say that there is none such."""
    row = {
        "as_of": "2026-05-02", "event_id": str(EVENT), "payer": "Aetna", "signal": "denial_rate",
        "direction": "worsening", "state": "updated", "cause": "payer", "baseline": 0.1, "current": 0.2,
        "q_value": 0.001, "maturity": 0.9, "detail": {},
    }  # fmt: skip
    assert _told(row, frozenset({str(EVENT)}))[1] == "11111111"
    assert _told(row, frozenset())[1] == "(past)"
    assert _told({**row, "event_id": None}, frozenset())[1] is None
