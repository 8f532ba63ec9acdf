"""What an event was opened with, which later looks leave as it is."""

from __future__ import annotations

from upstream_pipelines.db.queries import execute_beside
from upstream_pipelines.errors import ConfigurationError

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, and fill them from the looks kept. The SQL is in the file beside this one."""
    execute_beside(__file__)


def downgrade() -> None:
    """Refused: an older program would not say what it opens events with."""
    raise ConfigurationError("This migration is not taken back; restore the backup made before it instead.")
