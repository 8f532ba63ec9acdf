"""Columns read as arrays hold what rows of the same statement hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from upstream_pipelines.db.columns import read_columns

if TYPE_CHECKING:
    from datetime import date

    from upstream_pipelines.db.engine import Connection

ROWS = st.tuples(
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.dates(),
    st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ROWS, max_size=20))
def test_columns_come_back_as_they_were_given_in_the_same_order(
    pipeline: Connection, rows: list[tuple[int, int, float, date, str]]
) -> None:
    given_columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(5)]
    found = read_columns(
        pipeline,
        """SELECT array_agg(a ORDER BY n) AS a, array_agg(b ORDER BY n) AS b, array_agg(c ORDER BY n) AS c,
                  array_agg(d ORDER BY n) AS d, array_agg(e ORDER BY n) AS e
             FROM unnest(%(a)s::integer[], %(b)s::bigint[], %(c)s::double precision[], %(d)s::date[], %(e)s::text[])
                  WITH ORDINALITY AS t (a, b, c, d, e, n)""",
        dict(zip("abcde", given_columns, strict=True)),
    )
    assert [found[name].dtype for name in "abcd"] == ["int32", "int64", "float64", "datetime64[s]"]
    assert [list(found[name].tolist()) for name in "abc"] == given_columns[:3]
    assert [day.date() for day in found["d"].tolist()] == given_columns[3]
    assert found["e"] == given_columns[4]


def test_infinity_is_the_day_of_what_has_none(pipeline: Connection) -> None:
    found = read_columns(pipeline, "SELECT ARRAY['2026-05-01', 'infinity']::date[] AS day", {})
    assert np.isnat(found["day"]).tolist() == [False, True]


def test_a_missing_number_is_refused_and_not_read_as_another(pipeline: Connection) -> None:
    with pytest.raises(ValueError, match="NULL"):
        read_columns(pipeline, "SELECT ARRAY[1, NULL, 3]::bigint[] AS lines", {})
