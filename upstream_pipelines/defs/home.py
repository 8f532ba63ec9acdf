"""Dagster's home folder and environment: what must be set before Dagster's own processes can start.

Belongs here: DAGSTER_HOME, the variables that dagster.yaml names. Not here: assets, jobs, sensors.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import dagster as dg
import yaml

import upstream_pipelines
from upstream_pipelines.db.engine import database_url
from upstream_pipelines.db.migrate import dagster_url
from upstream_pipelines.errors import ConfigurationError
from upstream_pipelines.settings import Settings

PROJECT_ROOT = Path(upstream_pipelines.__file__).resolve().parent.parent

# libpq reads these itself, in psycopg and psycopg2 alike: how TLS settings of the URL reach Dagster's storage.
_LIBPQ = {
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
}


def project_file(name: str) -> Path:
    """A file of the project's top level (dagster.yaml, workspace.yaml).

    Raises:
        ConfigurationError: the package was installed without the project around it.
    """
    path = PROJECT_ROOT / name
    if not path.exists():
        raise ConfigurationError(
            f"{name} is not at {PROJECT_ROOT}. Run from a checkout of the project (make setup installs it so)."
        )
    return path


def dagster_configuration(settings: Settings) -> str:
    """The text of dagster.yaml: the project's, with the sections of `UPSTREAM_DAGSTER_OVERRIDES` in place of its own.

    Raises:
        ConfigurationError: that file cannot be read, or is no mapping of sections.
    """
    own = project_file("dagster.yaml").read_text()
    if settings.dagster_overrides is None:
        return own
    path = settings.dagster_overrides.expanduser()
    try:
        sections = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigurationError(
            f"UPSTREAM_DAGSTER_OVERRIDES: {path} cannot be read ({type(error).__name__}). Name a YAML file with sections "
            "of dagster.yaml, such as deploy/celery/dagster.yaml."
        ) from None
    if not isinstance(sections, dict):
        raise ConfigurationError(
            f"UPSTREAM_DAGSTER_OVERRIDES: {path} holds no sections. Write them as in deploy/celery/dagster.yaml."
        )
    return yaml.safe_dump({**yaml.safe_load(own), **sections}, sort_keys=False)


def most_work_at_once(settings: Settings) -> int:
    """How many runs that are no delivery may be at once, by dagster.yaml; 0 where it sets no limit."""
    runs = yaml.safe_load(dagster_configuration(settings))["concurrency"]["runs"]
    limits = (each["limit"] for each in runs["tag_concurrency_limits"] if each["key"] == "upstream/work")
    return int(next(limits, 0))


def dagster_environment(settings: Settings) -> dict[str, str]:
    """Variables for Dagster's processes and for code they run; makes DAGSTER_HOME.

    The product's own URL is among them, so that no child starts or stops the embedded server.
    """
    home = settings.home.expanduser().resolve() / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    (home / "dagster.yaml").write_text(dagster_configuration(settings))
    url = dagster_url(settings)
    environment = {
        "DAGSTER_HOME": str(home),
        "UPSTREAM_HOME": str(settings.home.expanduser().resolve()),
        "UPSTREAM_LANDING_ZONE": settings.landing_root,
        "UPSTREAM_DATABASE_URL": database_url(settings).render_as_string(hide_password=False),
        # Dagster writes the server's local time and reads it as UTC.
        "PGTZ": "UTC",
        "UPSTREAM_DAGSTER_PG_HOST": url.host or "",
        "UPSTREAM_DAGSTER_PG_PORT": str(url.port or 5432),
        "UPSTREAM_DAGSTER_PG_USER": url.username or "",
        "UPSTREAM_DAGSTER_PG_PASSWORD": str(url.password or ""),
        "UPSTREAM_DAGSTER_PG_DATABASE": settings.dagster_database_name,
    }
    if settings.celery_broker_url is not None:
        environment["UPSTREAM_CELERY_BROKER_URL"] = settings.celery_broker_url.get_secret_value()
    environment |= {variable: cast(str, url.query[name]) for name, variable in _LIBPQ.items() if name in url.query}
    return environment


@contextmanager
def dagster_instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """Dagster's instance of the home folder, in this process; its environment stays set until the process ends."""
    os.environ.update(dagster_environment(settings))
    with dg.DagsterInstance.get() as instance:
        yield instance
