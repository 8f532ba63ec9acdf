"""Which customers the arena simulates: nothing changed, the biases, injected changes and decoys; all from a seed.

A case is a named set of customers; customer `i` of it is the same in every run with the same seed base. Not here: how
a payer behaves (world.py), how lines come about (simulator.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Literal

import numpy as np

from benchmarks.drift_arena.almanac import thanksgiving
from benchmarks.drift_arena.simulator import Arrival, Change, Customer, Payer
from benchmarks.drift_arena.world import CODE_GROUPS, CODES, draw_payer

PAYERS = 10
WARM_UP = 300  # days of history before the first look
YEAR = 365
FOUND_WITHIN = 120  # days after a change
BEFORE = 30  # days of looks before the first change of a customer
SPREAD = 60  # days over which the changes of one customer begin
CHANGED = 5  # of the payers of a customer with injected changes or decoys
MOST_LINES = 700_000  # a customer
TUNING_SEEDS, REPORTED_SEEDS = 100_000, 900_000

# Signal, size and what people call it. A denial rate starts at 10 %.
SIZES: tuple[tuple[str, float, str], ...] = (
    ("denial_rate", 1.2, "denial rate 10 to 12 %"),
    ("denial_rate", 1.5, "denial rate 10 to 15 %"),
    ("denial_rate", 2.0, "denial rate 10 to 20 %"),
    ("allowed_amount", -0.03, "allowed -3 %"),
    ("allowed_amount", -0.05, "allowed -5 %"),
    ("allowed_amount", -0.10, "allowed -10 %"),
    ("decision_lag", 3.0, "decisions 3 days slower"),
    ("decision_lag", 7.0, "decisions 7 days slower"),
    ("decision_lag", 14.0, "decisions 14 days slower"),
    ("volume", -0.2, "volume -20 %"),
    ("volume", -0.5, "volume -50 %"),
    ("procedure_mix", 0.2, "a fifth of the lines to other codes"),
    ("authorization_denials", 0.05, "authorisation denials +5 points"),
)
BAR_SIZES = (1, 2, 4, 5, 7, 8, 9, 10, 11, 12)  # of SIZES: at least 5 points, 5 %, 7 days
RAMP = 60  # days


@dataclass(frozen=True)
class Trial:
    """One payer with something injected. `day` is the first day it holds; `decoy` names what is no payer's change."""

    payer: str
    day: int
    volume: float
    signal: str | None = None
    size: float = 0.0
    ramp: int = 0
    on: str = "submission"
    decoy: str | None = None


@dataclass(frozen=True)
class Setup:
    """A customer to be simulated, the days on which it is looked at, and what was injected."""

    case: str
    index: int
    customer: Customer
    looks: tuple[int, ...]
    trials: tuple[Trial, ...]


@dataclass(frozen=True)
class Case:
    """`short` or `long` customers, the slow libraries on the first few only; seeds are base + offset + index, below 1000."""

    name: str
    offset: int
    short: int
    long: int
    build: Callable[[str, int, int], Setup]
    libraries_short: int = 0
    libraries_long: int = 0

    def setup(self, base: int, index: int) -> Setup:
        """Customer `index` of this case under a seed base."""
        return self.build(self.name, index, base + self.offset + index)


@dataclass(frozen=True)
class Cell:
    """One combination of the design: what changes, at which volume, at once or slowly; prices by which day."""

    signal: str
    size: float
    volume: int
    ramp: int = 0
    on: Literal["submission", "decision"] = "submission"


def _spread(cells: list[Cell], stride: int) -> tuple[Cell, ...]:
    """The cells in strides (coprime to their number), so that the payers of one customer change in different ways."""
    return tuple(cells[each * stride % len(cells)] for each in range(len(cells)))


def _cells(
    volume: int, sizes: Iterable[int], *, ramp: int = 0, prices: Iterable[str] = ("submission",)
) -> list[Cell]:
    """A cell for each of SIZES named, those of the allowed amount for each day by which prices may change."""
    return [
        Cell(SIZES[which][0], SIZES[which][1], volume, ramp, on)  # type: ignore[arg-type]
        for which in sizes
        for on in (prices if SIZES[which][0] == "allowed_amount" else ("submission",))
    ]


