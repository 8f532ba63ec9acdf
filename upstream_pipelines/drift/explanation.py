"""A drift row in plain sentences, for alerts and reports: what changed, since when, how sure, and what it costs.

Belongs here: wording, for a reader who has never seen the product. No claim values and nothing of a single line, only
sums. Not here: the form of one figure (units.py), the figures themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from upstream_pipelines.drift.data_trouble import data_sentences
from upstream_pipelines.drift.settings import RATE_SIGNALS
from upstream_pipelines.drift.units import (
    SPACE,
    as_day,
    chance_text,
    day_text,
    effect_text,
    figure_text,
    money_text,
    number_of,
    part_text,
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
_DATA = "Data, not payer: "
_WORTH_NAMING, _ABOVE_ITS_SHARE, _NEARLY_ALL = 0.25, 1.5, 0.8
DIMENSIONS = {
    "cpt_group": "CPT group",
    "procedure": "procedure",
    "denial_code": "denial code",
    "facility": "facility",
}


def describe(row: Mapping[str, Any]) -> str:
    """All that is to be said of a row of a look (`LookResult.rows`, or the same read back), in one paragraph."""
    return " ".join(sentences_of(row))


def sentences_of(row: Mapping[str, Any]) -> list[str]:
    """What changed and since when; what it costs; where it comes from; how sure; how complete and on what."""
    detail: Mapping[str, Any] = row.get("detail") or {}
    if row["state"] == "not_enough_data":
        return [_too_little(f"{row['payer']}: {NAMES[row['signal']]}", row["signal"], detail)]
    change = _movement(row)
    since = since_text(detail)
    first = f"{change}, since {since}." if since else f"{change}."
    if row["state"] == "resolved":
        return [first, ENDINGS[detail.get("reason") or "back_at_baseline"]]
    said = [
        first, data_sentences(detail), _cost(row), _source(row), _certainty(row), _basis(row),
        f"Only watched, no alarm: {_WAITS[detail['waits_for']]}."
        if row["state"] == "watch" and detail.get("waits_for") in _WAITS else None,
    ]  # fmt: skip
    return [sentence for sentence in said if sentence]


def lack_text(signal: str, reason: str | None) -> str:
    """Why a chart cannot be judged."""
    if reason == "no_such_denials":
        return _NONE_OF_THEM[signal]
    return _REASON.get(reason or "", "not enough data")


def headline(row: Mapping[str, Any], notice: str = "open", cause: str = "payer") -> str:
    """Payer, signal, size and money in one line, for a subject: "Aetna denies more: 10.1 % → 15.2 %, about $12,000 a
    month". `notice` is "open" or "resolved", `cause` "payer" or "data": what is told, and to whom.
    """
    signal, payer = str(row["signal"]), row["payer"]
    whose = _DATA if cause == "data" else ""
    if notice == "resolved":
        now = figure_text(signal, row.get("current"))
        return f"Resolved: {whose}{payer}: {NAMES[signal]} {f'is {now}' if now else 'is no longer compared'}"
    text = f"{whose}{_verb(row)}: {_size(row)}"
    money = (row.get("detail") or {}).get("money")
    if money and money.get("per_month") is not None and cause == "payer":
        amount = rounded_dollars(money["per_month"])
        kept = "outstanding" if money.get("delayed") is not None else "a month"
        text += f", about {amount} {kept}" + (" gained" if money["gain"] and kept == "a month" else "")
    return text


def title_of(row: Mapping[str, Any]) -> str:
    """What changed and since when, as the title of a chart."""
    since = since_text(row.get("detail") or {}, short=True)
    return f"{_movement(row)}, since {since}" if since else _movement(row)


def facts_of(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The same as names and values to look up; at most ten, as one Slack section holds no more."""
    signal, detail = str(row["signal"]), row.get("detail") or {}
    unit = "submitted lines" if signal in {"volume", "procedure_mix"} else "decided lines"
    before, now = (figure_text(signal, row.get(name)) or "unknown" for name in ("baseline", "current"))
    if signal == "procedure_mix":
        before, now = "the usual procedures", f"{now} of the lines are others"
    facts = [
        ("Before", f"{before}, on {int(row['n_baseline']):,} {unit}"),
        ("Now", f"{now}, on {int(row['n_current']):,} {unit}"),
        ("Change", effect_text(signal, row.get("effect")) or "unknown"),
        ("Since", since_text(detail) or "not known"),
    ]
    money = detail.get("money")
    costs = row["state"] != "resolved" and row.get("cause") != "data"
    if money and costs:
        facts.append((_money_word(signal, money), money_text(money) or "unknown"))
    elif costs and "money" in detail:
        facts.append(("Costs", "not known: no amounts in the source"))
    facts.extend(_largest(detail))
    facts.append(("How sure", _sure(row) or "not known"))
    maturity = number_of(row.get("maturity"))
    if maturity is not None:
        facts.append(("Complete", _complete(row, maturity)))
    severity = number_of(row.get("severity"))
    if severity is not None:
        facts.append(("Severity", f"{100 * severity:.0f} of 100"))
    return facts[:10]


