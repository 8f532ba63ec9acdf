"""What the API's role may write is bounded, and its acts in the trail are those that were."""

from __future__ import annotations

from upstream_pipelines.db.queries import execute_beside
from upstream_pipelines.errors import ConfigurationError

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Mend alert rules that no program can read, then add bounds, policies and triggers. The SQL is in the file beside this one."""
    execute_beside(__file__)


def downgrade() -> None:
    """Refused: an older program asks for a function that the API's role may call no more."""
    raise ConfigurationError("This migration is not taken back; restore the backup made before it instead.")
