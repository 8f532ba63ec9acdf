"""People: their e-mail, their password, disabling them. Not here: which customers they work for (members.py), their
log-ins (sessions.py), what a password may be (passwords.py).
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from psycopg.rows import class_row

from upstream_pipelines.customers.audit import Actor, record
from upstream_pipelines.customers.passwords import hash_password, password_fits, require_form
from upstream_pipelines.customers.roles import Role
from upstream_pipelines.db.engine import Connecting, Connection
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.errors import InvalidInputError, NotFoundError

QUERIES = load_queries(__package__)

# Long enough to be handed over and used the next day, short enough for a note that was left lying about.
PASSWORD_TOKEN_LIFE = timedelta(hours=24)
# Of the characters that RFC 5322 allows without those that a shell or a template takes for its own: `$!{}| and quotes.
_EMAIL = re.compile(r"[A-Za-z0-9.#%&'*+/=?^_~-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})+", re.ASCII)
_EMAIL_LENGTH = 254
_NAME_LENGTH = 200
# 32 bytes are 43 characters of unpadded base64; anything else is refused without a look at the database.
_TOKEN = re.compile(r"up[aprs]_[A-Za-z0-9_-]{43}", re.ASCII)


@dataclass(frozen=True)
class Person:
    """Somebody who may log in. Instants are in UTC; `password_set_at` is None before the first password."""

    person_id: UUID
    email: str
    password_set_at: datetime | None
    disabled_at: datetime | None
    created_at: datetime


class PasswordRefusedError(InvalidInputError):
    """No answer says more: neither whether the token or the password was wrong, nor whether there is such a person."""

    code = "unauthorized"


def checked_email(text: str) -> str:
    """The e-mail address without white space around it, in lower case: nobody is told how somebody else wrote it.

    Raises:
        InvalidInputError: it is none.
    """
    email = text.strip().lower()
    if len(email) > _EMAIL_LENGTH or not _EMAIL.fullmatch(email):
        raise InvalidInputError("That is no e-mail address such as name@example.org.")
    return email


def checked_name(text: str) -> str:
    """A name to show, of at most 200 characters that can be seen.

    Raises:
        InvalidInputError: it is longer or holds control characters.
    """
    name = text.strip()
    if len(name) > _NAME_LENGTH or not name.isprintable():
        raise InvalidInputError(f"A name has at most {_NAME_LENGTH} characters, all of which can be seen.")
    return name


def new_token(kind: str) -> tuple[str, bytes]:
    """A random token of a kind (`upa`, `upr`, `ups`) and its SHA-256, which alone is stored."""
    token = f"{kind}_{secrets.token_urlsafe(32)}"
    return token, hashlib.sha256(token.encode("ascii")).digest()


def token_digest(token: str, kind: str) -> bytes | None:
    """SHA-256 of what has the form of a token of that kind, else None."""
    if not token.startswith(f"{kind}_") or not _TOKEN.fullmatch(token):
        return None
    return hashlib.sha256(token.encode("ascii")).digest()


def find_person(conn: Connection, email: str) -> Person:
    """Look a person up. Needs role upstream_pipeline.

    Raises:
        NotFoundError: nobody has this e-mail.
    """
    with conn.cursor(row_factory=class_row(Person)) as cursor:
        person = cursor.execute(QUERIES.select_person, {"email": email.strip()}).fetchone()
    if person is None:
        raise NotFoundError(
            f"Nobody has the e-mail {email}. `upstream members list SLUG` shows a customer's people."
        )
    return person


def let_reset_password(conn: Connection, actor: Actor, email: str) -> str:
    """Make a token, shown once and good for 24 hours, that sets a new password without the old. Needs role upstream_pipeline.

    An earlier token of the person stops working; the old password works until the new one is set.

    Raises:
        NotFoundError: nobody has this e-mail.
    """
    token, digest = new_token("ups")
    with conn.transaction():
        person = find_person(conn, email)
        conn.execute(
            QUERIES.store_reset_token,
            {"person_id": person.person_id, "token_sha256": digest, "life": PASSWORD_TOKEN_LIFE},
        )
        _record_for_customers(conn, actor, "person.password_reset_allowed", person.person_id)
    return token


def set_disabled(conn: Connection, actor: Actor, email: str, *, disabled: bool) -> Person:
    """Keep a person from logging in, from now on and with all tokens; or take that back. Needs role upstream_pipeline.

    Raises:
        NotFoundError: nobody has this e-mail.
    """
    with conn.transaction():
        person = find_person(conn, email)
        conn.execute(QUERIES.set_person_disabled, {"person_id": person.person_id, "disabled": disabled})
        # When it is taken back too: no log-in of before may come alive again.
        end_sessions(conn, person.person_id, "disabled")
        if disabled:
            end_invitations_by(conn, actor, person.person_id, tuple(Role))
        _record_for_customers(conn, actor, "person.disabled" if disabled else "person.enabled", person.person_id)
        return find_person(conn, email)


def _record_for_customers(conn: Connection, actor: Actor, action: str, person_id: UUID) -> None:
    """In the trail of each customer of the person: it is their member whose log-in was changed."""
    rows = conn.execute(QUERIES.customers_of_person, {"person_id": person_id}).fetchall()
    for (customer_id,) in rows or [(None,)]:
        record(conn, actor, action, ("person", person_id), customer_id=customer_id)


def end_sessions(conn: Connection, person_id: UUID, ending: str) -> None:
    """End all log-ins of a person that still run."""
    conn.execute(QUERIES.end_sessions_of_person, {"person_id": person_id, "ending": ending})


def end_invitations_by(
    conn: Connection, actor: Actor, person_id: UUID, roles: Sequence[Role], customer_id: int | None = None
) -> None:
    """End what somebody's right to invite made and nobody took up: in one customer, or, as upstream_pipeline, in all."""
    values = {"person_id": person_id, "roles": list(roles), "customer_id": customer_id}
    for of_customer, invited, role in conn.execute(QUERIES.end_invitations_by, values).fetchall():
        record(
            conn, actor, "member.invitation_ended", ("person", invited), customer_id=of_customer,
            details={"role": role, "invited_by": str(person_id)},
        )  # fmt: skip


