"""Reports as they are asked for, taken up, kept and read: by whom, once, and after a killed run again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from uuid import UUID, uuid4

import psycopg
import pytest

from upstream_pipelines.customers.audit import Actor, operator
from upstream_pipelines.customers.models import Customer
from upstream_pipelines.customers.store import create_customer, get_customer
from upstream_pipelines.db.engine import Connection, connect, customer_transaction
from upstream_pipelines.errors import ConflictError, InvalidInputError, NotFoundError
from upstream_pipelines.reports import making
from upstream_pipelines.reports.content import read_content
from upstream_pipelines.reports.making import make_waiting
from upstream_pipelines.reports.models import FORMATS, Period, ReportContent, TooLittle
from upstream_pipelines.reports.rendering import render
from upstream_pipelines.reports.store import (
    find_report,
    get_report,
    report_file,
    reports_lock,
    reports_page,
    request_customers_with_reports,
    request_report,
    take_report,
)
from upstream_pipelines.settings import Settings

MAY, APRIL = Period(date(2026, 5, 1), date(2026, 6, 1)), Period(date(2026, 4, 1), date(2026, 5, 1))
PERSON = uuid4()
ANN = Actor("person", str(PERSON), "ann@example.org", "r" * 32)


@pytest.fixture
def acme(pipeline: Connection) -> Customer:
    for slug in ("acme", "beta"):
        create_customer(pipeline, slug, slug.title())
    return get_customer(pipeline, "acme")


@pytest.fixture
def api(settings: Settings) -> Iterator[Connection]:
    with connect(settings, "upstream_api") as conn:
        yield conn


def _ask(conn: Connection, customer: Customer, period: Period = MAY) -> UUID:
    with conn.transaction():
        return request_report(conn, operator(), customer, period)


def test_asking_again_for_a_period_that_is_not_made_yet_gives_the_same_report(
    settings: Settings, pipeline: Connection, acme: Customer
) -> None:
    """Most likely wrong: two that ask at once, of whom the second looks before the first is there."""
    with ThreadPoolExecutor(1) as pool, connect(settings, "upstream_pipeline") as other:
        with pipeline.transaction():
            first = request_report(pipeline, operator(), acme, MAY)
            second = pool.submit(_ask, other, acme)
        assert second.result(20) == first
    assert _ask(pipeline, acme) == first
    assert _ask(pipeline, acme, APRIL) != first
    make_waiting(pipeline, acme, "run")
    assert _ask(pipeline, acme) != first
    acts = pipeline.execute("SELECT count(*) FROM audit_log WHERE action = 'report.requested'").fetchone()
    assert acts == (5,), "each time somebody was answered"


def test_the_api_asks_in_the_name_of_who_is_logged_in_and_changes_nothing_of_what_came_of_it(
    api: Connection, pipeline: Connection, acme: Customer
) -> None:
    beta = get_customer(pipeline, "beta")
    with customer_transaction(api, acme.customer_id, PERSON):
        report_id = request_report(api, ANN, acme, MAY)
    theirs = _ask(pipeline, beta)
    insert = (
        "INSERT INTO report_runs (customer_id, report_id, period_from, period_until, actor_kind, actor_id)"
        " VALUES (%s, gen_random_uuid(), '2026-01-01', '2026-02-01', %s, %s)"
    )
    refused: list[tuple[str, tuple[object, ...]]] = [
        (insert, (beta.customer_id, "person", str(PERSON))),
        (insert, (acme.customer_id, "operator", str(PERSON))),
        (insert, (acme.customer_id, "person", str(uuid4()))),
        ("UPDATE report_runs SET state = 'success' WHERE report_id = %s", (report_id,)),
        ("DELETE FROM report_runs WHERE report_id = %s", (report_id,)),
        ("INSERT INTO report_runs (customer_id, report_id, state) VALUES (%s, %s, 'success')", (acme.customer_id, uuid4())),
        ("INSERT INTO report_files (customer_id, report_id, format, content) VALUES (%s, %s, 'csv', 'x')",
         (acme.customer_id, report_id)),
    ]  # fmt: skip
    for statement, values in refused:
        with (
            pytest.raises(psycopg.errors.InsufficientPrivilege),
            customer_transaction(api, acme.customer_id, PERSON),
        ):
            api.execute(statement.encode(), values)
    make_waiting(pipeline, beta, "run")
    with customer_transaction(api, acme.customer_id, PERSON):
        runs, _ = reports_page(api, beta.customer_id, limit=9)
        assert runs == []
        with pytest.raises(NotFoundError):
            report_file(api, ANN, beta, theirs, "csv")
        (own,), _ = reports_page(api, acme.customer_id, limit=9)
    assert (own.report_id, own.state, own.actor_name, own.request_id) == (
        report_id,
        "waiting",
        "ann@example.org",
        "r" * 32,
    )


def test_a_report_is_made_and_its_files_are_read_until_they_are_kept_no_longer(
    pipeline: Connection, acme: Customer
) -> None:
    report_id = _ask(pipeline, acme)
    with pytest.raises(ConflictError, match="not made yet"), pipeline.transaction():
        report_file(pipeline, operator(), acme, report_id, "csv")
    (made,) = make_waiting(pipeline, acme, "run")
    assert (made.trouble, made.run.state, made.run.attempts, made.run.error_code) == (None, "success", 1, None)
    assert {file.format for file in made.run.files} == set(FORMATS)
    for file in made.run.files:
        with pipeline.transaction():
            kept = report_file(pipeline, operator(), acme, report_id, file.format)
        assert (len(kept.content), hashlib.sha256(kept.content).hexdigest()) == (file.byte_count, file.sha256)
        assert kept.period == MAY
    acts = pipeline.execute(
        "SELECT details ->> 'format' FROM audit_log WHERE action = 'report.exported' ORDER BY 1"
    ).fetchall()
    assert [name for (name,) in acts] == sorted(FORMATS)
    assert make_waiting(pipeline, acme, "run") == []
    pipeline.execute("DELETE FROM report_files")
    with pytest.raises(NotFoundError, match="not kept any more"), pipeline.transaction():
        report_file(pipeline, operator(), acme, report_id, "csv")
    assert find_report(pipeline, acme.customer_id, str(report_id)[:8]).files == ()
    for begins in ("zz", "%", ""):
        with pytest.raises(NotFoundError):
            find_report(pipeline, acme.customer_id, begins)


def test_what_a_killed_run_had_begun_is_asked_for_and_made_again_but_not_for_ever(
    settings: Settings, pipeline: Connection, acme: Customer
) -> None:
    report_id = _ask(pipeline, acme)
    assert [work.slug for work in request_customers_with_reports(pipeline, 50)] == ["acme"]

    def asked_for() -> list[str]:
        pipeline.execute("UPDATE report_runs SET asked_at = now() - interval '1 day'")
        return [work.run_key for work in request_customers_with_reports(pipeline, 50)]

    with connect(settings, "upstream_pipeline") as killed:
        with reports_lock(killed, acme.customer_id):
            assert take_report(killed, acme.customer_id, "killed") is not None
            assert asked_for() == []
            killed.close()
    # Its lock has ended once another has it.
    with reports_lock(pipeline, acme.customer_id):
        pass
    assert asked_for() == [f"{report_id}:2"]
    (made,) = make_waiting(pipeline, acme, "next")
    assert (made.run.state, made.run.attempts) == ("success", 2)

    other = _ask(pipeline, acme, APRIL)
    for number in range(making.MOST_ATTEMPTS):
        with reports_lock(pipeline, acme.customer_id):
            assert take_report(pipeline, acme.customer_id, f"killed {number}") is not None
    (given_up,) = make_waiting(pipeline, acme, "last")
    assert (given_up.run.report_id, given_up.run.state, given_up.run.error_code) == (other, "failed", "run_killed")
    assert given_up.trouble is not None
    assert asked_for() == []


def test_one_that_fails_is_stored_as_failed_without_data_and_the_next_is_made(
    pipeline: Connection, acme: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing, sound = _ask(pipeline, acme, APRIL), _ask(pipeline, acme)
    patient = "John Smith"

    def broken(content: ReportContent) -> object:
        if content.period == APRIL:
            raise ValueError(patient)
        return render(content)

    monkeypatch.setattr(making, "render", broken)
    made = {one.run.report_id: one for one in make_waiting(pipeline, acme, "run")}
    assert (made[failing].run.state, made[failing].run.error_code) == ("failed", "unexpected")
    assert "ValueError" in (made[failing].trouble or "")
    assert "Smith" not in (made[failing].trouble or "")
    assert (made[sound].run.state, made[sound].trouble) == ("success", None)
    assert get_report(pipeline, acme.customer_id, failing).files == ()
    with pytest.raises(ConflictError, match="failed"), pipeline.transaction():
        report_file(pipeline, operator(), acme, failing, "pdf")


def test_pages_leave_none_out_and_a_tick_asks_for_fifty_customers_at_most(
    pipeline: Connection, acme: Customer
) -> None:
    pipeline.execute(
        "INSERT INTO report_runs (customer_id, report_id, period_from, period_until, actor_kind, actor_id, requested_at)"
        " SELECT %s, gen_random_uuid(), d, d + 1, 'operator', 'x', '2026-01-01Z' FROM generate_series(1, 5) AS n,"
        " LATERAL (SELECT date '2026-01-01' + n AS d) AS day",
        (acme.customer_id,),
    )
    seen, mark = [], None
    while True:
        runs, mark = reports_page(pipeline, acme.customer_id, state="waiting", after=mark, limit=2)
        seen += [run.report_id for run in runs]
        if mark is None:
            break
    assert len(seen) == len(set(seen)) == 5
    assert reports_page(pipeline, acme.customer_id, state="failed", limit=2) == ([], None)
    with pytest.raises(InvalidInputError):
        reports_page(pipeline, acme.customer_id, after="x", limit=2)
    pipeline.execute("INSERT INTO customers (slug, name) SELECT 'c' || n, 'c' FROM generate_series(1, 52) AS n")
    pipeline.execute(
        "INSERT INTO report_runs (customer_id, report_id, period_from, period_until, actor_kind, actor_id)"
        " SELECT customer_id, gen_random_uuid(), '2026-01-01', '2026-02-01', 'operator', 'x' FROM customers WHERE slug LIKE 'c%'"
    )
    pipeline.execute("UPDATE customers SET status = 'disabled' WHERE slug = 'c1'")
    first, second = (request_customers_with_reports(pipeline, 50) for _ in range(2))
    assert (len(first), len(second)) == (50, 2)
    assert (first[0].slug, first[0].count, len(first[0].report_ids)) == ("acme", 5, 5)
    assert "c1" not in {work.slug for work in (*first, *second)}


def test_who_has_few_lines_in_the_period_has_no_name_in_it_and_who_comes_after_the_largest_neither(
    pipeline: Connection, acme: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most likely wrong: lines of other months count, and the sums beside the name are those of one claim."""
    monkeypatch.setattr("upstream_pipelines.reports.content.MOST_PAYERS", 1)
    pipeline.execute(
        "INSERT INTO payer_activity (customer_id, payer, cpt_group, submitted_day, submitted_known_day, lines, denied,"
        " denied_authorization, billed, allowed, paid) SELECT %s, payer, 'OTHER', day::date, day::date, lines, 0, 0, 150, 92, 92"
        "   FROM (VALUES ('Tiny', '2026-04-06', 40), ('Tiny', '2026-05-04', 1), ('Aetna', '2026-05-04', 30),"
        "                ('Cigna', '2026-05-05', 20), ('Molina', '2026-05-31', 11), ('Late', '2026-06-01', 90)) AS t (payer, day, lines)",
        (acme.customer_id,),
    )
    content = read_content(pipeline, acme, MAY, datetime(2026, 6, 2, tzinfo=UTC))
    assert [(part.payer, part.sums.lines) for part in content.payers] == [
        ("Aetna", 30), ("(2 further payers)", 31), ("(1 payer with fewer than 11 lines)", 1),
    ]  # fmt: skip
    assert [(part.month.isoformat(), part.sums.lines) for part in content.months] == [("2026-05-01", 62)]


