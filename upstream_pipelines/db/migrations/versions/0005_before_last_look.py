"""Events as they stood before their last look, so that looks back cannot change what they were at."""

from __future__ import annotations

from upstream_pipelines.db.queries import execute_beside
from upstream_pipelines.errors import ConfigurationError

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, and fill it from the results kept. The SQL is in the file beside this one."""
    execute_beside(__file__)


def downgrade() -> None:
    """Refused: an older program would not keep what the looks made with it started from."""
    raise ConfigurationError("This migration is not taken back; restore the backup made before it instead.")
