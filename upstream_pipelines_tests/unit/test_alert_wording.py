"""What happened on the platform, in words that say what to do next and hold nothing of a claim or a file's name."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

import upstream_pipelines
from upstream_pipelines.alerts.content import Alert, Message, build_message, wording_of
from upstream_pipelines.alerts.notices import Entry, channel_disabled_content
from upstream_pipelines.alerts.occurrences import (
    quality_entry,
    refused_entry,
    run_failure_entry,
    run_recovered_entry,
    sends_again_entry,
    silence_entry,
    unusual_entry,
)

ID, AT = uuid.UUID(int=1), datetime(2026, 6, 15, tzinfo=UTC)
SET: dict[str, Any] = {
    "last_day": date(2026, 6, 1), "has_sent": True, "days_silent": 14, "basis": "setting", "usual_days": 1, "limit_days": 2,
    "gaps": None,
}  # fmt: skip
LEARNED = {**SET, "basis": "learned", "usual_days": 3, "limit_days": 6, "gaps": 12}
ENDED = {"last_day": date(2026, 6, 1), "ended_on": date(2026, 6, 15), "ending": "sent again"}
HALF: dict[str, Any] = {
    "field": "", "side": "low", "amount": 1480, "of_rows": 1480, "usual": 3004.2, "low": 2002.7, "high": 4506.3, "history": 40,
}  # fmt: skip
EMPTY: dict[str, Any] = {
    "field": "allowed_amount", "side": "high", "amount": 1480, "of_rows": 1480, "usual": 0.08, "low": 0.0, "high": 0.3, "history": 40,
}  # fmt: skip
FAILED = run_failure_entry("r1", "ingest", "claims", "StageFailedError", "http://u/runs/r1")


def _message(content: dict[str, Any]) -> Message:
    return build_message([Alert({**content, "customer": {"slug": "acme", "name": "Acme"}}, AT.isoformat())])


@pytest.mark.parametrize(
    ("said", "headline", "parts"),
    [
        (silence_entry(ID, SET, "http://u"), "No claims have arrived for 14 days",
         ("expects an upload every day (cadence_days)", "Look at the export", "set cadence_days")),
        (silence_entry(ID, LEARNED, None), "No claims have arrived for 14 days",
         ("Its last 13 days with uploads were usually 3 days apart, and hardly ever over 3 days.", "Last upload")),
        (silence_entry(ID, {**SET, "has_sent": False}, None), "No claims have arrived for 14 days",
         ("It has sent nothing since it was signed up on 2026-06-01.", "none yet")),
        (sends_again_entry(ID, ENDED, None), "Resolved: claims arrive again", ("came on 2026-06-15", "send them now")),
        (sends_again_entry(ID, {**ENDED, "ending": "no longer expected"}, None), "Resolved: no upload is overdue any more",
         ("Nothing is to be done",)),
        (refused_entry(ID, "csv", "file_refused", None), "An upload was refused: none of it was loaded",
         ("could not be read as claims", "`upstream uploads acme 00000000`", "missing from every figure")),
        (refused_entry(ID, "csv", "date_order_unknown", None), "An upload was refused: none of it was loaded",
         ("day and month or as month and day", "Set date_order", "`upstream uploads acme 00000000`",
          "operator sets the mapping: `upstream customers configure acme --file FILE`")),
        (refused_entry(ID, "csv", "columns_not_found", None), "An upload was refused: none of it was loaded",
         ("Name the columns", "--write-mapping mapping.yaml`", "`upstream customers configure acme --file mapping.yaml`")),
        (refused_entry(ID, "x12_835", "cut_off", None), "An upload was refused: none of it was loaded",
         ("it was cut off", "Ask the sender for the whole file")),
        (refused_entry(ID, "x12_835", "file_refused", None), "An upload was refused: none of it was loaded",
         ("could not be read as a remittance", "Correct it")),
        (refused_entry(ID, "csv", "attempts_used_up", None), "An upload was refused: none of it was loaded",
         ("Three runs in a row", "Open the run in the Dagster UI")),
        (refused_entry(ID, "csv", "all_rows_rejected", None, ["payer_present"]), "An upload was refused: none of it was loaded",
         ("Every row of it was rejected", "payer_present", "Correct the file")),
        (quality_entry(ID, 71.4, ["payer_present", "phi_in_payer"], None), "An upload failed its quality checks",
         ("The payer is filled.", "the others were loaded", "corrected and sent again", "71 of 100")),
        (unusual_entry(ID, "csv", "usual_volume", [HALF], day=None, link=None), "An upload holds far fewer rows than usual",
         ("1,480 rows, where 3,004 are usual and 2,003 to 4,506 would be no news.", "Look whether the export was cut off",
          "`upstream uploads acme 00000000`", "40 uploads before")),
        (unusual_entry(ID, "webhook", "usual_empty_fields", [EMPTY] * 7, day=date(2026, 6, 14), link=None),
         "A day of batches (2026-06-14) leaves fields empty that are usually filled",
         ("allowed_amount is empty in 100% of 1,480 rows, where 8% is usual and up to 30% would be no news;", "; and 2 more.",
          "its column was renamed", "40 days before")),
        (unusual_entry(ID, "csv", "usual_known_rows", [{**EMPTY, "field": ""}], day=None, link=None),
         "An upload brings little that is new: most of its rows were known already",
         ("known already are 100% of 1,480 rows", "an old file was sent again")),
        (unusual_entry(ID, "csv", "usual_outcomes", [{**EMPTY, "field": "DENIED"}, {**EMPTY, "field": "PAID", "side": "low", "amount": 0}],
                       day=None, link=None), "An upload has other shares of outcomes than usual",
         ("DENIED are 100% of 1,480 rows, where 8% is usual and 0% to 30% would be no news; PAID are 0% of", "the export's filters")),
        (FAILED, "A run failed: ingest",
         ("The run stopped in step claims with StageFailedError. What", "Re-execute it", "you will be told", "Error: StageFailedError")),
        (run_failure_entry("r1", "ingest", None, None, None), "A run failed: ingest", ("The run failed. What it had stored",)),
        (run_failure_entry("r1", "ingest", None, None, None, process_died=True), "A run failed: ingest",
         ("The run's process ended without a word: it was killed",)),
        (run_failure_entry("r1", "ingest", None, None, None, never_began=True), "A run failed: ingest",
         ("The run was not started: the platform had no time", "Its work is asked for again by itself; when a later run")),
        (run_failure_entry("r1", "drift_sweep", None, None, None, process_died=True, bucket=(3, 12)), "A run failed: drift_sweep",
         ("It was to look at part 4 of 12 of all customers, this one among them, and had not come to it.",)),
        (run_failure_entry("r1", "drift_sweep", None, None, None, bucket=(0, 1)), "A run failed: drift_sweep",
         ("It was to look at all customers, this one among them",)),
        (run_recovered_entry(FAILED.content["data"], "r2", None), "Resolved: ingest runs again", ("r2", "Nothing is to be done")),
        (channel_disabled_content("hook", "webhook", "it answered 410", AT), "Alert channel hook was switched off",
         ("upstream alerts enable", "upstream alerts resend")),
        ({"type": "test", "data": {"channel": "hook", "kind": "webhook", "asked_at": str(AT), "link": None}}, "Test of the webhook channel hook",
         ("This is a test.", "upstream alerts test")),
    ],
)  # fmt: skip
def test_each_says_what_happened_and_what_to_do_next(
    said: Entry | dict[str, Any], headline: str, parts: tuple[str, ...]
) -> None:
    message = _message(said.content if isinstance(said, Entry) else said)
    assert message.subject == f"{headline} \N{EN DASH} Acme"
    for part in parts:
        assert part in message.text


def test_a_run_that_recovered_has_the_subject_of_the_one_that_failed_and_only_openings_await_an_end() -> None:
    recovered = run_recovered_entry(FAILED.content["data"], "r2", None)
    assert (recovered.subject_id, recovered.fingerprint) == (FAILED.subject_id, FAILED.fingerprint)
    assert (FAILED.ends, silence_entry(ID, SET, None).ends, quality_entry(ID, 1.0, [], None).ends) == (
        True,
        True,
        False,
    )


def test_a_score_that_is_no_number_is_null_in_the_payload() -> None:
    assert quality_entry(ID, float("nan"), ["r"], None).content["data"]["score"] is None


def test_each_kind_of_refusal_that_a_reader_names_has_words_of_its_own() -> None:
    sources = Path(upstream_pipelines.__file__).parent.rglob("*.py")
    named = {code for source in sources for code in re.findall(r'\bcode="([a-z_]+)"', source.read_text())}
    assert len(named) >= 7
    told = {
        code: wording_of(refused_entry(ID, "csv", code, None).content).sentences
        for code in [*named, "file_refused"]
    }
    assert len({sentences[0] for sentences in told.values()}) == len(told)