def test_comparisons_that_lacked_data_are_those_of_the_last_look_of_the_period(
    pipeline: Connection, acme: Customer
) -> None:
    made = datetime(2026, 6, 2, tzinfo=UTC)
    assert read_content(pipeline, acme, MAY, made).too_little is None
    pipeline.execute(
        "INSERT INTO drift_looks (customer_id, as_of, method_version, settings)"
        " SELECT %s, day, '1', '{}' FROM unnest(ARRAY['2026-04-30', '2026-05-29', '2026-05-30', '2026-06-01']::date[]) AS day",
        (acme.customer_id,),
    )
    pipeline.execute(
        """INSERT INTO drift_results (customer_id, as_of, payer, cpt_group, signal, direction, state, n_baseline, n_current)
           SELECT %s, as_of::date, payer, 'ALL', signal, 'none', state, 1, 1
             FROM (VALUES ('2026-05-29', 'Aetna', 'volume', 'not_enough_data'), ('2026-05-30', 'Aetna', 'volume', 'watch'),
                          ('2026-05-30', 'Cigna', 'volume', 'not_enough_data'),
                          ('2026-05-30', 'Cigna', 'denial_rate', 'not_enough_data'),
                          ('2026-05-30', 'Molina', 'volume', 'not_enough_data'),
                          ('2026-06-01', 'Late', 'volume', 'not_enough_data')) AS t (as_of, payer, signal, state)""",
        (acme.customer_id,),
    )
    assert read_content(pipeline, acme, MAY, made).too_little == TooLittle(date(2026, 5, 30), 3, 2)
    assert read_content(pipeline, acme, APRIL, made).too_little == TooLittle(date(2026, 4, 30), 0, 0)
