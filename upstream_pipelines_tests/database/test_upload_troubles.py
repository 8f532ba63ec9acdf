"""Troubles read from uploads: what went wrong, for which days, until when; what is small or usual is none."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from upstream_pipelines.customers.store import create_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.drift.settings import DriftSettings
from upstream_pipelines.drift.upload_troubles import read_troubles

TODAY = date(2026, 6, 1)
SETTINGS = DriftSettings()


def on(back: int) -> date:
    return TODAY - timedelta(days=back)


def upload(conn: Connection, customer_id: int, day: date, status: str = "success", **values: Any) -> UUID:
    upload_id = uuid4()
    row: dict[str, Any] = {
        "rows": 100, "rejected": 0, "duplicates": 0, "updated": 0, "byte_count": 1000, "file_name": f"{day}.csv",
        "source": "csv", **values,
    }  # fmt: skip
    row["accepted"] = 0 if status == "failed" else row["rows"] - row["rejected"] - row["duplicates"]
    conn.execute(
        """INSERT INTO uploads (customer_id, upload_id, source, file_name, byte_count, status, rows, accepted, rejected,
                                duplicates, updated, received_at)
           VALUES (%(customer_id)s, %(upload_id)s, %(source)s, %(file_name)s, %(byte_count)s, %(status)s, %(rows)s,
                   %(accepted)s, %(rejected)s, %(duplicates)s, %(updated)s, %(received_at)s)""",
        {
            **row, "customer_id": customer_id, "upload_id": upload_id, "status": status,
            "received_at": datetime(day.year, day.month, day.day, 8, tzinfo=UTC),
        },
    )  # fmt: skip
    return upload_id


def weekly(conn: Connection, customer_id: int, unlike: dict[int, dict[str, Any]]) -> list[UUID]:
    """Eight weekly uploads from eight weeks ago on, some unlike the others."""
    return [upload(conn, customer_id, on(7 * (8 - week)), **unlike.get(week, {})) for week in range(8)]


def found(conn: Connection, customer_id: int) -> list[tuple[str, date, date | None, date | None]]:
    return [
        (item.code, item.first_day, item.last_day, item.cleared_on)
        for item in read_troubles(conn, customer_id, (on(30), on(0)), SETTINGS)
    ]


def cost(conn: Connection, customer_id: int) -> list[float | None]:
    return [item.share for item in read_troubles(conn, customer_id, (on(30), on(0)), SETTINGS)]


def week_of(number: int) -> tuple[date, date]:
    """The days that the upload of a week was to bring."""
    return on(7 * (8 - number)) - timedelta(days=6), on(7 * (8 - number))


@pytest.mark.parametrize(
    ("unlike", "code", "share"),
    [
        ({"status": "failed", "rows": 0}, "failed_upload", 1.0),
        ({"status": "partial", "rejected": 10}, "partial_upload", 0.1),
        ({"duplicates": 90}, "resent_file", 0.9),
        ({"updated": 80}, "resent_file", 0.8),
    ],
)
def test_an_upload_gone_wrong_is_a_trouble_of_the_days_it_was_to_bring(
    pipeline: Connection, unlike: dict[str, Any], code: str, share: float
) -> None:
    customer, _ = create_customer(pipeline, "acme", "Acme")
    weekly(pipeline, customer.customer_id, {5: unlike})
    assert found(pipeline, customer.customer_id) == [(code, *week_of(5), None)]
    assert cost(pipeline, customer.customer_id) == [pytest.approx(share)]


@pytest.mark.parametrize(
    "unlike",
    [
        {},
        {5: {"status": "partial", "rejected": 9}},
        {0: {"status": "failed", "rows": 0}},
        {week: {"duplicates": 90} for week in range(8)},
    ],
    ids=[
        "nothing wrong",
        "few rows rejected",
        "the first day is history",
        "mostly known rows are this source's habit",
    ],
)
def test_what_is_small_or_usual_is_no_trouble(pipeline: Connection, unlike: dict[int, dict[str, Any]]) -> None:
    customer, _ = create_customer(pipeline, "acme", "Acme")
    weekly(pipeline, customer.customer_id, unlike)
    assert found(pipeline, customer.customer_id) == []


def test_the_same_file_corrected_puts_a_trouble_right(pipeline: Connection) -> None:
    customer, _ = create_customer(pipeline, "acme", "Acme")
    weekly(
        pipeline,
        customer.customer_id,
        {
            4: {"status": "failed", "rows": 0, "file_name": "x.csv"},
            6: {"status": "partial", "rejected": 50, "file_name": "y"},
        },
    )
    upload(pipeline, customer.customer_id, on(10), file_name="x.csv")
    assert found(pipeline, customer.customer_id) == [
        ("failed_upload", *week_of(4), on(10)), ("partial_upload", *week_of(6), None),
    ]  # fmt: skip


def test_another_customers_uploads_and_those_after_the_look_are_no_trouble(pipeline: Connection) -> None:
    ours, theirs = (create_customer(pipeline, slug, slug)[0].customer_id for slug in ("ours", "theirs"))
    weekly(pipeline, theirs, {5: {"status": "failed", "rows": 0}})
    weekly(pipeline, ours, {})
    upload(pipeline, ours, on(0), "failed", rows=0)
    upload(pipeline, ours, on(-3), "failed", rows=0)
    assert found(pipeline, ours) == []


@pytest.mark.parametrize(
    ("severity", "failing", "expected"),
    [("warning", 15, True), ("error", 15, True), ("info", 90, False), ("warning", 5, False)],
)
def test_a_rule_that_fails_far_more_than_usual_is_a_trouble(
    pipeline: Connection, severity: str, failing: int, *, expected: bool
) -> None:
    customer, _ = create_customer(pipeline, "acme", "Acme")
    for week, upload_id in enumerate(weekly(pipeline, customer.customer_id, {})):
        pipeline.execute(
            """INSERT INTO quality_findings (customer_id, upload_id, rule, field, severity, checked_rows, failing_rows,
                                             sample_row_numbers)
               VALUES (%s, %s, 'outcome_known', 'outcome', %s, 100, %s, ARRAY[]::bigint[])""",
            (customer.customer_id, upload_id, severity, failing if week == 6 else 2),
        )
    assert found(pipeline, customer.customer_id) == ([("failing_quality", *week_of(6), None)] if expected else [])
    # A usual upload fails it on 2 rows in 100.
    assert cost(pipeline, customer.customer_id) == ([pytest.approx((failing - 2) / 100)] if expected else [])


def test_a_score_that_falls_is_a_trouble_told_once_with_the_rule_that_made_it_fall(pipeline: Connection) -> None:
    customer, _ = create_customer(pipeline, "acme", "Acme")
    for week, upload_id in enumerate(weekly(pipeline, customer.customer_id, {})):
        values = (customer.customer_id, upload_id, 80.0 if week == 6 else 97.0)
        pipeline.execute(
            """INSERT INTO quality_reports (customer_id, upload_id, score, dimensions, summary)
               VALUES (%s, %s, %s, '{}', '{}')""",
            values,
        )
    assert found(pipeline, customer.customer_id) == [("failing_quality", *week_of(6), None)]


# ---- the placebo
