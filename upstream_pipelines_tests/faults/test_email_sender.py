"""E-mail against a real SMTP server with STARTTLS and scripted failures."""

from __future__ import annotations

import email
import email.policy
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from upstream_pipelines.alerts.content import Message
from upstream_pipelines.delivery.email import send_email
from upstream_pipelines.delivery.outcome import NotSetUpError, Outcome
from upstream_pipelines.delivery.probe import check_smtp
from upstream_pipelines.settings import Settings

MESSAGE = Message(
    subject="Aetna: denial rate up 10.1 % → 15.3 % (worsening) \N{EN DASH} Acme Health", text="text\n",
    html='<p>html</p><img src="cid:chart1">', blocks=(), payload={}, charts=(b"\x89PNG\r\n\x1a\nchart",),
)  # fmt: skip


@dataclass
class Mailbox:
    """What the server took, and what it is to answer: a code per recipient, or for the data."""

    envelopes: list[Any] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    data_answer: str | None = None
    encrypted: list[bool] = field(default_factory=list)

    async def handle_RCPT(  # noqa: N802
        self, _server: Any, session: Any, envelope: Any, address: str, _options: Any
    ) -> str:
        self.encrypted.append(session.ssl is not None)
        if address in self.answers:
            return self.answers[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802
        self, _server: Any, _session: Any, envelope: Any
    ) -> str:
        if self.data_answer is not None:
            return self.data_answer
        self.envelopes.append(envelope)
        return "250 OK"


@dataclass
class Certificates:
    ca_file: Path
    context: ssl.SSLContext


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    authority = trustme.CA()
    ca_file = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return Certificates(ca_file, context)


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def start(mailbox: Mailbox) -> Iterator[Callable[..., int]]:
    running: list[Controller] = []

    def run(**options: Any) -> int:
        controller = Controller(mailbox, hostname="127.0.0.1", port=_free_port(), **options)
        controller.start()
        running.append(controller)
        return int(controller.port)

    yield run
    for controller in running:
        controller.stop()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def mail(start: Callable[..., int], certificates: Certificates, tmp_path: Path) -> Settings:
    """Settings for a server that demands STARTTLS."""
    port = start(tls_context=certificates.context, require_starttls=True)
    return Settings(
        home=tmp_path, smtp_host="localhost", smtp_port=port, smtp_from="Upstream <alerts@upstream.example>",
        smtp_ca_file=certificates.ca_file,
    )  # fmt: skip


def _send(settings: Settings, *recipients: str, **changes: Any) -> Outcome:
    values: dict[str, Any] = {
        "recipients": recipients or ("a@example.org",), "progress": {}, "delivery_id": "5f0c", "message": MESSAGE,
        "now": datetime.now(UTC),
    }  # fmt: skip
    return send_email(settings, **{**values, **changes})


def test_a_message_goes_out_encrypted_with_text_html_chart_and_a_stable_message_id(
    mail: Settings, mailbox: Mailbox
) -> None:
    outcome = _send(mail, "a@example.org", "b@example.org")
    assert (outcome.state, outcome.progress["accepted"]) == ("sent", ["a@example.org", "b@example.org"])
    (envelope,) = mailbox.envelopes
    assert mailbox.encrypted == [True, True]
    message = email.message_from_bytes(envelope.content, policy=email.policy.default)
    assert message["message-id"] == "<5f0c@upstream.example>"
    assert message["subject"] == MESSAGE.subject
    assert message["auto-submitted"] == "auto-generated"
    parts = {part.get_content_type(): part for part in message.walk()}
    assert {"text/plain", "text/html", "image/png"} <= set(parts)
    assert parts["image/png"]["content-id"] == "<chart1>"
    assert parts["image/png"].get_content() == MESSAGE.charts[0]


def test_a_retry_goes_only_to_those_not_yet_accepted(mail: Settings, mailbox: Mailbox) -> None:
    mailbox.answers = {"busy@example.org": "451 greylisted", "gone@example.org": "550 no such user"}
    everyone = ("a@example.org", "busy@example.org", "gone@example.org")
    first = _send(mail, *everyone)
    assert (first.state, first.status_code) == ("retry", 451)
    assert first.progress == {"accepted": ["a@example.org"], "refused": ["gone@example.org"]}
    mailbox.answers = {}
    second = _send(mail, *everyone, progress=first.progress)
    assert [envelope.rcpt_tos for envelope in mailbox.envelopes] == [["a@example.org"], ["busy@example.org"]]
    # Someone was never reached, so the delivery must not look sent.
    assert (second.state, second.progress["refused"]) == ("dead", ["gone@example.org"])
    assert "accepted for 2 of 3 recipients, refused for good for 1" in second.detail


def test_recipients_that_were_changed_between_two_attempts_all_get_the_mail(
    mail: Settings, mailbox: Mailbox
) -> None:
    """Those who have it, or were refused, and are no longer recipients count for nobody."""
    mailbox.answers = {"busy@example.org": "451 greylisted", "gone@example.org": "550 no such user"}
    first = _send(mail, "a@example.org", "busy@example.org", "gone@example.org")
    assert first.state == "retry"
    mailbox.answers = {"new@example.org": "451 greylisted"}
    second = _send(mail, "new@example.org", "newer@example.org", progress=first.progress)
    assert (second.state, second.detail) == ("retry", "accepted for 1 of 2 recipients")
    mailbox.answers = {}
    third = _send(mail, "new@example.org", "newer@example.org", progress=second.progress)
    assert (third.state, third.detail) == ("sent", "accepted for 2 of 2 recipients")
    assert [envelope.rcpt_tos for envelope in mailbox.envelopes[1:]] == [
        ["newer@example.org"],
        ["new@example.org"],
    ]


