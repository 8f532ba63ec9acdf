"""Foundation: every table of the path from upload to alert, with forced row-level security."""

from __future__ import annotations

from upstream_pipelines.db.queries import execute_beside
from upstream_pipelines.errors import ConfigurationError

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables. The statements are in the .sql file beside this one, to be read as SQL."""
    execute_beside(__file__)


def downgrade() -> None:
    """Refused: going below the first migration would drop every claim."""
    raise ConfigurationError("The first migration is not taken back; drop the database instead.")
