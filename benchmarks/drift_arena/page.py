"""The results page, written from a summary alone, so that no figure in it is typed by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.drift_arena.bars import bars
from benchmarks.drift_arena.cases import BAR_SIZES, RAMP, SIZES, TUNING_SEEDS
from benchmarks.drift_arena.tables import (
    CHANGE_HEAD,
    DECOY_HEAD,
    FALSE_HEAD,
    change_rows,
    decoy_rows,
    false_event_rows,
)

INTRODUCTION = """\
# The drift arena: what the detector finds, misses and invents

This page is written by the command that measures, `{command}`: every figure below is of that one run, of {customers}
simulated customers, with version {method_version} of the method. Its seeds are {first_seed} to {last_seed}; {tuned}. With every single delay the numbers are in
[`benchmarks/drift_arena/results.json`](../benchmarks/drift_arena/results.json). From nothing the run takes about
{minutes:.0f} minutes on two cores; `make arena` is a short one of the same.

The simulated world is [`simulator.py`](../benchmarks/drift_arena/simulator.py) and
[`world.py`](../benchmarks/drift_arena/world.py); they import nothing of the product. A customer has ten payers of 3 to
500 lines a weekday, each with its own prices, codes, denial rate (5 to 15 %), log-normal lags that differ for payments
and denials, growth, month edges, and weeks that differ more than chance would have them; federal holidays; files that
come daily, nightly, weekly or raggedly; denials paid on appeal, and lines that never get an answer. A contestant looks
every day, after 300 days of history, and sees what was in the files before that day.
"""

CONTESTANTS = """\
## The contestants

| contestant | what it is |
| --- | --- |
| product | `upstream_pipelines.drift.replay` at its defaults |
| fixed rule | the last 14 days of submissions against the 90 before, decided lines only, at least 30 on both sides: denials by 5 points or half, median days by 3 or half, mean allowed amount by 10 % |
| evidently | Evidently 0.7, `ValueDrift` at its defaults per payer, 14 against 90 days of decided lines (codes: of submitted lines), looks on every seventh day, on the first {library_customers} of the customers |
| nannyml | NannyML 0.13, `UnivariateDriftCalculator` at its defaults on the same lines and looks |
| oracle | a likelihood-ratio CUSUM told the rates before and after, lag curve, calendar and over-dispersion; not when or whether. Its threshold is set on the unchanged customers so that on each signal it has as many false events as the contestant it is compared with, half of them for the worse: of the product's more are, so that against it the oracle is a little late. A signal on which that one has none counts as half an event |

A rule without events of its own has one event while it fires, and the next after 14 quiet days.
"""

FALSE_EVENTS = """\
## False events

Nothing changes; every event is false. {looks} The last rows hold what the obvious methods are biased by: denials twice
as slow as payments, twice as fast, and a volume that doubles over the history. *Cause data*: events
that say that the data changed and not the payer, not counted as false.

![False events a customer-year](images/arena_false_events.png)
"""

CHANGES = """\
## Changes found

A change holds for the lines submitted from its day on; one of prices by decision day for those decided from then on.
It is found if the right payer, signal and direction opens as an event in the 120 days after (denials for authorisation also
as a rise of all denials, which they are too); the delay counts from the
first day of the change, and a missed one counts as longer than any. A slower payer makes every line wait so many days
more on average. *By chance*: how many unchanged payers of the same customers raise the same alarm in the same days.
*Leaks*: changed payers with an event of a signal that did not change. *Ratio*: median delay over the oracle's, with
a bootstrap interval.

![Delay and share found](images/arena_delays.png)
"""

DECOYS = """\
## Decoys

Things that are no change of the payer's behaviour, or one of another signal. Wrong: an event about the payer of any
signal that did not change, in the 120 days after. *Unchanged payers*: the share of untouched payers of the same
customers with any event in those days, which is what false events alone give. What says that the data changed, as a
late file and a renamed payer have events say, blames no payer and is not counted.

![Wrong alarms on decoys](images/arena_decoys.png)
"""

LIMITS = """\
## What this does not show

