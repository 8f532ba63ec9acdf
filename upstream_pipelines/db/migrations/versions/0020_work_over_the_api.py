"""What the API may write for people: words on events and alerts, silences, labelled days, tokens, dead messages anew."""

from __future__ import annotations

from upstream_pipelines.db.queries import execute_beside
from upstream_pipelines.errors import ConfigurationError

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Grant columns. The SQL is in the file beside this one."""
    execute_beside(__file__)


def downgrade() -> None:
    """Refused: the program that is older than these rights needs none of them taken away."""
    raise ConfigurationError("This migration is not taken back; restore the backup made before it instead.")
