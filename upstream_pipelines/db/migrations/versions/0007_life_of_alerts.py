"""The life of alerts: messages of several alerts, silences, judgements, and how often a rule may speak."""

from __future__ import annotations

from upstream_pipelines.db.queries import execute_beside
from upstream_pipelines.errors import ConfigurationError

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables and columns, and move what waits. The SQL is in the file beside this one."""
    execute_beside(__file__)


def downgrade() -> None:
    """Refused: an older program knows one alert a delivery; it would lose the others, and what people silenced."""
    raise ConfigurationError("This migration is not taken back; restore the backup made before it instead.")
