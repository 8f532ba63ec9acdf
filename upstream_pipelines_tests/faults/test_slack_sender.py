"""Slack through the real SDK, against a server that enforces Slack's limits."""

from __future__ import annotations

import json
import threading
import time
import urllib.parse
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from upstream_pipelines.alerts.content import Alert, Message, build_message
from upstream_pipelines.alerts.notices import DriftNotice, drift_entry
from upstream_pipelines.alerts.store import list_alerts
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.delivery import sending
from upstream_pipelines.delivery.channels import SlackChannel
from upstream_pipelines.delivery.outcome import Outcome
from upstream_pipelines.delivery.slack import send_slack
from upstream_pipelines.delivery.worker import deliver_due
from upstream_pipelines.settings import Settings

PNG = b"\x89PNG\r\n\x1a\nchart"


def _message(explanation: str = "Aetna denies more.", payer: str = "Aetna") -> Message:
    notice = DriftNotice(
        event_id=uuid.UUID(int=7), notice="open", payer=payer, cpt_group="ALL", signal="denial_rate",
        direction="worsening", severity=0.7, effect=0.052, baseline=0.101, current=0.153, n_baseline=5000,
        n_current=900, maturity=0.72, p_value=1e-5, q_value=2e-4, as_of=date(2026, 5, 1),
        change_date=date(2026, 4, 2), sentences=(explanation,),
        headline=f"{payer} denies more: 10.1 % → 15.3 %", facts=(("Before", "10.1 %"),), chart_png=PNG, link="https://upstream.example/runs",
    )  # fmt: skip
    content = {**drift_entry(notice).content, "customer": {"slug": "acme", "name": "Acme Health"}}
    return build_message([Alert(content, "2026-05-01T00:00:00+00:00")])


def _broken_limit(body: dict[str, Any]) -> str | None:
    """What Slack would refuse."""
    blocks = body["blocks"]
    if len(json.dumps(body["metadata"])) > 8000:
        return "metadata_too_large"
    if not body.get("text") or not 1 <= len(blocks) <= 50:
        return "invalid_blocks"
    for block in blocks:
        texts = [block["text"]] if "text" in block else block.get("fields", []) + block.get("elements", [])
        limit = {"header": 150, "section": 2000 if "fields" in block else 3000, "context": 3000}[block["type"]]
        if not 1 <= len(block.get("fields", ["none is given"])) <= 10 or any(
            not 1 <= len(text["text"]) <= limit for text in texts
        ):
            return "invalid_blocks"
    return None


class FakeSlack:
    """The incoming webhook and the four methods of the Web API that are used."""

    def __init__(self, receiver: Any, reply: Callable[..., None]) -> None:
        self.posts: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self.files: list[bytes] = []
        self.errors: dict[str, tuple[int, str, dict[str, str]]] = {}
        self.slow: dict[str, float] = {}
        self.broken: dict[str, bytes] = {}
        self.one_a_second = False
        self.refused_as_too_fast = 0
        self._accepted_at: dict[str, float] = {}
        self._receiver, self._reply = receiver, reply
        receiver.script = self

    def __call__(self, handler: Any, body: bytes) -> None:
        method = handler.path.rpartition("/")[2]
        self.calls.append(method)
        self._receiver.closing.wait(self.slow.get(method, 0.0))
        if method in self.broken:
            handler.wfile.write(self.broken[method])
            handler.close_connection = True
        elif method in self.errors:
            status, code, headers = self.errors[method]
            text = code if method == "hook" else json.dumps({"ok": False, "error": code})
            self._reply(handler, status, text.encode(), **headers)
        elif method == "upload":
            self.files.append(body)
            self._reply(handler, 200)
        elif method in ("hook", "chat.postMessage"):
            post = json.loads(body)
            if self._too_fast(post.get("channel", handler.path)):
                text = "ratelimited" if method == "hook" else json.dumps({"ok": False, "error": "ratelimited"})
                self._reply(handler, 429, text.encode(), retry_after="1")
                return
            self.posts.append(post)
            broken = _broken_limit(post)
            if method == "hook":
                self._reply(handler, 400 if broken else 200, (broken or "ok").encode())
            else:
                token = handler.headers["authorization"]
                answer = {"ok": broken is None, "error": broken or "", "channel": "C1", "ts": "1.2"}
                if token != "Bearer xoxb-1":
                    answer = {"ok": False, "error": "invalid_auth"}
                self._reply(handler, 200, json.dumps(answer).encode())
        elif method == "files.getUploadURLExternal":
            answer = {"ok": True, "file_id": "F1", "upload_url": f"{self._receiver.url}/upload"}
            self._reply(handler, 200, json.dumps(answer).encode())
        else:
            form = urllib.parse.parse_qs(body.decode())
            assert (form["channel_id"], form["thread_ts"]) == (["C1"], ["1.2"])
            self._reply(handler, 200, json.dumps({"ok": True, "files": [{"id": "F1"}]}).encode())

    def _too_fast(self, channel: str) -> bool:
        now = time.monotonic()
        too_fast = self.one_a_second and now - self._accepted_at.get(channel, -1.0) < 1
        if too_fast:
            self.refused_as_too_fast += 1
        else:
            self._accepted_at[channel] = now
        return too_fast


