"""An alert's JSON content as a message: subject, text, HTML, Slack blocks, webhook payload.

Everything here is made of aggregates and names of payers, signals, jobs and rules; no claim's value
reaches it. Not here: what the content holds (notices.py), sending (delivery/).
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jinja2

from upstream_pipelines.alerts.wording import WORDINGS, Wording
from upstream_pipelines.visible import visible

_log = logging.getLogger(__name__)
_DASH = "–"  # noqa: RUF001  an en dash, on purpose
# https://docs.slack.dev/reference/block-kit/blocks: 3,000 characters a section, 150 a header, 2,000 a field.
_SECTION, _HEADER, _FIELD = 3000, 150, 2000
_OF_EVENTS = frozenset(f"drift.event.{notice}" for notice in ("opened", "resolved", "escalated", "reminder"))
# Told in full; more would be 50 blocks in Slack, and nobody reads on. Of those after them the headline, 100 at most.
_IN_FULL, _LISTED = 10, 100
# Mail systems commonly refuse above 10 MB; base64 makes a third more of it. 25 charts of the usual 40 kB.
_CHARTS_BYTES = 1_000_000


@dataclass(frozen=True)
class Alert:
    """An alert as it waits in the outbox: the JSON of `alerts.content`, and when it occurred (ISO 8601).

    The instant is the same for every attempt, so that a repeated webhook is the same bytes.
    """

    content: Mapping[str, Any]
    occurred_at: str

    @property
    def severity(self) -> float:
        """0..1; what has none comes after all that have one."""
        value = self.content["data"].get("severity")
        return float(value) if value is not None else -1.0


@dataclass(frozen=True)
class Message:
    """What the senders need. `payload` is the body of a webhook; `charts` are PNGs, shown by the HTML as `cid:chart1`,
    `cid:chart2` and so on.
    """

    subject: str
    text: str
    html: str
    blocks: tuple[dict[str, Any], ...]
    payload: dict[str, Any]
    charts: tuple[bytes, ...]


@dataclass(frozen=True)
class _Section:
    """One alert of a message in full; `chart` is the number of its picture, from 1, `mark` says how to call it noise."""

    headline: str
    sentences: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    link: str | None
    chart: int | None
    mark: str | None


def build_message(alerts: Sequence[Alert]) -> Message:
    """Put the alerts of one message into words, oldest first; at least one, all of one customer.

    People read the most severe first and find it in the subject. A webhook gets one alert as itself, and several as one
    `alerts.grouped` with all of them, oldest first.
    """
    customer = alerts[0].content["customer"]
    ordered = sorted(alerts, key=lambda alert: -alert.severity)  # stable: the older first among equals
    charts: list[bytes] = []
    sections = [_section(alert.content, charts) for alert in ordered[:_IN_FULL]]
    others = [wording_of(alert.content).headline for alert in ordered[_IN_FULL:]]
    listed = (*others[:_LISTED], *([f"and {len(others) - _LISTED} more"] if len(others) > _LISTED else ()))
    headline = f"{sections[0].headline}{_more(len(alerts) - 1)}"
    values = {
        "headline": headline, "sections": sections, "others": listed, "customer": customer["name"],
    }  # fmt: skip
    return Message(
        subject=_one_line(f"{headline} {_DASH} {customer['name']}"),
        text=_templates().get_template("alert.txt").render(values).strip() + "\n",
        html=_templates().get_template("alert.html").render(values),
        blocks=_blocks(headline, sections, listed, customer["name"]),
        payload=build_payload(alerts),
        charts=tuple(charts),
    )


def _more(count: int) -> str:
    """How many alerts stand behind the first one's headline. That may end with a day: "as of May 1 and 2 more" is a date."""
    return f"; and {count} more alert{'s' if count > 1 else ''}" if count else ""


def build_payload(alerts: Sequence[Alert]) -> dict[str, Any]:
    """The body of a webhook alone, which needs no words: a tenth of the time of a whole message."""
    customer = alerts[0].content["customer"]["slug"]
    if len(alerts) == 1:
        content = alerts[0].content
        return {
            "type": content["type"],
            "timestamp": alerts[0].occurred_at,
            "data": {"customer": customer, **content["data"]},
        }
    return {
        "type": "alerts.grouped",
        "timestamp": alerts[-1].occurred_at,
        "data": {
            "customer": customer,
            "alerts": [
                {"type": alert.content["type"], "timestamp": alert.occurred_at, "data": alert.content["data"]}
                for alert in alerts
            ],
        },
    }