BOTH = ("submission", "decision")
BAR_CELLS = _spread(_cells(50, BAR_SIZES, prices=BOTH), 5)
OTHER_CELLS = _spread(
    [
        *_cells(15, range(len(SIZES))),
        *_cells(50, (each for each in range(len(SIZES)) if each not in BAR_SIZES), prices=BOTH),
        *_cells(150, range(len(SIZES)), prices=("decision",)),
    ],
    7,
)
RAMP_CELLS = _spread(_cells(50, range(len(SIZES)), ramp=RAMP, prices=("decision",)), 5)


def _rng(seed: int) -> np.random.Generator:
    # The tag is none of the simulator's, whose streams are numbered by payer, 900 and 901.
    return np.random.default_rng([seed, 902])


def _start(rng: np.random.Generator) -> date:
    return date(2022, 1, 1) + timedelta(days=int(rng.integers(0, 730)))


def _arrival(rng: np.random.Generator) -> Arrival:
    habits: tuple[Arrival, ...] = ("same day", "nightly", "ragged", "weekly")
    return habits[int(rng.choice(4, p=(0.3, 0.4, 0.15, 0.15)))]


def _volume(rng: np.random.Generator, most: float = 500.0) -> float:
    return float(np.exp(rng.uniform(np.log(3.0), np.log(most))))


def _capped(payers: list[Payer], days: int) -> list[Payer]:
    total = sum(payer.lines for payer in payers) * days * 5 / 7
    return [replace(payer, lines=payer.lines * min(1.0, MOST_LINES / total)) for payer in payers]


def _customer(
    seed: int,
    rng: np.random.Generator,
    payers: list[Payer],
    days: int,
    start: date | None = None,
    **accidents: object,
) -> Customer:
    return Customer(
        seed, start or _start(rng), days, CODES, CODE_GROUPS, tuple(_capped(payers, days)), _arrival(rng),
        **accidents,  # type: ignore[arg-type]
    )  # fmt: skip