def _verb(row: Mapping[str, Any]) -> str:
    signal, payer, effect = str(row["signal"]), row["payer"], number_of(row.get("effect"))
    if effect is None:
        return f"{payer}: {NAMES[signal]} changed"
    up = effect > 0
    return {
        "denial_rate": f"{payer} denies {'more' if up else 'less'}",
        "decision_lag": f"{payer} decides {'later' if up else 'sooner'}",
        "allowed_amount": f"{payer} allows {'more' if up else 'less'} for the same procedures",
        "volume": f"{'More' if up else 'Fewer'} claim lines go to {payer}",
        "procedure_mix": f"{'Higher' if up else 'Lower'}-valued procedures are billed to {payer}",
        "authorization_denials": f"{payer} denies {'more' if up else 'less'} for missing authorization",
    }[signal]


def _size(row: Mapping[str, Any]) -> str:
    signal, effect = str(row["signal"]), number_of(row.get("effect"))
    if effect is None:
        return "size unknown"
    if signal in {"allowed_amount", "procedure_mix"}:
        return effect_text(signal, effect) or "size unknown"
    before, now = (figure_text(signal, row[name]) or "unknown" for name in ("baseline", "current"))
    if signal in {"volume", "decision_lag"}:
        before = before.partition(" ")[0].partition(SPACE)[0]  # the unit once
    return f"{before} → {now}"


def _movement(row: Mapping[str, Any]) -> str:
    signal = str(row["signal"])
    baseline, current, effect = (number_of(row.get(name)) for name in ("baseline", "current", "effect"))
    verb = _verb(row)
    if baseline is None or current is None or effect is None:
        return verb
    toward = "up" if effect > 0 else "down"
    return {
        "denial_rate": f"{verb}: {percent(current)} of decided lines, {toward} from {percent(baseline)}",
        "authorization_denials": f"{verb}: {percent(current)} of decided lines, {toward} from {percent(baseline)}",
        "decision_lag": f"{verb}: half of the lines are decided after {current:.0f}{SPACE}days, {toward} from "
        f"{baseline:.0f}",
        "allowed_amount": f"{verb}: {percent(abs(effect))} {'more' if effect > 0 else 'less'} than before",
        "volume": f"{verb}: {current:,.0f} a week where {baseline:,.0f} were to be expected "
        f"({effect_text(signal, effect)})",
        "procedure_mix": f"{verb}: {percent(current, 0)} of the lines are others than before, "
        f"{percent(abs(effect))} {'more' if effect > 0 else 'fewer'} dollars a line",
    }[signal]


def _cost(row: Mapping[str, Any]) -> str | None:
    if row["state"] not in {"open", "updated"} or "money" not in row["detail"] or row.get("cause") == "data":
        return None  # a change of the data costs nobody anything
    money = row["detail"]["money"]
    if money is None:
        return "What it costs is not known: the source sends no amounts."
    word = "This gains" if money["gain"] else "This costs"
    if row["signal"] in {"volume", "procedure_mix"}:
        word = f"In allowed dollars that is {'a gain of' if money['gain'] else 'a loss of'}"
    if money.get("delayed") is not None:
        word = "This leaves"
    within = ", within what its denial rate costs and not on top of it"
    return f"{word} {money_text(money)}{within if row['signal'] == 'authorization_denials' else ''}."


def _money_word(signal: str, money: Mapping[str, Any]) -> str:
    if signal == "decision_lag":
        return "Cash"
    return "Gains" if money["gain"] else "Costs"


def _source(row: Mapping[str, Any]) -> str | None:
    """Rate or mix, and the largest contributor where it has a quarter of the change or more."""
    told = row["detail"].get("explanation")
    if not told:
        return None
    unit, change, parts = told["unit"], told["change"], told["parts"]
    sentence = ""
    if unit == "share of decided lines":
        sentence = (
            f"Between the two periods as they stand the difference is {part_text(unit, change)}: "
            f"{part_text(unit, parts['rate'])} on lines of the same kind, {part_text(unit, parts['mix'])} from "
            f"another mix of procedures, {part_text(unit, parts['maturity'])} from how old the decided lines are. "
        )
    elif unit == "share of allowed dollars":
        sentence = f"Weighed by dollars the difference is {part_text(unit, change)}. "
    largest = _contributors(told)
    return f"{sentence}The largest part comes from {', '.join(largest)}." if largest else sentence.strip() or None


