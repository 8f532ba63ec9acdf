"""Which uploads two connections add to claims, and which have one key twice."""

from __future__ import annotations

from upstream_pipelines.db.queries import execute_beside
from upstream_pipelines.errors import ConfigurationError

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns that say so; analyze less of claims. The SQL is in the file beside this one."""
    execute_beside(__file__)


def downgrade() -> None:
    """Refused: an older program would not take back what one of the two has committed alone."""
    raise ConfigurationError("This migration is not taken back; restore the backup made before it instead.")
