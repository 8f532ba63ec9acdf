"""A drift row in plain sentences, for alerts and reports: what changed, since when, how sure, and what it costs.

Belongs here: wording, for a reader who has never seen the product. No claim values and nothing of a single line, only
sums. Not here: what the figures rest on (basis.py, grounds.py), the form of one (units.py), the figures themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from upstream_pipelines.drift.basis import (
    as_of_sentence,
    as_of_text,
    basis,
    complete,
    is_compared,
    lines_now,
    sent_or_decided,
)
from upstream_pipelines.drift.data_trouble import data_sentences
from upstream_pipelines.drift.events import NEW_NORMALS, WORSENING_SIGN
from upstream_pipelines.drift.grounds import (
    BY_SUBMISSION_ONLY,
    certainty,
    cost,
    largest_sources,
    money_word,
    so_far,
    source,
    sure,
    worth,
    young,
)
from upstream_pipelines.drift.units import (
    SPACE,
    as_day,
    change_text,
    day_text,
    effect_text,
    figure_text,
    is_open_to_doubt,
    is_unclear,
    money_text,
    number_of,
    percent,
    rounded_dollars,
    since_text,
)

NAMES = {
    "denial_rate": "denial rate",
    "decision_lag": "decision time",
    "allowed_amount": "allowed amount",
    "volume": "claim volume",
    "procedure_mix": "procedure mix",
    "authorization_denials": "authorization denials",
}
_REASON = {
    "too_few_lines": "too few decided claim lines",
    "open_lines_not_in_source": "the source sends no claims that are still open",
}
_NONE_OF_THEM = {
    "denial_rate": "no denials so far",
    "authorization_denials": "no denials for authorization so far",
}
_WAITS = {
    "evidence": "the evidence is not strong enough yet",
    "effect": "the change is too small to matter",
    "dollars": "it costs less than the customer's floor",
    "persistence": "a single week carries most of the evidence",
    "other_denials": "denials for other reasons changed alike, so that it is the denial rate that changed",
    "matured_cohorts": "claims old enough to be fully decided do not confirm it yet",
}
WAITS_FOR = {
    "evidence": "more evidence",
    "effect": "a larger change",
    "dollars": "more dollars",
    "persistence": "another week",
    "other_denials": "other denials to differ",
    "matured_cohorts": "older claims",
}
"""The same in few words, for a table."""
_SIZES = {
    "denial_rate": "{points:.0f} points",
    "authorization_denials": "{points:.0f} points",
    "decision_lag": "{value:.0f} days",
    "allowed_amount": "{points:.0f} %",
    "volume": "{points:.0f} %",
    "procedure_mix": "{points:.0f} % of the lines",
}
ENDINGS = {
    "back_at_baseline": "This change is over: the last weeks are back at the baseline.",
    "became_the_normal": "This change has lasted so long that it is the new normal.",
    "accepted_as_normal": "This change was accepted as the new normal.",
    "payer_gone": "This change is closed: no claims bear this payer's name any more.",
    "days_labelled": "This change is closed: its days are labelled as unlike others, and belong to no comparison.",
    "withdrawn": "This change is withdrawn: with what has arrived since, that day shows no such change.",
}
"""By the reason in a resolved row's detail (events.Ending)."""
_CALM = "The last weeks are near the baseline again; the change is over when they stay there."
_DATA = "Data, not payer: "


def describe(row: Mapping[str, Any]) -> str:
    """All that is to be said of a row of a look (`LookResult.rows`, or the same read back), in one paragraph."""
    return " ".join(sentences_of(row))


def sentences_of(row: Mapping[str, Any], *, in_alert: bool = False) -> list[str]:
    """What changed and since when; what it costs; where it comes from; how sure; how complete, on what and as of which day.

    `in_alert`: for a message, which stays as it is while the event goes on.
    """
    detail: Mapping[str, Any] = row.get("detail") or {}
    if row["state"] == "not_enough_data":
        return [_too_little(f"{row['payer']}: {NAMES[row['signal']]}", row["signal"], detail)]
    first, dated = f"{_told(row)}.", as_of_sentence(row, in_alert=in_alert) if is_compared(row) else ""
    if row["state"] == "resolved":
        return [first, ENDINGS[detail.get("reason") or "back_at_baseline"], *([dated] if dated else [])]
    if is_over(row):
        return [sentence for sentence in (first, data_sentences(detail), _CALM, basis(row), dated) if sentence]
    said = [
        first, worth(row), young(row), data_sentences(detail), cost(row), source(row), certainty(row), basis(row), dated,
        f"Only watched, no alarm: {_WAITS[detail['waits_for']]}."
        if row["state"] == "watch" and detail.get("waits_for") in _WAITS else None,
    ]  # fmt: skip
    return [sentence for sentence in said if sentence]


