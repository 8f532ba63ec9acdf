"""/api/v1/customers/{slug}/alert-rules: who is told of what; rules made, replaced and switched off. Not here: channels, and what
follows from a rule (alerts/).
"""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from upstream_pipelines.alerts.rule_changes import (
    KeptRule,
    add_rule,
    disable_rule,
    kept_rule,
    kept_rules,
    replace_rule,
)
from upstream_pipelines.alerts.rules import AlertRule
from upstream_pipelines.api.authentication import CanManage, CanRead
from upstream_pipelines.api.configuration import Revision
from upstream_pipelines.api.once import OnceRoute
from upstream_pipelines.api.parameters import TEXT, Name, named
from upstream_pipelines.api.problems import documented
from upstream_pipelines.customers.audit import record

router = APIRouter(prefix="/api/v1/customers/{slug}", tags=["alerts"], route_class=OnceRoute)

_READS = documented(401, 403, 404, 422, 429, 503)
_WRITES = documented(400, 401, 403, 404, 408, 409, 413, 422, 429, 503)
_Names = Annotated[tuple[Name, ...], Field(min_length=1, max_length=1000, json_schema_extra={"uniqueItems": True})]


class NewRule(AlertRule):
    """A rule as it is sent: which events, from which size on, to which channels, and when."""

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=TEXT)]
    payers: _Names | None = None
    cpt_groups: _Names | None = None
    channels: _Names | None = None


class ChangedRule(BaseModel):
    """A rule, to take the place of the one of that revision."""

    revision: Revision
    rule: NewRule


class RuleView(AlertRule):
    """A rule as it is kept."""

    rule_id: UUID
    revision: Revision


class UnreadableRule(BaseModel):
    """A rule that is kept in a form that cannot be read. While it is on it tells of everything: replace it whole, or switch it off."""

    rule_id: UUID
    name: str
    enabled: bool
    revision: Revision
    readable: Literal[False] = False


class RulesQuery(BaseModel):
    """Which rules."""

    with_off: bool = Field(default=False, description="Also those that are off.")


@router.get("/alert-rules", summary="Alert rules", responses=_READS)
def read_rules(acting: CanRead, wanted: Annotated[RulesQuery, Query()]) -> list[RuleView | UnreadableRule]:
    """The rules that are on, by name: which events, from which size on, to which channels, and when. One that cannot be read says so."""
    with acting.transaction() as conn:
        return [_view(kept) for kept in kept_rules(conn, acting.customer_id, with_off=wanted.with_off)]


@router.get("/alert-rules/{rule_id}", summary="An alert rule", responses=_READS)
def read_rule(acting: CanRead, rule_id: UUID) -> RuleView | UnreadableRule:
    """Also one that is off."""
    with acting.transaction() as conn, named("alert rule"):
        return _view(kept_rule(conn, acting.customer_id, rule_id))


@router.post("/alert-rules", status_code=201, summary="Make an alert rule", responses=_WRITES)
def post_rule(acting: CanManage, body: NewRule) -> RuleView:
    """It holds for what is found from now on. 409 where the name is taken, also by a rule that is off."""
    with acting.transaction() as conn:
        # By its id, as the channels: a name is free text, and the trail is for ever.
        kept = add_rule(conn, acting.customer_id, body)
        record(conn, acting.actor, "alert_rule.made", ("alert_rule", kept.rule_id), customer_id=acting.customer_id)
    return _readable(kept)


@router.put("/alert-rules/{rule_id}", summary="Replace an alert rule", responses=_WRITES)
def put_rule(acting: CanManage, rule_id: UUID, body: ChangedRule) -> RuleView:
    """The whole rule; one that is off is on again with `enabled`. 409 where it was changed since that revision, or where another
    rule has the name.
    """
    with acting.transaction() as conn, named("alert rule"):
        before = kept_rule(conn, acting.customer_id, rule_id)
        kept = replace_rule(conn, acting.customer_id, rule_id, body.rule, body.revision)
        # Of one that could not be read: all.
        changed = [
            name
            for name in AlertRule.model_fields
            if before.rule is None or getattr(before.rule, name) != getattr(kept.rule, name)
        ]
        if changed:
            record(conn, acting.actor, "alert_rule.changed", ("alert_rule", kept.rule_id),
                   customer_id=acting.customer_id, details={"changed": changed})  # fmt: skip
    return _readable(kept)


@router.delete("/alert-rules/{rule_id}", status_code=204, summary="Switch an alert rule off", responses=_READS)
def delete_rule(acting: CanManage, rule_id: UUID) -> None:
    """It is kept, because its alerts refer to it, and tells of nothing new. Switched off again it stays off."""
    with acting.transaction() as conn, named("alert rule"):
        if disable_rule(conn, acting.customer_id, rule_id):
            record(
                conn, acting.actor, "alert_rule.disabled", ("alert_rule", rule_id), customer_id=acting.customer_id
            )


def _view(kept: KeptRule) -> RuleView | UnreadableRule:
    if kept.rule is None:
        return UnreadableRule(rule_id=kept.rule_id, name=kept.name, enabled=kept.enabled, revision=kept.revision)
    return _readable(kept)


def _readable(kept: KeptRule) -> RuleView:
    assert kept.rule is not None
    return RuleView.model_construct(**dict(kept.rule), rule_id=kept.rule_id, revision=kept.revision)
