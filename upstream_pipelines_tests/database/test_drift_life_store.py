"""The life of events in the database: accepted, looked at again, of two causes; the placebo."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

import pandas as pd
import pytest

from upstream_pipelines.customers.configuration import parse_configuration
from upstream_pipelines.customers.store import configure_customer, create_customer, get_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.demo.generator import Change, as_known_on, synthetic_claims
from upstream_pipelines.drift import placebo_store, store
from upstream_pipelines.drift.data_trouble import Trouble
from upstream_pipelines.drift.explaining import find_event
from upstream_pipelines.drift.placebo import Placebo
from upstream_pipelines.drift.placebo_store import measure, published_rate
from upstream_pipelines.drift.recompute import recompute
from upstream_pipelines.drift.settings import METHOD_VERSION, DriftSettings, LabelledDays
from upstream_pipelines.drift.store import Subject, look, refresh_activity
from upstream_pipelines.drift.verdicts import accept_event, kept_event, list_events
from upstream_pipelines.errors import ConflictError, NotFoundError
from upstream_pipelines.ingest.merging import merge_staged
from upstream_pipelines.ingest.staging import stage_waiting
from upstream_pipelines.ingest.uploads import send_file
from upstream_pipelines.settings import Settings

TODAY = date(2026, 6, 1)
CHANGED = TODAY - timedelta(days=50)
SETTINGS = DriftSettings()


def on(back: int) -> date:
    return TODAY - timedelta(days=back)


@pytest.fixture(scope="module")
def template(fill_template: Callable[[Callable[[Connection, Settings], None]], str]) -> str:
    return fill_template(load)


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


@pytest.fixture
def subject(pipeline: Connection) -> Subject:
    """The customer of the template."""
    return Subject(get_customer(pipeline, "acme").customer_id, "Acme", SETTINGS)


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


def test_the_look_after_an_acceptance_resolves_the_event_and_says_why(
    pipeline: Connection, subject: Subject
) -> None:
    event_id = opened_by(pipeline, subject, on(10))
    accept_event(
        pipeline, subject.customer_id, str(event_id)[:8], accepted_on=on(5), accepted_by="ann", note="new contract"
    )
    again = accept_event(
        pipeline, subject.customer_id, str(event_id), accepted_on=on(1), accepted_by="bob", note="other"
    )
    assert (again.before, again.accepted_on, again.accepted_by, again.note) == (True, on(5), "ann", "new contract")
    kept = pipeline.execute("SELECT accepted_on, accepted_by, note FROM drift_acceptances").fetchall()
    assert kept == [(on(5), "ann", "new contract")], "the first word counts"
    look(pipeline, subject, [on(6), on(5), on(4), on(0)])
    assert results(pipeline, event_id) == [
        (on(10), "open", None), (on(6), "updated", None), (on(5), "resolved", "accepted_as_normal"),
    ]  # fmt: skip
    assert [(event.state, event.resolved_on) for event in list_events(pipeline, subject.customer_id)] == [
        ("resolved", on(5))
    ]
    words = pipeline.execute("SELECT content -> 'data' ->> 'explanation' FROM alerts WHERE notice = 'resolved'")
    explanations = {row[0] for row in words}
    assert len(explanations) == 1
    assert "accepted as the new normal" in explanations.pop()
    assert told(pipeline) == [
        ("both", "drift", "open"), ("both", "drift", "resolved"),
        ("payers", "drift", "open"), ("payers", "drift", "resolved"),
    ]  # fmt: skip


def test_a_look_back_before_the_acceptance_does_not_know_of_it(pipeline: Connection, subject: Subject) -> None:
    event_id = opened_by(pipeline, subject, on(10))
    look(pipeline, subject, [on(7), on(6)])
    accept_event(pipeline, subject.customer_id, str(event_id), accepted_on=on(5), accepted_by="ann")
    look(pipeline, subject, [on(5)])
    look(pipeline, subject, [on(7), on(6)])
    assert [state for _, state, _ in results(pipeline, event_id)] == ["open", "updated", "updated", "resolved"]


@pytest.mark.parametrize("made_again", [True, False])
def test_an_acceptance_holds_from_the_look_it_names(
    pipeline: Connection, subject: Subject, *, made_again: bool
) -> None:
    """Of an event that is older the same day's look made again; of one that opened that day the next day's."""
    event_id = opened_by(pipeline, subject, on(2))
    if made_again:
        look(pipeline, subject, [on(1)])
    accepted_on = on(1) if made_again else on(2)
    said = accept_event(pipeline, subject.customer_id, str(event_id), accepted_on=accepted_on, accepted_by="ann")
    assert (said.before, said.first_look) == (False, on(1))
    look(pipeline, subject, [accepted_on])
    (event,) = list_events(pipeline, subject.customer_id)
    assert (event.state, event.accepted_on) == ("resolved" if made_again else "open", accepted_on)
    look(pipeline, subject, [on(1)])
    (event,) = list_events(pipeline, subject.customer_id)
    assert (event.state, event.resolved_on, event.reason) == ("resolved", on(1), "accepted_as_normal")


def test_an_event_whose_days_are_labelled_ends_so_and_says_so_where_nothing_else_is_kept(
    pipeline: Connection, subject: Subject
) -> None:
    event_id = opened_by(pipeline, subject, on(1))
    started_on = list_events(pipeline, subject.customer_id)[0].started_on
    label = LabelledDays(label="x", first_day=started_on - timedelta(days=7), last_day=on(0), payers=("Aetna",))
    labelled = Subject(subject.customer_id, "Acme", SETTINGS.model_copy(update={"calendar": (label,)}))
    look(pipeline, labelled, [on(0)])
    assert results(pipeline, event_id)[-1] == (on(0), "resolved", "days_labelled")
    assert find_event(pipeline, subject.customer_id, str(event_id)).row["as_of"] == on(1), "compared before"
    look(pipeline, labelled, [on(1)])
    with pytest.raises(NotFoundError, match="days are labelled"):
        find_event(pipeline, subject.customer_id, str(event_id))


def test_an_event_that_is_over_or_unknown_cannot_be_accepted(pipeline: Connection, subject: Subject) -> None:
    event_id = opened_by(pipeline, subject, on(10))
    for begins in ("%", "zz", str(uuid4())):
        with pytest.raises(NotFoundError):
            kept_event(pipeline, subject.customer_id, begins)
    with pytest.raises(NotFoundError):
        kept_event(pipeline, subject.customer_id + 1, str(event_id))
    accept_event(pipeline, subject.customer_id, str(event_id), accepted_on=on(9), accepted_by="ann")
    look(pipeline, subject, [on(9)])
    with pytest.raises(ConflictError, match="resolved"):
        accept_event(pipeline, subject.customer_id, str(event_id), accepted_on=on(8), accepted_by="ann")


def test_a_day_looked_at_again_with_other_data_takes_back_what_it_had_found(
    pipeline: Connection, subject: Subject
) -> None:
    """Without that the withdrawn event stays live for ever, and the next one breaks the unique index and every look."""
    event_id = opened_by(pipeline, subject, on(10))
    pipeline.execute("UPDATE payer_prices SET decided_day = decided_day - 3000 WHERE payer = 'Aetna'")
    look(pipeline, subject, [on(10)])
    assert results(pipeline, event_id) == [(on(10), "resolved", "withdrawn")]
    assert kept_event(pipeline, subject.customer_id, str(event_id)).state == "resolved"
    assert told(pipeline)[:2] == [("both", "drift", "open"), ("both", "drift", "resolved")]
    pipeline.execute("UPDATE payer_prices SET decided_day = decided_day + 3000 WHERE payer = 'Aetna'")
    look(pipeline, subject, [on(9)])
    second = list_events(pipeline, subject.customer_id)[0]
    assert (second.state, second.event_id != event_id) == ("open", True)
    assert told(pipeline).count(("payers", "drift", "open")) == 2


def test_what_the_same_days_look_finds_takes_back_and_finds_again_is_told_each_time(
    pipeline: Connection, subject: Subject
) -> None:
    event_id = opened_by(pipeline, subject, on(10))
    for days in (-3000, 3000):
        pipeline.execute(
            "UPDATE payer_prices SET decided_day = decided_day + %s::integer WHERE payer = 'Aetna'", (days,)
        )
        look(pipeline, subject, [on(10)])
    assert kept_event(pipeline, subject.customer_id, str(event_id)).state == "open"
    assert [notice for name, _, notice in told(pipeline) if name == "payers"] == ["open", "open", "resolved"]


def _present(conn: Connection) -> list[tuple[Any, ...]]:
    return conn.execute(
        "SELECT event_id, state, opened_on, last_look, resolved_on, memory, before_last_look FROM drift_events ORDER BY 1"
    ).fetchall()


BACK_TO_TODAY = [on(back) for back in range(30, -1, -5)]


@pytest.mark.parametrize(
    "looks",
    [
        [BACK_TO_TODAY],
        [BACK_TO_TODAY[:-1], [on(0)]],
        [[on(1)], [on(0)]],
        [BACK_TO_TODAY[:-1], BACK_TO_TODAY[:3], [on(1)], [on(0)], [on(0)]],
    ],
    ids=["up to the last day", "up to yesterday, then the last day", "yesterday", "many times over"],
)
def test_looks_at_past_days_up_to_the_last_one_leave_the_events_as_they_were(
    pipeline: Connection, subject: Subject, looks: list[list[date]]
) -> None:
    """The look back finds the event under another day of opening, and the last day's look must not go on with that."""
    event_id = opened_by(pipeline, subject, on(1))
    look(pipeline, subject, [on(0)])
    before, alerts = _present(pipeline), told(pipeline)
    for days in looks:
        made = look(pipeline, subject, days)
        assert made.alerts == 0
        assert made.kept <= {str(event_id)}, "what only looks back show cannot be asked for"
        assert made.kept or days[-1] < on(0)
    assert _present(pipeline) == before
    assert told(pipeline) == alerts
    look(pipeline, subject, [on(-1)])
    assert [(event.event_id, event.state) for event in list_events(pipeline, subject.customer_id)] == [
        (event_id, "updated")
    ]
    assert told(pipeline) == alerts


