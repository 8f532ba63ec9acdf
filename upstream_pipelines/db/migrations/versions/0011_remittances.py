"""Remittances (X12 835) as a source of claims, and whose decision a line is: the primary payer's or a later one's."""

from __future__ import annotations

from upstream_pipelines.db.queries import execute_beside
from upstream_pipelines.errors import ConfigurationError

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Widen the sources and add columns. The SQL is in the file beside this one."""
    execute_beside(__file__)


def downgrade() -> None:
    """Refused: an older program would take a secondary payer's line for the primary's."""
    raise ConfigurationError("This migration is not taken back; restore the backup made before it instead.")
