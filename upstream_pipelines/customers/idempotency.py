"""Requests of people and operators, and files of tokens, that come with an Idempotency-Key: done once, and answered again for 7 days.

The first answer is written in the transaction of what it did, so that neither is there without the other. Failures are not
kept: nothing was done, and the key is free. Not here: HTTP (api/once.py), batches of the webhook (ingest/inbox.py), which are
themselves what their key leads to.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Self
from uuid import UUID

from upstream_pipelines.customers.passwords import place_at_work
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.errors import ConflictError

QUERIES = load_queries(__package__)

# Promised in docs/guide/api.md; `upstream cleanup` takes what is older, and a key of that age may be used again before that.
KEPT_DAYS = 7
# An answer may have 60 kB: more of them would fill the disk.
MOST_KEPT = 2_000
# As much memory as a quarter of a password's own hash (16 MiB), for some 50 ms.
_SCRYPT = {"n": 2**14, "r": 8, "p": 1}


class IdempotencyKeyReusedError(ConflictError):
    """The key was used for something else in the last 7 days."""

    code = "idempotency_key_reused"


class TooManyKeysError(ConflictError):
    """As many answers are kept for the person as may be."""

    code = "too_many_idempotency_keys"


class KeyInFlightError(ConflictError):
    """A request with the same key has not been answered yet."""

    code = "idempotency_key_in_flight"


@dataclass(frozen=True)
class KeyedRequest:
    """A request with its key: whose it is, the SHA-256 of the key (hexadecimal), a digest of method, address and body.

    `customer_id` is None for what belongs to no customer.
    """

    customer_id: int | None
    principal: str
    key_sha256: str
    request_sha256: bytes

    @classmethod
    def of(
        cls,
        customer_id: int | None,
        person_id: UUID | None,
        key: str,
        request: bytes,
        *,
        token_id: UUID | None = None,
        has_secret: bool = False,
    ) -> Self:
        """`request`: method, address and body; `has_secret`: it holds a password, which a plain digest would let somebody who
        reads the database guess at leisure. With neither person nor ingestion token it is an operator's.

        Raises:
            BusyError: too many passwords are at work already.
        """
        principal = "operator" if person_id is None else f"person {person_id}"
        if token_id is not None:
            principal = f"token {token_id}"
        if has_secret:
            with place_at_work():
                digest = hashlib.scrypt(request, salt=f"{principal} {key}".encode(), dklen=32, **_SCRYPT)
        else:
            digest = hashlib.sha256(request).digest()
        return cls(customer_id, principal, hashlib.sha256(key.encode()).hexdigest(), digest)


@dataclass(frozen=True)
class FirstAnswer:
    """What was answered: an HTTP status, JSON (None for no body), and the header Location where there was one."""

    status: int
    answer: str | None
    location: str | None = None


def is_kept(conn: Connection, asked: KeyedRequest) -> bool:
    """Whether a request of the key, this one or another, was answered in the last 7 days; in a transaction as of `first_answer`."""
    return conn.execute(QUERIES.kept_answer, {**vars(asked), "days": KEPT_DAYS}).fetchone() is not None


def first_answer(conn: Connection, asked: KeyedRequest) -> FirstAnswer | None:
    """What the request was answered in the last 7 days; None where it was not. In a transaction of its customer and person.

    Raises:
        IdempotencyKeyReusedError: the key was used for another request.
    """
    row = conn.execute(QUERIES.kept_answer, {**vars(asked), "days": KEPT_DAYS}).fetchone()
    if row is None:
        return None
    if bytes(row[0]) != asked.request_sha256:
        raise IdempotencyKeyReusedError(
            f"This Idempotency-Key was used for another request in the last {KEPT_DAYS} days. Use a new key."
        )
    return FirstAnswer(row[1], row[2], row[3])


def hold_key(conn: Connection, asked: KeyedRequest) -> FirstAnswer | None:
    """The same, with the key held until the transaction ends: where it is None the caller may act, and nobody else does.

    The second of two at once is refused instead of made to wait: each would hold a connection.

    Raises:
        IdempotencyKeyReusedError: as above.
        KeyInFlightError: a request with the key is being answered right now.
        TooManyKeysError: as many answers are kept as may be.
    """
    held = conn.execute(
        QUERIES.hold_key,
        {"key": f"{asked.principal} {asked.key_sha256}", "customer_id": asked.customer_id or 0},
    ).fetchone()
    if held != (True,):
        raise KeyInFlightError("A request with this Idempotency-Key is being answered. Send it again in a second.")
    first = first_answer(conn, asked)
    # A token's requests are files, each of which takes far more than its answer.
    if first is None and not asked.principal.startswith("token "):
        values = {**vars(asked), "days": KEPT_DAYS, "most": MOST_KEPT}
        if conn.execute(QUERIES.count_kept, values).fetchone() == (MOST_KEPT,):
            raise TooManyKeysError(
                f"You sent {MOST_KEPT:,} requests with an Idempotency-Key in {KEPT_DAYS} days. Send this one without."
            )
    return first


def keep_answer(conn: Connection, asked: KeyedRequest, answer: FirstAnswer) -> None:
    """Keep the first answer, without a secret in it, in the transaction that holds the key."""
    conn.execute(QUERIES.keep_answer, {**vars(asked), **vars(answer)})
