"""What went wrong with a customer's uploads, as troubles a look may explain a change by.

Belongs here: reading them, one statement a kind, each with the share of the lines it cost. Not here: which change
they explain (data_trouble.py).
"""

from __future__ import annotations

from datetime import date, timedelta

from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.drift.data_trouble import Trouble
from upstream_pipelines.drift.settings import DriftSettings

QUERIES = load_queries(__package__)
REJECTED_SHARE = (
    0.1  # of a day's rows rejected, or failing a rule more than usual: less moves no signal materially
)


def read_troubles(
    conn: Connection, customer_id: int, days: tuple[date, date], settings: DriftSettings
) -> list[Trouble]:
    """Troubles of uploads that looks on the first to the last of `days` may know of; `known_before` picks by look."""
    span = {
        "customer_id": customer_id,
        # A change may have begun so long before a look, and its trouble with it.
        "since": days[0] - timedelta(days=settings.change_days + settings.renewal_days),
        "until": days[1],
        "rejected_share": REJECTED_SHARE,
    }
    rows = [
        *conn.execute(QUERIES.select_upload_troubles, span),
        *conn.execute(QUERIES.select_quality_troubles, span),
    ]
    return [
        Trouble(code, first, last, known_on=known, cleared_on=cleared, share=share)
        for code, first, last, known, cleared, share in rows
    ]
