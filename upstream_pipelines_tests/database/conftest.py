"""What several files of this folder begin with."""

from __future__ import annotations

from pathlib import Path

import pytest

from upstream_pipelines.customers.store import create_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.settings import Settings
from upstream_pipelines_tests.database.ingested import Ingest


@pytest.fixture
def ingest(pipeline: Connection, settings: Settings, tmp_path: Path) -> Ingest:
    create_customer(pipeline, "acme", "Acme")
    folder = tmp_path / "sent"
    folder.mkdir()
    return Ingest(pipeline, settings, folder)
