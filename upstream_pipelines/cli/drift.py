"""`upstream drift`: looks at one customer's payers, today or on past days."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

import typer

from upstream_pipelines.cli.operator import audited
from upstream_pipelines.cli.output import Json, out, print_json, print_table, progress, short_command_settings
from upstream_pipelines.customers.flags import require
from upstream_pipelines.customers.store import get_customer
from upstream_pipelines.db.engine import connect
from upstream_pipelines.db.migrate import prepare
from upstream_pipelines.errors import ConfigurationError, ConflictError
from upstream_pipelines.observability.tracing import configure_tracing

_COLUMNS = (
    "as_of", "event_id", "payer", "cpt_group", "signal", "direction", "state", "baseline", "current", "effect",
    "p_value", "q_value", "severity", "n_baseline", "n_current", "maturity", "cause", "detail",
)  # fmt: skip

_HEADERS = (
    "day", "event", "payer", "signal", "turn", "state", "cause", "before", "now", "a month", "since", "q", "decided",
)  # fmt: skip

WORDS_OF_DIRECTION = {"worsening": "worse", "improving": "better", "unclear": "not clear"}

Slug = Annotated[str, typer.Argument(help="The customer's slug.")]


class _LookByDefault(typer.core.TyperGroup):
    """`upstream drift acme` is `upstream drift look acme`: what is done daily is short."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["look", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_LookByDefault,
    help="Looks at payers, and the events found. `upstream drift SLUG` is short for `upstream drift look SLUG`.",
    no_args_is_help=True,
)


@app.command()
def look(
    slug: Slug,
    as_of: Annotated[str | None, typer.Option(help="Day of the look, YYYY-MM-DD (default: today, UTC).")] = None,
    first: Annotated[str | None, typer.Option("--from", help="First day of daily looks, YYYY-MM-DD.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last day of daily looks, YYYY-MM-DD.")] = None,
    *,
    json: Json = False,
) -> None:
    """Look for changed payers; with --from and --to once for each day, as production would have."""
    import dagster as dg

    from upstream_pipelines.defs.drift_assets import look_at, look_days, metadata_of
    from upstream_pipelines.defs.home import dagster_instance
    from upstream_pipelines.drift.counting import refresh_activity
    from upstream_pipelines.drift.explanation import NAMES
    from upstream_pipelines.drift.shortage import unwatched_text
    from upstream_pipelines.drift.verdicts import list_events

    if as_of is not None and (first is not None or last is not None):
        raise ConfigurationError("Give --as-of for one look, or --from and --to for daily ones; not both.")
    if first is None and last is not None:
        raise ConfigurationError("--to needs --from: the first of the days to look at.")
    days = look_days(last or as_of, first)
    settings = short_command_settings()
    configure_tracing(settings)
    prepare(settings)
    with connect(settings, "upstream_pipeline") as conn:
        customer = get_customer(conn, slug)
        if customer.status != "active":
            raise ConflictError(
                f"Customer {slug} is disabled. `upstream customers enable {slug}` takes it up again."
            )
        require(conn, customer, "drift")
        audited(conn, customer, "look.requested", ("customer", slug), first=str(days[0]), last=str(days[-1]))
        with progress(f"Looking at {len(days)} day{'s' if len(days) > 1 else ''} …", quiet=json):
            refresh_activity(conn, customer.customer_id)
            made = look_at(conn, settings, customer, days)
            metadata = metadata_of(conn, customer, made)
        events_kept = list_events(conn, customer.customer_id)
        accepted = [one for one in events_kept if one.accepted_on is not None and one.state != "resolved"]
    with dagster_instance(settings) as instance:
        instance.report_runless_asset_event(
            dg.AssetMaterialization(asset_key="payer_drift", partition=slug, metadata=metadata)
        )
    rows = [_plain(row) for row in made.rows.to_dict("records")]
    if json:
        print_json(rows)
        return
    events = [row for row in rows if row["state"] != "not_enough_data"]
    shown = [row for row in events if row["state"] in {"open", "resolved"} or row["as_of"] == str(days[-1])]
    if shown:
        first_column = 0 if len(days) > 1 else 1  # the day of one look stands in the title
        print_table(
            f"{customer.name}: {len(days)} look{'s' if len(days) > 1 else ''} up to {days[-1]}",
            _HEADERS[first_column:],
            (_told(row, made.kept)[first_column:] for row in shown),
        )
        if any(row["event_id"] is not None and row["event_id"] not in made.kept for row in shown):
            out.print("(past): found by looks back only. No such event is kept, and nobody is told of it.")
        for event in accepted:
            out.print(
                f"Event {str(event.event_id)[:8]} ({event.payer}, {NAMES[event.signal]}) was accepted as the new normal on "
                f"{event.accepted_on}: a look after the day it opened resolves it."
            )
    elif made.figures.empty:
        out.print(f"{customer.name} has no claims before {days[-1]} yet.")
    else:
        out.print("No payer's behaviour has changed.")
    thin = {
        (row["payer"], row["signal"])
        for row in rows
        if row["state"] == "not_enough_data" and row["as_of"] == str(days[-1])
    }
    if thin:
        out.print(_thin_text(len(thin), days[-1]))
    if made.unwatched:
        out.print(unwatched_text(made.unwatched))
    if made.alerts:
        out.print(_waiting_text(made.alerts, slug))


