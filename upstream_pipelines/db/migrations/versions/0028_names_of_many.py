"""Canonical payers and CPT groups of many spellings and codes at once."""

from __future__ import annotations

from upstream_pipelines.db.queries import execute_beside
from upstream_pipelines.errors import ConfigurationError

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Replace the functions of one spelling and one code. The SQL is in the file beside this one."""
    execute_beside(__file__)


def downgrade() -> None:
    """Refused: an older program asks for the functions that are gone."""
    raise ConfigurationError("This migration is not taken back; restore the backup made before it instead.")
