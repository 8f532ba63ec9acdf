"""The redactor: what must never survive it, and what it must leave alone."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upstream_pipelines.observability.redaction import redact, redact_value

_DIGITS = "0123456789"


def _digits(count: int) -> st.SearchStrategy[str]:
    return st.text(_DIGITS, min_size=count, max_size=count)


_SECRETS = st.one_of(
    st.builds("{}-{}-{}".format, _digits(3), _digits(2), _digits(4)),
    st.builds("({}) {}-{}".format, _digits(3), _digits(3), _digits(4)),
    st.builds("{}.{}.{}".format, _digits(3), _digits(3), _digits(4)),
    st.builds("patient.{}@clinic{}.example".format, _digits(3), _digits(2)),
    st.builds("MRN: {}".format, _digits(7)),
    st.builds("DOB 19{}-03-{}".format, _digits(2), _digits(2)),
    st.builds("0{}/2{}/1950".format, st.sampled_from("123456789"), st.sampled_from("01234")),
    st.builds(
        "{}, {}".format, st.sampled_from(["MUSTERMANN", "O'BRIEN", "Smithson"]), st.sampled_from(["ERIKA", "Jo"])
    ),
    st.builds(
        "{}_{}".format,
        st.sampled_from(("upi", "upa", "upr", "ups")),
        st.text("abcXYZ019_-", min_size=43, max_size=43),
    ),
    st.builds("$argon2id$v=19$m=65536,t=3,p=4${0}${0}".format, st.text("abcXYZ019+/", min_size=22, max_size=22)),
    st.builds("whsec_{}".format, st.text("abcXYZ019+/", min_size=32, max_size=64)),
    st.builds("Bearer {}".format, st.text("abcXYZ019._-", min_size=20, max_size=40)),
)
# What a log line of ours has around a value.
_AROUND = st.text("abc xyz:=;()[]\"'\n", max_size=20)


@given(secret=_SECRETS, before=_AROUND, after=_AROUND)
def test_no_phi_and_no_secret_survives_in_any_surroundings(secret: str, before: str, after: str) -> None:
    assert secret not in redact(f"{before} {secret} {after}")


@given(text=st.text(max_size=200))
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    once = redact(text)
    assert redact(once) == once


@given(number=_digits(10), identifier=st.uuids(), moment=st.datetimes(timezones=st.just(UTC)))
def test_claim_numbers_npis_uuids_and_iso_times_are_left_alone(
    number: str, identifier: object, moment: datetime
) -> None:
    text = f"claim {number} npi={number} upload {identifier} at {moment.isoformat()} on {moment.date()}"
    assert redact(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "Blue Cross Blue Shield of Texas",
        "BLUE CROSS, BLUE SHIELD",
        "Aetna, Inc.",
        "UNITEDHEALTHCARE, INC",
        "payer Humana: denial rate up 10.1 % to 15.3 %",
        "Boston, MA",
        "127.0.0.1:5432",
        "5515 rows in 1.25 s, 4412.0 rows/s",
        "CO-45 PR-1 99213-25",
        "token upi_AbCdEfGh revoked",
    ],
)
def test_the_words_of_the_trade_are_left_alone(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("postgresql://upstream:s3cr3t@db:5432/x", "s3cr3t"),
        ("postgresql://upstream:p@ss:w@db:5432/x", "p@ss"),
        ("duplicate key\nDETAIL:  Key (claim_id)=(canary value) already exists.", "canary"),
        ("new row violates check\nDETAIL:  Failing row contains (1, canary\nvalue).", "canary"),
        ("insert: Key (customer_id, payer)=(1, canary) is not present", "canary"),
        ('COPY failed\nCONTEXT:  COPY claims, line 3, column payer: "canary"', "canary"),
        ('invalid input syntax for type date: "canary"\nLINE 1: canary', "canary"),
        ('date/time field value out of range: "canary"', "canary"),
        ("https://hooks.slack.com/services/T0/B0/canary", "canary"),
        ("xoxb-123-canary", "canary"),
        ("SSN 123456789", "123456789"),
    ],
)
def test_what_databases_and_urls_carry_along_is_dropped(text: str, gone: str) -> None:
    assert gone not in redact(text)


def test_values_are_redacted_at_every_depth_and_by_their_name() -> None:
    value = {
        "rows": [{"note": "call 555-123-4567"}],
        "password": "x",
        "api_token": "y",
        "token_id": "kept",
        "body": b"canary",
        "error": ValueError("canary"),
        "object": type("Odd", (), {"__str__": lambda _: "a@b.example"})(),
        "bytes": b"canary",
        "count": 3,
    }
    cleaned = redact_value(value)
    assert cleaned == {
        "rows": [{"note": "call [phone]"}],
        "password": "[removed]",
        "api_token": "[removed]",
        "token_id": "kept",
        "body": "[removed]",
        "error": "ValueError: message withheld",
        "object": "[email]",
        "bytes": "[6 bytes]",
        "count": 3,
    }


def test_a_value_that_contains_itself_ends() -> None:
    endless: list[object] = []
    endless.append(endless)
    assert "[deeper]" in str(redact_value(endless))


def test_the_host_of_a_url_stays_for_the_operator() -> None:
    assert redact("at postgresql://upstream:x@db.internal:5432/upstream") == (
        "at postgresql://[login]@db.internal:5432/upstream"
    )