def lack_text(signal: str, reason: str | None) -> str:
    """Why a chart cannot be judged."""
    if reason == "no_such_denials":
        return _NONE_OF_THEM[signal]
    return _REASON.get(reason or "", "not enough data")


def size_text(signal: str, size: Any) -> str | None:
    """The size of a change without its direction, in the unit of its signal."""
    number = number_of(size)
    return None if number is None else _SIZES[signal].format(points=100 * number, value=number)


def headline(row: Mapping[str, Any], notice: str = "open", cause: str = "payer") -> str:
    """Payer, signal, size, money and day in one line, for a subject: "Aetna denies more: 10.1 % → 15.2 %, about $12,000 a
    month, as of Mar 31". `notice` is "open", "escalated" or "resolved", `cause` "payer" or "data": what is told, and to whom.
    """
    return f"{_headline(row, notice, cause)}{as_of_text(row)}"


def _headline(row: Mapping[str, Any], notice: str, cause: str) -> str:
    signal, payer = str(row["signal"]), row["payer"]
    whose = _DATA if cause == "data" else ""
    if notice == "resolved":
        now = figure_text(signal, row.get("current"))
        if now and signal == "procedure_mix":
            now = f"{now} away from before"
        to_be = "are" if signal == "authorization_denials" else "is"
        return f"Resolved: {whose}{payer}: {NAMES[signal]} {to_be} {now or 'no longer compared'}"
    if is_over(row):
        return f"{whose}{_verb(row)}, and the last weeks are near the baseline again"
    grown = "Grown since it was told: " if notice == "escalated" else ""
    text = f"{grown}{whose}{_verb(row)}: {_size(row)}{so_far(row)}"
    money = (row.get("detail") or {}).get("money")
    # What may be a loss or a gain is neither in a subject.
    told = cause == "payer" and not is_unclear(row)
    if told and money and money.get("per_month") is not None and not is_open_to_doubt(money):
        amount = rounded_dollars(money["per_month"])
        kept = "outstanding" if money.get("delayed") is not None else "a month"
        text += f", about {amount} {kept}" + (" gained" if money["gain"] and kept == "a month" else "")
    return text


def title_of(row: Mapping[str, Any]) -> str:
    """What changed, since when and as of which day, as the title of a chart."""
    return f"{_told(row, short=True)}{as_of_text(row)}"


def change_told(row: Mapping[str, Any]) -> str:
    """What changed, for a table that has its days in columns of their own."""
    return _told(row, dated=False)


