"""The files of a report: they say the same, load nothing, run nothing, and are the same for the same content."""

from __future__ import annotations

import base64
import io
import re
import zipfile
from dataclasses import fields, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import openpyxl
import pandas as pd
import pypdf
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from upstream_pipelines.errors import InvalidInputError
from upstream_pipelines.reports.charts import _label
from upstream_pipelines.reports.content import _event
from upstream_pipelines.reports.document import Paragraph, Table, document_of
from upstream_pipelines.reports.models import (
    EventPart,
    Format,
    MonthPart,
    PayerPart,
    Period,
    ReportContent,
    RulePart,
    SourcePart,
    Sums,
    TooLittle,
    UploadPart,
    checked_period,
    last_full_month,
)
from upstream_pipelines.reports.rendering import render
from upstream_pipelines.reports.spreadsheets import render_csv, render_xlsx
from upstream_pipelines.reports.tables import cell_text, sheets_of
from upstream_pipelines_tests.unit.drift_rows import ROW

MADE = datetime(2026, 6, 1, 8, 0, tzinfo=UTC)
# Scripts, formulas, formats, a right-to-left mark; letters of four alphabets, of which the font has all.
HOSTILE = '=HYPERLINK("http://x.example")<script src=//x.example>&$a$\u202eŁódź Ærø Αθήνα Ёлка'


def _content(payer: str = HOSTILE) -> ReportContent:
    event = EventPart(
        event_id="77daaba3-44aa-5e9a-ac0a-ea2614ee666b", payer=payer, signal="denial_rate", direction="worsening",
        state="updated", cause="payer", started_on=date(2026, 5, 2), opened_on=date(2026, 5, 12), resolved_on=None,
        began_in_period=True, as_of=date(2026, 6, 1), before=0.1, now=0.25, change=-0.15, confidence=0.99, severity=0.5,
        dollars=Decimal("1234.50"), dollars_low=Decimal("-10.00"), dollars_high=Decimal("2000.00"), outstanding=False,
        gain=False, headline=f"{payer} denies more: 10 % → 25 %", sentences=(f"{payer} denies more.",),
        before_text="10.0 %", now_text="25.0 %", change_text="+15.0 points", since_text="about May 2",
        money_text="$1,200", over=False,
    )  # fmt: skip
    sums = Sums(200, 100, 25, Decimal("5000.00"), Decimal("3000.25"), Decimal("2000.10"))
    none = Sums(3, 0, 0, Decimal(0), Decimal(0), Decimal(0))
    return ReportContent(
        customer_slug="acme", customer_name="Acme & Söhne", period=Period(date(2026, 4, 1), date(2026, 6, 1)), made_at=MADE,
        events=(event, replace(event, state="resolved", over=True, resolved_on=date(2026, 5, 30), cause="data", as_of=None, before=None,
                               now=None, change=None, dollars=None, dollars_low=None, dollars_high=None)),
        events_found=2, events_began=2, too_little=TooLittle(date(2026, 5, 31), 14, 3), payers=(PayerPart(payer, sums), PayerPart("(1 payer with fewer than 11 lines)", none)),
        months=(MonthPart(date(2026, 4, 1), sums), MonthPart(date(2026, 5, 1), none)),
        uploads=tuple(
            UploadPart(f"{number}daaba3-44aa", MADE.replace(month=5, day=number), source, status, 10, 9, 1, 0, score, code)
            for number, source, status, score, code in (
                (4, "csv", "partial", 88.5, None), (3, "webhook", "success", 99.99, None), (2, "csv", "failed", None, "file_refused"),
            )
        ),
        sources=(SourcePart("csv", 2, 1, 0, 20, 18, 2, 0, 88.5), SourcePart("webhook", 1, 0, 0, 10, 9, 1, 0, 99.99)),
        rules=(RulePart("payer_present", "The payer is filled.", "error", 1, 30, 2, 93.33),),
    )  # fmt: skip


@pytest.fixture(scope="module")
def files() -> dict[Format, bytes]:
    return render(_content())


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [
            value or "" for name, value in attrs if name in {"src", "href", "srcset", "action", "data"}
        ]


