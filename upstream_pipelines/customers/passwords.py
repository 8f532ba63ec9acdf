"""Passwords: what one may be, its Argon2id hash, the check. Not here: whose it is (people.py).

No rules of composition and no expiry: length is what counts (NIST SP 800-63B).
"""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import BoundedSemaphore

from pwdlib import PasswordHash

from upstream_pipelines.errors import InvalidInputError, UpstreamError

LEAST_CHARACTERS = 12
# Argon2 takes any length; a limit keeps a request from being one of megabytes.
MOST_BYTES = 1000

# A hash takes 64 MiB and all it gets of a core for some 50 ms: forty requests at once would take 2.5 GiB.
_AT_ONCE = BoundedSemaphore(2)
# Who comes has a place before a hash begins, or waits for one. At most twenty are at it in all, half of the threads of the
# API: the others are for those who send claims.
_PLACES = BoundedSemaphore(6)
_LINE = BoundedSemaphore(10)
# Kept for those who logged in lately from where they come now: strangers in whatever number leave them some.
_KEPT = BoundedSemaphore(4)
_LONGEST_WAIT_SECONDS = 3.0


class BusyError(UpstreamError):
    """Too many passwords are being checked at once."""

    code = "busy"


class WeakPasswordError(InvalidInputError):
    """The password is too short, too long, or no text."""

    code = "password_unfit"


def require_form(password: str) -> None:
    """Refuse what can be nobody's password, as it was typed and in its one form: one character, \ufdfa, becomes eighteen.

    Raises:
        WeakPasswordError: it has fewer than 12 characters or more than 1,000 bytes, or a letter that no text can hold.
    """
    if any("\ud800" <= letter <= "\udfff" for letter in password):
        raise WeakPasswordError(
            "The password has letters that no text can hold: halves of a surrogate pair. Choose another."
        )
    for text in (password, _one_form(password)):
        if len(text) < LEAST_CHARACTERS or len(text.encode()) > MOST_BYTES:
            raise WeakPasswordError(
                f"A password has at least {LEAST_CHARACTERS} characters and at most {MOST_BYTES} bytes. Choose another."
            )


def hash_password(password: str) -> str:
    """The Argon2id hash of a new password.

    Raises:
        WeakPasswordError: as `require_form`.
        BusyError: too many passwords are at work already.
    """
    require_form(password)
    with place_at_work():
        return _hasher().hash(_one_form(password))


def password_fits(password: str, stored: str | None, familiar: bool = False) -> bool:
    """Whether it is the password of that hash. None, for nobody, takes the same time and is False. Somebody familiar finds
    a place where strangers do not.

    Raises:
        BusyError: too many passwords are at work already.
    """
    # JSON can hold half of a surrogate pair, and UTF-8 cannot: its bytes are those of no password, and are tried like others.
    tried = _one_form(password).encode("utf-8", "surrogatepass")
    # Asked for whether it is needed or not, so that the first log-in under an unknown e-mail takes no longer than others.
    nobody = _nobody()
    if len(tried) > MOST_BYTES:
        return False
    with place_at_work(familiar):
        fits = _hasher().verify(tried, stored or nobody)
    return fits and stored is not None


def same_password(one: str, other: str) -> bool:
    """Whether they are the same password, on whichever keyboard they were typed."""
    return _one_form(one) == _one_form(other)


@contextmanager
def place_at_work(familiar: bool = False) -> Iterator[None]:
    """A place for hashing a password, or a text that holds one.

    Raises:
        BusyError: too many passwords are at work already.
    """
    place = _KEPT if familiar and _KEPT.acquire(blocking=False) else _place_of_the_line()
    try:
        with _AT_ONCE:
            yield
    finally:
        place.release()


def _place_of_the_line() -> BoundedSemaphore:
    if _LINE.acquire(blocking=False):
        try:
            if _PLACES.acquire(timeout=_LONGEST_WAIT_SECONDS):
                return _PLACES
        finally:
            _LINE.release()
    raise BusyError("Too many log-ins at once. Try again in some seconds.")


def _one_form(password: str) -> str:
    """The same characters typed on another keyboard are the same password."""
    return unicodedata.normalize("NFKC", password)


@cache
def _hasher() -> PasswordHash:
    return PasswordHash.recommended()


@cache
def _nobody() -> str:
    return _hasher().hash(secrets.token_urlsafe(32))
