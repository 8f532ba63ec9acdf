"""The `upstream` command: puts its parts together and turns errors into messages and exit codes."""

from __future__ import annotations

import os
import sys
import warnings

import typer

from upstream_pipelines import __version__
from upstream_pipelines.cli import (
    alert_life,
    alert_rules,
    alert_secrets,
    alerts,
    audit,
    customer_data,
    customers,
    drift,
    drift_events,
    drift_explain,
    ingest,
    keeping,
    people,
    platform,
    product_flags,
    reports,
    status,
    tokens,
    trace,
    uploads,
)
from upstream_pipelines.cli.output import err
from upstream_pipelines.errors import UpstreamError
from upstream_pipelines.observability.tracebacks import format_error

app = typer.Typer(
    name="upstream",
    help="Watches how insurance payers treat claims, and says when it changes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("up")(platform.up)
app.command("worker")(platform.worker)
app.command("api")(platform.api)
app.command("demo")(platform.demo)
app.command("migrate")(platform.migrate)
app.command("doctor")(platform.doctor)
app.command("env")(platform.env)
app.command("backup")(keeping.backup)
app.command("restore")(keeping.restore)
app.command("cleanup")(keeping.cleanup)
app.command("export")(customer_data.export)
app.command("upload")(uploads.upload)
app.command("uploads")(uploads.uploads)
app.command("trace")(trace.trace)
app.command("status")(status.status)
app.add_typer(ingest.app, name="ingest")
app.add_typer(drift.app, name="drift")
drift.app.command("list")(drift_events.list_)
drift.app.command("explain")(drift_explain.explain)
drift.app.command("lines")(drift_explain.lines)
drift.app.command("accept")(drift_events.accept)
drift.app.command("label")(drift_events.label)
drift.app.command("placebo")(drift_events.placebo)
app.add_typer(reports.app, name="reports")
app.add_typer(customers.app, name="customers")
customers.app.command("flags")(product_flags.flags)
customers.app.command("delete")(customer_data.delete)
app.add_typer(tokens.app, name="tokens")
app.add_typer(people.members, name="members")
app.add_typer(people.people, name="people")
app.command("audit")(audit.audit)
app.add_typer(alerts.app, name="alerts")
alerts.app.command("dry-run")(alert_rules.dry_run)
alerts.app.command("test")(alert_rules.try_channel)
alerts.app.command("silence")(alert_life.silence)
alerts.app.command("silences")(alert_life.silences)
alerts.app.command("unsilence")(alert_life.unsilence)
alerts.app.command("judge")(alert_life.judge)
alerts.app.command("rotate-secret")(alert_secrets.rotate_secret)


@app.callback(invoke_without_command=True)
def version(*, version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Entry point; an error of ours ends with its message and its own exit code."""
    # Uploads, logs and Dagster's files are for this account alone; child processes inherit it.
    os.umask(0o077)
    # Dagster warns of its own beta parameters while it loads; nobody at this command can act on that.
    warnings.filterwarnings("ignore", module=r"dagster\..*")
    try:
        app()
    except UpstreamError as error:
        err.print(f"[bold red]error[/] ({error.code}): ", end="")
        err.print(str(error), markup=False)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # noqa: BLE001  whatever it is, its message may quote a claim
        err.print("[bold red]unexpected error[/], told without its data; nothing half done was kept:")
        err.print(format_error(error), markup=False, soft_wrap=True)
        sys.exit(70)


if __name__ == "__main__":
    main()
