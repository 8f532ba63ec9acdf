"""Claim lines are written without a look at their upload for each row."""

from __future__ import annotations

from upstream_pipelines.db.queries import execute_beside
from upstream_pipelines.errors import ConfigurationError

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Drop foreign keys. The SQL is in the file beside this one."""
    execute_beside(__file__)


def downgrade() -> None:
    """Refused: it would look up every line's upload again."""
    raise ConfigurationError("This migration is not taken back; restore the backup made before it instead.")