def set_password(
    connecting: Connecting, token: str, password: str, *,
    count: Callable[[str | None], None] | None = None, request_id: str | None = None,
) -> None:  # fmt: skip
    """Set a password by a token, or take up an invitation by a token and the password one has. The token is used up.

    An invitation does not set the password of somebody who has one: whoever invites holds the token and would be able
    to log in as them; five wrong passwords end it. The form of a password is judged before anybody is looked up: else
    a password of one letter would tell who has one. `count` is called before a hash, with the e-mail of the token's
    person, None for an unknown token, and refuses by raising. No connection waits for it, nor for the hash.

    Raises:
        PasswordRefusedError: the token is unknown, used or expired, or the password is not the person's.
        WeakPasswordError: the password is too short or too long to be anybody's.
        BusyError: too many passwords are being checked.
    """
    require_form(password)
    digest, row = token_digest(token, "ups"), None
    if digest is not None:
        with connecting() as conn:
            row = conn.execute(QUERIES.find_password_token, {"token_sha256": digest}).fetchone()
    if count is not None:
        count(row[1] if row is not None else None)
    if row is None:
        raise _refused()
    person_id, email, stored, customer_id = row
    if stored is not None and not password_fits(password, stored):
        with connecting() as conn:
            conn.execute(QUERIES.count_wrong_password, {"token_sha256": digest})
        raise _refused()
    # Looked at again where it counts: the password may be another one meanwhile.
    held = stored if stored is not None else hash_password(password)
    actor = Actor("person", str(person_id), email, request_id)
    with connecting() as conn, conn.transaction():
        conn.execute(QUERIES.act_for, {"person_id": str(person_id), "customer_id": ""})
        if stored is None:
            values = {"person_id": person_id, "token_sha256": digest, "password_hash": held}
            if conn.execute(QUERIES.set_password, values).fetchone() is None:
                raise _refused()  # somebody was quicker
            end_sessions(conn, person_id, "password")
            record(conn, actor, "person.password_set", ("person", person_id))
        if customer_id is not None:
            joining = {"token_sha256": digest, "checked_hash": held}
            joined = conn.execute(QUERIES.take_up_invitation, joining).fetchone()
            if joined is None:
                raise _refused()
            conn.execute(QUERIES.act_for, {"person_id": str(person_id), "customer_id": str(customer_id)})
            record(
                conn, actor, "member.joined", ("person", person_id), customer_id=customer_id,
                details={"role": joined[2]},
            )  # fmt: skip


def _refused() -> PasswordRefusedError:
    return PasswordRefusedError(
        "The token or the password is wrong, or the token was used or has expired. Ask whoever gave it for a new one. If you "
        "never set a password here, somebody else may have, under your e-mail: ask the platform's operator for a reset."
    )
