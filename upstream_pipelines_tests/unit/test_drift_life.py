"""The life of events against a simple model of it: whatever a payer, its names and people do, in any order."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from upstream_pipelines.drift.detector import Detector
from upstream_pipelines.drift.events import DriftEvent, event_id_for
from upstream_pipelines.drift.facts import day_number
from upstream_pipelines.drift.labels import BEFORE_EVERYTHING, exclusions
from upstream_pipelines.drift.rows import LookResult
from upstream_pipelines.drift.settings import DriftSettings, LabelledDays

START = date(2024, 1, 1)
HISTORY = 200
AGE = 5  # days from submission to decision: prices are all that moves here


class World:
    """Two payers whose price level is set from day to day, as the frames that looks are made from."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.names = ["Alpha", "Beta"]
        self.level = [1.0, 1.0]
        self.frames: list[pd.DataFrame] = []
        self.days = 0
        self.grow(HISTORY)

    def grow(self, days: int) -> None:
        for payer in (0, 1):
            lines = self.rng.poisson(25.0, days)
            noise = self.rng.normal(0, 0.1, days) * np.sqrt(lines)
            self.frames.append(
                pd.DataFrame(
                    {
                        "payer": payer,
                        "day": self.days + np.arange(days),
                        "lines": lines,
                        "sum": lines * np.log(100.0 * self.level[payer]) + noise,
                    }
                )
            )
        self.days += days

    def detector(self, chosen: DriftSettings) -> Detector:
        rows = pd.concat(self.frames, ignore_index=True)
        rows = rows[rows["lines"] > 0]
        day = pd.Series(np.datetime64(START) + rows["day"].to_numpy()).astype("datetime64[s]")
        payer = np.asarray(self.names, dtype="object")[rows["payer"].to_numpy()]
        common = pd.DataFrame({"payer": payer, "cpt_group": "OTHER", "lines": rows["lines"].to_numpy()})
        sent = day - pd.Timedelta(days=AGE)
        activity = common.assign(
            submitted_day=sent, decision_age=pd.array([AGE] * len(rows), dtype="Int64"), submitted_known_day=sent,
            decision_known_day=day, denied=0, denied_authorization=0, billed=0.0, allowed=0.0, paid=0.0,
        )  # fmt: skip
        prices = common.assign(
            cpt="1", modifiers="", decided_day=day, decision_known_day=day, sum_log_allowed=rows["sum"].to_numpy(),
            sum_log_allowed_sq=rows["sum"].to_numpy() ** 2 / rows["lines"].to_numpy() + 0.01 * rows["lines"].to_numpy(),
            allowed=0.0,
        )  # fmt: skip
        codes = common.assign(cpt="1", submitted_day=sent, submitted_known_day=sent)
        return Detector(activity, prices, codes, chosen)


