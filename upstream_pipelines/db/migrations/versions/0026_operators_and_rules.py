"""What the API writes for operators and of alert rules."""

from __future__ import annotations

from upstream_pipelines.db.queries import execute_beside
from upstream_pipelines.errors import ConfigurationError

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add rights, a function, an index and bounds of alert rules, in whose lists words written twice become one. The SQL is in
    the file beside this one.
    """
    execute_beside(__file__)


def downgrade() -> None:
    """Refused: the trail would name acts that the older program does not let an operator do."""
    raise ConfigurationError("This migration is not taken back; restore the backup made before it instead.")
