"""An alert's JSON content as a message: subject, text, HTML, Slack blocks, webhook payload.

Everything here is made of aggregates and names of payers, signals, jobs and rules; no claim's value
reaches it. Not here: what the content holds (notices.py), sending (delivery/).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import jinja2

_RATE_SIGNALS = frozenset({"denial_rate", "authorization_denials"})
_WHOLE_PAYER = frozenset({"", "ALL"})
_DASH = "–"  # noqa: RUF001  an en dash, on purpose
# https://docs.slack.dev/reference/block-kit/blocks: 3,000 characters a section, 150 a header, 2,000 a field.
_SECTION, _HEADER, _FIELD = 3000, 150, 2000


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
    wording = _WORDINGS[content["type"]](data)
    chart = base64.b64decode(content["chart_png"]) if content.get("chart_png") else None
    sentences = wording.sentences
    if content.get("chart_omitted"):
        sentences = (*sentences, "The chart is too large for a message; the link shows it.")
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


def _drift_opened(data: Mapping[str, Any]) -> _Wording:
    effect = data["effect"]
    word = "changed" if effect is None else "up" if effect >= 0 else "down"
    before, after = _change(data)
    size = f"{before} → {after}"
    if data["signal"] == "allowed_amount" and effect is not None:
        # An index of 100 % that became 95 % says less than its change.
        size = f"{abs(effect) * 100:.1f}\N{NO-BREAK SPACE}%"
    return _Wording(
        headline=f"{_data_not_payer(data)}{_who(data)}: {_signal(data)} {word} {size} ({data['direction']})",
        sentences=(data["explanation"],),
        facts=_drift_facts(data),
    )


def _drift_resolved(data: Mapping[str, Any]) -> _Wording:
    _, after = _change(data)
    return _Wording(
        headline=f"Resolved: {_data_not_payer(data)}{_who(data)}: {_signal(data)} is {after}",
        sentences=(data["explanation"],),
        facts=_drift_facts(data),
    )


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
            f"These rules failed: {rules}. Rows that broke them were set apart, the others were loaded.",
            "Figures that rest on this upload may be wrong until it is corrected and sent again.",
        ),
        facts=(("Upload", data["upload_id"]), ("Score", f"{data['score'] or 0:.0f} of 100"), ("Rules", rules)),
    )


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
    "drift.event.opened": _drift_opened,
    "drift.event.resolved": _drift_resolved,
    "run.failed": _run_failed,
    "upload.quality_failed": _quality_failed,
    "channel.disabled": _channel_disabled,
}


def _data_not_payer(data: Mapping[str, Any]) -> str:
    """Says at once that it is the customer's own files; alerts written before causes were known have none."""
    return "Data, not payer: " if data.get("cause") == "data" else ""


def _who(data: Mapping[str, Any]) -> str:
    group = data["cpt_group"]
    return data["payer"] if group in _WHOLE_PAYER else f"{data['payer']}, {group}"


def _signal(data: Mapping[str, Any]) -> str:
    return str(data["signal"]).replace("_", " ")


def _change(data: Mapping[str, Any]) -> tuple[str, str]:
    return _value(data["signal"], data["baseline"]), _value(data["signal"], data["current"])


def _value(signal: str, value: float | None) -> str:
    """A figure in the unit of its signal; a no-break space keeps it in one piece."""
    if value is None:
        return "unknown"
    if signal in _RATE_SIGNALS:
        return f"{value * 100:.1f}\N{NO-BREAK SPACE}%"
    if signal == "decision_lag":
        return f"{value:.1f}\N{NO-BREAK SPACE}days"
    if signal == "allowed_amount":
        return f"{value * 100:.1f}\N{NO-BREAK SPACE}% of the earlier price"
    return f"{value:,.4g}"


def _effect(data: Mapping[str, Any]) -> str:
    signal, effect = data["signal"], data["effect"]
    if effect is None:
        return "unknown"
    if signal in _RATE_SIGNALS:
        return f"{effect * 100:+.1f} points"
    if signal == "decision_lag":
        return f"{effect:+.1f} days"
    if signal == "allowed_amount":
        return f"{effect * 100:+.1f}\N{NO-BREAK SPACE}%"
    return f"{effect:+,.4g}"


def _drift_facts(data: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    before, after = _change(data)
    facts = [
        ("Before", f"{before} on {data['n_baseline']:,} lines"),
        ("Now", f"{after} on {data['n_current']:,} lines"),
        ("Change", _effect(data)),
        ("Since", data["change_date"] or "not known"),
        ("Looked at on", data["as_of"]),
        ("How sure", _sure(data)),
    ]
    if data["maturity"] is not None:
        facts.append(("Complete", f"{data['maturity'] * 100:.0f}\N{NO-BREAK SPACE}% decided"))
    if data["severity"] is not None:
        facts.append(("Severity", f"{data['severity'] * 100:.0f} of 100"))
    return tuple(facts)


def _sure(data: Mapping[str, Any]) -> str:
    """The error rate over all of the customer's charts where it is known, else that of this one."""
    q_value, p_value = data["q_value"], data["p_value"]
    if q_value is not None:
        return f"false alarm rate {_probability(q_value)} over all charts (q)"
    return f"{_probability(p_value)} by chance alone (p)" if p_value is not None else "not known"


def _probability(value: float) -> str:
    return "under 0.1\N{NO-BREAK SPACE}%" if value < 0.001 else f"{value * 100:.1f}\N{NO-BREAK SPACE}%"


def _blocks(
    wording: _Wording, sentences: tuple[str, ...], link: str | None, customer: str
) -> tuple[dict[str, Any], ...]:
    """Block Kit, within its limits: a header, the sentences, at most 10 fields, a link, the customer."""
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": _cut(_one_line(wording.headline), _HEADER)}},
        {"type": "section", "text": {"type": "mrkdwn", "text": _cut(_escape(" ".join(sentences)), _SECTION)}},
        {
            "type": "section",
            "fields": [
                {"type": "mrkdwn", "text": _cut(f"*{_escape(name)}*\n{_escape(value)}", _FIELD)}
                for name, value in wording.facts[:10]
            ],
        },
    ]
    footer = _escape(customer)
    if link:
        footer = f"<{_escape(link)}|Open in Upstream> · {footer}"
    blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": _cut(footer, _SECTION)}]})
    return tuple(blocks)


def _escape(text: str) -> str:
    """The three characters that Slack's markup needs escaped; a payer's name must not become a link."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _one_line(text: str) -> str:
    """No line break may reach a mail header, nor an encoded word that a mail library decodes into one."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(printable.replace("=?", "= ?").split())


@cache
def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("upstream_pipelines.alerts"),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
