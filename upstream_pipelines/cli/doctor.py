"""What `upstream doctor` examines, each part with what to do about it. Not here: printing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import NamedTuple

import requests
from upath import UPath

from upstream_pipelines.alerts.life import minute
from upstream_pipelines.alerts.overview import OutboxHealth, outbox_health
from upstream_pipelines.alerts.store import email_channels
from upstream_pipelines.cli.supervisor import runs_here
from upstream_pipelines.customers.store import list_customers
from upstream_pipelines.db.engine import connect, database_url
from upstream_pipelines.db.migrate import require_current
from upstream_pipelines.defs.daemon_health import DaemonHealth, daemon_health
from upstream_pipelines.defs.home import most_work_at_once
from upstream_pipelines.delivery.outcome import NotSetUpError
from upstream_pipelines.delivery.probe import check_smtp
from upstream_pipelines.errors import UpstreamError
from upstream_pipelines.observability.tracing import try_collector
from upstream_pipelines.operations.api_login import roles_beside_its_own
from upstream_pipelines.settings import Settings

# Below this a day of uploads and Dagster's own logs may fill the disk.
_FREE_GIB = 2
# A delivery run is asked for every 5 s and takes a few to start; one at work may keep the others a while.
_DUE_FOR = timedelta(minutes=10)
# The daemon says that it lives every 30 s.
_BEAT_WITHIN = timedelta(minutes=3)
_BEAT_SURE = timedelta(minutes=1)
_NOT_RUNNING = "not running"
_ANSWERS_WITHIN = 3  # seconds


class Finding(NamedTuple):
    """One part: is it well, what is there, what to do; of a part that is well the last is advice, and no failure."""

    ok: bool
    part: str
    state: str
    advice: str


class _NotWellError(Exception):
    """A part that works and says that something is wrong: what is there, what to do."""

    def __init__(self, state: str, advice: str) -> None:
        super().__init__(f"{state}. {advice}")
        self.state, self.advice = state, advice


def examine(settings: Settings) -> list[Finding]:
    """Look at every part that can be wrong; never raises for one that is."""
    up = runs_here(settings)
    ui = _answering("Dagster UI", f"http://{settings.ui_host}:{settings.ui_port}/server_info", up=up)
    dagster = cache(lambda: daemon_health(settings))  # opens Dagster's storage: once for both
    counters = (
        [_part("rate limits", lambda: _counters(settings))] if settings.rate_limit_storage is not None else []
    )
    traces = [_part("traces", lambda: _traces(settings))] if settings.otlp_endpoint is not None else []
    workers = [_part("workers", lambda: _workers(settings))] if settings.celery_broker_url is not None else []
    return [
        _part("database", lambda: _database(settings)),
        _part("login of the API", lambda: _api_login(settings)),
        _part("landing zone", lambda: _landing(settings)),
        _part("disk", lambda: _disk(settings)),
        _part("e-mail", lambda: _email(settings)),
        _part("alert channels", lambda: _channels(settings)),
        _part("dead deliveries", lambda: _dead(settings)),
        _part("due deliveries", lambda: _due(settings)),
        _answering("HTTP API", f"http://{settings.api_host}:{settings.api_port}/health", up=up),
        ui,
        _part("daemon", lambda: _daemon(dagster(), ui_runs=up or ui.state != _NOT_RUNNING)),
        _part("sensors", lambda: _sensors(dagster())),
        *workers,
        *counters,
        *traces,
    ]


def _part(part: str, examine_part: Callable[[], tuple[str, str]]) -> Finding:
    try:
        state, advice = examine_part()
    except _NotWellError as error:
        return Finding(False, part, error.state, error.advice)
    except (UpstreamError, OSError) as error:
        state = error.code.replace("_", " ") if isinstance(error, UpstreamError) else "cannot be used"
        return Finding(False, part, state, str(error))
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


def _api_login(settings: Settings) -> tuple[str, str]:
    with connect(settings, "upstream_api") as conn:
        others = roles_beside_its_own(conn)
    if not others:
        return "may be upstream_api and nothing else", ""
    may = f"may become {' and '.join(others)} as well"
    if settings.api_database_url is not None:
        raise _NotWellError(
            f"that of UPSTREAM_API_DATABASE_URL {may}",
            f"REVOKE {', '.join(others)} from it, or name a login that is a member of upstream_api alone.",
        )
    if settings.database_url is None:
        return (
            f"that of the embedded server, which {may}",
            "Where others reach the API, use a PostgreSQL of your own and UPSTREAM_API_DATABASE_URL.",
        )
    return (
        f"that of UPSTREAM_DATABASE_URL, which {may}",
        "CREATE ROLE NAME LOGIN PASSWORD '...'; GRANT upstream_api TO NAME; and set UPSTREAM_API_DATABASE_URL to it where the API runs.",
    )


def _traces(settings: Settings) -> tuple[str, str]:
    address, status, trouble = try_collector(settings)
    if not status:
        raise _NotWellError(
            f"nothing answers at {address} ({trouble}); spans are lost, the work goes on",
            "Start the collector, put UPSTREAM_OTLP_ENDPOINT right, or leave it out.",
        )
    if status in {401, 403}:
        raise _NotWellError(
            f"what answers at {address} lets nobody in ({status}); spans are lost, the work goes on",
            "Put the header that it wants into OTEL_EXPORTER_OTLP_HEADERS.",
        )
    if not 200 <= status < 300:
        raise _NotWellError(
            f"what answers at {address} takes no spans ({status}); spans are lost, the work goes on",
            "Put UPSTREAM_OTLP_ENDPOINT right: the address of a collector that takes OTLP over HTTP, usually at port 4318. If it is, "
            "look at the collector's log.",
        )
    return f"a collector takes spans at {address}", ""


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
        raise _NotWellError(f"{free:.1f} GiB free where {settings.home} is", "Make room, or move UPSTREAM_HOME.")
    return f"{free:.0f} GiB free", ""


def _email(settings: Settings) -> tuple[str, str]:
    if settings.smtp_host is None:
        with connect(settings, "upstream_pipeline") as conn:
            wanted = email_channels(conn)
        if wanted:
            raise _NotWellError(
                f"{wanted} e-mail channels wait for a mail server",
                "Set UPSTREAM_SMTP_HOST and UPSTREAM_SMTP_FROM.",
            )
        return (
            "not configured, and no channel needs it",
            "Set UPSTREAM_SMTP_HOST and UPSTREAM_SMTP_FROM to use it.",
        )
    try:
        return check_smtp(settings), ""
    except NotSetUpError as error:
        raise _NotWellError("the mail server cannot be used", str(error)) from None


def _counters(settings: Settings) -> tuple[str, str]:
    from upstream_pipelines.api.rate_limits import RateLimits  # FastAPI, which the rest needs none of

    if not RateLimits(settings).storage_answers():
        raise _NotWellError(
            "the Redis that counts requests does not answer; the API serves nothing",
            "Start it, or put UPSTREAM_RATE_LIMIT_STORAGE right.",
        )
    return "the Redis that counts requests answers", ""


def _workers(settings: Settings) -> tuple[str, str]:
    from upstream_pipelines.defs.celery_runs import answering_processes  # Celery is an extra

    count, work = answering_processes(settings), most_work_at_once(settings)
    if not count:
        raise _NotWellError("no Celery worker answers; runs wait", "Start `upstream worker`.")
    if count <= work:
        raise _NotWellError(
            f"{count} processes of Celery workers answer, and {work} runs of work may be at once",
            "Alerts may wait for them. Start more workers, or set the limit of upstream/work in UPSTREAM_DAGSTER_OVERRIDES to one less.",
        )
    return f"{count} processes of Celery workers answer", ""


def _health(settings: Settings) -> OutboxHealth:
    with connect(settings, "upstream_pipeline") as conn:
        return outbox_health(conn, datetime.now(UTC))


def _channels(settings: Settings) -> tuple[str, str]:
    health = _health(settings)
    if health.switched_off:
        raise _NotWellError(
            f"switched off because their receivers failed: {', '.join(health.switched_off)}",
            "Put the receiver right, `upstream alerts enable SLUG CHANNEL`, then `upstream alerts test SLUG CHANNEL`.",
        )
    if health.failing:
        failing = ", ".join(f"{channel} since {minute(since)}" for channel, since in health.failing)
        raise _NotWellError(
            f"receivers fail: {failing}",
            "`upstream alerts list SLUG` says how, and when each message is tried next; `upstream alerts test SLUG CHANNEL` "
            "tries at once.",
        )
    return "no receiver fails", ""


def _dead(settings: Settings) -> tuple[str, str]:
    health = _health(settings)
    if health.dead:
        raise _NotWellError(
            f"{health.dead} messages of the last week were given up, of {', '.join(health.dead_of)}",
            "`upstream alerts list SLUG --state failed` says why, `upstream alerts resend SLUG DELIVERY` sends one again, with "
            "--channel NAME all of a channel.",
        )
    return "none in the last week", ""


def _due(settings: Settings) -> tuple[str, str]:
    health = _health(settings)
    if health.oldest_due is None:
        return "none waits", ""
    waits = datetime.now(UTC) - health.oldest_due
    said = f"{health.due} are due, the oldest for {_span(waits)}"
    if waits > _DUE_FOR:
        raise _NotWellError(
            f"{said}: nothing sends them",
            "`upstream up` runs what does; if it runs, look at the job deliver_alerts in the "
            "Dagster UI. `upstream alerts deliver SLUG` sends a customer's at once.",
        )
    return said, ""


def _daemon(health: DaemonHealth, *, ui_runs: bool) -> tuple[str, str]:
    if health.last_beat is None or datetime.now(UTC) - health.last_beat > _BEAT_WITHIN:
        heard = f"last heard of {health.last_beat:%Y-%m-%d %H:%M} UTC" if health.last_beat else "never heard of"
        if ui_runs:
            raise _NotWellError(
                f"does not run ({heard}), though the platform does: nothing is read, looked at or sent",
                "Start `upstream up` again; its logs are in the home folder.",
            )
        return f"{_NOT_RUNNING}, {heard}", "`upstream up` starts it."
    if health.failing:
        raise _NotWellError(
            f"parts of it report errors: {', '.join(health.failing)}",
            "The Dagster UI shows them under Deployment, Daemons.",
        )
    silent = datetime.now(UTC) - health.last_beat
    if not ui_runs:
        # The demonstration and a stopped `upstream up` leave a beat that is seconds old, and nothing that reads files; but the UI
        # may run on another machine.
        return (
            f"heard of {_span(silent)} ago; if it runs beside the UI, which does not, it has just ended",
            "`upstream up` starts both.",
        )
    if silent > _BEAT_SURE:
        return f"last heard of {_span(silent)} ago: busy, or just ended", ""
    return f"runs, heard of {_span(silent)} ago", ""


def _sensors(health: DaemonHealth) -> tuple[str, str]:
    if health.stopped:
        raise _NotWellError(
            f"switched off in the Dagster UI: {', '.join(health.stopped)}",
            "What they do is not done. Switch them on under Automation.",
        )
    return "sensors and schedules are on", ""


def _span(time: timedelta) -> str:
    seconds = max(int(time.total_seconds()), 0)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _answering(part: str, url: str, *, up: bool) -> Finding:
    """`up`: the platform runs on this machine, and with it what is asked."""
    try:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get(url, timeout=_ANSWERS_WITHIN)
    except requests.ReadTimeout:
        return Finding(
            True, part, f"does not answer at {url} within {_ANSWERS_WITHIN} s", "It may be busy. Ask again."
        )
    except requests.RequestException:
        if up:
            return Finding(
                False,
                part,
                f"does not answer at {url}, though `upstream up` runs",
                "It may still be starting: ask again in half a minute. Then read the logs in the home folder.",
            )
        return Finding(True, part, _NOT_RUNNING, "`upstream up` starts it.")
    if answer.ok:
        return Finding(True, part, f"answers at {url}", "")
    return Finding(False, part, f"answers {answer.status_code} at {url}", "Read the logs in the home folder.")
