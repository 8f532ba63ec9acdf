"""Ingestion tokens: issue, list, revoke, recognise. Not here: HTTP, and the log-in of people.

A token is shown once and only its SHA-256 is stored. 32 random bytes need no slow hash: there is no
dictionary to try, and every accepted request looks one up.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from upstream_pipelines.customers.audit import Actor
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.errors import InvalidInputError, NotFoundError

_QUERIES = "upstream_pipelines.customers"
# 32 bytes are 43 characters of unpadded base64; anything else is refused without a look at the database.
_FORM = re.compile(r"upi_[A-Za-z0-9_-]{43}", re.ASCII)
# "upi_" and 8 characters: enough to find a token in a list, 48 of its 256 bits.
_PREFIX_LENGTH = 12


@dataclass(frozen=True)
class Caller:
    """Who a request speaks for, as the token says; `prefix` is what may be shown of it."""

    customer_id: int
    token_id: UUID
    slug: str
    prefix: str

    def actor(self, request_id: str) -> Actor:
        """The same, for the trail."""
        return Actor("token", str(self.token_id), self.prefix, request_id)


@dataclass(frozen=True)
class TokenInfo:
    """What may be shown of a token after it was issued. Instants are in UTC."""

    token_id: UUID
    prefix: str
    label: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


_LATEST = datetime(9000, 1, 1, tzinfo=UTC)


def issue_token(conn: Connection, customer_id: int, label: str = "", expires_at: datetime | None = None) -> str:
    """Make a token for a customer and return it; errors as for `make_token`."""
    return make_token(conn, customer_id, label, expires_at)[1]


def make_token(
    conn: Connection, customer_id: int, label: str = "", expires_at: datetime | None = None
) -> tuple[TokenInfo, str]:
    """Make a token for a customer. Returns: what may be shown of it, and the token, which cannot be read again.

    Raises:
        NotFoundError: there is no such customer.
        InvalidInputError: `expires_at` has no time zone, is past, or after the year 8999.
    """
    if expires_at is not None and (expires_at.tzinfo is None or expires_at <= datetime.now(UTC)):
        raise InvalidInputError("A token must expire in the future, at a time with a time zone. Give a later one.")
    # In another zone 9999 is the year 10000, which no program reads back.
    if expires_at is not None and expires_at > _LATEST:
        raise InvalidInputError("A token expires before the year 9000, or never. Give an earlier time, or none.")
    token = f"upi_{secrets.token_urlsafe(32)}"
    try:
        with conn.cursor(row_factory=class_row(TokenInfo)) as cursor:
            made = cursor.execute(
                load_queries(_QUERIES).issue_token,
                {
                    "customer_id": customer_id,
                    "token_sha256": _sha256(token),
                    "prefix": token_prefix(token),
                    "label": label,
                    "expires_at": expires_at,
                },
            ).fetchone()
    except psycopg.errors.ForeignKeyViolation:
        raise NotFoundError(f"There is no customer {customer_id}. List the customers to find its id.") from None
    assert made is not None
    return made, token


def token_prefix(token: str) -> str:
    """What may be shown of a token: enough to find it in a list."""
    return token[:_PREFIX_LENGTH]


def revoke_token(conn: Connection, customer_id: int, token_id: UUID) -> None:
    """End a token at once; revoking it again changes nothing.

    Raises:
        NotFoundError: this customer has no such token.
    """
    arguments = {"customer_id": customer_id, "token_id": token_id}
    if conn.execute(load_queries(_QUERIES).revoke_token, arguments).fetchone() is None:
        raise NotFoundError(f"This customer has no token {token_id}. List its tokens to find the id.")


def find_token(conn: Connection, customer_id: int, named: str) -> TokenInfo:
    """A customer's token by its id or its prefix (`upi_` and 8 characters).

    Raises:
        NotFoundError: this customer has no such token, or several of that prefix.
    """
    found = [info for info in list_tokens(conn, customer_id) if named in (info.prefix, str(info.token_id))]
    if len(found) != 1:
        # What was typed is not repeated: it may be the token itself.
        raise NotFoundError(
            "This customer has no token of that id or prefix, or several of it. List its tokens and give the id."
        )
    return found[0]


def list_tokens(conn: Connection, customer_id: int) -> list[TokenInfo]:
    """A customer's tokens, newest first, without anything that signs in."""
    with conn.cursor(row_factory=class_row(TokenInfo)) as cursor:
        return cursor.execute(load_queries(_QUERIES).list_tokens, {"customer_id": customer_id}).fetchall()


def authenticate(conn: Connection, token: str) -> Caller | None:
    """The caller a token stands for; None when it is unknown, expired, revoked, or its customer disabled."""
    if not _FORM.fullmatch(token):
        return None
    found = conn.execute(load_queries(_QUERIES).authenticate_token, {"token_sha256": _sha256(token)}).fetchone()
    if found is None:
        return None
    customer_id, token_id, slug = found
    return Caller(customer_id, token_id, slug, token_prefix(token))


def _sha256(token: str) -> bytes:
    return hashlib.sha256(token.encode("ascii")).digest()
