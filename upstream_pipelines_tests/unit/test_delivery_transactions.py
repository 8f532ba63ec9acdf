from __future__ import annotations

import pytest
from psycopg import OperationalError, errors

from upstream_pipelines.delivery.transactions import until_kept


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("upstream_pipelines.delivery.transactions.time.sleep", lambda _: None)


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (errors.DeadlockDetected, 5),
        (errors.LockNotAvailable, 5),
        (errors.SerializationFailure, 5),
        (errors.AdminShutdown, 1),
        (OperationalError, 1),
    ],
)
def test_only_what_postgresql_gave_up_for_anothers_sake_is_done_again_and_no_more_than_five_times(
    error: type[OperationalError], tries: int
) -> None:
    done = []

    def work() -> None:
        done.append(1)
        raise error

    with pytest.raises(error):
        until_kept(work)
    assert len(done) == tries


def test_what_is_kept_at_last_is_returned() -> None:
    given_up = iter([errors.DeadlockDetected()])

    def work() -> str:
        for error in given_up:
            raise error
        return "kept"

    assert until_kept(work) == "kept"
