"""Large batches of one customer and everybody else: who waits for whom, and what is refused."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait

import httpx
import pytest

from upstream_pipelines.api import webhook
from upstream_pipelines.ingest.batch_reader import check_batch
from upstream_pipelines.settings import Settings

URL, JSON = "/api/v1/ingest/webhook/", {"Content-Type": "application/json"}
CLAIM = {"payer": "Aetna", "cpt": "99213", "submitted_date": "2026-03-02", "outcome": "PENDING"}
SMALL = json.dumps({"claims": [CLAIM]}).encode()
LARGE = json.dumps({"claims": [CLAIM] * 1200}).encode()
# More names than a batch may have, under the limit of a body.
HOSTILE = b'{"claims": [{' + b",".join(b'"k%d": 1' % number for number in range(9000)) + b"}]}"
LARGEST = 128 * 1024
# What each counts for, and how many of a customer may be under way.
HELD = len(HOSTILE) - 64 * 1024
FITTING = 4 * LARGEST // HELD
Clients = Callable[[str], httpx.Client]


@pytest.fixture
def client(settings: Settings, serve: Callable[[Settings], str], token: Callable[[str], str]) -> Iterator[Clients]:
    """Clients of new customers, of an API that takes 128 KiB: a customer may have 512 KiB under way."""
    url = serve(settings.model_copy(update={"max_body_bytes": LARGEST}))
    made: list[httpx.Client] = []

    def make(slug: str) -> httpx.Client:
        headers = {"Authorization": f"Bearer {token(slug)}", **JSON}
        made.append(
            httpx.Client(
                base_url=url,
                headers=headers,
                trust_env=False,
                timeout=60,
                limits=httpx.Limits(max_connections=None),
            )
        )
        return made[-1]

    yield make
    for one in made:
        one.close()


class Slow:
    """A reader of batches that stands still at a body until it is let go."""

    def __init__(self, slow: bytes) -> None:
        self._slow = slow
        self.begun = threading.Semaphore(0)
        self.go = threading.Event()
        self.at_once, self.most = 0, 0
        self._lock = threading.Lock()

    def __call__(self, body: bytes) -> int:
        if body != self._slow:
            return check_batch(body)
        with self._lock:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        self.begun.release()
        try:
            assert self.go.wait(120)
            return check_batch(body)
        finally:
            with self._lock:
                self.at_once -= 1


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    """The API's reader takes for ever at the hostile body; let go at the end in any case."""
    reader = Slow(HOSTILE)
    monkeypatch.setattr(webhook, "check_batch", reader)
    yield reader
    reader.go.set()


def test_sixty_bodies_of_one_customer_hold_up_nobody_else(
    client: Clients, slow: Slow, uploads: Callable[[], int]
) -> None:
    """The reading of each takes seconds: waited for in a thread, they took all forty that every other route needs."""
    mallory, acme = client("mallory"), client("acme")
    with ThreadPoolExecutor(60) as pool:
        sent = [pool.submit(mallory.post, URL, content=HOSTILE) for _ in range(60)]
        assert slow.begun.acquire(timeout=60)
        # Those that are too many are answered while the first is read, or they would wait for it here.
        _wait_for(sent, 60 - FITTING)
        small, large = acme.post(URL, content=SMALL), acme.post(URL, content=LARGE)
        status = acme.get(f"/api/v1/uploads/{large.json()['upload_id']}")
        own = mallory.post(URL, content=SMALL)
        assert not slow.go.is_set()
        waiting = [one for one in sent if not one.done()]
        slow.go.set()
        answers = [one.result() for one in sent]
    assert [answer.status_code for answer in (small, large, status, own)] == [202, 202, 200, 202]
    assert len(waiting) == FITTING
    assert slow.most == 1
    refused = {(answer.status_code, answer.json()["code"]) for answer in answers}
    assert refused == {(422, "file_refused"), (429, "too_many_bodies")}
    assert all(
        answer.headers["Retry-After"] == "5" and answer.headers["Connection"] == "close"
        for answer in answers
        if answer.status_code == 429
    )
    assert uploads() == 3
    # What was answered is no longer under way.
    assert [mallory.post(URL, content=LARGE).status_code for _ in range(12)] == [202] * 12


def test_many_customers_have_no_more_under_way_than_the_api_bears_and_small_batches_are_taken(
    client: Clients, slow: Slow
) -> None:
    """Two customers' bodies are read at once, and each other customer's comes before the next of either."""
    many, late = [client(f"c{number}") for number in range(5)], client("late")
    borne = 16 * LARGEST // HELD
    with ThreadPoolExecutor(5 * FITTING) as pool:
        sent = [pool.submit(one.post, URL, content=HOSTILE) for one in many for _ in range(FITTING)]
        _wait_for(sent, len(sent) - borne)
        small, large = many[0].post(URL, content=SMALL), late.post(URL, content=HOSTILE)
        slow.go.set()
        answers = [one.result() for one in sent]
    assert small.status_code == 202
    assert (large.status_code, large.json()["code"], large.headers["Retry-After"]) == (503, "busy", "5")
    assert sorted(answer.status_code for answer in answers) == [422] * borne + [503] * (len(sent) - borne)
    assert slow.most == 2


def test_a_body_that_does_not_say_how_long_it_is_is_counted_as_it_comes(client: Clients, slow: Slow) -> None:
    mallory = client("mallory")
    with ThreadPoolExecutor(FITTING + 1) as pool:
        sent = [pool.submit(mallory.post, URL, content=HOSTILE) for _ in range(FITTING + 1)]
        _wait_for(sent, 1)
        answer = mallory.post(URL, content=iter([HOSTILE[: len(HOSTILE) // 2], HOSTILE[len(HOSTILE) // 2 :]]))
        slow.go.set()
        answers = [one.result() for one in sent]
    assert answer.json()["code"] == "too_many_bodies"
    assert sorted(one.status_code for one in answers) == [422] * FITTING + [429]


def _wait_for(sent: list[Future[httpx.Response]], count: int) -> None:
    """Until so many are answered."""
    while len([one for one in sent if one.done()]) < count:
        done, _ = wait([one for one in sent if not one.done()], timeout=60, return_when="FIRST_COMPLETED")
        assert done, "nothing is answered any more"
