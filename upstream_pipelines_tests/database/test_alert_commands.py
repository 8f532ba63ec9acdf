"""`upstream alerts silence, silences, unsilence, judge, list`, as typed."""

from __future__ import annotations

import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from upstream_pipelines.alerts.content import Alert, build_message
from upstream_pipelines.alerts.store import list_alerts, sync_channels, write_quality_alert, write_refused_alert
from upstream_pipelines.cli.alerts import _about
from upstream_pipelines.cli.main import app
from upstream_pipelines.customers.store import create_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.delivery.channels import WebhookChannel
from upstream_pipelines.errors import ConfigurationError, NotFoundError, UpstreamError
from upstream_pipelines.settings import Settings


@pytest.fixture
def customer(pipeline: Connection, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> int:
    """A customer that was told of a failed upload."""
    assert settings.database_url is not None
    monkeypatch.setenv("UPSTREAM_DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setenv("UPSTREAM_HOME", str(settings.home))
    made, _ = create_customer(pipeline, "acme", "Acme")
    sync_channels(
        pipeline, made.customer_id, [WebhookChannel(kind="webhook", name="hook", url="https://example.org/hook")]
    )
    _fail(pipeline, made.customer_id)
    return made.customer_id


def _fail(conn: Connection, customer: int) -> None:
    assert write_quality_alert(conn, customer, uuid.uuid4(), 71.0, ["payer_present"], None) == 1


def _said(*words: str) -> str:
    """What a command printed; its error is raised."""
    result = CliRunner().invoke(app, ["alerts", *words])
    if isinstance(result.exception, UpstreamError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def _read(*words: str) -> Any:
    return json.loads(_said(*words, "--json"))


def test_what_a_message_ends_with_can_be_typed_as_it_is(pipeline: Connection, customer: int) -> None:
    (alert,) = list_alerts(pipeline, customer)
    message = build_message([Alert(alert["content"], alert["created_at"])])
    found = [
        re.findall(r"upstream alerts (judge acme [0-9a-f]{8} noise)", told)
        for told in (message.text, message.html, repr(message.blocks))
    ]
    assert found == [found[0]] * 3
    (command,) = found[0]
    assert "is noise" in _said(*command.split())
    assert _read("list", "acme")[0]["judgements"][0]["judgement"] == "noise"
    assert "judged noise" in _said("list", "acme").replace("\n", " ")


def test_two_alerts_of_a_day_are_told_apart_by_their_uploads_and_reasons(
    pipeline: Connection, customer: int
) -> None:
    write_refused_alert(pipeline, customer, uuid.uuid4(), "csv", "file_refused", None)
    refused, failed = (alert["content"] for alert in list_alerts(pipeline, customer))
    assert _about(failed).endswith(f"(upload {failed['data']['upload_id'][:8]}, payer_present)")
    assert _about(refused).endswith(f"(upload {refused['data']['upload_id'][:8]}, file_refused)")
    assert refused["data"]["upload_id"][:8] in _said("list", "acme")


def test_dollars_that_came_back_are_kept_to_the_cent(pipeline: Connection, customer: int) -> None:
    (alert,) = list_alerts(pipeline, customer)
    kept = _read("judge", "acme", alert["alert_id"], "real", "--recovered", "$12,500.75", "--note", "paid again")
    assert (kept["judgement"], kept["recovered"], kept["note"]) == ("real", 12500.75, "paid again")
    assert "$1.00 recovered" in _said("judge", "acme", alert["alert_id"], "real", "--recovered", "1")
    for words in ("much", "1e30", "1000000000000", "NaN"):
        with pytest.raises(ConfigurationError, match="number from 0"):
            _said("judge", "acme", alert["alert_id"], "real", "--recovered", words)
    with pytest.raises(ConfigurationError, match="no judgement good"):
        _said("judge", "acme", alert["alert_id"], "good")
    with pytest.raises(NotFoundError, match="upstream alerts list"):
        _said("judge", "acme", "ffff", "noise")


def test_a_silence_is_made_listed_seen_in_the_list_of_alerts_and_ended(
    pipeline: Connection, customer: int
) -> None:
    (alert,) = list_alerts(pipeline, customer)
    assert _said("silences", "acme") == "Nothing is silenced for acme.\n"
    pipeline.execute("UPDATE alerts SET told_at = told_at - interval '1 day'")
    kept = _read("silence", "acme", alert["alert_id"][:8], "--hours", "8", "--reason", "code-set release")
    assert datetime.fromisoformat(kept["ends_at"]) - datetime.now(UTC) < timedelta(hours=8)
    assert "code-set release" in _said("silences", "acme")
    assert [one["silence_id"] for one in _read("silences", "acme")] == [kept["silence_id"]]
    _fail(pipeline, customer)
    shown = re.sub(r"\s+", " ", _said("list", "acme").replace("│", " "))
    assert "held back:" in shown
    assert "No longer silenced" in _said("unsilence", "acme", kept["silence_id"][:8])
    assert _read("silences", "acme") == []


def test_a_silence_by_payer_says_when_nobody_has_that_name(customer: int) -> None:
    result = CliRunner().invoke(app, ["alerts", "silence", "acme", "--payer", "Aetan", "--until", "2999-01-01"])
    assert "no claims of a payer Aetan" in result.stderr
    assert "Silenced until 2999-01-01 00:00 UTC: aetan." in result.stdout.replace("\n", " ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--payer", "Aetna"], "--hours or --until"),
        (["--payer", "Aetna", "--hours", "1", "--until", "2999-01-01"], "--hours or --until"),
        (["--payer", "Aetna", "--hours", "0"], "above 0"),
        (["--payer", "Aetna", "--until", "soon"], "2026-06-01T08:00"),
        (["--payer", "Aetna", "--until", "2020-01-01"], "still ahead"),
        (["--signal", "denials", "--hours", "1"], "Signals: denial_rate"),
        (["--hours", "1"], "what to silence"),
    ],
)
def test_a_silence_without_sense_is_refused_with_what_to_write(customer: int, words: list[str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        _said("silence", "acme", *words)


def test_what_died_long_ago_is_left_until_it_is_asked_for(pipeline: Connection, customer: int) -> None:
    pipeline.execute("UPDATE deliveries SET state = 'dead', finished_at = now() - interval '8 days'")
    pipeline.execute("UPDATE alerts SET state = 'failed'")
    (channel,) = pipeline.execute("SELECT name FROM alert_channels").fetchone()  # type: ignore[misc]
    said = " ".join(_said("resend", "acme", "--channel", channel).split())
    assert said.startswith("0 deliveries are due now. Left: 1 that died over 7 days ago")
    (command,) = re.findall("`upstream (.*?)`", said)
    assert _said(*command.split()[1:]) == "1 deliveries are due now.\n"
    with pytest.raises(ConfigurationError, match="goes with --channel"):
        _said("resend", "acme", "abc", "--all")
