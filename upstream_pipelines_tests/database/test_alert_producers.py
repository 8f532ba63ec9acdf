"""Silent customers, failed runs and who hears of a channel's trouble: told once, to whom the rules say, and taken back."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

import pytest
from psycopg.types.json import Jsonb

from upstream_pipelines.alerts import notices, occurrences
from upstream_pipelines.alerts.content import Alert, build_message
from upstream_pipelines.alerts.feedback import judge
from upstream_pipelines.alerts.life import PRODUCT_OFF
from upstream_pipelines.alerts.notices import DriftNotice, channel_disabled_content, drift_entry
from upstream_pipelines.alerts.occurrences import (
    quality_entry,
    refused_entry,
    run_failure_entry,
    run_recovered_entry,
    sends_again_entry,
    silence_entry,
    unusual_entry,
)
from upstream_pipelines.alerts.outbox import QUERIES, tell_what_waited
from upstream_pipelines.alerts.overview import overview
from upstream_pipelines.alerts.rules import DEFAULT_RULE, AlertRule, QuietHours
from upstream_pipelines.alerts.runs import open_run_failures, take_back_failures
from upstream_pipelines.alerts.store import (
    conservation,
    sync_channels,
    sync_rules,
    write_entries,
    write_refused_alert,
    write_run_failure_alert,
)
from upstream_pipelines.customers.store import create_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.delivery.channels import Channel, EmailChannel, WebhookChannel
from upstream_pipelines.ingest.missed_uploads import Watched, end_silences_that_are_over, read_arrivals, watch

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
CHANNELS: list[Channel] = [
    EmailChannel(kind="email", name="office", recipients=("a@example.org",)),
    WebhookChannel(kind="webhook", name="hook", url="https://example.org/hook"),
    WebhookChannel(kind="webhook", name="spare", url="https://example.org/spare"),
]


@pytest.fixture
def acme(pipeline: Connection) -> int:
    customer, _ = create_customer(pipeline, "acme", "Acme")
    sync_channels(pipeline, customer.customer_id, CHANNELS)
    return customer.customer_id


def _expect(conn: Connection, days: int | None) -> None:
    conn.execute("UPDATE customers SET configuration = %s", (Jsonb({"cadence_days": days} if days else {}),))


def _sent(conn: Connection, customer_id: int, *ago: float) -> None:
    for days in ago:
        conn.execute(
            "INSERT INTO uploads (customer_id, source, byte_count, received_at) VALUES (%s, 'csv', 1, %s)",
            (customer_id, NOW - timedelta(days=days)),
        )


def _watch(conn: Connection, at: datetime = NOW) -> Watched:
    return watch(conn, at, lambda slug: f"http://u/{slug}")


def _told(conn: Connection) -> list[tuple[str, str, dict[str, Any]]]:
    return conn.execute(
        "SELECT notice, content ->> 'type', content -> 'data' FROM alerts ORDER BY created_at, notice"
    ).fetchall()


def _words(conn: Connection) -> str:
    (content,) = conn.execute(
        "SELECT content FROM alerts ORDER BY created_at DESC, notice DESC LIMIT 1"
    ).fetchone()  # type: ignore[misc]
    return build_message([Alert(content, NOW.isoformat())]).text


def test_a_customer_that_is_overdue_is_told_of_once_and_taken_back_when_it_sends(
    pipeline: Connection, acme: int
) -> None:
    _expect(pipeline, 7)
    _sent(pipeline, acme, 9)
    assert _watch(pipeline) == Watched(1, 1, 0)
    assert _watch(pipeline) == Watched(1, 0, 0)
    assert end_silences_that_are_over(pipeline, NOW, str) == 0
    ((notice, kind, data),) = _told(pipeline)
    assert (notice, kind, data["days_silent"], data["last_day"]) == ("open", "customer.silent", 9, "2026-06-06")
    assert "No claims have arrived for 9 days" in _words(pipeline)
    assert "cadence_days" in _words(pipeline)

    _sent(pipeline, acme, 0)
    assert end_silences_that_are_over(pipeline, NOW + timedelta(minutes=1), str) == 1
    assert end_silences_that_are_over(pipeline, NOW + timedelta(minutes=2), str) == 0
    assert _told(pipeline)[1][:2] == ("resolved", "customer.sends_again")
    assert "An upload came on 2026-06-15, after the last one of 2026-06-06." in _words(pipeline)
    counts = conservation(pipeline, acme)
    assert (counts["alerts"], counts["missing_places"], counts["unexpected_places"]) == (2, 0, 0)


def test_within_its_days_and_a_day_of_grace_a_customer_is_not_silent(pipeline: Connection, acme: int) -> None:
    _expect(pipeline, 7)
    _sent(pipeline, acme, 8)
    assert _watch(pipeline).noticed == 0
    assert _watch(pipeline, NOW + timedelta(days=1)).noticed == 1


def test_one_that_never_sent_is_counted_from_its_first_day(pipeline: Connection, acme: int) -> None:
    _expect(pipeline, 7)
    pipeline.execute("UPDATE customers SET created_at = %s", (NOW - timedelta(days=30),))
    assert _watch(pipeline).noticed == 1
    assert "It has sent nothing since it was signed up on 2026-05-16." in _words(pipeline)
    _sent(pipeline, acme, 0)
    assert _watch(pipeline) == Watched(1, 0, 1)


def test_a_habit_is_learned_from_days_not_from_batches(pipeline: Connection, acme: int) -> None:
    """Most likely wrong: many batches of one day would make gaps of nothing."""
    _sent(pipeline, acme, *(days + part / 10 for days in range(3, 40, 3) for part in range(4)))
    (arrivals,) = read_arrivals(pipeline, NOW.date())
    assert arrivals.days == [date(2026, 6, 15) - timedelta(days=days) for days in range(39, 2, -3)]
    cadence = arrivals.cadence
    assert cadence is not None
    assert (cadence.basis, cadence.usual_days, cadence.limit_days, cadence.gaps) == ("learned", 3, 6, 12)
    assert _watch(pipeline).noticed == 0
    assert _watch(pipeline, NOW + timedelta(days=4)).noticed == 1
    assert "usually 3 days apart" in _words(pipeline)


def test_a_silence_that_a_new_setting_allows_is_taken_back_and_may_come_again(
    pipeline: Connection, acme: int
) -> None:
    _expect(pipeline, 7)
    _sent(pipeline, acme, 9)
    _watch(pipeline)
    _expect(pipeline, 30)
    assert _watch(pipeline, NOW + timedelta(hours=1)) == Watched(1, 0, 1)
    assert "Nothing is to be done" in _words(pipeline)
    assert _watch(pipeline, NOW + timedelta(days=23)).noticed == 1
    rows = pipeline.execute("SELECT ending, last_day FROM missed_uploads ORDER BY noticed_at").fetchall()
    assert rows == [("no longer expected", date(2026, 6, 6)), (None, date(2026, 6, 6))]


def test_disabled_customers_and_those_without_a_habit_are_left_alone(pipeline: Connection, acme: int) -> None:
    _sent(pipeline, acme, 100, 90)
    assert _watch(pipeline) == Watched(1, 0, 0)
    _expect(pipeline, 1)
    pipeline.execute("UPDATE customers SET status = 'disabled'")
    assert _watch(pipeline) == Watched(0, 0, 0)


@pytest.mark.parametrize(
    "broken", [{"cadence_days": "often"}, {"cadence_days": 1e12}, {"cadence_days": -3}, {"nonsense": 1}]
)
def test_a_configuration_that_was_broken_by_hand_stops_no_watch(
    pipeline: Connection, acme: int, broken: dict[str, Any]
) -> None:
    _sent(pipeline, acme, 9)
    pipeline.execute("UPDATE customers SET configuration = %s", (Jsonb(broken),))
    assert _watch(pipeline).customers == 1


def _fail(conn: Connection, customer_id: int, run_id: str, job: str = "ingest") -> None:
    assert write_run_failure_alert(conn, customer_id, run_id, job, None, "RunFailure", None) == 1


def test_a_failed_run_is_taken_back_once_and_only_that_of_its_job(pipeline: Connection, acme: int) -> None:
    _fail(pipeline, acme, "r1")
    _fail(pipeline, acme, "r2", "drift")
    assert [failure.run_id for failure in open_run_failures(pipeline)] != []
    assert take_back_failures(pipeline, acme, "ingest", "r3", None) == 1
    assert take_back_failures(pipeline, acme, "ingest", "r4", None) == 0
    assert [failure.run_id for failure in open_run_failures(pipeline)] == ["r2"]
    (ending,) = [data for notice, _, data in _told(pipeline) if notice == "resolved"]
    assert (ending["run_id"], ending["recovered_by"]) == ("r1", "r3")
    assert "runs again" in _words(pipeline)


def test_a_recovery_is_not_told_to_who_did_not_hear_of_the_failure(pipeline: Connection, acme: int) -> None:
    sync_rules(pipeline, acme, [AlertRule(name="default", kinds=("drift",))])
    assert write_run_failure_alert(pipeline, acme, "r1", "ingest", None, "RunFailure", None) == 0
    assert open_run_failures(pipeline) == []
    assert take_back_failures(pipeline, acme, "ingest", "r2", None) == 0


def _refused(conn: Connection, customer_id: int, source: str, code: str, *rules: str) -> str | None:
    """What holds the alert of a refused upload back, if anything does."""
    upload_id = uuid.uuid4()
    write_refused_alert(conn, customer_id, upload_id, source, code, None, rules)
    row = conn.execute("SELECT held_by FROM alerts WHERE subject_id = %s", (upload_id,)).fetchone()
    assert row is not None
    return None if row[0] is None else str(row[0])


def test_who_judged_one_refusal_noise_twice_still_hears_of_others(pipeline: Connection, acme: int) -> None:
    sync_rules(pipeline, acme, [AlertRule(name="default", kinds=("quality",))])
    for _ in range(2):
        _refused(pipeline, acme, "csv", "file_refused")
    for (alert,) in pipeline.execute("SELECT alert_id::text FROM alerts").fetchall():
        judge(pipeline, acme, alert, "noise", judged_by="me")
    assert _refused(pipeline, acme, "csv", "file_refused") == "noise"
    assert _refused(pipeline, acme, "x12_835", "file_refused") is None
    assert _refused(pipeline, acme, "csv", "all_rows_rejected", "payer_present") is None
    assert _refused(pipeline, acme, "csv", "all_rows_rejected", "line_present") is None
    assert _refused(pipeline, acme, "csv", "all_rows_rejected", "payer_present") == "cooldown"


def _trouble(conn: Connection, customer_id: int, disabled: str) -> list[tuple[str | None, list[str]]]:
    """Switch a channel off and say so; returns (rule, channels) of the alerts."""
    (channel_id,) = conn.execute(
        "UPDATE alert_channels SET enabled = false WHERE name = %s RETURNING channel_id", (disabled,)
    ).fetchone()  # type: ignore[misc]
    (rule_id,) = conn.execute("SELECT rule_id FROM alert_rules ORDER BY name LIMIT 1").fetchone()  # type: ignore[misc]
    conn.execute(
        QUERIES.write_channel_trouble,
        {
            "product_off": PRODUCT_OFF,
            "customer_id": customer_id, "channel_id": channel_id, "rule_id": rule_id, "now": NOW,
            "subject_id": uuid.uuid4(), "content": Jsonb({"type": "channel.disabled", "data": {}}),
        },
    )  # fmt: skip
    rows = conn.execute(
        """SELECT r.name, array(SELECT c.name FROM delivery_alerts AS l
                                  JOIN alert_channels AS c USING (customer_id, channel_id)
                                 WHERE l.customer_id = a.customer_id AND l.alert_id = a.alert_id ORDER BY 1)
             FROM alerts AS a LEFT JOIN alert_rules AS r USING (customer_id, rule_id) ORDER BY 1"""
    ).fetchall()
    assert conservation(conn, customer_id)["missing_places"] == 0
    return rows


def test_trouble_with_delivery_goes_to_all_other_channels_where_no_rule_asks_for_it(
    pipeline: Connection, acme: int
) -> None:
    assert _trouble(pipeline, acme, "hook") == [("default", ["office", "spare"])]


def test_rules_that_ask_for_trouble_with_delivery_choose_its_channels(pipeline: Connection, acme: int) -> None:
    sync_rules(
        pipeline, acme,
        [DEFAULT_RULE, AlertRule(name="platform", kinds=("delivery_trouble",), channels=("office", "hook"))],
    )  # fmt: skip
    assert _trouble(pipeline, acme, "hook") == [("platform", ["office"])]


def test_trouble_of_the_only_channel_that_was_chosen_for_it_goes_to_the_others_all_the_same(
    pipeline: Connection, acme: int
) -> None:
    sync_rules(
        pipeline, acme, [DEFAULT_RULE, AlertRule(name="platform", kinds=("delivery_trouble",), channels=("hook",))]
    )
    assert _trouble(pipeline, acme, "hook") == [("default", ["office", "spare"])]


def test_a_rule_comes_back_from_the_database_as_it_was_written(pipeline: Connection, acme: int) -> None:
    rule = AlertRule(
        name="night", kinds=("drift", "silence"), minimum_confidence=0.9, minimum_dollars_per_month=5000,
        unknown_dollars="skip", channels=("office",), time_zone="America/New_York", cooldown_hours=6, group_seconds=60,
        update_minutes=10, repeat_hours=24,
        quiet_hours=QuietHours.model_validate({"from": "20:00", "to": "07:00", "days": ["mon", "sun"]}),
    )  # fmt: skip
    sync_rules(pipeline, acme, [rule, DEFAULT_RULE])
    columns = [name for name in AlertRule.model_fields if name != "enabled"]
    rows = pipeline.execute(f"SELECT {', '.join(columns)} FROM alert_rules ORDER BY name").fetchall()
    stored = [AlertRule.model_validate(dict(zip(columns, row, strict=True))) for row in rows]
    assert stored == [DEFAULT_RULE, rule]
    assert pipeline.execute("SELECT count(*) FROM alert_rules WHERE quiet_hours IS NULL").fetchone() == (1,)


_ID, _SILENT, _UPLOAD, _REFUSED, _UNUSUAL = (uuid.UUID(int=number) for number in range(1, 6))
_MEASURE = {
    "field": "denied",
    "side": "low",
    "amount": 1,
    "of_rows": 9,
    "usual": 0.3,
    "low": 0.2,
    "high": 0.4,
    "history": 8,
}
_FAILED = run_failure_entry("r1", "ingest", None, "KeyError", None)
_SILENCE = {
    "last_day": date(2026, 6, 1), "has_sent": True, "days_silent": 14, "basis": "setting", "usual_days": 1, "limit_days": 2,
    "gaps": None,
}  # fmt: skip
_DRIFT: dict[str, Any] = {
    "event_id": _ID, "payer": "Aetna", "cpt_group": "ALL", "signal": "denial_rate", "direction": "worsening", "effect": 0.05,
    "baseline": 0.1, "current": 0.15, "n_baseline": 5000, "n_current": 900, "maturity": 0.9, "p_value": 1e-5, "q_value": 1e-4,
    "as_of": date(2026, 5, 1), "change_date": None, "headline": "It denies more", "sentences": ("More.",), "facts": (),
}  # fmt: skip
_CAUSES: tuple[Literal["payer", "data"], ...] = ("payer", "data")
_STEPS: tuple[tuple[Literal["open", "escalated", "resolved"], float], ...] = (
    ("open", 0.3),
    ("escalated", 0.9),
    ("resolved", 0.9),
)
# By the name of what makes it; openings first.
_MADE: dict[str, list[Any]] = {
    "drift_entry": [
        drift_entry(DriftNotice(notice=notice, severity=severity, cause=cause, **_DRIFT))
        for cause in _CAUSES
        for notice, severity in _STEPS
    ],
    "run_failure_entry": [_FAILED],
    "silence_entry": [silence_entry(_SILENT, _SILENCE, None)],
    "quality_entry": [quality_entry(_UPLOAD, 71.4, ["payer_present"], None)],
    "refused_entry": [refused_entry(_REFUSED, "csv", "file_refused", None)],
    "unusual_entry": [
        unusual_entry(_UNUSUAL, "csv", "usual_volume", [_MEASURE], day=None, link=None),
        unusual_entry(_UNUSUAL, "webhook", "usual_outcomes", [_MEASURE], day=NOW.date(), link=None),
    ],
    "run_recovered_entry": [run_recovered_entry(_FAILED.content["data"], "r2", None)],
    "sends_again_entry": [sends_again_entry(_SILENT, {**_SILENCE, "ended_on": NOW.date(), "ending": "sent again"}, None)],
    "channel_disabled_content": [channel_disabled_content("hook", "webhook", "it answered 410", NOW)],
}  # fmt: skip


def test_whatever_can_be_written_has_words_in_messages_of_every_kind(
    pipeline: Connection, acme: int, caplog: pytest.LogCaptureFixture
) -> None:
    makers = {
        name for module in (notices, occurrences) for name in vars(module) if name.endswith(("_entry", "_content"))
    }
    assert makers == set(_MADE), "each of them is read below"
    sync_rules(pipeline, acme, [AlertRule(name="all", repeat_hours=24)])
    entries = [one for made in _MADE.values() for one in made if isinstance(one, notices.Entry)]
    contents = [one for made in _MADE.values() for one in made if isinstance(one, dict)]
    at = NOW
    for notice in ("open", "reminder", "escalated", "reminder", "resolved"):
        at += timedelta(hours=25)
        pipeline.execute("UPDATE deliveries SET state = 'sent', finished_at = now()")
        if notice == "reminder":
            assert tell_what_waited(pipeline, acme, at) == 4, "of drift twice, of the silence and of the run"
        else:
            write_entries(pipeline, acme, [entry for entry in entries if entry.notice == notice], at)
    written = pipeline.execute("SELECT kind, notice, content FROM alerts ORDER BY created_at").fetchall()
    assert len(written) == len(entries) + 8
    (check,) = pipeline.execute(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'alerts_kind_check'"
    ).fetchone()  # type: ignore[misc]
    assert {kind for kind, _, _ in written} == {*re.findall("'([a-z_]+)'", check)} - {"delivery_trouble", "test"}
    for content in [*(one for _, _, one in written), *contents]:
        message = build_message(
            [Alert({"customer": {"slug": "acme", "name": "Acme"}, **content}, NOW.isoformat())]
        )
        assert message.payload["type"] == content["type"]
        assert all((message.subject, message.text, message.html, message.blocks))
    assert [record.getMessage() for record in caplog.records] == []


@pytest.mark.parametrize("content", [{"type": "run.vanished", "data": {}}, {"type": "run.failed", "data": {}}])
def test_an_alert_without_words_takes_no_other_alert_of_its_message_with_it(
    pipeline: Connection, acme: int, content: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    _fail(pipeline, acme, "r1")
    (good,) = pipeline.execute("SELECT content FROM alerts").fetchone()  # type: ignore[misc]
    whole = {**good, **content}
    message = build_message([Alert(one, NOW.isoformat()) for one in (good, whole)])
    assert "A run failed: ingest" in message.text
    assert "`upstream alerts list acme --json`" in message.text
    assert f"of type {content['type']} has no words (KeyError)" in caplog.text
    pipeline.execute("UPDATE alerts SET content = content || %s", (Jsonb(content),))
    assert overview(pipeline, acme, NOW).alerts[0]["headline"].startswith("An alert: run ")
