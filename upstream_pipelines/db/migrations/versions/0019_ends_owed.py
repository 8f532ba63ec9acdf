"""The end of an event reaches each channel that heard of it, one after the other where they cannot all be told at once."""

from __future__ import annotations

from upstream_pipelines.db.queries import execute_beside
from upstream_pipelines.errors import ConfigurationError

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Keep which channels an end is owed to. The SQL is in the file beside this one."""
    execute_beside(__file__)


def downgrade() -> None:
    """Refused: an older program would not tell what is owed."""
    raise ConfigurationError("This migration is not taken back; restore the backup made before it instead.")
