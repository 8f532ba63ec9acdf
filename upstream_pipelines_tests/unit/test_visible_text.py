"""Characters that nobody sees and that turn or hide what stands around them: out of names, and out of what is shown."""

from __future__ import annotations

import uuid
from datetime import date

import pandas as pd
import pyarrow as pa
import pytest

from upstream_pipelines.alerts.content import escape_slack
from upstream_pipelines.alerts.notices import drift_entry
from upstream_pipelines.claims.mapping import ClaimMapping
from upstream_pipelines.claims.normalise import type_block
from upstream_pipelines.defs.tables import markdown_table
from upstream_pipelines.visible import visible
from upstream_pipelines_tests.unit.test_alert_content import _message, _notice

TURNED = "Aet\u202ena\u2066 He\u200balth\u2028Plan\x9b"
SEEN = "Aetna Health Plan"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (TURNED, SEEN), ("Krankenkasse Zürich", "Krankenkasse Zürich"), ("10.1\u00a0%", "10.1\u00a0%"), ("a\nb", "a\nb"),
        ("a\tb\x07c", "a bc"), ("", ""), ("保険 → “x”", "保険 → “x”"), ("\ufeffAetna", "Aetna"), ("\ud800x", "x"),
    ],
)  # fmt: skip
def test_what_is_seen_stays_and_what_turns_or_hides_it_goes(text: str, seen: str) -> None:
    assert visible(text) == seen


@pytest.mark.parametrize("field", ["payer", "facility"])
def test_names_are_read_without_them(field: str) -> None:
    cells = [TURNED, "\u200e", "Cigna", None]
    frame = pd.DataFrame({field: cells}, dtype=pd.ArrowDtype(pa.string()))
    typed = type_block(frame, ClaimMapping(), "MDY")
    assert typed.columns[field].to_pylist() == [SEEN, None, "Cigna", None]


def test_an_alias_is_read_like_the_name_in_the_file() -> None:
    assert ClaimMapping(payer_aliases={TURNED: "Aetna\u200f"}).payer_aliases == {SEEN: "Aetna"}


def test_no_message_and_no_table_holds_one() -> None:
    """Names from before they were taken out are stored as they came."""
    notice = _notice(
        event_id=uuid.UUID(int=9), payer=TURNED, headline=f"{TURNED} denies more", sentences=(f"{TURNED} denies more.",),
        facts=(("Payer", TURNED),), change_date=date(2026, 4, 2),
    )  # fmt: skip
    message = _message(drift_entry(notice), name=TURNED)
    table = markdown_table(("payer",), [[TURNED]], "none").md_str or ""
    for told in (message.subject, message.text, message.html, str(message.blocks[0]["text"]["text"]), table):
        assert SEEN in told
        assert not set("\u202e\u2066\u200b\u2028\x9b") & set(told)
    assert escape_slack(TURNED) == SEEN
