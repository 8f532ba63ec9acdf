"""A webhook batch is stored in one statement."""

from __future__ import annotations

from upstream_pipelines.db.queries import execute_beside
from upstream_pipelines.errors import ConfigurationError

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the function that stores a batch. The SQL is in the file beside this one."""
    execute_beside(__file__)


def downgrade() -> None:
    """Refused: the present program stores batches by the function."""
    raise ConfigurationError("This migration is not taken back; restore the backup made before it instead.")
