"""Foundation: every table of the path from upload to alert, with forced row-level security."""

from __future__ import annotations

from pathlib import Path

from alembic import op

from upstream_pipelines.errors import ConfigurationError

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables. The statements are in the .sql file beside this one, to be read as SQL."""
    statements = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    # The driver itself: SQLAlchemy always passes parameters, and then a % in the SQL is a placeholder.
    op.get_bind().connection.cursor().execute(statements)


def downgrade() -> None:
    """Refused: going below the first migration would drop every claim."""
    raise ConfigurationError("The first migration is not taken back; drop the database instead.")
