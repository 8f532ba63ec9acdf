"""Six signals: submitted lines by code, prices by modifier; every day's activity is counted again."""

from __future__ import annotations

from pathlib import Path

from alembic import op

from upstream_pipelines.errors import ConfigurationError

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what volume, procedure mix and prices by modifier are computed from. The SQL is in the file beside this one."""
    statements = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    # The driver itself: SQLAlchemy always passes parameters, and then a % in the SQL is a placeholder.
    op.get_bind().connection.cursor().execute(statements)


def downgrade() -> None:
    """Refused: an older program would compare prices across modifiers with these sums."""
    raise ConfigurationError("This migration is not taken back; restore the backup made before it instead.")
