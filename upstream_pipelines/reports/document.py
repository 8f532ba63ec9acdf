"""A report as people read it: sections of words, tables and pictures. HTML and PDF lay out the same document.

Belongs here: what stands where and in which words, for a reader who has never seen the product. Not here: a format.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from upstream_pipelines.drift.explanation import NAMES
from upstream_pipelines.drift.units import day_text, percent, sure_text
from upstream_pipelines.reports.charts import (
    SHOWN,
    SOURCE_NAMES,
    events_chart,
    months_chart,
    payers_chart,
    uploads_chart,
)
from upstream_pipelines.reports.models import EventPart, ReportContent, Sums, UploadPart

_NONE = "-"
_STATES = {
    "success": "loaded", "partial": "loaded in part", "failed": "refused", "received": "waiting",
    "processing": "being read",
}  # fmt: skip


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: str
    kind: Literal["paragraph"] = "paragraph"


@dataclass(frozen=True)
class Story:
    """A heading of its own with sentences: one change."""

    title: str
    sentences: tuple[str, ...]
    kind: Literal["story"] = "story"


@dataclass(frozen=True)
class Table:
    """Rows of texts; `words` columns at the left are words, the others figures. `widths`: parts of the page's width."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    widths: tuple[int, ...]
    words: int = 1
    kind: Literal["table"] = "table"


@dataclass(frozen=True)
class Picture:
    """A PNG, and what it shows, for who cannot see it."""

    png: bytes
    alternative: str
    kind: Literal["picture"] = "picture"


Block = Paragraph | Story | Table | Picture


