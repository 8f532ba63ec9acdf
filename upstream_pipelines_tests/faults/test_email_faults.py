"""A mail server that fails at each step of the dialogue: nobody is lost, nobody who has the mail gets it again."""

from __future__ import annotations

import asyncio
import email
import email.policy
import re
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiosmtpd.controller import Controller

from upstream_pipelines.alerts.content import Message
from upstream_pipelines.delivery import sending
from upstream_pipelines.delivery.channels import EmailChannel
from upstream_pipelines.delivery.email import send_email
from upstream_pipelines.delivery.outcome import Outcome
from upstream_pipelines.settings import Settings

MESSAGE = Message(subject="Aetna denies more", text="text\n", html="<p>html</p>", blocks=(), payload={}, charts=())
EVERYONE = ("a@example.org", "b@example.org", "c@example.org")


class ScriptedServer:
    """Answers a step by script, once: an SMTP answer, or `drop` to hang up. Steps: EHLO, MAIL, RCPT:address, DATA."""

    def __init__(self) -> None:
        self.script: dict[str, str] = {}
        self.took: list[Any] = []
        self.ended = 0

    def _answer(self, server: Any, step: str) -> str | None:
        answer = self.script.pop(step, None)
        if answer == "drop":
            server.transport.abort()
            return "421 gone"
        return answer

    async def handle_EHLO(  # noqa: N802
        self, server: Any, session: Any, _envelope: Any, name: str, answers: list[str]
    ) -> list[str]:
        session.host_name = name
        answer = self._answer(server, "EHLO")
        return [answer] if answer else answers

    async def handle_MAIL(self, server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802
        answer = self._answer(server, "MAIL")
        if answer is None:
            envelope.mail_from = address
        return answer or "250 OK"

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802
        assert session.ssl is not None
        answer = self._answer(server, f"RCPT:{address}")
        if answer is None:
            envelope.rcpt_tos.append(address)
        return answer or "250 OK"

    async def handle_DATA(self, server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        if self.script.get("DATA") == "taken, then drop":
            self.took.append(envelope)
            self.script["DATA"] = "drop"
        answer = self._answer(server, "DATA")
        if answer is None:
            self.took.append(envelope)
        return answer or "250 OK"

    async def handle_QUIT(self, _server: Any, _session: Any, _envelope: Any) -> str:  # noqa: N802
        self.ended += 1
        if self.script.pop("QUIT", None) == "hang":
            await asyncio.sleep(20)
        return "221 bye"

    def reached(self) -> list[str]:
        return sorted(address for envelope in self.took for address in envelope.rcpt_tos)


@pytest.fixture
def server() -> ScriptedServer:
    return ScriptedServer()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def start(server: ScriptedServer, authority: trustme.CA, tmp_path: Path) -> Iterator[Callable[..., Settings]]:
    running: list[Controller] = []
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))

    def run(certificate: trustme.LeafCert | None = None) -> Settings:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        (certificate or authority.issue_cert("localhost")).configure_cert(context)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        controller = Controller(
            server, hostname="127.0.0.1", port=port, tls_context=context, require_starttls=True
        )
        controller.start()
        running.append(controller)
        return Settings(
            home=tmp_path, smtp_host="localhost", smtp_port=port, smtp_from="alerts@upstream.example",
            smtp_ca_file=ca_file,
        )  # fmt: skip

    yield run
    for controller in running:
        controller.stop()


@pytest.fixture
def mail(start: Callable[..., Settings]) -> Settings:
    return start()


