"""TLS and name resolution under attack: certificates, slow handshakes, DNS answers that change. Real sockets."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.client import HTTPMessage, parse_headers
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from upstream_pipelines.delivery.channels import new_secret
from upstream_pipelines.delivery.connections import Connections
from upstream_pipelines.delivery.outcome import Outcome
from upstream_pipelines.delivery.webhook import send_webhook
from upstream_pipelines.settings import Settings

NAME = "hook.example.org"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of a sender alone: no database is made for it."""
    return Settings(home=tmp_path)


def _send(settings: Settings, url: str, **changes: Any) -> Outcome:
    values: dict[str, Any] = {
        "url": url, "secrets": [new_secret()], "delivery_id": "5f0c", "payload": {"type": "test"},
        "now": datetime.now(UTC),
    }  # fmt: skip
    return send_webhook(settings, **{**values, **changes})


class TlsReceiver:
    """A TLS server that answers 200, on as many connections as come, each for as long as the client keeps it."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.requests: list[str] = []
        self.cookies: list[str | None] = []
        self.connections = 0
        self._context = context
        self._stop = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self.port = int(self._listener.getsockname()[1])
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        with self._listener:
            while not self._stop.is_set():
                try:
                    plain, _ = self._listener.accept()
                except TimeoutError:
                    continue
                self._threads.append(threading.Thread(target=self._serve, args=(plain,), daemon=True))
                self._threads[-1].start()

    def _serve(self, plain: socket.socket) -> None:
        try:
            with self._context.wrap_socket(plain, server_side=True) as tls, tls.makefile("rb") as stream:
                self.connections += 1
                tls.settimeout(5)
                while stream.readline():
                    head = parse_headers(stream) if not stream.closed else HTTPMessage()
                    stream.read(int(head.get("content-length", "0")))
                    self.requests.append(head.get("host", ""))
                    self.cookies.append(head.get("cookie"))
                    tls.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nset-cookie: a=b; path=/\r\n\r\nok")
        except (ssl.SSLError, OSError):
            plain.close()

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture
def serve() -> Iterator[Callable[[ssl.SSLContext], TlsReceiver]]:
    running: list[TlsReceiver] = []

    def start(context: ssl.SSLContext) -> TlsReceiver:
        running.append(TlsReceiver(context))
        return running[-1]

    yield start
    for receiver in running:
        receiver.close()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Answers of a name server, one taken per look-up until the last, which stays."""
    answers: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host not in answers:
            return real(host, port, *args, **kwargs)
        address = answers[host].pop(0) if len(answers[host]) > 1 else answers[host][0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return answers


def _context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def _self_signed(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "self.pem"
    file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


@pytest.mark.parametrize(
    "trouble", ["none", "self-signed", "expired", "not yet valid", "wrong name", "unknown authority"]
)
def test_only_a_valid_certificate_of_the_name_gets_the_message(
    loopback: Settings, authority: trustme.CA, ca_file: Path, serve: Any, tmp_path: Path, trouble: str
) -> None:
    day, now = timedelta(days=1), datetime.now(UTC)
    context = {
        "none": lambda: _context(authority.issue_cert("localhost")),
        "self-signed": lambda: _self_signed(tmp_path),
        "expired": lambda: _context(
            authority.issue_cert("localhost", not_before=now - 2 * day, not_after=now - day)
        ),
        "not yet valid": lambda: _context(authority.issue_cert("localhost", not_before=now + day)),
        "wrong name": lambda: _context(authority.issue_cert("elsewhere.example.org")),
        "unknown authority": lambda: _context(trustme.CA().issue_cert("localhost")),
    }[trouble]()
    receiver = serve(context)
    trusting = loopback.model_copy(update={"webhook_ca_file": ca_file})
    outcome = _send(trusting, f"https://localhost:{receiver.port}/")
    if trouble == "none":
        assert (outcome.state, receiver.requests) == ("sent", [f"localhost:{receiver.port}"])
    else:
        assert (outcome.state, outcome.detail, outcome.receiver_failing) == (
            "retry", "no TLS connection: the certificate or protocol was not accepted", True,
        )  # fmt: skip
        assert receiver.requests == []


def test_a_handshake_that_drips_is_cut_off_and_its_thread_ends(loopback: Settings) -> None:
    """Each byte renews the socket's own timeout, so a handshake could hold a thread for days."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"\x16\x03\x03\x40\x00")  # a handshake record of 16 KiB, a byte at a time
                while not stop.wait(0.05):
                    try:
                        connection.sendall(b"\x02")
                    except OSError:
                        return

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        before, started = threading.active_count(), time.monotonic()
        outcome = _send(loopback, f"https://127.0.0.1:{listener.getsockname()[1]}/", total_seconds=0.5)
        assert time.monotonic() - started < 1.5
        assert outcome.detail == "no answer within 0.5 s"
        thread.join(2)
        assert not thread.is_alive()  # the sender's side was shut, so the next byte failed
        time.sleep(0.1)
        assert threading.active_count() < before
        stop.set()


def test_a_name_server_that_never_answers_is_left_at_the_deadline(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> list[Any]:
        time.sleep(1.0)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", never)
    started = time.monotonic()
    assert _send(settings, "https://slow.example.org/", total_seconds=0.3).detail == "no answer within 0.3 s"
    assert time.monotonic() - started < 0.9


@pytest.fixture
def pinned(
    loopback: Settings, authority: trustme.CA, ca_file: Path, serve: Any, names: dict[str, list[str]]
) -> tuple[Settings, TlsReceiver]:
    """A receiver of a public name, which the name server places on this machine."""
    receiver = serve(_context(authority.issue_cert(NAME)))
    names[NAME] = ["127.0.0.1"]
    return loopback.model_copy(update={"webhook_ca_file": ca_file, "webhook_ports": (receiver.port,)}), receiver


def test_the_connection_goes_to_the_address_that_was_checked_whatever_the_name_server_says_next(
    pinned: tuple[Settings, TlsReceiver], names: dict[str, list[str]]
) -> None:
    """A third look-up would go to 10.0.0.7; the certificate is still held to the name, not to the address."""
    settings, receiver = pinned
    names[NAME] = ["127.0.0.1", "127.0.0.1", "10.0.0.7"]
    assert _send(settings, f"https://{NAME}:{receiver.port}/").state == "sent"
    assert receiver.requests == [f"{NAME}:{receiver.port}"]
    assert names[NAME] == ["10.0.0.7"]


def test_a_rebinding_between_the_check_and_the_pinning_is_refused(
    pinned: tuple[Settings, TlsReceiver], names: dict[str, list[str]]
) -> None:
    settings, receiver = pinned
    for second in ("10.0.0.7", "169.254.169.254", "0.0.0.0", "168.63.129.16"):
        names[NAME] = ["127.0.0.1", second]
        outcome = _send(settings, f"https://{NAME}:{receiver.port}/")
        assert (outcome.state, outcome.detail, outcome.answer) == ("retry", "destination not allowed", None)
    assert receiver.connections == 0


def test_a_kept_connection_is_used_again_only_while_the_name_still_stands_for_its_address(
    pinned: tuple[Settings, TlsReceiver], names: dict[str, list[str]]
) -> None:
    settings, receiver = pinned
    url, kept = f"https://{NAME}:{receiver.port}/", Connections(settings)
    try:
        assert [_send(settings, url, connections=kept).state for _ in range(3)] == ["sent"] * 3
        assert (receiver.connections, len(receiver.requests)) == (1, 3)
        names[NAME] = ["10.0.0.7"]
        assert _send(settings, url, connections=kept).detail == "destination not allowed"
        names[NAME] = ["127.0.0.1"]
        assert _send(settings, url, connections=kept).state == "sent"
        assert len(receiver.requests) == 4
    finally:
        kept.close()


def test_a_receivers_cookie_is_not_sent_back(pinned: tuple[Settings, TlsReceiver]) -> None:
    """It would come with the next customer's delivery."""
    settings, receiver = pinned
    kept = Connections(settings)
    for _ in range(2):
        assert _send(settings, f"https://{NAME}:{receiver.port}/", connections=kept).state == "sent"
    assert receiver.cookies == [None, None]
    kept.close()


def test_a_stored_url_is_held_to_the_ports_and_schemes_that_are_allowed_now(
    pinned: tuple[Settings, TlsReceiver],
) -> None:
    """It was accepted when it was configured; the operator has narrowed the list since."""
    settings, receiver = pinned
    for narrowed, url in (
        (settings.model_copy(update={"webhook_ports": (443,)}), f"https://{NAME}:{receiver.port}/"),
        (settings, f"http://{NAME}:{receiver.port}/"),
        (settings, f"https://2130706433:{receiver.port}/"),
    ):
        outcome = _send(narrowed, url)
        assert (outcome.state, outcome.detail) == ("retry", "destination not allowed")
    assert receiver.connections == 0
