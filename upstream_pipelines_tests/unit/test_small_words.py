"""Counts, days and scores in words: one of a thing, one form of day, no score rounded up to all of it."""

from __future__ import annotations

import uuid
from datetime import date

import pytest

from upstream_pipelines.alerts.content import Alert, build_message
from upstream_pipelines.alerts.occurrences import quality_entry
from upstream_pipelines.cli.drift import _thin_text, _waiting_text
from upstream_pipelines.drift.data_trouble import data_reason_text


def test_one_of_a_thing_is_told_as_one() -> None:
    day = date(2026, 5, 1)
    assert _thin_text(1, day).startswith("1 pair of payer and signal has not enough data on 2026-05-01;")
    assert _thin_text(2, day).startswith("2 pairs of payer and signal have not")
    assert _waiting_text(1, "acme") == "1 alert waits in the outbox; `upstream alerts deliver acme` sends it now."
    assert _waiting_text(1200, "acme").startswith("1,200 alerts wait in the outbox;")


@pytest.mark.parametrize(
    ("about", "span"),
    [
        ({"first_day": "2026-10-17"}, " from about October 17, 2026 on "),
        ({"first_day": "2026-10-17", "last_day": "2026-10-20"}, " from October 17, 2026 to October 20, 2026 "),
        ({"first_day": "2026-10-17", "last_day": "2026-10-17"}, " on October 17, 2026 "),
    ],
)
def test_the_days_of_a_trouble_are_written_as_all_days_of_a_message_are(about: dict[str, str], span: str) -> None:
    assert f"Many of the claims or decisions{span}came" in data_reason_text("late_file", about)


@pytest.mark.parametrize(
    ("score", "rows", "told"),
    [
        (99.99, (2, 38_000), ("2 of 38,000 rows broke them and were set apart", "Score: 99.9 of 100")),
        (71.4, (1, 40), ("1 of 40 rows broke them and was set apart", "Score: 71 of 100")),
        (100.0, None, ("Rows that broke them were set apart, the others", "Score: 100 of 100")),
    ],
)
def test_a_failed_upload_says_how_many_rows_and_its_score_is_not_rounded_up_to_all(
    score: float, rows: tuple[int, int] | None, told: tuple[str, ...]
) -> None:
    entry = quality_entry(uuid.UUID(int=3), score, ["payer_present"], None, rows)
    customer = {"slug": "acme", "name": "Acme"}
    message = build_message([Alert({**entry.content, "customer": customer}, "2026-05-01T00:00:00+00:00")])
    for part in told:
        assert part in message.text