def _thin_text(pairs: int, day: date) -> str:
    count = "1 pair of payer and signal has" if pairs == 1 else f"{pairs:,} pairs of payer and signal have"
    return f"{count} not enough data on {day}; --json has what is missing."


def _waiting_text(alerts: int, slug: str) -> str:
    count, them = ("1 alert waits", "it") if alerts == 1 else (f"{alerts:,} alerts wait", "them")
    return f"{count} in the outbox; `upstream alerts deliver {slug}` sends {them} now."


def _told(row: dict[str, Any], kept: frozenset[str]) -> tuple[Any, ...]:
    """A row of a look for the table, which is to be read at 140 columns. `kept`: the ids that can be asked for."""
    from upstream_pipelines.drift.explanation import NAMES, WAITS_FOR, is_over
    from upstream_pipelines.drift.settings import RATE_SIGNALS
    from upstream_pipelines.drift.units import (
        brief_figure,
        brief_money,
        chance_text,
        complete_text,
        direction_text,
        short_day,
    )

    signal, detail, state, over = row["signal"], row["detail"], row["state"], is_over(row)
    if state == "watch" and detail.get("waits_for") in WAITS_FOR:
        state = f"watch, for {WAITS_FOR[detail['waits_for']]}"
    return (
        short_day(row["as_of"]),
        None if row["event_id"] is None else row["event_id"][:8] if row["event_id"] in kept else "(past)",
        row["payer"],
        NAMES[signal],
        WORDS_OF_DIRECTION.get(direction_text(row), "not clear"),
        state,
        row["cause"],
        brief_figure(signal, row["baseline"]),
        brief_figure(signal, row["current"]),
        # A change of the data costs nobody anything, and the days that deny a change say nothing of how sure it was.
        None if row["cause"] == "data" or over else brief_money(detail.get("money")),
        short_day(detail["change_date"]) if detail.get("change_date") else None,
        None if over else chance_text(row["q_value"]),
        complete_text(signal, row["maturity"]) if signal in RATE_SIGNALS else None,
    )


def _plain(row: dict[Any, Any]) -> dict[str, Any]:
    import pandas as pd

    def value(item: Any) -> Any:
        if isinstance(item, dict):
            return {key: value(part) for key, part in item.items()}
        if isinstance(item, (list, tuple)):
            return [value(part) for part in item]
        if item is None or item is pd.NaT or (not isinstance(item, str) and pd.isna(item)):
            return None
        if hasattr(item, "item"):
            return value(item.item())
        if isinstance(item, float) and item in {float("inf"), float("-inf")}:
            return None
        return (
            item
            if isinstance(item, (int, float, str, bool))
            else str(item)[:10]
            if hasattr(item, "year")
            else str(item)
        )

    return {name: value(row.get(name)) for name in _COLUMNS}
