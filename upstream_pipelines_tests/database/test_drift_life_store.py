"""The life of events in the database: accepted, labelled, of two causes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from uuid import uuid4

import pandas as pd
import pytest

from upstream_pipelines.customers.configuration import parse_configuration
from upstream_pipelines.customers.store import configure_customer, create_customer, get_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.drift import store
from upstream_pipelines.drift.data_trouble import Trouble
from upstream_pipelines.drift.explaining import find_event
from upstream_pipelines.drift.settings import LabelledDays
from upstream_pipelines.drift.store import Subject, look
from upstream_pipelines.drift.verdicts import accept_event, kept_event, list_events
from upstream_pipelines.errors import ConflictError, NotFoundError
from upstream_pipelines.settings import Settings
from upstream_pipelines_tests.database.drift_life import (
    CHANGED,
    SETTINGS,
    TODAY,
    customer_of,
    load,
    on,
    opened_by,
    results,
    told,
)


@pytest.fixture(scope="module")
def template(fill_template: Callable[[Callable[[Connection, Settings], None]], str]) -> str:
    return fill_template(load)


@pytest.fixture
def subject(pipeline: Connection) -> Subject:
    return customer_of(pipeline)


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
