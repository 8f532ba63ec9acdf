"""Log-ins: opening one, its access and refresh tokens, ending it. Not here: HTTP, passwords, limits of attempts.

An access token is good for 30 minutes, a refresh token for a day and for one use, in which it is replaced. All tokens
that come of one log-in are a family and end together: at log-out, when the password changes, when the person is
disabled, and when a refresh token comes a second time, for then somebody else has it too. There is no grace for a client
that lost the answer: it cannot be told from a thief, and logs in anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import cast
from uuid import UUID

from upstream_pipelines.customers.audit import Actor, record
from upstream_pipelines.customers.passwords import password_fits
from upstream_pipelines.customers.people import checked_email, new_token, token_digest
from upstream_pipelines.customers.roles import Role
from upstream_pipelines.db.engine import Connecting, Connection, person_transaction
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.errors import InvalidInputError

QUERIES = load_queries(__package__)

ACCESS_LIFE = timedelta(minutes=30)
REFRESH_LIFE = timedelta(days=1)
# However often it is refreshed: a device that was forgotten somewhere does not stay logged in for ever.
FAMILY_LIFE = timedelta(days=30)


@dataclass(frozen=True)
class TokenPair:
    """What a client holds of a log-in; shown this once."""

    access_token: str
    refresh_token: str


@dataclass(frozen=True)
class LoggedIn:
    """Whom an access token stands for, and what they are in the customer that was asked about, if they are anything."""

    person_id: UUID
    email: str
    session_id: UUID
    customer_id: int | None
    role: Role | None


def log_in(
    connecting: Connecting, email: str, password: str, *, familiar: bool = False, request_id: str | None = None
) -> TokenPair | None:
    """Open a log-in; None where the e-mail or the password is wrong, nobody has it, or its person is disabled.

    Every answer costs one check of a hash, whatever the cause; no connection waits for it. `familiar`: they logged in
    lately from where they come now.

    Raises:
        BusyError: too many passwords are being checked.
    """
    try:
        address = checked_email(email)
    except InvalidInputError:
        known = None
    else:
        with connecting() as conn:
            known = conn.execute(QUERIES.find_login, {"email": address}).fetchone()
    fits = password_fits(password, known[2] if known else None, familiar)
    if known is None or not fits:
        return None
    with connecting() as conn:
        return open_session(conn, known[0], known[1], known[2], request_id=request_id)


def open_session(
    conn: Connection, person_id: UUID, email: str, checked_hash: str, *, request_id: str | None = None
) -> TokenPair | None:
    """A log-in of a person whose password was checked against that hash, written down in the trail.

    None where it is the person's no longer, or they were disabled: a log-in that was begun before a reset ends with it.
    """
    pair, tokens = _new_pair()
    with person_transaction(conn, person_id):
        values = {"person_id": person_id, "checked_hash": checked_hash, **tokens}
        row = conn.execute(QUERIES.open_session, values).fetchone()
        assert row is not None
        if row[0] is None:
            return None
        record(conn, Actor("person", str(person_id), email, request_id), "person.logged_in", ("session", row[0]))
        return pair


def session_of(conn: Connection, refresh_token: str) -> UUID | None:
    """The log-in of a refresh token, whatever became of them; None for a token that never was, or is long forgotten."""
    digest = token_digest(refresh_token, "upr")
    if digest is None:
        return None
    row = conn.execute(QUERIES.session_of_refresh_token, {"token_sha256": digest}).fetchone()
    assert row is not None
    return cast(UUID | None, row[0])


def refresh(conn: Connection, refresh_token: str, *, request_id: str | None = None) -> TokenPair | None:
    """Replace a refresh token by a new pair; None where it is unknown, expired, of an ended log-in, or was used before.

    The second use ends the log-in with all its tokens.
    """
    digest = token_digest(refresh_token, "upr")
    if digest is None:
        return None
    pair, tokens = _new_pair()
    with conn.transaction():
        row = conn.execute(QUERIES.refresh_session, {"token_sha256": digest, **tokens}).fetchone()
        if row is None:
            return None
        person_id, email, session_id, reused = row
        if reused:
            conn.execute(QUERIES.act_for, {"person_id": str(person_id), "customer_id": ""})
            actor = Actor("person", str(person_id), email, request_id)
            record(conn, actor, "session.token_reused", ("session", session_id))
            return None
        return pair


def authenticate_person(conn: Connection, access_token: str, slug: str | None = None) -> LoggedIn | None:
    """Whom an access token stands for, with their role in the active customer `slug`; None where it is good for nothing.

    Asked with every request, so that a log-out, a disabled person and a removed member count at once.
    """
    digest = token_digest(access_token, "upa")
    if digest is None:
        return None
    row = conn.execute(QUERIES.authenticate_person, {"token_sha256": digest, "slug": slug}).fetchone()
    if row is None:
        return None
    person_id, email, session_id, customer_id, role = row
    return LoggedIn(person_id, email, session_id, customer_id, Role(role) if role is not None else None)


def still_runs(conn: Connection, who: LoggedIn) -> bool:
    """Whether the log-in has not ended, nor its person been disabled, since it was asked; in a transaction of the person. An access
    token of it may have run out meanwhile.
    """
    return conn.execute(QUERIES.running_session, {"session_id": who.session_id}).fetchone() is not None


def log_out(conn: Connection, who: LoggedIn, *, request_id: str | None = None) -> None:
    """End a log-in with all its tokens."""
    with person_transaction(conn, who.person_id):
        conn.execute(QUERIES.end_session, {"session_id": who.session_id, "ending": "logout"})
        actor = Actor("person", str(who.person_id), who.email, request_id)
        record(conn, actor, "person.logged_out", ("session", who.session_id))


def _new_pair() -> tuple[TokenPair, dict[str, bytes | timedelta]]:
    """New tokens, and what the database keeps of them."""
    (access, access_digest), (renewal, renewal_digest) = new_token("upa"), new_token("upr")
    return TokenPair(access, renewal), {
        "access_sha256": access_digest, "access_life": ACCESS_LIFE, "refresh_sha256": renewal_digest,
        "refresh_life": REFRESH_LIFE, "life": FAMILY_LIFE,
    }  # fmt: skip
