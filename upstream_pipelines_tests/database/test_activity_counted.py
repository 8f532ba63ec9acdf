"""Activity counted by the database is what activity counted from claim lines is, however it comes about and is read."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest

from upstream_pipelines.drift import counting
from upstream_pipelines.drift.activity import activity_from_claims
from upstream_pipelines.drift.counting import refresh_activity
from upstream_pipelines.drift.reading import read_activity
from upstream_pipelines_tests.database.ingested import Ingest, file_of, row


def _comparable(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    frame = frame.copy()
    for name in frame.columns:
        if name.endswith("_day"):
            frame[name] = pd.to_datetime(frame[name]).dt.strftime("%Y-%m-%d")
        elif name in {"decision_age", "lines", "denied", "denied_authorization"}:
            frame[name] = frame[name].astype("float64")
        elif name not in {"payer", "cpt", "modifiers", "cpt_group"}:
            frame[name] = frame[name].astype("float64").round(6)
        else:
            frame[name] = frame[name].astype(str)
    return frame.sort_values(keys, ignore_index=True)


@pytest.mark.parametrize("lines_for_two", [0, 10**9], ids=["by two connections", "by one"])
def test_activity_counted_in_sql_equals_activity_counted_from_claim_lines(
    ingest: Ingest, real_claims: Callable[[], bytes], monkeypatch: pytest.MonkeyPatch, lines_for_two: int
) -> None:
    """Production reads what SQL counted, replay what pandas counted; they must not differ in a cell."""
    monkeypatch.setattr(counting, "FEWEST_FOR_TWO", lines_for_two)
    ingest.configure({"cpt_groups": {"992*": "VISITS"}})
    ingest.load(real_claims())
    refresh_activity(ingest.conn, ingest.customer.customer_id)
    counted = read_activity(ingest.conn, ingest.customer.customer_id)
    with ingest.conn.cursor() as cursor:
        rows = cursor.execute(
            """SELECT payer_name, cpt, modifiers, cpt_group, submitted_date, decided_date, outcome, billed_amount,
                      allowed_amount, paid_amount, units, denial_reason_code, first_decided_date, first_outcome,
                      first_denial_reason_code, first_allowed_amount, first_units FROM claims"""
        ).fetchall()
        names = [column.name for column in cursor.description or ()]
    made = activity_from_claims(pd.DataFrame(rows, columns=names))
    for sql_frame, pandas_frame in zip(counted, made, strict=True):
        keys = [name for name in pandas_frame.columns if name in {
            "payer", "cpt", "modifiers", "cpt_group", "submitted_day", "decision_age", "decided_day"}]  # fmt: skip
        assert len(sql_frame) > 50
        pd.testing.assert_frame_equal(
            _comparable(sql_frame[list(pandas_frame.columns)], keys),
            _comparable(pandas_frame, keys),
            check_dtype=False,
        )


def test_activity_read_in_slices_is_the_same_as_read_at_once(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = [f"2026-02-{day:02}" for day in range(2, 20)]
    ingest.load(
        file_of(
            *(row(f"{day}{n}", decided="2026-02-25").replace("2026-01-05", day) for day in days for n in range(3))
        )
    )
    refresh_activity(ingest.conn, ingest.customer.customer_id)
    at_once = read_activity(ingest.conn, ingest.customer.customer_id)
    monkeypatch.setattr("upstream_pipelines.drift.reading.ROWS_A_SLICE", 4)
    for slices, whole in zip(read_activity(ingest.conn, ingest.customer.customer_id), at_once, strict=True):
        keys = list(whole.columns)
        pd.testing.assert_frame_equal(
            slices.sort_values(keys, ignore_index=True), whole.sort_values(keys, ignore_index=True)
        )


def test_a_denial_paid_later_and_a_corrected_decision_stay_what_they_were_first(ingest: Ingest) -> None:
    """Counted by its latest version a denial leaves the old cohorts only, and every payer seems to deny more of late."""
    ingest.load(file_of(row("A", "DENIED", "2026-02-03", allowed=""), row("B", "PAID", "2026-02-03")))
    refresh_activity(ingest.conn, ingest.customer.customer_id)
    before = read_activity(ingest.conn, ingest.customer.customer_id)
    assert before.activity["denied"].sum() == 1
    ingest.load(file_of(row("A", "PAID", "2026-03-20"), row("B", "PAID", "2026-02-05", allowed="70")))
    ingest.load(file_of(row("A", "PAID", "2026-03-20", allowed="60"), row("B", "PENDING", "", allowed="")))
    refresh_activity(ingest.conn, ingest.customer.customer_id)
    after = read_activity(ingest.conn, ingest.customer.customer_id)
    for then, now in zip(before, after, strict=True):
        columns = [name for name in then.columns if not name.endswith("known_day")]
        pd.testing.assert_frame_equal(
            then.sort_values(columns, ignore_index=True), now.sort_values(columns, ignore_index=True)
        )


def test_activity_counted_step_by_step_equals_activity_counted_at_once(ingest: Ingest) -> None:
    """Only touched days are counted again; a day forgotten would show here."""
    ingest.load(file_of(row("A", "PENDING", "", allowed=""), row("B")))
    refresh_activity(ingest.conn, ingest.customer.customer_id)
    ingest.load(file_of(row("A", "DENIED", "2026-03-01", allowed=""), row("B", "PAID", "2026-02-03"), row("C")))
    assert refresh_activity(ingest.conn, ingest.customer.customer_id).submitted_days == 1
    stepwise = read_activity(ingest.conn, ingest.customer.customer_id)
    ingest.conn.execute(
        """INSERT INTO touched_days SELECT DISTINCT customer_id, 'submitted', submitted_date FROM claims
           UNION SELECT DISTINCT customer_id, 'decided', decided_date FROM claims WHERE decided_date IS NOT NULL"""
    )
    refresh_activity(ingest.conn, ingest.customer.customer_id)
    at_once = read_activity(ingest.conn, ingest.customer.customer_id)
    for step, once in zip(stepwise, at_once, strict=True):
        pd.testing.assert_frame_equal(
            step.sort_values(list(step.columns), ignore_index=True),
            once.sort_values(list(once.columns), ignore_index=True),
        )
