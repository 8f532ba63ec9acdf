"""The reading order of a trace: entries by time, each with an id, a state and a sentence.

Pure. Not here: reading the database (trace.py), tables (cli/trace.py). No value of a claim and no name of a file is in any
of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from upstream_pipelines.alerts.content import wording_of
from upstream_pipelines.alerts.life import minute

What = Literal[
    "received",
    "run asked for",
    "read",
    "merge",
    "make",
    "result",
    "run",
    "look",
    "event",
    "alert",
    "delivery",
    "attempt",
]
# Of what bears the same instant the cause stands first.
_ORDER: dict[str, int] = {
    "received": 0, "run asked for": 1, "read": 2, "merge": 3, "make": 4, "result": 5, "run": 6, "look": 7, "event": 8, "alert": 9,
    "delivery": 10, "attempt": 11,
}  # fmt: skip
_SOURCES = {"csv": "CSV file", "webhook": "webhook batch", "x12_835": "remittance (X12 835)"}
_OUTCOMES = {
    "read": "all rows read and judged", "same_bytes": "the same bytes came before; nothing was read",
    "refused": "it cannot be read as claims", "merged": "merged into claims",
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One thing that happened: when (UTC), what, to which id, with which state, in words. `run_id`: the Dagster run that
    did it.
    """

    at: datetime
    what: What
    id: str
    state: str
    about: str
    run_id: str | None = None


@dataclass(frozen=True)
class RunState:
    """A run as Dagster knows it; `ended_at` None while it goes on."""

    job_name: str
    status: str
    started_at: datetime | None
    ended_at: datetime | None


