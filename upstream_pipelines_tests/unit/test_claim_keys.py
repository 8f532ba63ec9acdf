"""Keys of claim lines: the same line has the same key in every release; other lines have other keys."""

from __future__ import annotations

import io
import uuid
from datetime import date
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upstream_pipelines.claims import keys as keys_module
from upstream_pipelines.claims.judge import Judge
from upstream_pipelines.claims.keys import SeenKeys, hash_texts, line_keys, row_hashes
from upstream_pipelines.claims.mapping import ClaimMapping
from upstream_pipelines.claims.normalise import type_block
from upstream_pipelines.ingest.csv_reader import open_csv


def _columns(*rows: dict[str, str]) -> dict[str, Any]:
    frame = pd.DataFrame(list(rows), dtype=pd.ArrowDtype(pa.string()))
    return type_block(frame, ClaimMapping(), None).columns


LINE = {"claim_id": "C1", "line_number": "1", "payer": "Aetna", "cpt": "99213", "submitted_date": "2026-01-05",
        "outcome": "pending"}  # fmt: skip


def test_the_hash_of_a_text_never_changes() -> None:
    """Stored keys depend on it: a new release of pandas that hashed otherwise would double every claim."""
    hashes = hash_texts(pa.array(["", "claim", "Santé"])).to_pylist()
    assert [str(uuid.UUID(bytes=digest)) for digest in hashes] == [
        "b66edb04-e8dd-3478-e850-c965059916bc",
        "1d1f647c-9f0f-5f25-b664-495970e3ea8f",
        "9f516047-1f68-7f98-d509-51612c21be71",
    ]


def test_a_line_with_id_and_number_keeps_its_key_when_its_content_changes() -> None:
    keys, natural = line_keys(_columns(LINE, {**LINE, "outcome": "paid", "payer": "Aetna Inc"}))
    assert natural.to_pylist() == [True, True]
    assert keys[0] == keys[1]


def test_without_a_line_number_procedure_and_service_date_tell_the_lines_apart() -> None:
    line = {key: value for key, value in LINE.items() if key != "line_number"} | {"service_date": "2026-01-02"}
    keys, natural = line_keys(
        _columns(
            line, {**line, "outcome": "paid"}, {**line, "cpt": "99214"}, {**line, "service_date": "2026-01-03"}
        )
    )
    assert natural.to_pylist() == [False] * 4
    assert keys[0] == keys[1]
    assert len(set(keys.to_pylist())) == 3


def test_without_a_claim_id_the_whole_content_is_the_key() -> None:
    line = {key: value for key, value in LINE.items() if key not in ("claim_id", "line_number")}
    columns = _columns(line, line, {**line, "facility": "North"})
    keys, natural = line_keys(columns)
    assert natural.to_pylist() == [False] * 3
    assert keys[0] == keys[1] != keys[2]


def test_every_field_changes_the_hash_of_the_row() -> None:
    full = {
        "claim_id": "C1", "line_number": "1", "payer": "Aetna", "cpt": "99213", "modifiers": "25",
        "service_date": "2026-01-02", "submitted_date": "2026-01-05", "decided_date": "2026-02-05",
        "payment_date": "2026-02-07", "outcome": "paid", "billed_amount": "10", "allowed_amount": "9",
        "paid_amount": "8", "denial_reason_code": "CO-45", "denial_reason_text": "x", "authorization_required": "yes",
        "authorization_number": "A1", "authorization_obtained": "yes", "diagnosis_codes": "E11.9", "units": "1",
        "provider_npi": "1437702123", "facility": "North",
    }  # fmt: skip
    rows = [full] + [{**full, field: ""} for field in full]
    hashes = row_hashes(_columns(*rows)).to_pylist()
    assert len(set(hashes)) == len(full) + 1


def test_a_cell_that_moves_to_the_next_field_is_another_row() -> None:
    hashes = row_hashes(_columns({**LINE, "facility": "North", "denial_reason_text": ""},
                                 {**LINE, "facility": "", "denial_reason_text": "North"}))  # fmt: skip
    assert hashes[0] != hashes[1]


def test_the_same_value_written_otherwise_is_the_same_row() -> None:
    hashes = row_hashes(_columns({**LINE, "billed_amount": "$1,000.5", "submitted_date": "05-Jan-2026"},
                                 {**LINE, "billed_amount": "1000.50", "submitted_date": "20260105"}))  # fmt: skip
    assert hashes[0] == hashes[1]


@settings(deadline=None)
@given(st.lists(st.text(max_size=20), min_size=1, max_size=50))
def test_hashes_are_uuids_equal_exactly_where_texts_are(texts: list[str]) -> None:
    hashes = hash_texts(pa.array(texts)).to_pylist()
    assert {len(digest) for digest in hashes} == {16}
    assert len(set(hashes)) == len(set(texts))


_ROW = st.tuples(
    st.sampled_from(["C1", "C2", ""]), st.sampled_from(["1", "2", ""]), st.sampled_from(["Aetna", "Cigna"])
)


@settings(max_examples=25, deadline=None)
@given(st.lists(_ROW, min_size=1, max_size=30), st.integers(1, 5))
def test_neither_blocks_nor_columns_nor_aliases_change_a_key(rows: list[tuple[str, str, str]], size: int) -> None:
    lines = [f"{claim},{line},{payer},99213,2026-01-05,pending" for claim, line, payer in rows]
    turned = [",".join(reversed(line.split(","))) for line in lines]
    header = "claim_id,line_number,payer,cpt,submitted_date,outcome"
    plain = _judged("\n".join([header, *lines]), 50_000, ClaimMapping())
    other = _judged(
        "\n".join([",".join(reversed(header.split(","))), *turned]),
        size,
        ClaimMapping(payer_aliases={"Aetna": "Aetna Inc"}, cpt_groups={"992*": "visits"}),
    )
    pd.testing.assert_frame_equal(plain, other)


def _judged(text: str, size: int, mapping: ClaimMapping) -> pd.DataFrame:
    judge = Judge(mapping, date(2026, 11, 24))
    blocks = open_csv(io.BytesIO(text.encode()), mapping).blocks(size)
    return pd.concat([judge.judge(block).accepted for block in blocks], ignore_index=True)


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 30), max_size=8), max_size=5))
def test_a_key_that_comes_twice_is_noticed_in_one_block_or_in_two(blocks: list[list[int]]) -> None:
    """Missed, the second of two rows for one line would break the upload."""
    seen = SeenKeys()
    for block in blocks:
        seen.add(hash_texts(pa.array(list(map(str, block)), pa.string())))
    given_keys = [number for block in blocks for number in block]
    assert seen.repeat() is (len(set(given_keys)) < len(given_keys))


def test_two_hundred_thousand_keys_are_all_told_apart() -> None:
    """Half of a key's 128 bits are looked at: taken from the wrong places, keys of one upload would look alike."""
    seen = SeenKeys()
    for start in (0, 100_000):
        seen.add(hash_texts(pa.array([f"n\x1fC{number}\x1f1" for number in range(start, start + 100_000)])))
    assert seen.repeat() is False


def test_of_more_keys_than_memory_is_given_to_nobody_says_that_none_came_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keys_module, "MOST_SEEN", 3)
    seen = SeenKeys()
    seen.add(hash_texts(pa.array(["a", "b"])))
    assert seen.repeat() is False
    seen.add(hash_texts(pa.array(["c", "d"])))
    assert seen.repeat() is None
    seen.add(hash_texts(pa.array(["a"])))
    assert seen.repeat() is None
