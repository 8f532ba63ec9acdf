"""`upstream members`, `people`, `audit` as typed, and that every act of the operator stands in the customer's trail."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock
from uuid import UUID

import pytest
from typer.testing import CliRunner

from upstream_pipelines.cli.main import app
from upstream_pipelines.customers.audit import operator, record
from upstream_pipelines.customers.people import set_password
from upstream_pipelines.customers.sessions import log_in
from upstream_pipelines.customers.store import create_customer
from upstream_pipelines.customers.tokens import authenticate
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.errors import ConfigurationError, InvalidInputError, NotFoundError, UpstreamError
from upstream_pipelines.settings import Settings

PASSWORD = "four words make one"


@pytest.fixture(autouse=True)
def _environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.database_url is not None
    monkeypatch.setenv("UPSTREAM_DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setenv("UPSTREAM_HOME", str(settings.home))


def _said(*words: str) -> str:
    """What a command printed; its error is raised."""
    result = CliRunner().invoke(app, list(words), env={"COLUMNS": "300"})
    if isinstance(result.exception, UpstreamError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def _read(*words: str) -> Any:
    return json.loads(_said(*words, "--json"))


def test_a_first_owner_is_invited_logs_in_and_is_disabled(pipeline: Connection) -> None:
    pipeline.execute("INSERT INTO customers (slug, name) VALUES ('acme', 'Acme')")
    assert "has no members" in _said("members", "list", "acme")
    made = _read("members", "add", "acme", "ann@example.org", "--role", "owner", "--name", "Ann")
    set_password(lambda: nullcontext(pipeline), made["token"], PASSWORD)
    assert log_in(lambda: nullcontext(pipeline), "ann@example.org", PASSWORD) is not None
    assert [(member["email"], member["role"]) for member in _read("members", "list", "acme")] == [
        ("ann@example.org", "owner")
    ]
    assert "joined" in _said("members", "list", "acme")
    _said("members", "add", "acme", "bob@example.org", "--role", "viewer")
    assert "bob@example.org is admin of acme" in _said("members", "role", "acme", "BOB@example.org", "admin")
    _said("members", "remove", "acme", "bob@example.org")
    with pytest.raises(NotFoundError):
        _said("members", "remove", "acme", "bob@example.org")
    _said("people", "disable", "ann@example.org")
    assert log_in(lambda: nullcontext(pipeline), "ann@example.org", PASSWORD) is None
    _said("people", "enable", "ann@example.org")
    token = _read("people", "password", "ann@example.org")["token"]
    set_password(lambda: nullcontext(pipeline), token, PASSWORD + "!")
    assert log_in(lambda: nullcontext(pipeline), "ann@example.org", PASSWORD + "!") is not None

    acts = _read("audit", "acme")
    assert [act["action"] for act in acts] == [
        "person.password_reset_allowed", "person.enabled", "person.disabled", "member.removed", "member.role_changed",
        "member.invited", "member.joined", "member.invited",
    ]  # fmt: skip
    assert {act["actor_kind"] for act in acts} == {"operator", "person"}
    assert _read("audit")[0]["action"] == "person.logged_in"
    assert "role: admin, before: viewer" in _said("audit", "acme", "--action", "member.role_changed")
    assert len(_said("audit", "acme", "--csv").splitlines()) == 10, "that it was taken is the newest act"
    assert _read("audit", "acme", "--since", "2999-01-01") == []
    with pytest.raises(ConfigurationError):
        _said("audit", "acme", "--since", "yesterday")


def _channel(pipeline: Connection) -> str:
    row = pipeline.execute("SELECT channel_id::text FROM alert_channels WHERE name = 'hook'").fetchone()
    assert row is not None
    return str(row[0])


def test_what_the_operator_does_to_a_customer_stands_in_its_trail_and_what_failed_does_not(
    pipeline: Connection, tmp_path: Path
) -> None:
    _said("customers", "create", "acme", "--name", "Acme")
    file = tmp_path / "acme.yaml"
    file.write_text("channels:\n  - {name: hook, kind: webhook, url: 'https://example.org/hook'}\n")
    _said("customers", "configure", "acme", "--file", str(file))
    made = _read("tokens", "add", "acme", "--label", "x", "--expires", "2999-01-01")["token"]
    assert authenticate(pipeline, made) is not None
    info = next(token for token in _read("tokens", "list", "acme") if token["label"] == "x")
    assert (info["prefix"], info["expires_at"][:10], info["revoked_at"]) == (made[:12], "2999-01-01", None)
    assert info["last_used_at"]
    for unknown in (made, "upi_unknown1", "x"):
        with pytest.raises(NotFoundError) as refused:
            _said("tokens", "revoke", "acme", unknown)
        assert unknown not in str(refused.value) or unknown == "x"
    _said("tokens", "revoke", "acme", info["token_id"])
    assert authenticate(pipeline, made) is None
    assert "revoked" in _said("tokens", "list", "acme")
    assert made not in _said("tokens", "list", "acme")
    with pytest.raises(InvalidInputError):
        _said("tokens", "add", "acme", "--expires", "2020-01-01")
    _said("alerts", "rotate-secret", "acme", "hook")
    silence = _read("alerts", "silence", "acme", "--payer", "Aetna", "--hours", "2")["silence_id"]
    _said("alerts", "unsilence", "acme", silence[:8])
    _said("alerts", "enable", "acme", "hook")
    _said("alerts", "resend", "acme", "--channel", "hook")
    _said("drift", "label", "acme", "--label", "storm", "--from", "2026-01-01")
    _said("customers", "disable", "acme")
    _said("customers", "enable", "acme")
    for failing in (("alerts", "rotate-secret", "acme", "no"), ("alerts", "enable", "acme", "no")):
        with pytest.raises(NotFoundError):
            _said(*failing)
    acts = pipeline.execute(
        "SELECT action, actor_kind, entity_id, details::text FROM audit_log ORDER BY at"
    ).fetchall()
    assert [act[0] for act in acts] == [
        "customer.created", "customer.configured", "token.issued", "token.revoked", "channel.secret_rotated", "silence.made",
        "silence.ended", "channel.enabled", "channel.resent", "days.labelled", "customer.disabled", "customer.enabled",
    ]  # fmt: skip
    assert {act[1] for act in acts} == {"operator"}
    assert acts[2][2] == acts[3][2] == info["token_id"]
    assert f'"prefix": "{made[:12]}"' in acts[2][3]
    assert made not in repr(acts)
    assert {act[2] for act in acts if act[0].startswith("channel.")} == {_channel(pipeline)}, (
        "a name may be a patient's"
    )


def test_what_is_sent_looked_at_and_taken_by_command_stands_in_the_trail(
    pipeline: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run of an upload and Dagster's note of a look are others' tests."""

    def loaded(_settings: Settings, _slug: str, _source: str, upload_id: UUID) -> None:
        pipeline.execute("UPDATE uploads SET status = 'success' WHERE upload_id = %s", (upload_id,))

    monkeypatch.setattr("upstream_pipelines.cli.uploads.run_ingest", loaded)
    monkeypatch.setattr("upstream_pipelines.defs.home.dagster_instance", lambda _: nullcontext(MagicMock()))
    create_customer(pipeline, "acme", "Acme")
    pipeline.execute(
        "INSERT INTO alert_channels (customer_id, name, kind, configuration, secret) SELECT customer_id, 'hook', 'webhook',"
        " '{\"url\": \"https://nowhere.invalid/hook\"}', 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw' FROM customers"
    )
    file = tmp_path / "John Smith.csv"
    file.write_text("payer,cpt,submitted_date,outcome\nAetna,99213,2026-03-02,PENDING\n")
    upload_id = _read("upload", "acme", str(file))["upload_id"]
    tested = CliRunner().invoke(app, ["alerts", "test", "acme", "hook"])
    assert (tested.exit_code, tested.exception.__class__) == (1, SystemExit), "nobody is there"
    _said("alerts", "deliver", "acme")
    _said("drift", "acme", "--from", "2026-05-01", "--to", "2026-05-02")
    _said("drift", "placebo", "acme", "--night", "2026-05-02", "--looks", "14")
    _said("audit", "acme", "--csv")
    for failing in (
        ("upload", "acme", str(tmp_path / "none.csv")),
        ("alerts", "test", "acme", "no"),
        ("drift", "none"),
    ):
        with pytest.raises(UpstreamError):
            _said(*failing)
    acts = pipeline.execute("SELECT action, entity_kind, entity_id, details FROM audit_log ORDER BY at").fetchall()
    assert acts == [
        ("upload.accepted", "upload", upload_id, {"source": "csv"}), ("channel.tested", "channel", _channel(pipeline), {}),
        ("delivery.requested", "customer", "acme", {}),
        ("look.requested", "customer", "acme", {"first": "2026-05-01", "last": "2026-05-02"}),
        ("placebo.requested", "customer", "acme", {"night": "2026-05-02", "looks": 14}),
        ("audit.exported", "customer", "acme", {}),
    ]  # fmt: skip


def test_the_trail_of_a_deleted_customer_is_found_by_its_slug(pipeline: Connection) -> None:
    for number in (70, 71):
        record(pipeline, operator(), "customer.disabled", ("customer", "gone"), customer_id=number)
        record(pipeline, operator(), "customer.deleted", ("customer", "gone"), customer_id=number)
        record(pipeline, operator(), "member.left", ("person", number), customer_id=number)
    acts = _read("audit", "gone")
    assert (acts[0]["action"], acts[0]["entity_id"]) == ("member.left", "71")
    assert len(acts) == 3
    with pytest.raises(NotFoundError):
        _said("audit", "never")
