"""What `upstream doctor` says of the API's login, of the collector of traces, and of what a demonstration leaves."""

from __future__ import annotations

import json
import secrets
import socket
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from upstream_pipelines.cli.doctor import _answering, _api_login, _channels, _daemon, _email, _part, _traces
from upstream_pipelines.cli.supervisor import runs_here
from upstream_pipelines.db.engine import Connection, dispose_engines
from upstream_pipelines.defs.daemon_health import DaemonHealth
from upstream_pipelines.demo.run import _sign_up, end_channels
from upstream_pipelines.demo.story import demo_customers
from upstream_pipelines.settings import Settings
from upstream_pipelines_tests.unit.otlp_collector import collecting


def test_a_login_that_may_become_another_role_is_advised_against_and_one_made_for_the_api_must_not(
    settings: Settings,
) -> None:
    found = _part("login", lambda: _api_login(settings))
    assert found.ok, "it is how a first evening runs"
    assert "may become upstream_owner and upstream_pipeline as well" in found.state
    assert "UPSTREAM_API_DATABASE_URL" in found.advice
    assert settings.database_url is not None
    url = make_url(settings.database_url.get_secret_value())
    login, password = f"api_{secrets.token_hex(8)}", secrets.token_hex(8)
    own = settings.model_copy(
        update={
            "api_database_url": SecretStr(
                url.set(username=login, password=password).render_as_string(hide_password=False)
            )
        }
    )
    role = sql.Identifier(login)
    with psycopg.connect(settings.database_url.get_secret_value(), autocommit=True) as owner:
        owner.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(password)))
        owner.execute(sql.SQL("GRANT upstream_api TO {}").format(role))
        try:
            assert _part("login", lambda: _api_login(own))[::2] == (True, "may be upstream_api and nothing else")
            owner.execute(sql.SQL("GRANT upstream_pipeline TO {}").format(role))
            wrong = _part("login", lambda: _api_login(own))
            assert not wrong.ok
            assert "REVOKE upstream_pipeline" in wrong.advice
        finally:
            dispose_engines()
            owner.execute(sql.SQL("DROP ROLE {}").format(role))


def test_a_collector_that_answers_is_well_one_that_does_not_and_an_extra_that_is_missing_are_not(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collecting() as collector:
        set_up = settings.model_copy(update={"otlp_endpoint": collector.endpoint})
        assert _part("traces", lambda: _traces(set_up)).ok
        assert collector.bodies == [b""], "an export of nothing"
        for status, advised in (
            (404, "port 4318"),
            (401, "OTEL_EXPORTER_OTLP_HEADERS"),
            (302, "UPSTREAM_OTLP_ENDPOINT"),
            (503, "log"),
        ):
            collector.status = status
            other = _part("traces", lambda: _traces(set_up))
            assert not other.ok
            assert f"at {collector.endpoint}/v1/traces " in other.state
            assert f"({status})" in other.state
            assert advised in other.advice
    gone = _part("traces", lambda: _traces(set_up))
    assert not gone.ok
    assert f"nothing answers at {collector.endpoint}/v1/traces (ConnectionError)" in gone.state
    assert "UPSTREAM_OTLP_ENDPOINT" in gone.advice
    monkeypatch.setitem(sys.modules, "upstream_pipelines.observability.otlp", None)
    missing = _part("traces", lambda: _traces(set_up))
    assert not missing.ok
    assert "pip install 'upstream-pipelines[telemetry]'" in missing.advice


def test_after_a_demonstration_nothing_waits_for_the_receivers_that_ended_with_it(
    settings: Settings, pipeline: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The three customers' channels were on, and the first thing that a newcomer asked was answered with not ok."""
    monkeypatch.setenv("UPSTREAM_WEBHOOK_ALLOW_LOOPBACK", "true")
    customers = demo_customers(date(2026, 6, 1))
    receivers: Any = SimpleNamespace(http_port=1, received=SimpleNamespace(secrets={}))
    _sign_up(settings, customers, receivers)
    waiting = _part("e-mail", lambda: _email(settings))
    assert (waiting.ok, waiting.state) == (False, "3 e-mail channels wait for a mail server"), (
        "of a customer that is no demonstration"
    )
    end_channels(settings, customers)
    assert _part("e-mail", lambda: _email(settings))[::2] == (True, "not configured, and no channel needs it")
    assert _part("alert channels", lambda: _channels(settings)).ok


@pytest.mark.parametrize(
    ("since", "well"), [(0.0, False), (100.0, True)], ids=["runs", "its number is another's now"]
)
def test_a_part_that_does_not_answer_is_a_trouble_only_where_the_platform_runs(
    tmp_path: Path, *, since: float, well: bool
) -> None:
    settings = Settings(home=tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/health"
    assert _answering("HTTP API", url, up=runs_here(settings)).advice == "`upstream up` starts it."
    own = psutil.Process()
    (tmp_path / "up.json").write_text(json.dumps({"pid": 1, "children": [[own.pid, own.create_time() - since]]}))
    found = _answering("HTTP API", url, up=runs_here(settings))
    assert found.ok == well
    assert well or "though `upstream up` runs" in found.state


def test_a_daemon_heard_of_seconds_ago_is_not_said_to_run_where_the_ui_has_ended() -> None:
    beat = DaemonHealth(datetime.now(UTC) - timedelta(seconds=38), (), ())
    ended = _part("daemon", lambda: _daemon(beat, ui_runs=False))
    assert ended.ok
    assert not ended.state.startswith("runs")
    assert ended.advice == "`upstream up` starts both."
    running = _part("daemon", lambda: _daemon(beat, ui_runs=True))
    assert running.state.startswith("runs, heard of 3")
    assert running.advice == ""
