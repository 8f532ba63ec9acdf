"""Lines without a natural key are counted while they are judged."""

from __future__ import annotations

from upstream_pipelines.db.queries import execute_beside
from upstream_pipelines.errors import ConfigurationError

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column that says how many. The SQL is in the file beside this one."""
    execute_beside(__file__)


def downgrade() -> None:
    """Refused: the present program writes the column."""
    raise ConfigurationError("This migration is not taken back; restore the backup made before it instead.")
