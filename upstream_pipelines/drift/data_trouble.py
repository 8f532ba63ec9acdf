"""Whether a change is the payer's, or comes from the customer's own files and mappings: "data, not payer".

Belongs here: which troubles explain a row of a look, the cause that follows, and its words. Not here: finding the
troubles, in the counts (source_patterns.py) or among the uploads
(upload_troubles.py).

A trouble explains a change when it began about when the change did and still covers a fair part of the days that are
compared. So a hole that was filled, or a file that was refused once, explains less and less, and a change that
outlives it turns to cause "payer".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from upstream_pipelines.drift.events import Cause, DriftEvent

TroubleCode = Literal[
    "renamed_payer", "unmapped_alias", "all_payers_at_once", "days_without_claims", "late_file", "failed_upload",
    "partial_upload", "failing_quality", "resent_file",
]  # fmt: skip
CODES: tuple[TroubleCode, ...] = get_args(TroubleCode)

NEAR_DAYS = 10  # between the beginnings of trouble and change: a change date is rarely known better
SPREADING_DAYS = (
    60  # a renamed payer's last claims are decided over two months, and change its decisions till then
)
COVERED_SHARE = 0.25  # of the days compared: a quarter of the days at nothing is a material change of any signal
CLEAR_DAYS = 7  # without an explanation make the payer the cause
JUDGED_STATES = frozenset({"watch", "open", "updated"})


@dataclass(frozen=True)
class Trouble:
    """Something wrong with the data of `first_day` to `last_day` (None: it goes on), of some payers (None: all).

    `by`: whether submission or decision days lack something (None: both). `known_on`: the day on which it could be
    seen (None: it is in the counts themselves), `cleared_on` that on which a corrected file came.
    """

    code: TroubleCode
    first_day: date
    last_day: date | None
    payers: tuple[str, ...] | None = None
    by: Literal["decision", "submission"] | None = None
    known_on: date | None = None
    cleared_on: date | None = None


def known_before(troubles: Iterable[Trouble], as_of: date) -> list[Trouble]:
    """Those a look at `as_of` may know of and which were not put right by then; neighbours of a kind are joined."""
    told = [
        trouble
        for trouble in troubles
        if (trouble.known_on is None or trouble.known_on < as_of)
        and (trouble.cleared_on is None or trouble.cleared_on >= as_of)
    ]
    joined: list[Trouble] = []
    for trouble in sorted(told, key=lambda item: (item.code, item.payers or (), item.by or "", item.first_day)):
        last = joined[-1] if joined else None
        same = last is not None and (last.code, last.payers, last.by) == (trouble.code, trouble.payers, trouble.by)
        # Uploads cover the days since the one before them: trouble in each makes one stretch.
        if last is not None and same and (last.last_day is None or trouble.first_day <= _next(last.last_day)):
            ends = (
                None if last.last_day is None or trouble.last_day is None else max(last.last_day, trouble.last_day)
            )
            joined[-1] = Trouble(trouble.code, last.first_day, ends, trouble.payers, trouble.by)
        else:
            joined.append(Trouble(trouble.code, trouble.first_day, trouble.last_day, trouble.payers, trouble.by))
    return joined


def with_causes(
    rows: Sequence[dict[str, Any]], events: Sequence[DriftEvent], found: Sequence[Mapping[str, dict[str, Any]]]
) -> list[DriftEvent]:
    """Give each row its `cause` and, where it is "data", its reasons in `detail`; returns the events with the same.

    `found`, one for each row: what explains it, by code (`explanations`).
    """
    by_id = {event.event_id: event for event in events}
    for row, explained in zip(rows, found, strict=True):
        event, codes = by_id.get(row["event_id"]), dict(explained)
        if event is not None:
            clear_since = None
            if not codes and event.cause == "data":
                clear_since = event.memory.clear_since or event.last_look
                if _still_data(event, clear_since):
                    codes = {code: {} for code in event.memory.data_reasons}
            cause: Cause = "data" if codes else "payer"
            memory = event.memory.model_copy(
                update={"data_reasons": tuple(codes), "clear_since": clear_since if codes else None}
            )
            by_id[event.event_id] = event.model_copy(update={"cause": cause, "memory": memory})
        row["cause"] = "data" if codes else "payer"
        if codes:
            row["detail"] |= {"data_reasons": list(codes), "data_about": codes}
    return list(by_id.values())


def _still_data(event: DriftEvent, clear_since: date) -> bool:
    """Whether a change that nothing explains any more is the data's still: when it is over, on its way back, or that
    has held for a few days only. Nobody is to be told of a payer for the two looks a pattern is hard to see.
    """
    on_its_way = event.state == "resolved" or event.memory.calm_since is not None
    return on_its_way or (event.last_look - clear_since).days < CLEAR_DAYS


def announcements(row: Mapping[str, Any], before: Cause | None) -> list[tuple[Literal["open", "resolved"], Cause]]:
    """What is told of a row, and to whom: those who watch payers (cause "payer") or the data ("data").

    `before` is the cause of the event before this look. An event that turns out to be the payer's is over for those
    who watch the data and opens for those who watch payers; one that turns out to be data opens for the former, and
    stays open for those who were told of a payer until it is over. An ending reaches who was told of the opening.
    """
    cause: Cause = row["cause"]
    if row["state"] == "open":
        return [("open", cause)]
    if row["state"] == "resolved":
        return [("resolved", "payer"), ("resolved", "data")]
    if row["state"] == "updated" and before is not None and cause != before:
        return [("open", cause), ("resolved", "data")] if cause == "payer" else [("open", cause)]
    return []


def explanations(
    row: Mapping[str, Any], troubles: Iterable[Trouble], recent_days: int
) -> dict[str, dict[str, Any]]:
    """The troubles that explain a row, by code, each with what is known about it."""
    found: dict[str, dict[str, Any]] = {}
    if row["state"] not in JUDGED_STATES:
        return found
    for trouble in troubles:
        if explains(trouble, row, recent_days):
            about: dict[str, Any] = {"first_day": trouble.first_day.isoformat()}
            if trouble.last_day is not None:
                about["last_day"] = trouble.last_day.isoformat()
            if trouble.payers is not None:
                about["payers"] = list(trouble.payers)
            found.setdefault(trouble.code, about)
    return found


def explains(trouble: Trouble, row: Mapping[str, Any], recent_days: int) -> bool:
    """Whether the trouble began about when the row's change did and covers enough of the days compared.

    Those are the days since the change, or the last `recent_days` of them, by which an event is judged that goes on
    (settings.recent_days). `row`: payer, and a detail with change_date, by, complete_to and, where known, change_date_low and _high.
    """
    detail = row["detail"]
    if trouble.payers is not None and row["payer"] not in trouble.payers:
        return False
    if trouble.by is not None and trouble.by != detail["by"]:
        return False
    changed, complete_to = (date.fromisoformat(detail[name]) for name in ("change_date", "complete_to"))
    low = min(date.fromisoformat(detail.get("change_date_low") or detail["change_date"]), changed)
    high = max(date.fromisoformat(detail.get("change_date_high") or detail["change_date"]), changed)
    lasting = trouble.last_day is None
    spread = SPREADING_DAYS if lasting and detail["by"] == "decision" else NEAR_DAYS
    if not low - timedelta(NEAR_DAYS) <= trouble.first_day <= high + timedelta(NEAR_DAYS) and not (
        trouble.first_day <= high and low <= trouble.first_day + timedelta(spread)
    ):
        return False
    return trouble.last_day is None or any(
        _share(trouble.first_day, trouble.last_day, first, complete_to) >= COVERED_SHARE
        for first in (changed, max(changed, complete_to - timedelta(recent_days - 1)))
    )


def _share(first: date, last: date, since: date, until: date) -> float:
    """Share of the days from `since` to `until` that lie within `first` to `last`."""
    days = (until - since).days + 1
    return max((min(last, until) - max(first, since)).days + 1, 0) / days if days > 0 else 0.0


def _next(day: date) -> date:
    return day + timedelta(days=1)


def data_reason_text(code: str, about: Mapping[str, Any] | None = None) -> str:
    """A reason in one plain sentence: what is wrong, and what to do.

    `about`: the code's entry of a row's detail["data_about"]: first_day, last_day and payers, where known.
    """
    about = about or {}
    names = [str(name) for name in about.get("payers") or ()]
    span = _span(about)
    listed = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "two payers"
    texts: dict[str, str] = {
        "renamed_payer": f"The claims of {listed} fell and rose{span} by about as many: a payer that was renamed, split "
        "or merged. Map the names to one under payer_aliases.",
        "unmapped_alias": f"A new payer's name looks like another spelling of one already there: {listed}. If they are "
        "one, map the new spelling under payer_aliases.",
        "all_payers_at_once": "Most payers changed the same way in the same days: files or claims are missing, or came "
        "twice, and no single payer is behind it. Look at the uploads of those days.",
        "days_without_claims": f"There are no claims of any payer{span}, on days that are busy otherwise. Look for a file "
        "that did not come.",
        "late_file": f"Many of the claims or decisions{span} came days after the file they should have been in.",
        "failed_upload": f"An upload failed{span}: what it held is missing. Correct the file and send it again.",
        "partial_upload": f"A good part of the rows of an upload was rejected{span}. Correct the file and send it again.",
        "failing_quality": f"Quality checks failed{span} more than usual. The upload's quality report names the rules.",
        "resent_file": f"A file{span} held mostly rows that were already there: an old file may have come in place of a "
        "new one.",
    }  # fmt: skip
    return texts[code]


def data_sentences(detail: Mapping[str, Any]) -> str:
    """The reasons of a row of cause "data" as sentences that begin with "Data, not payer"; '' where there are none."""
    codes = detail.get("data_reasons") or ()
    about = detail.get("data_about") or {}
    if not codes:
        return ""
    return "Data, not payer: " + " ".join(data_reason_text(code, about.get(code)) for code in codes)


def _span(about: Mapping[str, Any]) -> str:
    first, last = about.get("first_day"), about.get("last_day")
    if not first:
        return ""
    return (
        f" from {first} to {last}"
        if last and last != first
        else f" on {first}"
        if last
        else f" from about {first} on"
    )
