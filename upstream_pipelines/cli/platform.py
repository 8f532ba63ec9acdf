"""`upstream up`, `worker`, `api`, `demo`, `migrate`, `doctor`, `env`. Not here: the processes themselves (supervisor.py)."""

from __future__ import annotations

import shlex
import signal
import time
from contextlib import ExitStack
from types import FrameType
from typing import Annotated, NoReturn

import typer
from rich.text import Text

from upstream_pipelines.cli.output import (
    Json,
    out,
    print_fields,
    print_json,
    print_table,
    progress,
    short_command_settings,
)
from upstream_pipelines.db.migrate import migrate as migrate_database
from upstream_pipelines.errors import ConfigurationError
from upstream_pipelines.observability.tracing import require_tracing
from upstream_pipelines.settings import read_settings


def up() -> None:
    """Run everything until stopped: database, migrations, API, Dagster webserver and daemon."""
    from upstream_pipelines.cli.supervisor import running_platform, sole_copy

    settings = read_settings()
    require_tracing(settings)  # here, where somebody reads it, and not by a process that does not come up
    signal.signal(signal.SIGTERM, _stop_as_by_keyboard)
    with ExitStack() as stack:
        stack.enter_context(sole_copy(settings))
        out.print("Preparing the database …")
        migrate_database(settings)
        platform = stack.enter_context(running_platform(settings, out.print))
        print_fields(
            "Upstream Pipelines is running; Ctrl-C stops it",
            {
                "Dagster UI": settings.ui_url,
                "HTTP API": f"http://{settings.api_host}:{settings.api_port}/api/v1/docs",
                "landing zone": settings.landing_root,
                "logs": settings.home / "logs",
            },
        )
        while True:
            time.sleep(1)
            platform.watch()


def _stop_as_by_keyboard(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def worker(
    processes: Annotated[int, typer.Option(min=1, max=64, help="Runs at a time; one a core is usual.")] = 2,
) -> None:
    """Take runs from Redis and do them, beside a platform on another machine (deploy/celery); until stopped."""
    try:
        from upstream_pipelines.defs.celery_runs import work
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{error.name} is not installed. Install the extra: pip install 'upstream-pipelines[celery]'."
        ) from None
    raise typer.Exit(work(read_settings(), processes))


def api() -> None:
    """Run the HTTP API alone, where Dagster's processes are run by something else (deploy/kubernetes); until stopped."""
    from upstream_pipelines.api.server import serve

    serve(read_settings())


def demo() -> None:
    """The whole path with seeded customers: files and webhook in, alerts out; a summary at the end."""
    from upstream_pipelines.demo.run import run_demo

    signal.signal(signal.SIGTERM, _stop_as_by_keyboard)
    if not run_demo(short_command_settings()):
        raise typer.Exit(1)


def migrate(*, json: Json = False) -> None:
    """Bring the database up to date: roles, Dagster's database, tables."""
    settings = short_command_settings()
    with progress("Migrating …", quiet=json):
        revision = migrate_database(settings)
    if json:
        print_json({"revision": revision})
    else:
        out.print(f"The database is at revision {revision}.")


def doctor(*, json: Json = False) -> None:
    """What is configured, what is reachable, and what to do about what is not."""
    from upstream_pipelines.cli.doctor import examine

    findings = examine(short_command_settings())
    if json:
        print_json([finding._asdict() for finding in findings])
    else:
        print_table(
            "Doctor",
            ("", "part", "what is", "what to do"),
            (
                ("ok" if item.ok else Text("not ok", style="red"), item.part, item.state, item.advice)
                for item in findings
            ),
        )
    if not all(item.ok for item in findings):
        raise typer.Exit(1)


def env() -> None:
    """Print the variables that Dagster's own tools need: eval "$(upstream env)"."""
    from upstream_pipelines.defs.home import dagster_environment

    for name, value in dagster_environment(short_command_settings()).items():
        typer.echo(f"export {name}={shlex.quote(value)}")
