"""A database that takes no connection: what a command says of it, and with which exit code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

from upstream_pipelines.cli.main import main
from upstream_pipelines.db.engine import dispose_engines, unavailable

NOWHERE = "postgresql://secretlogin:secretword@127.0.0.1:9/upstream"


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("UPSTREAM_HOME", str(tmp_path))
    monkeypatch.setenv("UPSTREAM_DATABASE_URL", NOWHERE)
    yield
    dispose_engines()


@pytest.mark.parametrize(
    "command", [["drift", "list", "x"], ["migrate"], ["customers", "list"], ["drift", "explain", "x", "a3"]]
)
def test_a_command_ends_with_code_5_and_says_where_the_database_was_sought(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["upstream", *command])
    with pytest.raises(SystemExit) as ended:
        main()
    said = " ".join(capsys.readouterr().err.split())
    assert ended.value.code == 5
    assert "error (database_unavailable): PostgreSQL at 127.0.0.1:9, database upstream, cannot be used" in said
    assert "Check that the server runs" in said
    assert "Traceback" not in said
    assert "secret" not in said


def test_the_login_is_not_repeated_from_the_servers_answer() -> None:
    answer = psycopg.OperationalError(
        'connection failed: connection to server at "h", port 5432 failed: FATAL:  password authentication failed for '
        'user "secretlogin"\nand more'
    )
    said = str(unavailable(make_url(NOWHERE), answer, "upstream_pipeline"))
    assert "secret" not in said
    assert "password authentication failed for the user of the URL" in said
    assert "upstream_pipeline" in said
