"""Idempotency keys as their SHA-256."""

from __future__ import annotations

from upstream_pipelines.db.queries import execute_beside
from upstream_pipelines.errors import ConfigurationError

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Replace the keys and refuse any other form. The SQL is in the file beside this one."""
    execute_beside(__file__)


def downgrade() -> None:
    """Refused: what was hashed cannot be had back."""
    raise ConfigurationError("This migration is not taken back; restore the backup made before it instead.")
