"""/api/v1/customers/{slug}/payer-aliases, /cpt-groups and /quality-rules: parts of the configuration, read and replaced whole.

Not here: the other parts, which `upstream customers configure` sets; what a part may hold (claims/mapping.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from upstream_pipelines.api.authentication import Acting, CanManage, CanRead, CanWork
from upstream_pipelines.api.once import OnceRoute
from upstream_pipelines.api.parameters import Name
from upstream_pipelines.api.problems import documented
from upstream_pipelines.claims.naming import names_applied
from upstream_pipelines.customers.audit import Detail, record
from upstream_pipelines.customers.parts import PartName, Replaced, part_of, replace_part
from upstream_pipelines.customers.store import get_customer, lock_to_configure
from upstream_pipelines.quality.rules import Grade

router = APIRouter(prefix="/api/v1/customers/{slug}", tags=["configuration"], route_class=OnceRoute)

# The body ends at 64 KiB before that.
_MOST = 5000
# So many names of what changed stand in the trail.
_NAMED = 50

Revision = Annotated[
    str,
    Field(min_length=16, max_length=16, pattern=r"^[0-9a-f]{16}$", description="Of the content, as it was read."),
]
Applied = Annotated[
    bool,
    Field(
        description="The stored claims have them; else the run of an upload that waits gives them, or one that is asked for within a "
        "minute, five times at most where it fails. Then they wait for the next upload, the next change or the operator."
    ),
]
Aliases = Annotated[dict[Name, Name], Field(max_length=_MOST, description="Spelling as sent → the payer's name.")]
Groups = Annotated[
    dict[Name, Name],
    Field(
        max_length=_MOST, description="A code, or its beginning and a star, → group; empty: the sections of CPT."
    ),
]
Grades = Annotated[
    dict[Name, Grade], Field(max_length=100, description="Rule → grade, where it is not the rule's own.")
]


class NewAliases(BaseModel):
    """All payer aliases, to take the place of those of that revision."""

    revision: Revision
    payer_aliases: Aliases


class PayerAliases(BaseModel):
    """All payer aliases; a file may have set more and longer ones than are taken here."""

    revision: Revision
    payer_aliases: dict[str, str]
    applied: Applied


class NewGroups(BaseModel):
    """All CPT groups, to take the place of those of that revision."""

    revision: Revision
    cpt_groups: Groups


class CptGroups(BaseModel):
    """All CPT groups, as the aliases."""

    revision: Revision
    cpt_groups: dict[str, str]
    applied: Applied


class QualityRules(BaseModel):
    """The customer's own grades of the quality rules; sent, they take the place of those of that revision."""

    revision: Revision
    quality: Grades


_READS = documented(401, 403, 404, 422, 429, 503)
_WRITES = documented(400, 401, 403, 404, 408, 409, 413, 422, 429, 503)


@router.get("/payer-aliases", summary="Payer aliases", responses=_READS)
def read_aliases(acting: CanRead) -> PayerAliases:
    """Other spellings of payers, and the names they stand for; letter case and white space do not count."""
    with acting.transaction() as conn:
        customer = get_customer(conn, acting.slug)
        part = part_of(customer, "payer_aliases")
        return PayerAliases(
            revision=part.revision, payer_aliases=dict(part.values), applied=names_applied(conn, customer)
        )


@router.put("/payer-aliases", summary="Replace the payer aliases", responses=_WRITES)
def put_aliases(acting: CanWork, body: NewAliases) -> PayerAliases:
    """All of them at once. 409 where they were changed since that revision. They reach the stored claims by a run
    that is asked for within a minute; `applied` says when they have them.
    """
    applied, replaced = _replaced(acting, "payer_aliases", body.payer_aliases, body.revision)
    return PayerAliases(revision=replaced.part.revision, payer_aliases=dict(replaced.part.values), applied=applied)


@router.get("/cpt-groups", summary="CPT groups", responses=_READS)
def read_groups(acting: CanRead) -> CptGroups:
    """The customer's own groups of procedure codes; none: the sections of CPT are the groups."""
    with acting.transaction() as conn:
        customer = get_customer(conn, acting.slug)
        part = part_of(customer, "cpt_groups")
        return CptGroups(
            revision=part.revision, cpt_groups=dict(part.values), applied=names_applied(conn, customer)
        )


@router.put("/cpt-groups", summary="Replace the CPT groups", responses=_WRITES)
def put_groups(acting: CanWork, body: NewGroups) -> CptGroups:
    """As the payer aliases."""
    applied, replaced = _replaced(acting, "cpt_groups", body.cpt_groups, body.revision)
    return CptGroups(revision=replaced.part.revision, cpt_groups=dict(replaced.part.values), applied=applied)


@router.get("/quality-rules", summary="Grades of the quality rules", responses=_READS)
def read_grades(acting: CanRead) -> QualityRules:
    """Where they differ from the rules' own: error, warning, info, or off."""
    with acting.transaction() as conn:
        part = part_of(get_customer(conn, acting.slug), "quality")
    return QualityRules.model_validate({"revision": part.revision, "quality": part.values})


@router.put("/quality-rules", summary="Replace the grades of the quality rules", responses=_WRITES)
def put_grades(acting: CanManage, body: QualityRules) -> QualityRules:
    """They hold from the next upload on; the same bytes sent again are then read again."""
    _, replaced = _replaced(acting, "quality", body.quality, body.revision)
    return QualityRules.model_validate({"revision": replaced.part.revision, "quality": replaced.part.values})


def _replaced(acting: Acting, name: PartName, values: Mapping[str, str], revision: str) -> tuple[bool, Replaced]:
    """Replace a part and write it into the trail; whether the claims have the names there are then, and what changed."""
    with acting.transaction() as conn:
        replaced = replace_part(conn, lock_to_configure(conn, acting.slug), name, values, revision)
        if replaced.added or replaced.removed or replaced.changed:
            record(conn, acting.actor, f"{name}.replaced", ("customer", acting.slug), customer_id=acting.customer_id,
                   details=_details(name, replaced))  # fmt: skip
        return names_applied(conn, get_customer(conn, acting.slug)), replaced


def _details(name: PartName, replaced: Replaced) -> dict[str, Detail]:
    """How many were added, removed and changed; of codes and rules also which. A payer's spelling is a value of claims."""
    keys = {"added": replaced.added, "removed": replaced.removed, "changed": replaced.changed}
    counts: dict[str, Detail] = {what: len(those) for what, those in keys.items()}
    if name != "payer_aliases":
        counts |= {f"{what}_names": those[:_NAMED] for what, those in keys.items() if those}
    return counts
