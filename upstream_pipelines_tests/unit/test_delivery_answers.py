"""Of what receivers answer the words that are known are kept, and nothing that they may say besides."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upstream_pipelines.delivery.answers import known_words

_GAP = "\N{HORIZONTAL ELLIPSIS}"


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        (b"ok", "ok"),
        (b"", ""),
        (b"invalid_payload", "invalid_payload"),
        (b'{"ok": false, "error": "channel_not_found"}', "ok: false, error: channel_not_found"),
        (b"<html><title>502 Bad Gateway</title></html>", f"{_GAP} bad gateway {_GAP}"),
        (b'{"error": "user jane doe not found", "api_key": "sk-live-4242"}',
         f"error: user {_GAP} not found, api_key: {_GAP}"),
        ("Zo\u00eb M\u00fcller".encode(), _GAP),
        (b"Will Long, MAY PAGE", _GAP),
        (b"ssn 555-12-3333 or 555/12/3333, phone (212) 555-0100 or 212,555,0100, dob 4.12.70", _GAP),
        (b"x" * 5000, _GAP),
    ],
)  # fmt: skip
def test_known_words_are_kept_and_the_rest_is_an_ellipsis(answer: bytes, kept: str) -> None:
    assert re.sub(rf"{_GAP}(?:[\s,:-]*(?:or )?{_GAP})+", _GAP, known_words(answer)) == kept


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        (b"5.1.1 <zq@patient.example>: Recipient address rejected: User unknown in local recipient table",
         f"5.1.1 {_GAP} recipient address rejected: user unknown in local recipient {_GAP}"),
        (b"4.2.2 mailbox full", "4.2.2 mailbox full"),
        (b"refused: born 5.6.81", f"refused: {_GAP}"),
        (b"5.12.70 was her birthday", f"{_GAP} was {_GAP}"),
    ],
)  # fmt: skip
def test_a_mail_servers_answer_keeps_the_code_it_begins_with(answer: bytes, kept: str) -> None:
    assert known_words(answer, of_mail=True) == kept


@given(st.binary(max_size=3000))
def test_any_answer_becomes_text_that_postgres_takes(answer: bytes) -> None:
    text = known_words(answer)
    assert text.isprintable()
    assert len(text) <= 3000
    text.encode()


@given(
    st.from_regex(r"[bcdfghjklmnpqrstvwxz]{5,12}", fullmatch=True),
    st.integers(0, 10**12),
    st.sampled_from([
        "error: {} {}", '{{"password": "{}", "id": {}}}', "{}={}", "550 5.1.1 <{}@{}> user unknown", "{}_{}", "{}-{}", "{}.{}", "{} {}", "{}/{}",
    ]),
)  # fmt: skip
def test_a_word_or_number_of_the_receivers_own_is_never_kept(word: str, number: int, form: str) -> None:
    text = known_words(form.format(word, number).encode())
    assert word not in text
    assert not re.search(r"\d", text)
