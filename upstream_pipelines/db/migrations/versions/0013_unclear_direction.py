"""Events whose direction is not clear yet: a changed mix that may be a loss or a gain."""

from __future__ import annotations

from upstream_pipelines.db.queries import execute_beside
from upstream_pipelines.errors import ConfigurationError

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Widen the directions of events. The SQL is in the file beside this one."""
    execute_beside(__file__)


def downgrade() -> None:
    """Refused: an older program cannot read an event whose direction is not clear."""
    raise ConfigurationError("This migration is not taken back; restore the backup made before it instead.")
