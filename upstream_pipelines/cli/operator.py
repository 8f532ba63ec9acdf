"""Acts of the platform's operator: done and written into the audit trail in one transaction. Not here: what is done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from upstream_pipelines.customers.audit import Detail, operator, record
from upstream_pipelines.customers.models import CustomerKey
from upstream_pipelines.db.engine import Connection, connect
from upstream_pipelines.settings import Settings


@contextmanager
def acting(settings: Settings) -> Iterator[Connection]:
    """A transaction as upstream_pipeline in which an act and its row of the trail are kept together, or neither is."""
    with connect(settings, "upstream_pipeline") as conn, conn.transaction():
        yield conn


def audited(
    conn: Connection, customer: CustomerKey, action: str, entity: tuple[str, object], **details: Detail
) -> None:
    """Write an act of the operator on a customer into the trail."""
    record(conn, operator(), action, entity, customer_id=customer.customer_id, details=details)
