"""No list has anything of another customer: every route that gives many things, of two customers who both have some of each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from psycopg import sql

from upstream_pipelines.customers.audit import operator
from upstream_pipelines.customers.flag_changes import replace_flags
from upstream_pipelines.customers.flags import Flag
from upstream_pipelines.customers.roles import Role
from upstream_pipelines.customers.store import get_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.drift.counting import refresh_activity
from upstream_pipelines.ingest.merging import merge_staged
from upstream_pipelines.ingest.staging import stage_waiting
from upstream_pipelines.ingest.uploads import send_file
from upstream_pipelines.settings import Settings
from upstream_pipelines_tests.api.conftest import Things
from upstream_pipelines_tests.api.test_people_routes import LogIn

# What stands in each customer's claims, labels, aliases and groups, and in nobody else's.
WORDS = {"acme": "ALPINE", "beta": "BOREAL"}


def _lists(document: dict[str, Any]) -> list[str]:
    """Paths of all routes that people read and that name no single thing."""
    return [
        path
        for path, operations in document["paths"].items()
        if "{" not in path.replace("{slug}", "")
        and any("access_token" in scheme for scheme in operations.get("get", {}).get("security", []))
    ]


def _make_claims(conn: Connection, settings: Settings, slug: str) -> None:
    customer, word, day = get_customer(conn, slug), WORDS[slug], datetime.now(UTC).date() - timedelta(days=9)
    file = settings.home / f"{slug}.csv"
    file.parent.mkdir(exist_ok=True)
    file.write_text(
        "claim_id,line_number,payer,cpt,submitted_date,decided_date,outcome\n"
        f"{word}-1,1,{word} HEALTH,99213,{day},{day},PAID\n{word}-2,1,,99213,{day},{day},PAID\n"
    )
    send_file(conn, settings, customer, file)
    stage_waiting(conn, settings, customer, source="csv", run_id=slug)
    merge_staged(conn, settings, customer, slug)
    refresh_activity(conn, customer.customer_id)


def _configure(owner: httpx.Client, slug: str, grade: str) -> set[str]:
    """Replace all that is read whole; gives the revisions, by which it is told apart where it holds the product's own words alone."""
    path, word = f"/api/v1/customers/{slug}", WORDS[slug]
    revisions = set()
    for part, values in (
        ("payer-aliases", {"payer_aliases": {f"{word} INC": f"{word} HEALTH"}}),
        ("cpt-groups", {"cpt_groups": {"992*": f"{word} VISITS"}}),
        ("quality-rules", {"quality": {"cpt_form": grade}}),
    ):
        present = owner.get(f"{path}/{part}").json()["revision"]
        replaced = owner.put(f"{path}/{part}", json={"revision": present, **values})
        assert replaced.status_code == 200, replaced.text
        revisions.add(replaced.json()["revision"])
    label = {"label": f"{word} code set", "first_day": "2026-10-01", "last_day": "2026-10-01"}
    assert owner.post(f"{path}/drift/labels", json=label).status_code == 201
    return revisions


def _all_ids(conn: Connection, slug: str) -> set[str]:
    """Every UUID that stands in a row of the customer, in whichever table."""
    customer_id = get_customer(conn, slug).customer_id
    columns = conn.execute(
        """SELECT i.table_name, i.column_name FROM information_schema.columns AS i
            WHERE i.table_schema = 'public' AND i.data_type = 'uuid' AND EXISTS (
                SELECT 1 FROM information_schema.columns AS c
                 WHERE c.table_schema = 'public' AND c.table_name = i.table_name AND c.column_name = 'customer_id')"""
    ).fetchall()
    found: set[str] = set()
    for table, column in columns:
        statement = sql.SQL("SELECT {}::text FROM {} WHERE customer_id = %s").format(
            sql.Identifier(column), sql.Identifier(table)
        )
        found |= {row[0] for row in conn.execute(statement, (customer_id,)) if row[0] is not None}
    return found


@pytest.fixture
def marks(
    acme: httpx.Client, beta: httpx.Client, log_in: LogIn, things: Things, pipeline: Connection, settings: Settings
) -> dict[str, tuple[httpx.Client, set[str]]]:
    """The owner of each customer, and all by which something of it is known."""
    made = {}
    flags: dict[str, dict[Flag, bool]] = {"acme": {"reports": False}, "beta": {"drift": False}}
    for slug, system, grade in (("acme", acme, "error"), ("beta", beta, "off")):
        owner = log_in(slug, Role.OWNER)
        _make_claims(pipeline, settings, slug)
        revisions = _configure(owner, slug, grade)
        things(slug, system, owner)
        switched = replace_flags(pipeline, operator(), get_customer(pipeline, slug), flags[slug])
        of_it = {slug, WORDS[slug], *revisions, switched.revision}
        made[slug] = owner, of_it | _all_ids(pipeline, slug)
    return made


def test_no_list_has_anything_of_another_customer_and_each_has_what_is_ones_own(
    marks: dict[str, tuple[httpx.Client, set[str]]], acme: httpx.Client
) -> None:
    """Most likely wrong: a list that is new, and reads its table in a transaction without a customer. One that is empty would show
    nothing: things() in conftest.py, or this test, has to make some of it.
    """
    lists = _lists(acme.get("/api/v1/openapi.json").json())
    assert len(lists) >= 22
    (_, of_acme), (_, of_beta) = marks.values()
    assert not of_acme & of_beta
    for slug, (owner, own) in marks.items():
        (theirs,) = [others for other, (_, others) in marks.items() if other != slug]
        for path in lists:
            answer = owner.get(path.format(slug=slug))
            assert answer.status_code == 200, (path, answer.text)
            # The slug alone where it is the customers themselves that are listed.
            of_things = own - {slug} if path.partition("{slug}")[2] else own
            assert any(mark in answer.text for mark in of_things), (path, "nothing of one's own", answer.text)
            assert not [mark for mark in theirs if mark in answer.text], (path, answer.text)
            if answer.headers["content-type"] == "application/json" and isinstance(answer.json(), dict):
                assert answer.json().get("next") is None, (path, "all of it is on this page")
