"""One look at one customer: which charts alarm, which events go on, which payers have too little data.

Belongs here: the decision to open, update and resolve, and the rows of a look. Not here: evidence (charts.py),
figures (measures.py, figures.py), storing anything (store.py).

A look depends on nothing but the facts known before its day, the events handed in and the settings: daily
production, a replay and a backfill give the same rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

import numpy as np

from upstream_pipelines.drift.charts import Charts, charts_of
from upstream_pipelines.drift.confirmation import authorization_stands_out, denial_confirmed
from upstream_pipelines.drift.counts import Counts, View
from upstream_pipelines.drift.data_trouble import Trouble, known_before, with_causes
from upstream_pipelines.drift.events import (
    DriftEvent,
    Ending,
    EventMemory,
    direction_of,
    event_id_for,
    sign_of,
)
from upstream_pipelines.drift.factors import Exclusion
from upstream_pipelines.drift.facts import Columns, Facts, day_number, day_of, facts_from_frames
from upstream_pipelines.drift.flow import dollars_per_month
from upstream_pipelines.drift.labels import exclusions, has_labels, is_labelled
from upstream_pipelines.drift.life_table import usual_decision_days
from upstream_pipelines.drift.measures import (
    HELD_SHARE,
    Change,
    Comparison,
    change_interval,
    compare,
    completeness,
    holds_without_striking_days,
    is_material,
)
from upstream_pipelines.drift.rows import LookResult, intervals_of
from upstream_pipelines.drift.scan import false_discovery, look_p_value, thresholds
from upstream_pipelines.drift.settings import RATE_SIGNALS, SIGNALS, DriftSettings, Signal
from upstream_pipelines.drift.severity import severity
from upstream_pipelines.drift.shortage import Shortage, shortage_of
from upstream_pipelines.drift.source_patterns import data_behind

if TYPE_CHECKING:
    import pandas as pd

ALL_GROUPS = "ALL"


class Detector:
    """Built once from a customer's three aggregate frames; `look` may be called for any days in any order."""

    def __init__(
        self,
        activity: pd.DataFrame | Columns,
        prices: pd.DataFrame | Columns,
        codes: pd.DataFrame | Columns,
        settings: DriftSettings | None = None,
    ) -> None:
        self._begin(facts_from_frames(activity, prices, codes), settings or DriftSettings())

    def __getstate__(self) -> tuple[Facts, DriftSettings]:
        """What goes to another process: what was counted is counted again there, which is quicker."""
        return self.facts, self.settings

    def __setstate__(self, state: tuple[Facts, DriftSettings]) -> None:
        self._begin(*state)

    def _begin(self, facts: Facts, settings: DriftSettings) -> None:
        self.facts, self.settings = facts, settings
        # Figures of blocks need their longest block, changes the longest change.
        fewest = max(self.settings.change_days, *self.settings.block_days)
        self._counts = Counts(self.facts, self.settings.days_in_view, fewest, self.settings.holiday_country)
        self._index = {name: position for position, name in enumerate(self.facts.payers)}
        self._made: tuple[date, frozenset[Exclusion], Charts] | None = None

    def view(self, as_of: date) -> View:
        """What was known before `as_of`; good until the next is asked for."""
        self._made = None
        return self._counts.at(day_number(as_of))

    def charts(self, as_of: date, events: Sequence[DriftEvent] = ()) -> Charts:
        """All charts at `as_of`; resolved `events` are kept out of the baselines.

        Good until another day is asked for. Those made last are given again where they would be the same.
        """
        excluded = exclusions(events, self._index, self.settings)
        asked = as_of, frozenset(excluded)
        if self._made is None or self._made[:2] != asked:
            self._made = (*asked, charts_of(self.view(as_of), excluded, self.settings))
        return self._made[2]

    def look(self, as_of: date, live: Sequence[DriftEvent] = (), troubles: Sequence[Trouble] = ()) -> LookResult:
        """Look at the customer as of the start of `as_of`.

        `live` holds the events not yet resolved. Hand in those resolved within the last `settings.memory_days` too:
        their days are kept out of the baselines, or the payer's return to normal would be news.
        """
        charts = self.charts(as_of, live)
        going = {(event.payer, event.signal): event for event in live if event.state != "resolved"}
        rows: list[dict[str, Any]] = []
        events: list[DriftEvent] = []
        labelled: set[UUID] = set()
        testable = charts.testable
        counts = tuple((signal, int(part.sum())) for signal, part in testable.items())
        scans = tuple(len(charts.by_signal[signal].z) for signal in SIGNALS)
        levels = thresholds(counts, self.settings.false_events_per_year, scans)
        index = self._index
        for signal in SIGNALS:
            chart = charts.by_signal[signal]
            needed = {sign: levels[signal][direction_of(signal, sign) == "worsening"] for sign in (1, -1)}
            strongest = {sign: chart.strongest(sign) for sign in (1, -1)}
            # Towards which side a payer's evidence is the larger part of what an event needs, and that part.
            share = np.stack([strongest[sign][0] / needed[sign] for sign in (1, -1)])
            towards, share = np.where(share[0] >= share[1], 1, -1), share.max(axis=0)
            told = ~testable[signal] | (share >= self.settings.watch_share)
            told[[index[name] for name, of in going if of == signal and name in index]] = True
            for payer in np.flatnonzero(charts.view.present & told):
                name = self.facts.payers[payer]
                event = going.get((name, signal))
                if event is not None:
                    gone = is_labelled(event, day_of(chart.last), as_of, self.settings)
                    carried = None if gone else self._carry_on(charts, int(payer), event, as_of)
                    if carried is None:
                        labelled.add(event.event_id)
                        continue
                    renewed, row = carried
                    events.append(renewed)
                elif not testable[signal][payer]:
                    row = self._too_little(charts, int(payer), signal, as_of, min(needed.values()))
                else:
                    sign = int(towards[payer])
                    found = strongest[sign]
                    z, at, column = float(found[0][payer]), int(found[1][payer]), int(found[2][payer])
                    z, length = chart.sharpened(int(payer), sign, (z, at, column), self.settings)
                    change = Change(signal, int(payer), chart.by[at], chart.last - length + 1, sign)
                    opened, row = self._alarm(charts, change, z, needed[sign], as_of)
                    if opened is not None:
                        events.append(opened)
                rows.append(row)
        self._add_chances(charts, rows)
        seen = {event.event_id for event in events}
        for event in going.values():
            if event.event_id not in seen:
                # Nothing is left to compare: its days were labelled, or all its claims bear another name now. It
                # would stay open for ever.
                events.append(event.closed("days_labelled" if event.event_id in labelled else "payer_gone", as_of))
                rows.append(events[-1].closing_row)
        events = with_causes(
            rows,
            events,
            data_behind(rows, self.facts, charts, known_before(troubles, as_of), self.settings.recent_days),
        )
        return LookResult(records=rows, events=events)

    def _add_chances(self, charts: Charts, rows: Sequence[dict[str, Any]]) -> None:
        """Give each row with evidence its p-value at this look, and q over all charts of the look.

        A row counts with its own evidence, not with the strongest of its chart: that may be for another change.
        """
        index = self._index
        judged = {(row["signal"], index[row["payer"]]): row for row in rows if row["state"] != "not_enough_data"}
        # Signals by payers.
        of_signals = [charts.by_signal[signal] for signal in SIGNALS]
        tested = np.stack([charts.testable[signal] & charts.view.present for signal in SIGNALS])
        z = np.stack([np.maximum(chart.strongest(1)[0], chart.strongest(-1)[0]) for chart in of_signals])
        at = tuple(
            np.array([(SIGNALS.index(signal), payer) for signal, payer in judged], dtype=int).reshape(-1, 2).T
        )
        tested[at], z[at] = True, [row["detail"]["evidence"] for row in judged.values()]
        p = np.ones(z.shape)
        scans = np.array([len(chart.z) for chart in of_signals])[:, None]
        p[tested] = look_p_value(z[tested], np.broadcast_to(scans, z.shape)[tested])
        q = np.ones(z.shape)
        q[tested] = false_discovery(p[tested])
        for row, p_value, q_value in zip(judged.values(), p[at].tolist(), q[at].tolist(), strict=True):
            row["p_value"], row["q_value"] = p_value, q_value
            row["detail"]["confidence"] = round(1.0 - q_value, 6)

    def _alarm(
        self, charts: Charts, change: Change, z: float, needed: float, as_of: date
    ) -> tuple[DriftEvent | None, dict[str, Any]]:
        """Open an event, or say why the chart is only watched."""
        found = compare(charts, change, self.settings)
        # The evidence of a mix has no sign; which way its worth went may not be clear yet.
        sign = (found.worth_sign or 0) if change.signal == "procedure_mix" else change.sign
        row = self._row(charts, replace(change, sign=sign), found, as_of)
        earliest, latest = (
            day_of(day)
            for day in change_interval(
                charts.by_signal[change.signal],
                change,
                lambda: usual_decision_days(charts, change.payer),
                self.settings,
            )
        )
        row["detail"] |= {
            "evidence": round(z, 4),
            "threshold": round(needed, 4),
            "change_date_low": earliest.isoformat(),
            "change_date_high": latest.isoformat(),
        }
        waits_for = self._waits_for(charts, change, found, z, needed)
        if waits_for is not None:
            row["state"] = "watch"
            row["detail"]["waits_for"] = waits_for
            return None, row
        started_on = day_of(change.split)
        event = DriftEvent(
            event_id=event_id_for(row["payer"], ALL_GROUPS, change.signal, started_on, as_of),
            payer=row["payer"],
            signal=change.signal,
            direction=direction_of(change.signal, sign),
            state="open",
            started_on=started_on,
            opened_on=as_of,
            last_look=as_of,
            memory=EventMemory(
                by=change.by,
                baseline=found.baseline,
                current_at_opening=found.current,
                shift_at_opening=found.shift,
                evidence_at_opening=z,
                n_baseline=found.n_baseline,
                change_low=earliest,
                change_high=latest,
            ),
        )
        row["state"], row["event_id"] = "open", event.event_id
        return event, row

    def _waits_for(
        self, charts: Charts, change: Change, found: Comparison, z: float, needed: float
    ) -> Literal["evidence", "effect", "dollars", "persistence", "matured_cohorts", "other_denials"] | None:
        """The first thing the change lacks to become an event."""
        settings = self.settings
        if z < needed:
            return "evidence"
        if not is_material(change.signal, found, change.sign, settings):
            return "effect"
        if settings.minimum_dollars_per_month > 0:
            dollars = dollars_per_month(charts.view, change.payer, change.signal, found.effect, change.split)
            if dollars is not None and dollars < settings.minimum_dollars_per_month:
                return "dollars"
        if not holds_without_striking_days(charts, change, needed * HELD_SHARE, settings):
            return "persistence"
        if change.signal in RATE_SIGNALS and not denial_confirmed(charts, change, needed, settings):
            return "matured_cohorts"
        if change.signal == "authorization_denials" and not authorization_stands_out(charts, change, settings):
            return "other_denials"
        return None

    def _carry_on(
        self, charts: Charts, payer: int, event: DriftEvent, as_of: date
    ) -> tuple[DriftEvent, dict[str, Any]] | None:
        """Compare with the baseline of the days before the event, which stays frozen; resolve it when that is over.

        None where labels have left it no baseline: what is compared with nothing looks calm.
        """
        settings, memory = self.settings, event.memory
        sign, split = sign_of(event.signal, event.direction), day_number(event.started_on)
        change = Change(event.signal, payer, memory.by, split, sign)
        last = charts.by_signal[event.signal].last
        for blocks in (1, 2, 3):
            first = max(split, last - blocks * settings.recent_days + 1)
            recent = compare(charts, change, settings, first)
            if recent.n_current >= settings.minimum_current_lines:
                break
        if recent.n_baseline < settings.minimum_baseline_lines and has_labels(event, settings):
            return None
        whole = compare(charts, change, settings)
        # Nearer to the baseline than to the shift that opened the event: the likelihood ratio of the recent days says
        # that too. 2 standard errors keep a loud event from being called calm. Of a mix the worth may be clear late.
        shift, z, opened_with = (sign * value for value in (recent.shift, recent.z, memory.shift_at_opening))
        if event.signal == "procedure_mix":
            shift, z, opened_with = recent.shift, recent.z, abs(memory.shift_at_opening)
            # What was clearly a loss stays one until it clearly is none.
            change = replace(change, sign=whole.worth_sign or min(sign, 0))
        calm = recent.n_current >= settings.minimum_current_lines and shift < 0.5 * opened_with and z < 2.0
        calm_since = (memory.calm_since or as_of) if calm else None
        reason: Ending | None = None
        if memory.accepted_on is not None and memory.accepted_on <= as_of:
            reason = "accepted_as_normal"
        elif calm_since is not None and (as_of - calm_since).days >= settings.calm_days:
            reason = "back_at_baseline"
        elif (as_of - event.started_on).days >= settings.renewal_days:
            reason = "became_the_normal"
        renewed = event.model_copy(
            update={
                "state": "updated" if reason is None else "resolved",
                "direction": direction_of(event.signal, change.sign),
                "last_look": as_of,
                "resolved_on": None if reason is None else as_of,
                "memory": memory.model_copy(update={"calm_since": calm_since, "reason": reason}),
            }
        )
        shown = replace(recent, n_baseline=memory.n_baseline)
        if event.signal in RATE_SIGNALS or event.signal == "decision_lag":
            shown = replace(shown, baseline=memory.baseline, effect=recent.current - memory.baseline)
        row = self._row(charts, change, shown, as_of, first)
        row["state"], row["event_id"] = renewed.state, renewed.event_id
        # How sure it is rests on all days since the change; once the recent ones deny it, on these.
        evidence = abs(recent.z if calm else whole.z)
        row["detail"] |= {
            "evidence": round(evidence, 4),
            "change_date_low": memory.change_low.isoformat(),
            "change_date_high": memory.change_high.isoformat(),
        }
        if calm_since is not None:
            row["detail"]["calm_since"] = calm_since.isoformat()
        if reason is not None:
            row["detail"]["reason"] = reason
        if calm or reason is not None:
            row["detail"]["opened_with"] = memory.opened_with
        return renewed, row

    def _row(
        self, charts: Charts, change: Change, found: Comparison, as_of: date, first: int | None = None
    ) -> dict[str, Any]:
        """The row of a comparison whose current days begin on `first` (default: with the change)."""
        view, payer = charts.view, change.payer
        first = change.split if first is None else first
        return {
            "as_of": as_of,
            "payer": self.facts.payers[payer],
            "cpt_group": ALL_GROUPS,
            "signal": change.signal,
            "direction": direction_of(change.signal, change.sign),
            "baseline": found.baseline,
            "current": found.current,
            "effect": found.effect,
            "severity": severity(change.signal, found, view, payer, settings=self.settings),
            "n_baseline": found.n_baseline,
            "n_current": found.n_current,
            "maturity": completeness(view, payer, max(first, view.start), change.signal),
            "event_id": None,
            "detail": {
                "change_date": day_of(change.split).isoformat(),
                "by": change.by,
                "current_from": day_of(first).isoformat(),
                "complete_to": day_of(charts.by_signal[change.signal].last).isoformat(),
                **intervals_of(change.signal, found),
                "over_dispersion": round(float(charts.by_signal[change.signal].dispersion[payer]), 4),
            },
        }

    def _too_little(
        self, charts: Charts, payer: int, signal: Signal, as_of: date, needed: float
    ) -> dict[str, Any]:
        lack: Shortage = shortage_of(charts, signal, payer, needed, self.settings)
        return {
            "as_of": as_of,
            "payer": self.facts.payers[payer],
            "cpt_group": ALL_GROUPS,
            "signal": signal,
            "direction": "none",
            "state": "not_enough_data",
            "n_baseline": lack.n_baseline,
            "n_current": lack.n_current,
            "maturity": completeness(charts.view, payer, charts.view.horizon - self.settings.recent_days, signal),
            "event_id": None,
            "detail": {
                "lines_needed": lack.lines_needed,
                "about_date": None if lack.about_day is None else day_of(lack.about_day).isoformat(),
                "smallest_detectable": lack.smallest_detectable,
                "reason": lack.reason,
            },
        }
