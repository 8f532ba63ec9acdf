"""When each channel failed last: the time of failing counts anew after a week without a failure. Uploads that wait long."""

from __future__ import annotations

from upstream_pipelines.db.queries import execute_beside
from upstream_pipelines.errors import ConfigurationError

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, replace the function. The SQL is in the file beside this one."""
    execute_beside(__file__)


def downgrade() -> None:
    """Refused: the older program counts failures well beside it."""
    raise ConfigurationError("This migration is not taken back; restore the backup made before it instead.")
