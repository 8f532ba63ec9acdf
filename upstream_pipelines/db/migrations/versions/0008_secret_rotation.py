"""A webhook channel's previous signing secret; how much a channel may be sent at a time; what the worker looks rows up by."""

from __future__ import annotations

from upstream_pipelines.db.queries import execute_beside
from upstream_pipelines.errors import ConfigurationError

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns. The SQL is in the file beside this one."""
    execute_beside(__file__)


def downgrade() -> None:
    """Refused: an older program would sign with the new secret only, which receivers may not know yet."""
    raise ConfigurationError("This migration is not taken back; restore the backup made before it instead.")
