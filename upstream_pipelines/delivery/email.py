"""E-mail over SMTP: encrypted, verified, delivered per recipient. Not here: the wording (alerts/content.py)."""

from __future__ import annotations

import ipaddress
import smtplib
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any

from upstream_pipelines.alerts.content import Message
from upstream_pipelines.delivery.answers import known_words
from upstream_pipelines.delivery.deadline import Breaker, DeadlineError, within
from upstream_pipelines.delivery.outcome import NotSetUpError, Outcome
from upstream_pipelines.settings import Settings

# A dialogue has about ten turns; in all it must end well before the 60 s lease does.
TOTAL_SECONDS = 40.0
TURN_SECONDS = 15.0
# For the good-bye, after all is decided.
_QUIT_SECONDS = 2.0


def send_email(
    settings: Settings,
    *,
    recipients: Sequence[str],
    progress: Mapping[str, Any],
    delivery_id: str,
    message: Message,
    now: datetime,
    total_seconds: float = TOTAL_SECONDS,
) -> Outcome:
    """One attempt, to those recipients only whose server has not yet accepted or refused for good.

    `progress` is the outcome's of the attempt before: `accepted` and `refused` addresses. A 4xx answer
    is tried again, a 5xx one is final for that recipient; only where it is for all is the fault the receiver's. The Message-ID is made of the delivery's id.

    Raises:
        NotSetUpError: a setting is missing or would send alerts unencrypted.
    """
    check_set_up(settings)
    # Of those who are still recipients: the list may have been changed since the attempt before.
    done = {
        kind: [address for address in progress.get(kind, []) if address in recipients]
        for kind in ("accepted", "refused")
    }
    left = [address for address in recipients if address not in done["accepted"] + done["refused"]]
    if not left:
        return _conclude(recipients, done, {}, None)
    mail = _compose(settings, recipients, delivery_id, message, now)
    sent = True
    try:
        refusals = _transfer(settings, left, mail, total_seconds)
    except DeadlineError:
        return Outcome("retry", f"the mail server did not finish within {total_seconds:g} s", progress=done)
    except smtplib.SMTPRecipientsRefused as error:
        # All were refused, or a 421 ended the dialogue: then the others are not named, and got nothing either.
        refusals, sent = error.recipients, False
    except smtplib.SMTPResponseException as error:
        code, answer = error.smtp_code, known_words(_bytes(error.smtp_error), of_mail=True)
        # Login, greeting and sender are our own settings' matter: an operator puts them right, then it goes.
        final = isinstance(error, smtplib.SMTPDataError) and 500 <= code < 600
        if final:
            done["refused"] += left
        detail = f"the mail server answered {code} ({type(error).__name__})"
        return Outcome(
            "dead" if final else "retry", detail, code, answer,
            receiver_failing=_all_refused(recipients, done), progress=done,
        )  # fmt: skip
    except ssl.SSLError:
        return Outcome("retry", "no TLS to the mail server: its certificate was not accepted", progress=done)
    except smtplib.SMTPNotSupportedError:
        return Outcome("retry", "the mail server offers no STARTTLS or no login", progress=done)
    except (smtplib.SMTPException, OSError) as error:
        return Outcome("retry", f"no connection to the mail server ({type(error).__name__})", progress=done)
    done["accepted"] += [address for address in left if sent and address not in refusals]
    done["refused"] += [address for address in left if 500 <= refusals.get(address, (0, b""))[0] < 600]
    first = next(iter(refusals.values()), None)
    return _conclude(recipients, done, refusals, first)


def check_set_up(settings: Settings) -> None:
    """Raise `NotSetUpError` when the settings cannot send e-mail, or would send it in the clear."""
    if settings.smtp_host is None:
        raise NotSetUpError("No mail server is set. Set UPSTREAM_SMTP_HOST and UPSTREAM_SMTP_FROM.")
    if settings.smtp_from is None:
        raise NotSetUpError("No sender address is set. Set UPSTREAM_SMTP_FROM.")
    if settings.smtp_security == "none" and not _is_loopback(settings.smtp_host):
        raise NotSetUpError(
            "UPSTREAM_SMTP_SECURITY=none is accepted for a mail server on this machine only. Use starttls or tls."
        )


def _conclude(
    recipients: Sequence[str],
    done: dict[str, list[str]],
    refusals: Mapping[str, tuple[int, bytes]],
    first: tuple[int, bytes] | None,
) -> Outcome:
    code = first[0] if first else 250
    answer = known_words(_bytes(first[1]), of_mail=True) if first else None
    accepted, refused = len(done["accepted"]), len(done["refused"])
    detail = f"accepted for {accepted} of {len(recipients)} recipients"
    if refused:
        detail += f", refused for good for {refused}"
    if accepted + refused < len(recipients):
        waiting = next((code for code, _ in refusals.values() if not 500 <= code < 600), code)
        return Outcome("retry", detail, waiting, answer, progress=done)
    failing = _all_refused(recipients, done)
    return Outcome("dead" if refused else "sent", detail, code, answer, receiver_failing=failing, progress=done)


