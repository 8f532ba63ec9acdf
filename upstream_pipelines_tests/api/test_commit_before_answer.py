"""202 is said after the commit; a connection that is cut before it means that nothing was accepted."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import psycopg
import pytest

from upstream_pipelines.settings import Settings

BODY = b'{"claims": [{"payer": "Aetna", "cpt": "99213", "submitted_date": "2026-03-02", "outcome": "PENDING"}]}'


def test_the_answer_comes_after_the_commit_and_a_cut_connection_is_a_503(
    acme: httpx.Client, settings: Settings, uploads: Callable[[], int]
) -> None:
    """The insert waits for a lock: while it does there is no answer. The first connection is cut there."""
    url = settings.database_url
    assert url is not None

    def post() -> httpx.Response:
        return acme.post("/api/v1/ingest/webhook/", content=BODY, headers={"Content-Type": "application/json"})

    with (
        psycopg.connect(url.get_secret_value()) as blocker,
        psycopg.connect(url.get_secret_value(), autocommit=True) as administrator,
        ThreadPoolExecutor(1) as pool,
    ):
        for cut in (True, False):
            blocker.execute("LOCK TABLE webhook_inbox IN SHARE MODE")
            answer = pool.submit(post)
            waiting = _waiting_backend(administrator)
            assert not answer.done()
            if cut:
                administrator.execute("SELECT pg_terminate_backend(%s)", (waiting,))
                assert answer.result(timeout=20).status_code == 503
                assert answer.result().json()["code"] == "database_unavailable"
                assert uploads() == 0
            blocker.rollback()
            if not cut:
                assert answer.result(timeout=20).status_code == 202
    assert uploads() == 1


def _waiting_backend(administrator: psycopg.Connection) -> int:
    for _ in range(1000):
        row = administrator.execute("SELECT pid FROM pg_locks WHERE NOT granted").fetchone()
        if row is not None:
            return int(row[0])
        time.sleep(0.01)
    pytest.fail("the request never got to the lock")
