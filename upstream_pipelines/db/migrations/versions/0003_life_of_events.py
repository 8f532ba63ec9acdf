"""The life of events: cause, acceptances as the new normal, and each customer's measured false-event rate."""

from __future__ import annotations

from upstream_pipelines.db.queries import execute_beside
from upstream_pipelines.errors import ConfigurationError

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and tables. The SQL is in the file beside this one."""
    execute_beside(__file__)


def downgrade() -> None:
    """Refused: what people accepted as normal would be lost, and an older program would alarm of it again."""
    raise ConfigurationError("This migration is not taken back; restore the backup made before it instead.")
