"""Messages and their due times in the database, and what people say about alerts."""

from __future__ import annotations

import threading
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from upstream_pipelines.alerts.feedback import judge, lift_silence, silence, silences
from upstream_pipelines.alerts.notices import DriftNotice
from upstream_pipelines.alerts.outbox import tell_what_waited
from upstream_pipelines.alerts.rules import DEFAULT_RULE
from upstream_pipelines.alerts.store import (
    conservation,
    due_deliveries,
    list_alerts,
    sync_channels,
    sync_rules,
    write_drift_alerts,
    write_quality_alert,
)
from upstream_pipelines.db.engine import Connection, connect
from upstream_pipelines.delivery import sending
from upstream_pipelines.delivery.channels import WebhookChannel
from upstream_pipelines.delivery.outcome import Outcome
from upstream_pipelines.delivery.worker import deliver_due
from upstream_pipelines.errors import ConfigurationError, ConflictError, NotFoundError
from upstream_pipelines.settings import Settings

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
HOOK = WebhookChannel(kind="webhook", name="hook", url="https://example.org/hook")
BELL = WebhookChannel(kind="webhook", name="bell", url="https://example.org/bell")


@pytest.fixture
def acme(pipeline: Connection) -> int:
    row = pipeline.execute(
        "INSERT INTO customers (slug, name) VALUES ('acme', 'Acme') RETURNING customer_id"
    ).fetchone()
    assert row is not None
    sync_rules(pipeline, row[0], [DEFAULT_RULE])
    sync_channels(pipeline, row[0], [HOOK])
    return int(row[0])


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What a receiver that takes everything got."""
    payloads: list[dict[str, Any]] = []

    def take(*_: Any, payload: dict[str, Any], **__: Any) -> Outcome:
        payloads.append(payload)
        return Outcome("sent", "accepted", 200)

    monkeypatch.setattr(sending, "send_webhook", take)
    return payloads


def _notice(
    payer: str = "Aetna", severity: float | None = 0.5, notice: Any = "open", **changes: Any
) -> DriftNotice:
    values: dict[str, Any] = {
        "event_id": uuid.uuid4(), "cpt_group": "ALL", "signal": "denial_rate", "direction": "worsening", "effect": 0.05,
        "baseline": 0.1, "current": 0.15, "n_baseline": 5000, "n_current": 900, "maturity": 0.9, "p_value": 1e-5,
        "q_value": 1e-4, "as_of": date(2026, 5, 1), "change_date": None, "headline": f"{payer} denies more",
        "sentences": ("It denies more.",), "facts": (("Before", "10 %"),),
    }  # fmt: skip
    return DriftNotice(payer=payer, severity=severity, notice=notice, **{**values, **changes})


def _tell(conn: Connection, customer: int, at: datetime, *notices: DriftNotice) -> None:
    with conn.transaction():
        write_drift_alerts(conn, customer, notices, at)


def _fail_upload(conn: Connection, customer: int, at: datetime, rule: str = "payer_present") -> None:
    assert write_quality_alert(conn, customer, uuid.uuid4(), 71.0, [rule], None, at) == 1


def _messages(conn: Connection) -> list[tuple[float, str, int]]:
    """Seconds after NOW at which each is due, its state, and how many alerts it carries."""
    rows = conn.execute(
        """SELECT extract(epoch FROM d.due_at - %s)::double precision, d.state, count(*)
             FROM deliveries AS d JOIN delivery_alerts USING (customer_id, delivery_id)
            GROUP BY d.delivery_id, d.due_at, d.state ORDER BY d.due_at, d.state""",
        (NOW,),
    ).fetchall()
    return [(row[0], row[1], row[2]) for row in rows]


def _deliver(settings: Settings, at: datetime) -> int:
    return deliver_due(settings, clock=lambda: at, worker_threads=1).sent


def _held(conn: Connection, customer: int) -> list[str | None]:
    return [alert["held_by"] for alert in reversed(list_alerts(conn, customer))]


def _ids(conn: Connection, customer: int) -> list[str]:
    return [alert["alert_id"] for alert in reversed(list_alerts(conn, customer))]


def test_what_comes_one_by_one_is_gathered_for_30_seconds(pipeline: Connection, acme: int) -> None:
    for seconds, rule in ((0, "a"), (10, "b"), (29, "c")):
        _fail_upload(pipeline, acme, NOW + seconds * SECOND, rule)
    assert _messages(pipeline) == [(30.0, "pending", 3)]


def test_drift_is_due_at_once_and_takes_along_what_waits(pipeline: Connection, acme: int) -> None:
    _fail_upload(pipeline, acme, NOW)
    _tell(pipeline, acme, NOW + 10 * SECOND, _notice("Aetna"), _notice("Cigna"))
    assert _messages(pipeline) == [(10.0, "pending", 3)]
    assert conservation(pipeline, acme)["unexpected_places"] == 0


def test_each_channel_and_each_rule_has_messages_of_its_own(pipeline: Connection, acme: int) -> None:
    sync_channels(pipeline, acme, [HOOK, BELL])
    sync_rules(pipeline, acme, [DEFAULT_RULE, DEFAULT_RULE.model_copy(update={"name": "second"})])
    _tell(pipeline, acme, NOW, _notice("Aetna"), _notice("Cigna"))
    assert _messages(pipeline) == [(0.0, "pending", 2)] * 4


def test_after_a_message_the_next_one_waits_five_minutes_unless_it_is_a_step_more_severe(
    pipeline: Connection, acme: int, settings: Settings, sent: list[dict[str, Any]]
) -> None:
    _tell(pipeline, acme, NOW, _notice("Aetna"))
    assert _deliver(settings, NOW) == 1
    _tell(pipeline, acme, NOW + MINUTE, _notice("Cigna"))
    assert _messages(pipeline)[-1] == (300.0, "pending", 1)
    _tell(pipeline, acme, NOW + 2 * MINUTE, _notice("Humana", severity=0.7))
    assert _messages(pipeline)[-1] == (120.0, "pending", 2)
    assert _deliver(settings, NOW + 2 * MINUTE) == 1
    assert sent[-1]["type"] == "alerts.grouped"
    _tell(pipeline, acme, NOW + 3 * MINUTE, _notice("UHC", severity=0.85))  # 0.7 was told a minute ago
    assert _messages(pipeline)[-1] == (420.0, "pending", 1)


def test_a_message_that_was_tried_is_joined_by_nothing(
    pipeline: Connection, acme: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its receiver may have got it: another alert in it would go out under an id that is known already."""
    monkeypatch.setattr(sending, "send_webhook", lambda *_, **__: Outcome("retry", "the receiver answered 500"))
    _tell(pipeline, acme, NOW, _notice("Aetna"))
    _deliver(settings, NOW)
    _tell(pipeline, acme, NOW + SECOND, _notice("Cigna"))
    assert [(state, carried) for _, state, carried in _messages(pipeline)] == [("retrying", 1), ("pending", 1)]


