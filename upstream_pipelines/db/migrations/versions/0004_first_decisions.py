"""First decisions: what a payer decided first is kept beside what replaced it, and drift counts that."""

from __future__ import annotations

from pathlib import Path

from alembic import op

from upstream_pipelines.errors import ConfigurationError

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and the view, and fill them from the history. The SQL is in the file beside this one."""
    statements = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    # The driver itself: SQLAlchemy always passes parameters, and then a % in the SQL is a placeholder.
    op.get_bind().connection.cursor().execute(statements)


def downgrade() -> None:
    """Refused: an older program would not keep the first decisions of what it merges."""
    raise ConfigurationError("This migration is not taken back; restore the backup made before it instead.")
