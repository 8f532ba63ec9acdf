"""First answers kept for the Idempotency-Key of people and operators; a person's own new password."""

from __future__ import annotations

from upstream_pipelines.db.queries import execute_beside
from upstream_pipelines.errors import ConfigurationError

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table and a function. The SQL is in the file beside this one."""
    execute_beside(__file__)


def downgrade() -> None:
    """Refused: an older program needs none of this taken away."""
    raise ConfigurationError("This migration is not taken back; restore the backup made before it instead.")
