"""The demonstration's receivers on loopback: an SMTP server, a Slack-shaped one, a webhook receiver.

Real sockets that the real senders talk to. Not here: what is expected to arrive, the files that are made of it (messages.py).
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from upstream_pipelines.demo.messages import Kind, MessageFolder


@dataclass
class Received:
    """What arrived so far."""

    mails: list[Message] = field(default_factory=list)
    slack: list[dict[str, Any]] = field(default_factory=list)
    webhooks: list[dict[str, Any]] = field(default_factory=list)
    refused: int = 0
    secrets: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Receivers:
    """Where the receivers listen, and what they got."""

    received: Received
    smtp_port: int
    http_port: int


class _Mailbox:
    def __init__(self, received: Received, folder: MessageFolder | None) -> None:
        self._received, self._folder = received, folder

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        mail = message_from_bytes(envelope.content, policy=default)
        if self._folder is not None:
            self._folder.keep("email", customer_of(mail), envelope.content)
        self._received.mails.append(mail)
        return "250 accepted"


def customer_of(mail: Message) -> str:
    """The slug of the customer to whom a mail went: the demonstration's recipients are at SLUG.example."""
    return str(mail["To"]).rpartition("@")[2].removesuffix(".example")


@contextmanager
def running_receivers(
    certificate: ssl.SSLContext | None = None, folder: MessageFolder | None = None
) -> Iterator[Receivers]:
    """Run all three until the block ends; with a certificate the mail server insists on STARTTLS, with a folder each message
    is kept in it before it is answered.
    """
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            customer = self.path.rsplit("/", 1)[-1]
            if self.path.startswith("/slack/"):
                self._keep("slack", customer, body)
                received.slack.append({"customer": customer, **json.loads(body)})
                self._answer(200, b"ok")
                return
            try:
                Webhook(received.secrets[customer]).verify(
                    body, {name.lower(): value for name, value in self.headers.items()}
                )
            except (KeyError, WebhookVerificationError):
                received.refused += 1
                self._answer(401, b"signature refused")
                return
            self._keep("webhook", customer, body)
            received.webhooks.append({"customer": customer, **json.loads(body)})
            self._answer(204, b"")

        def _keep(self, kind: Kind, customer: str, body: bytes) -> None:
            if folder is not None:
                folder.keep(kind, customer, body)

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: Any) -> None:
            """The summary says what arrived; a line a request would hide it."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    smtp = Controller(
        _Mailbox(received, folder),
        hostname="127.0.0.1",
        port=_free_port(),
        tls_context=certificate,
        require_starttls=certificate is not None,
    )
    smtp.start()
    try:
        yield Receivers(received, smtp.port, http.server_port)
    finally:
        smtp.stop()
        http.shutdown()
        http.server_close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
