"""What a member's role allows. Not here: who is a member (members.py), routes and their rules (the API)."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """A member's role in one customer, the lowest first."""

    VIEWER = "viewer"
    ANALYST = "analyst"
    ADMIN = "admin"
    OWNER = "owner"

    def outranks(self, other: Role) -> bool:
        """Whether this role is the higher of two different ones."""
        return _RANKS.index(self) > _RANKS.index(other)


class Action(StrEnum):
    """What somebody wants to do with a customer: the words in which routes say whom they are for."""

    READ = "read"
    """Look at what the customer has: uploads, claims, quality, drift, alerts, settings, members."""
    WORK = "work"
    """Upload, map columns, payers and codes, say what an event or alert was worth, ask for reports."""
    MANAGE = "manage"
    """Members, channels, alert rules, webhooks, tokens, every other setting."""
    AUDIT = "audit"
    """Read who did what."""


_RANKS = tuple(Role)
_LEAST = {
    Action.READ: Role.VIEWER,
    Action.WORK: Role.ANALYST,
    Action.MANAGE: Role.ADMIN,
    Action.AUDIT: Role.ADMIN,
}


def allowed(role: Role, action: Action) -> bool:
    """Whether a member of that role may do it."""
    return not _LEAST[action].outranks(role)
