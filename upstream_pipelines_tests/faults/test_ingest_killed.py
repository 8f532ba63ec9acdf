"""PostgreSQL killed with SIGKILL while an upload is read and while it is merged: after the retry no row is lost or doubled."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from upstream_pipelines.alerts.rules import AlertRule
from upstream_pipelines.alerts.store import conservation, sync_channels, sync_rules
from upstream_pipelines.claims import merge
from upstream_pipelines.customers.store import create_customer, get_customer
from upstream_pipelines.db import embedded
from upstream_pipelines.db.engine import connect, dispose_engines
from upstream_pipelines.db.migrate import migrate
from upstream_pipelines.db.second import SecondConnection
from upstream_pipelines.delivery.channels import EmailChannel
from upstream_pipelines.errors import DatabaseUnavailableError
from upstream_pipelines.ingest import merging, staging
from upstream_pipelines.ingest.uploads import get_upload, send_file
from upstream_pipelines.settings import Settings

HEADER = "claim_id,line_number,payer,cpt,submitted_date,decided_date,outcome,billed_amount,allowed_amount"
# Each is called once for an upload, at that step.
STEPS = {
    "before its rows are read": (staging, "_digest"),
    "after its rows were written, in their transaction": (staging, "save_report"),
    "after its claims were merged, in their transaction": (merging, "note_duplicates"),
    "after the merge was committed": (merging, "finish_file"),
}


@pytest.fixture(scope="module")
def own_server() -> Iterator[Settings]:
    """A PostgreSQL that may be killed, set as it is in production."""
    home = Path(tempfile.mkdtemp(prefix="upstream-ingest-killed-")) / "home"
    settings = Settings(home=home, landing_quiet_seconds=0)
    migrate(settings)
    with connect(settings, "upstream_pipeline") as conn:
        customer, _ = create_customer(conn, "acme", "Acme")
        sync_channels(
            conn, customer.customer_id, [EmailChannel(kind="email", name="m", recipients=("a@example.org",))]
        )
        sync_rules(conn, customer.customer_id, [AlertRule(name="all", cooldown_hours=0)])
    yield settings
    dispose_engines()
    embedded.leave(home)
    shutil.rmtree(home.parent)


def _row(claim: str, payer: str = "Aetna") -> str:
    return f"{claim},1,{payer},99213,2026-01-05,2026-02-01,PAID,100,80"


def _load(settings: Settings) -> None:
    with connect(settings, "upstream_pipeline") as conn:
        customer = get_customer(conn, "acme")
        staging.stage_waiting(conn, settings, customer, source="csv", run_id="r")
        merging.merge_staged(conn, settings, customer, "r")
        conn.execute("SELECT 1")  # finds a server gone that was killed after the last commit


@pytest.mark.parametrize("step", STEPS)
def test_an_upload_whose_database_is_killed_is_read_again_and_nothing_is_lost_or_doubled(
    own_server: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    number = list(STEPS).index(step)
    file = tmp_path / f"{number}.csv"
    # Two new lines, one of them twice; one that every upload has; one without a payer.
    rows = (_row(f"{number}A"), _row(f"{number}B"), _row(f"{number}B"), _row("SAME"), _row(f"{number}C", ""))
    file.write_text("\n".join([HEADER, *rows]) + "\n")
    module, name = STEPS[step]
    real = getattr(module, name)

    def kill(*args: Any, **named: Any) -> Any:
        pid = embedded.postmaster_pid(own_server.home)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        time.sleep(0.3)  # its children see it and end
        return real(*args, **named)

    with connect(own_server, "upstream_pipeline") as conn:
        customer = get_customer(conn, "acme")
        upload_id = send_file(conn, own_server, customer, file)
    monkeypatch.setattr(module, name, kill)
    with pytest.raises((psycopg.OperationalError, DatabaseUnavailableError)):
        _load(own_server)
    monkeypatch.undo()
    _again(own_server)
    _load(own_server)
    with connect(own_server, "upstream_pipeline") as conn:
        upload = get_upload(conn, customer.customer_id, upload_id)
        assert (upload["status"], upload["rows"], upload["rejected"]) == ("partial", 5, 1)
        assert upload["rows"] == upload["accepted"] + upload["rejected"] + upload["duplicates"]
        (claims, versions) = conn.execute("SELECT count(*), max(version) FROM claims").fetchone()  # type: ignore[misc]
        (accepted,) = conn.execute("SELECT sum(accepted) FROM uploads").fetchone()  # type: ignore[misc]
        assert (claims, versions) == (accepted, 1)
        told = conn.execute("SELECT kind FROM alerts WHERE subject_id = %s", (upload_id,)).fetchall()
        assert told == [("quality",)], "what was wrong with it is told, once"
        counts = conservation(conn, customer.customer_id)
        assert not any(counts[name] for name in counts if name not in ("alerts", "expected_places", "deliveries"))


def test_an_upload_whose_database_is_killed_between_the_commits_of_its_two_connections_is_merged_again(
    own_server: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "two.csv"
    file.write_text("\n".join([HEADER, *(_row(f"TWO{number}") for number in range(40))]) + "\n")
    commit = SecondConnection.commit
    with connect(own_server, "upstream_pipeline") as conn:
        customer = get_customer(conn, "acme")
        upload_id = send_file(conn, own_server, customer, file)

    def commit_and_kill(self: SecondConnection) -> None:
        commit(self)
        if self._conn is not None:
            pid = embedded.postmaster_pid(own_server.home)
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            time.sleep(0.3)

    monkeypatch.setattr(merge, "FEWEST_FOR_TWO", 1)
    monkeypatch.setattr(SecondConnection, "commit", commit_and_kill)
    with pytest.raises((psycopg.OperationalError, DatabaseUnavailableError)):
        _load(own_server)
    monkeypatch.undo()
    _again(own_server)
    with connect(own_server, "upstream_pipeline") as conn:
        (half,) = conn.execute("SELECT count(*) FROM claims WHERE upload_id = %s", (upload_id,)).fetchone()  # type: ignore[misc]
        assert 0 < half < 40
    _load(own_server)
    with connect(own_server, "upstream_pipeline") as conn:
        upload = get_upload(conn, customer.customer_id, upload_id)
        assert (upload["status"], upload["accepted"], upload["duplicates"]) == ("success", 40, 0)
        claims = "SELECT count(*), max(version) FROM claims WHERE upload_id = %s"
        assert conn.execute(claims, (upload_id,)).fetchone() == (40, 1)


def _again(settings: Settings) -> None:
    """Connecting starts the embedded server; the dying one may still answer for a moment."""
    for _ in range(200):
        dispose_engines()
        try:
            with connect(settings, "upstream_pipeline"):
                return
        except DatabaseUnavailableError:
            time.sleep(0.1)
    pytest.fail("PostgreSQL did not come back")
