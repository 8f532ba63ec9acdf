"""Transactions that are done again when PostgreSQL gave them up for another's sake. Not here: what is done in them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import psycopg

# Deadlock, serialization, a lock that others hold out of the order of all (wake_ends): nothing of it was kept.
_AGAIN = frozenset({"40P01", "40001", "55P03"})
_TRIES = 5

Result = TypeVar("Result")


def until_kept(work: Callable[[], Result]) -> Result:
    """Do `work`, one transaction, up to five times. What was sent and is not recorded would be sent a second time.

    Raises:
        psycopg.OperationalError: any other, or that of the fifth time.
    """
    for tries in range(1, _TRIES):
        try:
            return work()
        except psycopg.OperationalError as error:
            if error.sqlstate not in _AGAIN:
                raise
        time.sleep(0.05 * tries)
    return work()
