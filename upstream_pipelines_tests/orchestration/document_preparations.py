"""What has to be there before the commands of a document can be run. Not here: running them (document_blocks.py)."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests

from upstream_pipelines.demo.generator import as_known_on, synthetic_claims


def _nothing_before(running: Any, folder: Path) -> str:
    """A guide for the first customer begins with nothing."""
    return ""


def _customer_with_an_event(running: Any, folder: Path) -> str:
    """For the guide to the API: who has logged in, and ids of what the tests before have made. An answer that is no
    success ends the shell.
    """
    invitation = running.json("members", "add", "acme", "olive@example.org", "--role", "owner")["token"]
    password = secrets.token_urlsafe()

    def asked(path: str, **body: str) -> requests.Response:
        address = f"{running.api}/api/v1/auth/{path}"
        return requests.post(address, json=body | {"password": password}, timeout=30, proxies={"http": ""})

    assert asked("password", token=invitation).status_code == 204
    logged_in, other = (asked("login", email="olive@example.org").json() for _ in range(2))
    running.command("reports", "make", "acme")
    (folder / "march.csv").write_text("payer,cpt,submitted_date,outcome\nAetna,99213,2026-03-02,PENDING\n")
    of_acme = "FROM {} WHERE customer_id = (SELECT customer_id FROM customers WHERE slug = 'acme')"
    ids = {
        "UPLOAD": running.rows(f"SELECT upload_id {of_acme.format('uploads')} AND rejected > 0"),
        "EVENT": running.rows(f"SELECT event_id {of_acme.format('drift_events')} AND state = 'open'"),
        "ALERT": running.rows(f"SELECT alert_id {of_acme.format('alerts')} AND kind = 'drift'"),
        "CHANNEL": running.rows(f"SELECT channel_id {of_acme.format('alert_channels')} AND name = 'hook'"),
        "REPORT": running.rows(f"SELECT report_id {of_acme.format('report_runs')} AND state = 'success'"),
        "RULE": running.rows(f"SELECT rule_id {of_acme.format('alert_rules')} AND enabled"),
        "TOKEN_ID": running.rows(f"SELECT token_id {of_acme.format('ingestion_tokens')}"),
    }
    variables = {name: found[0][0] for name, found in ids.items()} | {
        "API": f"{running.api}/api/v1",
        "ACCESS_TOKEN": logged_in["access_token"],
        "REFRESH_TOKEN": other["refresh_token"],
    }
    return "\n".join([_CURL, *(f"{name}={value}" for name, value in variables.items())])


def _own_file(running: Any, folder: Path) -> str:
    """For the README: no customer of that name yet, and a file of one's own."""
    running.command("customers", "disable", "acme")
    # Refused while a run is at work: that of the report which the guide to the API asks for.
    deleted = ("customers", "delete", "acme", "--yes", "acme")
    running.wait("a deletion", lambda: running.command(*deleted, check=False).returncode == 0)
    today = datetime.now(UTC).date()
    claims = as_known_on(synthetic_claims(7, today, 7), today)
    (folder / "claims.csv").write_text(claims.to_csv(index=False, date_format="%Y-%m-%d"))
    return _CURL


_CURL = 'curl() { command curl -sS --fail-with-body "$@"; }'
BEFORE = {
    "docs/guide/first_customer.md": _nothing_before,
    "docs/guide/api.md": _customer_with_an_event,
    "README.md": _own_file,
}
