"""Days that belong to no baseline: of events that are over, and those that people have labelled.

Not here: the labels themselves (settings.py), how events end (detector.py), what leaves the days out (the factors).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from upstream_pipelines.drift.events import NEW_NORMALS, DriftEvent
from upstream_pipelines.drift.factors import Exclusion
from upstream_pipelines.drift.facts import day_number
from upstream_pipelines.drift.settings import SIGNALS, DriftSettings

BEFORE_EVERYTHING = -(10**6)


def exclusions(
    events: Sequence[DriftEvent], payers: Mapping[str, int], settings: DriftSettings
) -> list[Exclusion]:
    """The days of resolved events; all days before an event that became the normal; labelled days.

    `payers` gives the number of each payer's name.
    """
    result = []
    for event in events:
        if event.state != "resolved" or event.resolved_on is None or event.payer not in payers:
            continue
        # The label itself keeps the days out, and with it taken back they count again.
        if event.memory.reason in {"withdrawn", "days_labelled"}:
            continue
        first, last = day_number(event.started_on), day_number(event.resolved_on)
        if event.memory.reason in NEW_NORMALS:
            first, last = BEFORE_EVERYTHING, first - 1
        result.append(Exclusion(payers[event.payer], event.signal, first, last))
    for label in settings.calendar:
        first, last = day_number(label.first_day), day_number(label.last_day)
        for name, position in payers.items():
            if label.holds_for(name):
                result += [Exclusion(position, signal, first, last) for signal in label.signals or SIGNALS]
    return result


def is_labelled(event: DriftEvent, last: date, as_of: date, settings: DriftSettings) -> bool:
    """Whether labels hold on all days of an event up to `last`; what people accepted ends as accepted."""
    accepted_on = event.memory.accepted_on
    labelled = settings.all_labelled(event.payer, event.signal, event.started_on, last)
    return labelled and (accepted_on is None or accepted_on > as_of)


def has_labels(event: DriftEvent, settings: DriftSettings) -> bool:
    """Whether labels hold on any days before an event, of its payer and signal."""
    return any(
        label.first_day < event.started_on
        and label.holds_for(event.payer)
        and (not label.signals or event.signal in label.signals)
        for label in settings.calendar
    )
