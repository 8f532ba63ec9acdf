"""Where a change comes from, what it costs, how young and how sure it is, in words: the grounds of a row's explanation.

Not here: what changed and since when (explanation.py), the form of one figure (units.py), the figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from upstream_pipelines.drift.units import (
    SPACE,
    as_day,
    chance_text,
    change_text,
    cost_range,
    days_text,
    is_open_to_doubt,
    is_unclear,
    money_text,
    number_of,
    part_text,
    percent,
    sure_text,
)

BY_SUBMISSION_ONLY = frozenset({"volume", "procedure_mix"})
_RANGES = f"Ranges in brackets hold the truth 95 times in 100 (95{SPACE}% intervals)."
_WORTH_NAMING, _ABOVE_ITS_SHARE, _NEARLY_ALL = 0.25, 1.5, 0.8
YOUNG_DAYS = 8  # complete days from which on a change has shown its size
DIMENSIONS = {
    "cpt_group": "CPT group",
    "procedure": "procedure",
    "denial_code": "denial code",
    "facility": "facility",
}
PARTS = {"rate": "lines of the same kind", "mix": "another mix", "maturity": "age of the lines"}


def cost(row: Mapping[str, Any]) -> str | None:
    """What the change costs or gains and what that rests on, in sentences; None where nothing is known of it."""
    if row["state"] not in {"open", "updated"} or "money" not in row["detail"] or row.get("cause") == "data":
        return None  # a change of the data costs nobody anything
    money = row["detail"]["money"]
    if money is None:
        return "What it costs is not known: the source sends no amounts."
    if is_open_to_doubt(money):
        what = "How much more is outstanding" if money.get("delayed") is not None else "What it costs"
        return f"{what} is not clear yet ({cost_range(money)}).{_rests_on(row)}"
    word = "This gains" if money["gain"] else "This costs"
    if row["signal"] in BY_SUBMISSION_ONLY:
        word = f"In allowed dollars that is {'a gain of' if money['gain'] else 'a loss of'}"
    if money.get("delayed") is not None:
        word = "This leaves"
    within = ", within what its denial rate costs and not on top of it" if money.get("within_denial_rate") else ""
    return f"{word} {money_text(money)}{within}.{_rests_on(row)}"


def _rests_on(row: Mapping[str, Any]) -> str:
    """Of which lines and days the dollars are, and whether appeals are off them (money.py)."""
    money, told = row["detail"]["money"], row["detail"].get("explanation") or {}
    text = f" Worked out from {money['basis']}." if money.get("basis") else ""
    periods = told.get("periods")
    if not text or not periods:
        return text
    return f"{text} Days counted: {days_text(*periods['before'])} before the change, {days_text(*periods['since'])} since."


def worth(row: Mapping[str, Any]) -> str | None:
    """That a mix has changed and nobody can say yet what that does to the dollars."""
    if not is_unclear(row):
        return None
    if (row.get("detail") or {}).get("effect_low") is None:
        return (
            "What that does to the dollars a line is not known: the source sends no amounts for these procedures."
        )
    return f"What that does to the dollars a line is {change_text(row)}.".replace(" in dollars a line)", ")")


def _days_old(row: Mapping[str, Any]) -> int | None:
    detail = row.get("detail") or {}
    if row["state"] not in {"open", "updated", "watch"} or not (
        detail.get("change_date") and detail.get("complete_to")
    ):
        return None
    return (as_day(detail["complete_to"]) - as_day(detail["change_date"])).days + 1


def so_far(row: Mapping[str, Any]) -> str:
    """What follows the size of a young change: that it is the size so far."""
    days = _days_old(row)
    return " so far" if days is not None and days < YOUNG_DAYS else ""


def young(row: Mapping[str, Any]) -> str | None:
    """That the size of a young change is one of few days, some of which may lie before it."""
    days = _days_old(row)
    if days is None or days >= YOUNG_DAYS:
        return None
    return f"So far that is an average of the {max(days, 1)} days since then, and may grow."


def money_word(signal: str, money: Mapping[str, Any]) -> str:
    """What a sum of money is called beside its figure."""
    if signal == "decision_lag":
        return "Cash"
    return "Gains" if money["gain"] and not is_open_to_doubt(money) else "Costs"


def source(row: Mapping[str, Any]) -> str | None:
    """Rate or mix, and the largest contributor where it has a quarter of the change or more."""
    told = row["detail"].get("explanation")
    if not told:
        return None
    unit, change, parts = told["unit"], told["change"], told["parts"]
    sentence = ""
    if unit == "share of decided lines":
        sentence = (
            "The rate above is carried forward to when all lines are decided; of the lines decided so far, the two "
            f"periods as they stand differ by {part_text(unit, change)}: "
            f"{part_text(unit, parts['rate'])} on lines of the same kind, {part_text(unit, parts['mix'])} from "
            f"another mix of procedures, {part_text(unit, parts['maturity'])} from how old the decided lines are. "
        )
    elif unit == "share of allowed dollars":
        sentence = f"Weighed by dollars the difference is {part_text(unit, change)}. "
    largest = _contributors(told)
    if not largest:
        return sentence.strip() or None
    alternatives = " These are views of the same change and do not add up." if len(largest) > 1 else ""
    return f"{sentence}The largest part of it, {'; '.join(largest)}.{alternatives}"


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
        found.append(f"by {kind}: {first['name']} ({size})")
    return found


def _stands_out(entry: Mapping[str, Any], change: float) -> bool:
    """A quarter of the change or more, and clearly more than its share of the lines; or nearly all of it."""
    part = entry["total"] / change if change else 0.0
    share = entry.get("share")  # explanations from before it was kept have none
    return part > _NEARLY_ALL or (share is not None and part >= _WORTH_NAMING and part > _ABOVE_ITS_SHARE * share)


def largest_sources(detail: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The largest sources as a fact to look up; none where nothing stands out."""
    told = detail.get("explanation")
    named = _contributors(told) if told else []
    return [("Comes from", "; ".join(named))] if named else []


def certainty(row: Mapping[str, Any]) -> str | None:
    """How sure the change is, as a sentence."""
    words = sure(row)
    return f"How sure: {words}. {_RANGES}" if words else None


def sure(row: Mapping[str, Any], *, brief: bool = False) -> str | None:
    """In words and as a share; and q, which is the rest of it: the share of chance findings to be expected among today's
    charts that show as much as this one or more. `brief`: without it. Neither counts the false events of a year (scan.py).
    """
    confidence, q = number_of((row.get("detail") or {}).get("confidence")), number_of(row.get("q_value"))
    words = []
    if confidence is not None:
        level = (
            "very sure" if confidence >= 0.95 else "sure" if confidence >= 0.8
            else "fairly sure" if confidence >= 0.5 else "not sure"
        )  # fmt: skip
        words.append(f"{level}, {sure_text(confidence)}")
    if q is not None and not brief:
        chance = chance_text(q) or ""
        share = chance if chance.startswith("under") else f"about {chance}"
        words.append(
            f"of all findings of the same look at least as clear as this one, {share} come about by chance alone"
        )
    return ": ".join(words) or None
