from __future__ import annotations

from datetime import date, timedelta

import pytest

from upstream_pipelines.drift.activity import activity_from_claims
from upstream_pipelines.drift.detector import Detector
from upstream_pipelines.drift.events import DriftEvent
from upstream_pipelines.drift.settings import DriftSettings, LabelledDays, Signal
from upstream_pipelines_tests.unit.test_drift_replay import CHANGED, OTHERS, START, Payer, simulate

CHANGES: dict[Signal, Payer] = {
    "denial_rate": Payer("Alpha", then_denial=0.2),
    "decision_lag": Payer("Alpha", then_days_slower=14),
    "allowed_amount": Payer("Alpha", then_price=0.9),
    "volume": Payer("Alpha", then_volume=0.5),
    "procedure_mix": Payer("Alpha", then_codes=(0.25, 0.3, 0.1, 0.35)),
    "authorization_denials": Payer("Alpha", then_authorization=0.6),
}


@pytest.mark.parametrize("signal", CHANGES)
def test_an_event_whose_baseline_is_labelled_ends_as_labelled_and_is_not_called_calm(signal: Signal) -> None:
    frames = activity_from_claims(simulate(11, [CHANGES[signal], *OTHERS]))
    detector, event = Detector(*frames), None
    live: list[DriftEvent] = []
    for day in range(CHANGED + 10, CHANGED + 90, 4):
        live = detector.look(START + timedelta(days=day), live).events
        event = next((each for each in live if (each.signal, each.payer) == (signal, "Alpha")), None)
        if event is not None:
            break
    assert isinstance(event, DriftEvent)
    before = LabelledDays(
        label="the old contract",
        kind="incident",
        first_day=START - timedelta(days=400),
        last_day=event.started_on - timedelta(days=1),
        payers=("Alpha",),
    )
    look = Detector(*frames, DriftSettings(calendar=(before,))).look(START + timedelta(days=day + 1), live)
    (ended,) = (each for each in look.events if each.event_id == event.event_id)
    assert (ended.state, ended.memory.reason) == ("resolved", "days_labelled")


def test_a_label_without_an_end_reaches_to_the_last_day_that_there_is() -> None:
    for_good = LabelledDays(label="closed", kind="incident", first_day=date.min, last_day=date.max)
    labelled = DriftSettings(calendar=(for_good,)).all_labelled
    assert labelled("Aetna", "denial_rate", START, date.max)
    assert not DriftSettings().all_labelled("Aetna", "denial_rate", START, START)
