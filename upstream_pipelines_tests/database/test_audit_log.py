"""The audit trail: written with the act, seen by one customer, and changed by nobody."""

from __future__ import annotations

import os
import pwd
from datetime import UTC, datetime
from uuid import UUID

import psycopg
import pytest

from upstream_pipelines.customers.audit import ActFilter, Actor, acts_as_csv, operator, read_acts, record
from upstream_pipelines.db.engine import Connection, Role, connect, customer_transaction
from upstream_pipelines.errors import InvalidInputError
from upstream_pipelines.settings import Settings

ANN = Actor("person", "11111111-1111-1111-1111-111111111111", "=ann@example.org", "a" * 32)


@pytest.fixture
def acme(pipeline: Connection) -> int:
    row = pipeline.execute(
        "INSERT INTO customers (slug, name) VALUES ('acme', 'A') RETURNING customer_id"
    ).fetchone()
    assert row is not None
    return int(row[0])


def test_no_role_of_the_product_changes_or_removes_a_row(
    settings: Settings, pipeline: Connection, acme: int
) -> None:
    """Most likely wrong: the owner of a table, who has every right that is not taken away."""
    record(pipeline, operator(), "customer.created", ("customer", acme), customer_id=acme)
    roles: tuple[Role, ...] = ("upstream_owner", "upstream_pipeline", "upstream_api")
    for role in roles:
        with connect(settings, role) as conn:
            for statement in (
                "UPDATE audit_log SET action = 'a.b'",
                "DELETE FROM audit_log",
                "TRUNCATE audit_log",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege), customer_transaction(conn, acme):
                    conn.execute(statement)
    assert pipeline.execute("SELECT count(*) FROM audit_log").fetchone() == (1,)


def test_the_api_writes_acts_of_its_customer_and_of_its_person_only(settings: Settings, acme: int) -> None:
    """Neither those of an operator, nor somebody else's, nor at another time than now."""
    ann, bob = UUID(ANN.id), Actor("person", str(UUID(int=2)), "bob@example.org")
    with connect(settings, "upstream_api") as conn:
        with customer_transaction(conn, acme, ann):
            record(conn, ANN, "member.removed", ("person", 1), customer_id=acme)
        for actor, customer_id in (
            (ANN, acme + 1),
            (bob, acme),
            (bob, None),
            (operator(), acme),
            (operator(), None),
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), customer_transaction(conn, acme, ann):
                record(conn, actor, "member.removed", ("person", 1), customer_id=customer_id)
    roles: tuple[Role, ...] = ("upstream_pipeline", "upstream_api")
    for role in roles:
        with connect(settings, role) as conn:
            for column, value in (("at", "2020-01-01"), ("audit_id", str(UUID(int=1)))):
                statement = (
                    f"INSERT INTO audit_log (customer_id, actor_kind, actor_id, action, entity_kind, entity_id, {column})"
                    " VALUES (%s, 'person', %s, 'a.b', 'person', '1', %s)"
                )
                with pytest.raises(psycopg.errors.InsufficientPrivilege), customer_transaction(conn, acme, ann):
                    conn.execute(statement, (acme, str(ann), value))


def test_an_operator_is_the_account_of_the_process_and_who_they_were_before_is_what_was_said(
    pipeline: Connection, acme: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LOGNAME and SUDO_USER are anybody's to set."""
    account = pwd.getpwuid(os.getuid()).pw_name
    monkeypatch.setenv("LOGNAME", "somebody.else")
    monkeypatch.setenv("SUDO_USER", "alice\udcff")
    assert (operator().id, operator().name) == (account, account)
    record(pipeline, operator(), "customer.created", ("customer", acme), customer_id=acme, details={"x": 1})
    (act,) = read_acts(pipeline, acme, ActFilter(), limit=1)[0]
    assert act.details == {"x": 1, "sudo_user_said": "alice?"}
    monkeypatch.setattr("os.getuid", lambda: 987_654)
    assert operator().id == "uid 987654"


def test_an_act_that_is_undone_leaves_no_trace(pipeline: Connection, acme: int) -> None:
    with pipeline.transaction(force_rollback=True):
        record(pipeline, operator(), "customer.created", ("customer", acme), customer_id=acme)
        assert len(read_acts(pipeline, acme, ActFilter(), limit=10)[0]) == 1
    assert read_acts(pipeline, acme, ActFilter(), limit=10) == ([], None)


def test_pages_go_through_all_acts_once_the_newest_first_and_filters_narrow(
    pipeline: Connection, acme: int
) -> None:
    for number in range(7):
        actor = ANN if number % 2 else operator()
        record(
            pipeline, actor, "member.invited" if number < 5 else "member.removed", ("person", number),
            customer_id=acme, details={"role": "viewer"},
        )  # fmt: skip
    record(pipeline, operator(), "customer.created", ("customer", acme + 1), customer_id=acme + 1)
    seen, mark = [], None
    while True:
        acts, mark = read_acts(pipeline, acme, ActFilter(), after=mark, limit=3)
        seen += [act.entity_id for act in acts]
        if mark is None:
            break
    assert seen == ["6", "5", "4", "3", "2", "1", "0"]

    def found(wanted: ActFilter) -> list[str]:
        return [act.entity_id for act in read_acts(pipeline, acme, wanted, limit=10)[0]]

    assert found(ActFilter(action="member.removed")) == ["6", "5"]
    assert found(ActFilter(actor="=ANN@example.org", action="member.removed")) == ["5"]
    assert found(ActFilter(entity_kind="person", entity_id="2")) == ["2"]
    assert found(ActFilter(until=datetime(2020, 1, 1, tzinfo=UTC))) == []
    assert len(found(ActFilter(since=datetime(2020, 1, 1, tzinfo=UTC)))) == 7
    for bad in ("x", "äöü", "MjAyNg", "MjAyNi0wMS0wMSAxMTExMTExMS0xMTExLTExMTEtMTExMS0xMTExMTExMTExMTE"):
        with pytest.raises(InvalidInputError):
            read_acts(pipeline, acme, ActFilter(), after=bad, limit=1)


def test_no_cell_of_the_csv_is_a_formula(pipeline: Connection, acme: int) -> None:
    record(pipeline, ANN, "member.removed", ("person", 1), customer_id=acme)
    acts, _ = read_acts(pipeline, acme, ActFilter(), limit=1)
    header, line = acts_as_csv(acts, header=True).splitlines()
    assert header.startswith("audit_id,at,actor_kind,")
    assert ',"\'=ann@example.org",' in line
    assert len(acts_as_csv(acts, header=False).splitlines()) == 1
