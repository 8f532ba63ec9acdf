"""Webhook batches: any body ends as loaded or refused, and a claim means the same as in a CSV file."""

from __future__ import annotations

import io
import json
import threading
import time
from contextlib import suppress
from datetime import date
from typing import Any
from unittest.mock import patch

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upstream_pipelines.claims.judge import Judge
from upstream_pipelines.claims.mapping import ClaimMapping
from upstream_pipelines.errors import FileRefusedError
from upstream_pipelines.ingest import batch_reader
from upstream_pipelines.ingest.batch_reader import MAX_CLAIMS, check_batch, read_batch
from upstream_pipelines.ingest.csv_reader import open_csv

TODAY = date(2026, 11, 24)
CLAIM = {"claim_id": "C1", "line_number": 1, "payer": "Aetna", "cpt": "99213", "submitted_date": "2026-01-05",
         "decided_date": "2026-02-01", "outcome": "paid", "allowed_amount": 100.5}  # fmt: skip


def _body(*claims: Any) -> bytes:
    return json.dumps({"claims": claims}).encode()


def _load(body: bytes, rows: int = 50_000, **mapping: Any) -> tuple[pd.DataFrame, pd.DataFrame, Judge]:
    chosen = ClaimMapping(**mapping)
    judge = Judge(chosen, TODAY)
    judged = [judge.judge(block) for block in read_batch(body, chosen).blocks(rows)]
    accepted = pd.concat([block.accepted for block in judged], ignore_index=True)
    rejected = pd.concat([block.rejected for block in judged], ignore_index=True)
    return accepted, rejected, judge


def test_a_body_of_millions_of_empty_lists_is_refused_before_it_is_parsed() -> None:
    """Two million of them took the parser 14 s and 400 MB."""
    with pytest.raises(FileRefusedError, match="at most 100000 claims"):
        check_batch(b'{"claims": [' + b"[]," * 400_000 + b"[]]}")


def _names(count: int, first: int = 0) -> bytes:
    return b"{" + b",".join(b'"k%d":1' % number for number in range(first, first + count)) + b"}"


@pytest.mark.parametrize(
    ("claims", "says"),
    [
        (_names(700_000), "more than 500 names"),
        (b'{"payer": ' + _names(700_000) + b"}", "more than 500 names"),
        (b'{"":1' + b',"":1' * 700_000 + b"}", "more than 500 names"),
        (b"1," * 3_000_000 + b"1", "at most 100000 claims"),
        (b'{"codes": [' + b"1," * 3_000_000 + b"1]}", "at most 100000 claims"),
        (b"[]," * 50_000 + b"[]", "no object among them"),
        (b'{"codes": [' + b"[]," * 50_000 + b"[]]}", "no object among them"),
    ],
    ids=["names", "names below", "one name", "numbers", "numbers below", "lists", "lists below"],
)
def test_what_would_keep_the_parser_is_refused_before_it_is_parsed(
    monkeypatch: pytest.MonkeyPatch, claims: bytes, says: str
) -> None:
    """The first took a second and more of a core, in which no other thread of the process came on."""
    monkeypatch.setattr(json, "loads", lambda *_, **__: pytest.fail("it was parsed"))
    with pytest.raises(FileRefusedError, match=says):
        check_batch(b'{"claims": [' + claims + b"]}")


def test_what_a_batch_may_have_at_most_is_counted() -> None:
    """Far more between the ends of two objects than of the claims that anybody sends."""
    widest = {f"k{number}": "1" for number in range(500)}
    assert check_batch(_body({"k0": widest | {"k0": widest | {"k0": widest}}}, widest, {"k0": [widest]})) == 3
    assert check_batch(_body(*[1] * MAX_CLAIMS)) == MAX_CLAIMS
    assert check_batch(_body({"modifiers": ["25"] * MAX_CLAIMS})) == 1
    assert check_batch(_body(*[{"modifiers": ["25"], "diagnosis_codes": []}] * MAX_CLAIMS)) == MAX_CLAIMS
    assert check_batch(_body(*[[]] * 9_000)) == 9_000


