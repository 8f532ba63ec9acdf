"""One alert rule looked at and changed by hand: made, replaced, switched off. Rules are never deleted: their alerts refer to them.

Not here: all rules as a file lists them (store.py), what a rule may hold and which events it wants (rules.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row

from upstream_pipelines.alerts.outbox import QUERIES
from upstream_pipelines.alerts.rules import MOST_RULES, AlertRule, read_stored
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.errors import ConflictError, InvalidInputError, NotFoundError


@dataclass(frozen=True)
class KeptRule:
    """A rule as it is kept, and its `revision`: another one for other content, the same one for the same. `rule` is None where what is
    stored cannot be read; until it is replaced or switched off it tells of everything.
    """

    rule_id: UUID
    name: str
    enabled: bool
    rule: AlertRule | None
    revision: str


def kept_rules(conn: Connection, customer_id: int, *, with_off: bool = False) -> list[KeptRule]:
    """A customer's rules by name: those that are on, or all."""
    return _kept(conn, customer_id, None, with_off=with_off)


def kept_rule(conn: Connection, customer_id: int, rule_id: UUID) -> KeptRule:
    """One rule, on or off.

    Raises:
        NotFoundError: this customer has no such rule.
    """
    found = _kept(conn, customer_id, rule_id, with_off=True)
    if not found:
        raise NotFoundError("This customer has no such alert rule.")
    return found[0]


def add_rule(conn: Connection, customer_id: int, rule: AlertRule, now: datetime | None = None) -> KeptRule:
    """Add a rule; what was held back for want of a channel is decided over again, for the rule may name others.

    Raises:
        InvalidInputError: it names a channel that the customer does not have.
        ConflictError: the name is taken, also by a rule that is off, or there are too many.
    """
    with conn.transaction():
        present = _locked(conn, customer_id)
        if rule.name in {one.name for one in present} or len(present) >= MOST_RULES:
            raise ConflictError(
                f"There is a rule of that name already, or there are {MOST_RULES}. Rules stay, also those that are off: give "
                "another name, or change one that is there."
            )
        _write(conn, customer_id, rule, now)
        return next(one for one in _kept(conn, customer_id, None, with_off=True) if one.name == rule.name)


def replace_rule(
    conn: Connection,
    customer_id: int,
    rule_id: UUID,
    rule: AlertRule,
    revision: str,
    *,
    now: datetime | None = None,
) -> KeptRule:
    """Put a rule in the place of the one of that id and revision, also under another name, also one that is off.

    Raises:
        NotFoundError: this customer has no such rule.
        ConflictError: it was changed since that revision, or another has the name.
        InvalidInputError: it names a channel that the customer does not have.
    """
    with conn.transaction():
        present = {one.rule_id: one for one in _locked(conn, customer_id)}
        before = present.get(rule_id)
        if before is None:
            raise NotFoundError("This customer has no such alert rule.")
        if before.revision != revision:
            raise ConflictError(
                "It was changed since that revision was read. Read it again, and send the change anew."
            )
        if rule.name != before.name:
            if rule.name in {one.name for one in present.values()}:
                raise ConflictError("Another rule has that name, or had it and is off. Give another.")
            conn.execute(QUERIES.rename_rule, {"customer_id": customer_id, "rule_id": rule_id, "name": rule.name})
        _write(conn, customer_id, rule, now)
        return kept_rule(conn, customer_id, rule_id)


def disable_rule(conn: Connection, customer_id: int, rule_id: UUID) -> bool:
    """Tell nothing more by that rule; how an event goes on of which it told the opening is still told. Returns: False
    where it was off already.

    Raises:
        NotFoundError: this customer has no such rule.
    """
    with conn.transaction():
        # Who decides meanwhile saw it on; their messages are there before it is off.
        found = [one for one in _locked(conn, customer_id) if one.rule_id == rule_id]
        if not found:
            raise NotFoundError("This customer has no such alert rule.")
        if not found[0].enabled:
            return False
        conn.execute(QUERIES.switch_off_rule, {"customer_id": customer_id, "rule_id": rule_id})
        return True


def _locked(conn: Connection, customer_id: int) -> list[KeptRule]:
    """All rules of a customer, which nobody else changes until the transaction ends."""
    conn.execute(QUERIES.lock_customer, {"customer_id": customer_id})
    return _kept(conn, customer_id, None, with_off=True)


def _write(conn: Connection, customer_id: int, rule: AlertRule, now: datetime | None) -> None:
    key = {"customer_id": customer_id, "now": now or datetime.now(UTC)}
    channels = {row[0] for row in conn.execute(QUERIES.channel_names, key)}
    if not set(rule.channels or ()) <= channels:
        raise InvalidInputError(
            "The rule names a channel that this customer does not have. Give names of its channels."
        )
    conn.execute(QUERIES.upsert_rules, {**key, "rules": json.dumps([rule.model_dump(mode="json")])})
    # Alerts last, as a worker that has the customer locks them.
    conn.execute(QUERIES.lock_waiting, key)
    conn.execute(QUERIES.wake_held, key)


def _kept(conn: Connection, customer_id: int, rule_id: UUID | None, *, with_off: bool) -> list[KeptRule]:
    key = {"customer_id": customer_id, "rule_id": rule_id, "with_off": with_off}
    with conn.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(QUERIES.kept_rules, key).fetchall()
    return [_read(row.pop("rule_id"), row) for row in rows]


def _read(rule_id: UUID, row: dict[str, Any]) -> KeptRule:
    rule = read_stored(row)
    content = rule.model_dump(mode="json") if rule is not None else row
    return KeptRule(rule_id, row["name"], row["enabled"], rule, _revision(content))


def _revision(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
