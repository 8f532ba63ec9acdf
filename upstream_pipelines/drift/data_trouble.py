"""Whether a change is the payer's, or comes from the customer's own files and mappings: "data, not payer".

Belongs here: which troubles explain a row of a look, the cause that follows, and its words. Not here: finding the
troubles, in the counts (source_patterns.py) or among the uploads
(upload_troubles.py).

A trouble explains a change when it began about when the change did and still covers a fair part of the days that are
compared. So a hole that was filled, or a file that was refused once, explains less and less, and a change that
outlives it turns to cause "payer". Where it is known how many lines a trouble cost, they must suffice for the change
(`largest_effect`): with a tenth of its rows rejected a file does not double a payer's denials.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Literal, get_args

from upstream_pipelines.drift.units import day_text

if TYPE_CHECKING:
    from upstream_pipelines.drift.events import Cause, Direction, DriftEvent
    from upstream_pipelines.drift.settings import Signal

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
SUFFICIENT_SHARE = 0.5  # of the effect: chance and a payer hit harder than others may double what a trouble can do
UPLOAD_CODES: frozenset[TroubleCode] = frozenset(
    {"failed_upload", "partial_upload", "failing_quality", "resent_file"}
)
UPLOAD_DAYS = (
    45  # after its last day: with the next monthly file or two the lines have come, or are wanted no more
)
CLEAR_DAYS = 7  # without an explanation make the payer the cause
JUDGED_STATES = frozenset({"watch", "open", "updated"})


@dataclass(frozen=True)
class Trouble:
    """Something wrong with the data of `first_day` to `last_day` (None: it goes on), of some payers (None: all).

    `by`: whether submission or decision days lack something (None: both). `known_on`: the day on which it could be
    seen (None: it is in the counts themselves), `cleared_on` that on which a corrected file came. `share`: how much
    of the lines of those days it cost at most (None: not known); of which payers they were nobody knows, so it is
    taken for each payer's.
    """

    code: TroubleCode
    first_day: date
    last_day: date | None
    payers: tuple[str, ...] | None = None
    by: Literal["decision", "submission"] | None = None
    known_on: date | None = None
    cleared_on: date | None = None
    share: float | None = None


def known_before(troubles: Iterable[Trouble], as_of: date) -> list[Trouble]:
    """Those a look at `as_of` may know of and which were not put right by then; neighbours of a kind are joined."""
    told = [
        trouble
        for trouble in troubles
        if (trouble.known_on is None or trouble.known_on < as_of)
        and (trouble.cleared_on is None or trouble.cleared_on >= as_of)
    ]
    runs: list[list[Trouble]] = []
    for trouble in sorted(told, key=lambda item: (item.code, item.payers or (), item.by or "", item.first_day)):
        last = _joined(runs[-1]) if runs else None
        same = last is not None and (last.code, last.payers, last.by) == (trouble.code, trouble.payers, trouble.by)
        # Uploads cover the days since the one before them: trouble in each makes one stretch.
        if last is not None and same and (last.last_day is None or trouble.first_day <= _next(last.last_day)):
            runs[-1].append(trouble)
        else:
            runs.append([trouble])
    return [_joined(run) for run in runs]


def _joined(run: Sequence[Trouble]) -> Trouble:
    """One trouble over all days of several. Its share is the mean over the days; of a day that two sources missed,
    the larger one, since a payer's lines may all come from one.
    """
    lasts = [trouble.last_day for trouble in run if trouble.last_day is not None]
    last = max(lasts) if len(lasts) == len(run) else None
    by_day: dict[date, float] = {}
    for trouble in run:
        if trouble.share is None or trouble.last_day is None:
            by_day.clear()
            break
        for number in range((trouble.last_day - trouble.first_day).days + 1):
            day = trouble.first_day + timedelta(days=number)
            by_day[day] = max(by_day.get(day, 0.0), trouble.share)
    share = math.fsum(by_day.values()) / len(by_day) if by_day else None
    return Trouble(run[0].code, run[0].first_day, last, run[0].payers, run[0].by, share=share)


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


def announcements(
    row: Mapping[str, Any], before: Cause | None, direction: Direction | None = None
) -> list[tuple[Literal["open", "resolved"], Cause]]:
    """What is told of a row, and to whom: those who watch payers (cause "payer") or the data ("data").

    `before` is the cause of the event before this look. An event that turns out to be the payer's is over for those
    who watch the data and opens for those who watch payers; one that turns out to be data opens for the former, and
    stays open for those who were told of a payer until it is over. An ending reaches who was told of the opening.
    `direction` is that before this look: a mix whose worth only now is clear, or clear no more, opens for those who
    asked for that alone (nobody is told of the same opening twice).
    """
    cause: Cause = row["cause"]
    if row["state"] == "open":
        return [("open", cause)]
    if row["state"] == "resolved":
        return [("resolved", "payer"), ("resolved", "data")]
    if row["state"] == "updated" and before is not None and cause != before:
        return [("open", cause), ("resolved", "data")] if cause == "payer" else [("open", cause)]
    if row["state"] == "updated" and direction is not None and row["direction"] != direction:
        return [("open", cause)]
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
    """Whether the trouble began about when the row's change did, covers enough of the days compared, and suffices.

    Those are the days since the change, or the last `recent_days` of them, by which an event is judged that goes on
    (settings.recent_days). It suffices where what the lines it cost can do to these days (`largest_effect`) is at
    least half of what is seen. One of an upload is over `UPLOAD_DAYS` after its last day. `row`: as_of, payer, signal,
    baseline, current, effect, and a detail with change_date, by, complete_to and, where known, change_date_low and _high.
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
    if trouble.last_day is None:
        return True
    if trouble.code in UPLOAD_CODES and row["as_of"] > trouble.last_day + timedelta(UPLOAD_DAYS):
        return False
    covered = [
        _share(trouble.first_day, trouble.last_day, first, complete_to)
        for first in (changed, max(changed, complete_to - timedelta(recent_days - 1)))
    ]
    return any(share >= COVERED_SHARE and _suffices(trouble, row, share) for share in covered)


