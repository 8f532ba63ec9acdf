"""Who sent an upload, what each run did with it, and totals that the API may see."""

from __future__ import annotations

from upstream_pipelines.db.queries import execute_beside
from upstream_pipelines.errors import ConfigurationError

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column, two tables and functions. The SQL is in the file beside this one."""
    execute_beside(__file__)


def downgrade() -> None:
    """Refused: which runs read what is kept nowhere else."""
    raise ConfigurationError("This migration is not taken back; restore the backup made before it instead.")
