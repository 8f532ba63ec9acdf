"""Rows of an upload where they were counted."""

from __future__ import annotations

from upstream_pipelines.db.queries import execute_beside
from upstream_pipelines.errors import ConfigurationError

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the function that tells them. The SQL is in the file beside this one."""
    execute_beside(__file__)


def downgrade() -> None:
    """Refused: the present program asks for rows by the function."""
    raise ConfigurationError("This migration is not taken back; restore the backup made before it instead.")
