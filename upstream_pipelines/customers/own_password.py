"""A person changes their own password, by the one they have. Not here: first passwords and resets, which need a token (people.py)."""

from __future__ import annotations

from upstream_pipelines.customers.audit import Actor, record
from upstream_pipelines.customers.passwords import hash_password, password_fits, require_form, same_password
from upstream_pipelines.customers.sessions import LoggedIn
from upstream_pipelines.db.engine import Connecting
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.errors import InvalidInputError

QUERIES = load_queries(__package__)


class SamePasswordError(InvalidInputError):
    """Who fears that somebody knows their password would go on with it."""

    code = "password_unchanged"


def change_password(
    connecting: Connecting, acting: Connecting, who: LoggedIn, actor: Actor, *, current: str, new: str,
    familiar: bool = False,
) -> bool:  # fmt: skip
    """Set a new password; all other log-ins of the person end, the present one goes on with its tokens. False where `current`
    is not theirs.

    `connecting` is for reading, `acting` gives the person's transaction: no connection waits for a hash. `familiar`: they
    logged in lately from where they come now.

    Raises:
        WeakPasswordError: the new password is too short or too long.
        SamePasswordError: it is the one that they have.
        BusyError: too many passwords are being checked.
    """
    require_form(new)
    with connecting() as conn:
        known = conn.execute(QUERIES.find_login, {"email": who.email}).fetchone()
    stored = known[2] if known is not None else None
    if not password_fits(current, stored, familiar):
        return False
    if same_password(current, new):
        raise SamePasswordError("The new password is the one that you have. Choose another.")
    made = hash_password(new)
    with acting() as conn:
        # Looked at again where it counts: a reset may have come between.
        changed = conn.execute(QUERIES.change_password, {"checked_hash": stored, "new_hash": made}).fetchone()
        if changed != (True,):
            return False
        ended = conn.execute(
            QUERIES.end_other_sessions, {"person_id": who.person_id, "session_id": who.session_id}
        ).rowcount
        record(conn, actor, "person.password_changed", ("person", who.person_id), details={"log_ins_ended": ended})
    return True