def _suffices(trouble: Trouble, row: Mapping[str, Any], covered: float) -> bool:
    """Whether the lines lost, over days of which the trouble covers a share, can have made half of the row's effect."""
    if trouble.share is None:
        return True
    if row["signal"] == "decision_lag" and trouble.code == "failing_quality":
        return False  # neither late nor missing: what its rules rejected is told as a partial upload
    # A mix shows its move as the current value, and what that does to the worth of a line as the effect.
    seen = float(row["current"] if row["signal"] == "procedure_mix" else row["effect"])
    most = largest_effect(row["signal"], trouble.share * covered, row["baseline"], rises=seen > 0)
    return most >= SUFFICIENT_SHARE * abs(seen)


def largest_effect(signal: Signal, lost: float, baseline: float, *, rises: bool) -> float:
    """How far a signal can move at most, in its unit, when a share `lost` (r) of a payer's lines is missing.

    - Volume: falls by r. Lines that are not there make no rise, and repeated ones are recognised and counted once.
    - Rates: of all lines the share p is denied, of those left q, of those lost x: p = (1 - r)q + rx, so that
      q - p = r(p - x)/(1 - r). It is largest for x = 0, a rise of rp/(1 - r), and for x = 1, a fall of r(1 - p)/(1 - r).
    - Prices: the same sum, with x between nothing and twice the others' price: r/(1 - r) either way.
    - Mix: w = (1 - r)v + ru for the shares w of all, v of those left, u of those lost; w - v = r(u - v), and half the
      sum of its sizes, the share that moved, is at most r.
    - Lag: of claims that lack r of their decisions half are decided when 0.5/(1 - r) were before. For decisions as
      likely on every day that is -log2(1 - 0.5/(1 - r)) medians; real ones hurry later and move less. Never faster.
    """
    if lost <= 0:
        return 0.0
    if signal == "volume":
        return 0.0 if rises else lost
    if signal == "procedure_mix":
        return lost
    if signal == "decision_lag":
        if not rises:
            return 0.0
        return math.inf if lost >= 0.5 else baseline * (-math.log2(1 - 0.5 / (1 - lost)) - 1)
    odds = math.inf if lost >= 1 else lost / (1 - lost)
    if signal == "allowed_amount":
        return odds
    return odds * (baseline if rises else 1 - baseline)


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
    if not about.get("first_day"):
        return ""
    first, last = day_text(about["first_day"]), day_text(about["last_day"]) if about.get("last_day") else None
    return (
        f" from {first} to {last}"
        if last and last != first
        else f" on {first}"
        if last
        else f" from about {first} on"
    )
