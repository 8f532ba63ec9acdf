"""Two customers with a token each, and a client of the API over a real database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from fastapi.testclient import TestClient

from upstream_pipelines.api.app import create_app
from upstream_pipelines.customers.tokens import issue_token
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.settings import Settings


@dataclass(frozen=True)
class Sender:
    """A customer's own system."""

    customer_id: int
    slug: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}


def sender(pipeline: Connection, slug: str) -> Sender:
    row = pipeline.execute(
        "INSERT INTO customers (slug, name) VALUES (%s, %s) RETURNING customer_id", (slug, slug)
    ).fetchone()
    assert row is not None
    return Sender(row[0], slug, issue_token(pipeline, row[0], "test"))


@pytest.fixture
def acme(pipeline: Connection) -> Sender:
    return sender(pipeline, "acme")


@pytest.fixture
def beta(pipeline: Connection) -> Sender:
    return sender(pipeline, "beta")


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings)) as client:
        yield client