def test_a_backfill_with_other_settings_ends_with_the_events_of_the_present(
    pipeline: Connection, subject: Subject
) -> None:
    """With a threshold no change passes, the days before find nothing; the event of the present is judged and kept."""
    event_id = opened_by(pipeline, subject, on(3))
    look(pipeline, subject, [on(0)])
    deaf = SETTINGS.model_copy(update={"minimum_price_change": 0.9})
    made = look(pipeline, Subject(subject.customer_id, "Acme", deaf), BACK_TO_TODAY)
    assert made.alerts == 0
    assert [(event.event_id, event.state) for event in list_events(pipeline, subject.customer_id)] == [
        (event_id, "updated")
    ]


def test_an_event_computed_again_after_a_look_back_is_the_same_or_said_to_be_replaced(
    pipeline: Connection, subject: Subject
) -> None:
    event_id = opened_by(pipeline, subject, on(3))
    look(pipeline, subject, [on(0)])
    look(pipeline, subject, [on(back) for back in range(30, 3, -5)])
    assert (
        recompute(
            pipeline, subject.customer_id, find_event(pipeline, subject.customer_id, str(event_id))
        ).differences
        == {}
    )
    look(pipeline, subject, [on(3)])
    with pytest.raises(NotFoundError, match="look back"):
        recompute(pipeline, subject.customer_id, find_event(pipeline, subject.customer_id, str(event_id)))


