"""Six signals: submitted lines by code, prices by modifier; every day's activity is counted again."""

from __future__ import annotations

from upstream_pipelines.db.queries import execute_beside
from upstream_pipelines.errors import ConfigurationError

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what volume, procedure mix and prices by modifier are computed from. The SQL is in the file beside this one."""
    execute_beside(__file__)


def downgrade() -> None:
    """Refused: an older program would compare prices across modifiers with these sums."""
    raise ConfigurationError("This migration is not taken back; restore the backup made before it instead.")
