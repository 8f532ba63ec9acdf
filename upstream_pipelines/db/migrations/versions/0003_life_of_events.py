"""The life of events: cause, acceptances as the new normal, and each customer's measured false-event rate."""

from __future__ import annotations

from pathlib import Path

from alembic import op

from upstream_pipelines.errors import ConfigurationError

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and tables. The SQL is in the file beside this one."""
    statements = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    # The driver itself: SQLAlchemy always passes parameters, and then a % in the SQL is a placeholder.
    op.get_bind().connection.cursor().execute(statements)


def downgrade() -> None:
    """Refused: what people accepted as normal would be lost, and an older program would alarm of it again."""
    raise ConfigurationError("This migration is not taken back; restore the backup made before it instead.")