def _contributors(told: Mapping[str, Any]) -> list[str]:
    """Of each dimension the entry with most of the change, in words, if it is a quarter of it or more and stands out.

    A facility with 48 % of the lines and 50 % of the change is no source of it: the change is everywhere.
    """
    found = []
    for dimension, kind in DIMENSIONS.items():
        entries = told["by"].get(dimension, [])
        if len(entries) < 2 or entries[0]["name"] in {"all others", "not given", "UNSPECIFIED"}:
            continue
        first = entries[0]
        if "share_since" in first:
            # A shift of the mix is told by the code that moved most, whichever way its dollars went.
            size = f"{percent(first['share_before'], 0)} → {percent(first['share_since'], 0)} of the lines"
        elif _stands_out(first, told["change"]):
            size = part_text(told["unit"], first["total"])
        else:
            continue
        found.append(f"{kind} {first['name']} ({size})")
    return found


def _stands_out(entry: Mapping[str, Any], change: float) -> bool:
    """A quarter of the change or more, and clearly more than its share of the lines; or nearly all of it."""
    part = entry["total"] / change if change else 0.0
    share = entry.get("share")  # explanations from before it was kept have none
    return part > _NEARLY_ALL or (share is not None and part >= _WORTH_NAMING and part > _ABOVE_ITS_SHARE * share)


def _largest(detail: Mapping[str, Any]) -> list[tuple[str, str]]:
    told = detail.get("explanation")
    named = _contributors(told) if told else []
    return [("Comes from", "; ".join(named))] if named else []


def _certainty(row: Mapping[str, Any]) -> str | None:
    sure = _sure(row)
    return f"How sure: {sure}." if sure else None


def _sure(row: Mapping[str, Any]) -> str | None:
    """In words, from the evidence; and q, the share of chance findings to be expected among today's charts that show
    as much as this one or more.
    """
    confidence, q = number_of((row.get("detail") or {}).get("confidence")), number_of(row.get("q_value"))
    words = []
    if confidence is not None:
        words.append(
            "very sure" if confidence >= 0.95 else "sure" if confidence >= 0.8
            else "fairly sure" if confidence >= 0.5 else "not sure"
        )  # fmt: skip
    if q is not None:
        chance = chance_text(q) or ""
        share = chance if chance.startswith("under") else f"about {chance}"
        words.append(f"of the charts that show at least as much today {share} would do so by chance")
    return ", ".join(words) or None


def _complete(row: Mapping[str, Any], maturity: float) -> str:
    """The share decided, for the rates, which wait for decisions; nothing of the other signals is still to come."""
    up_to = (row.get("detail") or {}).get("complete_to")
    until = day_text(up_to) if up_to else None
    if row["signal"] in RATE_SIGNALS:
        counted = f", counted up to {until}" if until else ""
        return f"{percent(maturity, 0)} of the lines sent since then are decided{counted}"
    return f"counted as they come{f', up to {until}' if until else ''}"


def _basis(row: Mapping[str, Any]) -> str:
    unit = "submitted lines" if row["signal"] in {"volume", "procedure_mix"} else "decided lines"
    basis = f"Based on {int(row['n_current']):,} {unit} against {int(row['n_baseline']):,} before"
    maturity = number_of(row.get("maturity"))
    if maturity is None:
        return f"{basis}."
    word = "complete: " if row["signal"] in RATE_SIGNALS else ""
    return f"{basis}; {word}{_complete(row, maturity)}."


def _too_little(subject: str, signal: str, detail: Mapping[str, Any]) -> str:
    reason = detail.get("reason")
    sentence = f"{subject} cannot be judged: {lack_text(signal, reason)}."
    if reason in {"open_lines_not_in_source", "no_such_denials"}:
        return sentence
    needed, about = detail.get("lines_needed"), detail.get("about_date")
    if needed:
        unit = "submitted" if signal in {"volume", "procedure_mix"} else "decided"
        sentence += f" About {int(needed):,} more {unit} lines are needed"
        sentence += (
            f", by about {day_text(as_day(about))} at the present pace." if about else "; none come at present."
        )
    smallest = number_of(detail.get("smallest_detectable"))
    if smallest is not None:
        size = _SIZES[signal].format(points=100 * smallest, value=smallest)
        sentence += f" The smallest change visible then is {size}."
    return sentence