class Life:
    """What production keeps between looks, and the model: for each payer and signal no event, or one that lives."""

    def __init__(self, seed: int) -> None:
        self.world = World(seed)
        self.settings = DriftSettings(calm_days=5, renewal_days=60, baseline_days=120, recent_days=14)
        self.kept: dict[UUID, DriftEvent] = {}
        self.living: dict[tuple[str, str], UUID] = {}
        self.over: set[UUID] = set()
        self.frozen: dict[UUID, tuple[Any, ...]] = {}
        self.endings: list[str] = []

    @property
    def today(self) -> date:
        return START + timedelta(days=self.world.days)

    def look(self) -> LookResult:
        result = self.world.detector(self.settings).look(self.today, list(self.kept.values()))
        listed = result.rows[result.rows["event_id"].notna()].to_dict("records")
        rows = {row["event_id"]: row for row in listed}
        assert len(rows) == len(listed), "an event has two rows"
        assert set(rows) == {event.event_id for event in result.events}
        for event in result.events:
            self.judge(event, rows[event.event_id])
            # As through the database: what is not in the JSON does not live on.
            self.kept[event.event_id] = DriftEvent.model_validate_json(event.model_dump_json())
        unseen = set(self.living.values()) - set(rows)
        assert not unseen, "a living event was not looked at"
        return result

    def judge(self, event: DriftEvent, row: dict[Any, Any]) -> None:
        """Hold one event of a look against the model."""
        key, memory = (event.payer, event.signal), event.memory
        assert event.event_id not in self.over, "a resolved event came to life"
        assert row["state"] == event.state
        assert event.last_look == self.today
        if event.state == "open":
            assert key not in self.living, "two events of one payer and signal"
            assert event.opened_on == self.today
            assert event.event_id == event_id_for(
                event.payer, "ALL", event.signal, event.started_on, event.opened_on
            )
            self.living[key] = event.event_id
            self.frozen[event.event_id] = self.frozen_part(event)
        else:
            assert self.living[key] == event.event_id
            assert self.frozen_part(event) == self.frozen[event.event_id], "the baseline moved while it was open"
        if event.state == "resolved":
            del self.living[key]
            self.over.add(event.event_id)
            assert memory.reason is not None
            assert event.resolved_on == self.today
            assert row["detail"]["reason"] == memory.reason
            self.endings.append(memory.reason)
            expected = {
                "accepted_as_normal": memory.accepted_on is not None,
                "days_labelled": all(
                    any(
                        label.first_day <= event.started_on + timedelta(days=number) <= label.last_day
                        for label in self.settings.calendar
                    )
                    for number in range((self.today - event.started_on).days)
                ),
                "payer_gone": event.payer not in self.world.names,
                "back_at_baseline": memory.calm_since is not None
                and (self.today - memory.calm_since).days >= self.settings.calm_days,
                "became_the_normal": (self.today - event.started_on).days >= self.settings.renewal_days,
            }
            assert expected[memory.reason]
        else:
            assert memory.reason is None
            assert event.resolved_on is None
            assert memory.accepted_on is None, "it was accepted, and still lives"
            assert event.payer in self.world.names

    @staticmethod
    def frozen_part(event: DriftEvent) -> tuple[Any, ...]:
        memory = event.memory
        # Which way the worth of a mix went may become clear late.
        direction = None if event.signal == "procedure_mix" else event.direction
        return (
            event.started_on, event.opened_on, direction, memory.by, memory.baseline, memory.current_at_opening,
            memory.shift_at_opening, memory.evidence_at_opening, memory.n_baseline,
        )  # fmt: skip

    def accept(self, event_id: UUID) -> None:
        event = self.kept[event_id]
        memory = event.memory.model_copy(update={"accepted_on": self.today})
        self.kept[event_id] = event.model_copy(update={"memory": memory})

    def pass_days(self, days: int, step: int = 1) -> None:
        for _ in range(0, days, step):
            self.world.grow(step)
            self.look()

    def until(self, state: str, days: int = 60) -> DriftEvent:
        """Look daily until an event is in that state."""
        for _ in range(days):
            self.world.grow(1)
            found = [event for event in self.look().events if event.state == state]
            if found:
                return found[0]
        raise AssertionError(f"no event was {state} within {days} days")


class AnyLife(RuleBasedStateMachine):
    """Prices go up and down, days pass, people accept and label, names are mapped anew."""

    @initialize(seed=st.integers(0, 2**16))
    def begin(self, seed: int) -> None:
        self.life = Life(seed)

    @rule(payer=st.integers(0, 1), level=st.sampled_from([0.8, 1.0, 1.0, 1.25]), days=st.integers(1, 12))
    def prices_change(self, payer: int, level: float, days: int) -> None:
        self.life.world.level[payer] = level
        self.life.pass_days(days, 2)

    @rule(days=st.integers(10, 25))
    def time_passes(self, days: int) -> None:
        self.life.pass_days(days, 4)

    @precondition(lambda self: self.life.living)
    @rule(data=st.data())
    def people_accept(self, data: st.DataObject) -> None:
        self.life.accept(data.draw(st.sampled_from(sorted(self.life.living.values()))))
        self.life.pass_days(1)

    @rule(payer=st.integers(0, 1))
    def a_name_is_mapped_to_another(self, payer: int) -> None:
        world = self.life.world
        world.names[payer] = f"{world.names[payer].split()[0]} {world.days}"
        self.life.pass_days(1)

    @rule(back=st.integers(1, 40), length=st.integers(1, 20))
    def people_label_days(self, back: int, length: int) -> None:
        first = self.life.today - timedelta(days=back)
        label = LabelledDays(label="x", first_day=first, last_day=first + timedelta(days=length - 1))
        chosen = self.life.settings
        self.life.settings = chosen.model_copy(update={"calendar": (*chosen.calendar, label)})
        self.life.pass_days(1)

    @rule()
    def the_same_day_is_looked_at_again(self) -> None:
        detector = self.life.world.detector(self.life.settings)
        looks = [detector.look(self.life.today, list(self.life.kept.values())) for _ in range(2)]
        pd.testing.assert_frame_equal(looks[0].rows, looks[1].rows)
        assert looks[0].events == looks[1].events

    @invariant()
    def one_event_a_payer_and_signal(self) -> None:
        life = self.life
        living = [event for event in life.kept.values() if event.state != "resolved"]
        assert {event.event_id for event in living} == set(life.living.values())
        assert len({(event.payer, event.signal) for event in living}) == len(living)


