"""Which roles the API's login may take: the database holds the API to one customer at a time by its role alone.

Not here: setting a role (db/engine.py), what is told of it (cli/doctor.py).
"""

from __future__ import annotations

from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.queries import load_queries

QUERIES = load_queries(__package__)


def roles_beside_its_own(conn: Connection) -> tuple[str, ...]:
    """Roles of the platform that the login of a connection as upstream_api could take instead, by name; none is as it should be."""
    return tuple(name for (name,) in conn.execute(QUERIES.roles_of_login).fetchall())
