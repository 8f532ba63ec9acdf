"""Connections, roles, migrations, the embedded server, the loader of named SQL. Not here: a domain's queries."""