def _all_refused(recipients: Sequence[str], done: Mapping[str, Sequence[str]]) -> bool:
    """Whether nobody can be reached here: as with a webhook, that switches the channel off when it lasts."""
    return set(done["refused"]) >= set(recipients)


def _compose(
    settings: Settings, recipients: Sequence[str], delivery_id: str, message: Message, now: datetime
) -> bytes:
    # 7bit: what every relay on the way can carry.
    mail = EmailMessage(policy=SMTP.clone(cte_type="7bit"))
    mail["Subject"] = message.subject
    mail["From"] = settings.smtp_from
    mail["To"] = ", ".join(recipients)
    mail["Date"] = format_datetime(now)
    mail["Message-ID"] = f"<{delivery_id}@{_domain(settings)}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(message.text)
    mail.add_alternative(message.html, subtype="html")
    for number, chart in enumerate(message.charts, 1):
        html = mail.get_body(("html",))
        assert html is not None
        html.add_related(chart, "image", "png", cid=f"<chart{number}>", filename=f"chart{number}.png")
    return mail.as_bytes()


def _transfer(
    settings: Settings, recipients: Sequence[str], mail: bytes, total_seconds: float
) -> dict[str, tuple[int, bytes]]:
    """Refused recipients with code and answer; raises when none was accepted, or the time was up before that."""
    # What the server said of the mail stands, however it takes the good-bye: that is outside of the time.
    said: list[dict[str, tuple[int, bytes]]] = []
    opened: list[smtplib.SMTP] = []
    try:
        within(total_seconds, lambda breaker: _send_mail(settings, recipients, mail, breaker, opened, said))
    except DeadlineError:
        opened.clear()  # cut, and closed by the thread that waited on it
        if not said:
            raise
    finally:
        for client in opened:
            close_connection(client)
    return said[0]


def _send_mail(  # noqa: PLR0917  called in one place
    settings: Settings,
    recipients: Sequence[str],
    mail: bytes,
    breaker: Breaker,
    opened: list[smtplib.SMTP],
    said: list[dict[str, tuple[int, bytes]]],
) -> None:
    assert settings.smtp_from is not None
    client = open_connection(settings, breaker)
    opened.append(client)
    try:
        said.append(client.sendmail(settings.smtp_from, list(recipients), mail))
    finally:
        if breaker.is_cut:
            client.close()


def open_connection(settings: Settings, breaker: Breaker) -> smtplib.SMTP:
    """A connection that is encrypted and logged in. The caller has called `check_set_up`."""
    assert settings.smtp_host is not None
    context = ssl.create_default_context(cafile=str(settings.smtp_ca_file) if settings.smtp_ca_file else None)
    # EHLO names our domain: the default is a reverse look-up of this machine, which may take seconds.
    where: dict[str, Any] = {
        "host": settings.smtp_host, "port": settings.smtp_port,
        "local_hostname": _domain(settings), "timeout": TURN_SECONDS,
    }  # fmt: skip
    client = (
        smtplib.SMTP_SSL(**where, context=context) if settings.smtp_security == "tls" else smtplib.SMTP(**where)
    )
    try:
        breaker.watch(client.sock)  # type: ignore[arg-type]  # set once the constructor has connected
        if settings.smtp_security == "starttls":
            client.starttls(context=context)
            breaker.watch(client.sock)  # type: ignore[arg-type]
        if settings.smtp_username is not None:
            password = settings.smtp_password.get_secret_value() if settings.smtp_password else ""
            client.login(settings.smtp_username, password)
    except BaseException:
        client.close()
        raise
    return client


def close_connection(client: smtplib.SMTP) -> None:
    """End a connection, politely where the server still listens; it gets 2 s for that."""

    def end(breaker: Breaker) -> None:
        try:
            if client.sock is not None:
                breaker.watch(client.sock)
            client.quit()
        finally:
            client.close()

    # The message has been accepted or refused by now; a server that hangs or hangs up first changes nothing.
    with suppress(smtplib.SMTPException, OSError, DeadlineError):
        within(_QUIT_SECONDS, end)


def _domain(settings: Settings) -> str:
    return (settings.smtp_from or "").rpartition("@")[2].strip("> ") or "localhost"


def _bytes(answer: bytes | str) -> bytes:
    return answer if isinstance(answer, bytes) else answer.encode()


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
