"""What `upstream doctor` examines, each part with what to do about it. Not here: printing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import NamedTuple

import requests
from upath import UPath

from upstream_pipelines.alerts.store import email_channels
from upstream_pipelines.customers.store import list_customers
from upstream_pipelines.db.engine import connect, database_url
from upstream_pipelines.db.migrate import require_current
from upstream_pipelines.delivery.probe import check_smtp
from upstream_pipelines.errors import ConfigurationError, UpstreamError
from upstream_pipelines.settings import Settings

# Below this a day of uploads and Dagster's own logs may fill the disk.
_FREE_GIB = 2


class Finding(NamedTuple):
    """One part: is it well, what is there, what to do."""

    ok: bool
    part: str
    state: str
    advice: str


def examine(settings: Settings) -> list[Finding]:
    """Look at every part that can be wrong; never raises for one that is."""
    return [
        _part("database", lambda: _database(settings)),
        _part("landing zone", lambda: _landing(settings)),
        _part("disk", lambda: _disk(settings)),
        _part("e-mail", lambda: _email(settings)),
        _answering("HTTP API", f"http://{settings.api_host}:{settings.api_port}/health"),
        _answering("Dagster UI", f"http://{settings.ui_host}:{settings.ui_port}/server_info"),
    ]


def _part(part: str, examine_part: Callable[[], tuple[str, str]]) -> Finding:
    try:
        state, advice = examine_part()
    except (UpstreamError, OSError) as error:
        return Finding(False, part, type(error).__name__, str(error))
    return Finding(True, part, state, advice)


def _database(settings: Settings) -> tuple[str, str]:
    require_current(settings)
    with connect(settings, "upstream_pipeline") as conn:
        customers = len(list_customers(conn))
    with connect(settings, "upstream_api") as conn:
        conn.execute("SELECT 1")
    which = "embedded" if settings.database_url is None else "your own"
    where = database_url(settings).set(password=None, query={}).render_as_string()
    return f"{which}, {where}, schema current, {customers} customers", ""


def _landing(settings: Settings) -> tuple[str, str]:
    root = UPath(settings.landing_root)
    root.mkdir(parents=True, exist_ok=True)
    probe = root / ".doctor"
    probe.write_bytes(b"ok")
    probe.unlink()
    return f"{root} can be written", ""


def _disk(settings: Settings) -> tuple[str, str]:
    free = shutil.disk_usage(settings.home).free / 2**30
    if free < _FREE_GIB:
        raise OSError(f"{free:.1f} GiB free where {settings.home} is; make room or move UPSTREAM_HOME.")
    return f"{free:.0f} GiB free", ""


def _email(settings: Settings) -> tuple[str, str]:
    if settings.smtp_host is None:
        with connect(settings, "upstream_pipeline") as conn:
            wanted = email_channels(conn)
        if wanted:
            raise ConfigurationError(
                f"{wanted} e-mail channels wait for a mail server. Set UPSTREAM_SMTP_HOST and UPSTREAM_SMTP_FROM."
            )
        return (
            "not configured, and no channel needs it",
            "Set UPSTREAM_SMTP_HOST and UPSTREAM_SMTP_FROM to use it.",
        )
    return check_smtp(settings), ""


def _answering(part: str, url: str) -> Finding:
    try:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get(url, timeout=3)
    except requests.RequestException:
        return Finding(True, part, "not running", "`upstream up` starts it.")
    if answer.ok:
        return Finding(True, part, f"answers at {url}", "")
    return Finding(False, part, f"answers {answer.status_code} at {url}", "Read the logs in the home folder.")
