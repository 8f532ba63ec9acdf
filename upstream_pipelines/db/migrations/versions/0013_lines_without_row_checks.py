"""Claim lines are written without a look at their upload for each row."""

from __future__ import annotations

from upstream_pipelines.db.queries import execute_beside

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Drop foreign keys. The SQL is in the file beside this one."""
    execute_beside(__file__)


def downgrade() -> None:
    """An older program works without them as well."""