def facts_of(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The same as names and values to look up; at most ten, as one Slack section holds no more."""
    signal, detail = str(row["signal"]), row.get("detail") or {}
    over = is_over(row)
    unit = "submitted lines" if signal in BY_SUBMISSION_ONLY else "decided lines"
    before, now = (figure_text(signal, row.get(name)) or "unknown" for name in ("baseline", "current"))
    if signal == "procedure_mix":
        before, now = "the usual procedures", f"{now} of the lines are others"
    facts = [("Before", f"{before}, on {int(row['n_baseline']):,} {unit}")]
    if over:
        facts.append(("When found", _figure_at_opening(row) or "unknown"))
    counted_now = f"{now}, as of {day_text(row['as_of'])}, on {lines_now(row)}"
    facts.append(("Now", counted_now if is_compared(row) else "no longer compared"))
    if not over:
        facts.append(("Change", f"{change_text(row) or 'unknown'}{so_far(row)}"))
    since = since_text(detail)
    facts.append(("Since", f"{since}, for claims {sent_or_decided(row)} since then" if since else "not known"))
    if not over:
        facts.extend(_costs_and_sources(row))
        facts.append(("How sure", sure(row) or "not known"))
        counted = complete(row)
        if counted:
            facts.append(("Complete", counted))
        severity = number_of(row.get("severity"))
        if severity is not None:
            facts.append(("Severity", f"{100 * severity:.0f} of 100"))
    if row.get("event_id"):
        facts.append(("Event", str(row["event_id"])))
    return facts[:10]


def _costs_and_sources(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    signal, detail = str(row["signal"]), row.get("detail") or {}
    found = []
    if "money" in detail and row.get("cause") != "data":
        money = detail["money"]
        found.append(
            (money_word(signal, money), money_text(money) or "unknown")
            if money
            else ("Costs", "not known: no amounts in the source")
        )
    return found + largest_sources(detail)


def is_over(row: Mapping[str, Any]) -> bool:
    """Whether the figures of the row are those of days that deny the change: it is resolved, or calm until it is."""
    return row["state"] == "resolved" or bool((row.get("detail") or {}).get("calm_since"))


def _verb(row: Mapping[str, Any]) -> str:
    """By the direction, which stays what it was when the change was found, while today's effect is one of chance."""
    signal, payer, direction = str(row["signal"]), row["payer"], row.get("direction")
    if is_unclear(row):
        return f"Other procedures {'were' if is_over(row) else 'are'} billed to {payer}"
    effect = number_of(row.get("effect"))
    if direction in {"worsening", "improving"}:
        up = (direction == "worsening") == (WORSENING_SIGN[signal] > 0)  # type: ignore[index]  # a signal's name
        up = up != (signal == "decision_lag")  # its evidence is of faster, its verb of later
    elif effect is not None:
        up = effect > 0
    else:
        return f"{payer}: {NAMES[signal]} changed"
    more = "more" if up else "less"
    past = is_over(row) and (row.get("detail") or {}).get("reason") not in NEW_NORMALS
    return {
        "denial_rate": f"{payer} {'denied' if past else 'denies'} {more}",
        "decision_lag": f"{payer} {'decided' if past else 'decides'} {'later' if up else 'sooner'}",
        "allowed_amount": f"{payer} {'allowed' if past else 'allows'} {more} for the same procedures",
        "volume": f"{'More' if up else 'Fewer'} claim lines {'went' if past else 'go'} to {payer}",
        "procedure_mix": f"{'Higher' if up else 'Lower'}-valued procedures {'were' if past else 'are'} billed to {payer}",
        "authorization_denials": f"{payer} {'denied' if past else 'denies'} {more} for missing authorization",
    }[signal]


def _size(row: Mapping[str, Any]) -> str:
    signal, effect = str(row["signal"]), number_of(row.get("effect"))
    if effect is None:
        return "size unknown"
    if is_unclear(row):
        current = figure_text(signal, row.get("current"))
        return f"{current} of the lines are others than before" if current else "size unknown"
    if signal in {"allowed_amount", "procedure_mix"}:
        return effect_text(signal, effect) or "size unknown"
    before, now = (figure_text(signal, row[name]) or "unknown" for name in ("baseline", "current"))
    if signal in {"volume", "decision_lag"}:
        before = before.partition(" ")[0].partition(SPACE)[0]  # the unit once
    return f"{before} → {now}"


def _told(row: Mapping[str, Any], *, short: bool = False, dated: bool = True) -> str:
    """What changed, of which claims since when (`dated`), and of a change that is over what has become of it."""
    since = since_text(row.get("detail") or {}, short=short) if dated else None
    if since is None:
        clause = ""
    elif row["signal"] == "volume":
        clause = f", since {since}"
    else:
        clause = f", of claims {sent_or_decided(row)} since {since}"
    if not is_over(row):
        return f"{_movement(row)}{clause}"
    size = _movement_at_opening(row)
    now = _what_is_now(row) if size else ""
    told = f"{_verb(row)}{f': {size}' if size else ''}{clause}"
    return f"{told}{',' if clause and now else ''}{now}"


def _movement(row: Mapping[str, Any]) -> str:
    signal = str(row["signal"])
    baseline, current, effect = (number_of(row.get(name)) for name in ("baseline", "current", "effect"))
    verb = _verb(row)
    if baseline is None or current is None or effect is None or (signal != "volume" and row.get("n_current") == 0):
        return verb  # of no lines there is no figure; that none came is the volume's
    if is_unclear(row):
        return f"{verb}: {percent(current, 0)} of the lines are others than before"
    toward = "up" if effect > 0 else "down"
    digits = 0 if round(current) != round(baseline) else 1
    return {
        "denial_rate": f"{verb}: {percent(current)} of decided lines, {toward} from {percent(baseline)}",
        "authorization_denials": f"{verb}: {percent(current)} of decided lines, {toward} from {percent(baseline)}",
        "decision_lag": f"{verb}: half of the lines are decided after {current:.{digits}f}{SPACE}days, {toward} "
        f"from {baseline:.{digits}f}",
        "allowed_amount": f"{verb}: {percent(abs(effect))} {'more' if effect > 0 else 'less'} than before",
        "volume": f"{verb}: {current:,.0f} a week where {baseline:,.0f} were to be expected "
        f"({effect_text(signal, effect)})",
        "procedure_mix": f"{verb}: {percent(current, 0)} of the lines are others than before, "
        f"{percent(abs(effect))} {'more' if effect > 0 else 'fewer'} dollars a line",
    }[signal]


def _opened_with(row: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Baseline and value when the event opened."""
    kept = (row.get("detail") or {}).get("opened_with") or {}
    return number_of(kept.get("baseline")), number_of(kept.get("current"))


def _figure_at_opening(row: Mapping[str, Any]) -> str | None:
    figure = figure_text(str(row["signal"]), _opened_with(row)[1])
    return f"{figure} of the lines were others" if figure and row["signal"] == "procedure_mix" else figure


def _movement_at_opening(row: Mapping[str, Any]) -> str | None:
    """From what to what the value went, told in the past; None of a row that does not know (of an earlier release)."""
    baseline, current = _opened_with(row)
    if baseline is None or current is None:
        return None
    return {
        "denial_rate": f"the denial rate went from {percent(baseline)} to {percent(current)}",
        "authorization_denials": f"they went from {percent(baseline)} to {percent(current)} of decided lines",
        "decision_lag": f"half of the lines were decided after {current:.0f}{SPACE}days instead of {baseline:.0f}",
        "allowed_amount": f"the allowed amount went to {percent(current)} of what it was before",
        "volume": f"{current:,.0f} a week came where {baseline:,.0f} were to be expected",
        "procedure_mix": f"{percent(current, 0)} of the lines were others than before",
    }[str(row["signal"])]


def _what_is_now(row: Mapping[str, Any]) -> str:
    """What a change that is over has come to, as the end of its sentence."""
    signal, detail = str(row["signal"]), row.get("detail") or {}
    baseline, current = number_of(row.get("baseline")), number_of(row.get("current"))
    if current is None or baseline is None:
        return ""
    is_back = "is back at" if detail.get("reason", "back_at_baseline") == "back_at_baseline" else "is now"
    if signal == "volume":
        return f" and the volume {is_back} {current:,.0f} where {baseline:,.0f} are to be expected"
    if signal == "procedure_mix":
        return f" and the share of others {is_back} {percent(current, 0)}"
    if signal == "decision_lag":
        return f" and the time {is_back} {current:.0f}{SPACE}days"
    if signal == "allowed_amount":
        return f" and {is_back} {percent(current)}"
    if signal == "authorization_denials":
        is_back = is_back.replace("is ", "are ")  # the denials
    return f" and {is_back} {percent(current)}"


def _too_little(subject: str, signal: str, detail: Mapping[str, Any]) -> str:
    reason = detail.get("reason")
    sentence = f"{subject} cannot be judged: {lack_text(signal, reason)}."
    if reason in {"open_lines_not_in_source", "no_such_denials"}:
        return sentence
    needed, about = detail.get("lines_needed"), detail.get("about_date")
    if needed:
        unit = "submitted" if signal in BY_SUBMISSION_ONLY else "decided"
        sentence += f" About {int(needed):,} more {unit} lines are needed"
        sentence += (
            f", by about {day_text(as_day(about))} at the present pace." if about else "; none come at present."
        )
    smallest = number_of(detail.get("smallest_detectable"))
    if smallest is not None:
        sentence += f" The smallest change visible then is {size_text(signal, smallest)}."
    return sentence