def test_other_threads_come_on_while_a_batch_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parser is C: without a call of Python in it, a thread that waits is let on when all is parsed."""
    monkeypatch.setattr(batch_reader, "_refuse_shape", lambda _body: None)
    body = _body(*[CLAIM] * 50_000)
    parsing, before, turns = threading.Event(), json.loads, 0

    def loads(*arguments: Any, **options: Any) -> Any:
        parsing.set()
        try:
            return before(*arguments, **options)
        finally:
            parsing.clear()

    monkeypatch.setattr(json, "loads", loads)
    thread = threading.Thread(target=check_batch, args=(body,))
    thread.start()
    assert parsing.wait(30)
    while parsing.is_set():
        turns += 1
        time.sleep(0)
    thread.join()
    assert turns > 5


def test_a_claim_means_the_same_as_a_row_of_a_file() -> None:
    """Keys and hashes too: a line that comes both ways is one line."""
    text = ",".join(CLAIM) + "\n" + ",".join(str(value) for value in CLAIM.values())
    block = next(open_csv(io.BytesIO(text.encode()), ClaimMapping()).blocks())
    from_file = Judge(ClaimMapping(), TODAY).judge(block).accepted
    pd.testing.assert_frame_equal(_load(_body(CLAIM))[0], from_file)


def test_values_of_every_json_type_are_understood_or_rejected() -> None:
    accepted, rejected, _ = _load(
        _body(
            CLAIM | {"modifiers": ["25", "59"], "authorization_required": True, "units": 2, "facility": None},
            CLAIM | {"authorization_required": False, "payer": {"name": "Aetna"}},
            CLAIM | {"facility": "\ud800"},
            "no object",
            CLAIM | {"allowed_amount": 12345678901.1},
        )
    )
    assert accepted["source_row_number"].tolist() == [1, 5]
    assert accepted["modifiers"].tolist()[0] == "25 59"
    assert accepted["authorization_required"].tolist()[0] is True
    assert str(accepted["allowed_amount"].tolist()[1]) == "12345678901.10"
    by_row = rejected.groupby("source_row_number")[["field", "rule"]].first().to_dict("index")
    assert by_row[2] == {"field": "payer", "rule": "text_form"}
    assert by_row[3] == {"field": "facility", "rule": "text_form"}
    assert by_row[4] == {"field": "row", "rule": "row_shape"}


def test_names_are_matched_over_all_claims_and_a_claim_may_leave_some_out() -> None:
    accepted, rejected, _ = _load(_body({"payer": "Aetna", "cpt": "99213"}, CLAIM | {"Facility Name": "North"}))
    assert accepted["facility"].tolist() == ["North"]
    assert set(rejected["rule"]) == {"submitted_date_present", "outcome_present"}


def test_the_order_of_dates_is_told_from_the_whole_batch() -> None:
    claims = [
        CLAIM | {"submitted_date": day, "decided_date": "2026-09-01"} for day in ("03/04/2026", "13/04/2026")
    ]
    assert _load(_body(*claims))[0]["submitted_date"].tolist() == [date(2026, 4, 3), date(2026, 4, 13)]
    with pytest.raises(FileRefusedError, match="4 March or 3 April"):
        read_batch(_body(claims[0]), ClaimMapping())


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "UTF-8"),
        (b'{"claims": [}', "line 1, column 13"),
        (b"[]", '{"claims"'),
        (b'{"claims": {}}', '{"claims"'),
        (b'{"claims": []}', "at least one"),
        (b'{"claims": [' + b"[" * 5000 + b"]" * 5000 + b"]}", "deeper"),
        (b'{"claims":' * 3000, "deeper"),
        (_body(*[{}] * (MAX_CLAIMS + 1)), "at most 100000"),
        (_body({f"name{number}": 1 for number in range(501)}), "different names"),
    ],
)
def test_a_body_that_cannot_be_a_batch_is_refused_before_it_is_accepted(body: bytes, says: str) -> None:
    with pytest.raises(FileRefusedError) as refused:
        check_batch(body)
    assert says in str(refused.value)


def test_brackets_and_quotes_inside_texts_are_no_nesting() -> None:
    assert check_batch(_body({"payer": "[" * 50 + '"{\\' + '\\"[' * 20}, {"x": "\\"})) == 2


def test_missing_fields_are_refused_by_name_and_no_value_is_shown() -> None:
    with pytest.raises(FileRefusedError) as refused:
        read_batch(_body({"payer": "CANARY", "cpt": "99213", "outcome": "paid"}), ClaimMapping())
    message = str(refused.value)
    assert "No claim has submitted_date" in message
    assert "Send the claims with these names" in message
    assert message.endswith(
        "The platform's operator sets the mapping: `upstream customers configure SLUG --file FILE`."
    )
    assert "header" not in message
    assert "CANARY" not in message


def test_two_names_for_one_field_are_refused_with_what_can_be_done() -> None:
    with pytest.raises(FileRefusedError) as refused:
        read_batch(_body({**CLAIM, "Payer": "Cigna"}), ClaimMapping())
    assert "More than one name could be a field (payer: 'payer', 'Payer')" in str(refused.value)
    assert "Remove or rename one of those that are the same" in str(refused.value)


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
_CLAIMS = st.lists(
    st.one_of(
        _JSON,
        st.fixed_dictionaries({}, optional=dict.fromkeys(CLAIM, _JSON)).map(lambda change: {**CLAIM, **change}),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(_CLAIMS, st.integers(1, 4))
def test_every_claim_is_counted_once_whatever_it_holds(claims: list[Any], size: int) -> None:
    body = _body(CLAIM, *claims)
    try:
        assert check_batch(body) == len(claims) + 1
        accepted, rejected, judge = _load(body, rows=size)
    except FileRefusedError:
        return
    assert judge.counters().rows == len(claims) + 1 == len(accepted) + rejected["source_row_number"].nunique()


_WIDE = st.recursive(
    st.none() | st.integers() | st.text('\\"[]{},:a', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=6) | st.dictionaries(st.text('\\"[]{},:a', max_size=3), inner, max_size=4)
    ),
    max_leaves=60,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_WIDE, min_size=1, max_size=8), st.integers(1, 6))
def test_no_batch_whose_objects_have_as_many_names_as_they_may_is_refused_for_them(
    claims: list[Any], most: int
) -> None:
    """With limits that such small bodies reach; and what is refused has an object or a list that is too large."""
    body, sizes = _body(*claims), {"object": 1, "list": len(claims)}
    _measure(claims, sizes)
    limits: dict[str, Any] = {"MAX_NAMES": most, "MAX_CLAIMS": 2 * most, "_MOST_NAMES_AT_ONCE": 8 * most,
              "_MOST_VALUES_AT_ONCE": 4 * most, "_MOST_LISTS_AT_ONCE": 10_000, "MAX_DEPTH": 100}  # fmt: skip
    refused = ""
    with patch.multiple(batch_reader, **limits), suppress(FileRefusedError):
        refused = "the body"
        batch_reader._refuse_shape(body)
        refused = ""
    assert not refused or sizes["object"] > most or sizes["values"] > 4 * most


def _measure(value: Any, sizes: dict[str, int]) -> None:
    """Notes the most names of an object, and how many values there are."""
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    sizes["values"] = sizes.get("values", 0) + len(inner)
    if isinstance(value, dict):
        sizes["object"] = max(sizes["object"], len(value))
    for one in inner:
        _measure(one, sizes)


@settings(deadline=None)
@given(st.binary(max_size=100))
def test_any_bytes_are_counted_or_refused(body: bytes) -> None:
    try:
        assert check_batch(body) >= 1
    except FileRefusedError:
        return


def test_a_batch_near_the_largest_body_is_counted() -> None:
    body = _body(*[CLAIM] * 50_000)
    assert len(body) > 8 * 1024 * 1024
    assert check_batch(body) == 50_000
