"""An alert's JSON content as a message: subject, text, HTML, Slack blocks, webhook payload.

Everything here is made of aggregates and names of payers, signals, jobs and rules; no claim's value
reaches it. Not here: what the content holds (notices.py), sending (delivery/).
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import jinja2

from upstream_pipelines.visible import visible

_DASH = "–"  # noqa: RUF001  an en dash, on purpose
# https://docs.slack.dev/reference/block-kit/blocks: 3,000 characters a section, 150 a header, 2,000 a field.
_SECTION, _HEADER, _FIELD = 3000, 150, 2000
_OF_EVENTS = frozenset({"drift.event.opened", "drift.event.resolved"})


@dataclass(frozen=True)
class Message:
    """What the senders need. `payload` is the body of a webhook, `chart` a PNG."""

    subject: str
    text: str
    html: str
    blocks: tuple[dict[str, Any], ...]
    payload: dict[str, Any]
    chart: bytes | None


@dataclass(frozen=True)
class _Wording:
    """One alert in words: a headline, sentences, and facts to look up."""

    headline: str
    sentences: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]


def build_message(content: Mapping[str, Any], occurred_at: str) -> Message:
    """Put an alert into words.

    Args:
        content: the JSON of `alerts.content`.
        occurred_at: ISO 8601 instant of the alert; the same for every attempt, so that a repeated
            webhook is the same bytes.
    """
    customer, data = content["customer"], content["data"]
    wording = _wording(content)
    chart = base64.b64decode(content["chart_png"]) if content.get("chart_png") else None
    sentences = wording.sentences
    if content.get("chart_omitted"):
        sentences = (*sentences, "The chart is too large for a message; the link shows it.")
    if content["type"] in _OF_EVENTS:
        command = f"upstream drift lines {customer['slug']} {data['event_id'][:8]}"
        sentences = (*sentences, f"The claim lines behind it are told by: {command}")
    subject = _one_line(f"{wording.headline} {_DASH} {customer['name']}")
    values = {
        "headline": wording.headline, "sentences": sentences, "facts": wording.facts, "link": data.get("link"),
        "customer": customer["name"], "has_chart": chart is not None,
    }  # fmt: skip
    return Message(
        subject=subject,
        text=_templates().get_template("alert.txt").render(values).strip() + "\n",
        html=_templates().get_template("alert.html").render(values),
        blocks=_blocks(wording, sentences, data.get("link"), customer["name"]),
        payload={
            "type": content["type"],
            "timestamp": occurred_at,
            "data": {"customer": customer["slug"], **data},
        },
        chart=chart,
    )


def _wording(content: Mapping[str, Any]) -> _Wording:
    if "words" in content:
        return _drift(content["words"])
    if content["type"] in _OF_EVENTS:
        return _drift_without_words(content["type"], content["data"])
    return _WORDINGS[content["type"]](content["data"])


def _drift(words: Mapping[str, Any]) -> _Wording:
    """A drift event comes with its words: they need the figures of its look."""
    return _Wording(
        headline=words["headline"],
        sentences=tuple(words["sentences"]),
        facts=tuple((name, value) for name, value in words["facts"]),
    )


def _drift_without_words(kind: str, data: Mapping[str, Any]) -> _Wording:
    """A drift event written by an earlier release, which kept no words; it waits until its receiver answers again."""
    signal = data["signal"]
    before, now = (_figure(signal, data[name]) for name in ("baseline", "current"))
    about = f"{data['payer']}: {signal.replace('_', ' ')}"
    return _Wording(
        headline=f"Resolved: {about} is {now}" if kind.endswith("resolved") else f"{about} {before} → {now}",
        sentences=(data["explanation"],),
        facts=(
            ("Before", f"{before}, on {data['n_baseline']:,} lines"),
            ("Now", f"{now}, on {data['n_current']:,} lines"),
            ("Since", data["change_date"] or "not known"),
        ),
    )


def _figure(signal: str, value: float | None) -> str:
    if value is None:
        return "unknown"
    if signal == "decision_lag":
        return f"{value:.1f}\N{NO-BREAK SPACE}days"
    return f"{100 * value:.1f}\N{NO-BREAK SPACE}%{' of before' if signal == 'allowed_amount' else ''}"


def _run_failed(data: Mapping[str, Any]) -> _Wording:
    step = f" in step {data['step']}" if data["step"] else ""
    return _Wording(
        headline=f"A run failed: {data['job_name']}",
        sentences=(
            f"The run stopped{step} with {data['error_class']}. What it had stored is whole; nothing is half done.",
            "The run's page shows the cause. Re-execute it from there once the cause is gone.",
        ),
        facts=(("Run", data["run_id"]), ("Job", data["job_name"]), ("Error", data["error_class"])),
    )


def _quality_failed(data: Mapping[str, Any]) -> _Wording:
    rules = ", ".join(data["failed_rules"]) or "none"
    return _Wording(
        headline="An upload failed its quality checks",
        sentences=(
            f"These rules failed: {rules}. {_set_apart(data)}, the others were loaded.",
            "Figures that rest on this upload may be wrong until it is corrected and sent again.",
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


def _channel_disabled(data: Mapping[str, Any]) -> _Wording:
    return _Wording(
        headline=f"Alert channel {data['channel']} was switched off",
        sentences=(
            f"Alerts to the {data['kind']} channel {data['channel']} are no longer sent: {data['reason']}.",
            "Put the receiver right, then enable the channel and resend what it missed.",
        ),
        facts=(("Channel", data["channel"]), ("Since", data["disabled_at"])),
    )


_WORDINGS = {
    "run.failed": _run_failed,
    "upload.quality_failed": _quality_failed,
    "channel.disabled": _channel_disabled,
}


def _blocks(
    wording: _Wording, sentences: tuple[str, ...], link: str | None, customer: str
) -> tuple[dict[str, Any], ...]:
    """Block Kit, within its limits: a header, the sentences, at most 10 fields, a link, the customer."""
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": _cut(_one_line(wording.headline), _HEADER)}},
        {"type": "section", "text": {"type": "mrkdwn", "text": _cut(escape_slack(" ".join(sentences)), _SECTION)}},
        {
            "type": "section",
            "fields": [
                {"type": "mrkdwn", "text": _cut(f"*{escape_slack(name)}*\n{escape_slack(value)}", _FIELD)}
                for name, value in wording.facts[:10]
            ],
        },
    ]
    footer = escape_slack(customer)
    if link:
        footer = f"<{escape_slack(link)}|Open in Upstream> · {footer}"
    blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": _cut(footer, _SECTION)}]})
    return tuple(blocks)


def escape_slack(text: str) -> str:
    """The three characters that Slack's markup needs escaped; a payer's name must not become a link."""
    return visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _one_line(text: str) -> str:
    """No line break may reach a mail header, nor an encoded word that a mail library decodes into one."""
    printable = "".join(letter if letter.isprintable() else " " for letter in visible(text))
    return " ".join(printable.replace("=?", "= ?").split())


@cache
def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("upstream_pipelines.alerts"),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: visible(value) if isinstance(value, str) else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
