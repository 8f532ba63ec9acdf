"""Lines without a natural key are counted while they are judged; a shorter look at claims after a merge."""

from __future__ import annotations

from alembic import op

from upstream_pipelines.db.queries import execute_beside

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, analyze fewer rows at once. The SQL is in the file beside this one."""
    execute_beside(__file__)


def downgrade() -> None:
    """As before: they are counted by the merge, and as many rows are analyzed."""
    op.execute("ALTER FUNCTION analyze_claims() RESET default_statistics_target")
    op.execute("ALTER TABLE uploads DROP COLUMN unnatural_lines")
