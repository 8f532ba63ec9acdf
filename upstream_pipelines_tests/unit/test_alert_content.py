"""An alert in words: what people read, and that nothing in a name can break out of its place."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import date
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from upstream_pipelines.alerts.content import Alert, Message, build_message
from upstream_pipelines.alerts.notices import (
    DriftNotice,
    Entry,
    channel_disabled_content,
    drift_entry,
)
from upstream_pipelines.alerts.occurrences import quality_entry, run_failure_entry
from upstream_pipelines.alerts.rules import DEFAULT_RULE, AlertRule, Facts, Signal, matches
from upstream_pipelines.drift.settings import SIGNALS


def _notice(**changes: Any) -> DriftNotice:
    values: dict[str, Any] = {
        "event_id": uuid.UUID(int=7), "notice": "open", "payer": "Aetna", "cpt_group": "ALL",
        "signal": "denial_rate", "direction": "worsening", "severity": 0.7, "effect": 0.052, "baseline": 0.101,
        "current": 0.153, "n_baseline": 5000, "n_current": 900, "maturity": 0.72, "p_value": 1e-5, "q_value": 2e-4,
        "as_of": date(2026, 5, 1), "change_date": date(2026, 4, 2),
        "headline": "Aetna denies more: 10.1 % → 15.3 %, about $12,000 a month",
        "sentences": ("Aetna denies more, since about April 2.", "This costs about $12,000 a month."),
        "facts": (("Before", "10.1 % on 5,000 decided lines"), ("Costs", "about $12,000 a month ($8,100 to $16,000)")),
        "change_date_low": date(2026, 3, 28), "change_date_high": date(2026, 4, 5), "complete_to": date(2026, 4, 30),
        "confidence": 0.98, "contributions": {"change": 0.05, "by": {"cpt_group": [{"name": "Imaging", "total": 0.05}]}},
        "money": {"per_month": 12034.5, "low": 8100.0, "high": 16000.0}, "chart_png": None, "link": "http://u/runs",
    }  # fmt: skip
    return DriftNotice(**{**values, **changes})


def _message(entry: Entry, name: str = "Acme Health") -> Message:
    return build_message([_alert(entry.content, name)])


def _alert(content: Mapping[str, Any], name: str = "Acme Health", at: str = "2026-05-01T00:00:00+00:00") -> Alert:
    return Alert({**content, "customer": {"slug": "acme", "name": name}}, at)


def test_the_subject_says_who_what_how_much_and_what_it_costs() -> None:
    assert (
        _message(drift_entry(_notice())).subject
        == "Aetna denies more: 10.1 % → 15.3 %, about $12,000 a month \N{EN DASH} Acme Health"
    )


def test_text_html_and_slack_hold_every_sentence_fact_and_the_link() -> None:
    message = _message(drift_entry(_notice(chart_png=b"png")))
    for told in (message.text, message.html, repr(message.blocks)):
        for part in (
            "Aetna denies more, since about April 2.", "This costs about $12,000 a month.", "Costs",
            "about $12,000 a month ($8,100 to $16,000)", "10.1 % on 5,000 decided lines", "http://u/runs",
        ):  # fmt: skip
            assert part in told


@pytest.mark.parametrize(
    ("signal", "baseline", "current", "change", "now"),
    [
        ("denial_rate", 0.101, 0.153, "10.1 % → 15.3 %", "15.3 %"),
        ("decision_lag", 14.0, 21.0, "14.0 days → 21.0 days", "21.0 days"),
        ("allowed_amount", 1.0, 0.95, "100.0 % of before → 95.0 % of before", "95.0 % of before"),
        ("denial_rate", None, None, "unknown → unknown", "unknown"),
    ],
)
def test_an_alert_that_waits_since_before_it_had_words_can_still_be_sent(
    signal: str, baseline: float | None, current: float | None, change: str, now: str
) -> None:
    """Its receiver may have been out of reach during the upgrade; an error in here would come at every attempt."""
    data = {
        "event_id": str(uuid.UUID(int=7)), "payer": "Aetna", "cpt_group": "ALL", "signal": signal,
        "direction": "worsening", "severity": 0.7, "effect": 0.052, "baseline": baseline, "current": current,
        "n_baseline": 5000, "n_current": 900, "maturity": 0.72, "p_value": 1e-5, "q_value": 2e-4,
        "as_of": "2026-05-01", "change_date": "2026-04-02" if baseline else None,
        "explanation": "Aetna denies more since April 2.", "link": "http://u/runs",
    }  # fmt: skip
    for kind, said in (("opened", change), ("resolved", f"is {now}")):
        content = {
            "type": f"drift.event.{kind}", "data": data, "chart_png": "cG5n",
            "customer": {"slug": "acme", "name": "Acme"},
        }  # fmt: skip
        message = build_message([Alert(content, "2026-05-01T00:00:00+00:00")])
        assert f"Aetna: {signal.replace('_', ' ')}" in message.subject
        assert said in message.subject.replace("\N{NO-BREAK SPACE}", " ")
        assert message.subject.startswith("Resolved: ") is (kind == "resolved")
        for part in ("Aetna denies more since April 2.", "5,000 lines", "2026-04-02" if baseline else "not known"):
            assert part in message.text
            assert part in repr(message.blocks)
        assert message.payload["data"] == {"customer": "acme", **data}
        assert message.charts == (b"png",)


def test_an_event_names_the_command_that_shows_its_claim_lines() -> None:
    event = uuid.UUID("36a1e27a-ce2e-5617-a824-a9d92d1e640d")
    message = _message(drift_entry(_notice(event_id=event)))
    for told in (message.text, message.html, repr(message.blocks)):
        assert "upstream drift lines acme 36a1e27a" in told
    assert "upstream drift lines" not in _message(run_failure_entry("r1", "daily_drift", None, "Error", None)).text


def test_the_webhook_body_is_the_numbers_without_the_chart() -> None:
    message = _message(drift_entry(_notice(chart_png=b"png")))
    assert message.payload["type"] == "drift.event.opened"
    assert message.payload["timestamp"] == "2026-05-01T00:00:00+00:00"
    assert message.payload["data"]["customer"] == "acme"
    data = message.payload["data"]
    assert data["effect"] == 0.052
    assert (data["change_date_low"], data["change_date_high"]) == ("2026-03-28", "2026-04-05")
    assert (data["complete_to"], data["maturity"], data["confidence"]) == ("2026-04-30", 0.72, 0.98)
    assert data["money"] == {"per_month": 12034.5, "low": 8100.0, "high": 16000.0}
    assert data["contributions"]["by"]["cpt_group"][0]["name"] == "Imaging"
    assert data["explanation"] == "Aetna denies more, since about April 2. This costs about $12,000 a month."
    assert "chart" not in repr(message.payload)
    assert message.charts == (b"png",)
    assert 'src="cid:chart1"' in message.html


def _several(count: int, **changes: Any) -> list[Alert]:
    """Alerts of `count` payers, a minute apart, the later the more severe."""
    notices = [
        _notice(**{
            "payer": f"Payer {number}", "headline": f"Payer {number} denies more", "severity": (number + 1) / (count + 1),
            "event_id": uuid.UUID(int=number), **changes,
        })
        for number in range(count)
    ]  # fmt: skip
    return [
        _alert(drift_entry(notice).content, at=f"2026-05-01T00:{number % 60:02}:00+00:00")
        for number, notice in enumerate(notices)
    ]


def test_a_message_of_several_is_headed_by_the_most_severe_and_tells_each() -> None:
    alerts = [
        *_several(3),
        _alert(run_failure_entry("r1", "daily_drift", None, "Error", "http://u/runs/r1").content),
    ]
    message = build_message(alerts)
    assert message.subject == "Payer 2 denies more; and 3 more alerts \N{EN DASH} Acme Health"
    for told in (message.text, message.html, repr(message.blocks)):
        places = [told.index(f"upstream drift lines acme {uuid.UUID(int=number).hex[:8]}") for number in (2, 1, 0)]
        assert places == sorted(places)
        assert "A run failed: daily_drift" in told
        assert "http://u/runs/r1" in told
    assert message.payload == {
        "type": "alerts.grouped",
        "timestamp": alerts[-1].occurred_at,
        "data": {
            "customer": "acme",
            "alerts": [
                {"type": alert.content["type"], "timestamp": alert.occurred_at, "data": alert.content["data"]}
                for alert in alerts
            ],
        },
    }


def test_how_many_more_a_message_tells_is_not_read_as_a_part_of_the_day_that_ends_its_headline() -> None:
    """The headline ended with "as of May 1 and 2 more", which is a date."""
    one, two = (build_message(_several(count, headline="Aetna denies more, as of May 1")) for count in (1, 2))
    assert one.subject == "Aetna denies more, as of May 1 \N{EN DASH} Acme Health"
    assert two.subject == "Aetna denies more, as of May 1; and 1 more alert \N{EN DASH} Acme Health"
    assert two.blocks[0]["text"]["text"] == "Aetna denies more, as of May 1; and 1 more alert"
    assert two.text.startswith("Aetna denies more, as of May 1; and 1 more alert\n")


def test_a_message_of_many_stays_within_slacks_limits_and_the_rest_are_named_by_their_headlines() -> None:
    message = build_message(
        _several(200, sentences=("x" * 4000,), facts=tuple((f"f{n}", "y" * 3000) for n in range(20)))
    )
    assert len(message.blocks) <= 50
    for block in message.blocks:
        texts = [block["text"]] if "text" in block else block.get("fields", []) + block.get("elements", [])
        limit = {"header": 150, "section": 2000 if "fields" in block else 3000, "context": 3000}[block["type"]]
        assert len(block.get("fields", [])) <= 10
        assert all(1 <= len(text["text"]) <= limit for text in texts)
    assert "- Payer 189 denies more\n" in message.text
    assert "- and 90 more" in message.text
    assert len(message.payload["data"]["alerts"]) == 200


def test_charts_go_along_as_far_as_one_message_may_hold_them() -> None:
    message = build_message(_several(9, chart_png=b"x" * 140_000))
    assert len(message.charts) == 7
    assert [f"cid:chart{number}" in message.html for number in range(1, 9)] == [True] * 7 + [False]
    assert message.text.count("too large") == 2


def test_a_chart_too_large_for_mail_is_left_out_and_that_is_said() -> None:
    message = _message(drift_entry(_notice(chart_png=b"x" * 200_000)))
    assert message.charts == ()
    assert "cid:chart" not in message.html
    assert "too large" in message.text


def test_a_statistic_that_is_not_a_number_becomes_null() -> None:
    """JSON has no NaN; PostgreSQL would refuse the whole transaction."""
    content = drift_entry(_notice(q_value=float("nan"), severity=float("inf"))).content
    assert (content["data"]["q_value"], content["data"]["severity"]) == (None, None)


@given(st.text(min_size=1, max_size=300))
def test_no_name_breaks_out_of_subject_html_or_blocks(name: str) -> None:
    message = _message(drift_entry(_notice(payer=name, headline=name, sentences=(name,))), name)
    assert "\n" not in message.subject
    assert "\r" not in message.subject
    hostile = _message(
        drift_entry(_notice(headline=f"<script>{name}", sentences=(f"<b>{name}",), facts=(("<i>", f"<u>{name}"),)))
    )
    assert "<script>" not in hostile.html
    for tag in ("<b>", "<i>", "<u>"):
        assert tag not in hostile.html
        assert tag not in repr(hostile.blocks[1:])
    assert len(hostile.blocks[0]["text"]["text"]) <= 150


def test_a_run_failure_tells_the_class_and_never_the_message() -> None:
    entry = run_failure_entry(
        "r1", "daily_drift", "payer_drift", "ValueError: 123-45-6789 CANARY", "http://u/runs/r1"
    )
    message = _message(entry)
    everything = repr((entry, message))
    assert "CANARY" not in everything
    assert "6789" not in everything
    assert message.subject.startswith("A run failed: daily_drift")
    good = _message(run_failure_entry("r1", "daily_drift", None, "psycopg.errors.DeadlockDetected", None))
    assert "psycopg.errors.DeadlockDetected" in good.text


def test_quality_and_channel_trouble_have_words_too() -> None:
    quality = _message(quality_entry(uuid.UUID(int=1), 71.4, ["payer_present", "cpt_present"], None))
    assert "cpt_present, payer_present" in quality.text
    content = channel_disabled_content("hook", "webhook", "the receiver answered 410 Gone", _at())
    trouble = build_message([_alert(content)])
    assert "hook was switched off" in trouble.subject


def _at() -> Any:
    from datetime import UTC, datetime

    return datetime(2026, 5, 1, tzinfo=UTC)


def test_the_default_rule_hears_of_worsening_drift_of_data_trouble_and_of_failed_runs() -> None:
    assert matches(DEFAULT_RULE, Facts("drift", direction="worsening"))
    assert not matches(DEFAULT_RULE, Facts("drift", direction="improving"))
    assert matches(DEFAULT_RULE, Facts("run_failure"))
    assert matches(DEFAULT_RULE, Facts("quality"))
    assert matches(DEFAULT_RULE, drift_entry(_notice(cause="data")).facts)


@pytest.mark.parametrize(
    ("rule", "matched"),
    [
        ({"payers": ["AETNA"]}, True),
        ({"payers": ["Cigna"]}, False),
        ({"signals": ["decision_lag"]}, False),
        ({"cpt_groups": ["ALL"]}, True),
        ({"minimum_severity": 0.6}, True),
        ({"minimum_severity": 0.61}, False),
        ({"minimum_effect": 0.05}, True),
        ({"minimum_effect": 0.06}, False),
        ({"kinds": ["run_failure"]}, False),
        ({"enabled": False}, False),
        ({"directions": ["improving"]}, False),
    ],
)
def test_a_rule_matches_by_all_it_names(rule: dict[str, Any], matched: bool) -> None:
    facts = Facts("drift", "denial_rate", "Aetna", "ALL", "worsening", severity=0.6, effect=-0.05)
    assert matches(AlertRule.model_validate({"name": "r", **rule}), facts) is matched


@pytest.mark.parametrize(
    ("rule", "matched"),
    [
        ({"kinds": ["quality"]}, True),
        ({"kinds": ["drift"]}, False),
        ({"kinds": ["quality"], "payers": ["AETNA"]}, True),
        ({"kinds": ["quality"], "payers": ["Cigna"]}, False),
        ({"kinds": ["quality"], "signals": ["decision_lag"]}, False),
        ({"kinds": ["quality"], "minimum_severity": 0.9, "minimum_effect": 0.9}, True),
        ({"kinds": ["quality"], "directions": ["improving"]}, True),
    ],
)
def test_a_change_that_is_data_is_matched_as_quality_of_its_payer_and_signal(
    rule: dict[str, Any], matched: bool
) -> None:
    entry = drift_entry(_notice(cause="data"))
    assert entry.kind == "quality"
    assert matches(AlertRule.model_validate({"name": "r", **rule}), entry.facts) is matched


def test_a_rule_on_a_payer_still_hears_of_failed_uploads() -> None:
    assert matches(AlertRule(name="r", kinds=("quality",), payers=("Aetna",)), Facts("quality"))


def test_data_and_payer_are_subjects_of_their_own() -> None:
    """Who was told that it is the data has not been told that it is the payer; the unique key must not think so."""
    data, payer = drift_entry(_notice(cause="data")), drift_entry(_notice())
    assert data.subject_id != payer.subject_id
    assert data.fingerprint != payer.fingerprint
    assert data.subject_id == drift_entry(_notice(cause="data", notice="resolved")).subject_id
    assert _message(data).payload["data"]["cause"] == "data"
    assert _message(payer).payload["data"]["cause"] == "payer"


def test_a_rule_on_a_payer_still_hears_of_failed_runs() -> None:
    assert matches(AlertRule(name="r", payers=("Aetna",)), Facts("run_failure"))


def test_rules_know_the_signals_that_drift_has_and_no_other() -> None:
    """A rule on a misspelt signal would be silent for ever."""
    assert get_args(Signal) == SIGNALS
    with pytest.raises(ValidationError):
        AlertRule.model_validate({"name": "r", "signals": ["denial-rate"]})


@pytest.mark.parametrize("payer", ["=?utf-8?q?=0D=0ABcc:_x=40y?=", "Aetna\r\nBcc: x@y", "Aetna\x00\x0b Bcc: x@y"])
def test_a_payers_name_adds_no_header_to_a_mail(payer: str) -> None:
    """Python's mail policy decodes encoded words inside a subject, line breaks included."""
    from email.message import EmailMessage

    from upstream_pipelines.alerts.content import _one_line

    mail = EmailMessage()
    mail["Subject"] = _one_line(payer)
    head = mail.as_bytes().split(b"\n\n")[0]
    assert b"\nBcc" not in head
    assert "\x00" not in str(mail["Subject"])
