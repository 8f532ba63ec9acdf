"""A webhook's signing secret replaced, with a time in which both sign. Not here: signing (webhook.py)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.delivery.channels import new_secret
from upstream_pipelines.errors import ConflictError, NotFoundError

QUERIES = load_queries(__package__)
# Standard Webhooks' own example of a rotation; long enough for a receiver's next working day.
OVERLAP = timedelta(hours=24)


def rotate_secret(
    conn: Connection,
    customer_id: int,
    name: str,
    *,
    overlap: timedelta = OVERLAP,
    now: datetime | None = None,
    reads_secrets: bool = True,
) -> str:
    """Give a webhook channel a new signing secret; the old one signs beside it until `overlap` is over.

    `overlap` of zero is for a secret that leaked: the old one stops signing at once. Role upstream_api does not read secrets,
    and is in a transaction of this customer.

    Returns: the new secret, which is shown this once.

    Raises:
        NotFoundError: no channel of that name.
        ConflictError: it is no webhook, or its last rotation's overlap still runs (a third secret would end it).
    """
    now = now or datetime.now(UTC)
    key = {"customer_id": customer_id, "name": name, "now": now}
    with conn.transaction():
        found = conn.execute(QUERIES.lock_secret, key).fetchone()
        if found is None:
            raise NotFoundError(f"This customer has no channel {name}.")
        kind, until = found
        if kind != "webhook":
            raise ConflictError(
                f"Channel {name} is {kind} and signs nothing; only a webhook's secret is rotated. "
                "Change a Slack channel in the customer's configuration."
            )
        if overlap and until is not None:
            raise ConflictError(
                f"The secret of {name} was rotated already: both sign until {until.astimezone(UTC):%Y-%m-%d %H:%M} UTC. "
                "Rotate again after that, or at once (--at-once, `at_once`), which ends the older ones now."
            )
        secret = new_secret()
        conn.execute(
            QUERIES.rotate_secret if reads_secrets else QUERIES.rotate_own_secret,
            {**key, "secret": secret, "until": now + overlap, "keep": bool(overlap)},
        )
    return secret