def in_order(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """By time, then cause before effect."""
    return tuple(sorted(entries, key=lambda entry: (entry.at, _ORDER[entry.what], entry.id)))


def entries_of_upload(upload: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> list[Entry]:
    """Its arrival, the run that was asked for, each attempt, and what became of its rows."""
    upload_id = str(upload["upload_id"])
    # Of a person or an operator not who it is, as of a report; of a token that was deleted since its kind is known.
    sender = f"token {upload['token']}" if upload["token"] else upload["actor_kind"]
    by = f"; by {sender}" if sender else ""
    request = (
        f"; request {upload['request_id']}"
        if upload["request_id"]
        else "; without a request (landing zone or command)"
    )
    entries = [
        Entry(
            upload["received_at"], "received", upload_id, "accepted",
            f"{_SOURCES[upload['source']]}, {upload['byte_count']:,} bytes{by}{request}",
        )
    ]  # fmt: skip
    if upload["requested_at"] is not None:
        asked = {0: "by the command that sent it", 1: "by the sensor"}.get(
            upload["requests"], f"by the sensor, {upload['requests']} times; this is the last"
        )
        # The command notes it a moment before the row is there.
        at = max(upload["requested_at"], upload["received_at"])
        entries.append(Entry(at, "run asked for", upload_id, "asked", asked))
    entries += [_attempt_of_run(upload_id, run) for run in runs]
    if upload["finished_at"] is not None:
        entries.append(Entry(upload["finished_at"], "result", upload_id, upload["status"], _result(upload)))
    return entries


def entries_of_report(report: Mapping[str, Any], further: Sequence[Mapping[str, Any]]) -> list[Entry]:
    """Its request, those that asked for it again before it was made, the run that was asked for, each attempt, and what became of it."""
    report_id = str(report["report_id"])
    last = report["period_until"] - timedelta(days=1)
    said = f"report of {report['period_from']} to {last}, asked for {_by(report)}"
    entries = [
        Entry(report["requested_at"], "received", report_id, "accepted", said),
        *(Entry(ask["at"], "received", report_id, "accepted", f"asked for again {_by(ask)}") for ask in further),
    ]
    if report["asked_at"] is not None:
        asked = f"by the sensor, {report['asks']} times; this is the last"
        if report["asks"] == 1:
            # A command runs at once what it asks for.
            asked = "by the command that wanted it" if report["actor_kind"] == "operator" else "by the sensor"
        # In the transaction of the request its time is the earlier one.
        at = max(report["asked_at"], report["requested_at"])
        entries.append(Entry(at, "run asked for", report_id, "asked", asked))
    earlier = list(zip(report["earlier_runs"], report["earlier_starts"], strict=True))
    # Attempts of before earlier runs were noted are counted and have no run.
    first = report["attempts"] - len(earlier)
    entries += [
        Entry(
            began,
            "make",
            report_id,
            "no outcome",
            f"attempt {number} by run {run_id}: it came to no end, and another run took it up",
            run_id,
        )
        for number, (run_id, began) in enumerate(earlier, first)
    ]
    if report["started_at"] is not None:
        ended = report["ended_at"] is not None
        state, came = (
            ("ended", "it came to an end") if ended else ("no outcome", "the run is at it, or ended with it")
        )
        about = f"attempt {report['attempts']} by run {report['run_id']}: {came}"
        entries.append(Entry(report["started_at"], "make", report_id, state, about, report["run_id"]))
    if report["ended_at"] is not None:
        entries.append(Entry(report["ended_at"], "result", report_id, report["state"], _made(report)))
    return entries


def _by(ask: Mapping[str, Any]) -> str:
    request = (
        f"request {ask['request_id']}" if ask["request_id"] else "without a request (command or Dagster's UI)"
    )
    return f"by {ask['actor_kind']}; {request}"


def _made(report: Mapping[str, Any]) -> str:
    if report["state"] == "failed":
        return f"failed: {report['error_code']}; the log of its run has the error"
    if not report["files"]:
        return "made; its files are not kept any more"
    return f"{report['files']} files, {report['byte_count']:,} bytes"


def _attempt_of_run(upload_id: str, run: Mapping[str, Any]) -> Entry:
    if run["ended_at"] is None:
        state, came = "no outcome", "the run is at it, or ended with it"
    else:
        seconds = (run["ended_at"] - run["started_at"]).total_seconds()
        state, came = run["outcome"].replace("_", " "), f"{_OUTCOMES[run['outcome']]} after {seconds:.1f} s"
    about = f"attempt {run['attempt']} by run {run['run_id']}: {came}"
    return Entry(run["started_at"], run["step"], upload_id, state, about, run["run_id"])


def _result(upload: Mapping[str, Any]) -> str:
    if upload["duplicate_of"] is not None:
        return f"{upload['rows']:,} rows, all of them those of upload {upload['duplicate_of']}"
    if upload["error_code"] is not None and not upload["rows"]:
        # Its run did what it was to do, and ends as a success.
        return f"refused: {upload['error_code']}; `upstream uploads {upload['slug']} {str(upload['upload_id'])[:8]}` says what to do"
    parts = [
        f"{upload['accepted'] - upload['updated']:,} new", f"{upload['updated']:,} updated",
        f"{upload['duplicates']:,} duplicates", f"{upload['rejected']:,} rejected",
    ]  # fmt: skip
    by_rule = ", ".join(f"{item['rule']} {item['rows']:,}" for item in upload["rejections"])
    warned = f"; {upload['warnings']:,} warned" if upload["warnings"] else ""
    return f"{upload['rows']:,} rows: {', '.join(parts)}{f' ({by_rule})' if by_rule else ''}{warned}"


def entries_of_looks(looks: Sequence[Mapping[str, Any]]) -> list[Entry]:
    """A look that opened something, and each event; the others, which may be dozens, as one entry."""
    entries, quiet = [], []
    for look in looks:
        if not look["opened"]:
            quiet.append(look)
            continue
        opened = len(look["opened"])
        said = f"opened {opened} event{'s' if opened > 1 else ''}; a look sees all uploads known by then, not this one alone"
        entries.append(Entry(look["made_at"], "look", str(look["as_of"]), "made", said))
        for event in look["opened"]:
            signal = event["signal"].replace("_", " ")
            cause = "the data" if event["cause"] == "data" else "the payer"
            about = f"{event['payer']}: {signal}, {event['direction']}; cause: {cause}"
            entries.append(Entry(look["made_at"], "event", event["event_id"], event["state"], about))
    if quiet:
        days = sorted({look["as_of"] for look in quiet})
        span = f"of {days[0]}" if len(days) == 1 else f"{len(quiet)} looks, of {days[0]} to {days[-1]}"
        entries.append(Entry(quiet[0]["made_at"], "look", str(days[0]), "made", f"{span}: nothing opened"))
    return entries


def entries_of_alert(alert: Mapping[str, Any], told: set[str]) -> list[Entry]:
    """An alert with its deliveries and their attempts, as `alerts.store.list_alerts` gives it; deliveries in `told` stand
    elsewhere already, with another alert of the same message.
    """
    held = f"; held back: {alert['reason']}" if alert["state"] == "suppressed" else ""
    about = f"{alert['kind']}, {alert['notice']}, rule {alert['rule'] or 'none'}: {wording_of(alert['content']).headline}{held}"
    entries = [Entry(_time(alert["created_at"]), "alert", alert["alert_id"], alert["state"], about)]
    for delivery in alert["deliveries"]:
        if delivery["delivery_id"] in told:
            continue
        told.add(delivery["delivery_id"])
        entries += _delivery(alert, delivery)
    return entries


def _delivery(alert: Mapping[str, Any], delivery: Mapping[str, Any]) -> list[Entry]:
    id_, channel = delivery["delivery_id"], f"{delivery['channel']} ({delivery['channel_kind']})"
    due = f"; next try {minute(_time(delivery['due_at']))}" if delivery["state"] in {"pending", "retrying"} else ""
    about = f"to {channel}{due}"
    # Put into its message when it was told, not when it was written: it may have been held back in between.
    entries = [Entry(_time(alert["told_at"] or alert["created_at"]), "delivery", id_, delivery["state"], about)]
    for attempt in delivery["attempts"]:
        code = f", answered {attempt['status_code']}" if attempt["status_code"] is not None else ""
        took = f" after {attempt['latency_ms']:,} ms" if attempt["latency_ms"] is not None else ""
        said = f"attempt {attempt['attempt']} to {channel}{code}{took}: {attempt['detail'] or 'no detail'}"
        state = attempt["outcome"] or "under way"
        entries.append(Entry(_time(attempt["started_at"]), "attempt", id_, state, said))
    return entries


def entries_of_runs(run_ids: Sequence[str], states: Mapping[str, RunState]) -> list[Entry]:
    """How each run ended; of those that Dagster does not know (any more) nothing."""
    entries = []
    for run_id in run_ids:
        state = states.get(run_id)
        if state is None or state.started_at is None:
            continue
        end = state.ended_at
        took = f" after {(end - state.started_at).total_seconds():.1f} s" if end else ""
        about = f"job {state.job_name}: {state.status}{took}"
        entries.append(Entry(end or state.started_at, "run", run_id, state.status, about, run_id))
    return entries


def _time(text: str) -> datetime:
    """An instant as PostgreSQL writes it into JSON."""
    return datetime.fromisoformat(text).astimezone(UTC)
