"""Which customers' claims wait for changed aliases or groups; reports among what operators watch."""

from __future__ import annotations

from upstream_pipelines.db.queries import execute_beside
from upstream_pipelines.errors import ConfigurationError

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, their trigger, and the figures of reports. The SQL is in the file beside this one."""
    execute_beside(__file__)


def downgrade() -> None:
    """Refused: an older program leaves a change that waits for a run to the next upload."""
    raise ConfigurationError("This migration is not taken back; restore the backup made before it instead.")