def test_when_all_are_refused_for_good_the_delivery_is_dead_and_when_for_now_it_is_retried(
    mail: Settings, mailbox: Mailbox
) -> None:
    mailbox.answers = {"a@example.org": "550 no"}
    assert _send(mail).state == "dead"
    mailbox.answers = {"a@example.org": "452 full"}
    assert _send(mail).state == "retry"
    assert mailbox.envelopes == []


@pytest.mark.parametrize(("answer", "state"), [("451 later", "retry"), ("554 spam", "dead")])
def test_an_answer_to_the_data_counts_for_all(mail: Settings, mailbox: Mailbox, answer: str, state: str) -> None:
    mailbox.data_answer = answer
    outcome = _send(mail)
    assert (outcome.state, outcome.status_code) == (state, int(answer[:3]))
    # Our mail server's trouble disables no customer's channel; a refusal of everyone, if it lasts, does.
    assert outcome.receiver_failing == (state == "dead")


def test_a_certificate_that_is_not_trusted_gets_no_mail(mail: Settings, mailbox: Mailbox) -> None:
    outcome = _send(mail.model_copy(update={"smtp_ca_file": None}))
    assert (outcome.state, "certificate" in outcome.detail) == ("retry", True)
    assert mailbox.envelopes == []


def test_a_server_without_starttls_gets_no_mail(
    mail: Settings, mailbox: Mailbox, start: Callable[..., int]
) -> None:
    """An attacker who strips STARTTLS must not get the mail in the clear."""
    outcome = _send(mail.model_copy(update={"smtp_port": start()}))
    assert (outcome.state, "STARTTLS" in outcome.detail) == ("retry", True)
    assert mailbox.envelopes == []


def test_tls_from_the_first_byte_works_too(
    mail: Settings, mailbox: Mailbox, start: Callable[..., int], certificates: Certificates
) -> None:
    port = start(ssl_context=certificates.context)
    assert _send(mail.model_copy(update={"smtp_security": "tls", "smtp_port": port})).state == "sent"
    assert len(mailbox.envelopes) == 1


def test_plain_text_is_for_loopback_only(mail: Settings, mailbox: Mailbox, start: Callable[..., int]) -> None:
    plain = mail.model_copy(update={"smtp_security": "none", "smtp_port": start()})
    assert _send(plain).state == "sent"
    with pytest.raises(NotSetUpError, match="UPSTREAM_SMTP_SECURITY"):
        _send(plain.model_copy(update={"smtp_host": "mail.example.org"}))
    assert len(mailbox.envelopes) == 1


def test_a_login_is_made_and_a_wrong_one_is_an_operators_matter(
    mail: Settings, mailbox: Mailbox, start: Callable[..., int], certificates: Certificates
) -> None:
    def authenticate(_server: SMTP, _session: Any, _envelope: Any, _way: str, data: LoginPassword) -> AuthResult:
        return AuthResult(success=(data.login, data.password) == (b"user", b"right"), handled=False)

    port = start(
        tls_context=certificates.context, require_starttls=True, auth_required=True, authenticator=authenticate
    )
    right = Settings.model_validate(
        {**mail.model_dump(), "smtp_port": port, "smtp_username": "user", "smtp_password": "right"}
    )
    assert _send(right).state == "sent"
    assert "answers (starttls)" in check_smtp(right)
    wrong = Settings.model_validate({**right.model_dump(), "smtp_password": "wrong"})
    outcome = _send(wrong)
    assert (outcome.state, outcome.status_code) == ("retry", 535)
    assert "wrong" not in repr(outcome)
    with pytest.raises(NotSetUpError, match="UPSTREAM_SMTP_PASSWORD"):
        check_smtp(wrong)


def test_a_mail_server_that_drips_is_cut_off_at_the_wall_clock(mail: Settings) -> None:
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                while not stop.wait(0.1):
                    try:
                        connection.sendall(b"220-wait\r\n")
                    except OSError:
                        return

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        started = time.monotonic()
        slow = mail.model_copy(update={"smtp_port": listener.getsockname()[1]})
        outcome = _send(slow, total_seconds=1.0)
        assert time.monotonic() - started < 2
        stop.set()
        thread.join()
    assert (outcome.state, outcome.detail) == ("retry", "the mail server did not finish within 1 s")


def test_what_is_not_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotSetUpError, match="UPSTREAM_SMTP_HOST"):
        check_smtp(Settings(home=tmp_path))
    with pytest.raises(NotSetUpError, match="UPSTREAM_SMTP_FROM"):
        check_smtp(Settings(home=tmp_path, smtp_host="localhost"))
    with pytest.raises(NotSetUpError, match="Nothing listens at"):
        check_smtp(Settings(home=tmp_path, smtp_host="127.0.0.1", smtp_port=_free_port(), smtp_from="a@b.example"))