def test_what_is_written_while_a_worker_takes_the_message_goes_in_another_one(
    pipeline: Connection, acme: int, settings: Settings
) -> None:
    """Most likely wrong: the writer saw it waiting, and its alert is in a message that has left without it."""
    _tell(pipeline, acme, NOW, _notice("Aetna"))
    written = threading.Event()

    def write() -> None:
        with connect(settings, "upstream_pipeline") as own:
            _tell(own, acme, NOW + SECOND, _notice("Cigna"))
        written.set()

    with pipeline.transaction():
        pipeline.execute("UPDATE deliveries SET state = 'sending', attempt = 1")
        thread = threading.Thread(target=write)
        thread.start()
        assert not written.wait(0.5)
    thread.join(20)
    assert sorted(state for _, state, _ in _messages(pipeline)) == ["pending", "sending"]


def test_two_writers_of_the_same_trouble_decide_one_after_the_other(
    pipeline: Connection, acme: int, settings: Settings
) -> None:
    """Side by side each would see that nothing was told, and both would tell."""
    barrier = threading.Barrier(4)

    def write() -> None:
        with connect(settings, "upstream_pipeline") as own:
            barrier.wait()
            _tell(own, acme, NOW, _notice())

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(map(str, _held(pipeline, acme))) == ["None", "cooldown", "cooldown", "cooldown"]