def _quiet(
    case: str, index: int, seed: int, *, denied_lag: float | None = None, growth: float | None = None
) -> Setup:
    """Nothing changes: a year of daily looks after the warm-up."""
    rng, days = _rng(seed), WARM_UP + YEAR
    payers = [
        draw_payer(rng, each, _volume(rng), days // 2, denied_lag=denied_lag, growth=growth)
        for each in range(PAYERS)
    ]
    return Setup(case, index, _customer(seed, rng, payers, days), tuple(range(WARM_UP, days)), ())


def _changes(case: str, index: int, seed: int, cells: tuple[Cell, ...]) -> Setup:
    """The next CHANGED cells of the design, one a payer; the other payers go on as they were."""
    rng = _rng(seed)
    mine = [cells[(index * CHANGED + each) % len(cells)] for each in range(CHANGED)]
    days = sorted(WARM_UP + BEFORE + int(each) for each in rng.integers(0, SPREAD, CHANGED))
    payers, trials = [], []
    for each, (cell, day) in enumerate(zip(mine, days, strict=True)):
        payer = draw_payer(rng, each, cell.volume, day, denial=0.1)
        change = Change(cell.signal, cell.size, day, cell.ramp, cell.on)
        payers.append(replace(payer, change=change))
        trials.append(Trial(payer.name, day, cell.volume, cell.signal, cell.size, cell.ramp, cell.on))
    payers += [draw_payer(rng, each, _volume(rng, 150.0), days[0]) for each in range(CHANGED, PAYERS)]
    last = days[-1] + FOUND_WITHIN
    looks = tuple(range(days[0] - BEFORE, last + 1))
    return Setup(case, index, _customer(seed, rng, payers, last), looks, tuple(trials))


def _bar(case: str, index: int, seed: int) -> Setup:
    return _changes(case, index, seed, BAR_CELLS)


def _other(case: str, index: int, seed: int) -> Setup:
    return _changes(case, index, seed, OTHER_CELLS)


def _ramps(case: str, index: int, seed: int) -> Setup:
    return _changes(case, index, seed, RAMP_CELLS)


def _slower(case: str, index: int, seed: int) -> Setup:
    return _quiet(case, index, seed, denied_lag=2.0)


def _faster(case: str, index: int, seed: int) -> Setup:
    return _quiet(case, index, seed, denied_lag=0.5)


def _doubling(case: str, index: int, seed: int) -> Setup:
    return _quiet(case, index, seed, growth=float(2.0 ** (YEAR / (WARM_UP + YEAR))))


def _decoy(case: str, index: int, seed: int) -> Setup:
    """A decoy named as the case after `decoy_`; on CHANGED payers, or on all where it befalls the whole customer."""
    rng, decoy = _rng(seed), case.removeprefix("decoy_")
    start, day = _start(rng), WARM_UP + BEFORE + int(rng.integers(0, SPREAD))
    if decoy == "holiday_week":
        # Looks over Thanksgiving and the new year, and an office that closes for the week from Christmas Eve on.
        day = WARM_UP + BEFORE
        start = thanksgiving(2022 + index % 3) - timedelta(days=day)
    whole = decoy in ("holiday_week", "resent_file", "late_file", "corrections")
    growth = {"growth_by_half": 1.5, "growth_doubling": 2.0}.get(decoy)
    payers, trials = [], []
    for each in range(PAYERS):
        struck = whole or each < CHANGED
        # 5 to 150 lines, so that at least some evidence is there to be misread.
        lines = float(np.exp(rng.uniform(np.log(5.0), np.log(150.0))))
        payer = draw_payer(rng, each, lines, day, growth=growth if struck else None)
        if struck and decoy == "mix_change":
            payer = replace(payer, change=Change("procedure_mix", 0.2, day))
        elif struck and decoy == "longer_lag":
            payer = replace(payer, change=Change("decision_lag", 10.0, day))
        elif struck and decoy == "rename":
            payer = replace(payer, renamed_on=day, renamed_to=f"{payer.name} Health Plan Inc")
        payers.append(payer)
        if struck:
            own = payer.change.signal if payer.change is not None else None
            trials.append(Trial(payer.name, day, lines, own, decoy=decoy))
    last = day + FOUND_WITHIN
    eve = (date(start.year + (start.month > 3), 12, 24) - start).days
    by_decoy: dict[str, dict[str, object]] = {
        "holiday_week": {"closed": (eve, eve + 9)},
        "resent_file": {"resent": day},
        "late_file": {"late": day},
        "corrections": {"corrected": day},
    }
    accidents = by_decoy.get(decoy, {})
    customer = _customer(seed, rng, payers, last, start, **accidents)
    return Setup(case, index, customer, tuple(range(day - BEFORE, last + 1)), tuple(trials))


DECOYS = (
    "mix_change", "longer_lag", "growth_by_half", "growth_doubling", "holiday_week", "rename", "resent_file", "late_file",
    "corrections",
)  # fmt: skip
# The long run is 245 customers: at 10 s of a processor each, about 20 minutes on two cores.
CASES = (
    Case("null", 0, 4, 40, _quiet, 1, 2),
    Case("null_denials_slower", 1000, 1, 10, _slower),
    Case("null_denials_faster", 2000, 1, 10, _faster),
    Case("null_doubling", 3000, 1, 10, _doubling),
    Case("change", 4000, 12, 60, _bar, 2, 3),  # 12 cells, 5 a customer: 25 trials each
    Case("change_other", 5000, 0, 30, _other),  # 30 cells: 5 each
    Case("change_ramp", 6000, 0, 13, _ramps),  # 13 cells: 5 each
    *(
        Case(f"decoy_{name}", 7000 + 1000 * each, 1, 8, _decoy, 0, 1)
        for each, name in enumerate(DECOYS)
    ),
)  # fmt: skip
SEEDS_PER_CASE = 1000
