"""The contestants that run in this environment, each from a customer's lines to the alarms it raised.

An alarm is the first look of an event: day, payer as in the claims, signal, direction, cause. Not here: Evidently and
NannyML (libraries.py), the oracle (oracle.py), how alarms are judged (measures.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.drift_arena.almanac import Bools, Floats, Ints
from benchmarks.drift_arena.cases import Setup
from benchmarks.drift_arena.simulator import Lines, claims_frame

QUIET_DAYS = 14  # after which an event of a rule without events of its own has ended

# The fixed-threshold rule, as billing dashboards have it.
CURRENT_DAYS, BASELINE_DAYS, LEAST_LINES = 14, 90, 30
DENIAL_POINTS, LAG_DAYS, RELATIVE = 0.05, 3.0, 0.5
ALLOWED_RELATIVE = 0.10  # no usual figure is known for prices; half would never fire


@dataclass(frozen=True)
class Alarm:
    """The first look of an event; `day` counts from the customer's start. `cause` is payer, or data where told so."""

    day: int
    payer: str
    signal: str
    direction: str
    cause: str = "payer"


def run_product(setup: Setup, lines: Lines, settings: dict[str, Any] | None = None) -> dict[str, Any]:
    """The product through its public function; `settings` are those of a customer that override the defaults."""
    from upstream_pipelines.drift import replay
    from upstream_pipelines.drift.settings import DriftSettings

    start = setup.customer.start
    days = [start + timedelta(days=look) for look in setup.looks]
    rows = replay(claims_frame(setup.customer, lines), days, DriftSettings(**settings) if settings else None)
    opened = rows[rows["state"] == "open"]
    causes = opened["cause"] if "cause" in opened.columns else ["payer"] * len(opened)
    found = zip(opened["as_of"], opened["payer"], opened["signal"], opened["direction"], causes, strict=True)
    alarms = [
        Alarm((_date(as_of) - start).days, str(payer), str(signal), str(direction), _cause(cause))
        for as_of, payer, signal, direction, cause in found
    ]
    return {
        "alarms": [asdict(alarm) for alarm in alarms],
        "signals": sorted({str(each) for each in rows["signal"]}),
    }


def _date(value: Any) -> Any:
    return value.date() if hasattr(value, "date") else value


def _cause(value: Any) -> str:
    return "data" if value == "data" else "payer"


def product_hash() -> str:
    """Names the product's method: any change of its source gives another."""
    import upstream_pipelines.drift as package

    text = b"".join(path.read_bytes() for path in sorted(Path(package.__file__).parent.glob("*.py")))
    return hashlib.sha256(text).hexdigest()[:12]


def run_fixed_rule(setup: Setup, lines: Lines) -> dict[str, Any]:
    """The last 14 days against the 90 before, by submission day, decided lines only, at fixed thresholds."""
    alarms = []
    for payer, name, mine in by_payer_name(setup, lines):
        hits = [_rule_at(lines, mine, look) for look in setup.looks]
        for signal in ("denial_rate", "decision_lag", "allowed_amount"):
            directions = [hit.get(signal) for hit in hits]
            alarms += events_of_runs(setup.looks, directions, name, signal)
        del payer
    return {
        "alarms": [asdict(alarm) for alarm in alarms],
        "signals": ["allowed_amount", "decision_lag", "denial_rate"],
    }


def by_payer_name(setup: Setup, lines: Lines) -> Iterator[tuple[int, str, Ints]]:
    """Payer number, name as in the claims, and its lines' positions sorted by submission; renamed ones twice."""
    for payer, truth in enumerate(setup.customer.payers):
        for renamed, name in ((False, truth.name), (True, truth.renamed_to)):
            mine = np.flatnonzero((lines.payer == payer) & (lines.renamed == renamed))
            if name is not None and len(mine):
                yield payer, name, mine[np.argsort(lines.submitted[mine], kind="stable")]


def _rule_at(lines: Lines, mine: Ints, look: int) -> dict[str, str]:
    """Signals on which the rule fires for one payer at one look, with the direction."""
    submitted = lines.submitted[mine]
    edges = np.searchsorted(submitted, (look - CURRENT_DAYS - BASELINE_DAYS, look - CURRENT_DAYS, look))
    windows = [_decided(lines, mine[first:last], look) for first, last in pairwise(edges)]
    (base_denied, base_lag, base_allowed), (now_denied, now_lag, now_allowed) = windows
    fired: dict[str, str] = {}
    if min(len(base_denied), len(now_denied)) >= LEAST_LINES:
        before, now = float(base_denied.mean()), float(now_denied.mean())
        if abs(now - before) >= DENIAL_POINTS or abs(now - before) >= RELATIVE * before > 0:
            fired["denial_rate"] = "worsening" if now > before else "improving"
        before, now = float(np.median(base_lag)), float(np.median(now_lag))
        if abs(now - before) >= LAG_DAYS or abs(now - before) >= RELATIVE * before > 0:
            fired["decision_lag"] = "worsening" if now > before else "improving"
    if min(len(base_allowed), len(now_allowed)) >= LEAST_LINES:
        before, now = float(base_allowed.mean()), float(now_allowed.mean())
        if abs(now / before - 1.0) >= ALLOWED_RELATIVE:
            fired["allowed_amount"] = "worsening" if now < before else "improving"
    return fired


def _decided(lines: Lines, window: Ints, look: int) -> tuple[Bools, Floats, Floats]:
    known = window[(lines.decision_seen[window] >= 0) & (lines.decision_seen[window] < look)]
    denied = lines.denied[known]
    lag = (lines.decided[known] - lines.submitted[known]).astype(np.float64)
    return denied, lag, lines.allowed[known][~denied]


def events_of_runs(looks: tuple[int, ...], directions: list[str | None], payer: str, signal: str) -> list[Alarm]:
    """One event while a rule fires; a new one only after QUIET_DAYS without firing in that direction."""
    alarms: list[Alarm] = []
    last: dict[str, int] = {}
    for look, direction in zip(looks, directions, strict=True):
        if direction is None:
            continue
        if look - last.get(direction, -QUIET_DAYS - look) > QUIET_DAYS:
            alarms.append(Alarm(look, payer, signal, direction))
        last[direction] = look
    return alarms
