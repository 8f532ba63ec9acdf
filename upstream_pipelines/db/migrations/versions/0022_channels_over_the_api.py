"""What the API may do with alert channels for people: make a webhook, replace its secret, test it, switch it off and on."""

from __future__ import annotations

from upstream_pipelines.db.queries import execute_beside
from upstream_pipelines.errors import ConfigurationError

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Grant columns, add one and two functions. The SQL is in the file beside this one."""
    execute_beside(__file__)


def downgrade() -> None:
    """Refused: an older program needs none of this taken away."""
    raise ConfigurationError("This migration is not taken back; restore the backup made before it instead.")
