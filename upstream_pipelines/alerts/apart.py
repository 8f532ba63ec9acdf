"""One customer's alerts written apart from those of all others, for who goes through many customers: what cannot be written for one
is named and asked for again, and the others do not wait for it. Not here: what is written (store.py, runs.py), who asks again (defs/).
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from upstream_pipelines.db.engine import Connection

_log = logging.getLogger(__name__)


def write_apart(conn: Connection, customer_id: int, write: Callable[[], int]) -> int | None:
    """What `write` returned; None where it failed, which is then undone and logged without the words of its error, for they may
    quote a row. The caller owes it.

    Raises:
        Exception: the connection is gone, and with it everybody's.
    """
    try:
        with conn.transaction():
            return write()
    except Exception as error:
        if conn.closed:
            raise
        _log.error("alerts of customer %d could not be written (%s); they are tried again. Look at its alert rules.",
                   customer_id, type(error).__name__)  # fmt: skip
        return None
