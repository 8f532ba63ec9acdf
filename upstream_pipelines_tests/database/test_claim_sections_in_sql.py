"""The database and a replay put a code into the same section."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from upstream_pipelines.claims.sections import SECTIONS, section_of
from upstream_pipelines.db.engine import Connection


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text("0123456789ABCDEFGHJKLQSTVZ", min_size=1, max_size=7), min_size=1, max_size=40))
def test_a_code_has_the_same_section_in_the_database_as_in_a_replay(
    pipeline: Connection, codes: list[str]
) -> None:
    found = pipeline.execute(
        "SELECT array_agg(group_of_code(code, %s) ORDER BY place) FROM unnest(%s::text[]) WITH ORDINALITY AS c (code, place)",
        (Jsonb(dict(SECTIONS)), codes),
    ).fetchone()
    assert found is not None
    assert found[0] == [section_of(code) for code in codes]
