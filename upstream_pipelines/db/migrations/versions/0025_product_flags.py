"""Which parts of the product are on for a customer."""

from __future__ import annotations

from upstream_pipelines.db.queries import execute_beside
from upstream_pipelines.errors import ConfigurationError

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, functions, and a reason for which alerts are held back. The SQL is in the file beside this one."""
    execute_beside(__file__)


def downgrade() -> None:
    """Refused: an older program does what is switched off."""
    raise ConfigurationError("This migration is not taken back; restore the backup made before it instead.")
