"""`upstream alerts silence`, `silences`, `unsilence`, `judge`: what people say about alerts. Not here: lists, sending."""

from __future__ import annotations

import getpass
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated, get_args

import typer

from upstream_pipelines.alerts import feedback
from upstream_pipelines.alerts.life import minute
from upstream_pipelines.alerts.rules import Signal
from upstream_pipelines.cli.operator import acting, audited
from upstream_pipelines.cli.output import Json, err, out, print_json, print_table, short_command_settings
from upstream_pipelines.customers.store import get_customer
from upstream_pipelines.db.engine import Connection, connect
from upstream_pipelines.db.migrate import prepare
from upstream_pipelines.errors import ConfigurationError

Slug = Annotated[str, typer.Argument(help="The customer's slug.")]
_MOST_HOURS = 24 * 366
_TOO_MANY_DOLLARS = 10**12


def silence(  # noqa: PLR0917  options, all given by name
    slug: Slug,
    alert: Annotated[
        str | None, typer.Argument(help="Id of an alert, or its beginning: the same trouble is silenced.")
    ] = None,
    payer: Annotated[str | None, typer.Option(help="All of this payer.")] = None,
    signal: Annotated[
        str | None, typer.Option(help="All of this signal; with --payer of that payer only.")
    ] = None,
    hours: Annotated[float | None, typer.Option(help="For so many hours.")] = None,
    until: Annotated[str | None, typer.Option(help="Until then, UTC: YYYY-MM-DD or YYYY-MM-DDTHH:MM.")] = None,
    reason: Annotated[str, typer.Option(help="Why, for those who miss the alerts.")] = "",
    *,
    json: Json = False,
) -> None:
    """Hold alerts back for a time; one that grows a step worse breaks through, and what is still open is told after it."""
    if signal is not None and signal not in get_args(Signal):
        raise ConfigurationError(f"There is no signal {signal}. Signals: {', '.join(get_args(Signal))}.")
    settings = short_command_settings()
    prepare(settings)
    now = datetime.now(UTC)
    with acting(settings) as conn:
        customer = get_customer(conn, slug)
        kept = feedback.silence(
            conn, customer.customer_id, alert=alert, payer=payer, signal=signal, ends_at=_end(now, hours, until),
            reason=reason, created_by=getpass.getuser(), now=now,
        )  # fmt: skip
        audited(conn, customer, "silence.made", ("silence", kept.silence_id), until=kept.ends_at.isoformat())
        unknown = _unknown_payer(conn, customer.customer_id, payer)
    if unknown:
        err.print(
            f"{slug} has no claims of a payer {payer}; nothing is silenced by that name so far.", markup=False
        )
    if json:
        print_json(asdict(kept))
        return
    out.print(
        f"Silenced until {minute(kept.ends_at)}: {kept.about}. "
        f"`upstream alerts unsilence {slug} {str(kept.silence_id)[:8]}` ends it before."
    )


def silences(slug: Slug, *, json: Json = False) -> None:
    """The silences that hold now."""
    settings = short_command_settings()
    prepare(settings)
    with connect(settings, "upstream_pipeline") as conn:
        found = feedback.silences(conn, get_customer(conn, slug).customer_id)
    if json:
        print_json([asdict(one) for one in found])
        return
    if not found:
        out.print(f"Nothing is silenced for {slug}.")
        return
    print_table(
        f"Silences of {slug}",
        ("id", "about", "until", "by", "since", "reason"),
        (
            (
                str(one.silence_id)[:8], one.about, minute(one.ends_at), one.created_by, minute(one.created_at),
                one.reason or None,
            )
            for one in found
        ),
    )  # fmt: skip


def unsilence(
    slug: Slug,
    silence_id: Annotated[str, typer.Argument(metavar="SILENCE", help="Its id, or the beginning of it.")],
) -> None:
    """End a silence before its time; what it held back is told if it is still open."""
    settings = short_command_settings()
    prepare(settings)
    with acting(settings) as conn:
        customer = get_customer(conn, slug)
        lifted = feedback.lift_silence(conn, customer.customer_id, silence_id)
        audited(conn, customer, "silence.ended", ("silence", lifted.silence_id))
    out.print(
        f"No longer silenced: {lifted.about}. What it held back is decided over again with the next delivery."
    )


def judge(
    slug: Slug,
    alert: Annotated[str, typer.Argument(help="Id of the alert, or its beginning.")],
    judgement: Annotated[str, typer.Argument(help="noise, real or needs_follow_up.")],
    recovered: Annotated[str | None, typer.Option(help="Dollars that were recovered; with real only.")] = None,
    note: Annotated[str, typer.Option(help="A short note; nothing about a patient.")] = "",
    *,
    json: Json = False,
) -> None:
    """Say what an alert was worth: two times noise within 30 days hold the same trouble back, unless it grows worse."""
    known: dict[str, feedback.Judgement] = {name: name for name in get_args(feedback.Judgement)}
    word = known.get(judgement.replace("-", "_"))
    if word is None:
        raise ConfigurationError(f"There is no judgement {judgement}. Write one of {', '.join(known)}.")
    settings = short_command_settings()
    prepare(settings)
    with acting(settings) as conn:
        customer = get_customer(conn, slug)
        kept = feedback.judge(
            conn, customer.customer_id, alert, word, judged_by=getpass.getuser(), recovered=_dollars(recovered),
            note=note,
        )  # fmt: skip
        audited(conn, customer, "alert.judged", ("alert", kept.alert_id), judgement=kept.judgement)
    if json:
        print_json(asdict(kept))
        return
    money = f", with ${kept.recovered:,.2f} recovered" if kept.recovered is not None else ""
    out.print(f"Kept: alert {str(kept.alert_id)[:8]} is {kept.judgement.replace('_', ' ')}{money}.")


def _end(now: datetime, hours: float | None, until: str | None) -> datetime:
    if (hours is None) == (until is None):
        raise ConfigurationError("A silence has an end: give --hours or --until, one of them.")
    if hours is not None:
        if not 0 < hours <= _MOST_HOURS:
            raise ConfigurationError(f"--hours is a number above 0 and at most {_MOST_HOURS}.")
        return now + timedelta(hours=hours)
    try:
        end = datetime.fromisoformat(until or "")
    except ValueError:
        raise ConfigurationError("--until is a day or an instant: 2026-06-01 or 2026-06-01T08:00.") from None
    return end if end.tzinfo is not None else end.replace(tzinfo=UTC)


def _dollars(text: str | None) -> Decimal | None:
    if text is None:
        return None
    try:
        amount = Decimal(text.removeprefix("$").replace(",", ""))
    except InvalidOperation:
        amount = Decimal("NaN")
    # A number of many digits cannot be rounded to cents; how much there can be at most is said where it is kept.
    if not amount.is_finite() or abs(amount) >= _TOO_MANY_DOLLARS:
        raise ConfigurationError(
            "Recovered dollars are a number from 0 on and below a million million, such as 12500 or 812.50."
        )
    return round(amount, 2)


def _unknown_payer(conn: Connection, customer_id: int, payer: str | None) -> bool:
    if payer is None:
        return False
    from upstream_pipelines.drift.verdicts import unknown_payers  # loads SciPy, which the rest needs none of

    return bool(unknown_payers(conn, customer_id, [payer]))
