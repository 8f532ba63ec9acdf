"""A token's last use is noted once a minute, not with every request."""

from __future__ import annotations

from upstream_pipelines.db.queries import execute_beside
from upstream_pipelines.errors import ConfigurationError

revision = "0020"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Replace the function. The SQL is in the file beside this one."""
    execute_beside(__file__)


def downgrade() -> None:
    """Refused: requests of one token would wait for each other again."""
    raise ConfigurationError("This migration is not taken back; restore the backup made before it instead.")