def _section(content: Mapping[str, Any], charts: list[bytes]) -> _Section:
    """One alert in full; its chart is added to `charts` as far as they all go into one message."""
    wording = wording_of(content)
    customer, data = content["customer"], content["data"]
    note = [content["note"]] if content.get("note") else []
    sentences, number = (*note, *wording.sentences), None
    chart = base64.b64decode(content["chart_png"]) if content.get("chart_png") else None
    if content.get("chart_omitted") or (chart is not None and sum(map(len, (*charts, chart))) > _CHARTS_BYTES):
        sentences = (*sentences, "The chart is too large for a message; the link shows it.")
    elif chart is not None:
        charts.append(chart)
        number = len(charts)
    if content["type"] in _OF_EVENTS:
        command = f"upstream drift lines {customer['slug']} {data['event_id'][:8]}"
        sentences = (*sentences, f"The claim lines behind it are told by: {command}")
    mark = None
    if content.get("alert_id"):  # an alert of an earlier release has none
        mark = f"Not worth a message? Say so: upstream alerts judge {customer['slug']} {content['alert_id'][:8]} noise"
    return _Section(wording.headline, sentences, wording.facts, data.get("link"), number, mark)


def wording_of(content: Mapping[str, Any]) -> Wording:
    """The JSON of `alerts.content` in words: headline, sentences, facts. Never raises: an alert that has no words must not
    keep the others of its message, or of a list, from people.
    """
    try:
        return _words_of(content)
    except Exception as error:  # noqa: BLE001  whatever is wrong with this one; it is logged
        kind = str(content.get("type"))
        _log.error("alert %s of type %s has no words (%s)", content.get("alert_id"), kind, type(error).__name__)
        about = kind.replace(".", " ").replace("_", " ")
        return Wording(
            headline=f"An alert: {about}",
            sentences=(
                f"This release has no words for it. `upstream alerts list {_slug(content)} --json` shows all that is known.",
            ),
            facts=(("Type", kind),),
        )


def _words_of(content: Mapping[str, Any]) -> Wording:
    if "words" in content:
        return _drift(content["words"])
    if content["type"] in _OF_EVENTS:
        return _drift_without_words(content["type"], content["data"])
    return WORDINGS[content["type"]]({**content["data"], "slug": _slug(content)})


def _slug(content: Mapping[str, Any]) -> str:
    """For the commands that people are told to type; a content without its customer is not written yet."""
    slug: str = content["customer"]["slug"] if "customer" in content else "SLUG"
    return slug


def _drift(words: Mapping[str, Any]) -> Wording:
    """A drift event comes with its words: they need the figures of its look."""
    return Wording(
        headline=words["headline"],
        sentences=tuple(words["sentences"]),
        facts=tuple((name, value) for name, value in words["facts"]),
    )


def _drift_without_words(kind: str, data: Mapping[str, Any]) -> Wording:
    """A drift event written by an earlier release, which kept no words; it waits until its receiver answers again."""
    signal = data["signal"]
    before, now = (_figure(signal, data[name]) for name in ("baseline", "current"))
    about = f"{data['payer']}: {signal.replace('_', ' ')}"
    return Wording(
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


def _blocks(
    headline: str, sections: Sequence[_Section], others: Sequence[str], customer: str
) -> tuple[dict[str, Any], ...]:
    """Block Kit, within its limits: a header; of each alert its sentences and at most 10 fields; the headlines of the
    others; a link where all have the same; the customer. At most 1 + 2 x 10 + 1 + 1 blocks.
    """
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": _cut(_one_line(headline), _HEADER)}},
    ]
    links = {section.link for section in sections}
    for section in sections:
        told = escape_slack(" ".join(section.sentences))
        if len(sections) > 1:
            title = escape_slack(_one_line(section.headline))
            told = f"*{_linked(title, section.link) if len(links) > 1 else title}*\n{told}"
        mark = f"\n{escape_slack(section.mark)}" if section.mark else ""
        blocks += [
            {"type": "section", "text": {"type": "mrkdwn", "text": _cut(told, _SECTION - len(mark)) + mark}},
            {
                "type": "section",
                "fields": [
                    {"type": "mrkdwn", "text": _cut(f"*{escape_slack(name)}*\n{escape_slack(value)}", _FIELD)}
                    for name, value in section.facts[:10]
                ],
            },
        ]
    if others:
        listed = "\n".join(f"• {escape_slack(_one_line(other))}" for other in others)
        blocks.append({"type": "section", "text": {"type": "mrkdwn", "text": _cut(listed, _SECTION)}})
    footer, link = escape_slack(customer), sections[0].link
    if link and len(links) == 1:
        footer = f"{_linked('Open in Upstream', link)} · {footer}"
    blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": _cut(footer, _SECTION)}]})
    return tuple(blocks)


def _linked(text: str, link: str | None) -> str:
    """A link in Slack's markup; `text` is escaped already."""
    return f"<{escape_slack(link)}|{text.replace('|', '/')}>" if link else text


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
