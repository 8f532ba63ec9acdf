"""`upstream drift list, accept, label, placebo`: a customer's events, what people say of them, how far to trust them.

Not here: looks and explanations (drift.py).
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated

import typer

from upstream_pipelines.cli.drift import WORDS_OF_DIRECTION
from upstream_pipelines.cli.operator import acting, audited
from upstream_pipelines.cli.output import (
    Json,
    err,
    out,
    print_fields,
    print_json,
    print_table,
    progress,
    short_command_settings,
)
from upstream_pipelines.customers.audit import operator
from upstream_pipelines.customers.labels import days_to_label, label_days, unlabel_days
from upstream_pipelines.customers.models import Customer
from upstream_pipelines.customers.store import get_customer, lock_to_configure
from upstream_pipelines.db.engine import Connection, connect
from upstream_pipelines.db.migrate import prepare
from upstream_pipelines.drift.settings import LabelledDays
from upstream_pipelines.errors import ConfigurationError

Slug = Annotated[str, typer.Argument(help="The customer's slug.")]
Event = Annotated[str, typer.Argument(help="The event's id, or the beginning of it.")]


def list_(slug: Slug, *, json: Json = False) -> None:
    """A customer's events, the live ones first, and the false events measured on its own shuffled history."""
    from upstream_pipelines.drift.explanation import NAMES
    from upstream_pipelines.drift.placebo_store import published_rate
    from upstream_pipelines.drift.verdicts import list_events

    settings = short_command_settings()
    prepare(settings)
    with connect(settings, "upstream_pipeline") as conn:
        customer = get_customer(conn, slug)
        events = list_events(conn, customer.customer_id)
        rate = published_rate(conn, customer.customer_id, datetime.now(UTC).date())
    if json:
        print_json({"events": [vars(event) for event in events], "false_events": vars(rate)})
        return
    print_table(
        f"{customer.name}: events",
        ("event", "payer", "signal", "turn", "state", "cause", "since", "opened", "accepted", "resolved"),
        (
            (
                str(event.event_id)[:8], event.payer, NAMES[event.signal], WORDS_OF_DIRECTION[event.direction], event.state, event.cause,
                event.started_on, event.opened_on, event.accepted_on, event.resolved_on,
            )
            for event in events
        ),
    )  # fmt: skip
    out.print(f"False events on the customer's own shuffled history: {rate.text}.")


def accept(
    slug: Slug,
    event: Event,
    note: Annotated[str, typer.Option(help="Why, for those who come after.")] = "",
    *,
    json: Json = False,
) -> None:
    """Call an event the new normal: the next look resolves it, and the days before it leave the baseline."""
    from upstream_pipelines.drift.explanation import NAMES
    from upstream_pipelines.drift.verdicts import accept_event

    settings = short_command_settings()
    prepare(settings)
    today = datetime.now(UTC).date()
    with acting(settings) as conn:
        customer = get_customer(conn, slug)
        said = accept_event(
            conn, customer.customer_id, event, accepted_on=today, accepted_by=operator().name, note=note
        )
        if not said.before:
            audited(conn, customer, "drift_event.accepted", ("drift_event", said.event.event_id))
    if json:
        print_json(
            {
                **vars(said.event), "accepted_on": said.accepted_on, "note": said.note, "already": said.before,
                "resolved_from_look": said.first_look,
            }
        )  # fmt: skip
        return
    if said.before:
        kept = f"the note kept is: {said.note}" if said.note else "without a note"
        out.print(
            f"Already accepted on {said.accepted_on} by {said.accepted_by}, {kept}. Nothing is changed.",
            markup=False,
        )
    else:
        out.print(
            f"From {said.accepted_on} on, the {NAMES[said.event.signal]} of {said.event.payer} since {said.event.started_on} "
            "is the new normal.",
            markup=False,
        )
    out.print(_takes_effect(said.first_look, today, slug), markup=False)


def _takes_effect(first_look: date, today: date, slug: str) -> str:
    if first_look > today:
        return f"The event opened in today's look, so that the look of {first_look} is the first to resolve it."
    return f"The next look resolves it (`upstream drift {slug}` makes one now)."


