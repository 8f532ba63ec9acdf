"""First decisions: what a payer decided first is kept beside what replaced it, and drift counts that."""

from __future__ import annotations

from upstream_pipelines.db.queries import execute_beside
from upstream_pipelines.errors import ConfigurationError

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and the view, and fill them from the history. The SQL is in the file beside this one."""
    execute_beside(__file__)


def downgrade() -> None:
    """Refused: an older program would not keep the first decisions of what it merges."""
    raise ConfigurationError("This migration is not taken back; restore the backup made before it instead.")
