"""Product flags: which parts of the product are on for a customer. All are, until the platform's operator switches one off.

Belongs here: reading them, and refusing what is off. Not here: switching (flag_changes.py), what a part does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from upstream_pipelines.customers.models import CustomerKey
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.errors import ForbiddenError, NotFoundError

QUERIES = load_queries(__package__)

Flag = Literal["csv_upload", "webhook_ingest", "drift", "alerts", "reports"]
FLAGS: tuple[Flag, ...] = get_args(Flag)
# What people read of each.
_WHAT: Mapping[Flag, str] = {
    "csv_upload": "Taking files (CSV and remittances)",
    "webhook_ingest": "Taking batches by webhook",
    "drift": "Looking at drift",
    "alerts": "Sending alerts",
    "reports": "Making reports",
}


class ProductOffError(ForbiddenError):
    """That part of the product is switched off for the customer."""

    code = "product_off"


@dataclass(frozen=True)
class ProductFlags:
    """Each flag, true where it is on, and their `revision`: another one for other flags, the same one for the same."""

    on: Mapping[Flag, bool]
    revision: str


def product_flags(conn: Connection, customer_id: int) -> ProductFlags:
    """A customer's flags; as upstream_api in its transaction.

    Raises:
        NotFoundError: there is no such customer.
    """
    row = conn.execute(QUERIES.products_off, {"customer_id": customer_id}).fetchone()
    if row is None:
        raise NotFoundError(
            f"There is no customer {customer_id}. `upstream customers list` shows those there are."
        )
    return flags_of(row[0])


def flags_of(off: list[str]) -> ProductFlags:
    """The flags of which those are off."""
    digest = hashlib.sha256(",".join(sorted(off)).encode()).hexdigest()
    return ProductFlags({flag: flag not in off for flag in FLAGS}, digest[:16])


def require(conn: Connection, customer: CustomerKey, flag: Flag) -> None:
    """Refuse what is off for the customer; as upstream_api in its transaction.

    Raises:
        ProductOffError: it is off; the message says who can switch it on.
    """
    if not product_flags(conn, customer.customer_id).on[flag]:
        raise switched_off(customer.slug, flag)


def switched_off(slug: str, flag: Flag) -> ProductOffError:
    """The refusal of a part that is off."""
    return ProductOffError(
        f"{_WHAT[flag]} is switched off for customer {slug} ({flag}); nothing was done. The platform's operator can switch it on: "
        f"`upstream customers flags {slug} --on {flag}`."
    )


def customers_without(conn: Connection, flag: Flag) -> frozenset[int]:
    """The active customers for which it is off, by number. Needs role upstream_pipeline."""
    return frozenset(row[0] for row in conn.execute(QUERIES.customers_without, {"flag": flag}))
