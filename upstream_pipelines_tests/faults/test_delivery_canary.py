"""No PHI and no secret in any message, log or attempt record, whatever receivers answer and databases quote."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from upstream_pipelines.alerts.store import list_alerts
from upstream_pipelines.db.engine import Connection, connect
from upstream_pipelines.defs.resources import Platform, StageFailedError
from upstream_pipelines.delivery.channels import EmailChannel, SlackChannel, WebhookChannel, new_secret
from upstream_pipelines.delivery.worker import deliver_due
from upstream_pipelines.observability.logging import configure_logging
from upstream_pipelines.settings import Settings

# As a receiver's error page, a mail server or a database might show them; each is a shape that claims have.
CANARIES = (
    "123-45-6789", "ZEBEDEE, QUENTIN", "1961-07-13", "MRN 77123456", "555-867-5309", "zq@patient.example",
    "quentin zebedee", "5558675309", "hunter2", "sk-live-4242",
)  # fmt: skip
PAGE = (
    f"error: ssn {CANARIES[0]}, {CANARIES[1]} born {CANARIES[2]}, {CANARIES[3]}, {CANARIES[4]}, {CANARIES[5]}; "
    f"user {CANARIES[6]} at {CANARIES[7]} not found, password={CANARIES[8]} api_key={CANARIES[9]}"
)
TABLES = ("alerts", "deliveries", "delivery_alerts", "delivery_attempts")


@pytest.fixture
def mail_server() -> Iterator[int]:
    """Refuses every recipient with a text that quotes a patient."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)

        def serve() -> None:
            while not stop.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                with connection, connection.makefile("rb") as lines:
                    connection.sendall(b"220 mail\r\n")
                    for line in lines:
                        refused = line.upper().startswith(b"RCPT")
                        connection.sendall(f"450 {PAGE}\r\n".encode() if refused else b"250 ok\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        stop.set()
        thread.join()


def _kept(conn: Connection) -> str:
    rows = [conn.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES]
    return repr(rows)


def _clean(text: str, *secrets: str) -> None:
    for canary in (*CANARIES, *secrets):
        assert canary not in text


def test_what_receivers_answer_is_kept_without_phi_and_secrets(
    loopback: Settings, pipeline: Connection, customer: int, receiver: Any, queue: Any, reply: Any, mail_server: int,
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """A webhook that echoes our request with a patient's data, one that fails with them, a mail server and a Slack that do."""
    configure_logging(loopback.model_copy(update={"log_level": "DEBUG"}))
    secret, token = new_secret(), "xoxb-77-CANARY"

    def script(handler: Any, body: bytes) -> None:
        if "chat.postMessage" in handler.path:
            reply(handler, 200, b'{"ok": false, "error": "' + PAGE.encode() + b'"}')
        else:
            told = PAGE.encode() + b" whsec_CANARYCANARY " + str(handler.headers).encode() + body
            reply(handler, 500 if handler.path == "/fails" else 200, told)

    receiver.script = script
    queue(
        [
            WebhookChannel(kind="webhook", name="echo", url=f"{receiver.url}/echo", secret=SecretStr(secret)),
            WebhookChannel(kind="webhook", name="fails", url=f"{receiver.url}/fails"),
            SlackChannel(kind="slack", name="team", bot_token=SecretStr(token), channel="C1"),
            EmailChannel(kind="email", name="office", recipients=("a@example.org",)),
        ]
    )
    settings = loopback.model_copy(
        update={
            "slack_base_url": f"{receiver.url}/api", "smtp_host": "127.0.0.1", "smtp_port": mail_server,
            "smtp_security": "none", "smtp_from": "alerts@upstream.example",
        }
    )  # fmt: skip
    report = deliver_due(settings)
    assert (report.sent, report.retrying) == (1, 3)
    kept = _kept(pipeline) + repr(list_alerts(pipeline, customer))
    # The words of what the receivers said are there, for whoever has to find out why.
    assert "… not found, … api_key" in kept
    _clean(kept, secret, token, "CANARYCANARY")
    out, err = capfd.readouterr()
    _clean(out + err + caplog.text, secret, token, "CANARYCANARY")
    for _, headers, body in receiver.requests:
        _clean(repr({**headers, "authorization": ""}) + body.decode(), secret, token)


def test_a_database_error_that_quotes_a_row_reaches_neither_dagster_nor_the_log(
    loopback: Settings, pipeline: Connection, receiver: Any, queue: Any, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Dagster stores the message of an exception and of all its causes."""
    queue([WebhookChannel(kind="webhook", name="hook", url=receiver.url)])
    with connect(loopback, "upstream_owner") as owner:
        owner.execute(
            f"""
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN RAISE EXCEPTION 'row of {CANARIES[1]}' USING DETAIL = 'Failing row contains ({PAGE}).'; END $$;
            CREATE TRIGGER refuse BEFORE UPDATE ON delivery_attempts FOR EACH ROW EXECUTE FUNCTION refuse();
            """
        )
    assert loopback.database_url is not None
    monkeypatch.setenv("UPSTREAM_DATABASE_URL", loopback.database_url.get_secret_value())
    monkeypatch.setenv("UPSTREAM_HOME", str(loopback.home))
    with pytest.raises(StageFailedError) as caught:
        with Platform().connect():
            deliver_due(loopback)
    assert "message withheld" in str(caught.value)
    _clean(str(caught.value))
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    logging.getLogger("upstream_pipelines").error("the stage", exc_info=caught.value)
    out, err = capfd.readouterr()
    _clean(out + err)
    assert len(receiver.requests) == 1
    assert pipeline.execute("SELECT state FROM deliveries").fetchall() == [("sending",)]  # it comes back
