"""Canonical payers and CPT groups as the database works them out, for many at once."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from upstream_pipelines.claims.sections import SECTIONS, section_of
from upstream_pipelines.db.engine import Connection

_some = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
# Few characters, so that names meet.
_NAMES = st.text("aAbB ", min_size=1, max_size=4).filter(str.strip)
_CODES = st.text("AB12", min_size=1, max_size=4)
_GROUPS = st.dictionaries(
    st.from_regex(r"[abAB12]{1,3}\*?", fullmatch=True), st.text("xyz", min_size=1), max_size=12
)


def _groups_of(pipeline: Connection, codes: list[str], groups: dict[str, str]) -> dict[str, str]:
    found = pipeline.execute(
        "SELECT cpt, cpt_group FROM groups_of_codes(%s::text[], %s)", (codes, Jsonb(groups))
    ).fetchall()
    assert len(found) == len(set(codes))
    return dict(found)


@_some
@given(st.lists(st.text("0123456789ABCDEFGHJKLQSTVZ", min_size=1, max_size=7), min_size=1, max_size=40))
def test_a_code_has_the_same_section_in_the_database_as_in_a_replay(
    pipeline: Connection, codes: list[str]
) -> None:
    assert _groups_of(pipeline, codes, dict(SECTIONS)) == {code: section_of(code) for code in codes}


@_some
@given(st.lists(_CODES, max_size=20), _GROUPS)
def test_an_exact_code_goes_before_a_beginning_and_a_longer_beginning_before_a_shorter(
    pipeline: Connection, codes: list[str], groups: dict[str, str]
) -> None:
    def expected(code: str) -> str:
        fitting = [
            key
            for key in groups
            if (code.startswith(key[:-1].upper()) if key.endswith("*") else code == key.upper())
        ]
        best = min(fitting, key=lambda key: (key.endswith("*"), -len(key), key), default=None)
        return "OTHER" if best is None else groups[best]

    assert _groups_of(pipeline, codes, groups) == {code: expected(code) for code in codes}


@_some
@given(st.lists(_NAMES, max_size=20), st.dictionaries(_NAMES, st.text("XYZ", min_size=1), max_size=8))
def test_a_spelling_has_the_name_of_the_alias_that_differs_by_case_and_white_space_only(
    pipeline: Connection, spellings: list[str], aliases: dict[str, str]
) -> None:
    def expected(spelling: str) -> str:
        tidied = " ".join(spelling.split())
        fitting = [key for key in aliases if " ".join(key.split()).lower() == tidied.lower()]
        first = min(fitting, default=None)
        return tidied if first is None else aliases[first]

    found = pipeline.execute(
        "SELECT payer, payer_name FROM names_of_payers(%s::text[], %s)", (spellings, Jsonb(aliases))
    ).fetchall()
    assert len(found) == len(set(spellings))
    assert dict(found) == {spelling: expected(spelling) for spelling in spellings}