TestAnyLife = AnyLife.TestCase
TestAnyLife.settings = settings(max_examples=25, stateful_step_count=12, deadline=None)


def test_a_change_opens_lives_is_over_and_the_next_one_is_another_event() -> None:
    life = Life(1)
    life.world.level[0] = 0.85
    first = life.until("open")
    assert (first.payer, first.signal, first.direction) == ("Alpha", "allowed_amount", "worsening")
    life.world.level[0] = 1.0
    assert life.until("resolved").memory.reason == "back_at_baseline"
    life.world.level[0] = 0.85
    second = life.until("open")
    assert second.event_id != first.event_id
    assert life.endings == ["back_at_baseline"]


def test_what_was_accepted_is_the_baseline_of_what_comes_next() -> None:
    life = Life(2)
    life.world.level[0] = 0.8
    event = life.until("open")
    life.pass_days(20)
    life.accept(event.event_id)
    assert life.until("resolved", 1).memory.reason == "accepted_as_normal"
    detector = life.world.detector(life.settings)
    payers = {name: number for number, name in enumerate(detector.facts.payers)}
    (out,) = exclusions(list(life.kept.values()), payers, life.settings)
    assert (out.first, out.last) == (BEFORE_EVERYTHING, day_number(event.started_on) - 1)
    # The level stays, and nothing opens; back at the old level is an improvement now.
    life.pass_days(40)
    assert not life.living
    life.world.level[0] = 1.0
    back = life.until("open")
    assert (back.payer, back.direction) == ("Alpha", "improving")
    assert back.memory.current_at_opening > 1.15


def test_labelled_days_are_in_no_baseline_and_no_current_period() -> None:
    """An incident of three weeks alarms, and the return from it; labelled, neither does."""
    life, labelled = Life(3), Life(3)
    first = life.today
    label = LabelledDays(
        label="clearing house down", kind="incident", first_day=first, last_day=first + timedelta(days=20),
        payers=("alpha",), signals=("allowed_amount",),
    )  # fmt: skip
    labelled.settings = labelled.settings.model_copy(update={"calendar": (label,)})
    for one in (life, labelled):
        one.world.level = [0.8, 0.8]
        one.pass_days(21)
        one.world.level = [1.0, 1.0]
        one.pass_days(40)
    assert {(event.payer, event.signal) for event in life.kept.values()} == {
        ("Alpha", "allowed_amount"), ("Beta", "allowed_amount"),
    }  # fmt: skip
    assert {(event.payer, event.signal) for event in labelled.kept.values()} == {("Beta", "allowed_amount")}


def test_an_event_whose_days_are_all_labelled_is_closed_and_its_days_count_again_without_the_label() -> None:
    """It would go on for ever, compared on no lines."""
    life = Life(5)
    life.world.level[0] = 0.8
    event = life.until("open")
    label = LabelledDays(
        label="x", first_day=event.started_on, last_day=life.today, payers=("Alpha",), signals=("allowed_amount",)
    )
    part = label.model_copy(update={"first_day": event.started_on + timedelta(days=1)})
    for other in (part, label.model_copy(update={"payers": ("Beta",)})):
        life.settings = life.settings.model_copy(update={"calendar": (other,)})
        life.look()
        assert set(life.living.values()) == {event.event_id}
    life.settings = life.settings.model_copy(update={"calendar": (label,)})
    closed = life.until("resolved", 1)
    assert (closed.event_id, closed.memory.reason) == (event.event_id, "days_labelled")
    life.settings = life.settings.model_copy(update={"calendar": ()})
    again = life.until("open", 1)
    assert abs((again.started_on - event.started_on).days) <= 2, "the days of the change, and not only those after"


def test_an_event_of_a_name_that_is_gone_is_closed() -> None:
    life = Life(4)
    life.world.level[0] = 0.8
    event = life.until("open")
    life.world.names[0] = "Alpha Health"
    closed = life.until("resolved", 1)
    assert (closed.event_id, closed.memory.reason) == (event.event_id, "payer_gone")
    assert set(life.living) == {("Alpha Health", "allowed_amount")}, "the same change under the name it has now"
