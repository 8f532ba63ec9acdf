"""Rules by confidence and dollars, and customers that went silent."""

from __future__ import annotations

from upstream_pipelines.db.queries import execute_beside
from upstream_pipelines.errors import ConfigurationError

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns, table and indexes, and widen the old default rule. The SQL is in the file beside this one."""
    execute_beside(__file__)


def downgrade() -> None:
    """Refused: an older program would let every rule by confidence or dollars tell of everything."""
    raise ConfigurationError("This migration is not taken back; restore the backup made before it instead.")