def label(  # noqa: PLR0917  options, all given by name
    slug: Slug,
    text: Annotated[
        str | None, typer.Option("--label", help="What these days are, such as 'code-set release'.")
    ] = None,
    first: Annotated[str | None, typer.Option("--from", help="First day, YYYY-MM-DD.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last day, YYYY-MM-DD (default: the first).")] = None,
    payer: Annotated[list[str] | None, typer.Option(help="Only this payer; may be given again.")] = None,
    signal: Annotated[list[str] | None, typer.Option(help="Only this signal; may be given again.")] = None,
    event: Annotated[
        str | None, typer.Option(help="The days, payer and signal of this event (or the beginning of its id).")
    ] = None,
    remove: Annotated[str | None, typer.Option(help="Take the days of this label back.")] = None,
    *,
    incident: Annotated[
        bool, typer.Option("--incident", help="An incident, and not a date of the calendar.")
    ] = False,
    json: Json = False,
) -> None:
    """Label days that are unlike others: they belong to no baseline and no current period. Without options: list them."""
    span = {"--from": first, "--to": last, "--payer": payer, "--signal": signal}
    given = [name for name, value in {**span, "--label": text, "--incident": incident or None}.items() if value]
    if remove is not None and (event is not None or given):
        raise ConfigurationError("--remove takes a label back and goes with no other option.")
    if event is not None and any(value is not None for value in span.values()):
        raise ConfigurationError(
            "--event takes the days, payer and signal from the event: leave --from, --to, --payer and --signal out, "
            "or leave --event out."
        )
    settings = short_command_settings()
    prepare(settings)
    with acting(settings) as conn:
        customer = lock_to_configure(conn, slug)
        calendar = customer.configuration.drift.calendar
        changed = remove is not None or event is not None or bool(given)
        if remove is not None:
            calendar = unlabel_days(conn, customer, remove)
        elif event is not None:
            calendar = label_days(conn, customer, _of_event(conn, customer, event, text, incident=incident))
        elif given:
            made = days_to_label(
                {
                    "label": text, "kind": "incident" if incident else "calendar", "first_day": first,
                    "last_day": last or first, "payers": tuple(payer) if payer else None,
                    "signals": tuple(signal) if signal else None,
                }
            )  # fmt: skip
            calendar = label_days(conn, customer, made)
            _warn_of_unknown(conn, customer, made)
        if changed:
            audited(conn, customer, "days.labelled", ("customer", customer.slug), labels=len(calendar))
    if json:
        print_json([days.model_dump(mode="json") for days in calendar])
        return
    print_table(
        f"{customer.name}: labelled days",
        ("label", "kind", "from", "to", "payers", "signals"),
        (
            (
                days.label, days.kind, days.first_day, days.last_day, ", ".join(days.payers or ("all",)),
                ", ".join(days.signals or ("all",)),
            )
            for days in calendar
        ),
    )  # fmt: skip
    if changed:
        out.print(f"The next look goes by this (`upstream drift {slug}` makes one now).", markup=False)


def _warn_of_unknown(conn: Connection, customer: Customer, made: LabelledDays) -> None:
    from upstream_pipelines.drift.verdicts import unknown_payers

    unknown = unknown_payers(conn, customer.customer_id, made.payers or ())
    if unknown:
        err.print(
            f"No claims bear the name {' or '.join(repr(name) for name in unknown)}: the label is stored, and means "
            "nothing until some do. Names are those of the looks, after payer_aliases.",
            markup=False,
        )


def _of_event(
    conn: Connection, customer: Customer, event: str, text: str | None, *, incident: bool
) -> LabelledDays:
    from upstream_pipelines.drift.verdicts import kept_event

    kept = kept_event(conn, customer.customer_id, event)
    return days_to_label(
        {
            "label": f"event {str(kept.event_id)[:8]}" if text is None else text,
            "kind": "incident" if incident else "calendar", "first_day": kept.started_on,
            "last_day": kept.resolved_on or max(datetime.now(UTC).date(), kept.started_on), "payers": (kept.payer,),
            "signals": (kept.signal,),
        }
    )  # fmt: skip


def placebo(
    slug: Slug,
    night: Annotated[
        str | None, typer.Option(help="Day of the measurement, YYYY-MM-DD (default: today, UTC).")
    ] = None,
    looks: Annotated[int, typer.Option(min=14, max=730, help="Daily looks to make.")] = 91,
    *,
    json: Json = False,
) -> None:
    """Measure false events on reshuffles of the customer's one history now, as the nightly job does."""
    from upstream_pipelines.drift.placebo_store import measure, published_rate

    try:
        day = date.fromisoformat(night) if night else datetime.now(UTC).date()
    except ValueError:
        raise ConfigurationError(f"{night} is no day. Write days as YYYY-MM-DD.") from None
    settings = short_command_settings()
    prepare(settings)
    with connect(settings, "upstream_pipeline") as conn:
        customer = get_customer(conn, slug)
        drift = customer.configuration.drift
        audited(conn, customer, "placebo.requested", ("customer", slug), night=str(day), looks=looks)
        with progress(f"Looking {looks} times at a shuffled history …", quiet=json):
            result = measure(conn, customer.customer_id, drift, day, looks)
        rate = published_rate(conn, customer.customer_id, day)
    if json:
        print_json({"measured_on": day, **vars(result), "published": vars(rate)})
        return
    print_fields(
        f"{customer.name}: false events where nothing can have changed",
        {
            "opened now": f"{result.events} in {result.looks} daily looks over {result.days} shuffled days",
            "last 90 days": rate.text,
            "budget a year": drift.false_events_per_year,
        },
    )
