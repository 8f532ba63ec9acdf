"""Alerts that are held back because no channel is on, and since when a channel is off or fails."""

from __future__ import annotations

from upstream_pipelines.db.queries import execute_beside
from upstream_pipelines.errors import ConfigurationError

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and the index, and widen the check. The SQL is in the file beside this one."""
    execute_beside(__file__)


def downgrade() -> None:
    """Refused: an older program would never tell what waits for a channel."""
    raise ConfigurationError("This migration is not taken back; restore the backup made before it instead.")