@pytest.fixture
def slack(receiver: Any, reply: Any) -> FakeSlack:
    return FakeSlack(receiver, reply)


def _send(
    receiver: Any, message: Message, *, channel: str | None = None, token: str = "xoxb-1", **changes: Any
) -> Outcome:
    return send_slack(
        Settings(slack_base_url=f"{receiver.url}/api"),
        secret=token if channel else f"{receiver.url}/hook",
        channel=channel,
        delivery_id="5f0c",
        message=message,
        now=datetime.now(UTC),
        **changes,
    )


def test_a_webhook_message_has_a_fallback_text_blocks_and_the_delivery_id(receiver: Any, slack: FakeSlack) -> None:
    assert _send(receiver, _message()).state == "sent"
    (post,) = slack.posts
    assert post["text"].startswith("Aetna denies more: 10.1 %")
    assert post["metadata"]["event_payload"] == {"delivery_id": "5f0c"}
    assert "<https://upstream.example/runs|Open in Upstream>" in json.dumps(post["blocks"], ensure_ascii=False)


def test_the_longest_texts_stay_within_slacks_limits(receiver: Any, slack: FakeSlack) -> None:
    """`&` becomes five characters, so a text cut before it is escaped would be too long."""
    assert _send(receiver, _message("&" * 20_000, "P" * 3_000)).state == "sent"


@pytest.mark.parametrize(("fields", "accepted"), [(0, False), (1, True), (10, True), (11, False)])
def test_a_section_has_one_to_ten_fields(receiver: Any, slack: FakeSlack, fields: int, accepted: bool) -> None:
    section = {"type": "section", "fields": [{"type": "mrkdwn", "text": "Before"}] * fields}
    message = Message(subject="s", text="t", html="", blocks=(section,), payload={}, charts=())
    assert _send(receiver, message).state == ("sent" if accepted else "dead")


def test_a_payers_name_cannot_become_a_mention_or_a_link(receiver: Any, slack: FakeSlack) -> None:
    _send(receiver, _message("<!channel> & <https://evil.example|x>"))
    section = slack.posts[0]["blocks"][1]["text"]["text"]
    assert section.startswith("&lt;!channel&gt; &amp; &lt;https://evil.example|x&gt; ")
    assert "<" not in section


def test_a_bot_token_posts_the_message_and_the_chart_into_its_thread(receiver: Any, slack: FakeSlack) -> None:
    outcome = _send(receiver, _message(), channel="#alerts")
    assert (outcome.state, outcome.detail) == ("sent", "accepted")
    assert slack.calls == [
        "chat.postMessage", "files.getUploadURLExternal", "upload", "files.completeUploadExternal",
    ]  # fmt: skip
    assert slack.files == [PNG]


def test_a_chart_that_is_refused_does_not_send_the_alert_twice(receiver: Any, slack: FakeSlack) -> None:
    slack.errors["files.getUploadURLExternal"] = (200, "missing_scope", {})
    outcome = _send(receiver, _message(), channel="#alerts")
    assert (outcome.state, outcome.detail) == ("sent", "accepted; the chart was not taken (missing_scope)")


@pytest.mark.parametrize("method", ["files.getUploadURLExternal", "upload", "files.completeUploadExternal"])
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{",
        b"not HTTP at all\r\n\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n<xml>",
    ],
    ids=["cut off", "no HTTP", "hung up", "no JSON"],
)
def test_whatever_goes_wrong_with_a_chart_does_not_send_the_alert_twice(
    receiver: Any, slack: FakeSlack, method: str, answer: bytes
) -> None:
    slack.broken[method] = answer
    outcome = _send(receiver, _message(), channel="#alerts")
    assert outcome.state == "sent"
    # The upload's own answer is not read: its status says all.
    if (method, answer[-5:]) != ("upload", b"<xml>"):
        assert outcome.detail.startswith("accepted; the chart was not taken (")
    assert len(slack.posts) == 1