The payers of a customer are independent of each other and of the season: no deductible that starts anew in January, no
code set that changes for all at once. A customer of this world has ten payers; the budget of false events is one for
the customer, so that with more payers each change takes a little longer to be found. Of the decoys, four strike all
ten payers of a customer at once: their intervals are wider than they look. Evidently and NannyML take part on few
customers and look weekly, with one or two trials a change: their rows say how they behave as they come, and do not rank them.
"""


BAR_CHANGES = {SIZES[which][:2] for which in BAR_SIZES}


def page(summary: dict[str, Any]) -> str:
    """The page in Markdown."""
    contestants, run = summary["contestants"], summary["run"]
    names = list(contestants)
    command = run["command"]
    parts = [INTRODUCTION.format(**run, tuned=_tuned(run["first_seed"]))]
    if "product" in contestants:
        parts.append(_bars(contestants["product"], command))
    libraries = [name for name in names if name in ("evidently", "nannyml")]
    count = contestants[libraries[0]]["customers"] if libraries else 0
    parts.append(CONTESTANTS.format(library_customers=count))
    parts.append(FALSE_EVENTS.format(looks=_looks(contestants)))
    parts.append(_table(FALSE_HEAD, false_event_rows(summary), command))
    for introduction, head, rows_of, which in (
        (CHANGES, CHANGE_HEAD, change_rows, "changes"),
        (DECOYS, DECOY_HEAD, decoy_rows, "decoys"),
    ):
        parts.append(introduction)
        parts += [
            f"### {name}: {which}\n\n" + _table(head, rows_of(each[which]), command)
            for name, each in contestants.items()
            if each[which]
        ]
    parts.append(LIMITS)
    return "\n".join(part.rstrip() + "\n" for part in parts)


def _tuned(first_seed: int) -> str:
    if first_seed == TUNING_SEEDS:
        return "the detector was tuned on these very seeds, so that its figures flatter it"
    return f"the detector was tuned on seeds from {TUNING_SEEDS} on"


def _looks(contestants: dict[str, Any]) -> str:
    told = [f"{name} {1000 * each['seconds_a_look']:.0f} ms" for name, each in contestants.items()]
    return f"A look at a customer takes {', '.join(told)}."


SLOW = """The bars are of changes that come at once. Of those of the same sizes that grow over {ramp} days the product misses:
{missed}.
"""
WHAT_LIMITS = """What limits what is not met. A single decoy strikes few payers, so that one alarm is more than its bar allows; all decoys
together say more. The oracle knows the day's expected lines, the codes and
the payer; the product learns them, and asks more before it alarms: no change of the volume may rest on five days in a
row, since an office that is closed for a week is none; a fall by a fifth is in part taken for slower growth, which it has
to learn from the same weeks, so that the evidence of a payer whose weeks differ much stays below what is needed; a changed mix must stay without its two most striking days and is
looked for among twelve kinds of code; a rise of denials for authorisation must stand out from that of all denials and
show in cohorts of the same age.
"""


def _bars(product: dict[str, Any], command: str) -> str:
    rows = bars(product)
    missed = sum(not bar.met for bar in rows)
    text = "## The bars\n\n"
    text += "All are met.\n\n" if not missed else f"{missed} of {len(rows)} are not met; they come first.\n\n"
    ordered = sorted(rows, key=lambda bar: bar.met)
    told = [[bar.asked, bar.measured, "yes" if bar.met else "**no**"] for bar in ordered]
    text += _table(("bar", "measured", "met"), told, command)
    return text + _slow(product) + (f"\n{WHAT_LIMITS}" if missed else "")


def _slow(product: dict[str, Any]) -> str:
    """What was found of the changes of the bars' sizes that come slowly."""
    cells = [cell for cell in product["changes"] if cell["ramp"] and (cell["signal"], cell["size"]) in BAR_CHANGES]
    if not cells:
        return ""
    missed = [
        f"{cell['name']} {cell['trials'] - cell['found']} of {cell['trials']} (the oracle "
        f"{round((1 - cell['oracle_share']) * cell['trials'])})"
        for cell in cells
        if cell["found"] < cell["trials"]
    ]
    return "\n" + SLOW.format(ramp=RAMP, missed="; ".join(missed) or "none")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], command: str) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]]
    return "\n".join(lines) + f"\n\nMeasured by `{command}`.\n"