def test_the_page_shows_a_hostile_name_as_text_and_loads_nothing(files: dict[Format, bytes]) -> None:
    """Most likely wrong: a name that reaches the page without being escaped, a picture that lies elsewhere."""
    seen = _Tags()
    seen.feed(files["html"].decode())
    assert "script" not in seen.tags
    assert len(seen.loaded) == 4
    for address in seen.loaded:
        kind, _, content = address.partition(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(content).startswith(b"\x89PNG")
    text = files["html"].decode()
    assert "@import" not in text
    assert "url(" not in text
    assert "&lt;script src=//x.example&gt;" in text
    assert "\u202e" not in text
    for said in (
        "April 1, 2026 to May 31, 2026",
        "25.0",
        "$3,000",
        "refused (file_refused)",
        "The payer is filled.",
    ):
        assert said in text


def test_the_pdf_holds_the_same_words_in_any_alphabet(files: dict[Format, bytes]) -> None:
    pdf = pypdf.PdfReader(io.BytesIO(files["pdf"]))
    text = " ".join(" ".join(page.extract_text() for page in pdf.pages).split())
    for said in ("Acme & Söhne", "Łódź", "Ærø", "Αθήνα", "Ёлка", "25.0", "$3,000", "The payer is filled.", "1 / "):
        assert said in text, said
    assert pdf.metadata is not None
    assert pdf.metadata.creation_date == MADE
    assert sum(len(page.images) for page in pdf.pages) == 4


def test_the_workbook_has_numbers_as_numbers_and_no_formula(files: dict[Format, bytes]) -> None:
    book = openpyxl.load_workbook(io.BytesIO(files["xlsx"]))
    assert book.sheetnames == ["report", "events", "payers", "months", "sources", "uploads", "rules"]
    kinds = {cell.data_type for sheet in book for row in sheet.iter_rows() for cell in row}
    assert "f" not in kinds
    head, first, _ = book["payers"].iter_rows(values_only=True)
    row = dict(zip(head, first, strict=True))
    assert row["payer"] == f"'{HOSTILE}".replace("\u202e", "")
    assert (row["lines"], row["denied_share"], row["allowed"]) == (200, 0.25, 3000.25)
    _, event, _ = book["events"].iter_rows(values_only=True)
    assert datetime(2026, 5, 2) in event
    assert -0.15 in event


def test_the_csv_is_one_table_with_all_figures(files: dict[Format, bytes]) -> None:
    frame = pd.read_csv(io.BytesIO(files["csv"]), dtype=str, keep_default_na=False)
    assert frame["section"].value_counts().to_dict() == {
        "uploads": 3, "events": 2, "payers": 2, "months": 2, "sources": 2, "report": 1, "rules": 1,
    }  # fmt: skip
    payer = frame[frame["section"] == "payers"].iloc[0]
    assert (payer["lines"], payer["denied_share"], payer["allowed"], payer["paid"]) == (
        "200",
        "0.25",
        "3000.25",
        "2000.10",
    )
    event = frame[frame["section"] == "events"].iloc[0]
    assert (event["opened_on"], event["change"], event["dollars_low"], event["outstanding"]) == (
        "2026-05-12", "-0.15", "-10.00", "no",
    )  # fmt: skip


def test_the_same_content_gives_the_same_bytes_at_any_time(
    files: dict[Format, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 2e9)
    again = render(_content())
    assert {name: again[name] == content for name, content in files.items()} == dict.fromkeys(files, True)
    with zipfile.ZipFile(io.BytesIO(files["xlsx"])) as archive:
        core = archive.read("docProps/core.xml").decode()
        assert {part.date_time for part in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert set(re.findall(r">(\d{4}-[^<]*)<", core)) == {"2026-06-01T08:00:00Z"}


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_TEXTS = st.one_of(
    st.text(max_size=12),
    st.tuples(st.text(alphabet=" \t\r\n\u200b\u202e\xad\x00\uffff'\"", max_size=3), st.sampled_from(_FORMULA), st.text(max_size=5)).map("".join),
)  # fmt: skip


@examples(max_examples=300, deadline=None)
@given(_TEXTS)
def test_no_cell_begins_like_a_formula(text: str) -> None:
    """Also where something that nobody sees stands before the sign."""
    seen = cell_text(text)
    assert not seen.startswith(_FORMULA)
    assert seen.removeprefix("'") == cell_text(text.strip()).removeprefix("'")


@examples(max_examples=12, deadline=None)
@given(_TEXTS)
def test_no_text_of_a_spreadsheet_begins_like_a_formula(text: str) -> None:
    sheets = sheets_of(replace(_content(text), customer_name=text))
    frame = pd.read_csv(io.BytesIO(render_csv(sheets)), dtype=str, keep_default_na=False)
    for cell in frame.to_numpy().ravel():
        assert not cell.startswith(_FORMULA) or re.fullmatch(r"-\d+(\.\d+)?", cell), cell
    book = openpyxl.load_workbook(io.BytesIO(render_xlsx(sheets[:1], MADE)))
    for row in book["report"].iter_rows():
        for cell in row:
            assert cell.data_type != "f"
            assert not str(cell.value).startswith(_FORMULA)


def test_of_a_change_that_is_over_the_table_says_neither_how_sure_nor_how_severe_nor_what_it_costs() -> None:
    """Its newest figures are those of days that deny it: "0.0 %" sure was said of changes that had been found."""
    going, resolved = _content().events
    content = replace(_content(), events=(going, replace(going, over=True), resolved))
    table = next(block for block in document_of(content).sections[0].blocks if isinstance(block, Table))
    columns = [table.headers.index(name) for name in ("Sure", "Severity", "A month")]
    shown = [[row[column].replace("\N{NO-BREAK SPACE}", " ") for column in columns] for row in table.rows]
    assert shown == [["99.0 %", "50 %", "$1,200"], ["-", "-", "-"], ["-", "-", "-"]]


@pytest.mark.parametrize(
    ("state", "row", "over"),
    [
        ("updated", {"state": "updated"}, False),
        ("updated", {"state": "updated", "detail": {**ROW["detail"], "calm_since": "2026-04-20"}}, True),
        ("resolved", {"state": "resolved"}, True),
        ("resolved", {"state": "updated"}, True),
        ("resolved", None, True),
        ("updated", None, False),
    ],
    ids=[
        "goes on",
        "calm",
        "resolved",
        "ended after its last comparison",
        "never compared",
        "looks kept no longer",
    ],
)
def test_a_change_is_over_that_has_ended_or_whose_figures_deny_it(
    state: str, row: dict[str, Any] | None, over: bool
) -> None:
    found = {
        "event_id": "77daaba3-44aa-5e9a-ac0a-ea2614ee666b", "payer": "Alpha", "signal": "denial_rate",
        "direction": "worsening", "state": state, "cause": "payer", "started_on": date(2026, 3, 5),
        "opened_on": date(2026, 3, 20), "resolved_on": date(2026, 5, 2) if state == "resolved" else None,
        "reason": "payer_gone" if state == "resolved" else None, "row": None if row is None else {**ROW, **row},
    }  # fmt: skip
    assert _event(found, Period(date(2026, 4, 1), date(2026, 6, 1))).over is over


def test_what_is_empty_is_said_in_words() -> None:
    empty: dict[str, Any] = {field.name: () for field in fields(ReportContent) if field.name in {
        "events", "payers", "months", "uploads", "sources", "rules"}}  # fmt: skip
    content = replace(_content(), **empty)
    text = render(content)["html"].decode()
    for said in ("No payer&#39;s behaviour was found", "No claim line was submitted", "No upload was received"):
        assert said in text
    assert "<img" not in text
    assert [told for _, told in document_of(content).facts] == [
        "2, all of them found in it", "none", "no line is decided yet", "$0 allowed, $0 paid", "none",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("events", "lines", "rows", "told"),
    [
        ((0, 0), (0, 0), (0, 0), ("none", "none", "1 with no rows")),
        ((1, 0), (1, 1), (1, 0), ("1, not found in it", "1, decided by now", "1 with 1 row, not rejected")),
        ((3, 0), (1200, 0), (1200, 0), (
            "3, none of them found in it", "1,200, none of them decided by now", "1 with 1,200 rows, none of them rejected")),
        ((3, 2), (9, 9), (9, 8), ("3, 2 of them found in it", "9, all of them decided by now", "1 with 9 rows, 8 of them rejected")),
    ],
)  # fmt: skip
def test_figures_and_their_parts_are_said_as_people_say_them(
    events: tuple[int, int], lines: tuple[int, int], rows: tuple[int, int], told: tuple[str, ...]
) -> None:
    sums = Sums(*lines, 0, Decimal(0), Decimal(0), Decimal(0))
    content = replace(
        _content(), events_found=events[0], events_began=events[1], payers=(PayerPart("Aetna", sums),),
        sources=(SourcePart("csv", 1, 0, 0, rows[0], rows[0] - rows[1], rows[1], 0, None),),
    )  # fmt: skip
    facts = dict(document_of(content).facts)
    shown = (facts["Changes open in the period"], facts["Claim lines submitted"], facts["Uploads"])
    assert shown == told


@pytest.mark.parametrize(
    ("too_little", "said"),
    [
        (None, "No day of the period was looked at"), (TooLittle(date(2026, 5, 31), 0, 0), "May 31, 2026, no comparison lacked data."),
        (TooLittle(date(2026, 5, 31), 1, 1), "1 comparison of a payer in one respect (1 payer) could not be made"),
        (TooLittle(date(2026, 5, 31), 1400, 300), "1,400 comparisons of a payer in one respect (300 payers) could not"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("events", [True, False], ids=["with changes", "without"])
def test_what_could_not_be_compared_is_said_in_one_sentence(
    too_little: TooLittle | None, said: str, events: bool
) -> None:
    content = replace(_content(), too_little=too_little)
    changes = document_of(content if events else replace(content, events=())).sections[0]
    text = " ".join(block.text for block in changes.blocks if isinstance(block, Paragraph))
    assert text.count(said) == 1


def test_a_long_name_beside_its_bar_is_broken_and_not_cut() -> None:
    assert _label("(2 payers with fewer than 11 lines)") == "(2 payers with fewer\nthan 11 lines)"
    assert _label("x" * 99) == "x" * 24 + "\n…"


def test_a_period_that_cannot_be_is_refused_in_words() -> None:
    today = date(2026, 6, 1)
    assert checked_period(date(2026, 6, 1), date(2026, 6, 2), today).last == today
    for first, until, said in (
        (today, today, "lies after"), (today, date(2026, 5, 1), "lies after"), (date(2025, 4, 1), today, "400 days"),
        (today, date(2026, 6, 3), "future"), (date(1969, 12, 1), date(1970, 2, 1), "1970"),
    ):  # fmt: skip
        with pytest.raises(InvalidInputError, match=said):
            checked_period(first, until, today)
    assert last_full_month(date(2026, 3, 31)) == Period(date(2026, 2, 1), date(2026, 3, 1))
    assert last_full_month(date(2026, 1, 1)) == Period(date(2025, 12, 1), date(2026, 1, 1))
