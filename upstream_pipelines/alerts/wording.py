"""What happened on the platform, in words a newcomer understands, each with what to do next.

Belongs here: failed runs and uploads, silent customers, channels, tests. Not here: drift, whose words come with its
figures (drift/explanation.py); the form of a message (content.py).
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from upstream_pipelines.claims.mapping import SET_BY, WRITTEN_AND_SET_BY
from upstream_pipelines.quality.rules import RULES

_REFUSED = {
    "all_rows_rejected": (
        "Every row of it was rejected.",
        (
            "The rejected rows name field, rule and reason in the Dagster UI. Correct the file, or the customer's mapping if "
            f"columns were taken for others, and send it again. {SET_BY}"
        ),
    ),
    "attempts_used_up": (
        "Three runs in a row ended while they read it, so it was given up.",
        "Open the run in the Dagster UI to see why, put that right, and send the upload again.",
    ),
    "no_claims": ("There is no claim in it: the file is empty, or ends after its header.", "Check the export."),
    "columns_not_found": (
        "Columns that are needed were not found in it, or more than one could be meant.",
        f"Name the columns in the customer's mapping, or correct the export. {WRITTEN_AND_SET_BY}",
    ),
    "date_order_unknown": (
        "Its dates can be read as day and month or as month and day, and nothing in it says which.",
        f"Set date_order in the customer's mapping, and send it again. {SET_BY}",
    ),
    "quoting_broken": ("A quote in it is opened and never closed.", "Correct the quoting, and send it again."),
    "not_text": (
        "It is not text in an encoding that can be told: a spreadsheet, a picture, or damaged.", "Export it as CSV in UTF-8.",
    ),
    "not_unpacked": (
        "It is packed in a way that cannot be read: damaged, encrypted, a workbook, or several files in one.",
        "Send the CSV file itself, or packed by itself with gzip or zip.",
    ),
    "cut_off": ("The remittance ends within a transaction: it was cut off.", "Ask the sender for the whole file."),
}  # fmt: skip
_UNREADABLE = (
    "It could not be read as claims at all: often a column is missing or has a new name, or the file is empty."
)
_UNREADABLE_REMITTANCE = (
    "It could not be read as a remittance (X12 835): often it was cut off, or is another kind of file."
)
# Of fields that are empty all at once; the command shows all.
_SHOWN_MEASURES = 5


@dataclass(frozen=True)
class Wording:
    """One alert in words: a headline, sentences, and facts to look up (name, value)."""

    headline: str
    sentences: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]


def _run_failed(data: Mapping[str, Any]) -> Wording:
    error = data["error_class"]
    return Wording(
        headline=f"A run failed: {data['job_name']}",
        sentences=(
            f"{_how_it_ended(data)} What it had stored is whole; nothing is half done.",
            *_left_undone(data),
            (
                "The run's page in the Dagster UI shows the cause. "
                + (
                    "Its work is asked for again by itself; "
                    if data.get("never_began")
                    else "Re-execute it from there once the cause is gone; "
                )
                + "when a later run of the same work succeeds you will be told."
            ),
        ),
        # Of a dead sweep each customer's alert has the run's id and its own name after it.
        facts=(
            ("Run", data["run_id"].partition("/")[0]),
            ("Job", data["job_name"]),
            *((("Error", error),) if error else ()),
        ),
    )


def _run_not_put_right(data: Mapping[str, Any]) -> Wording:
    failed = _run_failed(data)
    return replace(
        failed,
        headline=f"Not put right yet: a failed run of {data['job_name']}",
        sentences=("No later run of the same work has succeeded.", *failed.sentences),
    )


def _how_it_ended(data: Mapping[str, Any]) -> str:
    """What is known of it, and nothing else."""
    if data["error_class"]:
        step = f" in step {data['step']}" if data["step"] else ""
        return f"The run stopped{step} with {data['error_class']}."
    if data.get("process_died"):  # alerts of earlier releases do not say
        return "The run's process ended without a word: it was killed, or the machine ran out of memory."
    if data.get("never_began"):
        return "The run was not started: the platform had no time for it, or its code did not load."
    return "The run failed."


def _left_undone(data: Mapping[str, Any]) -> tuple[str, ...]:
    if "bucket" not in data:
        return ()
    part = (
        f"part {data['bucket'] + 1} of {data['buckets']} of all customers"
        if data["buckets"] > 1
        else "all customers"
    )
    return (f"It was to look at {part}, this one among them, and had not come to it.",)


def _run_recovered(data: Mapping[str, Any]) -> Wording:
    return Wording(
        headline=f"Resolved: {data['job_name']} runs again",
        sentences=(
            "A later run of the same work succeeded and did what the failed one had left. Nothing is to be done.",
        ),
        facts=(
            ("Failed run", data["run_id"].partition("/")[0]),
            ("Succeeded", data["recovered_by"]),
            ("Job", data["job_name"]),
        ),
    )


def _quality_failed(data: Mapping[str, Any]) -> Wording:
    names = list(data["failed_rules"])
    rules = ", ".join(names) or "none"
    meant = [RULES[name].description for name in names if name in RULES]
    return Wording(
        headline="An upload failed its quality checks",
        sentences=(
            f"These rules failed: {rules}. {_set_apart(data)}, the others were loaded.",
            *((f"What should hold: {' '.join(meant)}",) if meant else ()),
            (
                "Figures that rest on this upload may be wrong until the rows are corrected and sent again. "
                f"{_asked_with(data)}"
            ),
        ),
        facts=(
            ("Upload", data["upload_id"]),
            ("Score", f"{_score_text(data['score'] or 0)} of 100"),
            ("Rules", rules),
        ),
    )


def _set_apart(data: Mapping[str, Any]) -> str:
    rejected = data.get("rejected_rows")  # alerts of earlier releases do not say
    if rejected is None:
        return "Rows that broke them were set apart"
    return f"{rejected:,} of {data['rows']:,} rows broke them and {'was' if rejected == 1 else 'were'} set apart"


def _score_text(score: float) -> str:
    """A whole number, 100 only where nothing failed."""
    return f"{score:.0f}" if score >= 100 or score < 99.5 else f"{math.floor(10 * score) / 10:.1f}"


def _refused(data: Mapping[str, Any]) -> Wording:
    remittance = data.get("source") == "x12_835"  # alerts of earlier releases do not say
    why, next_step = _REFUSED.get(
        data["code"], (_UNREADABLE_REMITTANCE if remittance else _UNREADABLE, "Correct it and send it again.")
    )
    rules = ", ".join(data["failed_rules"])
    return Wording(
        headline="An upload was refused: none of it was loaded",
        sentences=(
            why,
            _asked_with(data),
            next_step.replace("SLUG", data["slug"]),
            "Until then its claims are missing from every figure.",
        ),
        facts=(
            ("Upload", data["upload_id"]),
            ("Reason", data["code"]),
            *((("Failed rules", rules),) if rules else ()),
        ),
    )


_UNUSUAL = {
    "usual_volume": {
        "low": "holds far fewer rows than usual",
        "high": "holds far more rows than usual",
    },
    "usual_empty_fields": {"high": "leaves fields empty that are usually filled"},
    "usual_outcomes": {
        "low": "has other shares of outcomes than usual",
        "high": "has other shares of outcomes than usual",
    },
    "usual_known_rows": {"high": "brings little that is new: most of its rows were known already"},
}


def _unusual(data: Mapping[str, Any]) -> Wording:
    rule, measures = data["rule"], data["measures"]
    day = data["day"]
    what = f"A day of batches ({day})" if day else "An upload"
    shown = "; ".join(_measured(rule, one) for one in measures[:_SHOWN_MEASURES])
    more = f"; and {len(measures) - _SHOWN_MEASURES} more" if len(measures) > _SHOWN_MEASURES else ""
    return Wording(
        headline=f"{what} {_UNUSUAL[rule][measures[0]['side']]}",
        sentences=(
            f"{shown}{more}.",
            RULES[rule].reason,
            (
                f"Nothing was set apart for it; figures that rest on these rows may be wrong. {_asked_with(data)} If it is the "
                f"new habit nothing has to be done: what comes five times is taken for usual. {rule} is graded or switched off "
                "under quality in the customer's configuration."
            ),
        ),
        facts=(
            ("Upload", data["upload_id"]) if not day else ("Batches of", day),
            ("Source", data["source"]),
            ("Rule", rule),
            ("Compared with", f"{measures[0]['history']} {'days' if day else 'uploads'} before"),
        ),
    )


def _measured(rule: str, one: Mapping[str, Any]) -> str:
    """What was seen beside what is usual and the bounds."""
    if rule == "usual_volume":
        return (
            f"{one['amount']:,} rows, where {one['usual']:,.0f} are usual and {one['low']:,.0f} to {one['high']:,.0f} would be no "
            "news"
        )
    name = {"usual_empty_fields": f"{one['field']} is empty in", "usual_known_rows": "known already are"}.get(
        rule, f"{one['field']} are"
    )
    bounds = f"{one['low']:.0%} to {one['high']:.0%}" if rule == "usual_outcomes" else f"up to {one['high']:.0%}"
    return (
        f"{name} {one['amount'] / one['of_rows']:.0%} of {one['of_rows']:,} rows, where {one['usual']:.0%} is usual and {bounds} "
        "would be no news"
    )


def _asked_with(data: Mapping[str, Any]) -> str:
    return f"`upstream uploads {data['slug']} {data['upload_id'][:8]}`, or its status over the API, says what was wrong and where."


def _silent(data: Mapping[str, Any]) -> Wording:
    days, usual = data["days_silent"], _days(data["usual_days"])
    every = "day" if data["usual_days"] == 1 else usual
    expected = (
        f"Its configuration expects an upload every {every} (cadence_days)."
        if data["basis"] == "setting"
        else f"Its last {data['gaps'] + 1} days with uploads were usually {usual} apart, and hardly ever over "
        f"{_days(data['limit_days'] // 2)}."
    )
    since = (
        f"The last upload came on {data['last_day']}."
        if data["has_sent"]
        else f"It has sent nothing since it was signed up on {data['last_day']}."
    )
    return Wording(
        headline=f"No claims have arrived for {_days(days)}",
        sentences=(
            f"{since} {expected}",
            (
                "Look at the export and at the way files or batches are sent: a job that stopped, a token that ran out, a "
                "folder that moved. A change of payers in these days shows only once claims arrive again."
            ),
            (
                "If this is the new habit, set cadence_days in the customer's configuration. You will be told when claims "
                "arrive again."
            ),
        ),
        facts=(
            ("Last upload", data["last_day"] if data["has_sent"] else "none yet"),
            ("Silent for", _days(days)),
            ("Allowed", _days(data["limit_days"])),
        ),
    )


def _still_silent(data: Mapping[str, Any]) -> Wording:
    """Without the days of silence: they were counted when it was told first."""
    silent = _silent(data)
    return replace(
        silent,
        headline="Still no claims have arrived",
        facts=tuple(fact for fact in silent.facts if fact[0] != "Silent for"),
    )


def _sends_again(data: Mapping[str, Any]) -> Wording:
    if data["ending"] == "sent again":
        return Wording(
            headline="Resolved: claims arrive again",
            sentences=(
                f"An upload came on {data['ended_on']}, after the last one of {data['last_day']}.",
                "If files of the days between were never sent, send them now: what is late is counted on its own days.",
            ),
            facts=(("Arrived", data["ended_on"]), ("Before that", data["last_day"])),
        )
    return Wording(
        headline="Resolved: no upload is overdue any more",
        sentences=(
            "The expected days between uploads were changed, and the present silence is within them. Nothing is to be done.",
        ),
        facts=(("Last upload", data["last_day"]),),
    )


def _channel_disabled(data: Mapping[str, Any]) -> Wording:
    channel = shlex.quote(data["channel"])
    return Wording(
        headline=f"Alert channel {data['channel']} was switched off",
        sentences=(
            f"Alerts to the {data['kind']} channel {data['channel']} are no longer sent: {data['reason']}.",
            (
                f"Put the receiver right, then enable the channel and resend what was given up (`upstream alerts enable "
                f"{data['slug']} {channel}`, `upstream alerts resend {data['slug']} --channel {channel}`). "
                "What happens while it is off goes to the other channels of its rule; where there "
                "is none it is held back, and told when one is on again."
            ),
        ),
        facts=(("Channel", data["channel"]), ("Since", data["disabled_at"])),
    )


def _test(data: Mapping[str, Any]) -> Wording:
    return Wording(
        headline=f"Test of the {data['kind']} channel {data['channel']}",
        sentences=(
            "This is a test. Nothing happened, and nothing is to be done.",
            "Somebody asked for it with `upstream alerts test`. Alerts will look like this and come from here.",
        ),
        facts=(("Channel", data["channel"]), ("Asked for", data["asked_at"])),
    )


def _days(number: int) -> str:
    return "1 day" if number == 1 else f"{number:,} days"


WORDINGS: Mapping[str, Callable[[Mapping[str, Any]], Wording]] = {
    "run.failed": _run_failed,
    "run.reminder": _run_not_put_right,
    "run.recovered": _run_recovered,
    "upload.quality_failed": _quality_failed,
    "upload.refused": _refused,
    "upload.unusual": _unusual,
    "customer.silent": _silent,
    "customer.reminder": _still_silent,
    "customer.sends_again": _sends_again,
    "channel.disabled": _channel_disabled,
    "test": _test,
}
