"""Rules with a minimum and events that reach it only at a later look, through the looks themselves."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from upstream_pipelines.alerts.store import conservation
from upstream_pipelines.customers.configuration import parse_configuration
from upstream_pipelines.customers.store import configure_customer, create_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.demo.generator import Change, as_known_on, synthetic_claims
from upstream_pipelines.drift import store
from upstream_pipelines.drift.counting import refresh_activity
from upstream_pipelines.drift.settings import DriftSettings
from upstream_pipelines.drift.store import Subject, look
from upstream_pipelines.ingest.merging import merge_staged
from upstream_pipelines.ingest.staging import stage_waiting
from upstream_pipelines.ingest.uploads import send_file
from upstream_pipelines.settings import Settings

TODAY = date(2026, 6, 1)
CHANGED, OPENS, GROWN, AFTER = (TODAY - timedelta(days=days) for days in (50, 44, 40, 36))
# The event is worth about $6,400 a month to the look that opens it, and $6,900 four days later.
MINIMUM = 6700


@pytest.fixture
def subject(pipeline: Connection, settings: Settings, tmp_path: Path) -> Subject:
    """A customer whose payer Aetna pays 12 % less since CHANGED, and rules that ask for more and more of it."""
    customer, _ = create_customer(pipeline, "acme", "Acme")
    common = {"kinds": ["drift"], "signals": ["allowed_amount"]}
    rules = [
        {"name": "all", **common},
        {"name": "large", "minimum_dollars_per_month": MINIMUM, **common},
        {"name": "huge", "minimum_dollars_per_month": 10 * MINIMUM, **common},
    ]
    mail = [{"kind": "email", "name": "m", "recipients": ["a@b.example"]}]
    configure_customer(pipeline, customer, parse_configuration({"channels": mail, "alert_rules": rules}, "t"))
    lines = as_known_on(synthetic_claims(3, TODAY, 250, Change("Aetna", CHANGED, price_factor=0.88)), TODAY)
    file = tmp_path / "claims.csv"
    file.write_text(lines.to_csv(index=False, date_format="%Y-%m-%d"))
    send_file(pipeline, settings, customer, file)
    stage_waiting(pipeline, settings, customer, source="csv", run_id="r")
    merge_staged(pipeline, settings, customer, "r")
    refresh_activity(pipeline, customer.customer_id)
    return Subject(customer.customer_id, "Acme", DriftSettings())


def _told(conn: Connection) -> list[tuple[str, str, str, bool]]:
    """Rule, notice, the day of the look that told it, and whether its worth reached the minimum."""
    rows = conn.execute(
        """SELECT r.name, a.notice, a.content -> 'data' ->> 'as_of',
                  abs((a.content #>> '{data,money,per_month}')::double precision) >= %s
             FROM alerts AS a JOIN alert_rules AS r USING (customer_id, rule_id) ORDER BY 3, 1""",
        (MINIMUM,),
    ).fetchall()
    return [(row[0], row[1], row[2], row[3]) for row in rows]


def test_an_event_that_grows_past_a_rules_minimum_is_told_by_the_look_that_finds_it_so(
    pipeline: Connection, subject: Subject
) -> None:
    opened = ("all", "open", str(OPENS), False)
    look(pipeline, subject, [OPENS])
    assert _told(pipeline) == [opened]
    for day in (GROWN, GROWN, AFTER):
        look(pipeline, subject, [day])
        assert _told(pipeline) == [opened, ("large", "open", str(GROWN), True)]
    (kind, has_chart) = pipeline.execute(
        "SELECT content ->> 'type', content ? 'chart_png' FROM alerts ORDER BY created_at DESC LIMIT 1"
    ).fetchone() or ("", False)
    assert (kind, has_chart) == ("drift.event.opened", True)
    # Events = alerts, alerts x channels = deliveries.
    counts = conservation(pipeline, subject.customer_id)
    assert not any(counts[name] for name in counts if name not in ("alerts", "expected_places", "deliveries"))
    (events,) = pipeline.execute(
        "SELECT count(*) FROM drift_events WHERE signal = 'allowed_amount' AND opened_on IS NOT NULL"
    ).fetchone() or (0,)
    assert counts["alerts"] == events + 1, "under the rule that asks for all, and the large one"
    pipeline.execute(
        "UPDATE alerts SET content = jsonb_set(content, '{data,event_id}', to_jsonb(gen_random_uuid()))"
    )
    assert conservation(pipeline, subject.customer_id)["unknown_events"] == counts["alerts"], (
        "as of a look rolled back"
    )


def test_a_look_draws_no_picture_for_a_rule_whose_channels_are_off_once_its_alert_is_kept(
    pipeline: Connection, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first that finds it draws it, for when a channel is on again; those after it would draw for nobody."""
    drawn: list[int] = []
    real = store.event_pictures

    def count(*given: Any) -> dict[str, bytes]:
        pictures = real(*given)
        drawn.append(len(pictures))
        return pictures

    look(pipeline, subject, [OPENS])
    pipeline.execute("UPDATE alert_channels SET enabled = false")
    monkeypatch.setattr(store, "event_pictures", count)
    for day, pictures in ((GROWN, 2), (AFTER, 1)):  # one of each is for the look's own page
        drawn.clear()
        look(pipeline, subject, [day])
        assert sum(drawn) == pictures