def test_an_event_keeps_what_it_was_opened_with_whatever_later_looks_are_made_with(
    pipeline: Connection, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look back at the day it opened, by the new version and settings, takes nothing from that either."""
    patient = SETTINGS.model_copy(update={"calm_days": 20})
    monkeypatch.setattr(store, "METHOD_VERSION", "of old")
    event_id = opened_by(pipeline, Subject(subject.customer_id, "Acme", patient), on(3))
    monkeypatch.undo()
    look(pipeline, subject, [on(2)])
    look(pipeline, subject, [on(3)])
    stored = find_event(pipeline, subject.customer_id, str(event_id))
    assert (stored.opened_with.method_version, stored.opened_with.settings["calm_days"]) == ("of old", 20)
    with pytest.raises(ConflictError, match="version of old of the method"):
        recompute(pipeline, subject.customer_id, stored)
    accept_event(pipeline, subject.customer_id, str(event_id), accepted_on=on(1), accepted_by="ann")
    look(pipeline, subject, [on(1)])
    told_with = pipeline.execute(
        """SELECT DISTINCT notice, content -> 'data' ->> 'opened_method_version',
                  content -> 'data' -> 'opened_settings' ->> 'calm_days' FROM alerts ORDER BY 1"""
    ).fetchall()
    assert told_with == [("open", "of old", "20"), ("resolved", "of old", "20")]


def test_an_event_opened_with_other_settings_is_computed_again_with_those(
    pipeline: Connection, subject: Subject
) -> None:
    """The look of its day made again with others is the look that opens it."""
    look(pipeline, subject, [on(3)])
    event_id = opened_by(
        pipeline, Subject(subject.customer_id, "Acme", SETTINGS.model_copy(update={"calm_days": 20})), on(3)
    )
    look(pipeline, subject, [on(0)])
    stored = find_event(pipeline, subject.customer_id, str(event_id))
    assert stored.opened_with.settings["calm_days"] == 20
    assert recompute(pipeline, subject.customer_id, stored).differences == {}


def test_a_look_back_that_finds_an_event_earlier_leaves_one_live_event_and_looks_go_on(
    pipeline: Connection, subject: Subject
) -> None:
    event_id = opened_by(pipeline, subject, on(2))
    look(pipeline, subject, [on(back) for back in range(30, 2, -4)])
    earlier = pipeline.execute(
        "SELECT DISTINCT event_id FROM drift_results WHERE event_id <> %s", (event_id,)
    ).fetchall()
    assert earlier, "the look back was to find it under another day of opening"
    for day in (on(2), on(1), on(0)):
        look(pipeline, subject, [day])
    assert [(event.event_id, event.state) for event in list_events(pipeline, subject.customer_id)] == [
        (event_id, "updated")
    ]
    assert told(pipeline) == [("both", "drift", "open"), ("payers", "drift", "open")]


@pytest.fixture
def troubles(monkeypatch: pytest.MonkeyPatch) -> list[Trouble]:
    """Troubles that the looks of a test are told of; to be filled and emptied by it."""
    given: list[Trouble] = []

    def read(*_arguments: object) -> Sequence[Trouble]:
        return list(given)

    monkeypatch.setattr(store, "read_troubles", read)
    return given


def test_data_is_told_to_those_who_watch_data_and_the_payer_once_it_turns_out_to_be_the_payer(
    pipeline: Connection, subject: Subject, troubles: list[Trouble]
) -> None:
    troubles.append(Trouble("partial_upload", CHANGED - timedelta(days=2), TODAY))
    event_id = opened_by(pipeline, subject, on(10))
    assert kept_event(pipeline, subject.customer_id, str(event_id)).cause == "data"
    data = [("both", "quality", "open"), ("data", "quality", "open")]
    assert told(pipeline) == data
    content = pipeline.execute("SELECT content FROM alerts LIMIT 1").fetchone()
    assert content is not None
    assert content[0]["data"]["cause"] == "data"
    assert content[0]["words"]["headline"].startswith("Data, not payer: ")
    assert "Data, not payer" in content[0]["data"]["explanation"]
    troubles.clear()
    look(pipeline, subject, [on(9), on(6), on(3)])
    assert told(pipeline) == data, "a few days without an explanation are no proof"
    look(pipeline, subject, [on(2), on(1)])
    assert kept_event(pipeline, subject.customer_id, str(event_id)).cause == "payer"
    turned = [
        ("both", "drift", "open"), ("both", "quality", "open"), ("both", "quality", "resolved"),
        ("data", "quality", "open"), ("data", "quality", "resolved"), ("payers", "drift", "open"),
    ]  # fmt: skip
    assert told(pipeline) == turned
    troubles.append(Trouble("partial_upload", CHANGED - timedelta(days=2), TODAY))
    look(pipeline, subject, [on(0)])
    again = [("both", "quality", "open"), ("data", "quality", "open")]
    assert told(pipeline) == sorted([*turned, *again]), "it was over for those who watch data, and is data again"
    accept_event(pipeline, subject.customer_id, str(event_id), accepted_on=on(0), accepted_by="ann")
    look(pipeline, subject, [on(0)])
    over = [(rule, kind, "resolved") for rule, kind, _ in (*again, ("both", "drift", ""), ("payers", "drift", ""))]
    assert told(pipeline) == sorted([*turned, *again, *over])


def test_a_change_that_was_data_and_went_away_is_never_told_as_a_payers(
    pipeline: Connection, subject: Subject, troubles: list[Trouble]
) -> None:
    troubles.append(Trouble("late_file", CHANGED, TODAY))
    event_id = opened_by(pipeline, subject, on(10))
    # The file comes: prices are as ever, and the trouble is gone with it.
    pipeline.execute(
        """UPDATE payer_prices SET sum_log_allowed = sum_log_allowed - lines * ln(0.88),
                  sum_log_allowed_sq = sum_log_allowed_sq - 2 * ln(0.88) * sum_log_allowed + lines * ln(0.88) ^ 2
            WHERE payer = 'Aetna' AND decided_day >= %s""",
        (CHANGED,),
    )
    troubles.clear()
    look(pipeline, subject, [on(back) for back in range(9, -8, -1)])
    event = kept_event(pipeline, subject.customer_id, str(event_id))
    assert (event.state, event.cause) == ("resolved", "data")
    assert [entry for entry in told(pipeline) if entry[1] == "drift"] == []


# ---- the placebo


def test_a_measurement_is_kept_once_a_day_and_published_with_its_interval(
    pipeline: Connection, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "not measured yet" in published_rate(pipeline, subject.customer_id, TODAY).text
    outcomes = iter([Placebo(91, 250, 5), Placebo(91, 250, 1), Placebo(91, 250, 0), Placebo(0, 90, 0)])
    monkeypatch.setattr(placebo_store, "placebo", lambda *_a, **_k: next(outcomes))
    for day in (on(0), on(0), on(7), on(100)):
        measure(pipeline, subject.customer_id, SETTINGS, day)
    rate = published_rate(pipeline, subject.customer_id, on(0))
    assert (rate.events, rate.looks, rate.measurements) == (1, 182, 2)
    assert rate.per_year == pytest.approx(365.25 / 182)
    assert rate.low == pytest.approx(0.0253 * 365.25 / 182, abs=0.001)
    assert rate.high == pytest.approx(5.5716 * 365.25 / 182, abs=0.001)
    assert "182 daily looks at reshuffles of one history of 257 days" in rate.text
    old = published_rate(pipeline, subject.customer_id, on(100))
    assert (old.per_year, old.measurements) == (None, 1)
    assert "less than a year" in old.text
    pipeline.execute("UPDATE drift_placebo SET method_version = 'another'")
    assert published_rate(pipeline, subject.customer_id, on(0)).looks == 0


def test_nights_on_one_history_do_not_narrow_the_interval_beyond_its_days(
    pipeline: Connection, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thirteen nights of 91 looks are three years of looks, and reshuffles of 384 days."""
    monkeypatch.setattr(placebo_store, "placebo", lambda *_a, **_k: Placebo(91, 300, 1))
    for week in range(13):
        measure(pipeline, subject.customer_id, SETTINGS, on(7 * week))
    rate = published_rate(pipeline, subject.customer_id, on(0))
    assert (rate.events, rate.looks, rate.days) == (13, 1183, 384)
    assert rate.per_year == pytest.approx(13 * 365.25 / 1183)
    # Of 4.2 events in 384 days; three years of them would be taken for 2.1 to 6.9 a year.
    assert rate.low == pytest.approx(1.144, abs=0.001)
    assert rate.high == pytest.approx(10.043, abs=0.001)


def test_a_history_is_measured_as_it_was_known_without_its_events(pipeline: Connection, subject: Subject) -> None:
    look(pipeline, subject, [on(10)])
    first = measure(pipeline, subject.customer_id, SETTINGS, TODAY, 15)
    again = measure(pipeline, subject.customer_id, SETTINGS, TODAY, 15)
    assert first == again
    assert (first.looks, first.events) == (15, 0)
    row = pipeline.execute("SELECT looks, events, method_version FROM drift_placebo").fetchall()
    assert row == [(15, 0, METHOD_VERSION)]


def test_labelled_days_come_back_from_the_stored_configuration_and_survive_a_file_without_them(
    pipeline: Connection,
) -> None:
    customer, _ = create_customer(pipeline, "other", "Other")
    days = {"label": "x", "first_day": "2026-03-02", "last_day": "2026-03-20", "payers": ["Aetna"]}
    configure_customer(pipeline, customer, parse_configuration({"drift": {"calendar": [days]}}, "t"))
    customer = get_customer(pipeline, "other")
    (label,) = customer.configuration.drift.calendar
    assert (label.last_day, label.payers, label.kind) == (date(2026, 3, 20), ("Aetna",), "calendar")
    other = parse_configuration({"drift": {"calm_days": 20}}, "t", customer.configuration)
    assert other.stored.drift.calendar == (label,)
    assert other.stored.drift.calm_days == 20
    emptied = parse_configuration({"drift": {"calendar": []}}, "t", customer.configuration)
    assert emptied.stored.drift.calendar == ()
    assert pd.notna(label.first_day)