def _send(settings: Settings, progress: Any = None, now: datetime | None = None) -> Outcome:
    return send_email(
        settings, recipients=EVERYONE, progress=progress or {}, delivery_id="5f0c", message=MESSAGE,
        now=now or datetime.now(UTC),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("step", "answer", "state", "code", "accepted", "refused"),
    [
        ("EHLO", "drop", "retry", None, "", ""),
        ("MAIL", "drop", "retry", None, "", ""),
        ("MAIL", "451 later", "retry", 451, "", ""),
        ("MAIL", "553 sender not known", "retry", 553, "", ""),
        ("RCPT:a@example.org", "drop", "retry", None, "", ""),
        ("RCPT:b@example.org", "drop", "retry", None, "", ""),
        ("RCPT:a@example.org", "421 closing", "retry", 421, "", ""),
        ("RCPT:b@example.org", "421 closing", "retry", 421, "", ""),
        ("RCPT:b@example.org", "451 greylisted", "retry", 451, "ac", ""),
        ("RCPT:b@example.org", "550 no such user", "dead", 550, "ac", "b"),
        ("DATA", "drop", "retry", None, "", ""),
        ("DATA", "421 closing", "retry", 421, "", ""),
        ("DATA", "452 no room", "retry", 452, "", ""),
        ("DATA", "554 not wanted", "dead", 554, "", "abc"),
    ],
)
def test_a_failure_at_each_step_leaves_exactly_those_to_be_tried_who_have_nothing(
    mail: Settings, server: ScriptedServer, step: str, answer: str, state: str, code: int | None,
    accepted: str, refused: str,
) -> None:  # fmt: skip
    """Most likely wrong: a 421 to one recipient ends the dialogue, and smtplib does not name the others."""
    server.script = {step: answer}
    outcome = _send(mail)
    assert (outcome.state, outcome.status_code) == (state, code)
    assert "".join(address[0] for address in outcome.progress["accepted"]) == accepted
    assert "".join(address[0] for address in outcome.progress["refused"]) == refused
    assert server.reached() == [f"{letter}@example.org" for letter in accepted]
    assert outcome.receiver_failing == (refused == "abc")  # only where nobody can be reached
    if state == "retry":
        again = _send(mail, outcome.progress)
        assert (again.state, again.detail) == ("sent", "accepted for 3 of 3 recipients")
        assert server.reached() == list(EVERYONE)


def test_a_channel_whose_recipients_are_all_refused_for_good_counts_as_failing(
    mail: Settings, server: ScriptedServer
) -> None:
    server.script = {f"RCPT:{address}": "550 no such user" for address in EVERYONE}
    outcome = _send(mail)
    assert (outcome.state, outcome.receiver_failing) == ("dead", True)


def test_three_recipients_with_three_answers_are_kept_apart_over_three_attempts(
    mail: Settings, server: ScriptedServer
) -> None:
    server.script = {"RCPT:a@example.org": "450 busy", "RCPT:b@example.org": "550 unknown"}
    first = _send(mail)
    assert first.progress == {"accepted": ["c@example.org"], "refused": ["b@example.org"]}
    server.script = {"RCPT:a@example.org": "450 busy"}
    second = _send(mail, first.progress)
    assert (second.state, second.progress) == ("retry", first.progress)
    third = _send(mail, second.progress)
    assert (third.state, third.progress["accepted"]) == ("dead", ["c@example.org", "a@example.org"])
    assert server.reached() == ["a@example.org", "c@example.org"]


def test_every_attempt_carries_the_same_message_id_so_that_a_mail_that_came_twice_is_shown_once(
    mail: Settings, server: ScriptedServer
) -> None:
    """The server took the mail and hung up before it said so: the one case in which it comes twice."""
    server.script = {"DATA": "taken, then drop"}
    first = _send(mail)
    assert first.state == "retry"
    assert _send(mail, first.progress, datetime.now(UTC) + timedelta(hours=2)).state == "sent"
    identities = {
        email.message_from_bytes(envelope.content, policy=email.policy.default)["message-id"]
        for envelope in server.took
    }
    assert len(server.took) == 2
    assert identities == {"<5f0c@upstream.example>"}


