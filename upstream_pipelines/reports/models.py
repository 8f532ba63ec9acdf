"""What a report is of and what it holds, as values. Not here: reading it (content.py), laying it out, keeping it (store.py)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Literal

from upstream_pipelines.errors import InvalidInputError

MOST_DAYS = 400
"""A year and a month: the same month of last year is in it. Longer ones would be lists that nobody reads."""

FIRST_DAY = date(1970, 1, 1)
"""No claim has an earlier day (rule `date_form`), and Excel knows none before 1900."""

Format = Literal["html", "pdf", "xlsx", "csv"]
FORMATS: tuple[Format, ...] = ("html", "pdf", "xlsx", "csv")


@dataclass(frozen=True)
class Period:
    """Days from `first` on, up to the day before `until`."""

    first: date
    until: date

    @property
    def last(self) -> date:
        """The last day inside."""
        return self.until - timedelta(days=1)


def checked_period(first: date, until: date, today: date) -> Period:
    """The period of a report; `today` may be its last day.

    Raises:
        InvalidInputError: it is empty or turned round, too long, or reaches into the future.
    """
    if until <= first:
        raise InvalidInputError("until is the day after the last one of the report, so it lies after from.")
    if (until - first).days > MOST_DAYS:
        raise InvalidInputError(f"A report is of {MOST_DAYS} days at most. Ask for several of fewer days.")
    if first < FIRST_DAY:
        raise InvalidInputError(f"There are no claims from before {FIRST_DAY}. Begin the period there or later.")
    if until > today + timedelta(days=1):
        raise InvalidInputError(
            f"The period reaches into the future: until is {today + timedelta(days=1)} at most (UTC), the day after today."
        )
    return Period(first, until)


def last_full_month(today: date) -> Period:
    """The month before that of `today`."""
    until = today.replace(day=1)
    return Period((until - timedelta(days=1)).replace(day=1), until)


def file_stem(slug: str, period: Period) -> str:
    """How the files of a report are called, without their ending."""
    return f"{slug}-report-{period.first.isoformat()}-to-{period.last.isoformat()}"


@dataclass(frozen=True)
class EventPart:
    """A drift event that was open at some time of the period, with the figures of its newest look (day `as_of`), as the
    pages of the event have them.

    `before`, `now` and `change` are in the signal's unit (rates and shares 0..1, days, relative price, lines a week); None
    where no look that compares two periods is kept. `confidence`, `severity`: 0..1. Dollars: a month, or with
    `outstanding` those outstanding at any time; `gain` where the change is for the better; None where nothing is known, or
    the customer's own data is the cause. `over`: it has ended, or its figures are those of days that deny the change. The
    texts say the same to people.
    """

    event_id: str
    payer: str
    signal: str
    direction: str
    state: str
    cause: str
    started_on: date
    opened_on: date
    resolved_on: date | None
    began_in_period: bool
    as_of: date | None
    before: float | None
    now: float | None
    change: float | None
    confidence: float | None
    severity: float | None
    dollars: Decimal | None
    dollars_low: Decimal | None
    dollars_high: Decimal | None
    outstanding: bool
    gain: bool
    headline: str
    sentences: tuple[str, ...]
    before_text: str
    now_text: str
    change_text: str
    since_text: str
    money_text: str
    over: bool


@dataclass(frozen=True)
class TooLittle:
    """What could not be compared on the last day of the period that was looked at: pairs of a payer and a signal, of so many
    payers.
    """

    as_of: date
    pairs: int
    payers: int


@dataclass(frozen=True)
class Sums:
    """Lines submitted in a span of days, how many of them were decided and denied by now, and dollars; counted as drift
    counts, by first decisions.
    """

    lines: int
    decided: int
    denied: int
    billed: Decimal
    allowed: Decimal
    paid: Decimal

    @property
    def denied_share(self) -> float | None:
        """Of those decided, 0..1 to six digits; None of none."""
        return round(self.denied / self.decided, 6) if self.decided else None

    @property
    def waiting(self) -> int:
        """Lines without a decision yet."""
        return self.lines - self.decided

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.lines + other.lines, self.decided + other.decided, self.denied + other.denied,
            self.billed + other.billed, self.allowed + other.allowed, self.paid + other.paid,
        )  # fmt: skip


NOTHING = Sums(0, 0, 0, Decimal(0), Decimal(0), Decimal(0))


@dataclass(frozen=True)
class PayerPart:
    """A payer's sums over the period. Payers of few lines, and those after the largest, are one without a name of theirs."""

    payer: str
    sums: Sums


@dataclass(frozen=True)
class MonthPart:
    """The sums of all payers in a month (its first day), as far as it lies in the period."""

    month: date
    sums: Sums


@dataclass(frozen=True)
class UploadPart:
    """An upload that came in the period; without its file's name, which may be a patient's. `score`: 0..100, None unjudged; `rows`:
    None where they were not counted, as of one that was refused before all of it was read.
    """

    upload_id: str
    received_at: datetime
    source: str
    status: str
    rows: int | None
    accepted: int
    rejected: int
    duplicates: int
    score: float | None
    error_code: str | None


@dataclass(frozen=True)
class SourcePart:
    """All uploads of a source in the period; `score` is their mean, weighed by rows."""

    source: str
    uploads: int
    failed: int
    waiting: int
    rows: int
    accepted: int
    rejected: int
    duplicates: int
    score: float | None


@dataclass(frozen=True)
class RulePart:
    """A quality rule that rows of the period broke: in how many uploads, of how many rows. `score`: 0..100, those that hold."""

    rule: str
    description: str
    severity: str
    uploads: int
    checked_rows: int
    failing_rows: int
    score: float | None


@dataclass(frozen=True)
class ReportContent:
    """All that a report says, read at one moment (`made_at`, UTC, whole seconds): sums and counts, nothing of a single claim.

    Equal contents give equal files. `uploads` are at most the 200 with the most trouble, the newest first; `sources` count
    all of them. `events` are at most 100, the live ones first; there are `events_found`, of which `events_began` in the period.
    `too_little`: None where no day of the period was looked at.
    """

    customer_slug: str
    customer_name: str
    period: Period
    made_at: datetime
    events: tuple[EventPart, ...]
    events_found: int
    events_began: int
    too_little: TooLittle | None
    payers: tuple[PayerPart, ...]
    months: tuple[MonthPart, ...]
    uploads: tuple[UploadPart, ...]
    sources: tuple[SourcePart, ...]
    rules: tuple[RulePart, ...]

    @property
    def total(self) -> Sums:
        """The sums of all payers."""
        return sum((part.sums for part in self.payers), NOTHING)

    @property
    def uploads_count(self) -> int:
        """Uploads of the period, listed or not."""
        return sum(part.uploads for part in self.sources)
