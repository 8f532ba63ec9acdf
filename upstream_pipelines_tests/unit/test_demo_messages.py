"""What the demonstration's receivers got can be read afterwards: the mail, the Slack messages and the webhooks of that one."""

from __future__ import annotations

import json
import smtplib
from datetime import UTC, datetime
from email import message_from_bytes
from pathlib import Path

import requests
from standardwebhooks.webhooks import Webhook

from upstream_pipelines.demo.messages import MessageFolder
from upstream_pipelines.demo.receivers import Receivers, running_receivers

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SLACK = {"text": "Société Aetna denies more"}
HOOK = {"type": "drift.event.opened", "data": {"payer": "Aetna"}}
MAIL = b"To: billing@demo-denials.example\r\nSubject: Aetna denies more\r\n\r\nSee the chart.\r\n"


def _send(receivers: Receivers, customer: str) -> list[int]:
    with smtplib.SMTP("127.0.0.1", receivers.smtp_port, timeout=10) as client:
        client.sendmail("alerts@upstream.example", f"billing@{customer}.example", MAIL)
    receivers.received.secrets[customer] = SECRET
    body, at = json.dumps(HOOK), datetime.now(UTC)
    signed = {
        "webhook-id": "msg_1", "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(SECRET).sign("msg_1", at, body),
    }  # fmt: skip
    base = f"http://127.0.0.1:{receivers.http_port}"
    with requests.Session() as session:
        session.trust_env = False
        return [
            session.post(f"{base}/slack/{customer}", json=SLACK, timeout=10).status_code,
            session.post(f"{base}/hook/{customer}", data=body, headers=signed, timeout=10).status_code,
            session.post(f"{base}/hook/{customer}", data=body, timeout=10).status_code,
        ]


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_each_message_that_arrived_is_a_file_to_read_and_one_whose_signature_was_refused_is_none(
    tmp_path: Path,
) -> None:
    folder = MessageFolder(tmp_path / "demo-messages")
    folder.begin()
    with running_receivers(folder=folder) as receivers:
        assert _send(receivers, "demo-denials") == [200, 204, 401]
    assert _files(folder.path) == [
        "email/001-demo-denials.eml", "slack/002-demo-denials.json", "webhook/003-demo-denials.json",
    ]  # fmt: skip
    mail = message_from_bytes((folder.path / "email/001-demo-denials.eml").read_bytes())
    assert mail["Subject"] == "Aetna denies more"
    slack = (folder.path / "slack/002-demo-denials.json").read_text(encoding="utf-8")
    assert json.loads(slack) == SLACK
    assert "\n" in slack, "a body in one line is for programs"
    assert "Société" in slack
    assert json.loads((folder.path / "webhook/003-demo-denials.json").read_text(encoding="utf-8")) == HOOK


def test_what_an_earlier_demonstration_left_is_gone_and_no_name_leads_out_of_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "demo-messages"
    (path / "email").mkdir(parents=True)
    (path / "email" / "009-earlier.eml").write_text("of yesterday")
    folder = MessageFolder(path)
    folder.begin()
    assert _files(path) == []
    folder.keep("slack", "../../Etc/x", b"{}")
    assert _files(path) == ["slack/001-tcx.json"]
    assert _files(tmp_path) == ["demo-messages/slack/001-tcx.json"]