def test_quiet_hours_move_the_first_try_to_their_end_and_no_retry(
    pipeline: Connection, acme: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.execute(
        """UPDATE alert_rules SET quiet_hours = '{"from": "20:00", "to": "07:00"}', time_zone = 'America/New_York'"""
    )
    evening = datetime(2026, 5, 2, 0, 30, tzinfo=UTC)
    _tell(pipeline, acme, evening, _notice(severity=1.0))
    assert pipeline.execute("SELECT due_at FROM deliveries").fetchone() == (datetime(2026, 5, 2, 11, tzinfo=UTC),)
    monkeypatch.setattr(sending, "send_webhook", lambda *_, **__: Outcome("retry", "the receiver answered 500"))
    pipeline.execute("UPDATE deliveries SET due_at = %s", (evening,))
    _deliver(settings, evening)
    (due,) = pipeline.execute("SELECT due_at FROM deliveries").fetchone() or (None,)
    assert due is not None
    assert due < evening + MINUTE


def test_a_machine_without_the_time_zone_sends_at_once_and_says_so(
    pipeline: Connection, acme: int, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline.execute(
        """UPDATE alert_rules SET quiet_hours = '{"from": "00:00", "to": "23:00"}', time_zone = 'Mars/Olympus'"""
    )
    _tell(pipeline, acme, NOW, _notice())
    assert _messages(pipeline) == [(0.0, "pending", 1)]
    assert "its quiet hours are not kept" in caplog.text
    assert "ZoneInfoNotFoundError" in caplog.text


def test_what_is_held_back_is_listed_with_its_reason_and_asks_for_a_run_when_its_time_has_come(
    pipeline: Connection, acme: int, settings: Settings, sent: list[dict[str, Any]]
) -> None:
    _tell(pipeline, acme, NOW, _notice())
    _deliver(settings, NOW)
    _tell(pipeline, acme, NOW + HOUR, _notice())
    (held, _) = list_alerts(pipeline, acme)
    assert (held["state"], held["deliveries"]) == ("suppressed", [])
    assert held["reason"] == "the same was told at 2026-05-01 12:00 UTC; waits until 2026-05-01 16:00 UTC"
    end = NOW + 4 * HOUR
    assert (due_deliveries(pipeline, end - SECOND), due_deliveries(pipeline, end)) == (0, 1)
    assert _deliver(settings, end) == 1
    assert due_deliveries(pipeline, end) == 0
    (told, _) = list_alerts(pipeline, acme)
    assert (told["state"], told["reason"]) == ("sent", None)
    assert told["content"]["note"] == f"Held back since 2026-05-01 13:00 UTC: {held['reason']}."
    assert len(sent) == 2


@pytest.mark.parametrize(
    ("change", "by", "why"),
    [
        ("UPDATE alert_rules SET enabled = false", "cooldown", "; its rule was switched off"),
        ("UPDATE alert_channels SET enabled = false", "channel", "channel hook is switched off"),
    ],
)
def test_what_cannot_be_told_after_all_is_not_asked_for_again(
    pipeline: Connection, acme: int, change: str, by: str, why: str
) -> None:
    _tell(pipeline, acme, NOW, _notice())
    _tell(pipeline, acme, NOW + HOUR, _notice())
    pipeline.execute("UPDATE deliveries SET state = 'sent'")
    pipeline.execute(change)
    assert tell_what_waited(pipeline, None, NOW + 5 * HOUR) == 0
    (held, _) = list_alerts(pipeline, acme)
    assert held["reason"].endswith(why)
    assert held["held_by"] == by
    assert held["held_until"] is None
    assert due_deliveries(pipeline, NOW + 5 * HOUR) == 0


def test_an_open_event_is_repeated_where_its_rule_asks_for_it_until_it_is_judged(
    pipeline: Connection, acme: int, settings: Settings, sent: list[dict[str, Any]]
) -> None:
    _tell(pipeline, acme, NOW, _notice())
    _deliver(settings, NOW)
    day = NOW + 24 * HOUR
    assert due_deliveries(pipeline, day) == 0
    pipeline.execute("UPDATE alert_rules SET repeat_hours = 24")
    assert (due_deliveries(pipeline, day - SECOND), due_deliveries(pipeline, day)) == (0, 1)
    assert _deliver(settings, day) == 1
    assert sent[-1]["type"] == "drift.event.reminder"
    (reminder, _) = list_alerts(pipeline, acme)
    assert reminder["content"]["note"].startswith("This goes on. It was last told at 2026-05-01 12:00 UTC")
    assert reminder["content"]["alert_id"] == reminder["alert_id"]
    assert due_deliveries(pipeline, day) == 0
    judge(pipeline, acme, reminder["alert_id"], "needs_follow_up", judged_by="ann", now=day + HOUR)
    assert due_deliveries(pipeline, day + 24 * HOUR) == 1
    judge(pipeline, acme, reminder["alert_id"], "real", judged_by="ann", now=day + 2 * HOUR)
    assert due_deliveries(pipeline, day + 24 * HOUR) == 0
    _fail_upload(pipeline, acme, NOW)
    _deliver(settings, day + HOUR)
    assert due_deliveries(pipeline, day + 99 * HOUR) == 0  # an upload's failure has no end to wait for


def test_a_silence_of_an_alert_is_of_its_trouble_and_ends_by_hand(pipeline: Connection, acme: int) -> None:
    _tell(pipeline, acme, NOW, _notice())
    (first,) = _ids(pipeline, acme)
    kept = silence(
        pipeline, acme, alert=first[:8], ends_at=NOW + 48 * HOUR, reason="known", created_by="ann", now=NOW
    )
    assert kept.about == "drift, aetna, all, denial rate"
    _tell(pipeline, acme, NOW + 9 * HOUR, _notice(), _notice("Cigna"), _notice(signal="volume"))
    assert sorted(map(str, _held(pipeline, acme))) == ["None", "None", "None", "silence"]
    assert [one.silence_id for one in silences(pipeline, acme, NOW)] == [kept.silence_id]
    lift_silence(pipeline, acme, str(kept.silence_id)[:8], NOW + 10 * HOUR)
    assert silences(pipeline, acme, NOW + 10 * HOUR) == []
    assert tell_what_waited(pipeline, acme, NOW + 10 * HOUR) == 1
    assert _held(pipeline, acme) == [None] * 4
    with pytest.raises(NotFoundError):
        lift_silence(pipeline, acme, str(kept.silence_id), NOW + 10 * HOUR)


def test_claims_are_asked_for_spellings_once_for_all_silences_and_only_where_a_payer_is_named(
    pipeline: Connection, acme: int
) -> None:
    """They are all the customer's activity, and hundreds of thousands of rows."""

    def scans() -> int:
        row = pipeline.execute(
            "SELECT seq_scan + idx_scan FROM pg_stat_xact_user_tables WHERE relname = 'payer_activity'"
        ).fetchone()
        assert row is not None
        return int(row[0])

    with pipeline.transaction():
        counts = [scans()]
        for about in ({"signal": "volume"}, {"payer": "nobody"}, {"payer": "no one"}, {"signal": "denial_rate"}):
            silence(pipeline, acme, ends_at=NOW + HOUR, reason="", created_by="ann", now=NOW, **about)
            counts.append(scans())
        assert {one.payer for one in silences(pipeline, acme, NOW)} == {None, "nobody", "no one"}
        counts.append(scans())
    assert [after - before for before, after in pairwise(counts)] == [0, 1, 1, 0, 1]


@pytest.mark.parametrize(
    ("silenced", "held"),
    [
        ({"payer": "AETNA"}, ["silence", "silence", None, None]),
        ({"signal": "volume"}, [None, "silence", None, None]),
        ({"payer": "aetna", "signal": "denial_rate"}, ["silence", None, None, None]),
    ],
)
def test_a_silence_is_of_a_payer_a_signal_or_both_and_of_nothing_else(
    pipeline: Connection, acme: int, silenced: dict[str, str], held: list[str | None]
) -> None:
    silence(pipeline, acme, ends_at=NOW + HOUR, reason="", created_by="ann", now=NOW, **silenced)
    _tell(pipeline, acme, NOW, _notice())
    _tell(pipeline, acme, NOW + SECOND, _notice(signal="volume"))
    _tell(pipeline, acme, NOW + 2 * SECOND, _notice("Cigna"))
    _fail_upload(pipeline, acme, NOW + 3 * SECOND, "aetna")
    assert _held(pipeline, acme) == held


def test_a_judgement_is_kept_with_its_dollars_and_the_newest_counts(pipeline: Connection, acme: int) -> None:
    _tell(pipeline, acme, NOW, _notice())
    (alert,) = _ids(pipeline, acme)
    judge(pipeline, acme, alert, "noise", judged_by="ann", now=NOW)
    judge(
        pipeline,
        acme,
        alert[:8],
        "real",
        recovered=Decimal("812.50"),
        note="paid again",
        judged_by="bob",
        now=NOW + HOUR,
    )
    (listed,) = list_alerts(pipeline, acme)
    assert [(one["judgement"], one["recovered"], one["judged_by"]) for one in listed["judgements"]] == [
        ("noise", None, "ann"),
        ("real", 812.5, "bob"),
    ]


def test_judging_one_alert_twice_is_one_judgement(pipeline: Connection, acme: int) -> None:
    """A second click must not mute the payer for a month."""
    _tell(pipeline, acme, NOW, _notice())
    (alert,) = _ids(pipeline, acme)
    for minutes in (1, 2):
        judge(pipeline, acme, alert, "noise", judged_by="ann", now=NOW + minutes * MINUTE)
    _tell(pipeline, acme, NOW + 5 * HOUR, _notice())
    assert _held(pipeline, acme) == [None, None]
    judge(pipeline, acme, _ids(pipeline, acme)[-1], "noise", judged_by="ann", now=NOW + 6 * HOUR)
    _tell(pipeline, acme, NOW + 12 * HOUR, _notice())
    _tell(pipeline, acme, NOW + 31 * 24 * HOUR, _notice())
    assert _held(pipeline, acme) == [None, None, "noise", None]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("call SMITH, JOHN", "a person's name"),
        ("ssn 123-45-6789", "a social security number"),
        ("patient jane roe", "something about a person"),
        ("account 123 456 789", "something about a person"),
        ("x" * 201, "200 is the most"),
        ("two\nlines", "one line"),
    ],
)
def test_a_text_that_may_be_about_a_patient_is_refused_and_not_repeated(
    pipeline: Connection, acme: int, text: str, said: str
) -> None:
    _tell(pipeline, acme, NOW, _notice())
    (alert,) = _ids(pipeline, acme)
    with pytest.raises(ConfigurationError, match=said) as refused:
        judge(pipeline, acme, alert, "real", note=text, judged_by="ann")
    assert text not in str(refused.value)
    with pytest.raises(ConfigurationError, match=said):
        silence(pipeline, acme, payer="Aetna", ends_at=NOW + HOUR, reason=text, created_by="ann", now=NOW)
    assert pipeline.execute("SELECT count(*) FROM alert_feedback").fetchone() == (0,)


