"""The audit trail: who did what to which entity, when and by which request. Rows are added and read, nothing else: the
database gives no role the right to change or remove one.

Belongs here: writing a row in the transaction of the act, reading a customer's rows. Not here: HTTP, CSV, what is audited
(the code that acts says so). `details` are names, roles and counts of settings, never a value of a claim.
"""

from __future__ import annotations

import io
import json
import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from upstream_pipelines.csv_lines import CsvLines
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.marks import page_of, read_mark
from upstream_pipelines.db.queries import load_queries

QUERIES = load_queries(__package__)

ActorKind = Literal["person", "token", "operator"]
Detail = str | int | bool | list[str] | None


@dataclass(frozen=True)
class Actor:
    """Who acts: a person by id and e-mail, an ingestion token by id and prefix, an operator by the account's name.

    `said` is who an operator was before `sudo`, as the environment says: it goes into the details, for nothing proves it.
    """

    kind: ActorKind
    id: str
    name: str = ""
    request_id: str | None = None
    said: str = ""


@dataclass(frozen=True)
class Act:
    """One row of the trail. `at` is in UTC."""

    audit_id: UUID
    at: datetime
    actor_kind: ActorKind
    actor_id: str
    actor_name: str
    action: str
    entity_kind: str
    entity_id: str
    request_id: str | None
    details: dict[str, Any]


@dataclass(frozen=True)
class ActFilter:
    """Which acts; what is None does not narrow. `since` is inside, `until` outside."""

    action: str | None = None
    actor: str | None = None
    entity_kind: str | None = None
    entity_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


_COLUMNS = tuple(field.name for field in fields(Act))


def api_operator(request_id: str | None) -> Actor:
    """The operator over HTTP, whose acts the database writes under this name and no other."""
    return Actor("operator", "api", "UPSTREAM_OPERATOR_TOKEN", request_id)


def operator() -> Actor:
    """The operator of the platform at the command line, by the account of the process: LOGNAME is anybody's to set."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = f"uid {os.getuid()}"
    said = os.environ.get("SUDO_USER", "").encode("utf-8", "replace").decode()
    return Actor(kind="operator", id=name[:100], name=name[:254], said=said[:100])


def record(
    conn: Connection,
    actor: Actor,
    action: str,
    entity: tuple[str, object],
    *,
    customer_id: int | None = None,
    details: Mapping[str, Detail] | None = None,
) -> None:
    """Write an act down; call it inside the transaction that does it, so that neither is there without the other.

    `action` is `noun.verb` in the past (`member.removed`), `entity` its kind and id. Without `customer_id` it is an act
    of a person's own log-in.
    """
    kind, entity_id = entity
    conn.execute(
        QUERIES.add_act,
        {
            "customer_id": customer_id,
            "actor_kind": actor.kind,
            "actor_id": actor.id,
            "actor_name": actor.name,
            "action": action,
            "entity_kind": kind,
            "entity_id": str(entity_id)[:200],
            "request_id": actor.request_id,
            "details": Jsonb(full_details(actor, details or {})),
        },
    )


def full_details(actor: Actor, details: Mapping[str, Detail]) -> dict[str, Detail]:
    """The details of an act with what its actor adds to them."""
    return {**details, **({"sudo_user_said": actor.said} if actor.said else {})}


def read_acts(
    conn: Connection, customer_id: int | None, wanted: ActFilter, *, after: str | None = None, limit: int
) -> tuple[list[Act], str | None]:
    """Acts on a customer, or of None, the newest first, at most `limit`, and the mark from which the next page goes on,
    None at the end.

    Raises:
        InvalidInputError: `after` is no mark of an earlier page.
    """
    at, audit_id = read_mark(after, datetime.fromisoformat, UUID) if after is not None else (None, None)
    with conn.cursor(row_factory=class_row(Act)) as cursor:
        rows = cursor.execute(
            QUERIES.select_acts,
            {"customer_id": customer_id, "after_at": at, "after_id": audit_id, "limit": limit + 1, **vars(wanted)},
        ).fetchall()
    return page_of(rows, limit, lambda row: (row.at, row.audit_id))


def deleted_customer(conn: Connection, slug: str) -> int | None:
    """The number of the customer of that slug that was deleted last, under which its trail stands. Needs role
    upstream_pipeline.
    """
    row = conn.execute(QUERIES.find_deletion, {"slug": slug}).fetchone()
    return int(row[0]) if row is not None else None


def acts_as_csv(acts: list[Act], *, header: bool) -> str:
    """Acts as lines of CSV, guarded: what a spreadsheet would take for a formula has an apostrophe before it."""
    text = io.StringIO()
    lines = CsvLines(text)
    if header:
        lines.write(_COLUMNS)
    for act in acts:
        values = [getattr(act, name) for name in _COLUMNS[:-1]]
        details = json.dumps(act.details, sort_keys=True, ensure_ascii=False) if act.details else ""
        lines.write("" if value is None else str(value) for value in (*values, details))
    return text.getvalue()