def test_an_answer_to_the_post_that_breaks_off_is_tried_again_and_is_the_receivers_fault(
    receiver: Any, slack: FakeSlack
) -> None:
    slack.broken["chat.postMessage"] = b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{"
    outcome = _send(receiver, _message(), channel="#alerts")
    assert (outcome.state, outcome.detail, outcome.receiver_failing) == (
        "retry",
        "no connection to Slack (IncompleteRead)",
        True,
    )


def test_a_chart_that_takes_too_long_does_not_send_the_alert_twice(receiver: Any, slack: FakeSlack) -> None:
    slack.slow["upload"] = 3.0
    outcome = _send(receiver, _message(), channel="#alerts", total_seconds=1.0)
    assert (outcome.state, outcome.detail) == ("sent", "accepted; the chart was not taken (time)")
    assert len(slack.posts) == 1


def test_a_post_that_slack_does_not_answer_in_time_is_tried_again(receiver: Any, slack: FakeSlack) -> None:
    slack.slow["chat.postMessage"] = 3.0
    outcome = _send(receiver, _message(), channel="#alerts", total_seconds=1.0)
    assert (outcome.state, outcome.detail) == ("retry", "Slack did not answer within 1 s")


@pytest.mark.parametrize(
    ("code", "state", "disabled"),
    [
        ("channel_not_found", "dead", False),
        ("token_revoked", "dead", True),
        ("invalid_auth", "dead", True),
        ("token_expired", "dead", True),
        ("not_in_channel", "dead", True),
        ("missing_scope", "dead", False),
        ("internal_error", "retry", False),
    ],
)
def test_slacks_error_codes_decide_between_retry_and_dead(
    receiver: Any, slack: FakeSlack, code: str, state: str, disabled: bool
) -> None:
    slack.errors["chat.postMessage"] = (200, code, {})
    outcome = _send(receiver, _message(), channel="C1")
    assert (outcome.state, outcome.detail) == (state, f"Slack answered {code}")
    assert (outcome.disable is not None) == disabled


def test_a_code_that_is_none_of_slacks_is_not_kept(receiver: Any, slack: FakeSlack) -> None:
    slack.errors["chat.postMessage"] = (200, "quentin_hunter", {})
    outcome = _send(receiver, _message(), channel="C1")
    assert (outcome.state, outcome.detail) == ("retry", "Slack answered an unknown error")
    assert "quentin" not in repr(outcome)


def test_a_wrong_token_is_dead_and_not_repeated(receiver: Any, slack: FakeSlack) -> None:
    outcome = _send(receiver, _message(), channel="C1", token="xoxb-CANARY")
    assert (outcome.state, outcome.detail) == ("dead", "Slack answered invalid_auth")
    assert "CANARY" not in repr(outcome)


@pytest.mark.parametrize("channel", [None, "C1"])
def test_a_429_is_not_waited_for_but_rescheduled(receiver: Any, slack: FakeSlack, channel: str | None) -> None:
    """The SDK's own retry handler would sleep inside of the lease."""
    method = "hook" if channel is None else "chat.postMessage"
    slack.errors[method] = (429, "ratelimited", {"retry_after": "30"})
    started = time.monotonic()
    outcome = _send(receiver, _message(), channel=channel)
    assert time.monotonic() - started < 2
    assert (outcome.state, outcome.status_code, outcome.retry_after) == ("retry", 429, timedelta(seconds=30))
    assert slack.calls == [method]


def test_a_webhook_that_was_removed_is_dead_and_an_archived_channel_disables(
    receiver: Any, slack: FakeSlack
) -> None:
    slack.errors["hook"] = (404, "no_service", {})
    assert _send(receiver, _message()).state == "dead"
    slack.errors["hook"] = (410, "channel_is_archived", {})
    assert _send(receiver, _message()).disable == "Slack answered 410 Gone"


def test_no_connection_is_a_retry_without_the_secret_url(receiver: Any) -> None:
    receiver.script = lambda handler, _: handler.connection.shutdown(2)
    outcome = _send(receiver, _message())
    assert (outcome.state, outcome.receiver_failing) == ("retry", True)
    assert "hook" not in repr(outcome)


@pytest.mark.parametrize(
    ("method", "trouble", "outcome", "detail", "in_the_end"),
    [
        ("chat.postMessage", (429, "ratelimited", {"retry_after": "30"}), "retry", "Slack answered ", "sent"),
        ("chat.postMessage", (200, "internal_error", {}), "retry", "Slack answered internal_error", "sent"),
        ("chat.postMessage", (200, "channel_not_found", {}), "dead", "Slack answered channel_not_found", "dead"),
        ("chat.postMessage", (200, "token_revoked", {}), "dead", "Slack answered token_revoked", "dead"),
        ("chat.postMessage", 1.0, "retry", "Slack did not answer within 0.5 s", "sent"),
        ("files.getUploadURLExternal", (200, "missing_scope", {}), "sent", "(missing_scope)", "sent"),
        ("upload", 1.0, "sent", "accepted; the chart was not taken (time)", "sent"),
    ],
)
def test_alerts_by_a_slack_that_keeps_to_its_limits_or_fails_are_neither_lost_nor_doubled(
    loopback: Settings, receiver: Any, slack: FakeSlack, queue: Any, watched: Any, monkeypatch: pytest.MonkeyPatch,
    method: str, trouble: Any, outcome: str, detail: str, in_the_end: str,
) -> None:  # fmt: skip
    """Trouble at the first attempt, or for good. Twice comes only what Slack took and did not say so in time."""
    monkeypatch.setattr(sending, "send_slack", partial(send_slack, total_seconds=0.5))
    settings = loopback.model_copy(update={"slack_base_url": f"{receiver.url}/api"})
    team = SlackChannel.model_validate({"kind": "slack", "name": "C1", "bot_token": "xoxb-1", "channel": "C1"})
    queue([team], 2, chart_png=PNG)
    late = isinstance(trouble, float)
    (slack.slow if late else slack.errors)[method] = trouble
    watched.deliver(settings, events=2)
    # The second waits for the channel's second, and the clock stands still.
    ((kept, _, said),) = watched.attempts("C1")
    assert (kept, detail in said) == (outcome, True)
    if in_the_end == "sent":
        slack.errors.clear()
        slack.slow.clear()
    while watched.on_to_the_next_try():
        watched.deliver(settings, events=2)
    assert watched.states("C1") == {in_the_end: 2}
    times = [] if in_the_end == "dead" else [1, 2] if late and method == "chat.postMessage" else [1, 1]
    end = time.monotonic() + 10
    while len(slack.posts) < sum(times) and time.monotonic() < end:
        time.sleep(0.02)  # it takes what it was slow to answer
    got = Counter(post["metadata"]["event_payload"]["delivery_id"] for post in slack.posts)
    assert sorted(got.values()) == times


def test_one_message_a_second_goes_to_a_channel_whatever_number_of_workers_there_are(
    loopback: Settings, pipeline: Connection, customer: int, receiver: Any, queue: Any, slack: FakeSlack
) -> None:
    slack.one_a_second = True
    url = f"{receiver.url}/hook"
    queue([SlackChannel.model_validate({"kind": "slack", "name": "team", "webhook_url": url})], 4)
    workers = [threading.Thread(target=deliver_due, args=(loopback,)) for _ in range(2)]
    started = time.monotonic()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert time.monotonic() - started >= 3
    assert (len(slack.posts), slack.refused_as_too_fast, receiver.most_open) == (4, 0, 1)
    assert {alert["state"] for alert in list_alerts(pipeline, customer)} == {"sent"}
    assert url not in repr(list_alerts(pipeline, customer))


def test_two_channels_of_slack_do_not_wait_for_each_other(
    loopback: Settings, receiver: Any, queue: Any, slack: FakeSlack
) -> None:
    slack.one_a_second = True
    channels = [
        SlackChannel.model_validate({"kind": "slack", "name": name, "bot_token": "xoxb-1", "channel": name})
        for name in ("C1", "C2", "C3")
    ]
    queue(channels, 2)
    started = time.monotonic()
    assert deliver_due(loopback.model_copy(update={"slack_base_url": f"{receiver.url}/api"})).sent == 6
    assert time.monotonic() - started < 5  # six one after another would be five seconds of waiting alone
    assert slack.refused_as_too_fast == 0
