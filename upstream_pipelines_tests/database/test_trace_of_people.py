"""What `upstream trace` says of uploads and reports that people ask for, read from what the database alone knows."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from upstream_pipelines.customers.audit import Actor, operator
from upstream_pipelines.customers.models import Customer
from upstream_pipelines.customers.store import create_customer, get_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.ingest.inbox import StoredFile, register_uploaded_file
from upstream_pipelines.ingest.uploads import send_file
from upstream_pipelines.operations.trace import trace
from upstream_pipelines.settings import Settings

ANN = Actor("person", str(uuid4()), "ann@example.org", "a" * 32)


@pytest.fixture
def acme(pipeline: Connection) -> Customer:
    create_customer(pipeline, "acme", "Acme")
    return get_customer(pipeline, "acme")


def test_a_trace_says_whether_a_person_an_operator_or_a_token_sent_a_file_and_not_who(
    pipeline: Connection, settings: Settings, acme: Customer, tmp_path: Path
) -> None:
    """Most likely wrong: the act of another upload, sent at the same time."""
    token_id, prefix = pipeline.execute("SELECT token_id, prefix FROM ingestion_tokens").fetchall()[0]
    file = tmp_path / "claims.csv"
    file.write_text("claim_id\n")
    said = {}
    with pipeline.transaction():  # all of one instant
        for actor, token in (
            (ANN, None), (Actor("operator", "api", "api", "b" * 32), None), (Actor("token", str(token_id), prefix, "c" * 32), token_id),
        ):  # fmt: skip
            stored = StoredFile(uuid4(), "csv", "claims.csv", f"{file}.{actor.kind}", bytes(32), 9)
            register_uploaded_file(pipeline, acme, actor, stored, token)
            said[actor.kind] = actor.request_id or ""
        by_command = send_file(pipeline, settings, acme, file, operator())
        unsaid = send_file(pipeline, settings, acme, file)

    def about(asked: object) -> str:
        entry = trace(pipeline, str(asked)).entries[0]
        assert entry.what == "received"
        return entry.about

    assert "; by person; request aaa" in about(said["person"])
    assert "; by operator; request bbb" in about(said["operator"])
    assert f"; by token {prefix}; request ccc" in about(said["token"])
    assert "; by operator; without a request" in about(by_command)
    assert "; by" not in about(unsaid)
    assert "ann@" not in str(trace(pipeline, said["person"]))
