"""People and their log-ins: invitations, passwords, tokens, and what ends a log-in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from threading import BoundedSemaphore
from uuid import UUID

import psycopg
import pytest

from upstream_pipelines.customers import passwords
from upstream_pipelines.customers.audit import Actor, operator
from upstream_pipelines.customers.members import invite, list_members, remove
from upstream_pipelines.customers.passwords import BusyError, WeakPasswordError, hash_password, password_fits
from upstream_pipelines.customers.people import (
    PasswordRefusedError,
    let_reset_password,
    set_disabled,
    set_password,
    token_digest,
)
from upstream_pipelines.customers.roles import Role
from upstream_pipelines.customers.sessions import (
    LoggedIn,
    TokenPair,
    authenticate_person,
    log_in,
    log_out,
    open_session,
    refresh,
)
from upstream_pipelines.db.engine import Connecting, Connection, connect
from upstream_pipelines.settings import Settings
from upstream_pipelines_tests.database.customer_people import UNHASHED, Join, as_customer, joining, made_customer

PASSWORD = "four words make one"


@pytest.fixture
def api(settings: Settings) -> Iterator[Connection]:
    with connect(settings, "upstream_api") as conn:
        yield conn


@pytest.fixture
def acme(pipeline: Connection) -> int:
    return made_customer(pipeline, "acme")


@pytest.fixture
def join(pipeline: Connection, acme: int) -> Join:
    return joining(pipeline, acme)


def _open(conn: Connection, who: Actor) -> TokenPair:
    pair = open_session(conn, UUID(who.id), who.name, UNHASHED)
    assert pair is not None
    return pair


def _of(conn: Connection) -> Connecting:
    return lambda: nullcontext(conn)


def _who(conn: Connection, access_token: str, slug: str | None = None) -> LoggedIn:
    who = authenticate_person(conn, access_token, slug)
    assert who is not None
    return who


def test_an_invited_person_sets_a_password_with_the_token_once_and_logs_in(
    pipeline: Connection, api: Connection, acme: int
) -> None:
    with pipeline.transaction():
        member, token = invite(pipeline, operator(), acme, "Ann@Example.org", Role.ANALYST)
    assert member.joined_at is None
    assert log_in(_of(api), "ann@example.org", PASSWORD) is None
    with pytest.raises(WeakPasswordError):
        set_password(_of(api), token, "eleven char")
    set_password(_of(api), token, PASSWORD)
    with pytest.raises(PasswordRefusedError):
        set_password(_of(api), token, "another four words")
    pair = log_in(_of(api), " ann@EXAMPLE.org", PASSWORD)
    assert pair is not None
    who = _who(api, pair.access_token, "acme")
    assert (who.person_id, who.role) == (member.person_id, Role.ANALYST)
    assert log_in(_of(api), "ann@example.org", PASSWORD + "x") is None
    stored = pipeline.execute("SELECT string_agg(t::text, '') FROM session_tokens AS t").fetchone()
    assert stored is not None
    assert pair.access_token not in stored[0]


def test_who_invites_a_person_of_another_customer_cannot_log_in_as_them(
    pipeline: Connection, api: Connection, acme: int
) -> None:
    """The token of an invitation passes through the hands of who invites; with it alone nobody's password is set."""
    beta = made_customer(pipeline, "beta")
    with pipeline.transaction():
        _, first = invite(pipeline, operator(), acme, "ann@example.org", Role.OWNER)
        _, second = invite(pipeline, operator(), beta, "ann@example.org", Role.VIEWER)
    set_password(_of(api), first, PASSWORD)
    with pytest.raises(PasswordRefusedError):
        set_password(_of(api), second, "what the inviter would like")
    # The same as for somebody who has no password yet.
    with pytest.raises(WeakPasswordError):
        set_password(_of(api), second, "x")
    pair = log_in(_of(api), "ann@example.org", PASSWORD)
    assert pair is not None
    assert _who(api, pair.access_token, "beta").role is None
    set_password(_of(api), second, PASSWORD)
    assert _who(api, pair.access_token, "beta").role is Role.VIEWER
    assert _who(api, pair.access_token, "acme").role is Role.OWNER