@dataclass(frozen=True)
class Section:
    """A part of the report with a heading."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """The whole report: `facts` are its key figures, `made` says when and of what it was made."""

    title: str
    subtitle: str
    made: str
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]


def document_of(content: ReportContent) -> Document:
    """Lay a content out."""
    period, total = content.period, content.total
    facts = (
        ("Changes open in the period", _part_of(content.events_found, content.events_began, "found in it")),
        ("Claim lines submitted", _part_of(total.lines, total.decided, "decided by now")),
        ("Denied", f"{_share(total)} of the lines decided" if total.decided else "no line is decided yet"),
        ("Dollars", f"{_dollars(total.allowed)} allowed, {_dollars(total.paid)} paid"),
        ("Uploads", _uploads(content)),
    )
    return Document(
        title=f"Payer report: {content.customer_name}",
        subtitle=f"{day_text(period.first)} to {day_text(period.last)}",
        made=f"Made on {day_text(content.made_at.date())} at {content.made_at:%H:%M} UTC by Upstream Pipelines. Sums over "
        "claims only; no claim lines.",
        facts=facts,
        sections=(_changes(content), _payers(content), _quality(content), _words()),
    )


def _part_of(number: int, part: int, what: str, unit: str = "") -> str:
    """A number and how many of it, as people say it."""
    if number == 0:
        return "none"
    if number == 1:
        return f"1{unit}, {what if part else f'not {what}'}"
    which = "none" if part == 0 else "all" if part == number else f"{part:,}"
    return f"{number:,}{f'{unit}s' if unit else ''}, {which} of them {what}"


def _uploads(content: ReportContent) -> str:
    if not content.uploads_count:
        return "none"
    rows, rejected = (sum(getattr(part, name) for part in content.sources) for name in ("rows", "rejected"))
    return f"{content.uploads_count:,} with {_part_of(rows, rejected, 'rejected', ' row') if rows else 'no rows'}"


def _changes(content: ReportContent) -> Section:
    title = "What changed in how payers treat claims"
    if not content.events:
        return Section(
            title,
            (Paragraph(f"No payer's behaviour was found to have changed in this period. {_too_little(content)}"),),
        )
    blocks: list[Block] = [
        Paragraph(
            "Changes that were open on any day of the period, also those that began earlier. Their figures are those of the "
            f"newest day on which they were looked at. {_too_little(content)}"
        ),
        Picture(
            events_chart(content.events, content.period),
            "When each change began and ended; the table below has the same days",
        ),
        Table(
            ("Payer", "What", "For you", "Since", "Before", "Now", "Change", "Sure", "Severity", "A month"),
            tuple(_event_row(event) for event in content.events),
            (15, 12, 9, 15, 10, 10, 13, 10, 8, 10),
            words=4,
        ),
    ]
    blocks += [Story(event.headline, (*_status(event), *event.sentences)) for event in content.events]
    if len(content.events) > SHOWN:
        blocks.insert(2, Paragraph(f"The picture shows the first {SHOWN} of {content.events_found:,}."))
    if content.events_found > len(content.events):
        blocks.append(
            Paragraph(
                f"Listed are {len(content.events)} of {content.events_found:,}: the live ones first, then the newest."
            )
        )
    return Section(title, tuple(blocks))


def _too_little(content: ReportContent) -> str:
    thin = content.too_little
    if thin is None:
        return "No day of the period was looked at, so that no change could be found in it."
    on = f"On the last day looked at, {day_text(thin.as_of)},"
    if not thin.pairs:
        return f"{on} no comparison lacked data."
    return (
        f"{on} {_many(thin.pairs, 'comparison')} of a payer in one respect ({_many(thin.payers, 'payer')}) could not be made for want "
        "of data: a change there is not seen yet."
    )


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _event_row(event: EventPart) -> tuple[str, ...]:
    # The newest figures of a change that is over are of days that deny it: "0.0 %" sure is no word on what was found.
    sure, severity, money = (
        (_NONE, _NONE, _NONE)
        if event.over
        else (sure_text(event.confidence) or _NONE, _part(event.severity), event.money_text)
    )
    return (
        event.payer, NAMES[event.signal], _direction(event), event.since_text, event.before_text, event.now_text,
        event.change_text, sure, severity, money,
    )  # fmt: skip


def _direction(event: EventPart) -> str:
    if event.cause == "data":
        return "your data"
    return {"worsening": "worse", "improving": "better"}.get(event.direction, "not clear")


def _status(event: EventPart) -> tuple[str, ...]:
    found = f"Found on {day_text(event.opened_on)}"
    over = f"; over since {day_text(event.resolved_on)}" if event.resolved_on is not None else "; it goes on"
    return (f"{found}{over}.",)


def _payers(content: ReportContent) -> Section:
    title = "Payers"
    if not content.payers:
        return Section(title, (Paragraph("No claim line was submitted in this period."),))
    blocks: list[Block] = [
        Paragraph(
            "Claim lines submitted in the period, by payer, with what was decided of them by now. The youngest are still "
            "waiting, so the share denied counts those decided alone. The first decision of a line counts; contractual "
            "adjustments and what the patient owes are no denials."
        ),
        Picture(
            payers_chart(content.payers), "Share denied, dollars allowed and paid, by payer, as in the table below"
        ),
        Table(
            ("Payer", "Lines", "Decided", "Waiting", "Denied", "Share", "Billed", "Allowed", "Paid"),
            (
                *((part.payer, *_sums_row(part.sums)) for part in content.payers),
                ("All payers", *_sums_row(content.total)),
            ),
            (24, 9, 9, 9, 9, 9, 13, 13, 13),
        ),
    ]
    if len(content.months) > 1:
        blocks += [
            Picture(months_chart(content.months), "Lines and share denied by month, as in the table below"),
            Table(
                ("Month", "Lines", "Decided", "Waiting", "Denied", "Share", "Billed", "Allowed", "Paid"),
                tuple((f"{part.month:%B} {part.month.year}", *_sums_row(part.sums)) for part in content.months),
                (24, 9, 9, 9, 9, 9, 13, 13, 13),
            ),
        ]
    return Section(title, tuple(blocks))


def _sums_row(sums: Sums) -> tuple[str, ...]:
    return (
        f"{sums.lines:,}", f"{sums.decided:,}", f"{sums.waiting:,}", f"{sums.denied:,}", _share(sums),
        _dollars(sums.billed), _dollars(sums.allowed), _dollars(sums.paid),
    )  # fmt: skip


def _quality(content: ReportContent) -> Section:
    title = "Quality of what was sent"
    if not content.sources:
        return Section(title, (Paragraph("No upload was received in this period."),))
    blocks: list[Block] = [
        Paragraph(
            "Each upload is judged by fixed rules; its score is 100 where no row broke one and none was rejected. Rows that "
            "were rejected are in no figure above."
        ),
        Table(
            ("Sent as", "Uploads", "Refused", "Waiting", "Rows", "Accepted", "Rejected", "Duplicates", "Score"),
            tuple(
                (
                    SOURCE_NAMES.get(part.source, part.source), f"{part.uploads:,}", f"{part.failed:,}",
                    f"{part.waiting:,}", f"{part.rows:,}", f"{part.accepted:,}", f"{part.rejected:,}",
                    f"{part.duplicates:,}", _score(part.score),
                )
                for part in content.sources
            ),
            (24, 9, 9, 9, 11, 11, 11, 11, 9),
        ),
    ]  # fmt: skip
    if content.rules:
        blocks += [
            Paragraph("The rules that were broken most, the gravest first:"),
            Table(
                ("Rule", "Grade", "Uploads", "Rows looked at", "Rows that broke it", "Score"),
                tuple(
                    (
                        part.description, part.severity, f"{part.uploads:,}", f"{part.checked_rows:,}",
                        f"{part.failing_rows:,}", _score(part.score),
                    )
                    for part in content.rules
                ),
                (44, 11, 10, 14, 14, 9),
                words=2,
            ),
        ]  # fmt: skip
    if sum(one.score is not None for one in content.uploads) > 1:
        blocks.append(
            Picture(uploads_chart(content.uploads, content.period), "Scores of the uploads below by day")
        )
    listed = len(content.uploads)
    if listed < content.uploads_count:
        blocks.append(
            Paragraph(
                f"The {listed:,} uploads with the most trouble, of {content.uploads_count:,}; the newest first:"
            )
        )
    blocks.append(
        Table(
            (
                "Received (UTC)",
                "Sent as",
                "State",
                "Upload",
                "Rows",
                "Accepted",
                "Rejected",
                "Duplicates",
                "Score",
            ),
            tuple(_upload_row(one) for one in content.uploads),
            (18, 20, 14, 11, 10, 11, 11, 11, 8),
            words=4,
        )
    )
    return Section(title, tuple(blocks))


def _upload_row(one: UploadPart) -> tuple[str, ...]:
    state = _STATES.get(one.status, one.status)
    return (
        f"{one.received_at:%Y-%m-%d %H:%M}", SOURCE_NAMES.get(one.source, one.source),
        f"{state} ({one.error_code})" if one.error_code else state, one.upload_id[:8],
        f"{one.rows:,}" if one.rows is not None else _NONE, f"{one.accepted:,}", f"{one.rejected:,}",
        f"{one.duplicates:,}", _score(one.score),
    )  # fmt: skip


def _words() -> Section:
    """What the words of the tables mean."""
    return Section(
        "How to read this",
        (
            Table(
                ("Word", "Means"),
                (
                    ("claim line", "one procedure billed on one claim"),
                    ("denial rate", "share of the decided lines that the payer denied"),
                    ("decision time", "days from the submission of a line to the payer's decision"),
                    ("allowed amount", "what the payer allows for the same procedures; 100 % is what it was before"),
                    ("claim volume", "lines submitted to the payer in a week"),
                    ("procedure mix", "share of lines that are of other procedures than before"),
                    ("authorization denials", "share of the decided lines denied for a missing authorization"),
                    ("sure", ("how sure it is that something changed at all: 100 % less the share of all findings of the same look "
                              "at least as clear that come about by chance alone; not said of a change that is over")),
                    ("severity", ("how much it matters: its size against what is material and the payer's share of "
                                 "the dollars, from 0 to 100 %; not said of a change that is over")),
                    ("a month", ('dollars a month that the change costs, with a plus those that it brings; "once": dollars '
                                "that are outstanding at any time; not said of a change that is over")),
                    ("your data", "the customer's own files or settings explain the change, not the payer"),
                    ("score", "100: every row of an upload held by every rule, and none was rejected"),
                ),
                (26, 96),
                words=2,
            ),
        ),
    )  # fmt: skip


def _share(sums: Sums) -> str:
    return percent(sums.denied_share) if sums.denied_share is not None else _NONE


def _part(value: float | None) -> str:
    return percent(value, 0) if value is not None else _NONE


def _score(score: float | None) -> str:
    return f"{score:.2f}" if score is not None else _NONE


def _dollars(amount: Decimal) -> str:
    return f"${amount:,.0f}"