@pytest.mark.parametrize("refused", [False, True])
def test_a_server_that_hangs_at_the_good_bye_does_not_change_what_came_of_the_mail(
    mail: Settings, server: ScriptedServer, refused: bool
) -> None:
    server.script = {"QUIT": "hang"} | {f"RCPT:{address}": "550 no" for address in EVERYONE if refused}
    started = time.monotonic()
    outcome = send_email(
        mail, recipients=EVERYONE, progress={}, delivery_id="5f0c", message=MESSAGE, now=datetime.now(UTC),
        total_seconds=1.5,
    )  # fmt: skip
    assert time.monotonic() - started < 5
    assert outcome.state == ("dead" if refused else "sent")
    assert len(outcome.progress["refused" if refused else "accepted"]) == 3
    assert (len(server.took), server.ended) == (0 if refused else 1, 1)


@pytest.mark.parametrize("trouble", ["expired", "wrong name", "unknown authority"])
def test_a_bad_certificate_gets_no_mail(
    start: Callable[..., Settings], server: ScriptedServer, authority: trustme.CA, trouble: str
) -> None:
    day, now = timedelta(days=1), datetime.now(UTC)
    certificate = {
        "expired": lambda: authority.issue_cert("localhost", not_before=now - 2 * day, not_after=now - day),
        "wrong name": lambda: authority.issue_cert("elsewhere.example.org"),
        "unknown authority": lambda: trustme.CA().issue_cert("localhost"),
    }[trouble]()
    outcome = _send(start(certificate))
    assert (outcome.state, outcome.detail) == (
        "retry", "no TLS to the mail server: its certificate was not accepted",
    )  # fmt: skip
    assert server.took == []


@pytest.mark.parametrize(
    ("step", "answer", "outcome", "code", "in_the_end", "unreached"),
    [
        ("EHLO", "drop", "retry", None, "sent", ""),
        ("MAIL", "drop", "retry", None, "sent", ""),
        ("MAIL", "451 later", "retry", 451, "sent", ""),
        ("RCPT:b@example.org", "drop", "retry", None, "sent", ""),
        ("RCPT:b@example.org", "421 closing", "retry", 421, "sent", ""),
        ("RCPT:b@example.org", "451 greylisted", "retry", 451, "sent", ""),
        ("RCPT:b@example.org", "550 no such user", "dead", 550, "dead", "b"),
        ("DATA", "drop", "retry", None, "sent", ""),
        ("DATA", "taken, then drop", "retry", None, "sent", ""),
        ("DATA", "452 no room", "retry", 452, "sent", ""),
        ("DATA", "554 not wanted", "dead", 554, "dead", "abc"),
        ("QUIT", "hang", "sent", 250, "sent", ""),
    ],
)
def test_alerts_by_a_mail_server_that_fails_at_a_step_are_neither_lost_nor_doubled(
    mail: Settings, settings: Settings, server: ScriptedServer, queue: Any, watched: Any,
    monkeypatch: pytest.MonkeyPatch, step: str, answer: str, outcome: str, code: int | None, in_the_end: str,
    unreached: str,
) -> None:  # fmt: skip
    """The server fails in the first of two mails. Twice comes only what it took and did not say so."""
    monkeypatch.setattr(sending, "send_email", partial(send_email, total_seconds=1.0))
    reaching = mail.model_copy(update={"database_url": settings.database_url})
    queue([EmailChannel(kind="email", name="office", recipients=EVERYONE)], 2)
    server.script = {step: answer}
    watched.deliver(reaching, events=2)
    first, second = watched.attempts("office")
    assert (first[:2], second[0]) == ((outcome, code), "sent")
    while watched.on_to_the_next_try():
        watched.deliver(reaching, events=2)
    assert len(watched.attempts("office")) == (3 if outcome == "retry" else 2)
    assert watched.states("office") == dict(Counter([in_the_end, "sent"]))
    got = Counter(
        (re.findall(rb"(?im)^message-id: *(\S+)", envelope.content)[0], address[0])
        for envelope in server.took
        for address in envelope.rcpt_tos
    )
    assert Counter(letter for _, letter in got) == {letter: 1 if letter in unreached else 2 for letter in "abc"}
    assert sorted(Counter(got.values()).items()) == (
        [(1, 3), (2, 3)] if answer.startswith("taken") else [(1, len(got))]
    )