def test_what_makes_no_sense_is_refused_with_what_to_do(pipeline: Connection, acme: int) -> None:
    _tell(pipeline, acme, NOW, _notice(), _notice("Cigna"))
    (alert, _) = _ids(pipeline, acme)
    with pytest.raises(ConfigurationError, match="belong to a judgement `real`"):
        judge(pipeline, acme, alert, "noise", recovered=Decimal(5), judged_by="ann")
    with pytest.raises(ConfigurationError, match="from 0 on"):
        judge(pipeline, acme, alert, "real", recovered=Decimal(-5), judged_by="ann")
    for unknown in ("", "zz", "%", "00000000-0000"):
        with pytest.raises((NotFoundError, ConflictError)):
            judge(pipeline, acme, unknown, "real", judged_by="ann")
    with pytest.raises(NotFoundError):
        judge(pipeline, acme + 1, alert, "real", judged_by="ann")
    ends: dict[str, Any] = {"ends_at": NOW + HOUR, "reason": "", "created_by": "ann", "now": NOW}
    with pytest.raises(ConfigurationError, match="what to silence"):
        silence(pipeline, acme, **ends)
    with pytest.raises(ConfigurationError, match="what to silence"):
        silence(pipeline, acme, alert=alert, payer="Aetna", **ends)
    with pytest.raises(ConfigurationError, match="still ahead"):
        silence(pipeline, acme, payer="Aetna", **{**ends, "ends_at": NOW})
