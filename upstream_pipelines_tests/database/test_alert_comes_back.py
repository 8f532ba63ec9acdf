"""What is told later than it happened, or again: events past a minimum or back after their end."""

from __future__ import annotations

import uuid

import pytest

from upstream_pipelines.alerts.notices import drift_facts
from upstream_pipelines.alerts.outbox import grown_events
from upstream_pipelines.alerts.rules import AlertRule
from upstream_pipelines.alerts.store import (
    late_openings,
    list_alerts,
    sync_rules,
    write_run_failure_alert,
)
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.settings import Settings
from upstream_pipelines_tests.database.alerts_told import (
    DAY,
    EVENT,
    NOW,
    acme_with_rules,
    arrive,
    deliver,
    tell,
)


@pytest.fixture
def acme(pipeline: Connection) -> int:
    return acme_with_rules(pipeline)


def _wanted(conn: Connection, customer: int, severity: float, dollars: float | None) -> bool:
    facts = drift_facts(
        "payer", payer="Aetna", cpt_group="ALL", signal="denial_rate", direction="worsening", severity=severity,
        effect=0.05, detail={"money": {"per_month": dollars}},
    )  # fmt: skip
    return late_openings(conn, customer, {(EVENT, "payer"): facts}) == {EVENT}


def test_an_event_that_grows_past_a_minimum_is_told_under_the_rules_that_ask_for_it(
    pipeline: Connection, acme: int
) -> None:
    assert tell(pipeline, acme, NOW, "open") == [("all", "open", 0)]
    assert not _wanted(pipeline, acme, 0.39, 4999.0)
    assert _wanted(pipeline, acme, 0.39, 5000.0)
    assert _wanted(pipeline, acme, 0.4, None)
    assert tell(pipeline, acme, NOW + DAY, "open", 0.4, late=True) == [("large", "open", 0)]
    assert not _wanted(pipeline, acme, 0.9, None), "they have it now"
    arrive(pipeline)
    assert tell(pipeline, acme, NOW + 2 * DAY, "resolved") == [("all", "resolved", 0), ("large", "resolved", 0)]


def test_an_opening_that_was_not_told_on_purpose_is_not_told_late_without_a_minimum(
    pipeline: Connection, acme: int
) -> None:
    """A look back opens events and alarms nobody."""
    assert tell(pipeline, acme, NOW, "open", 0.4, late=True) == [("large", "open", 0)]


@pytest.mark.parametrize("late", [False, True], ids=["as opened", "as going on"])
def test_an_event_that_comes_back_under_its_id_is_told_again_each_time(
    pipeline: Connection, acme: int, late: bool
) -> None:
    assert tell(pipeline, acme, NOW, "open") == [("all", "open", 0)]
    for number in (0, 1):
        ended = NOW + (1 + 3 * number) * DAY
        arrive(pipeline)
        assert tell(pipeline, acme, ended, "resolved") == [("all", "resolved", number)]
        assert tell(pipeline, acme, ended + DAY / 2, "resolved") == []
        assert tell(pipeline, acme, ended + DAY, "open", late=late) == [("all", "open", number + 1)]
        assert tell(pipeline, acme, ended + DAY * 1.5, "open", late=late) == []
        assert tell(pipeline, acme, ended + 2 * DAY, "escalated", 0.5) == [("all", "escalated", number + 1)]


def test_what_was_held_back_before_the_end_stays_so_when_the_event_comes_back(
    pipeline: Connection, acme: int
) -> None:
    tell(pipeline, acme, NOW, "open", event_id=uuid.UUID(int=8))
    hour = DAY / 24
    assert tell(pipeline, acme, NOW + hour, "open") == []
    assert tell(pipeline, acme, NOW + 2 * hour, "resolved") == []
    assert tell(pipeline, acme, NOW + 5 * hour, "open") == [("all", "open", 1)]
    arrive(pipeline)
    assert tell(pipeline, acme, NOW + 6 * hour, "resolved") == [("all", "resolved", 1)]
    assert sum(alert["held_by"] is not None for alert in list_alerts(pipeline, acme)) == 2


def test_a_change_that_is_data_payer_and_data_again_reaches_who_watches_data_each_time(
    pipeline: Connection, acme: int
) -> None:
    assert tell(pipeline, acme, NOW, "open", cause="data") != []
    tell(pipeline, acme, NOW + DAY, "resolved", cause="data")
    assert tell(pipeline, acme, NOW + DAY * 1.5, "open", cause="payer") == [("all", "open", 0)]
    assert ("all", "open", 1) in tell(pipeline, acme, NOW + 2 * DAY, "open", cause="data")
    assert tell(pipeline, acme, NOW + 3 * DAY, "open", cause="data") == []


def test_a_failed_run_that_was_taken_back_is_not_told_again_by_a_sensor_that_starts_over(
    pipeline: Connection, acme: int
) -> None:
    assert write_run_failure_alert(pipeline, acme, "r1", "ingest", None, "KeyError", None, NOW) > 0
    pipeline.execute("UPDATE alerts SET over_at = %s", (NOW,))
    assert write_run_failure_alert(pipeline, acme, "r1", "ingest", None, "KeyError", None, NOW + DAY) == 0


def test_a_rule_that_is_off_tells_of_no_growth_but_of_the_end(
    settings: Settings, pipeline: Connection, acme: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync_rules(pipeline, acme, [AlertRule(name="old")])
    tell(pipeline, acme, NOW, "open")
    deliver(settings, acme, NOW, monkeypatch)
    sync_rules(pipeline, acme, [AlertRule(name="new", payers=("Cigna",))])
    assert grown_events(pipeline, acme, {(EVENT, "payer"): 0.9}, NOW + DAY) == set()
    assert tell(pipeline, acme, NOW + DAY, "escalated", 0.9) == []
    assert tell(pipeline, acme, NOW + 2 * DAY, "resolved") == [("old", "resolved", 0)]
