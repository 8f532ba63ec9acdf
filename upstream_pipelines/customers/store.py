"""Creating, finding, configuring and disabling customers. Not here: tokens, the landing folder, Dagster."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

from psycopg.types.json import Jsonb

from upstream_pipelines.alerts.rules import DEFAULT_RULE
from upstream_pipelines.alerts.store import sync_channels, sync_rules
from upstream_pipelines.customers.audit import Actor, record
from upstream_pipelines.customers.configuration import ConfigurationFile
from upstream_pipelines.customers.models import Customer, CustomerKey
from upstream_pipelines.customers.people import checked_name
from upstream_pipelines.customers.tokens import issue_token
from upstream_pipelines.db.engine import Connection, as_customer
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.errors import ConflictError, InvalidInputError, NotFoundError

QUERIES = load_queries(__package__)
SLUG = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def create_customer(conn: Connection, slug: str, name: str) -> tuple[Customer, str]:
    """Sign up a customer with its default alert rule and an ingestion token, in one transaction. Needs role upstream_pipeline.

    Returns: the customer and the token, which is stored only as a digest and so is shown once.

    Raises:
        InvalidInputError: the slug or the name cannot be used.
        ConflictError: the slug is taken.
    """
    return _signed_up(conn, QUERIES.insert_customer, slug, name)


def sign_up(conn: Connection, actor: Actor, slug: str, name: str) -> tuple[Customer, str]:
    """The same by an operator at the command line, written into the customer's trail."""
    with conn.transaction():
        customer, token = create_customer(conn, slug, name)
        record(conn, actor, "customer.created", ("customer", slug), customer_id=customer.customer_id)
    return customer, token


def sign_up_over_api(conn: Connection, slug: str, name: str, request_id: str | None) -> tuple[Customer, str]:
    """The same by the operator over HTTP; as upstream_api in a transaction of no customer and no person. The database writes the
    trail, and who it was, itself.
    """
    return _signed_up(conn, QUERIES.sign_up_customer, slug, name, request_id=request_id)


def _signed_up(conn: Connection, statement: str, slug: str, name: str, **more: str | None) -> tuple[Customer, str]:
    if not SLUG.fullmatch(slug):
        raise InvalidInputError(
            f"{slug!r} cannot be a customer's slug: use 1 to 63 of a-z, 0-9 and -, not starting or ending with -."
        )
    checked = checked_name(name)
    if not checked:
        raise InvalidInputError("A customer needs a name.")
    with conn.transaction():
        row = conn.execute(statement, {"slug": slug, "name": checked, **more}).fetchone()
        if row is None:
            raise ConflictError(
                "A customer of that slug exists already. Choose another slug, or configure that one."
            )
        customer = _customer(row)
        with as_customer(conn, customer.customer_id):
            sync_rules(conn, customer.customer_id, [DEFAULT_RULE])
            token = issue_token(conn, customer.customer_id, label="first token")
    return customer, token


def get_customer(conn: Connection, slug: str) -> Customer:
    """Find a customer by its slug.

    Raises:
        NotFoundError: there is none.
    """
    row = conn.execute(QUERIES.select_customer, {"slug": slug}).fetchone()
    if row is None:
        raise NotFoundError(f"There is no customer {slug}. `upstream customers list` shows those there are.")
    return _customer(row)


def lock_to_configure(conn: Connection, slug: str) -> Customer:
    """A customer whose configuration is about to be changed: until the transaction ends no other change of it is read or
    made, so that none is lost. Call it inside a transaction.

    Raises:
        NotFoundError: there is none.
    """
    conn.execute(QUERIES.lock_customer, {"slug": slug})
    return get_customer(conn, slug)


def list_customers(conn: Connection) -> list[Customer]:
    """All customers, by slug."""
    return [_customer(row) for row in conn.execute(QUERIES.select_customers).fetchall()]


def active_customers(conn: Connection) -> list[CustomerKey]:
    """The active customers, by slug."""
    return [CustomerKey(*row) for row in conn.execute(QUERIES.select_active).fetchall()]


def active_customer(conn: Connection, slug: str) -> int | None:
    """The number of the active customer of a slug, for an operator who is a member of none (role upstream_api)."""
    row = conn.execute(QUERIES.customer_of_slug, {"slug": slug}).fetchone()
    assert row is not None
    return cast(int | None, row[0])


def count_active(conn: Connection) -> int:
    """How many customers are active."""
    row = conn.execute(QUERIES.count_active).fetchone()
    assert row is not None
    return int(row[0])


def customers_of_bucket(conn: Connection, bucket: int, buckets: int) -> list[CustomerKey]:
    """The active customers whose slug hashes into bucket `bucket` of `buckets`."""
    rows = conn.execute(QUERIES.select_bucket, {"bucket": bucket, "buckets": buckets}).fetchall()
    return [CustomerKey(*row) for row in rows]


def set_status(conn: Connection, slug: str, status: str) -> Customer:
    """Disable a customer (nothing is read or looked at any more, its tokens stop working) or enable it."""
    row = conn.execute(QUERIES.set_status, {"slug": slug, "status": status}).fetchone()
    if row is None:
        raise NotFoundError(f"There is no customer {slug}. `upstream customers list` shows those there are.")
    return _customer(row)


def rename_customer(conn: Connection, actor: Actor, customer: CustomerKey, name: str) -> None:
    """Give the organisation another name; the slug stays. Call it inside a transaction.

    Raises:
        InvalidInputError: the name is empty, too long or cannot be shown.
    """
    checked = checked_name(name)
    if not checked:
        raise InvalidInputError("A customer needs a name.")
    conn.execute(QUERIES.rename_customer, {"customer_id": customer.customer_id, "name": checked})
    record(conn, actor, "customer.renamed", ("customer", customer.slug), customer_id=customer.customer_id)


def configure_customer(conn: Connection, customer: Customer, file: ConfigurationFile) -> dict[str, str]:
    """Store a checked configuration with its channels and rules, in one transaction.

    Changed aliases and groups reach the stored claims by a run that a sensor asks for.

    Returns: secrets that were made for new webhook channels, by channel name; shown once.
    """
    with conn.transaction():
        conn.execute(
            QUERIES.set_configuration,
            {
                "customer_id": customer.customer_id,
                "configuration": Jsonb(file.stored.model_dump(mode="json", exclude_defaults=True)),
            },
        )
        secrets: dict[str, str] = {}
        if file.channels is not None:
            secrets = sync_channels(conn, customer.customer_id, file.channels)
        if file.alert_rules is not None:
            sync_rules(conn, customer.customer_id, file.alert_rules)
    return secrets


def accept_aliases(conn: Connection, customer: Customer, aliases: Mapping[str, str]) -> None:
    """Add payer aliases to a customer's own, in one transaction.

    They reach the stored claims by a run that a sensor asks for.
    """
    mapping = customer.configuration.mapping
    added = mapping.model_copy(update={"payer_aliases": {**mapping.payer_aliases, **aliases}})
    configure_customer(
        conn, customer, ConfigurationFile(stored=customer.configuration.model_copy(update={"mapping": added}))
    )


def _customer(row: tuple[Any, ...]) -> Customer:
    return Customer(*row)
