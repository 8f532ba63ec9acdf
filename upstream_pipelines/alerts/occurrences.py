"""What happens on the platform, as outbox entries: failed and unusual uploads, failed runs, silent customers, tests of a channel.

Belongs here: what an entry is matched by and the figures it carries. Not here: drift events (notices.py), words
(wording.py), SQL (store.py). No file's name is in any of them: it may name a patient.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from upstream_pipelines.alerts.notices import NAMESPACE, Entry, fingerprint_of
from upstream_pipelines.alerts.rules import Facts

_CLASS_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,199}")


def run_failure_entry(
    run_id: str,
    job_name: str,
    step: str | None,
    error_class: str | None,
    link: str | None,
    *,
    process_died: bool = False,
    never_began: bool = False,
    bucket: tuple[int, int] | None = None,
) -> Entry:
    """The outbox entry of a failed run. The error's message is not taken: it may hold a claim's values.

    `step` and `error_class` None: not known. `bucket`: of a sweep that died before it came to this customer, which part
    of how many it was given, from 0.
    """
    return Entry(
        kind="run_failure",
        notice="open",
        subject_id=run_subject(run_id),
        fingerprint=fingerprint_of("run_failure", job_name, step or ""),
        facts=Facts(kind="run_failure"),
        content={
            "type": "run.failed",
            "data": {
                "run_id": run_id,
                "job_name": job_name,
                "step": step,
                # Anything that is no class name may be a message in its place.
                "error_class": (
                    error_class
                    if error_class is None or _CLASS_NAME.fullmatch(error_class)
                    else "(not a class name)"
                ),
                "process_died": process_died,
                "never_began": never_began,
                **({} if bucket is None else {"bucket": bucket[0], "buckets": bucket[1]}),
                "link": link,
            },
        },
        ends=True,
    )


def run_recovered_entry(failed: Mapping[str, Any], recovered_by: str, link: str | None) -> Entry:
    """The end of a run failure: a later run of the same work succeeded. `failed`: the data of its opening."""
    return Entry(
        kind="run_failure",
        notice="resolved",
        subject_id=run_subject(failed["run_id"]),
        fingerprint=fingerprint_of("run_failure", failed["job_name"], failed["step"] or ""),
        facts=Facts(kind="run_failure"),
        content={
            "type": "run.recovered",
            "data": {
                "run_id": failed["run_id"], "job_name": failed["job_name"], "recovered_by": recovered_by, "link": link,
            },
        },
    )  # fmt: skip


def run_subject(run_id: str) -> uuid.UUID:
    """What the alerts of a failed run are about."""
    return uuid.uuid5(NAMESPACE, f"run/{run_id}")


def quality_entry(
    upload_id: uuid.UUID,
    score: float,
    failed_rules: Sequence[str],
    link: str | None,
    rows: tuple[int, int] | None = None,
) -> Entry:
    """The outbox entry of an upload that failed rules of the severity error; `score` is 0..100, `rows` how many rows
    were rejected, and of how many.
    """
    return Entry(
        kind="quality",
        notice="open",
        subject_id=upload_id,
        fingerprint=fingerprint_of("quality", *sorted(failed_rules)),
        facts=Facts(kind="quality"),
        content={
            "type": "upload.quality_failed",
            "data": {
                "upload_id": str(upload_id), "score": float(score) if math.isfinite(score) else None,
                "failed_rules": sorted(failed_rules), "link": link,
                **({} if rows is None else {"rejected_rows": rows[0], "rows": rows[1]}),
            },
        },
    )  # fmt: skip


def refused_entry(
    upload_id: uuid.UUID, source: str, code: str, link: str | None, failed_rules: Sequence[str] = ()
) -> Entry:
    """The outbox entry of an upload that ended without being loaded. Its message is not taken: it quotes the header,
    which in a file without one is the first claim. `failed_rules`: of the severity error, where its rows were judged.
    """
    return Entry(
        kind="quality",
        notice="open",
        subject_id=upload_id,
        fingerprint=refusal_fingerprint(source, code, failed_rules),
        facts=Facts(kind="quality"),
        content={
            "type": "upload.refused",
            "data": {
                "upload_id": str(upload_id), "source": source, "code": code, "failed_rules": sorted(failed_rules),
                "link": link,
            },
        },
    )  # fmt: skip


def refusal_fingerprint(source: str, code: str, failed_rules: Sequence[str]) -> str:
    """Refusals are the same trouble where source, reason and failed rules are: who judged an empty CSV file noise has said
    nothing of a remittance that was cut off.
    """
    return fingerprint_of("quality", "refused", " ".join((source, code, *sorted(failed_rules))))


def unusual_entry(
    upload_id: uuid.UUID,
    source: str,
    rule: str,
    measures: Sequence[Mapping[str, Any]],
    *,
    day: date | None,
    link: str | None,
) -> Entry:
    """The outbox entry of an upload that is unlike the customer's earlier ones by one rule; `day`: of batches that are judged
    together. `measures`: field, side (low, high), amount, of_rows, usual, low, high (rows or a share 0..1), history.
    """
    return Entry(
        kind="quality",
        notice="open",
        subject_id=unusual_subject(upload_id, rule),
        fingerprint=unusual_fingerprint(source, rule),
        facts=Facts(kind="quality"),
        content={
            "type": "upload.unusual",
            "data": {
                "upload_id": str(upload_id), "source": source, "rule": rule,
                "day": day.isoformat() if day is not None else None, "measures": [dict(one) for one in measures],
                "link": link,
            },
        },
    )  # fmt: skip


def unusual_subject(upload_id: uuid.UUID, rule: str) -> uuid.UUID:
    """What the alert of an upload that is unlike the earlier ones is about; one of a day's batches stands for all of them."""
    return uuid.uuid5(NAMESPACE, f"unusual/{upload_id}/{rule}")


def unusual_fingerprint(source: str, rule: str) -> str:
    """The same trouble where source and rule are: who silences the empty fields of files hears of their volume."""
    return fingerprint_of("quality", "unusual", f"{source} {rule}")


def silence_entry(silence_id: uuid.UUID, about: Mapping[str, Any], link: str | None) -> Entry:
    """The outbox entry of a customer that sends nothing any more.

    `about`: last_day, has_sent, days_silent, basis (setting, learned), usual_days, limit_days, gaps.
    """
    keys = ("has_sent", "days_silent", "basis", "usual_days", "limit_days", "gaps")
    return Entry(
        kind="silence",
        notice="open",
        subject_id=silence_id,
        fingerprint=fingerprint_of("silence"),
        facts=Facts(kind="silence"),
        content={
            "type": "customer.silent",
            "data": {
                **{key: about[key] for key in keys}, "last_day": about["last_day"].isoformat(), "link": link,
            },
        },
        ends=True,
    )  # fmt: skip


def sends_again_entry(silence_id: uuid.UUID, about: Mapping[str, Any], link: str | None) -> Entry:
    """The end of a silence. `about`: last_day (before it), ended_on, ending (sent again, no longer expected)."""
    return Entry(
        kind="silence",
        notice="resolved",
        subject_id=silence_id,
        fingerprint=fingerprint_of("silence"),
        facts=Facts(kind="silence"),
        content={
            "type": "customer.sends_again",
            "data": {
                "last_day": about["last_day"].isoformat(), "ended_on": about["ended_on"].isoformat(),
                "ending": about["ending"], "link": link,
            },
        },
    )  # fmt: skip