def test_five_wrong_passwords_end_an_invitation(
    pipeline: Connection, api: Connection, acme: int, join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever invites could try the passwords of somebody of another customer."""
    ann = join("ann", customer_id=made_customer(pipeline, "beta"))
    for wrong in (4, 5):
        with pipeline.transaction():
            _, token = invite(pipeline, operator(), acme, ann.name, Role.VIEWER)
        for fits in (*(False,) * wrong, True):
            monkeypatch.setattr("upstream_pipelines.customers.people.password_fits", lambda *_, fits=fits: fits)
            with nullcontext() if fits and wrong == 4 else pytest.raises(PasswordRefusedError):
                set_password(_of(api), token, PASSWORD)
        pipeline.execute("DELETE FROM members WHERE customer_id = %s", (acme,))


def test_an_invitation_is_answered_alike_for_a_known_and_an_unknown_e_mail(
    settings: Settings, pipeline: Connection, acme: int, join: Join
) -> None:
    """Else whoever may invite could ask who has a log-in here, and under which name."""
    beta = made_customer(pipeline, "beta")
    with pipeline.transaction():
        invite(pipeline, operator(), beta, "Known@example.org", Role.OWNER, display_name="A Name")
    set_disabled(pipeline, operator(), "known@example.org", disabled=True)
    ann = join("ann", Role.ADMIN)
    with as_customer(settings, acme, ann) as conn:
        known, _ = invite(conn, ann, acme, "KNOWN@example.org", Role.VIEWER, display_name="B")
        assert known.display_name == "B", "not what beta calls them"
        unknown, _ = invite(conn, ann, acme, "UNKNOWN@example.org", Role.VIEWER, display_name="B")
        assert replace(known, person_id=unknown.person_id, email=unknown.email) == unknown
        assert (known.email, unknown.email) == ("known@example.org", "unknown@example.org")


def test_an_invitation_made_again_ends_the_earlier_one_and_one_past_its_day_is_refused(
    pipeline: Connection, api: Connection, acme: int
) -> None:
    with pipeline.transaction():
        _, first = invite(pipeline, operator(), acme, "ann@example.org", Role.VIEWER)
        _, second = invite(pipeline, operator(), acme, "ann@example.org", Role.ADMIN)
    with pytest.raises(PasswordRefusedError):
        set_password(_of(api), first, PASSWORD)
    pipeline.execute("UPDATE members SET invitation_expires_at = now()")
    with pytest.raises(PasswordRefusedError):
        set_password(_of(api), second, PASSWORD)
    assert [(member.role, member.joined_at) for member in list_members(pipeline, acme)] == [(Role.ADMIN, None)]


def test_a_refresh_token_is_good_once_and_its_second_use_ends_the_whole_log_in(
    pipeline: Connection, api: Connection, join: Join
) -> None:
    ann = join("ann")
    first = _open(api, ann)
    other = _open(api, ann)
    second = refresh(api, first.refresh_token)
    assert second is not None
    assert _who(api, second.access_token)
    assert refresh(api, first.refresh_token) is None
    assert refresh(api, second.refresh_token) is None
    assert authenticate_person(api, first.access_token) is None
    assert authenticate_person(api, second.access_token) is None
    assert _who(api, other.access_token)
    reused = pipeline.execute("SELECT count(*) FROM audit_log WHERE action = 'session.token_reused'").fetchone()
    assert reused == (1,)


def test_of_two_who_refresh_at_once_with_one_token_one_ends_the_log_in(
    settings: Settings, pipeline: Connection, join: Join
) -> None:
    """The token's row is held until both have come to where they wait: both may have seen it unused."""
    ann = join("ann")

    def use(token: str) -> object:
        with connect(settings, "upstream_api") as conn:
            return refresh(conn, token)

    with connect(settings, "upstream_api") as conn, ThreadPoolExecutor(2) as pool:
        pair = _open(conn, ann)
        with pipeline.transaction():
            pipeline.execute("SELECT 1 FROM session_tokens WHERE kind = 'refresh' FOR UPDATE")
            both = [pool.submit(use, pair.refresh_token) for _ in range(2)]
            for _ in range(1000):
                waiting = conn.execute(
                    "SELECT count(*) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
                ).fetchone()
                if waiting == (2,):
                    break
                time.sleep(0.01)
        answers = [one.result(timeout=30) for one in both]
        assert sorted(answer is None for answer in answers) == [False, True]
        assert authenticate_person(conn, pair.access_token) is None


def test_tokens_are_good_for_their_time_and_for_their_own_use(
    pipeline: Connection, api: Connection, join: Join
) -> None:
    ann = join("ann")
    pair = _open(api, ann)
    lives = pipeline.execute(
        "SELECT kind, expires_at - now() BETWEEN '29 min' AND '30 min', expires_at - now() BETWEEN '23 h' AND '24 h'"
        "  FROM session_tokens ORDER BY kind"
    ).fetchall()
    assert lives == [("access", True, False), ("refresh", False, True)]
    assert authenticate_person(api, pair.refresh_token) is None
    assert refresh(api, pair.access_token) is None
    assert authenticate_person(api, "upa_" + pair.refresh_token[4:]) is None
    pipeline.execute("UPDATE session_tokens SET expires_at = now()")
    assert authenticate_person(api, pair.access_token) is None
    assert refresh(api, pair.refresh_token) is None
    fresh = _open(api, ann)
    pipeline.execute("UPDATE login_sessions SET started_at = now() - interval '30 days'")
    assert refresh(api, fresh.refresh_token) is None


def test_log_out_disabling_removal_and_a_new_password_act_at_once(
    pipeline: Connection, api: Connection, acme: int, join: Join
) -> None:
    ann, bob = join("ann"), join("bob", Role.VIEWER)
    pair = _open(api, bob)
    log_out(api, _who(api, pair.access_token))
    assert authenticate_person(api, pair.access_token) is None
    assert refresh(api, pair.refresh_token) is None

    pair = _open(api, bob)
    set_disabled(pipeline, operator(), bob.name, disabled=True)
    assert authenticate_person(api, pair.access_token) is None
    set_disabled(pipeline, operator(), bob.name, disabled=False)
    assert authenticate_person(api, pair.access_token) is None

    pair = _open(api, bob)
    token = let_reset_password(pipeline, operator(), bob.name)
    assert _who(api, pair.access_token, "acme").role is Role.VIEWER
    set_password(_of(api), token, PASSWORD)
    assert authenticate_person(api, pair.access_token) is None
    fresh = log_in(_of(api), bob.name, PASSWORD)
    assert fresh is not None
    with pipeline.transaction():
        remove(pipeline, ann, acme, UUID(bob.id))
    assert _who(api, fresh.access_token, "acme").role is None
    pipeline.execute("UPDATE customers SET status = 'disabled'")
    pair = _open(api, ann)
    assert _who(api, pair.access_token, "acme").role is None


def test_a_log_in_or_joining_begun_before_a_reset_or_a_disabling_does_not_outlive_it(
    pipeline: Connection, api: Connection, acme: int, monkeypatch: pytest.MonkeyPatch, join: Join
) -> None:
    """No connection is held while the hash is checked: what happens in that time counts."""
    ann = join("ann")
    beta = made_customer(pipeline, "beta")
    with pipeline.transaction():
        _, invitation = invite(pipeline, operator(), beta, ann.name, Role.OWNER)

    def reset() -> None:
        set_password(_of(pipeline), let_reset_password(pipeline, operator(), ann.name), PASSWORD)

    def disable() -> None:
        set_disabled(pipeline, operator(), ann.name, disabled=True)

    def while_checked(happens: Callable[[], None]) -> Callable[..., bool]:
        def fits(*_: object) -> bool:
            happens()
            return True

        return fits

    monkeypatch.setattr("upstream_pipelines.customers.people.password_fits", while_checked(reset))
    with pytest.raises(PasswordRefusedError):
        set_password(_of(api), invitation, "the stolen one")
    for happens in (reset, disable):
        monkeypatch.setattr("upstream_pipelines.customers.sessions.password_fits", while_checked(happens))
        assert log_in(_of(api), ann.name, "the stolen one") is None
    assert pipeline.execute("SELECT count(*) FROM login_sessions WHERE ended_at IS NULL").fetchone() == (0,)
    # One that was left over, as of a release that did not look again.
    pipeline.execute("INSERT INTO login_sessions (person_id) VALUES (%s)", (ann.id,))
    set_disabled(pipeline, operator(), ann.name, disabled=False)
    assert pipeline.execute("SELECT count(*) FROM login_sessions WHERE ended_at IS NULL").fetchone() == (0,)


def test_with_the_apis_own_sql_no_password_is_set_without_a_token_and_nobody_joins_or_is_logged_in(
    settings: Settings, pipeline: Connection, acme: int
) -> None:
    with pipeline.transaction():
        ann, token = invite(pipeline, operator(), acme, "ann@example.org", Role.OWNER)
        _, of_bob = invite(pipeline, operator(), acme, "bob@example.org", Role.OWNER)
    with as_customer(settings, acme) as conn:
        for digest in (None, b"x" * 32, token_digest(of_bob, "ups")):
            values = (ann.person_id, digest, UNHASHED)
            assert conn.execute("SELECT * FROM set_password(%s, %s, %s)", values).fetchall() == []
        first = (ann.person_id, token_digest(token, "ups"), UNHASHED)
        assert len(conn.execute("SELECT * FROM set_password(%s, %s, %s)", first).fetchall()) == 1
        for statement in (
            "UPDATE members SET joined_at = now()",
            "INSERT INTO members (customer_id, person_id, role, joined_at) SELECT 1, person_id, 'owner', now() FROM people",
            "INSERT INTO login_sessions (person_id) SELECT person_id FROM people",
            "INSERT INTO session_tokens SELECT",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), conn.transaction():
                conn.execute(statement)


def test_a_wrong_password_an_unknown_e_mail_and_a_disabled_person_cost_one_check_each(
    pipeline: Connection, api: Connection, join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their times would tell apart who has a log-in here from who has none."""
    ann, bob = join("ann"), join("bob")
    set_password(_of(api), let_reset_password(pipeline, operator(), ann.name), PASSWORD)
    set_password(_of(api), let_reset_password(pipeline, operator(), bob.name), PASSWORD)
    set_disabled(pipeline, operator(), bob.name, disabled=True)
    hasher = passwords._hasher()
    checked: list[str] = []
    verify = type(hasher).verify

    def counted(self: object, text: str, stored: str) -> bool:
        checked.append(stored.rpartition("$")[0].rpartition("$")[0])
        return verify(hasher, text, stored)

    monkeypatch.setattr(type(hasher), "verify", counted)
    for email, password in (
        (ann.name, "not the password"), (bob.name, PASSWORD), ("no@example.org", PASSWORD), ("no e-mail \0", PASSWORD),
    ):  # fmt: skip
        assert log_in(_of(api), email, password) is None
    assert len(checked) == 4
    assert len(set(checked)) == 1, "the same parameters"
    assert checked[0].startswith("$argon2id$")


def test_of_many_passwords_at_once_some_wait_and_some_are_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who log in must not take all threads from those who send claims, and a moment's crowd is no refusal."""
    stored = hash_password(PASSWORD)
    monkeypatch.setattr(passwords, "_PLACES", BoundedSemaphore(1))
    monkeypatch.setattr(passwords, "_LINE", BoundedSemaphore(1))
    with ThreadPoolExecutor(1) as pool:
        with passwords.place_at_work():
            waits = pool.submit(password_fits, PASSWORD, stored)
            while passwords._LINE._value:
                time.sleep(0.005)
            with pytest.raises(BusyError):
                password_fits(PASSWORD, stored)
            assert password_fits(PASSWORD, stored, True)
        assert waits.result(timeout=30)
    monkeypatch.setattr(passwords, "_LONGEST_WAIT_SECONDS", 0.01)
    with passwords.place_at_work(), pytest.raises(BusyError):
        password_fits(PASSWORD, stored)


def test_a_password_is_at_least_twelve_characters_and_at_most_a_thousand_bytes_whatever_they_are() -> None:
    for bad in ("", "x" * 11, "x" * 1001, "é" * 501, "\ufdfa", "e\u0301" * 6, "\ufdfa" * 40):
        with pytest.raises(WeakPasswordError):
            hash_password(bad)
    stored = hash_password("Cafe\u0301 Ångström")
    assert password_fits("Café Ångström", stored)
    assert not password_fits("Cafe Ångström", stored)
    assert not password_fits("x" * 1001, stored)
