"""People, their log-ins, their membership of customers, and the audit trail."""

from __future__ import annotations

from upstream_pipelines.db.queries import execute_beside
from upstream_pipelines.errors import ConfigurationError

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables, their policies and the functions of the log-in. The SQL is in the file beside this one."""
    execute_beside(__file__)


def downgrade() -> None:
    """Refused: an audit trail is not thrown away."""
    raise ConfigurationError("This migration is not taken back; restore the backup made before it instead.")
